"""Tolerances and the sharing they allow, against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from compress.planning.tolerances import fewest_shared_values, first_order_tolerances, second_order_tolerances
from traces import InputError


@pytest.mark.parametrize("bound", [0.05, 1.0, 20.0, 1000.0])
@pytest.mark.parametrize("power", [1, 2])
def test_tolerances_are_what_a_solver_finds(bound: float, power: int) -> None:
    costs = np.random.default_rng(3).lognormal(size=12)
    largest = 0.8
    tolerances = (first_order_tolerances if power == 1 else second_order_tolerances)(costs, bound, largest)
    spent = (costs * tolerances**power).sum()
    assert spent <= bound * (1 + 1e-12)
    assert tolerances.max() <= largest
    found = minimize(
        lambda logarithms: -logarithms.sum(),
        np.full(12, np.log(0.01)),
        bounds=[(-20, np.log(largest))] * 12,
        constraints={"type": "ineq", "fun": lambda logarithms: bound - (costs * np.exp(power * logarithms)).sum()},
    )
    assert found.success
    assert np.log(tolerances).sum() == pytest.approx(-found.fun, abs=1e-4)
    assert np.allclose(tolerances, np.exp(found.x), rtol=2e-3)


def test_tolerances_of_parameters_that_do_nothing_end_at_the_trust_region() -> None:
    assert np.array_equal(first_order_tolerances(np.array([[0.0, -4.0]]), 1.0, 2.0), [[2.0, 0.25]])
    assert np.array_equal(second_order_tolerances(np.array([0.0, 4.0]), 1.0, 2.0), [2.0, 0.5])
    assert np.array_equal(second_order_tolerances(np.zeros(3), 1.0, 2.0), [2.0] * 3)
    assert second_order_tolerances(np.zeros((0, 3)), 1.0, 2.0).shape == (0, 3)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 4)), max_size=8))
def test_no_fewer_values_hit_every_interval(intervals: list[tuple[int, int]]) -> None:
    values = np.array([value for value, _ in intervals], dtype=np.float64)
    tolerances = np.array([reach for _, reach in intervals], dtype=np.float64)
    shared, chosen = fewest_shared_values(values, tolerances)
    if not intervals:
        assert len(shared) == len(chosen) == 0
        return
    assert (np.abs(shared[chosen] - values) <= tolerances + 1e-12).all()
    assert (np.diff(shared) > 0).all()
    ends = sorted(set(values + tolerances))  # some smallest set of points lies on right ends alone
    for fewer in range(1, len(shared)):
        for points in combinations(ends, fewer):
            reached = np.abs(np.array(points)[:, np.newaxis] - values) <= tolerances
            assert not reached.any(axis=0).all()


def test_tolerances_refuse_what_is_no_bound() -> None:
    with pytest.raises(InputError, match="bound and trust region must be positive; found 0 and 1"):
        first_order_tolerances(np.ones(2), 0, 1)
    with pytest.raises(InputError, match="gradients and curvatures must be finite"):
        first_order_tolerances(np.array([np.nan]), 1, 1)
    with pytest.raises(InputError, match="curvatures must not be negative; found -1"):
        second_order_tolerances(np.array([-1.0]), 1, 1)
    with pytest.raises(InputError, match="tolerances must not be negative; found -1"):
        fewest_shared_values(np.ones(1), -np.ones(1))
    with pytest.raises(InputError, match=r"must have one shape; found \[1\] and \[2\]"):
        fewest_shared_values(np.ones(1), np.ones(2))
