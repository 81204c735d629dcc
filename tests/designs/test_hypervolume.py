"""Hypervolume against its closed form and a naive twin."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.hypervolume import CostBox, Hypervolume

Place = tuple[float, ...]
places = st.integers(1, 4).flatmap(
    lambda objectives: st.lists(st.tuples(*[st.floats(0, 1)] * objectives), min_size=1, max_size=6)
)


def test_hypervolume_is_the_share_of_the_box_that_is_beaten() -> None:
    volume = Hypervolume(CostBox(["accuracy_loss", "latency_us"], [0.0, 1.0], [1.0, 100.0]))
    assert volume.add([0.5, 10.0]) == pytest.approx(0.25, abs=0.003)  # halfway in each, latency by its logarithm
    assert volume.add([0.75, 1.0]) == pytest.approx(0.25 + 0.25 * 0.5, abs=0.003)
    assert volume.add([0.9, 50.0]) == volume.share  # beaten already
    cube = Hypervolume(CostBox(["latency_us", "energy_nj", "area_mm2"], [1, 1, 1], [math.e, math.e, math.e]))
    assert cube.add([np.exp(0.2), np.exp(0.5), np.exp(0.1)]) == pytest.approx(0.8 * 0.5 * 0.9, abs=0.003)


def dominated_share(designs: list[Place]) -> float:
    """Return the exact share of the unit box, by inclusion and exclusion of each design's part."""
    share = 0.0
    for number in range(1, len(designs) + 1):
        for chosen in itertools.combinations(designs, number):
            corner = [max(coordinates) for coordinates in zip(*chosen, strict=True)]
            share += (-1) ** (number + 1) * math.prod(1 - coordinate for coordinate in corner)
    return share


@settings(deadline=None)
@given(places)
def test_the_share_equals_that_of_the_naive_twin(designs: list[Place]) -> None:
    objectives = len(designs[0])
    volume = Hypervolume(CostBox(["accuracy_loss"] * objectives, [0.0] * objectives, [1.0] * objectives))
    for number, design in enumerate(designs, start=1):
        assert volume.add(design) == pytest.approx(dominated_share(designs[:number]), abs=0.005)
