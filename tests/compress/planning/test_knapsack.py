"""Knapsacks against all combinations and HiGHS, their relaxation against SciPy, and what reaches the terminal."""

from __future__ import annotations

import ctypes
import os
import threading
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from compress.planning import knapsack
from compress.planning.knapsack import choose, choose_nearest
from compress.planning.relaxation import Relaxation
from traces.arrays import Floats64, Integers64

Totals = dict[str, tuple[list[Floats64], float]]


def problem(seed: int, layers: int, options: int, bounds: int) -> tuple[list[Floats64], Totals]:
    """Return bytes of layers, their changes of the outputs, and further counts, with bounds that can be kept."""
    stream = np.random.default_rng(seed)
    sizes = 10 ** stream.uniform(2, 4, (layers, 1))
    density, bits = stream.uniform(0.03, 1, (layers, options)), stream.integers(2, 7, (layers, options))
    objective = sizes * density * bits * stream.uniform(0.97, 1.03, (layers, options))
    change = (
        10 ** stream.uniform(-4, -1, (layers, 1))
        * (3 * (1 - density) ** 2 + 4.0**-bits)
        * stream.lognormal(0, 0.3, (layers, options))
    )
    least = change.min(axis=1).sum()
    totals = {"change": (list(change), least**0.6 * change.max(axis=1).sum() ** 0.4)}
    for number in range(1, bounds):
        counts = sizes * density * stream.lognormal(0, 0.4, (layers, options))
        totals[str(number)] = list(counts), 0.6 * float(counts.max(axis=1).sum())
    return list(objective), totals


def total(counts: Any, places: Any) -> float:
    return float(sum(of_layer[place] for of_layer, place in zip(counts, places, strict=True)))


def keeps(totals: Totals, places: Any) -> bool:
    return all(total(counts, places) <= bound * (1 + 1e-8) for counts, bound in totals.values())


def by_highs(objective: list[Floats64], totals: Totals) -> Integers64 | None:
    rows = [(np.concatenate(counts), bound) for counts, bound in totals.values()]
    return knapsack._solve(objective, rows, slack=False, gap=1e-6)


@pytest.fixture
def without_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("HiGHS is not needed here")

    monkeypatch.setattr(knapsack, "milp", refuse)
    monkeypatch.setattr(knapsack, "linprog", refuse)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("tried", [2**16, 0], ids=["all combinations", "dynamic programme"])
def test_the_knapsack_is_solved_as_brute_force_solves_it(
    seed: int, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knapsack, "_TRIED_COMBINATIONS", tried)
    stream = np.random.default_rng(seed)
    objective = [stream.integers(1, 50, 4).astype(float) for _ in range(4)]
    totals = {name: ([stream.integers(1, 50, 4).astype(float) for _ in range(4)], 70.0) for name in ("a", "b")}
    ways = list(product(range(4), repeat=4))
    allowed = [way for way in ways if keeps(totals, way)]
    found = choose(objective, totals)
    if not allowed:
        assert found is None
    else:
        assert found is not None
        assert keeps(totals, found)
        assert total(objective, found) == min(total(objective, way) for way in allowed)
    nearest = choose_nearest([4] * 4, totals, ["a"])
    hard = [way for way in ways if total(totals["a"][0], way) <= 70]
    if not hard:
        assert nearest is None
    else:
        assert nearest is not None
        least = min(max(0.0, total(totals["b"][0], way) / 70 - 1) for way in hard)
        assert max(0.0, total(totals["b"][0], nearest) / 70 - 1) == pytest.approx(least)


@pytest.mark.parametrize(("layers", "options"), [(3, 115), (8, 60), (20, 60)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gap", [1e-3, 0.0])
def test_one_bound_needs_no_highs_and_is_within_the_gap_of_it(
    layers: int, options: int, seed: int, gap: float, request: pytest.FixtureRequest
) -> None:
    objective, totals = problem(seed, layers, options, bounds=1)
    best = by_highs(objective, totals)
    request.getfixturevalue("without_highs")
    found = choose(objective, totals, gap)
    assert best is not None
    assert found is not None
    assert keeps(totals, found)
    assert total(objective, found) <= total(objective, best) * (1 + gap + 1e-9)


@pytest.mark.parametrize(("layers", "options"), [(3, 30), (6, 40), (12, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_several_bounds_are_kept_at_the_cost_of_highs(layers: int, options: int, seed: int) -> None:
    objective, totals = problem(seed, layers, options, bounds=3)
    best, found = by_highs(objective, totals), choose(objective, totals)
    if best is None:
        assert found is None
    else:
        assert found is not None
        assert keeps(totals, found)
        assert total(objective, found) <= total(objective, best) * (1 + 1e-3 + 1e-6)


@pytest.mark.usefixtures("without_highs")
def test_bounds_of_single_layers_and_bounds_without_effect_cost_nothing() -> None:
    objective, totals = problem(0, 20, 60, bounds=1)
    zeros = [np.zeros(60) for _ in objective]
    for number, of_layer in enumerate(objective):
        alone = [*zeros[:number], of_layer, *zeros[number + 1 :]]
        totals[f"bytes of layer {number}"] = alone, float(np.quantile(of_layer, 0.9))
    totals["everything"] = objective, 2 * float(np.sum(objective))
    found = choose(objective, totals)
    assert found is not None
    assert keeps(totals, found)
    assert choose(objective, totals | {"impossible": (objective, 0.0)}) is None
    assert choose(objective, {}) is not None


def test_a_budget_that_all_else_takes_up_is_missed_by_as_little_as_can_be() -> None:
    sizes = [np.array([50.0, 20.0, 30.0]), np.array([7.0, 9.0, 6.0])]
    changes = [np.array([1.0, 5.0, 3.0]), np.array([0.0, 0.0, 1.0])]
    for bound in (0.0, -40.0):
        found = choose_nearest([3, 3], {"tolerance": (changes, 4.0), "file_bytes": (sizes, bound)}, ["tolerance"])
        assert found is not None
        assert found.tolist() == [2, 2]


def test_too_many_partial_solutions_are_left_to_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, totals = problem(1, 12, 40, bounds=1)
    best = choose(objective, totals, 0.0)
    monkeypatch.setattr(knapsack, "_MOST_STATES", 1)
    found = choose(objective, totals, 0.0)
    assert best is not None
    assert found is not None
    assert keeps(totals, found)
    assert total(objective, found) == pytest.approx(total(objective, best))


@pytest.mark.parametrize("seed", range(10))
def test_the_relaxation_equals_linear_programming_and_is_below_all_combinations(seed: int) -> None:
    objective, totals = problem(seed, 3, 12, bounds=1)
    changes = totals["change"][0]
    relaxation = Relaxation.of(objective, changes)
    limits = np.geomspace(sum(each.min() for each in changes), sum(each.max() for each in changes), 9)
    least = relaxation.least_costs(limits)
    one_each = sparse.block_diag([np.ones((1, 12))] * 3)
    combinations = list(product(range(12), repeat=3))
    all_changes = np.array([total(changes, each) for each in combinations])
    all_costs = np.array([total(objective, each) for each in combinations])
    for limit, bound in zip(limits, least, strict=True):
        exact = linprog(
            np.concatenate(objective), [np.concatenate(changes)], [limit * (1 + 1e-12)], one_each, np.ones(3)
        )
        assert bound == pytest.approx(exact.fun, rel=1e-6)
        assert bound <= all_costs[all_changes <= limit * (1 + 1e-12)].min() * (1 + 1e-9)
        chosen = relaxation.options(limit)
        assert total(changes, chosen) <= limit * (1 + 1e-8)
        assert bound <= total(objective, chosen) * (1 + 1e-9)
    assert relaxation.least_costs(limits[:1] / 2)[0] == np.inf
    assert relaxation.least_costs(np.array([limits[-1] * 9]))[0] == pytest.approx(sum(each.min() for each in objective))


def test_what_c_code_prints_to_stdout_is_dropped_and_other_threads_keep_their_lines(
    capfd: pytest.CaptureFixture[str],
) -> None:
    c_library = ctypes.CDLL(None)
    with knapsack._without_stdout():
        c_library.puts(b"HighsMipSolverData::something")
        other = threading.Thread(target=lambda: os.write(1, b"a line of another thread\n"))
        other.start()
        other.join()
    c_library.puts(b"printed later")
    c_library.fflush(None)
    assert capfd.readouterr().out == "a line of another thread\nprinted later\n"


def test_highs_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    objective, totals = problem(9, 20, 60, bounds=1)  # HiGHS in SciPy 1.17 prints two lines
    rows = [(np.concatenate(counts), bound) for counts, bound in totals.values()]
    assert knapsack._solve(objective, rows, slack=False) is not None
    assert capfd.readouterr() == ("", "")
