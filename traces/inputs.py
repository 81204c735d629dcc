"""Inputs of a network: one array, or several with one common first axis."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, overload

import numpy as np

from traces.arrays import Integers, Numbers
from traces.errors import InputError
from traces.files.npz import read_npy, read_npz

_KINDS = "fiub"  # floating point, integers with and without a sign, booleans


class Inputs:
    """Inputs of a network: arrays by name, in order, with one common first axis, that of the inputs.

    `inputs["name"]` is an array. `inputs[2:5]` and `inputs[places]` are some of the inputs. `len(inputs)` counts them.
    `Inputs.of` makes them from anything that a user has.

    Parameters
    ----------
    arrays : Mapping[str, array [inputs, ...]]
        Floating-point numbers, integers or booleans.
    positional : bool
        True if a network takes the arrays by their order, False if it takes them by their names.

    Attributes
    ----------
    arrays : Mapping[str, array [inputs, ...]]
        Arrays by name, in order.
    positional : bool
        As given.

    Raises
    ------
    InputError
        If there are no arrays, their first axes differ, or an array holds no numbers.
    """

    def __init__(self, arrays: Mapping[str, Numbers], positional: bool = False) -> None:
        if not arrays:
            raise InputError("inputs must be at least one array; found none")
        checked = {
            name: _checked("inputs" if positional and len(arrays) == 1 else f"input {name!r}", values)
            for name, values in arrays.items()
        }
        lengths = {name: len(values) for name, values in checked.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"all arrays of the inputs must have one first axis, that of the inputs; found "
                f"{', '.join(f'{length:,} for {name!r}' for name, length in lengths.items())}"
            )
        self.arrays: Mapping[str, Numbers] = MappingProxyType(checked)
        self.positional = positional

    @classmethod
    def of(cls, values: AnyInputs) -> Inputs:
        """Return inputs of an array, a sequence or a mapping of arrays, or a file.

        Parameters
        ----------
        values : array, tuple or list of arrays, Mapping[str, array], path or Inputs
            An array or a sequence of arrays, which a network takes by their order; arrays by name; or the path of an
            .npy file, or of an .npz file with an array for each input. Arrays that an .npz file has without names
            (arr_0, arr_1, ...) are taken by their order. A list of numbers is one array.

        Returns
        -------
        Inputs
            The inputs; `values` itself if it is Inputs.

        Raises
        ------
        InputError
            As the constructor does, or if a file cannot be read.
        """
        if isinstance(values, Inputs):
            return values
        if isinstance(values, str | os.PathLike):
            return _read(values)
        if isinstance(values, Mapping):
            wrong = [name for name in values if not isinstance(name, str)]
            if wrong:
                raise InputError(f"inputs by name must have text as names; found {wrong[0]!r}")
            return cls(values)
        if isinstance(values, tuple) or (isinstance(values, list) and values and hasattr(values[0], "shape")):
            return cls({str(number): each for number, each in enumerate(values)}, positional=True)
        return cls({"0": _checked("inputs", values)}, positional=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in order: 0, 1, ... if they are taken by their order."""
        return tuple(self.arrays)

    @property
    def given(self) -> Numbers | tuple[Numbers, ...] | dict[str, Numbers]:
        """The arrays as `Inputs.of` takes them: one array, a tuple by order, or a dict by name."""
        if not self.positional:
            return dict(self.arrays)
        return next(iter(self.arrays.values())) if len(self.arrays) == 1 else tuple(self.arrays.values())

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[Inputs]:
        return (self[place : place + 1] for place in range(len(self)))

    @overload
    def __getitem__(self, place: str) -> Numbers: ...

    @overload
    def __getitem__(self, place: slice | Integers | Sequence[int]) -> Inputs: ...

    def __getitem__(self, place: str | slice | Integers | Sequence[int]) -> Numbers | Inputs:
        if isinstance(place, str):
            return self.arrays[place]
        if isinstance(place, int | np.integer):
            raise InputError(f"one input is a slice of the inputs; found the place {place}; use [{place}:{place + 1}]")
        chosen = place if isinstance(place, slice) else np.asarray(place)
        return Inputs({name: values[chosen] for name, values in self.arrays.items()}, self.positional)

    def __repr__(self) -> str:
        return f"Inputs({', '.join(self.described())})"

    def described(self) -> list[str]:
        """Return the name, type and shape of each array as text."""
        return [f"{name}: {values.dtype} {list(values.shape)}" for name, values in self.arrays.items()]

    @property
    def differ(self) -> bool:
        """True unless all inputs are the same."""
        return any(bool((values != values[:1]).any()) for values in self.arrays.values())

    def fingerprints(self) -> list[bytes]:
        """Return for each input bytes that are equal for equal inputs; floating-point numbers count as float32."""
        alike = [
            np.ascontiguousarray(values, dtype=np.float32 if values.dtype.kind == "f" else np.int64)
            for values in self.arrays.values()
        ]
        return [b"".join(values[place].tobytes() for values in alike) for place in range(len(self))]


#: Everything that `Inputs.of` takes.
AnyInputs: TypeAlias = Numbers | Sequence[Numbers] | Mapping[str, Numbers] | Inputs | str | os.PathLike[str]


def _read(path: str | os.PathLike[str]) -> Inputs:
    if Path(path).suffix != ".npz":
        return Inputs.of(read_npy(path))
    arrays = read_npz(path)
    try:
        return Inputs(arrays, positional=list(arrays) == [f"arr_{number}" for number in range(len(arrays))])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _checked(what: str, values: object) -> Numbers:
    """Return an array of numbers whose bytes are in this machine's order."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        if "inhomogeneous" in str(error):
            raise InputError(f"{what} must be of one shape; found arrays of several; pad or cut them") from None
        raise InputError(f"{what} must be an array; found {type(values).__name__}: {error}") from None
    if array.dtype.kind not in _KINDS:
        kind = {"O": "objects", "U": "text", "S": "text", "c": "complex numbers"}.get(
            array.dtype.kind, str(array.dtype)
        )
        remedy = "; pad or cut arrays of several lengths to one" if array.dtype.kind == "O" else ""
        raise InputError(f"{what} must hold floating-point numbers, integers or booleans; found {kind}{remedy}")
    if array.ndim == 0:
        raise InputError(f"{what} must have a first axis, that of the inputs; found a single number")
    if array.size == 0 and len(array):
        raise InputError(f"{what} must not be empty; found shape {list(array.shape)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
