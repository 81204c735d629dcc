"""Table of arrays: the parameters of many arrays as columns, for the cost model to take all at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sim.columns import by_value
from sim.config import ArrayConfig, DerivedParameters, activation_bits_of
from traces import InputError
from traces.arrays import Booleans, Integers, Numbers

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(ArrayConfig)}
_TYPES: dict[type, tuple[str, Any]] = {
    int: ("iu", np.int64),
    float: ("iuf", np.float64),
    str: ("UOT", np.str_),
    bool: ("b", np.bool_),
}
_MEANINGS = {np.int64: "whole numbers", np.float64: "numbers", np.str_: "texts", np.bool_: "true or false"}


class ArrayTable(DerivedParameters[Any]):
    """Parameters of many arrays, one column for each field of `ArrayConfig`, and the same derived parameters.

    Values are not checked: each row is taken to be a valid `ArrayConfig`. Only its SRAMs may be outside the tables of
    the cost model, which then gives nan. A table does not change; `replace` and `take` make further ones.

    Parameters
    ----------
    **columns : int, float, str or array [arrays]
        Columns by the names of the fields of `ArrayConfig`. One value holds for all arrays, and a field without a
        column has its default. A table of such values alone has one array.

    Raises
    ------
    InputError
        If a name is no field of `ArrayConfig`, or the columns differ in length.

    Notes
    -----
    The attributes are named like the fields, each one value or an array [arrays] of type int64, float64 or str.
    Arrays of these types are not copied, and must not be written to later.
    """

    def __init__(self, **columns: Any) -> None:
        given = {name: _column(name, values) for name, values in columns.items()}
        self._columns = _DEFAULTS | given
        lengths = {name: len(values) for name, values in given.items() if isinstance(values, np.ndarray)}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name}: {length:,}" for name, length in lengths.items())
            raise InputError(f"columns must have one value, or as many as all other columns; found {found}")
        self._length = next(iter(lengths.values()), 1)
        self._kept: dict[str, tuple[tuple[str, ...], Numbers]] = {}

    @classmethod
    def of(cls, arrays: Iterable[ArrayConfig]) -> ArrayTable:
        """Return the table of these arrays, in their order; each field is a column.

        Parameters
        ----------
        arrays : iterable of ArrayConfig
            The arrays.

        Returns
        -------
        ArrayTable
            The table.
        """
        rows = list(arrays)
        return cls(
            **{
                name: np.array([getattr(array, name) for array in rows], type(default))
                for name, default in _DEFAULTS.items()
            }
        )

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def activation_bits(self) -> Any:
        """Bits of an activation, a shared weight and an accumulator; the paper's 16 also for floating point."""
        if isinstance(self.precision, str):
            return activation_bits_of(self.precision)
        return self.kept("activation_bits", ("precision",), lambda: by_value(activation_bits_of, self.precision))

    def array(self, place: int) -> ArrayConfig:
        """Return one array of the table.

        Parameters
        ----------
        place : int
            Row of the array.

        Returns
        -------
        ArrayConfig
            The array.

        Raises
        ------
        InputError
            If its values are not valid.
        """
        row = {name: self.filled(values)[place].item() for name, values in self._columns.items()}
        return ArrayConfig(**row)

    def replace(self, **columns: Any) -> ArrayTable:
        """Return a table with other columns.

        Parameters
        ----------
        **columns : int, float, str or array [arrays]
            Columns that differ, by the names of the fields of `ArrayConfig`.

        Returns
        -------
        ArrayTable
            The table; it has as many arrays.

        Raises
        ------
        InputError
            If a name is no field of `ArrayConfig`, or a column does not have as many values as the table has arrays.
        """
        given = {name: _column(name, values) for name, values in columns.items()}
        for name, values in given.items():
            if isinstance(values, np.ndarray) and len(values) != self._length:
                raise InputError(
                    f"{name} must have one value, or one for each of the {self._length:,} arrays; found "
                    f"{len(values):,} values"
                )
        kept = {
            name: (fields, values) for name, (fields, values) in self._kept.items() if given.keys().isdisjoint(fields)
        }
        return self._made(self._columns | given, self._length, kept)

    def take(self, places: Sequence[int] | Integers | Booleans) -> ArrayTable:
        """Return the table of some of the arrays.

        Parameters
        ----------
        places : sequence of int, or array
            Rows to take, in their order; or a boolean for each array.

        Returns
        -------
        ArrayTable
            The table.
        """
        rows = np.asarray(places)
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64, copy=False)
        columns = {
            name: values.take(rows) if isinstance(values, np.ndarray) else values
            for name, values in self._columns.items()
        }
        kept = {name: (fields, values.take(rows, axis=-1)) for name, (fields, values) in self._kept.items()}
        return self._made(columns, len(rows), kept)

    def filled(self, values: Any) -> Any:
        """Return one value, or an array [..., arrays], as an array of that shape; it cannot be written to.

        Parameters
        ----------
        values : int, float, str or array
            Value that holds for all arrays, or values whose last axis is that of the arrays.

        Returns
        -------
        array [..., arrays]
            The values.
        """
        values = np.asarray(values)
        return np.broadcast_to(values, (*values.shape[:-1], self._length))

    def kept(self, name: str, fields: tuple[str, ...], compute: Callable[[], Numbers]) -> Numbers:
        """Return a derived array [..., arrays], computed once; tables made by `replace` and `take` have it, too.

        Parameters
        ----------
        name : str
            Name of the array.
        fields : tuple of str
            Fields that it depends on; a table in which one is replaced computes it again.
        compute : callable
            Computes it.

        Returns
        -------
        array [..., arrays]
            The array.
        """
        if name not in self._kept:
            self._kept[name] = (fields, self.filled(compute()))
        return self._kept[name][1]

    @classmethod
    def _made(
        cls, columns: dict[str, Any], length: int, kept: dict[str, tuple[tuple[str, ...], Numbers]]
    ) -> ArrayTable:
        """Return a table of checked columns."""
        table = cls.__new__(cls)
        table._columns, table._length, table._kept = columns, length, kept
        return table


ArrayOrTable = ArrayConfig | ArrayTable
"""One array, or many at once."""


def _column(name: str, values: Any) -> Any:
    """Return one value as plain Python has it, or a column in the type of its field."""
    if name not in _DEFAULTS:
        raise InputError(f"a column must be one of {', '.join(_DEFAULTS)}; found {name!r}")
    column = np.asarray(values)
    kinds, element = _TYPES[type(_DEFAULTS[name])]
    if column.dtype.kind not in kinds:
        raise InputError(f"{name} must be {_MEANINGS[element]}; found values of type {column.dtype}")
    if column.ndim > 1:
        raise InputError(f"{name} must be one value or one axis of values; found {column.ndim} axes")
    column = column.astype(element, copy=False)
    return column if column.ndim else column.item()
