"""Area, clock and energies of tables of arrays against those of each array, bit for bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, ArrayTable, Timing, area_mm2, timed, timing
from sim.config import NODES_NM
from sim.cost.constants import NOMINAL, Constants
from sim.cost.energy import EventEnergies, Transfers, block_energies, event_energies
from sim.cost.sram import Sram, activation_sram, codebook_sram, pointer_bank_sram, sparse_matrix_sram
from traces import InputError

NUM_ARRAYS = 10_000
CAPACITIES = (512, 700, 1000, 1024, 1500, 2048, 5000, 2**13, 2**14, 45_000, 2**17, 2**18, 10**6, 2**22)
OUTSIDE = (1, 300, 511, 2**22 + 1, 2**30)
OTHER = Constants({"sram_time": 1.2, "sram_area": 0.9, "sram_energy": 1.1, "gate_um2": 2.0, "wire_ns_per_mm": 0.1})
MOST_CYCLES = 64  # of pipeline and broadcast in `ArrayConfig`
COUNTS = ("cycles", "pointer_reads", "line_reads", "processed_entries", "useful_macs", "dram_bytes")


def drawn_arrays(number: int, seed: int) -> list[ArrayConfig]:
    draw = np.random.default_rng(seed)

    def either(usual: Any, rare: Any) -> Any:
        return np.where(draw.random(number) < 0.95, usual, rare)

    def capacities() -> Any:
        return either(draw.choice(CAPACITIES, number), draw.choice(OUTSIDE, number))

    weight_bits, index_bits = draw.integers(1, 17, number), draw.integers(1, 9, number)
    line_bits = either(draw.choice([8, 24, 64, 100, 128, 256, 512], number), draw.choice([513, 2**16], number))
    columns = {
        "num_pes": either(draw.integers(1, 300, number), 4 ** draw.integers(0, 9, number)),
        "queue_slots": either(draw.integers(2, 70, number), draw.integers(2, 2**20, number)),
        "line_bits": np.maximum(line_bits, weight_bits + index_bits),
        "weight_bits": weight_bits,
        "index_bits": index_bits,
        "clock_mhz": draw.choice([1.0, 200.0, 800.0, 931.0, 1e6], number) * draw.choice([1.0, 0.77], number),
        "pipeline_cycles": draw.choice([5, 5, 6, 9, 20, 64], number),
        "broadcast_cycles": draw.choice([1, 1, 2, 5, 64], number),
        "node_nm": draw.choice(NODES_NM, number),
        "sparse_matrix_bytes": capacities(),
        "pointer_bytes": np.minimum(2 * capacities(), 2**30),
        "activation_bytes": capacities(),
        "port_bits": draw.choice([8, 64, 512], number),
        "pointer_bits": draw.integers(1, 33, number),
        "dram_gb_per_s": draw.uniform(1, 50, number),
        "memory_mode": draw.choice(["unlimited", "resident", "passes", "streamed"], number),
        "block_axis": draw.choice(["columns", "rows"], number),
        "precision": draw.choice(["float", "fixed-32", "fixed-16", "fixed-8"], number),
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [ArrayConfig(**dict(zip(columns, row, strict=True))) for row in rows]


ARRAYS = drawn_arrays(NUM_ARRAYS, seed=1)
FEW = ARRAYS[:1500]


def each(function: Callable[[ArrayConfig], Any], arrays: list[ArrayConfig]) -> list[Any]:
    """Return a function of each array, None where it raises InputError."""
    found = []
    for array in arrays:
        try:
            found.append(function(array))
        except InputError:
            found.append(None)
    return found


def close(values: float | tuple[float, ...]) -> Any:
    """Return what equals these values but for the rounding of exponentials and powers on other systems."""
    if isinstance(values, tuple):
        return [pytest.approx(value, rel=1e-13) for value in values]
    return pytest.approx(values, rel=1e-13)


def assert_column(column: Any, values: list[Any], of_none: Any = math.nan) -> None:
    expected = np.array([of_none if value is None else value for value in values])
    assert column.shape == expected.shape
    if expected.dtype.kind == "U":
        assert column.tolist() == expected.tolist()
    else:
        assert column.dtype == expected.dtype
        assert np.array_equal(column, expected, equal_nan=expected.dtype.kind == "f")


@pytest.fixture(scope="module")
def table() -> ArrayTable:
    return ArrayTable.of(ARRAYS)


def test_areas_are_those_of_the_arrays(table: ArrayTable) -> None:
    areas = area_mm2(table)
    assert_column(areas, each(area_mm2, ARRAYS))
    assert 0.1 < np.isnan(areas).mean() < 0.6


@pytest.mark.parametrize("constants", [NOMINAL, OTHER], ids=["nominal", "other"])
def test_clocks_are_those_of_the_arrays(table: ArrayTable, constants: Constants) -> None:
    arrays = ARRAYS if constants is NOMINAL else FEW
    found = timing(table.take(range(len(arrays))), constants)
    expected = each(lambda array: timing(array, constants), arrays)
    of_none = {"limit": "", "pipeline_cycles": 0, "broadcast_cycles": 0}
    for field in dataclasses.fields(Timing):
        values = [alone and getattr(alone, field.name) for alone in expected]
        assert_column(getattr(found, field.name), values, of_none.get(field.name, math.nan))
    assert len(set(found.limit)) == 6


def test_cycles_are_those_of_the_timed_arrays(table: ArrayTable) -> None:
    found = timed(table)
    known = ~np.isnan(area_mm2(table))
    too_many = np.maximum(found.pipeline_cycles, found.broadcast_cycles) > MOST_CYCLES
    assert not too_many[~known].any()
    assert 0 < too_many.sum() < 200
    for place, alone in enumerate(each(timed, ARRAYS)):
        if alone is not None:
            assert (found.pipeline_cycles[place], found.broadcast_cycles[place]) == (
                alone.pipeline_cycles,
                alone.broadcast_cycles,
            )
        elif not too_many[place]:
            assert not known[place]
            assert found.array(place) == ARRAYS[place]
        else:
            with pytest.raises(InputError, match="cycles must be"):
                found.array(place)


@pytest.mark.parametrize("preset", ["eie", "horowitz-45nm"])
@pytest.mark.parametrize("constants", [NOMINAL, OTHER], ids=["nominal", "other"])
def test_energies_of_events_are_those_of_the_arrays(preset: str, constants: Constants) -> None:
    arrays = ARRAYS if constants is NOMINAL and preset == "eie" else FEW
    if preset != "eie":
        arrays = [dataclasses.replace(array, node_nm=45) for array in arrays]
    found = event_energies(ArrayTable.of(arrays), preset, constants)
    expected = each(lambda array: event_energies(array, preset, constants), arrays)
    for field in dataclasses.fields(EventEnergies):
        assert_column(getattr(found, field.name), [alone and getattr(alone, field.name) for alone in expected])


def test_a_preset_of_one_node_refuses_a_table_with_another_one(table: ArrayTable) -> None:
    with pytest.raises(InputError, match="preset horowitz-45nm needs node_nm=45; found 22; use preset eie"):
        event_energies(table, "horowitz-45nm")
    with pytest.raises(InputError, match="preset must be one of eie, horowitz-45nm; found 'other'"):
        event_energies(table, "other")


def test_energies_of_counts_are_those_of_the_arrays() -> None:
    table, draw = ArrayTable.of(FEW), np.random.default_rng(3)
    counts = dict(zip(COUNTS, draw.integers(0, 10**7, (len(COUNTS), 2, len(FEW))), strict=True))  # of two layers each
    moved = draw.integers(0, 10**5, (4, len(FEW)))
    found = block_energies(table, **counts, transfers=Transfers(*moved))
    for layer in range(2):
        expected: list[Any] = []
        for place, array in enumerate(FEW):
            of_array = {name: values[layer, place].item() for name, values in counts.items()}
            transfers = Transfers(*moved[:, place].tolist())
            expected += each(partial(block_energies, **of_array, transfers=transfers), [array])
        for name, energies in found.items():
            assert_column(energies[layer], [alone and alone[name] for alone in expected])


def test_counts_that_all_arrays_share_are_broadcast() -> None:
    table = ArrayTable.of(FEW[:40])
    found = block_energies(table, 1000, 200, 30, 50, 40, 7)
    expected = each(lambda array: block_energies(array, 1000, 200, 30, 50, 40, 7), FEW[:40])
    for name, energies in found.items():
        assert_column(energies, [alone and float(alone[name]) for alone in expected])


@pytest.mark.parametrize("of", [pointer_bank_sram, sparse_matrix_sram, activation_sram, codebook_sram])
def test_srams_are_those_of_the_arrays(table: ArrayTable, of: Callable[..., Sram]) -> None:
    found, expected = of(table), each(of, ARRAYS)
    assert any(alone is None for alone in expected) or of is codebook_sram
    for field in dataclasses.fields(Sram):
        assert_column(getattr(found, field.name), [alone and getattr(alone, field.name) for alone in expected])


@pytest.mark.parametrize("array", [ArrayConfig(), dataclasses.replace(FEW[0], num_pes=9)], ids=["paper", "drawn"])
def test_one_value_holds_for_all_arrays(array: ArrayConfig) -> None:
    values = {field.name: getattr(array, field.name) for field in dataclasses.fields(array)}
    one, many = ArrayTable(**values), ArrayTable(**(values | {"port_bits": np.full(3, 64)}))
    for table in (one, many):
        filled = ArrayTable.of([array] * len(table))
        assert area_mm2(table).tolist() == area_mm2(filled).tolist()
        assert timed(table).broadcast_cycles.tolist() == timed(filled).broadcast_cycles.tolist()
        for function in (timing, event_energies):
            found, expected = (dataclasses.astuple(function(of)) for of in (table, filled))
            for mixed, plain in zip(found, expected, strict=True):
                assert np.array_equal(mixed, plain)
                assert mixed.dtype == plain.dtype


def test_a_table_without_arrays_costs_nothing() -> None:
    table = ArrayTable.of([])
    assert area_mm2(table).size == timing(table).limit.size == event_energies(table).entry_pj.size == 0
    assert len(timed(table)) == 0


def test_costs_of_single_arrays_are_as_recorded() -> None:
    narrow = ArrayConfig(
        num_pes=100,
        queue_slots=12,
        line_bits=96,
        weight_bits=12,
        index_bits=5,
        clock_mhz=700,
        node_nm=32,
        pointer_bits=20,
        precision="fixed-32",
        memory_mode="passes",
        pipeline_cycles=7,
        broadcast_cycles=2,
        sparse_matrix_bytes=50_000,
        pointer_bytes=9000,
        activation_bytes=3000,
    )
    assert area_mm2(ArrayConfig()) == close(44.27013725286109)
    assert area_mm2(narrow) == close(19.762844007194648)
    assert dataclasses.astuple(timing(ArrayConfig())) == (
        close(931.1160356803665),
        "cycle time of the sparse-matrix SRAM",
        *(close(6.18978), close(0.40753182303678653), 5, 1),
    )
    assert dataclasses.astuple(timing(narrow)) == (
        close(1697.6768035959744),
        "addition to an accumulator",
        *(close(5.297418725059596), close(0.28006914836260627), 5, 1),
    )
    assert dataclasses.astuple(event_energies(ArrayConfig())) == (
        *close((0.3042, 3.52206, 16.230400000000003, 0.795, 1.0, 2.603864, 270.50798036544643)),
        *close((0.60375, 145.21148715274128, 0.0, 0.718057, 1.45445, 12.6917, 3.34087)),
    )
    assert dataclasses.astuple(event_energies(narrow)) == (
        *close((0.2915265, 1.1263805692579965, 6.451158426070079, 3.6529300000000005, 1.06, 1.9030422361091504)),
        *close((282.3385086619101, 0.5333125, 208.89312104643886, 27.3, 0.728565, 1.2598060170541487)),
        *close((5.933725973546583, 1.0649856377422409)),
    )
