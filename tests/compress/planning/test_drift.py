"""Drift of inputs: what is noticed with 200 inputs, how often chance alone raises an alarm, and the summary as data."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ks_2samp

from compress.planning.drift import UNLIKELY, InputDrift, InputSummary, compare_halves
from traces import InputError, Inputs
from traces.arrays import Floats, Integers64
from traces.files.images import load_digits

TRIALS = 25
Draw = np.random.Generator


def drifts(before: Floats | Integers64, now: Floats | Integers64, seed: int = 0) -> list[InputDrift]:
    return InputSummary.of(Inputs.of(before), seed).compare(Inputs.of(now))


def digits(draw: Draw) -> tuple[Floats, Floats, Integers64]:
    """Return a pool of 400 digits, and 1,037 others with their labels, in random order."""
    images = load_digits()
    order = draw.permutation(len(images.train_images))
    shuffled = images.train_images[order]
    return shuffled[:400], shuffled[400:], images.train_labels[order][400:]


def texts(draw: Draw, count: int, words: Integers64, length: int = 16) -> Integers64:
    """Return texts whose tokens depend on each other: each text has a topic of its own."""
    weights = np.random.default_rng(1).dirichlet(np.full(len(words), 0.5))
    topics = draw.dirichlet(30 * weights + 1e-9, size=count)
    return np.stack([draw.choice(words, length, p=topic) for topic in topics])


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda images, labels, draw: images[:200] * 1.1, 0.95),
        (lambda images, labels, draw: images[:200] + 0.05, 0.95),
        (lambda images, labels, draw: images[labels == 3][:200], 0.95),
        (lambda images, labels, draw: images[:200] + draw.normal(0, 0.05, images[:200].shape), 0.95),
        (lambda images, labels, draw: images[:200, ::-1], 0.8),  # by the random directions alone
        (lambda images, labels, draw: np.where(draw.random(images[:200].shape) < 0.01, np.nan, images[:200]), 0.95),
    ],
    ids=["brighter", "lighter", "one class", "noise", "turned round", "values that are no numbers"],
)
def test_images_that_changed_are_noticed_with_200_of_them(
    change: Callable[[Floats, Integers64, Draw], Floats], share: float
) -> None:
    draw = np.random.default_rng(0)
    noticed = 0
    for seed in range(TRIALS):
        pool, others, labels = digits(draw)
        noticed += drifts(pool, change(others, labels, draw).astype(np.float32), seed)[0].drifting
    assert noticed >= share * TRIALS


@pytest.mark.parametrize("kind", ["images", "texts", "categories", "normalised", "binary"])
def test_chance_alone_seldom_raises_an_alarm(kind: str) -> None:
    draw = np.random.default_rng(1)
    words = np.arange(500)
    alarms = trials = 0
    for seed in range(4 * TRIALS):
        if kind == "images":
            both = digits(draw)[1][:400]
        elif kind == "texts":
            both = texts(draw, 400, words)
        elif kind == "categories":
            both = draw.integers(0, 30, 400)
        elif kind == "normalised":
            both = draw.normal(size=(400, 20))
            both = ((both - both.mean(1, keepdims=True)) / both.std(1, keepdims=True)).astype(np.float32)
        else:
            both = draw.random((400, 8)) < 0.3
        trials += 2
        alarms += compare_halves(Inputs.of(both), seed)[0].drifting
        alarms += drifts(both[100:], both[:100], seed)[0].drifting
    assert alarms <= 0.05 * trials


def test_another_vocabulary_another_mix_and_new_words_are_noticed() -> None:
    draw = np.random.default_rng(2)
    words = np.arange(500)
    for seed in range(8):
        pool = texts(draw, 300, words)
        assert drifts(pool, texts(draw, 200, draw.permutation(words)), seed)[0].drifting
        new = texts(draw, 200, words)
        new[draw.random(new.shape) < 0.2] += 500
        found = drifts(pool, new, seed)
        assert found[0].drifting
        assert found[0].quantity == "share of values frequent before"
        longer = drifts(pool, texts(draw, 200, words, 48), seed)
        assert longer[0].quantity == "different values"
        assert longer[0].drifting


def test_the_probability_is_that_of_scipy_and_the_correction_that_of_holm() -> None:
    draw = np.random.default_rng(3)
    before, now = draw.normal(size=300), draw.normal(0.25, 1, 200)
    found = {drift.quantity: drift for drift in drifts(before, now)}
    assert set(found) == {"mean", "not finite"}
    exact = ks_2samp(before, now)
    shown = found["mean"]
    assert shown.difference <= exact.statistic + 1e-9
    assert shown.difference > exact.statistic - 0.05  # the cuts are 5 % of the inputs apart
    assert shown.probability > 2 * exact.pvalue * 0.9
    assert found["not finite"].probability == 1
    assert shown.medians[0] == pytest.approx(np.median(before), abs=0.05)
    assert shown.medians[1] == pytest.approx(np.median(now), abs=0.05)


def test_a_quantity_that_never_varied_is_compared_exactly() -> None:
    same = np.full((100, 4), 0.1, dtype=np.float32)
    assert not any(drift.drifting for drift in drifts(same, same + np.float32(1e-9)))
    other = {drift.quantity: drift.drifting for drift in drifts(same, same * 1.001)}
    assert other["mean"]


def test_several_inputs_are_tested_together_and_named() -> None:
    draw = np.random.default_rng(4)

    def given(scale: float) -> Inputs:
        return Inputs.of({"ids": draw.integers(0, 9, (200, 5)), "state": draw.normal(0, scale, (200, 3))})

    summary = InputSummary.of(given(1))
    assert not any(drift.drifting for drift in summary.compare(given(1)))
    found = [drift for drift in summary.compare(given(2)) if drift.drifting]
    assert {drift.array for drift in found} == {"state"}
    assert "spread" in {drift.quantity for drift in found}
    by_order = Inputs.of(tuple(given(1).arrays.values()))
    assert {drift.array for drift in summary.compare(by_order)} == {"0", "1"}


def test_images_of_another_size_are_compared_by_what_they_have_in_common() -> None:
    draw = np.random.default_rng(5)
    quantities = {drift.quantity for drift in drifts(draw.normal(size=(50, 8, 8)), draw.normal(size=(50, 9, 9)))}
    assert quantities == {"mean", "spread", "roughness", "not finite"}


def test_a_summary_is_small_and_the_same_after_json() -> None:
    draw = np.random.default_rng(6)
    inputs = Inputs.of({"image": draw.normal(size=(500, 3, 16, 16)), "ids": draw.integers(0, 30_000, (500, 64))})
    summary = InputSummary.of(inputs, 7)
    text = json.dumps(summary.to_json())
    assert len(text) < 12_000
    again = InputSummary.from_json(json.loads(text))
    assert again == summary
    assert again.compare(inputs[:200]) == summary.compare(inputs[:200])


def test_the_seed_alone_decides_what_is_drawn() -> None:
    inputs = Inputs.of(np.random.default_rng(7).normal(size=(60, 10)))
    assert InputSummary.of(inputs, 1) == InputSummary.of(inputs, 1)
    assert InputSummary.of(inputs, 1) != InputSummary.of(inputs, 2)


def test_what_cannot_be_compared_is_refused() -> None:
    numbers, ids = np.zeros((4, 3)), np.zeros((4, 3), dtype=np.int64)
    summary = InputSummary.of(Inputs.of(numbers))
    with pytest.raises(InputError, match="arrays like those of the summary, 0: floating-point numbers; found 0: integ"):
        summary.compare(Inputs.of(ids))
    with pytest.raises(InputError, match="a comparison needs at least one input; found none"):
        summary.compare(Inputs.of(numbers[:0]))
    with pytest.raises(InputError, match="a summary needs at least one input; found none"):
        InputSummary.of(Inputs.of(numbers[:0]))
    with pytest.raises(InputError, match=r"a summary of inputs must be values as InputSummary\.to_json gives them"):
        InputSummary.from_json({"inputs": 3})
    assert 0 < UNLIKELY <= 0.05
