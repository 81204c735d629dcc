"""Losses: which are taken, what they say, what is refused, and that no network without knowledge keeps a bound."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressionConfig, LayerSettings, Plan, Tolerance, compress, plan, watch
from compress.class_scores import find_unlike_scores
from compress.planning.losses import LOSSES, Loss, RandomChanges, choose_loss
from compress.planning.outputs import run_outputs
from compress.planning.preparation import make_planner
from traces import InputError, Inputs, Network
from traces.arrays import Floats

DRAW = np.random.default_rng(0)
IMAGES = Inputs.of(DRAW.normal(size=(200, 3, 8)).astype(np.float32))
SCORES = DRAW.normal(size=(200, 10)).astype(np.float32)
SCORES[np.arange(200), DRAW.integers(0, 10, 200)] += 6.0  # as a trained classifier gives them
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
VECTORS = DRAW.normal(size=(200, 10)).astype(np.float32)
EMBEDDINGS = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
FEW: dict[str, Any] = {"densities": (1.0, 0.5, 0.2), "weight_bits": (2, 4, 6)}


def angles(original: Floats, changed: Floats) -> Floats:
    """Return a loss of the user's: the angle between outputs, in half turns."""
    lengths = np.linalg.norm(original, axis=1) * np.linalg.norm(changed, axis=1)
    cosines = (original * changed).sum(axis=1) / np.maximum(lengths, 1e-30)
    return np.where((original == changed).all(axis=1), 0.0, np.arccos(np.clip(cosines, -1, 1)) / np.pi)


ANGLES = f"{__name__}:angles"


@pytest.mark.parametrize(
    ("outputs", "labelled", "name", "reason"),
    [
        ({"y": SCORES}, True, "accuracy", "there are labels"),
        (
            {"y": SCORES},
            False,
            "answers",
            "there are no labels, and the outputs are those of a trained classifier of 10",
        ),
        ({"y": PROBABILITIES}, False, "kl", "there are no labels, and the output is probabilities of 10 classes"),
        ({"y": np.log(PROBABILITIES)}, False, "kl", "there are no labels, and the output is logarithms of probabilit"),
        ({"y": SCORES.reshape(20, 10, 10)}, False, "answers", "there are no labels, and the outputs are those of a tr"),
        ({"y": SCORES[:, 0]}, False, "relative-error", "there are no labels, and there is one number for each input"),
        ({"y": SCORES[:, :1]}, False, "relative-error", "there are no labels, and there is one number for each input"),
        ({"y": VECTORS[..., None]}, False, "relative-error", "there are no labels, and there is one number for each p"),
        ({"y": 1 / (1 + np.exp(-VECTORS))}, False, "relative-error", "there are no labels, and all outputs are from 0"),
        ({"y": IMAGES["0"] + 1}, False, "relative-error", "there are no labels, and the output has the shape of an in"),
        ({"y": SCORES, "z": SCORES}, False, "relative-error", "there are no labels, and the outputs are y, z"),
        ({"y": EMBEDDINGS}, False, "cosine", "there are no labels, and the outputs are vectors of length 1"),
    ],
)
def test_labels_and_outputs_decide_what_is_lost(
    outputs: dict[str, Floats], labelled: bool, name: str, reason: str
) -> None:
    loss = choose_loss(IMAGES, outputs, labelled)
    assert loss.name == name
    assert loss.reason.startswith(reason)
    assert loss.description.endswith(f"since {loss.reason}")
    assert loss.logarithms == (("y",) if outputs["y"] is PROBABILITIES and not labelled else ())


@pytest.mark.parametrize(
    ("values", "lacking"),
    [
        (VECTORS, "sure of its answer by"),
        (20 * VECTORS, "does not stand out"),
        (DRAW.uniform(0, 200, (200, 4)), "does not stand out"),  # places in an image
        (100 + 5 * np.arange(10) + VECTORS, "of the answers would be the same"),
        (np.where(np.arange(30) < 2, 9.0, 0.0) * np.abs(DRAW.normal(size=(200, 30))), "answers would be given"),
        (DRAW.normal(0, 50, (200, 2)), "do not fall and rise against each other"),
        (SCORES / 10, "sure of its answer by"),
    ],
)
def test_outputs_that_look_like_anything_are_refused_with_the_losses_to_choose_from(
    values: Floats, lacking: str
) -> None:
    with pytest.raises(InputError, match=rf"found auto, and .*{lacking}.*; take answers or kl for class scores, rela"):
        choose_loss(IMAGES, {"y": values})
    assert find_unlike_scores(SCORES) is None
    two = np.stack([SCORES[:, 0] * 3, -SCORES[:, 0] * 3 + 0.1 * VECTORS[:, 0]], axis=1)
    assert find_unlike_scores(two * np.sign(VECTORS[:, :1])) is None


def test_scores_of_each_token_of_a_vocabulary_are_known_by_the_ids() -> None:
    ids = np.random.default_rng(0).integers(0, 30, (40, 6))
    outputs = np.random.default_rng(1).normal(size=(40, 6, 32)).astype(np.float32)
    assert choose_loss(Inputs.of(ids), {"y": outputs}).name == "kl"
    with pytest.raises(InputError, match="the loss must be named"):  # hidden states, of more values than ids
        choose_loss(Inputs.of(ids), {"y": np.concatenate([outputs] * 4, axis=-1)})


class Ending(torch.nn.Module):
    """Two layers and an end."""

    def __init__(self, end: str = "", outputs: int = 6, bias: bool = True) -> None:
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(12, 40), torch.nn.Linear(40, outputs, bias=bias)
        self.end = end

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found = self.out(torch.relu(self.hidden(inputs)))
        if self.end == "unit":
            return torch.nn.functional.normalize(found, dim=1)
        return getattr(found, self.end)(*([1] if "softmax" in self.end else [])) if self.end else found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("end", "name", "reason"),
    [
        ("softmax", "kl", "the output is that of Softmax"),
        ("log_softmax", "kl", "the output is that of LogSoftmax"),
        ("sigmoid", "relative-error", "the output is that of Sigmoid"),
        ("unit", "cosine", "vectors of length 1"),
    ],
)
def test_the_last_operator_of_the_graph_decides(end: str, name: str, reason: str) -> None:
    torch.manual_seed(0)
    module, pool = Ending(end).eval(), np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    network = Network.open(module, pool[:4])
    loss = choose_loss(Inputs.of(pool), run_outputs(module, pool), network=network)
    assert loss.name == name
    assert reason in loss.reason


def trained(end: str = "", classes: int = 6) -> tuple[torch.nn.Module, Floats, Floats]:
    """Return a network that was trained to tell noisy patterns apart, inputs that it has not seen, and their labels."""
    draw = np.random.default_rng(1)
    patterns = draw.normal(size=(classes, 12)) * 2
    labels = draw.integers(0, classes, 900)
    inputs = (patterns[labels] + draw.normal(size=(900, 12))).astype(np.float32)
    torch.manual_seed(0)
    module = Ending("", classes)
    seen, right = torch.from_numpy(inputs[:600]), torch.from_numpy(labels[:600])
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(seen), right).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    module.end = end
    return module.eval(), inputs[600:], labels[600:]


def strangers(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return networks without any knowledge: of zeros, randomly initialised, and with shuffled weights."""
    torch.manual_seed(7)
    found = {kind: copy.deepcopy(module) for kind in ("zeros", "random", "shuffled")}
    for values in found["zeros"].parameters():
        torch.nn.init.zeros_(values)
    for layer in (found["random"].hidden, found["random"].out):
        layer.reset_parameters()  # type: ignore[operator, union-attr]
    for values in found["shuffled"].parameters():
        values.data = values.data.ravel()[torch.randperm(values.numel())].reshape(values.shape)
    return found


class Container:
    """Container whose weights are those of another network."""

    weight_names = ()
    thresholds_elsewhere: frozenset[str] = frozenset()

    def __init__(self, module: torch.nn.Module) -> None:
        self.state = module.state_dict()

    def load_into(self, module: torch.nn.Module) -> None:
        module.load_state_dict(self.state)


def largest_accepted(loss: Loss, outputs: Any, labels: Any) -> float:
    """Return the largest bound that is accepted, by bisection."""
    low, high = 1e-9, 1e3
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        try:
            loss.check_reach(middle, outputs, labels)
            low = middle
        except InputError:
            high = middle
    return low


@pytest.mark.parametrize("name", [*LOSSES, ANGLES])
@pytest.mark.parametrize("end", ["", "softmax", "unit"])
def test_no_network_without_knowledge_keeps_any_bound_that_is_accepted(name: str, end: str) -> None:
    if end == "unit" and Loss.of(name, True).scores:
        pytest.skip("embeddings are no class scores")
    module, inputs, labels = trained(end)
    right = labels if name == "accuracy" else None
    loss = Loss.of(name, right is not None).check("outputs", run_outputs(module, inputs))
    outputs = loss.read(run_outputs(module, inputs))
    bound = largest_accepted(loss, outputs, right)
    assert bound > 1e-3
    loss.check_reach(bound, outputs, right)
    for kind, other in strangers(module).items():
        lost = loss.mean(outputs, loss.read(run_outputs(other, inputs)), right)
        assert lost > bound, kind
        report = watch(module, Container(other), inputs, bound, loss=name, labels=right)  # type: ignore[arg-type]
        assert report.verdict == "broken", kind
    with pytest.raises(InputError, match=r"must be at most \d+% of the loss of outputs that are (all|the same|shuff)"):
        loss.check_reach(1.1 * bound, outputs, right)
    with pytest.raises(InputError, match=r"must be at most \d+% of the loss of outputs that"):
        plan(module, inputs, tolerance=Tolerance(1.1 * bound, name), labels=right, **FEW)


@pytest.mark.parametrize("name", [*LOSSES, ANGLES])
def test_a_plan_is_measured_by_the_loss_that_it_names(name: str) -> None:
    module, inputs, labels = trained()
    right = labels if name == "accuracy" else None
    bound = 0.05 if name != "cosine" else 0.02
    found = plan(module, inputs, tolerance=bound, loss=name, labels=right, **FEW)
    assert found.tolerance == Tolerance(bound, name)
    assert found.reason == "this loss was asked for"
    assert found.feasible
    other = copy.deepcopy(module)
    found.apply().load_into(other)
    loss = Loss.of(name, right is not None)
    measured_on, right = found.planner.pool, found.planner.labels
    lost = loss.mean(run_outputs(module, measured_on), run_outputs(other, measured_on), right)
    assert lost == pytest.approx(found.measured, rel=1e-3, abs=1e-6)
    report = watch(module, found.apply(), measured_on, found.tolerance, labels=right, plan=found)
    assert report.used.mean == pytest.approx(found.measured, rel=1e-3, abs=1e-6)
    again = Plan.from_json(found.to_json())
    assert (again.tolerance, again.reason) == (found.tolerance, found.reason)


def test_a_plan_says_which_loss_was_taken_and_why() -> None:
    module, inputs, labels = trained()
    found = plan(module, inputs, tolerance=0.05, **FEW)
    assert found.tolerance == Tolerance(0.05, "answers")
    assert "those of a trained classifier of 6 classes" in Plan.from_json(found.to_json()).reason
    assert plan(module, inputs, tolerance=0.05, labels=labels, **FEW).tolerance.loss == "accuracy"
    random = Ending().eval()
    with pytest.raises(InputError, match="the loss must be named for outputs"):
        plan(random, inputs, tolerance=0.05)


@pytest.mark.parametrize("name", ["kl", "answers", "relative-error", "cosine", ANGLES])
def test_losses_of_random_changes_are_as_expected(name: str) -> None:
    loss = Loss.of(name)
    outputs = {"output": SCORES}
    changes = RandomChanges.of(loss, outputs, None, np.ones(200), 0)
    draw = np.random.default_rng(5)
    before = loss.changes(outputs, outputs)
    lost, change = [], []
    for _ in range(20):
        noise = draw.normal(size=SCORES.shape).astype(np.float32)
        if not loss.scores:
            noise *= np.linalg.norm(SCORES, axis=1, keepdims=True) / 4  # relative to each input's outputs
        changed = {"output": SCORES + 0.1 * noise}
        lost.append(loss.mean(outputs, changed))
        change.append(np.square(loss.changes(changed, outputs) - before).sum(axis=1).mean())
    assert changes.expected(loss, float(np.mean(change))) == pytest.approx(np.mean(lost), rel=0.15)


def half(original: Floats, changed: Floats) -> Floats:
    return np.full(len(original) // 2, 0.1)


def infinite(original: Floats, changed: Floats) -> Floats:
    return np.asarray(np.abs(original - changed).sum(axis=1) / 0.0)


def negative(original: Floats, changed: Floats) -> Floats:
    return np.asarray(-np.abs(original).sum(axis=1))


def never_zero(original: Floats, changed: Floats) -> Floats:
    return np.asarray(np.abs(original).sum(axis=1))


def mean(original: Floats, changed: Floats) -> Any:
    return np.abs(original - changed).mean()


def text(original: Floats, changed: Floats) -> Any:
    return ["a"] * len(original)


def blind(original: Floats, changed: Floats) -> Floats:
    return np.zeros(len(original))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (half, r"must return a number for each input, float \[200\].*; found float64 \[100\]"),
        (mean, r"found float\d+ \[\]; leave out the mean over the inputs"),
        (text, r"found <U1 \[200\]"),
        (infinite, "finite and not negative; found nan for input 0"),
        (negative, "found -.* for input"),
        (never_zero, "must be 0 for outputs that are the same; found"),
    ],
)
def test_what_a_function_returns_is_checked(function: Callable[..., Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Loss.of(f"{__name__}:{function.__name__}").check("outputs", {"output": SCORES})


def test_a_function_that_sees_nothing_bounds_nothing() -> None:
    with pytest.raises(InputError, match=r"outputs that are all 0, .*; found 0.01, and that loss is 0"):
        Loss.of(blind).check("outputs", {"output": SCORES}).check_reach(0.01, SCORES)
    with pytest.raises(InputError, match="my_losses:mine: the module cannot be imported"):
        Loss.of("my_losses:mine")
    for wrong in ("mse", "Accuracy", ""):
        with pytest.raises(InputError, match=r"loss must be one of auto, accuracy, .*, or package.module:"):
            Tolerance(0.1, wrong)
    with pytest.raises(InputError, match=r"loss must be one of auto, .*; found int"):
        Tolerance(0.1, 3)  # type: ignore[arg-type]


def test_tolerances_are_data_of_one_form() -> None:
    assert Tolerance(divergence=0.1) == Tolerance(0.1, "kl")
    assert Tolerance(relative_error=0.1) == Tolerance(0.1, "relative_error") == Tolerance(0.1, "relative-error", 0.9)
    assert Tolerance(cosine=0.1, confidence=0.5) == Tolerance(0.1, "cosine", 0.5)
    assert [Loss.of(Tolerance(accuracy_drop=0.1).loss, each).name for each in (True, False)] == ["accuracy", "answers"]
    assert Tolerance(0.1, angles) == Tolerance(0.1, ANGLES)
    assert len({Tolerance(0.1, angles), Tolerance(0.1, ANGLES), Tolerance(0.1)}) == 2
    for tolerance in (Tolerance(0.1), Tolerance(accuracy_drop=0.3), Tolerance(0.2, angles)):
        assert Tolerance(**json.loads(json.dumps(tolerance.to_dict()))) == tolerance
    local = Tolerance(0.1, lambda before, after: np.abs(before - after).sum(axis=1))
    assert callable(local.loss)
    assert "<lambda>" in local.name
    both: dict[str, Any] = {"bound": 0.1, "cosine": 0.1}
    for wrong in (both, {}):
        with pytest.raises(InputError, match="a tolerance needs exactly one positive bound"):
            Tolerance(**wrong)
    numbers: tuple[Any, ...] = (0, np.nan, math.inf, True, "x", 10**400)
    for value in numbers:
        with pytest.raises(InputError, match="a tolerance's cosine must be a finite number above 0; found"):
            Tolerance(cosine=value)
    with pytest.raises(InputError, match="cosine says the loss itself; found loss='kl', too; give bound with it"):
        Tolerance(loss="kl", cosine=0.1)
    for confidence in (0.4, 1.0, "high", True):
        with pytest.raises(InputError, match=r"confidence must be (0.5 to below 1|a finite number); found"):
            Tolerance(0.1, confidence=confidence)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="loss is that of a bound given as a number; found loss='kl' and a tolerance"):
        Tolerance.of(Tolerance(cosine=0.1), "kl")


def test_plans_of_version_1_0_are_read() -> None:
    choice = {"density": 0.5, "weight_bits": 4, "index_bits": 4}
    old: dict[str, Any] = {
        "layers": {"fc": {"choice": choice, "change": 0.1, "costs": {"file_bytes": 10.0}}},
        "tolerance": {"accuracy_drop": None, "divergence": 0.01, "confidence": 0.5},
        "budget": {"file_bytes": None, "sram_bytes_per_pe": None, "num_pes": None}
        | {"latency_us": None, "energy_nj": None},
        "predicted_change": 0.1,
        "predicted": 0.01,
        "costs": {"file_bytes": 20.0},
        "measured": 0.005,
        "standard_error": 0.001,
        "feasible": True,
        "binding": ["tolerance"],
        "nearest": {},
        "measurements": 3.0,
        "inputs": [],
    }
    assert Plan.from_json(json.dumps(old)).tolerance == Tolerance(divergence=0.01, confidence=0.5)
    old["tolerance"] = {"accuracy_drop": 0.02, "divergence": None, "confidence": 0.9}
    assert Plan.from_json(json.dumps(old)).tolerance == Tolerance(accuracy_drop=0.02)
    old["tolerance"] = {"accuracy_drop": None, "divergence": None, "cosine": 0.1, "confidence": 0.9}
    again = Plan.from_json(json.dumps(old))
    assert again.tolerance == Tolerance(cosine=0.1)
    assert Plan.from_json(again.to_json()).to_json() == again.to_json()


def test_labels_and_losses_must_fit() -> None:
    module, inputs, labels = trained()
    model = compress(module, CompressionConfig(LayerSettings(density=0.5), pruning_steps=1))
    for call in (
        lambda tolerance, labels: plan(module, inputs, tolerance=tolerance, labels=labels),
        lambda tolerance, labels: watch(module, model, inputs, tolerance, labels=labels),
        lambda tolerance, labels: make_planner(module, inputs, labels, loss=tolerance.loss),
    ):
        with pytest.raises(InputError, match="the loss accuracy needs labels; found none; give labels, or take the l"):
            call(Tolerance(0.1, "accuracy"), None)
        with pytest.raises(InputError, match="labels have no effect on the loss cosine; leave them out"):
            call(Tolerance(0.1, "cosine"), labels)
        with pytest.raises(InputError, match="labels have no effect on the loss relative-error"):
            call(Tolerance(relative_error=0.1), labels)
