"""Pairs of designs that costs tell apart, and the designs that stand for others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from designs.near_ties import standing_for, told_apart


def apart(one: list[float], other: list[float]) -> bool:
    """Return True if two designs of these costs, one for each draw, are told apart."""
    found = told_apart(np.array([one, other]).T)
    assert found[0, 1] == found[1, 0]
    assert not found.diagonal().any()
    return bool(found[0, 1])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(100, 102.1, True), (100, 101.9, False), (0, 1e-9, True), (0, 0, False), (-0.01, -0.01, False)],
)
def test_a_known_cost_tells_designs_apart_if_it_differs_by_more_than_two_percent(
    one: float, other: float, expected: bool
) -> None:
    assert apart([one], [other]) is expected


def test_the_same_design_must_cost_less_in_95_of_100_draws() -> None:
    assert apart([1.0] * 100, [2.0] * 95 + [0.5] * 5)
    assert not apart([1.0] * 100, [2.0] * 94 + [0.5] * 6)
    assert not apart([1.0] * 100, [2.0] * 94 + [1.01] * 6)


def test_a_cost_that_is_not_a_number_tells_nothing_apart() -> None:
    assert not apart([1.0], [math.nan])
    assert not apart([math.inf], [math.inf])


def test_the_first_design_in_the_order_stands_for_those_not_told_apart_from_it() -> None:
    costs = np.array([[1.0, 1.015, 1.03, 5.0]])  # the first and the third differ by 3 %
    apart = told_apart(costs)
    assert standing_for(apart, [0, 1, 2, 3]) == [0, 0, 2, 3]
    assert standing_for(apart, [1, 0, 2, 3]) == [1, 1, 1, 3]
    assert standing_for(apart, [3, 2, 1, 0]) == [0, 2, 2, 3]
