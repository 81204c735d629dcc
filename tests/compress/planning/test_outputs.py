"""Plans for networks with outputs and inputs of any kind, and the bounds that fit them (PyTorch needed)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch
from torch.nn.utils import parametrizations

from compress.modules import plain_module
from compress.planning.committee import choose_inputs
from compress.planning.losses import Loss
from compress.planning.outputs import read_outputs, run_batches, run_outputs
from compress.planning.pipeline import plan
from compress.planning.plan import Budget, Plan, Tolerance
from compress.planning.preparation import make_planner
from compress.planning.watch import watch
from traces import AnyInputs, InputError, Inputs

FEW: dict[str, Any] = {"densities": (1.0, 0.6, 0.3), "weight_bits": (2, 4, 6)}


class Sequences(torch.nn.Module):
    """Class scores, or vectors, for each token."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(6, 24), torch.nn.Linear(24, outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(tokens)))  # type: ignore[no-any-return]


class Pixels(torch.nn.Module):
    """Class scores for each pixel; images are viewed as vectors on the way."""

    def __init__(self, view: bool = False) -> None:
        super().__init__()
        self.first, self.last, self.view = torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 1), view
        torch.nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(images))
        hidden = hidden.view(len(images), -1).view(hidden.shape) if self.view else hidden
        return self.last(hidden)  # type: ignore[no-any-return]


class Several(torch.nn.Module):
    """Two inputs, and outputs of very different sizes."""

    def __init__(self, names: bool = False, scale: float = 1000) -> None:
        super().__init__()
        self.scale = scale
        self.words, self.image = torch.nn.Embedding(20, 12), torch.nn.Linear(10, 12)
        self.large, self.small, self.names = torch.nn.Linear(12, 3), torch.nn.Linear(12, 2), names

    def forward(self, image: torch.Tensor, words: torch.Tensor) -> Any:
        hidden = torch.tanh(self.image(image) + self.words(words).mean(dim=1))
        outputs = {"large": self.scale * self.large(hidden), "nothing": None, "small": self.small(hidden) / self.scale}
        return outputs if self.names else tuple(outputs.values())


class Head(torch.nn.Module):
    """Two layers and an end."""

    def __init__(self, end: Callable[[Any], Any], outputs: int) -> None:
        super().__init__()
        self.hidden, self.out, self.end = torch.nn.Linear(40, 100), torch.nn.Linear(100, outputs), end

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.end(self.out(torch.relu(self.hidden(inputs))))


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(kind: Callable[..., torch.nn.Module], *arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind(*arguments).eval()


def normalised(values: Any) -> Any:
    return torch.nn.functional.normalize(values, dim=-1)


def within(**bound: float) -> Tolerance:
    """Return a tolerance that the mean over the pool alone must keep."""
    return Tolerance(**bound, confidence=0.5)  # type: ignore[arg-type]


WORDS = np.random.default_rng(1).integers(0, 20, (80, 5))
CASES: dict[str, tuple[Callable[[], torch.nn.Module], AnyInputs, Tolerance]] = {
    "tokens, divergence": (lambda: made(Sequences), drawn(40, 7, 6), within(divergence=0.003)),
    "tokens, answers": (lambda: made(Sequences), drawn(40, 7, 6), within(accuracy_drop=0.05)),
    "tokens, cosine": (lambda: made(Sequences), drawn(40, 7, 6), within(cosine=0.02)),
    "pixels, divergence": (lambda: made(Pixels), drawn(20, 2, 8, 8), within(divergence=0.003)),
    "pixels, answers": (lambda: made(Pixels, True), drawn(20, 2, 8, 8), within(accuracy_drop=0.05)),
    "pixels, relative": (lambda: made(Pixels), drawn(20, 2, 8, 8), within(relative_error=0.05)),
    "several, relative": (
        lambda: made(Several),
        (drawn(80, 10), WORDS),
        within(relative_error=0.05),
    ),
    "several by name": (
        lambda: made(Several, True),
        {"words": WORDS, "image": drawn(80, 10)},
        within(relative_error=0.05),
    ),
    "several, divergence": (
        lambda: made(Several, False, 10),
        (drawn(80, 10), WORDS),
        within(divergence=0.05),
    ),
    "regression": (
        lambda: made(Head, lambda each: each[:, 0], 1),
        drawn(120, 40),
        within(relative_error=0.3),
    ),
    "one output": (
        lambda: made(Head, lambda each: each, 1),
        drawn(120, 40),
        within(relative_error=0.3),
    ),
    "embeddings": (lambda: made(Head, normalised, 32), drawn(120, 40), within(cosine=0.02)),
    "probabilities of tokens": (
        lambda: torch.nn.Sequential(made(Sequences), torch.nn.Softmax(-1)),
        drawn(40, 7, 6),
        within(divergence=0.003),
    ),
}


def copies(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return networks that have nothing to do with a network: of zeros, with random and with shuffled weights."""
    found = {}
    draw = torch.Generator().manual_seed(3)
    for kind in ("zeros", "random", "shuffled"):
        found[kind] = copy.deepcopy(module)
        for values in found[kind].parameters():
            flat = values.data.ravel()
            new = {
                "zeros": torch.zeros_like(flat),
                "random": torch.randn(flat.shape, generator=draw) * flat.std(correction=0),
                "shuffled": flat[torch.randperm(len(flat), generator=draw)],
            }
            values.data.copy_(new[kind].reshape(values.shape))
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_plan_keeps_its_bound_and_networks_of_other_weights_break_it(name: str) -> None:
    make, inputs, tolerance = CASES[name]
    module = make()
    found = plan(module, inputs, tolerance=tolerance, **FEW)
    assert found.feasible
    assert 0 < (found.measured or 0) <= tolerance.bound
    again = make()
    model = found.apply(module)
    model.load_into(again)
    measured_on = found.planner.pool
    before, after = (read(each, measured_on, tolerance) for each in (module, again))
    assert Loss.of(tolerance.loss).mean(before, after) == pytest.approx(found.measured, rel=1e-3)
    assert found.costs["file_bytes"] == model.size_bytes
    finest = make_planner(module, inputs, loss=tolerance.loss, densities=(1.0,), weight_bits=(6,))
    assert model.without_graph().size_bytes < finest.compress(module, finest.plan(tolerance)).size_bytes
    report = watch(module, model, measured_on, tolerance, plan=found)
    assert report.used.mean == pytest.approx(found.measured, rel=1e-3)
    scored = report.tolerance.name == "kl" or "kl" in report.others
    assert scored == (tolerance.loss not in ("relative-error", "cosine"))
    loss = Loss.of(tolerance.loss)
    for kind, other in copies(make()).items():
        assert loss.mean(before, read(other, measured_on, tolerance)) > 2 * tolerance.bound, kind


def read(module: torch.nn.Module, inputs: AnyInputs, tolerance: Tolerance) -> dict[str, np.ndarray]:
    outputs = run_outputs(module, inputs)
    if isinstance(module, torch.nn.Sequential):
        return {name: np.log(np.maximum(values, 1e-30)) for name, values in outputs.items()}
    return outputs


@pytest.mark.parametrize("name", ["tokens, divergence", "embeddings", "several, relative"])
def test_the_predicted_change_is_that_of_small_random_changes(name: str) -> None:
    make, inputs, tolerance = CASES[name]
    module = make()
    planner = make_planner(module, inputs, loss=tolerance.loss, evaluation=inputs, **FEW)
    draw = np.random.default_rng(0)
    moved, weights = copy.deepcopy(planner.module), {}
    state = dict(moved.named_parameters())
    for layer in planner.analysis.layers:
        step = draw.normal(0, 0.002, layer.weights.shape).astype(np.float32)
        weights[layer.name] = layer.weights + step
        state[f"{layer.name}.weight"].data += torch.from_numpy(step)
    change = planner.analysis.predicted_change(weights)
    used = float(planner.loss.squares(planner.outputs, planner.run(moved)).mean())
    used = used**0.5 if planner.loss.name == "relative-error" else used  # of outputs that change by their mean square
    assert planner.expected(tolerance, change) == pytest.approx(used, rel=0.4)
    assert planner.change_of(tolerance, planner.expected(tolerance, change)) == pytest.approx(change, rel=0.02)


def test_outputs_that_differ_little_from_input_to_input_need_a_bound_that_sees_it() -> None:
    module = made(Head, lambda each: 1000 + each, 5)
    pool = drawn(60, 40)
    sentence = r"relative-error must be at most \d+% of the loss of outputs that are the same for all inputs"
    with pytest.raises(InputError, match=sentence):
        plan(module, pool, tolerance=within(relative_error=0.01), **FEW)
    alike = made(Head, lambda each: 30 + each, 5)
    with pytest.raises(InputError, match=r"cosine must be at most \d+% of the loss of outputs that are the same"):
        plan(alike, pool, tolerance=within(cosine=0.01), **FEW)
    mostly_one = made(Pixels)
    with torch.no_grad():
        mostly_one.last.bias[1] += 5.0  # type: ignore[union-attr, index, operator]
    with pytest.raises(InputError, match=r"answers must be at most \d+% of the loss of outputs that are the same"):
        plan(mostly_one, drawn(20, 2, 8, 8), tolerance=within(accuracy_drop=0.02), **FEW)


@pytest.mark.parametrize(
    ("end", "outputs", "kind", "sentence"),
    [
        (lambda each: each, 1, "cosine", r"vectors \[inputs, values\] of two values .* take the loss relative-error"),
        (lambda each: each[:, 0], 1, "cosine", "take the loss relative-error"),
        (lambda each: each.argmax(dim=1), 4, "relative_error", "must be floating-point for the loss relative-error"),
        (
            lambda each: 0 * each,
            4,
            "relative_error",
            "must not all be 0, as the loss relative-error is",
        ),
        (lambda each: each / 0, 4, "cosine", "must be finite; found NaN or infinity"),
        (lambda each: each.detach(), 4, "relative_error", "must have derivatives by the weights"),
        (lambda each: (each, each[:, :1]), 4, "kl", r"outputs, '1', must be class scores, .* \[\d+, 1\]"),
    ],
)
def test_a_bound_without_meaning_for_the_outputs_is_refused(
    end: Callable[[Any], Any], outputs: int, kind: str, sentence: str
) -> None:
    tolerance = Tolerance(0.01, kind)
    with pytest.raises(InputError, match=sentence):
        plan(made(Head, end, outputs), drawn(60, 40), tolerance=tolerance, **FEW)


class Stepping(torch.nn.Module):
    """Class scores, and a state that is fed on: of fixed size, or longer in each step; and a number beside them."""

    def __init__(self, grows: bool = False) -> None:
        super().__init__()
        self.grows = grows
        self.into, self.out, self.beside = torch.nn.Linear(12, 6), torch.nn.Linear(6, 4), torch.nn.Linear(6, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        after = torch.tanh(self.into(torch.cat([x, state.mean(dim=1)], dim=1)))
        kept = [state, after[:, None]] if self.grows else [state[:, 1:], after[:, None]]
        return {"scores": self.out(after), "after": torch.cat(kept, dim=1), "beside": self.beside(x)}


STATE = {"x": drawn(60, 6), "state": drawn(60, 3, 6)}


@pytest.mark.parametrize("grows", [False, True])
def test_a_state_is_no_class_scores_and_the_loss_looks_at_named_outputs(grows: bool) -> None:
    module, within_scores = made(Stepping, grows), Tolerance(0.01, "kl", outputs=["scores"])
    for given in ("kl", "answers"):
        sentence = (
            r"'after', must be class scores .*; found \[60, [34], 6\], the shape of an input.* name the class scores"
        )
        with pytest.raises(InputError, match=sentence):
            plan(module, STATE, tolerance=Tolerance(0.01, given, outputs=["scores", "after"] if grows else []), **FEW)
    found = plan(module, STATE, tolerance=within_scores, committee=30, leave=["beside"], **FEW)
    assert (found.tolerance, found.reason) == (within_scores, "this loss was asked for")
    assert Plan.from_json(found.to_json()).tolerance == within_scores
    again = found.apply(module)
    changed = made(Stepping, grows)
    again.load_into(changed)
    before, after = (run_outputs(each, found.planner.pool)["scores"] for each in (module, changed))
    losses = Loss("kl").by_input(before, after)
    assert found.measured == pytest.approx(np.mean(found.planner.counts * losses), rel=1e-5)
    seen = watch(module, again, found.planner.pool, within_scores)
    assert seen.losses == pytest.approx(losses)
    assert list(seen.others) == ["answers"]
    assert found.replan(Budget(file_bytes=1e6)).tolerance == within_scores
    right = before.argmax(axis=1)
    labelled = plan(module, found.planner.pool, tolerance=Tolerance(0.2, outputs=["scores"]), labels=right, **FEW)
    assert (labelled.tolerance.loss, labelled.tolerance.outputs) == ("accuracy", ("scores",))


def test_outputs_that_a_loss_cannot_look_at_are_refused() -> None:
    module = made(Stepping)
    names = "outputs must be some of the network's, scores, after, beside; found score"
    model = plan(module, STATE, tolerance=Tolerance(0.01, "kl", outputs=["scores"]), **FEW).apply()
    for outputs, sentence in (
        (["scores", "score"], names),
        (["scores", "scores"], "outputs must be different names; found scores, scores; name each once"),
        ("scores", "outputs must be a list; found 'scores'"),
        ([0], "outputs must be"),
        (["beside"], "one number each, whose softmax is always 1"),
    ):
        for loss in ("kl", "auto") if outputs != ["beside"] else ("kl",):
            for call in (
                lambda outputs=outputs, loss=loss: plan(
                    module, STATE, tolerance=Tolerance(0.01, loss, outputs=outputs), **FEW
                ),
                lambda outputs=outputs, loss=loss: watch(module, model, STATE, Tolerance(0.01, loss, outputs=outputs)),
            ):
                with pytest.raises(InputError, match=sentence):
                    call()
    planner = make_planner(module, STATE, loss="kl", compared=["scores"], **FEW)
    assert planner.plan(Tolerance(0.01)).tolerance.outputs == ("scores",)
    with pytest.raises(InputError, match="the outputs that were analysed, scores; found outputs=after; make another"):
        planner.plan(Tolerance(0.01, outputs=["after"]))


def test_layers_that_the_named_outputs_do_not_show_are_noted() -> None:
    module, pool = made(Stepping), STATE
    found = plan(module, pool, tolerance=Tolerance(0.01, "kl", outputs=["scores"]), **FEW)
    assert [note for note in found.notes if "beside changed none of the compared outputs, scores, and may" in note]
    assert not [note for note in plan(module, pool, tolerance=0.1, **FEW).notes if "changed none" in note]


def test_an_analysis_that_is_kept_is_that_of_the_named_outputs(tmp_path: Path) -> None:
    module = made(Stepping)
    both = [Tolerance(0.2, "relative-error", outputs=[name]) for name in ("scores", "after")]
    kept = [plan(module, STATE, tolerance=each, analysis=tmp_path, **FEW).measured for each in both]
    assert kept == [plan(module, STATE, tolerance=each, **FEW).measured for each in both]
    assert kept[0] != kept[1]


def test_labels_are_those_of_the_positions_of_one_output() -> None:
    module, pool = made(Pixels), drawn(20, 2, 8, 8)
    labels = run_batches(module, pool).argmax(axis=1)
    found = plan(module, pool, labels=labels, tolerance=within(accuracy_drop=0.05), **FEW)
    again = made(Pixels)
    found.apply(module).load_into(again)
    measured_on = found.planner.pool
    assert found.planner.labels is not None
    assert found.measured == pytest.approx(
        (run_batches(again, measured_on).argmax(axis=1) != found.planner.labels).mean()
    )
    few = plan(module, pool, labels=labels, tolerance=within(accuracy_drop=0.05), committee=10, **FEW)
    assert 3 <= len(few.inputs) <= 10
    for wrong, sentence in (
        (labels[:, 0], r"whole numbers \[inputs, 8, 8\], for each position .*; found shape \[20, 8\]; give one label"),
        (labels[:, :, :7], r"found shape \[20, 8, 7\]; give one label for each position"),
        (np.eye(3)[labels], r"found shape \[20, 8, 8, 3\]; if they are one-hot, give labels.argmax\(axis=3\)"),
        (labels[..., None], r"found a column, .* give its numbers alone, labels\[:, :, :, 0\]"),
        (labels - 1, "found -1; give every position a class"),
    ):
        with pytest.raises(InputError, match=sentence):
            make_planner(module, pool, wrong)
    with pytest.raises(InputError, match="labels are those of one output; found the outputs 0, 2; name one in outputs"):
        make_planner(made(Several), (drawn(80, 10), WORDS), np.zeros(80))
    with pytest.raises(InputError, match="labels have no effect on the loss cosine; leave them out"):
        make_planner(module, pool, labels, loss="cosine")


def test_a_planner_keeps_bounds_of_its_kind() -> None:
    planner = make_planner(made(Sequences), drawn(40, 7, 6), loss="cosine", **FEW)
    with pytest.raises(InputError, match="analysed, those of cosine; found kl; make another planner, with loss='kl"):
        planner.plan(within(divergence=0.1))
    scores = make_planner(made(Sequences), drawn(40, 7, 6), loss="kl", **FEW)
    assert scores.plan(within(accuracy_drop=0.1)).feasible
    text = planner.plan(within(cosine=0.1)).to_json()
    assert Plan.from_json(text).tolerance == within(cosine=0.1)


def test_a_committee_chooses_inputs_for_every_bound() -> None:
    module, pool = made(Several), Inputs.of((drawn(80, 10), WORDS))
    for tolerance in (within(relative_error=0.1), within(divergence=0.1)):
        found = plan(module, pool, tolerance=tolerance, committee=20, **FEW)
        assert 10 < len(found.inputs) <= 20
    with pytest.raises(InputError, match="measure has no effect on the loss relative-error; found 'votes'"):
        choose_inputs(module, pool, 20, within(relative_error=0.1), measure="votes")
    with pytest.raises(InputError, match=r"found 3 of 3 in it"):
        plan(module, pool, tolerance=within(relative_error=0.1), evaluation=pool[:3])
    with pytest.raises(InputError, match="the evaluation must have the inputs of the pool, 0, 1; found 0"):
        plan(module, pool, tolerance=within(relative_error=0.1), evaluation=drawn(3, 10))


def test_inputs_of_another_type_work_or_are_refused_with_what_to_call() -> None:
    module, pool = made(Sequences), drawn(40, 7, 6)
    tolerance = within(divergence=0.005)
    one, two = (plan(module, each, tolerance=tolerance, **FEW) for each in (pool, pool.astype(np.float64)))
    assert one.to_json() == two.to_json()
    with pytest.raises(InputError, match=r"give images\.astype\(np\.float32\), scaled as in training"):
        plan(module, (pool * 20 + 128).astype(np.uint8), tolerance=tolerance)
    for narrow in (torch.float16, torch.bfloat16):
        with pytest.raises(InputError, match=r"call module\.float\(\)"):
            plan(made(Sequences).to(narrow), pool, tolerance=tolerance)
        with pytest.raises(InputError, match=r"call module\.float\(\)"):
            run_batches(made(Sequences).to(narrow), pool)
    scaling = torch.nn.Sequential(torch.nn.Identity(), made(Sequences))
    scaling[0].forward = lambda images: images.float() / 255
    assert run_batches(scaling, np.full((3, 6), 255, np.uint8)).shape == (3, 4)
    for ids in (WORDS, WORDS.astype(np.int32), WORDS.astype(np.uint16)):
        assert len(run_batches(torch.nn.Embedding(20, 3), ids)) == 80
    with pytest.raises(InputError, match="found IndexError: index out of range"):
        run_batches(torch.nn.Embedding(2, 3), WORDS)
    with pytest.raises(
        InputError, match=r"take the inputs \(tokens: float32 .*\); found TypeError: .*unexpected keyword"
    ):
        run_batches(made(Pixels), {"tokens": pool})
    with pytest.raises(InputError, match="must give one tensor; found the outputs 0, 2"):
        run_batches(made(Several), (drawn(80, 10), WORDS))


def test_weights_that_are_computed_are_planned_and_watched_as_computed() -> None:
    module = made(Sequences)
    module.first = parametrizations.weight_norm(module.first)  # type: ignore[arg-type]
    pool, tolerance = drawn(40, 7, 6), within(divergence=0.005)
    found = plan(module, pool, tolerance=tolerance, **FEW)
    report = watch(module, found.apply(module), found.planner.pool, tolerance, plan=found)
    assert report.used.mean == pytest.approx(found.measured)
    assert "first.parametrizations.weight.original0" in module.state_dict()
    assert plan(plain_module(module), pool, tolerance=tolerance, **FEW).choices == found.choices


def test_named_layers_are_left_alone() -> None:
    module, pool = made(Sequences), drawn(40, 7, 6)
    found = plan(module, pool, tolerance=within(divergence=0.005), leave=["la*"], **FEW)
    model = found.apply(module)
    assert [layer.name for layer in model.layers] == ["first"]
    assert "last.weight" in model.tensors
    assert choose_inputs(module, pool, 10, within(divergence=0.005), leave=["last"]).places.size


def test_a_plan_and_a_report_leave_modes_as_they_were() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(), torch.nn.Linear(8, 4)).train()
    module[2].eval()
    pool, tolerance = drawn(40, 6), within(divergence=0.005)
    found = plan(module, pool, tolerance=tolerance, committee=10, **FEW)
    watch(module, found.apply(module), pool, tolerance)
    read_outputs(module, Inputs.of(pool), "kl")
    assert [part.training for part in module.modules()] == [True, True, True, False]


def test_many_positions_are_sampled_for_expected_changes() -> None:
    planner = make_planner(made(Pixels), drawn(6, 2, 90, 80), loss="kl", densities=(1.0, 0.5), weight_bits=(3,))
    sample = planner.random_changes.parts[0]
    assert sample.noise.shape[1] * 3 <= 2**15 < planner.outputs["output"].size
    assert sample.freedom == 90 * 80 * 2
    assert planner.plan(within(divergence=0.005)).measured is not None
