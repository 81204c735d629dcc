"""Tables of arrays against the arrays of their rows."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from sim import ArrayConfig, ArrayTable
from traces import InputError
from traces.arrays import Numbers

DERIVED = ("entry_bits", "entries_per_line", "max_gap", "queue_depth", "activation_bits")
ARRAYS = [
    ArrayConfig(num_pes=4, weight_bits=2, clock_mhz=100),
    ArrayConfig(queue_slots=16, line_bits=128, index_bits=7, precision="fixed-8"),
    ArrayConfig(node_nm=22, precision="fixed-32", memory_mode="streamed", block_axis="rows"),
]


def test_a_table_of_arrays_gives_them_back() -> None:
    table = ArrayTable.of(iter(ARRAYS))
    assert len(table) == 3
    assert [table.array(place) for place in range(3)] == ARRAYS


def test_columns_and_derived_parameters_are_those_of_the_arrays() -> None:
    table = ArrayTable.of(ARRAYS)
    for name in (*(field.name for field in dataclasses.fields(ArrayConfig)), *DERIVED):
        assert getattr(table, name).tolist() == [getattr(array, name) for array in ARRAYS]


def test_every_property_of_an_array_is_one_of_a_table() -> None:
    properties = {name for name in dir(ArrayConfig) if isinstance(getattr(ArrayConfig, name), property)}
    assert properties == set(DERIVED)
    assert all(isinstance(getattr(ArrayTable, name), property) for name in properties)


def test_one_value_holds_for_all_arrays_and_a_missing_column_has_its_default() -> None:
    table = ArrayTable(num_pes=[1, 2, 4], clock_mhz=400, precision="fixed-16")
    assert len(table) == 3
    assert (table.clock_mhz, table.activation_bits, table.line_bits) == (400.0, 16, 64)
    assert table.array(2) == ArrayConfig(num_pes=4, clock_mhz=400, precision="fixed-16")
    assert len(ArrayTable(num_pes=8)) == 1


def test_a_replaced_column_changes_what_follows_from_it() -> None:
    table = ArrayTable.of(ARRAYS)
    assert table.activation_bits.tolist() == [16, 8, 32]
    wide = table.replace(precision="fixed-32", num_pes=np.array([1, 2, 3]))
    assert len(wide) == 3
    assert wide.activation_bits == 32
    assert wide.array(1) == dataclasses.replace(ARRAYS[1], precision="fixed-32", num_pes=2)
    assert table.replace(num_pes=5).activation_bits.tolist() == [16, 8, 32]
    assert table.array(1) == ARRAYS[1]


def test_rows_are_taken_by_their_places_or_by_a_condition() -> None:
    table = ArrayTable.of(ARRAYS).replace(clock_mhz=300)
    assert table.activation_bits.tolist() == [16, 8, 32]
    rows = table.take([2, 0])
    assert [rows.array(place).node_nm for place in range(2)] == [22, 45]
    assert rows.activation_bits.tolist() == [32, 16]
    assert table.take(table.num_pes == 64).precision.tolist() == ["fixed-8", "fixed-32"]
    assert len(table.take([])) == 0
    assert len(ArrayTable(num_pes=8).take([])) == 0


def test_a_kept_array_is_computed_once_until_a_field_of_it_changes() -> None:
    table, calls = ArrayTable.of(ARRAYS), []

    def doubled(of: ArrayTable) -> list[int]:
        def compute() -> Numbers:
            calls.append(1)
            return np.asarray(2 * of.num_pes)

        return [int(value) for value in of.kept("doubled", ("num_pes",), compute)]

    assert doubled(table) == doubled(table) == doubled(table.replace(clock_mhz=1)) == [8, 128, 128]
    assert doubled(table.take([1])) == [128]
    assert len(calls) == 1
    assert doubled(table.replace(num_pes=3)) == [6, 6, 6]
    assert len(calls) == 2


def test_a_table_is_sent_to_other_processes() -> None:
    sent = pickle.loads(pickle.dumps(ArrayTable.of(ARRAYS)))
    assert [sent.array(place) for place in range(3)] == ARRAYS


def test_what_is_no_column_of_arrays_is_refused() -> None:
    with pytest.raises(InputError, match=r"a column must be one of num_pes, .*; found 'pes'"):
        ArrayTable(pes=[1])
    with pytest.raises(
        InputError, match="columns must have one value, or as many as all other columns; found num_pes: 2"
    ):
        ArrayTable(num_pes=[1, 2], line_bits=[64, 64, 64])
    with pytest.raises(
        InputError, match="line_bits must have one value, or one for each of the 2 arrays; found 3 values"
    ):
        ArrayTable(num_pes=[1, 2]).replace(line_bits=[64, 64, 64])
    with pytest.raises(InputError, match="num_pes must be whole numbers; found values of type float64"):
        ArrayTable(num_pes=[1.5])
    with pytest.raises(InputError, match="precision must be texts; found values of type int64"):
        ArrayTable(precision=[16])
    with pytest.raises(InputError, match="num_pes must be one value or one axis of values; found 2 axes"):
        ArrayTable(num_pes=[[1]])
    with pytest.raises(InputError, match="num_pes must be 1 to 65,536"):
        ArrayTable(num_pes=[0]).array(0)
    with pytest.raises(AttributeError):
        _ = ArrayTable(num_pes=[1]).pes
