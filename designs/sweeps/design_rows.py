"""Designs as packed rows: a few bytes for each of millions of designs, and a `Design` when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np

from compress import LayerSettings
from designs.design import ARRAY_FIELDS, HARDWARE, Design, Packing
from sim.array_table import ArrayTable
from traces.arrays import Integers, Integers64, Numbers

Compression = tuple[tuple[str, LayerSettings], ...]
_COMPRESSION = "compression"
_LARGEST_CODE = 2**62


class DesignRows(Sequence[Design]):
    """Designs as packed rows. They do not change.

    Parameters
    ----------
    rows : structured array [designs]
        Row of each design: for each parameter that varies, the place of its value among `values`, or the value itself.
    values : mapping of str to array
        Values of each of HARDWARE. A parameter that is no field of `rows` has one. A parameter without values here has
        them in the rows.
    compressions : sequence
        Compressions of the layers; the field "compression" of the rows has places among them if there are several.
    """

    def __init__(
        self, rows: Numbers, values: Mapping[str, Numbers], compressions: Sequence[Compression] = ((),)
    ) -> None:
        self._rows = rows
        self._values = dict(values)
        self._compressions = compressions

    @classmethod
    def of(cls, designs: Iterable[Design]) -> DesignRows:
        """Return the rows of these designs, in their order."""
        listed = list(designs)
        columns = {name: [getattr(each.array, name) for each in listed] for name in ARRAY_FIELDS}
        columns["row_assignment"] = [each.row_assignment for each in listed]
        columns[_COMPRESSION] = [each.compression for each in listed]
        distinct = {
            name: {value: place for place, value in enumerate(dict.fromkeys(given))} for name, given in columns.items()
        }
        varied = [name for name, places in distinct.items() if len(places) > 1]
        rows = np.zeros(len(listed), dtype=[(name, np.uint32) for name in varied])
        for name in varied:
            rows[name] = [distinct[name][value] for value in columns[name]]
        values = {name: np.array(list(distinct[name])) for name in HARDWARE}
        return cls(rows, values, tuple(distinct[_COMPRESSION]))

    def __reduce__(self) -> tuple[type[DesignRows], tuple[Any, ...]]:
        return DesignRows, (self._rows, self._values, self._compressions)  # a copy has no arrays before they are used

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> Design: ...
    @overload
    def __getitem__(self, number: slice) -> DesignRows: ...
    def __getitem__(self, number: int | slice) -> Design | DesignRows:
        if isinstance(number, slice):
            return DesignRows(self._rows[number], self._values, self._compressions)
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self):,} designs; found {number}")
        row = self._rows[number : number + 1 or None]
        values = {name: self._of(name, row).item() for name in HARDWARE}
        place = int(row[_COMPRESSION][0]) if _COMPRESSION in self._fields else 0
        return Design.from_hardware(values, self._compressions[place])

    def __iter__(self) -> Iterator[Design]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: Integers) -> DesignRows:
        """Return some of the designs, in the order of these numbers."""
        return DesignRows(self._rows[numbers], self._values, self._compressions)

    @property
    def _fields(self) -> tuple[str, ...]:
        return self._rows.dtype.names or ()

    def _of(self, name: str, rows: Numbers) -> Numbers:
        """Return the values of a hardware parameter in some rows; one value if it does not vary."""
        if name not in self._fields:
            return self._values[name]
        return self._values[name][rows[name]] if name in self._values else rows[name]

    def column(self, name: str) -> Any:
        """Return the value of a hardware parameter of all designs, or an array [designs] if it varies."""
        values = self._of(name, self._rows)
        return values if name in self._fields else values.item()

    def values(self, names: Iterable[str]) -> list[tuple[Any, ...]]:
        """Return the values of some hardware parameters of each design."""
        columns = (np.broadcast_to(self._of(name, self._rows), len(self)).tolist() for name in names)
        return list(zip(*columns, strict=True))

    @cached_property
    def arrays(self) -> ArrayTable:
        """The arrays of the designs; it has as many rows as there are designs."""
        columns = {name: self.column(name) for name in ARRAY_FIELDS}
        if not any(isinstance(values, np.ndarray) for values in columns.values()):
            columns["num_pes"] = np.full(len(self), columns["num_pes"])
        return ArrayTable(**columns)

    def packings(self) -> tuple[list[Packing], Integers]:
        """Return the packings, sorted, and the place of the packing of each design, int [designs]."""
        columns = [self.column(name) for name in Packing._fields]
        if not any(isinstance(values, np.ndarray) for values in columns):
            return [Packing(*columns)], np.zeros(len(self), dtype=np.uint8)
        first, places = self.kinds(Packing._fields)
        found = [
            Packing(*(np.asarray(each)[place if np.ndim(each) else ()].item() for each in columns)) for place in first
        ]
        order = sorted(range(len(found)), key=found.__getitem__)
        rank = np.empty(len(found), dtype=np.min_scalar_type(len(found)))
        rank[order] = np.arange(len(found))
        return [found[place] for place in order], rank[places]

    def kinds(self, names: Iterable[str], further: Integers | None = None) -> tuple[Integers64, Integers64]:
        """Group designs by some of their parameters.

        Parameters
        ----------
        names : iterable of str
            Hardware parameters.
        further : int array [designs], optional
            A further number of each design, 0 or more, that tells designs apart.

        Returns
        -------
        first : int64 [kinds]
            Number of the first design of each kind.
        kinds : int64 [designs]
            Kind of each design.
        """
        code: Any = np.zeros(len(self), dtype=np.int64)
        size = 1
        columns = [self._rows[name] for name in names if name in self._fields]
        for column in columns if further is None else (*columns, further):
            if column.dtype.kind == "f":
                column = np.unique(column, return_inverse=True)[1]
            values = int(column.max(initial=0)) + 1
            if size * values > _LARGEST_CODE:
                code = np.unique(code, return_inverse=True)[1]
                size = int(code.max(initial=0)) + 1
            code, size = code * values + column, size * values
        _, first, kinds = np.unique(code, return_index=True, return_inverse=True)
        return first, kinds
