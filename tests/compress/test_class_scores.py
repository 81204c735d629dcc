"""Outputs that are no class scores, and labels that are not theirs, are refused at every door (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.class_scores import check_labels, check_scores
from compress.compression import compress
from compress.config import CompressionConfig, LayerSettings
from compress.planning.committee import choose_inputs
from compress.planning.pipeline import plan
from compress.planning.plan import Plan, Tolerance
from compress.planning.preparation import make_planner
from compress.planning.watch import watch
from compress.training.distillation import distil
from compress.training.fine_tuning import accuracy, train
from traces import InputError

CLOSE = Tolerance(divergence=0.005, confidence=0.5)
ALMOST_RIGHT = Tolerance(accuracy_drop=0.02, confidence=0.5)
NEARLY_RIGHT = Tolerance(accuracy_drop=0.05, confidence=0.5)


class Ending(torch.nn.Module):
    """Two layers, and what is made of their outputs."""

    def __init__(self, end: Callable[[Any], Any] = lambda scores: scores, outputs: int = 4) -> None:
        super().__init__()
        self.first, self.last, self.end = torch.nn.Linear(16, 24), torch.nn.Linear(24, outputs), end

    def forward(self, inputs: Any) -> Any:
        return self.end(self.last(torch.relu(self.first(inputs))))


def ending(end: Callable[[Any], Any] = lambda scores: scores, outputs: int = 4) -> Any:
    torch.manual_seed(0)
    return Ending(end, outputs).eval()


@pytest.fixture(scope="module")
def pool() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def answers(pool: np.ndarray) -> np.ndarray:
    found: np.ndarray = ending()(torch.from_numpy(pool)).argmax(dim=1).numpy()
    return found


def doors(module: Any, pool: np.ndarray, labels: Any = None) -> dict[str, Callable[[], object]]:
    """Return every call that compares outputs of a network, or its answers with labels."""
    model = compress(module, CompressionConfig(LayerSettings(density=0.5), pruning_steps=1))
    found: dict[str, Callable[[], object]] = {
        "plan": lambda: plan(module, pool, tolerance=CLOSE, labels=labels),
        "plan of a committee": lambda: plan(module, pool, tolerance=CLOSE, labels=labels, committee=30),
        "Planner": lambda: make_planner(module, pool, labels, loss=CLOSE.loss),
        "watch": lambda: watch(module, model, pool, CLOSE, labels=labels),
    }
    if labels is None:
        return found | {"committee": lambda: choose_inputs(module, pool, 20, CLOSE)}
    return found | {
        "accuracy": lambda: accuracy(module, pool, labels),
        "train": lambda: train(module, pool, labels, epochs=1, learning_rate=0.0),
    }


def normalised(scores: Any) -> Any:
    return torch.nn.functional.normalize(scores)


NO_SCORES = [
    (lambda scores: scores[:, :1], r"one number each, whose softmax is always 1; for the logit x .* \[0, x\] of two"),
    (lambda scores: scores[:, 0], r"found \[\d+\] for [\d]+ inputs, one number each"),
    (lambda scores: scores[:, :, None], r"found \[\d+, 4, 1\] .* one number each, .*cosine"),
    (lambda scores: scores[:, None, :, None], r"found \[\d+, 1, 4, 1\] .* one number each, .* the loss relative-error"),
    (lambda scores: scores.argmax(dim=1, keepdim=True).repeat(1, 2), "found int64; give the scores themselves"),
    (lambda scores: scores.T, "the network must give an output for each input|the first axis must be that of the"),
    (lambda scores: [scores, "text"], "must give a tensor, or a tuple or mapping of tensors; found str"),
    (lambda scores: {"a": None}, "must give at least one output; found none"),
    (lambda scores: scores.sum(), r"an output for each input, \[inputs, \.\.\.\]; found \[\]"),
    (lambda scores: scores.sigmoid(), "which look like probabilities that .* subtract 1 from all .* relative-error"),
    (normalised, r"found embeddings: those of each input have a length \(L2 norm\) of 1; .* cosine for embeddings"),
    (lambda scores: scores * 0, "must differ from input to input, .* found the same, to rounding, for all 1"),
    (lambda scores: scores * 0 + 3, "must differ from input to input"),
    (lambda scores: scores[:, :1].repeat(1, 4), "must differ from input to input"),
    (lambda scores: scores.where(scores < 0.3, torch.nan), r"must be finite; found NaN or infinity for \d+ of 1"),
    (lambda scores: scores.where(scores < 0.3, -torch.inf), "must be finite; found NaN or infinity"),
]


@pytest.mark.parametrize(("end", "sentence"), NO_SCORES)
def test_outputs_that_are_no_class_scores_are_refused_before_any_analysis(
    end: Callable[[Any], Any], sentence: str, pool: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.planning.preparation.analyse", None)  # calling it would fail
    for name, call in doors(ending(end), pool).items():
        with pytest.raises(InputError, match=sentence):
            print(name, call())


@pytest.mark.parametrize(
    "end",
    [
        lambda scores: scores,
        lambda scores: scores.log_softmax(dim=1),
        lambda scores: scores.softmax(dim=1).log(),
        lambda scores: scores.sigmoid() - 1,
        lambda scores: 10 * normalised(scores),
        lambda scores: scores.half(),
        lambda scores: scores.double(),
    ],
)
def test_class_scores_and_logarithms_of_probabilities_are_not_refused(
    end: Callable[[Any], Any], pool: np.ndarray
) -> None:
    outputs = end(ending()(torch.from_numpy(pool))).detach().numpy()
    check_scores("the outputs", outputs)
    check_scores("the outputs", outputs[:1] * 3 - 1, differing=False)
    check_scores("the outputs", outputs[:1].repeat(5, axis=0) * 3 - 1, differing=False)


def test_logarithms_of_probabilities_are_planned_as_the_scores_are(pool: np.ndarray) -> None:
    scores, logarithms = (plan(each, pool, tolerance=CLOSE) for each in (ending(), ending(normalising)))
    assert scores.feasible
    assert logarithms.feasible
    model = logarithms.apply(ending(normalising))
    measured_on = logarithms.planner.pool
    seen = [watch(each, model, measured_on, CLOSE).used.mean for each in (ending(), ending(normalising))]
    assert seen[0] == pytest.approx(seen[1], rel=1e-4)
    assert seen[0] == pytest.approx(logarithms.measured, rel=1e-3)


def test_probabilities_are_planned_by_their_logarithms_as_the_scores_are(pool: np.ndarray, answers: np.ndarray) -> None:
    scores, probable = (plan(each, pool, tolerance=CLOSE) for each in (ending(), ending(probabilities)))
    assert (scores.logarithms, probable.logarithms) == ((), ("output",))
    assert probable.feasible
    assert probable.choices == scores.choices
    assert probable.measured == pytest.approx(scores.measured, rel=1e-3)
    assert Plan.from_json(probable.to_json()).logarithms == ("output",)
    assert "logarithms" not in scores.to_json()
    report = watch(ending(probabilities), probable.apply(ending(probabilities)), probable.planner.pool, CLOSE)
    assert report.used.mean == pytest.approx(probable.measured, rel=1e-3)
    right = plan(ending(probabilities), pool, labels=answers, tolerance=ALMOST_RIGHT, committee=60)
    assert right.logarithms == ("output",)
    certain = plan(ending(lambda each: (1000 * each).softmax(dim=1)), pool, tolerance=Tolerance(divergence=0.5))
    assert np.isfinite(certain.measured or np.nan)  # the logarithm of 0 is none


def probabilities(scores: Any) -> Any:
    return scores.softmax(dim=1)


def normalising(scores: Any) -> Any:
    return scores.log_softmax(dim=1)


def one_wrong(labels: np.ndarray, wrong: Any, dtype: Any = None) -> np.ndarray:
    changed = labels.astype(dtype or labels.dtype)
    changed[7] = wrong
    return changed


NO_LABELS = [
    (lambda labels: labels[:, np.newaxis], r"found a column, shape \[150, 1\]; give its numbers alone, labels\[:, 0\]"),
    (lambda labels: np.eye(4)[labels], r"found shape \[150, 4\]; if they are one-hot, give labels\.argmax\(axis=1\)"),
    (lambda labels: labels[:, None, None], r"found shape \[150, 1, 1\]; give one label for each input"),
    (lambda labels: labels[0], r"found shape \[\]; give one label for each input"),
    (lambda labels: labels[:-3], "there must be a label for each input; found 147 for 150 inputs"),
    (lambda labels: labels.astype(str), "found text, like "),
    (lambda labels: labels.astype(bytes), "found text, like "),
    (lambda labels: labels > 1, "found booleans, like "),
    (lambda labels: labels.astype(object), "found object, like "),
    (lambda labels: labels + 0.25, r"found \d\.25 \(float64\); targets of a regression are no classes"),
    (lambda labels: one_wrong(labels, np.nan, np.float32), r"found nan \(float32\)"),
    (lambda labels: one_wrong(labels, np.inf, float), r"found inf \(float64\)"),
    (lambda labels: one_wrong(labels, -1), "found -1; leave inputs without a label out"),
    (lambda labels: one_wrong(labels, 4), "from 0 on, to 3 for the network's 4 outputs; found 4; check that they are"),
    (lambda labels: labels + 1, "found 4; they seem to begin at 1: subtract 1"),
]


@pytest.mark.parametrize(("change", "sentence"), NO_LABELS)
def test_what_are_no_labels_is_refused_before_any_analysis(
    change: Callable[[Any], Any],
    sentence: str,
    pool: np.ndarray,
    answers: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.planning.preparation.analyse", None)  # calling it would fail
    assert (answers == 3).any()
    for name, call in doors(ending(), pool, change(answers)).items():
        with pytest.raises(InputError, match=sentence):
            print(name, call())


def test_labels_of_any_whole_numbers_give_the_same(pool: np.ndarray, answers: np.ndarray) -> None:
    found = [
        plan(ending(), pool, labels=labels, tolerance=NEARLY_RIGHT, densities=(1.0, 0.7, 0.4), weight_bits=(3, 4, 6))
        for labels in (answers, answers.astype(np.uint8), answers.astype(float), answers.tolist())
    ]
    assert found[0].feasible
    assert {each.to_json() for each in found} == {found[0].to_json()}
    again = ending()
    found[0].apply(again).load_into(again)
    measured_on, right = found[0].planner.pool.arrays, found[0].planner.labels
    assert right is not None
    (inputs,) = measured_on.values()
    assert accuracy(again, inputs, right) == pytest.approx(1 - (found[0].measured or 0))
    assert accuracy(again, pool, answers.astype(np.uint8)) == accuracy(again, pool, answers)
    assert check_labels("labels", list(answers), 150, 4).dtype == np.int64


def test_an_accuracy_drop_that_nothing_can_break_is_refused(pool: np.ndarray, answers: np.ndarray) -> None:
    wrong = (answers + 1) % 4
    sentence = (
        "the bound on the loss accuracy must be at most 50% of .* found 0.02, .*; 0 of the network's answers are as"
    )
    with pytest.raises(InputError, match=sentence):
        plan(ending(), pool, labels=wrong, tolerance=ALMOST_RIGHT)
    model = compress(ending(), CompressionConfig(LayerSettings(density=0.5), pruning_steps=1))
    with pytest.raises(InputError, match=sentence):
        watch(ending(), model, pool, ALMOST_RIGHT, labels=wrong)
    watch(ending(), model, pool, CLOSE, labels=wrong)
    assert watch(ending(), model, pool, Tolerance(accuracy_drop=0.2)).verdict != "broken"


def test_a_container_whose_outputs_are_no_numbers_is_refused(pool: np.ndarray) -> None:
    class Broken:
        weight_names = ()
        thresholds_elsewhere: frozenset[str] = frozenset()

        def load_into(self, module: Any) -> None:
            torch.nn.init.constant_(module.last.bias, torch.nan)

    with pytest.raises(InputError, match="the compressed network's outputs must be finite; found NaN or infinity for"):
        watch(ending(), Broken(), pool, CLOSE)  # type: ignore[arg-type]


def test_training_and_accuracy_want_two_classes_or_more(pool: np.ndarray) -> None:
    zeros = np.zeros(150, dtype=np.int64)
    one = ending(outputs=1)
    with pytest.raises(InputError, match=r"the module's outputs must be class scores, .* one number each"):
        accuracy(one, pool, zeros)
    with pytest.raises(InputError, match=r"the module's outputs must be class scores, .* one number each"):
        train(one, pool, zeros, epochs=1, learning_rate=0.01)
    with pytest.raises(InputError, match=r"the module's outputs must be class scores, .* found tuple"):
        accuracy(ending(lambda scores: (scores,)), pool, zeros)
    wanted = torch.zeros(150, 1)
    for module, goal in ((one, wanted), (ending(), wanted)):
        with pytest.raises(InputError, match=r"of two classes or more; found \[150, \d\] and \[150, 1\]; a"):
            distil(module, lambda _, goal=goal: iter([(torch.from_numpy(pool), goal)]), 1, 0.01, 2.0)  # type: ignore[misc]
