"""Arrays of a space as a grid: every combination of its values, in blocks of one number of PEs.

The width of the codes is no axis of the grid: an array has the narrowest codes of the space that hold a compression's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from designs.design import ARRAY_FIELDS, HARDWARE, Packing
from designs.space import Parameter, Space
from traces import InputError
from traces.arrays import Integers64, Numbers

RANGE_VALUES = 16
"""Values that stand for a continuous range: evenly spaced ones, both ends among them; by ratio if it is logarithmic."""
_BLOCK_AXES = ("num_pes", "weight_bits")
MOST_ARRAYS = 20_000_000
"""Most arrays of a grid."""


@dataclass(frozen=True, eq=False)
class ArrayBlock:
    """Arrays of a grid with one number of PEs.

    Attributes
    ----------
    num_pes : int
        PEs of each array.
    columns : dict of str to array [arrays]
        Values of each hardware parameter but num_pes and weight_bits, by name.
    first : int
        Place of the first array in the grid.
    """

    num_pes: int
    columns: dict[str, Numbers]
    first: int

    def __len__(self) -> int:
        return len(self.columns["queue_slots"])

    @cached_property
    def packings(self) -> tuple[Packing, ...]:
        """Packings of these arrays, each once."""
        pairs = zip(self.columns["index_bits"].tolist(), self.columns["row_assignment"].tolist(), strict=True)
        return tuple(Packing(self.num_pes, *pair) for pair in dict.fromkeys(pairs))

    def packing_places(self, columns: Mapping[str, Numbers]) -> Integers64:
        """Return the place of the packing of some arrays of the block, [arrays], by their columns."""
        places = {(each.index_bits, each.row_assignment): at for at, each in enumerate(self.packings)}
        pairs = zip(columns["index_bits"].tolist(), columns["row_assignment"].tolist(), strict=True)
        return np.array([places[pair] for pair in pairs], dtype=np.int64)


class ArrayGrid:
    """Grid of all arrays of a space.

    Parameters
    ----------
    space : Space
        The space.

    Attributes
    ----------
    values : dict of str to tuple
        Values of each hardware parameter by name. A continuous range has RANGE_VALUES of them.

    Raises
    ------
    InputError
        If the grid has more than MOST_ARRAYS arrays.
    """

    def __init__(self, space: Space) -> None:
        self.values: dict[str, tuple[Any, ...]] = {
            name: listed(each) for name, each in space.hardware_parameters().items()
        }
        if len(self) > MOST_ARRAYS:
            raise InputError(
                f"the space has {len(self):,} arrays for each compression; at most {MOST_ARRAYS:,} can be enumerated; "
                f"give fewer values"
            )

    def __len__(self) -> int:
        """Return the number of arrays for one compression."""
        return math.prod(len(values) for name, values in self.values.items() if name != "weight_bits")

    def width(self, bits: int) -> int | None:
        """Return the narrowest codes of the space that hold codes of so many bits; None if there are none."""
        return min((each for each in self.values["weight_bits"] if each >= bits), default=None)

    @cached_property
    def blocks(self) -> tuple[ArrayBlock, ...]:
        """The blocks, in the order of `num_pes`."""
        names = [name for name in HARDWARE if name not in _BLOCK_AXES]
        axes = np.meshgrid(*(np.arange(len(self.values[name])) for name in names), indexing="ij")
        columns = {name: np.array(self.values[name])[axis.ravel()] for name, axis in zip(names, axes, strict=True)}
        size = len(axes[0].ravel())
        return tuple(
            ArrayBlock(num_pes, columns, number * size) for number, num_pes in enumerate(self.values["num_pes"])
        )

    def places(self, hardware: Mapping[str, Numbers]) -> Integers64:
        """Return the places of arrays in the grid, [arrays], by their columns; the width of the codes does not matter.

        Columns that were fitted or derived, and so are no axis of the grid, do not matter either.
        """
        names = ["num_pes", *(name for name in HARDWARE if name not in _BLOCK_AXES)]
        place: Integers64 = np.zeros(len(hardware["num_pes"]), dtype=np.int64)
        for name in names:
            values = self.values[name]
            number = {value: at for at, value in enumerate(values)}
            axis = 0 if len(values) == 1 else np.array([number[value] for value in hardware[name].tolist()])
            place = place * len(values) + axis
        return place

    @cached_property
    def entries_per_line(self) -> tuple[int, ...]:
        """Numbers of entries in a line of any array, each once, in order."""
        found = {
            line // (width + gap)
            for line in self.values["line_bits"]
            for width in self.values["weight_bits"]
            for gap in self.values["index_bits"]
        }
        return tuple(sorted(found - {0}))


def listed(parameter: Parameter) -> tuple[Any, ...]:
    """Return the values of a parameter; those of a continuous range are RANGE_VALUES evenly spaced ones."""
    if parameter.values is not None:
        return parameter.values
    assert parameter.range is not None
    low, high = parameter.range.low, parameter.range.high
    values = np.geomspace(low, high, RANGE_VALUES) if parameter.range.log else np.linspace(low, high, RANGE_VALUES)
    return (low, *values[1:-1].tolist(), high) if low < high else (low,)


def hardware_rows(columns: Mapping[str, Any], places: Integers64) -> Iterator[dict[str, Any]]:
    """Yield the hardware parameters of some rows of a table of arrays as plain values, by name."""
    for place in places.tolist():
        row = {}
        for name in (*ARRAY_FIELDS, "row_assignment"):
            values = columns[name]
            value = values if np.ndim(values) == 0 else values[place]
            row[name] = value.item() if isinstance(value, np.generic) else value
        yield row
