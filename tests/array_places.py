"""Places of arrays in the grid of a space, found by their parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from designs.codesigns.array_grid import ArrayGrid
from designs.design import HARDWARE
from traces.arrays import Integers64, Numbers


def places_of(grid: ArrayGrid, hardware: Mapping[str, Numbers]) -> Integers64:
    """Return the places of arrays in a grid, [arrays], by their columns, fitted and derived ones left out."""
    place: Integers64 = np.zeros(len(hardware["num_pes"]), dtype=np.int64)
    for name in HARDWARE:
        values = grid.values[name]
        if name != "weight_bits" and len(values) > 1:
            place = place * len(values) + np.array([values.index(value) for value in hardware[name].tolist()])
    return place
