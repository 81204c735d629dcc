"""Watching a deployed container, and the commands plan and watch (PyTorch needed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel, CompressionConfig, LayerSettings
from compress.one_shot import compress_parameters
from compress.planning.pipeline import ApplicablePlan, plan
from compress.planning.plan import Budget, Plan, Tolerance
from compress.planning.watch import watch
from compress.planning.watch_report import WatchReport
from compress.planning.weight_tolerances import WeightTolerances
from compress.weight_files.checkpoint import state_of
from tests.commands import check_refusal, run_command
from traces import InputError

NETWORK = """
import torch

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(20, 100), torch.nn.ReLU(), torch.nn.Linear(100, 5))

nothing = 3

class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.last = torch.nn.GRUCell(8, 12), torch.nn.Linear(12, 5)

    def forward(self, x):
        after = self.cell(x[:, :8], x[:, 8:])
        return {"scores": self.last(after), "after": after}
"""


@pytest.fixture(scope="module")
def original() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(20, 100), torch.nn.ReLU(), torch.nn.Linear(100, 5)).eval()


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(500, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def planned(original: torch.nn.Module, inputs: np.ndarray) -> ApplicablePlan:
    return plan(original, inputs, tolerance=Tolerance(divergence=0.005, confidence=0.5))


def test_new_inputs_like_the_pool_keep_the_tolerance_and_others_break_it(
    original: torch.nn.Module, inputs: np.ndarray, planned: ApplicablePlan
) -> None:
    model = planned.apply(original)
    fresh = np.random.default_rng(1).normal(size=(800, 20)).astype(np.float32)
    report = watch(original, model, fresh, Tolerance(divergence=0.013), plan=planned)
    assert report.verdict == "kept"
    assert report.drifting == []
    assert report.used.low < report.used.mean < report.used.high
    larger = fresh.copy()
    larger[400:] *= 4
    report = watch(original, model, larger, Tolerance(divergence=0.013), plan=planned)
    assert report.verdict == "broken"
    assert "used, second half from first" in report.drifting
    assert "used, from the plan" in report.drifting
    assert list(report.others) == ["answers"]
    at_the_bound = Tolerance(divergence=report.used.mean)
    assert watch(original, model, larger, at_the_bound).verdict == "undecided"
    answers = watch(original, model, fresh, Tolerance(accuracy_drop=0.3))
    assert answers.tolerance.name == "answers"
    assert answers.verdict == "kept"
    assert list(answers.others) == ["kl"]


def test_the_original_itself_is_never_told_from_itself(original: torch.nn.Module, inputs: np.ndarray) -> None:
    class Same:
        weight_names = ()
        thresholds_elsewhere: frozenset[str] = frozenset()

        def load_into(self, module: torch.nn.Module) -> None:
            module.load_state_dict(original.state_dict())

    report = watch(original, Same(), inputs, Tolerance(divergence=1e-6))  # type: ignore[arg-type]
    assert report.verdict == "kept"
    assert report.others["answers"].mean == 0
    assert 0 < report.others["answers"].high < 0.01
    assert report.drift["used, second half from first"] == 0


def test_halves_that_do_not_vary_and_differ_drift(original: torch.nn.Module, inputs: np.ndarray) -> None:
    class Other:
        weight_names = ()
        thresholds_elsewhere: frozenset[str] = frozenset()

        def load_into(self, module: torch.nn.Module) -> None:
            state = original.state_dict()
            module.load_state_dict(state | {"2.bias": state["2.bias"] + torch.tensor([0.0, 100, 0, 0, 0])})

    outputs = original(torch.from_numpy(inputs)).detach().numpy()
    as_before, other = (inputs[same][:20] for same in (outputs.argmax(1) == 1, outputs.argmax(1) != 1))
    tolerance = Tolerance(accuracy_drop=0.1)
    report = watch(original, Other(), np.concatenate([as_before, other]), tolerance)  # type: ignore[arg-type]
    assert report.tolerance.name == "answers"
    assert report.used.mean == 0.5
    assert report.drift["used, second half from first"] == np.inf
    assert "used, second half from first" in report.drifting
    report = watch(original, Other(), np.concatenate([other, as_before]), tolerance)  # type: ignore[arg-type]
    assert report.drift["used, second half from first"] == -np.inf


def test_watching_says_what_it_needs(original: torch.nn.Module, inputs: np.ndarray, planned: ApplicablePlan) -> None:
    model = planned.apply(original)
    with pytest.raises(InputError, match="watching needs at least two inputs; found 1"):
        watch(original, model, inputs[:1], planned.tolerance)
    with pytest.raises(InputError, match="there must be a label for each input; found 3 for 500"):
        watch(original, model, inputs, planned.tolerance, labels=np.zeros(3))
    with pytest.raises(InputError, match="belongs to another network"):
        watch(torch.nn.Sequential(torch.nn.Linear(20, 3)), model, inputs, planned.tolerance)


def test_a_plan_says_which_inputs_a_committee_chose_and_refuses_to_be_judged_on_them(
    original: torch.nn.Module, inputs: np.ndarray
) -> None:
    found = plan(original, inputs, tolerance=Tolerance(divergence=0.01, confidence=0.9), committee=40)
    assert 20 < len(found.inputs) <= 40
    assert max(found.inputs) < 500
    assert found.confidence is not None
    assert found.confidence >= 0.9
    again = Plan.from_json(found.to_json())
    assert again.inputs == found.inputs
    assert again.rows == found.rows
    with pytest.raises(InputError, match=r"of the evaluation must not be in the pool .*; found 5 of 5 in it"):
        plan(original, inputs, tolerance=Tolerance(divergence=0.01), evaluation=inputs[:5])


def test_a_plan_is_applied_made_again_for_a_budget_and_saved_as_data(
    original: torch.nn.Module, planned: ApplicablePlan, tmp_path: Path
) -> None:
    model = planned.apply(original)
    assert model.to_bytes() == planned.planner.compress(original, planned).to_bytes()
    smaller = planned.replan(Budget(file_bytes=0.9 * planned.costs["file_bytes"]))
    assert isinstance(smaller, ApplicablePlan)
    assert smaller.to_json() == planned.planner.replan(planned, smaller.budget).to_json()
    planned.save(str(tmp_path / "plan.json"))
    loaded = Plan.load(str(tmp_path / "plan.json"))
    assert type(loaded) is Plan
    assert planned.planner.compress(original, loaded).to_bytes() == model.to_bytes()
    assert loaded.input_summary == planned.input_summary == smaller.input_summary
    assert loaded.input_summary is not None
    assert loaded.input_summary.inputs == 500
    old = json.loads(planned.to_json())
    del old["input_summary"]
    assert Plan.from_json(json.dumps(old)).input_summary is None


class Outputs(torch.nn.Module):
    """Network that gives vectors, several outputs, or scores of positions."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.form = form
        self.hidden = torch.nn.Linear(20, 60)
        self.last = torch.nn.Linear(60, 12)

    def forward(self, inputs: torch.Tensor) -> object:
        values = self.last(torch.relu(self.hidden(inputs)))
        if self.form == "positions":
            return values.reshape(len(values), 3, 4)
        return {"first": values[:, :5], "second": values[:, 5:]} if self.form == "several" else values


def median_error(before: Any, after: Any) -> np.ndarray:
    """Return a loss that is the user's own, of one output or several."""
    pairs = [(before, after)] if isinstance(before, np.ndarray) else [(before[name], after[name]) for name in before]
    return np.asarray(np.mean([np.median(np.abs(one - other), axis=1) for one, other in pairs], axis=0))


@pytest.mark.parametrize(
    ("form", "loss", "others"),
    [
        ("vectors", "cosine", ["relative-error"]),
        ("vectors", "relative-error", []),
        ("vectors", "answers", ["kl"]),
        ("vectors", "kl", ["answers"]),
        ("vectors", "accuracy", ["answers", "kl"]),
        ("vectors", median_error, ["relative-error"]),
        ("several", "relative-error", []),
        ("several", "kl", ["answers"]),
        ("several", median_error, ["relative-error"]),
        ("positions", "kl", ["answers"]),
        ("positions", "accuracy", ["answers", "kl"]),
    ],
)
def test_every_loss_is_watched(form: str, loss: Any, others: list[str]) -> None:
    network = Outputs(form).eval()
    model, _ = compress_parameters(state_of(network), CompressionConfig(LayerSettings(density=0.9, weight_bits=6)))
    fresh = np.random.default_rng(3).normal(size=(400, 20)).astype(np.float32)
    labels = None
    if loss == "accuracy":
        with torch.no_grad():
            labels = network(torch.from_numpy(fresh)).argmax(-1).numpy()
    report = watch(network, model, fresh, 1e-9, loss=loss, labels=labels)
    assert report.verdict == "broken"
    assert list(report.others) == others
    assert report.drifting == []
    assert report.drifting_inputs == []
    assert report.losses.shape == (400,)
    assert report.used.mean == pytest.approx(report.losses.mean())
    assert report.used.low < report.used.mean < report.used.high
    again = watch(network, model, fresh, 1.01 * report.used.high, loss=loss, labels=labels)
    assert again.verdict == "kept"
    assert again.used == report.used
    worst = again.worst(5)
    assert report.losses[worst].min() >= np.sort(report.losses)[-5]
    larger = fresh.copy()
    larger[200:] *= 3
    drifted = watch(network, model, larger, 1e-9, loss=loss, labels=labels)
    assert {drift.quantity for drift in drifted.drifting_inputs} >= {"spread", "roughness"}


def test_a_plan_tells_inputs_unlike_its_own_even_if_the_bound_is_kept(
    original: torch.nn.Module, inputs: np.ndarray, planned: ApplicablePlan
) -> None:
    model, _ = compress_parameters(state_of(original), CompressionConfig(LayerSettings(density=0.95, weight_bits=6)))
    fresh = np.random.default_rng(5).normal(size=(200, 20)).astype(np.float32)
    report = watch(original, model, fresh, Tolerance(divergence=0.003), plan=planned)
    assert report.verdict == "kept"
    assert report.from_plan
    assert not any(each.drifting for each in report.from_plan)
    assert [row["layer"] for row in report.layers] == list(planned.layers)
    assert report.planned == {"measured": planned.measured, "used": planned.used}
    smaller = watch(original, model, 0.5 * fresh, Tolerance(divergence=0.003), plan=planned)
    assert smaller.verdict == "kept"
    assert "spread" in {each.quantity for each in smaller.from_plan if each.drifting}
    assert not any(each.drifting for each in smaller.from_first_half)
    answers = watch(original, model, fresh, Tolerance(0.3, "answers"), plan=planned)
    assert "used, from the plan" not in answers.drift  # the plan has another loss
    assert answers.planned == {}


def test_a_report_is_the_same_after_a_file(
    original: torch.nn.Module, inputs: np.ndarray, planned: ApplicablePlan, tmp_path: Path
) -> None:
    report = watch(original, planned.apply(original), inputs[:300], Tolerance(divergence=0.01), plan=planned)
    report.save(tmp_path / "a.watch.json")
    loaded = WatchReport.load(tmp_path / "a.watch.json")
    assert np.allclose(loaded.losses, report.losses, rtol=1e-5, atol=0)
    for name in ("tolerance", "reason", "used", "others", "drift", "from_plan", "from_first_half", "planned"):
        assert getattr(loaded, name) == getattr(report, name)
    assert (loaded.verdict, loaded.inputs) == (report.verdict, 300)
    assert (tmp_path / "a.watch.json").stat().st_size < 30_000
    with pytest.raises(InputError, match=r"none\.json: there is no such file"):
        WatchReport.load(tmp_path / "none.json")


def test_the_shell_plans_watches_and_plans_again(tmp_path: Path, inputs: np.ndarray) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs)
    larger = inputs * 4
    np.save(tmp_path / "later.npy", larger)
    made = run_command(
        *("compress", "plan", "mine:network", "pool.npy", "small.dc", "--divergence", "0.01"),
        *("--tolerances", "small.tolerances.json"),
        folder=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    tolerances = WeightTolerances.load(tmp_path / "small.tolerances.json")
    assert [(each.layer, each.rows, each.columns) for each in tolerances.layers] == [("0", 100, 20), ("2", 5, 100)]
    assert tolerances.tolerance == Plan.load(tmp_path / "small.plan.json").tolerance
    assert "the bound 0.01 holds for them at a confidence level of" in made.stdout
    assert json.loads((tmp_path / "small.plan.json").read_text())["feasible"]
    watched = run_command(
        "compress", "watch", "small.dc", "mine:network", "pool.npy", "--plan", "small.plan.json", folder=tmp_path
    )
    assert watched.returncode == 0, watched.stderr
    assert "The tolerance is kept." in watched.stdout
    assert "no drift: the inputs, from those of the plan" in watched.stdout
    assert "no drift: the inputs, second half from first" in watched.stdout
    broken = run_command(
        *("compress", "watch", "small.dc", "mine:network", "later.npy", "--plan", "small.plan.json"),
        *("--out", "later.watch.json"),
        folder=tmp_path,
    )
    assert broken.returncode == 1
    assert "drift: the inputs, from those of the plan: spread, roughness" in broken.stdout
    report = WatchReport.load(tmp_path / "later.watch.json")
    assert (report.verdict, report.container, report.network) == ("broken", "small.dc", "mine:network")
    assert "The tolerance is broken." in broken.stdout
    assert "Give --replan CONTAINER for a new plan." in broken.stdout
    arguments = ("small.dc", "mine:network", "later.npy", "--plan", "small.plan.json", "--replan", "new.dc")
    refused = run_command("compress", "watch", *arguments[:-2], "--leave", "0", folder=tmp_path)
    assert "error: --leave has no effect without a new plan" in refused.stderr
    refused = run_command("compress", "watch", *arguments, "--leave", "x", folder=tmp_path)
    assert "error: leave names x, which the network does not have" in refused.stderr
    left = run_command("compress", "watch", *arguments, "--leave", "0", folder=tmp_path)
    assert left.returncode == 0, left.stderr
    model = CompressedModel.load(tmp_path / "new.dc")
    assert "0" not in {layer.name for layer in model.layers}
    assert "0.weight" in model.tensors
    again = run_command("compress", "watch", *arguments, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert CompressedModel.load(tmp_path / "new.dc").size_bytes > (tmp_path / "small.dc").stat().st_size
    assert Plan.load(tmp_path / "new.plan.json").feasible
    budget = ("--file-bytes", "300")
    moved = run_command(
        "compress", "watch", "new.dc", "mine:network", "later.npy", "--plan", "new.plan.json", *budget, folder=tmp_path
    )
    assert moved.returncode == 0
    assert "Give --replan CONTAINER for a new plan." in moved.stdout


BOUND = ("pool.npy", "s.dc", "--divergence", "1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plan", "mine", *BOUND), "mine: a network must be an ONNX file, package.module:function"),
        (("plan", "no_such:network", *BOUND), "no_such:network: the module cannot be imported"),
        (("plan", "mine:nothing", *BOUND), "mine:nothing must be a"),
        (("plan", "mine:other", *BOUND), "mine:other: the module has no other"),
        (("plan", "builtins:dict", *BOUND), "builtins:dict must be a function of your own or of an installed package"),
        (("plan", "mine:network", "pool.npy", "s.dc"), "a tolerance needs exactly one positive bound"),
        (
            ("plan", "mine:network", "pool.npy", "s.dc", "--divergence", "0.01", "--latency-us", "3"),
            "the budget bounds latency_us, which neither the file nor a cost function gives; give a",
        ),
        (("plan", "mine:network", "pool.npy", "s.json", "--divergence", "1"), "choose another suffix"),
        (("plan", "mine:network", "none.npy", "s.dc", "--divergence", "1"), "none.npy: there is no such file"),
        (
            ("watch", "s.dc", "mine:network", "pool.npy", "--plan", "p.json", "--divergence", "1"),
            "the tolerance comes from --plan, or from --bound, --loss, --accuracy-drop, --divergence",
        ),
        (
            ("watch", "s.dc", "mine:network", "pool.npy", "--plan", "p.json", "--outputs", "scores"),
            "--cosine and --outputs; give one of them",
        ),
        (("plan", "mine:network", *BOUND, "--outputs", "y"), "outputs must be some of the network's, output; found y"),
        (("watch", "s.dc", "mine:network", "pool.npy", "--plan", "p.json"), "p.json: there is no such file"),
        (("watch", "s.dc", "mine:network", "pool.npy", "--plan", "mine.py"), "a plan must be JSON as Plan.to_json"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_shell_s_arguments_is_said_in_a_sentence(
    tmp_path: Path, inputs: np.ndarray, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs[:50])
    check_refusal(sentence, "compress", *arguments, folder=tmp_path)


def test_the_shell_keeps_the_outputs_that_the_loss_compares(tmp_path: Path, inputs: np.ndarray) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs[:200])
    made = run_command("compress", "plan", "mine:Step", "pool.npy", "a.dc", "--divergence", "0.01", "--outputs",
                       "scores", folder=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    tolerance = Tolerance(0.01, "kl", outputs=["scores"])
    assert Plan.load(tmp_path / "a.plan.json").tolerance == tolerance
    run = ("watch", "a.dc", "mine:Step", "pool.npy", "--plan", "a.plan.json", "--file-bytes", "1e6", "--replan", "b.dc")
    again = run_command("compress", *run, "--out", "a.watch.json", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert Plan.load(tmp_path / "b.plan.json").tolerance == tolerance
    assert WatchReport.load(tmp_path / "a.watch.json").tolerance == tolerance
    measured = run_command(
        "compress", "measure", "a.dc", "mine:Step", "pool.npy", "--outputs", "scores", folder=tmp_path
    )
    assert "scores: differs from the original" in measured.stdout
    assert "after" not in measured.stdout


def test_the_shell_plans_again_with_the_options_of_the_plan(tmp_path: Path, inputs: np.ndarray) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs)
    options = ("--thresholds", "--minimise", "macs", "--structured", "--codebooks", "pe", "--num-pes", "4")
    made = run_command("compress", "plan", "mine:network", "pool.npy", "a.dc", "--divergence", "0.01", *options,
                       folder=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    values = json.loads((tmp_path / "a.plan.json").read_text())
    for layer in values["layers"].values():  # as if no layer had a threshold
        layer["choice"].pop("activation_threshold", None)
        layer["choice"].pop("activation_cut", None)
    (tmp_path / "a.plan.json").write_text(json.dumps(values))
    before = Plan.load(tmp_path / "a.plan.json")
    run = ("watch", "a.dc", "mine:network", "pool.npy", "--plan", "a.plan.json", "--file-bytes", "1e6", "--replan")
    again = run_command("compress", *run, "b.dc", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    after = Plan.load(tmp_path / "b.plan.json")
    assert (after.minimise, after.options) == ("macs", before.options)
    assert before.options | {"thresholds": ()} == {
        "thresholds": (), "codebooks": "pe", "num_pes": 4, "codebook_groups": 0, "structured": True
    }  # fmt: skip
    model = CompressedModel.load(tmp_path / "b.dc")
    assert {layer.num_codebooks for layer in model.layers} == {4}
    assert any(layer.activation_threshold for layer in model.layers)
    assert model.size_bytes == after.costs["file_bytes"] == (tmp_path / "b.dc").stat().st_size
