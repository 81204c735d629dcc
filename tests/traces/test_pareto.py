"""Pareto-optimal rows against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from traces import InputError
from traces.arrays import Booleans, Floats64
from traces.pareto import non_dominated


def by_definition(costs: Floats64) -> Booleans:
    return np.array([not ((costs <= row).all(axis=1) & (costs < row).any(axis=1)).any() for row in costs])


@pytest.mark.parametrize("objectives", range(1, 7))
@pytest.mark.parametrize("points", [1, 7, 600])
def test_rows_are_marked_as_defined(points: int, objectives: int) -> None:
    stream = np.random.default_rng(points * objectives)
    few_values = stream.integers(0, 2 + points // 100, (points, objectives)).astype(float)  # with equal rows
    for costs in (few_values, stream.random((points, objectives))):
        assert np.array_equal(non_dominated(costs), by_definition(costs))


def test_of_equal_rows_all_stay_or_the_first_one() -> None:
    costs = np.array([[2, 1], [1, 2], [1, 2], [2, 2], [1, 2]])
    assert non_dominated(costs).tolist() == [True, True, True, False, True]
    assert non_dominated(costs, keep_equal=False).tolist() == [True, True, False, False, False]
    assert non_dominated(np.zeros((3, 1))).all()


def test_there_may_be_no_rows_and_infinite_costs() -> None:
    assert non_dominated(np.zeros((0, 3))).shape == (0,)
    assert non_dominated(np.array([[math.inf, 1], [2, 1], [1, math.inf]])).tolist() == [False, True, True]


def test_unknown_costs_and_no_objectives_are_refused() -> None:
    with pytest.raises(InputError, match="costs must not be nan; found nan in 1 of 2 points; leave out points"):
        non_dominated(np.array([[1.0, math.nan], [0.0, 0.0]]))
    with pytest.raises(InputError, match=r"at least one objective; found shape \[3, 0\]"):
        non_dominated(np.zeros((3, 0)))
