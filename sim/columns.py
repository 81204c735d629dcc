"""Operations on one value or on a column of values, so that one formula holds for one array and for a table of arrays.

One value takes plain Python, a column NumPy; both give the same numbers, bit for bit. A column is a NumPy array of one
axis, `values` in the docstrings below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from traces.arrays import Numbers

_LARGEST_PLACE = 2**16  # of a table with a place for each whole number


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Return `yes` if the condition holds and `no` otherwise, for one value or for each of a column."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def by_value(function: Callable[[Any], Any], values: Any) -> Any:
    """Return a function of one value, or of each value of a column.

    Parameters
    ----------
    function : callable
        Function of one value; it is called once for each distinct value of a column.
    values : int, str or array [values]
        One value, or a column of integers or of texts.

    Returns
    -------
    what `function` returns, or array [values]
        The results; those of an empty column are of type int64.
    """
    if not isinstance(values, np.ndarray):
        return function(values)
    if values.size == 0:
        return np.zeros(0, np.int64)
    if values.dtype.kind == "U":
        return _by_text(function, values)
    if values.min() >= 0 and values.max() <= _LARGEST_PLACE:
        distinct = np.flatnonzero(np.bincount(values))
        places = values
    else:
        distinct, places = np.unique(values, return_inverse=True)
    results = np.array([function(value) for value in distinct.tolist()])
    if places is not values:
        return results[places]
    table = np.zeros(int(distinct[-1]) + 1, results.dtype)
    table[distinct] = results
    return table[values]


def _by_text(function: Callable[[Any], Any], values: Numbers) -> Numbers:
    """Return a function of each text of a column of few distinct ones."""
    first = str(values[0])
    others = values != first
    results = np.full(values.shape, function(first))
    if others.any():
        found = _by_text(function, values[others])
        results = results.astype(np.result_type(results, found))
        results[others] = found
    return results


def larger(one: Any, other: Any) -> Any:
    """Return the larger of two values, or of each pair of a column; nan if one of them is nan in a column."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def largest(named: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the name of the largest of several values, the first of equal ones, and the value.

    Parameters
    ----------
    named : mapping of str to float or array [values]
        Values or columns by name.

    Returns
    -------
    name : str or array of str [values]
        Name of the largest value; empty if one of the values is nan.
    value : float or array [values]
        The value.
    """
    if not any(isinstance(values, np.ndarray) for values in named.values()):
        name = max(named, key=lambda each: named[each])
        return name, named[name]
    value = reduce(np.maximum, named.values())
    names = list(named)
    place = np.full(value.shape, len(names))
    for number in reversed(range(len(names))):
        place[value == named[names[number]]] = number
    return np.array([*names, ""], dtype=object)[place], value


def square_root(values: Any) -> Any:
    """Return the square root of one value, or of each of a column."""
    return np.sqrt(values) if isinstance(values, np.ndarray) else math.sqrt(values)


def rounded_up(values: Any) -> Any:
    """Return the next whole number of one value, or of each of a column: int64 [values], 0 for nan."""
    if isinstance(values, np.ndarray):
        return np.nan_to_num(np.ceil(values), nan=0).astype(np.int64)
    return math.ceil(values)


def bit_length(values: Any) -> Any:
    """Return the bits that one whole number takes, or each of a column, below 2**53: int64 [values]."""
    if isinstance(values, np.ndarray):
        return np.frexp(values)[1].astype(np.int64)
    return int(values).bit_length()


def rounded_to_13_digits(value: float) -> float:
    """Round a power or an exponential to 13 digits, since the last of its 16 depend on the processor."""
    return float(f"{value:.13g}")
