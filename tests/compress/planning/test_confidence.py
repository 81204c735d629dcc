"""Confidence limits of a mean loss: coverage on populations whose mean is known."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from compress.planning.confidence import interval, level_of, upper_limit
from traces import InputError
from traces.arrays import Floats64

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats64]
POPULATIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda draw, size: 5 + draw.normal(size=size), 5.0),
    "exponential": (lambda draw, size: draw.exponential(size=size), 1.0),
    "lognormal": (lambda draw, size: draw.lognormal(size=size), np.exp(0.5)),
    "mostly zero": (lambda draw, size: draw.exponential(size=size) * (draw.random(size) < 0.1), 0.1),
    "shares of positions": (lambda draw, size: draw.binomial(16, draw.beta(0.2, 9.8, size)) / 16, 0.02),
    "drops": (lambda draw, size: draw.choice([-1.0, 0.0, 1.0], size, p=[0.03, 0.92, 0.05]), 0.02),
}
KINDS = {
    "shares": np.repeat([0.0, 1.0], [95, 5]),
    "no changes": np.zeros(50),
    "drops": np.repeat([-1.0, 0.0, 1.0], [3, 92, 5]),
    "divergences": np.random.default_rng(0).lognormal(-5, 1.5, 200),
    "high losses": 3 - np.random.default_rng(0).lognormal(-1, 1, 200),
}


def held(population: str, number: int, level: float, times: int = 3000) -> float:
    draw, mean = POPULATIONS[population]
    samples = draw(np.random.default_rng(number), (times, number))
    return float(np.mean([upper_limit(each, level) >= mean for each in samples]))


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("number", [100, 400])
def test_a_limit_holds_as_often_as_its_level_says(population: str, number: int) -> None:
    assert held(population, number, 0.9) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize(("level", "within"), [(0.5, 0.08), (0.75, 0.05), (0.99, 0.015)])
def test_other_levels_hold_too(population: str, level: float, within: float) -> None:
    assert held(population, 300, level) == pytest.approx(level, abs=within)


@pytest.mark.parametrize("number", [12, 60, 300, 1000])
def test_limits_of_shares_hold_on_average_over_the_shares(number: int) -> None:
    draw = np.random.default_rng(1)
    shares = draw.uniform(0.02, 0.3, 6000)
    samples = (draw.random((6000, number)) < shares[:, None]).astype(float)
    kept = np.mean([upper_limit(each, 0.9) >= share for each, share in zip(samples, shares, strict=True)])
    assert kept == pytest.approx(0.9, abs=0.02)


def test_a_t_interval_would_fail_on_the_skewed_populations() -> None:
    draw, mean = POPULATIONS["mostly zero"]
    samples = draw(np.random.default_rng(0), (3000, 100))
    limits = samples.mean(axis=1) + 1.29 * samples.std(axis=1, ddof=1) / 10
    assert np.mean(limits >= mean) < 0.87


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_the_level_of_a_limit_is_the_level_it_was_made_for(values: Floats64, level: float) -> None:
    assert level_of(values, upper_limit(values, level)) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_levels_grow_with_the_bound_and_stay_below_one(values: Floats64) -> None:
    levels = [level_of(values, bound) for bound in np.linspace(-1, 20, 400)]
    assert levels == sorted(levels)
    assert levels[0] == pytest.approx(0, abs=1e-6)
    assert 0.999 < levels[-1] < 1


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_an_interval_turns_round_with_its_values(values: Floats64) -> None:
    found = interval(values, 0.8)
    assert found.mean == pytest.approx(values.mean())
    assert found.low <= found.mean <= found.high
    assert found.high == upper_limit(values, 0.9)
    if (values < 0).any() or values.max() > 1:
        assert interval(-values, 0.8).low == pytest.approx(-found.high)


@pytest.mark.parametrize("population", POPULATIONS)
def test_an_interval_holds_as_often_as_its_level_says(population: str) -> None:
    draw, mean = POPULATIONS[population]
    found = [interval(each, 0.95) for each in draw(np.random.default_rng(3), (2000, 300))]
    assert np.mean([each.low <= mean <= each.high for each in found]) == pytest.approx(0.95, abs=0.02)
    assert np.mean([each.low <= mean for each in found]) == pytest.approx(0.975, abs=0.02)


def test_no_change_in_a_sample_does_not_prove_that_there_is_none() -> None:
    assert upper_limit(np.zeros(100), 0.9) == pytest.approx(0.0134, abs=1e-4)  # Beta(0.5, 100.5)
    assert level_of(np.zeros(100), 0.01) == pytest.approx(0.8443, abs=1e-4)


def test_no_divergence_of_any_input_proves_that_there_is_none() -> None:
    assert upper_limit(np.zeros(100), 0.9, shares=False) == 0
    assert level_of(np.zeros(100), 1e-9, shares=False) > 0.999
    found = interval(np.zeros(100), 0.9, shares=False)
    assert (found.low, found.high) == (0, 0)


def test_a_loss_that_is_the_same_for_all_inputs_is_certain() -> None:
    values = np.full(20, 0.3)
    assert upper_limit(values, 0.99) == pytest.approx(0.3)
    assert level_of(values, 0.299) == 0
    assert 0.999 < level_of(values, 0.301) < 1


def test_weights_undo_a_draw_that_prefers_some_inputs() -> None:
    draw = np.random.default_rng(0)
    population = draw.exponential(size=2000)
    chances = (0.5 + population) / (0.5 + population).sum()
    kept = []
    for _ in range(1500):
        places = draw.choice(2000, 80, p=chances)
        counts = 1 / (2000 * chances[places])
        kept.append(upper_limit(population[places], 0.9, counts) >= population.mean())
        assert level_of(population[places], upper_limit(population[places], 0.9, counts), counts) == pytest.approx(0.9)
    assert np.mean(kept) == pytest.approx(0.9, abs=0.03)


def test_an_input_of_a_large_weight_may_change_though_none_did() -> None:
    light, heavy = (
        upper_limit(np.zeros(40), 0.9, np.r_[np.full(39, 40 - largest) / 39, largest]) for largest in (2, 9)
    )
    assert 0 < light < heavy


def test_answers_that_all_change_are_bounded_by_all_of_them() -> None:
    assert upper_limit(np.ones(30), 0.6) == 1
    assert level_of(np.ones(30), 0.99) == 0
    assert interval(np.ones(30), 0.6).low < 1


def test_a_thousand_losses_take_no_time() -> None:
    values = KINDS["divergences"].repeat(5)
    upper_limit(values, 0.9)
    begin = time.perf_counter()
    for _ in range(20):
        upper_limit(values, 0.9)
    assert (time.perf_counter() - begin) / 20 < 0.02


def test_what_a_limit_needs_is_said() -> None:
    with pytest.raises(InputError, match="at least two inputs; found 1"):
        upper_limit(np.ones(1), 0.9)
    with pytest.raises(InputError, match="must be finite"):
        level_of(np.array([0.0, np.nan]), 0.1)
    with pytest.raises(InputError, match="must be between 0 and 1; found 1"):
        upper_limit(np.ones(3), 1)
