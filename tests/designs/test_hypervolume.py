"""Hypervolume against its closed form and a naive twin."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.hypervolume import CostBox, dominated_share, greedy_order, spread_out
from traces import InputError

Place = tuple[float, ...]
places = st.integers(1, 4).flatmap(
    lambda objectives: st.lists(st.tuples(*[st.floats(0, 1)] * objectives), min_size=1, max_size=6)
)


def test_hypervolume_is_the_share_of_the_box_that_is_beaten() -> None:
    box = CostBox(["accuracy_loss", "latency_us"], [0.0, 1.0], [1.0, 100.0])
    designs = [[0.5, 10.0], [0.75, 1.0], [0.9, 50.0]]
    assert dominated_share(box, designs[:1]) == pytest.approx(0.25)  # halfway in each, latency by its logarithm
    assert dominated_share(box, designs[:2]) == pytest.approx(0.25 + 0.25 * 0.5)
    assert dominated_share(box, designs) == dominated_share(box, designs[:2])  # beaten already
    cube = CostBox(["latency_us", "energy_nj", "area_mm2"], [1, 1, 1], [math.e, math.e, math.e])
    assert dominated_share(cube, [[np.exp(0.2), np.exp(0.5), np.exp(0.1)]]) == pytest.approx(0.8 * 0.5 * 0.9)


def by_inclusion_and_exclusion(designs: list[Place]) -> float:
    """Return the exact share of the unit box, by inclusion and exclusion of each design's part."""
    share = 0.0
    for number in range(1, len(designs) + 1):
        for chosen in itertools.combinations(designs, number):
            corner = [max(coordinates) for coordinates in zip(*chosen, strict=True)]
            share += (-1) ** (number + 1) * math.prod(1 - coordinate for coordinate in corner)
    return share


def unit_box(objectives: int) -> CostBox:
    return CostBox(["accuracy_loss"] * objectives, [0.0] * objectives, [1.0] * objectives)


@settings(deadline=None)
@given(places)
def test_the_share_equals_that_of_the_naive_twin(designs: list[Place]) -> None:
    box = unit_box(len(designs[0]))
    assert dominated_share(box, designs) == pytest.approx(by_inclusion_and_exclusion(designs), abs=1e-12)


def test_the_share_of_many_designs_agrees_with_random_points_of_the_box() -> None:
    stream = np.random.default_rng(3)
    designs = stream.random((400, 4))
    designs /= np.linalg.norm(designs, axis=1, keepdims=True)
    points = stream.random((20_000, 4))
    sampled = np.mean([(designs <= point).all(axis=1).any() for point in points])
    assert dominated_share(unit_box(4), designs) == pytest.approx(sampled, abs=0.015)  # four standard errors


def test_a_design_outside_the_box_counts_with_what_it_dominates_inside() -> None:
    box = unit_box(2)
    assert dominated_share(box, [[-3.0, 0.5]]) == 0.5  # better than the best corner in one cost
    assert dominated_share(box, [[0.25, 1.5]]) == 0  # worse than the worst corner in one cost
    assert dominated_share(box, [[-1.0, -1.0]]) == 1
    assert dominated_share(box, []) == 0
    assert dominated_share(box, [[0.25, 1.5], [-3.0, 0.5], [0.5, -1.0]]) == 0.75


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(InputError, match="costs must not be nan; found nan in 1 of 2 designs; leave out designs"):
        dominated_share(unit_box(2), [[0.1, 0.2], [0.1, math.nan]])


def test_points_are_ordered_by_what_each_adds_to_those_before_it() -> None:
    places = np.random.default_rng(0).random((40, 3))
    box = unit_box(3)
    chosen: list[int] = []
    while True:
        shares = [dominated_share(box, places[[*chosen, at]]) for at in range(len(places))]
        gained = np.array(shares) - (dominated_share(box, places[chosen]) if chosen else 0)
        if gained.max() < 1e-12:
            break
        chosen.append(int(gained.argmax()))
    assert greedy_order(places, 40).tolist() == chosen
    assert greedy_order(places, 3).tolist() == chosen[:3]
    assert greedy_order(np.array([[0.5, 1.0], [1.5, -2.0]]), 5).size == 0  # beyond the worst corner


def test_points_that_are_spread_out_are_the_best_in_each_cost_then_far_from_each_other() -> None:
    points = np.array([[0, 1], [0.1, 0.9], [0.5, 0.5], [0.95, 0.05], [1, 0]])
    assert spread_out(points, 3).tolist() == [0, 4, 2]
    assert spread_out(points, 9).tolist() == [0, 4, 2, 1, 3]
    assert spread_out(points, 1).tolist() == [0]
    assert sorted(spread_out(np.zeros((3, 2)), 3).tolist()) == [0, 1, 2]
    assert spread_out(np.zeros((0, 2)), 3).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(4, 20))
@settings(max_examples=30, deadline=None)
def test_no_point_is_farther_from_those_that_are_spread_out_than_these_from_each_other(seed: int, number: int) -> None:
    points = np.random.default_rng(seed).random((60, 3))
    chosen = points[spread_out(points, number)]
    distances = np.abs(chosen[:, None] - chosen).sum(axis=2)
    later = [distances[at, :at].min() for at in range(3, number)]  # after the best in each cost
    farthest = np.abs(points[:, None] - chosen).sum(axis=2).min(axis=1).max()
    assert all(farthest <= each for each in later)
