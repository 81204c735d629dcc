"""Watching a deployed container, and the commands plan and watch (PyTorch needed)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel
from compress.planning.pipeline import ApplicablePlan, plan
from compress.planning.plan import Budget, Plan, Tolerance
from compress.planning.watch import mean_interval, share_interval, watch
from tests.commands import check_refusal, run_command
from traces import InputError

NETWORK = """
import torch

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(20, 100), torch.nn.ReLU(), torch.nn.Linear(100, 5))

nothing = 3
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
    return plan(original, inputs, tolerance=Tolerance(divergence=0.01))


def test_new_inputs_like_the_pool_keep_the_tolerance_and_others_break_it(
    original: torch.nn.Module, inputs: np.ndarray, planned: ApplicablePlan
) -> None:
    model = planned.apply(original)
    fresh = np.random.default_rng(1).normal(size=(800, 20)).astype(np.float32)
    report = watch(original, model, fresh, Tolerance(divergence=0.02), plan=planned)
    assert report.verdict == "kept"
    assert report.drifting == []
    assert report.used.low < report.used.mean < report.used.high
    larger = fresh.copy()
    larger[400:] *= 4
    report = watch(original, model, larger, Tolerance(divergence=0.02), plan=planned)
    assert report.verdict == "broken"
    assert "used, second half from first" in report.drifting
    assert "used, from the plan" in report.drifting
    assert report.divergence == report.used
    at_the_bound = Tolerance(divergence=report.used.mean)
    assert watch(original, model, larger, at_the_bound).verdict == "undecided"
    answers = watch(original, model, fresh, Tolerance(accuracy_drop=0.9))
    assert answers.used == answers.disagreement


def test_the_original_itself_is_never_told_from_itself(original: torch.nn.Module, inputs: np.ndarray) -> None:
    class Same:
        weight_names = ()

        def load_into(self, module: torch.nn.Module) -> None:
            module.load_state_dict(original.state_dict())

    report = watch(original, Same(), inputs, Tolerance(divergence=1e-6))  # type: ignore[arg-type]
    assert report.verdict == "kept"
    assert report.disagreement is not None
    assert report.disagreement.mean == 0
    assert 0 < report.disagreement.high < 0.01
    assert report.drift["used, second half from first"] == 0


def test_halves_that_do_not_vary_and_differ_drift(original: torch.nn.Module, inputs: np.ndarray) -> None:
    class Other:
        weight_names = ()

        def load_into(self, module: torch.nn.Module) -> None:
            state = original.state_dict()
            module.load_state_dict(state | {"2.bias": state["2.bias"] + torch.tensor([0.0, 100, 0, 0, 0])})

    outputs = original(torch.from_numpy(inputs)).detach().numpy()
    as_before, other = (inputs[same][:20] for same in (outputs.argmax(1) == 1, outputs.argmax(1) != 1))
    tolerance = Tolerance(accuracy_drop=0.1)
    report = watch(original, Other(), np.concatenate([as_before, other]), tolerance)  # type: ignore[arg-type]
    assert report.used == report.disagreement
    assert report.used.mean == 0.5
    assert report.drift["used, second half from first"] == np.inf
    assert "used, second half from first" in report.drifting
    report = watch(original, Other(), np.concatenate([other, as_before]), tolerance)  # type: ignore[arg-type]
    assert report.drift["used, second half from first"] == -np.inf


@pytest.mark.parametrize("kind", ["share", "mean"])
def test_intervals_hold_what_they_should_as_often_as_they_say(kind: str) -> None:
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        if kind == "share":
            interval, truth = share_interval((draw.random(120) < 0.03).astype(float)), 0.03
        else:
            interval, truth = mean_interval(draw.exponential(size=120)), 1.0
        held += interval.low <= truth <= interval.high
    assert held / 300 > 0.91


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
    found = plan(original, inputs, tolerance=Tolerance(divergence=0.02, confidence=0.9), committee=40)
    assert 20 < len(found.inputs) <= 40
    assert max(found.inputs) < 500
    assert found.confidence is not None
    assert found.confidence >= 0.9
    again = Plan.from_json(found.to_json())
    assert again.inputs == found.inputs
    assert again.rows == found.rows
    with pytest.raises(InputError, match=r"of the evaluation must not be in the pool .*; found 5 of 5 in it"):
        plan(original, inputs, tolerance=Tolerance(divergence=0.02), evaluation=inputs[:5])


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


def test_the_shell_plans_watches_and_plans_again(tmp_path: Path, inputs: np.ndarray) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs)
    larger = inputs * 4
    np.save(tmp_path / "later.npy", larger)
    made = run_command(
        "compress", "plan", "mine:network", "pool.npy", "small.dc", "--divergence", "0.01", folder=tmp_path
    )
    assert made.returncode == 0, made.stderr
    assert "bound holds for inputs like these at a confidence level of" in made.stdout
    assert json.loads((tmp_path / "small.plan.json").read_text())["feasible"]
    watched = run_command(
        "compress", "watch", "small.dc", "mine:network", "pool.npy", "--plan", "small.plan.json", folder=tmp_path
    )
    assert watched.returncode == 0, watched.stderr
    assert "The tolerance is kept." in watched.stdout
    broken = run_command(
        "compress", "watch", "small.dc", "mine:network", "later.npy", "--plan", "small.plan.json", folder=tmp_path
    )
    assert broken.returncode == 1
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
        (("plan", "mine:nothing", *BOUND), "mine:nothing must be a function or a class; found int"),
        (("plan", "mine:other", *BOUND), "mine:other: the module has no other"),
        (("plan", "builtins:dict", *BOUND), "builtins:dict must give a torch.nn.Module; found dict"),
        (("plan", "mine:network", "pool.npy", "s.dc"), "a tolerance needs exactly one positive bound, accuracy_drop"),
        (
            ("plan", "mine:network", "pool.npy", "s.dc", "--divergence", "1", "--latency-us", "3"),
            "the budget bounds latency_us, which neither the file nor a cost function gives; give a",
        ),
        (("plan", "mine:network", "pool.npy", "s.json", "--divergence", "1"), "choose another suffix"),
        (("plan", "mine:network", "none.npy", "s.dc", "--divergence", "1"), "none.npy: there is no such file"),
        (
            ("watch", "s.dc", "mine:network", "pool.npy", "--plan", "p.json", "--divergence", "1"),
            "the tolerance comes from --plan, or from --accuracy-drop, --divergence, --relative-error or --cosine",
        ),
        (("watch", "s.dc", "mine:network", "pool.npy", "--plan", "p.json"), "p.json: cannot be read: No such file"),
        (("watch", "s.dc", "mine:network", "pool.npy", "--plan", "mine.py"), "a plan must be JSON as Plan.to_json"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_shell_s_arguments_is_said_in_a_sentence(
    tmp_path: Path, inputs: np.ndarray, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    np.save(tmp_path / "pool.npy", inputs[:50])
    check_refusal(sentence, "compress", *arguments, folder=tmp_path)
