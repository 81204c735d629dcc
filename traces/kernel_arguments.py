"""Types of a kernel's arguments, which decide the version that runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np


class ArrayType(NamedTuple):
    """Type of an array.

    Attributes
    ----------
    dtype : str
        NumPy's name of the type of its numbers.
    ndim : int
        Number of axes.
    layout : {"C", "A"}
        "C" if its memory is one piece in row order, "A" otherwise.
    aligned : bool
        Whether its numbers lie at multiples of their size.
    """

    dtype: str
    ndim: int
    layout: Literal["C", "A"]
    aligned: bool


ArgumentType = ArrayType | Literal["int", "float", "bool"]


def plain_arguments(arguments: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[ArgumentType, ...]]:
    """Return arguments as plain arrays, int, float and bool, and the type of each.

    Whole numbers of all widths are int, so that a kernel is not compiled once more for each width.

    Raises
    ------
    TypeError
        If an argument is something else, or an array of another byte order than the processor's.
    """
    plain: list[Any] = []
    kinds: list[ArgumentType] = []
    for place, value in enumerate(arguments):
        if isinstance(value, np.ndarray):
            dtype = np.dtype(value.dtype.str)  # NumPy has several types of one width
            if dtype.kind not in "iufb" or not dtype.isnative:
                raise TypeError(f"argument {place} of a kernel must be an array of native numbers; found {value.dtype}")
            array = value.view(dtype, np.ndarray)
            layout: Literal["C", "A"] = "C" if array.flags.c_contiguous else "A"
            plain.append(array)
            kinds.append(ArrayType(dtype.str, array.ndim, layout, array.flags.aligned))
        elif isinstance(value, bool | np.bool):
            plain.append(bool(value))
            kinds.append("bool")
        elif isinstance(value, int | np.integer):
            plain.append(int(value))
            kinds.append("int")
        elif isinstance(value, float | np.floating):
            plain.append(float(value))
            kinds.append("float")
        else:
            raise TypeError(f"argument {place} of a kernel must be an array or a number; found {type(value).__name__}")
    return tuple(plain), tuple(kinds)
