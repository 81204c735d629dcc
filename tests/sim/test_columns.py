"""Operations on columns against the same operations on each of their values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.columns import by_value, larger, largest, rounded_up, square_root, where
from traces.arrays import Numbers

NAN = math.nan


def test_a_condition_chooses_for_one_value_and_for_each_of_a_column() -> None:
    assert where(True, 2, 3) == 2
    assert where(False, 2, 3) == 3
    assert where(np.array([True, False]), np.array([1, 2]), 5).tolist() == [1, 5]


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 3, 0, 7]),
        np.array([2**40, 5, 2**40, -3]),  # too large for a table of all whole numbers
        np.array([2**16, 2**16 + 1]),
        np.array(["fixed-8", "float", "fixed-8", "fixed-32"]),
        np.array(["float"]),
    ],
    ids=lambda values: str(values[:2]),
)
def test_a_function_is_called_once_for_each_distinct_value(values: Numbers) -> None:
    calls = []

    def function(value: int | str) -> float:
        calls.append(value)
        return len(str(value)) / 3

    found = by_value(function, values)
    assert found.tolist() == [len(str(value)) / 3 for value in values.tolist()]
    assert sorted(map(str, calls)) == sorted({str(value) for value in values.tolist()})


def test_texts_take_the_type_that_holds_all_results() -> None:
    found = by_value({"a": 1, "b": 2.5}.__getitem__, np.array(["a", "b", "a"]))
    assert found.tolist() == [1, 2.5, 1]


def test_a_function_of_one_value_and_of_none() -> None:
    assert by_value(lambda value: value + 1, 3) == 4
    assert by_value(lambda value: value + 1, np.zeros(0, np.int64)).size == 0


def test_the_larger_value_of_a_column_is_nan_where_one_is() -> None:
    assert larger(2, 3) == 3
    assert np.array_equal(larger(np.array([1.0, 9.0, NAN]), 3), [3.0, 9.0, NAN], equal_nan=True)


def test_the_largest_value_has_the_name_of_the_first_of_equal_ones() -> None:
    assert largest({"a": 1.0, "b": 4.0, "c": 4.0}) == ("b", 4.0)
    names, values = largest({"a": np.array([5.0, 1.0, 2.0, NAN]), "b": np.array([5.0, 3.0, 1.0, 2.0]), "c": 2.5})
    assert names.tolist() == ["a", "b", "c", ""]
    assert np.array_equal(values, [5.0, 3.0, 2.5, NAN], equal_nan=True)


def test_roots_and_whole_numbers_are_those_of_python() -> None:
    values = np.array([0.0, 2.0, 9.0, 1e-3, 7.0000001])
    assert square_root(values).tolist() == [math.sqrt(value) for value in values]
    assert rounded_up(values).tolist() == [math.ceil(value) for value in values]
    assert rounded_up(np.array([NAN, 1.5])).tolist() == [0, 2]
    assert (square_root(9), rounded_up(1.5)) == (3.0, 2)
