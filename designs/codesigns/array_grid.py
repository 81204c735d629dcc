"""Arrays of a space as a grid: every combination of its values, in blocks.

The width of the codes is no axis of the grid: an array has the narrowest codes of the space that hold a compression's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from designs.design import ARRAY_FIELDS, HARDWARE, Packing
from designs.space import Parameter, Space
from traces import InputError
from traces.arrays import Booleans, Integers64, Numbers

LOADING = ("passes", "streamed")
"""Memory modes of arrays that load weights or spill feature maps."""
RANGE_VALUES = 16
"""Values that stand for a continuous range: evenly spaced ones, both ends among them; by ratio if it is logarithmic."""
_AXES = tuple(name for name in HARDWARE if name != "weight_bits")
MOST_ARRAYS = 20_000_000
"""Most arrays of a grid."""
_AT_ONCE = 2**17  # arrays of a block; more do not fit the caches


@dataclass(frozen=True, eq=False)
class ArrayBlock:
    """Arrays of a grid that are costed at once.

    Attributes
    ----------
    columns : dict of str to array [arrays]
        Values of each hardware parameter but weight_bits, by name.
    packings : int64 [arrays]
        Place of each array's packing in `ArrayGrid.packings`.
    places : int64 [arrays]
        Place of each array in the grid.
    """

    columns: dict[str, Numbers]
    packings: Integers64
    places: Integers64

    def __len__(self) -> int:
        return len(self.places)

    def take(self, chosen: Booleans | Integers64) -> ArrayBlock:
        """Return some of the arrays."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return ArrayBlock(columns, self.packings[chosen], self.places[chosen])


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
    def packings(self) -> tuple[Packing, ...]:
        """All packings: PE counts, gap widths and row assignments, each once."""
        return tuple(Packing(*each) for each in itertools.product(*(self.values[name] for name in Packing._fields)))

    def blocks(self, places: Integers64 | None = None) -> Iterator[ArrayBlock]:
        """Yield all arrays, or those at some places, in order, in blocks that are costed at once."""
        number = len(self) if places is None else len(places)
        for begin in range(0, number, _AT_ONCE):
            end = min(begin + _AT_ONCE, number)
            yield self._block(np.arange(begin, end) if places is None else places[begin:end])

    def _block(self, places: Integers64) -> ArrayBlock:
        columns: dict[str, Numbers] = {}
        numbers: dict[str, Integers64] = {}
        rest = places
        for name in reversed(_AXES):
            values = self.values[name]
            rest, numbers[name] = np.divmod(rest, len(values))
            columns[name] = np.array(values)[numbers[name]]
        packing = np.zeros(len(places), dtype=np.int64)
        for name in Packing._fields:
            packing = packing * len(self.values[name]) + numbers[name]
        return ArrayBlock(columns, packing, places)

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
