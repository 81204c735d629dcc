"""The dense array: its closed forms beside a loop over cycles, SCALE-Sim and published times; silicon and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.eie.published import PLATFORM_TIMES_US, PLATFORMS
from sim import (
    ArrayConfig,
    DenseArray,
    ProductShape,
    area_mm2,
    compare_with_dense,
    dense_area_mm2,
    dense_match,
    run_dense,
)
from sim.dense_array import DATAFLOWS, WEIGHT_BITS, Dataflow, cycles_of, folds_of, same_silicon, systolic_cycles
from sim.memory import transfer_cycles
from traces import InputError, NetworkLayer
from traces.eie_benchmark import EIE_BENCHMARK


def grid_cycles(rows: int, columns: int, steps: int) -> int:
    """Return the cycle after which the last MAC of a grid has taken the last step, operands being skewed."""
    last = 0
    for row in range(rows):
        for column in range(columns):
            last = max(last, row + column + steps)  # waits for its neighbours above and to the left
    return last


@pytest.mark.parametrize(
    ("rows", "columns", "dataflow", "shape", "scale_sim"),
    [
        (8, 8, "weight-stationary", (20, 30, 10), 383),
        (16, 4, "weight-stationary", (20, 30, 10), 439),
        (8, 16, "weight-stationary", (64, 64, 1), 991),
        (8, 8, "output-stationary", (20, 30, 10), 263),
        (16, 4, "output-stationary", (20, 30, 10), 239),
        (8, 16, "output-stationary", (64, 64, 1), 343),
    ],
)
def test_fills_and_drains_as_scale_sim_does(
    rows: int, columns: int, dataflow: Dataflow, shape: tuple[int, int, int], scale_sim: int
) -> None:
    """SCALE-Sim 3.0.0 counts from 0, and its output-stationary array does not wait for the sums to leave."""
    product, array = ProductShape(*shape), DenseArray(rows, columns, dataflow, activation_bytes=64 * 1024)
    down, across, steps = folds_of(product, array)
    by_paper = systolic_cycles(product, array)
    not_waited = rows * down * across if dataflow == "output-stationary" else 0
    assert by_paper - not_waited - 1 == scale_sim
    assert by_paper == down * across * (grid_cycles(rows, columns, steps) + rows)  # loading, or draining, takes `rows`


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_overlapping_folds_save_time_only(dataflow: Dataflow) -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        rows, columns = (int(each) for each in random.integers(1, 33, 2))
        shape = ProductShape(*(int(each) for each in random.integers(1, [200, 200, 200, 4])))
        array = DenseArray(rows, columns, dataflow, activation_bytes=64 * 1024)
        down, across, _ = folds_of(shape, array)
        cycles = cycles_of(shape, array)
        assert shape.macs / array.macs <= cycles <= systolic_cycles(shape, array)
        if (down, across, shape.groups) == (1, 1, 1) and shape.vectors >= rows and shape.columns >= rows:
            assert cycles == systolic_cycles(shape, array)


def test_dadiannao_and_gpu_of_the_eie_paper() -> None:
    """Table V: DaDianNao reads 4,096 weights in a cycle of 606 MHz. Table IV: a Titan X has 336.5 GB/s."""
    alex_7 = ProductShape(4096, 4096)
    array = DenseArray(1, 4096, "output-stationary", 16, 36 * 2**20, 4 * 2**20, 606)
    down, across, steps = folds_of(alex_7, array)
    frames_per_s = 606e6 / (down * across * steps)
    assert frames_per_s == pytest.approx(PLATFORMS["DaDianNao"][3], rel=1e-3)
    shares = []
    for layer, measured_us in zip(EIE_BENCHMARK.values(), PLATFORM_TIMES_US["GPU", 1, "dense"], strict=True):
        bytes_of_weights = 4 * layer.rows * layer.columns
        shares.append(bytes_of_weights / 336.5e3 / measured_us)
    assert max(shares) < 1  # no GPU is faster than its memory
    assert shares[3] > 0.8  # the largest layer comes near to it


def with_a_column_more_fits(array: DenseArray, pes: ArrayConfig) -> bool:
    try:
        return dense_area_mm2(replace(array, columns=array.columns + 1)) <= area_mm2(pes)
    except InputError:  # outside the SRAM tables
        return False


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_same_silicon(dataflow: Dataflow, bits: int) -> None:
    pes = ArrayConfig(num_pes=16, node_nm=32, clock_mhz=500)
    arrays = same_silicon(pes, area_mm2(pes), dataflow, bits)
    assert arrays
    for array in arrays:
        srams = 8 * (array.weight_bytes + array.activation_bytes)
        assert srams == 8 * 16 * (pes.sparse_matrix_bytes + pes.pointer_bytes + pes.activation_bytes)
        assert (array.node_nm, array.clock_mhz, array.dram_gb_per_s) == (32, 500, pes.dram_gb_per_s)
        assert dense_area_mm2(array) <= area_mm2(pes)
    widest = {array.rows: array for array in arrays}  # the last of so many rows
    assert not any(with_a_column_more_fits(array, pes) for array in widest.values())
    columns = [array.columns for array in arrays if array.rows == 1]
    assert columns[:-1] == [1 << power for power in range(len(columns) - 1)]  # smaller grids fill and drain faster


def test_energy_by_hand() -> None:
    array = DenseArray(4, 8, "output-stationary", 8, 64 * 1024, 16 * 1024)
    run = run_dense([ProductShape(16, 100, 4)], array)
    assert run.macs == 16 * 100 * 4
    assert run.cycles == 2 * 100 + 2 * 4 + 8 - 2  # two folds of eight outputs
    assert run.arithmetic_pj == pytest.approx(run.macs * (0.2 + 0.1))  # Horowitz: 8 bits times, 32 bits plus
    read = 16 * 100 * 8 * array.weight_banks.read_pj_per_bit  # the four vectors share each weight
    assert run.weight_pj == pytest.approx(read)
    activations = array.activation_banks
    moved = 4 * 100 * 2 * 8 * activations.read_pj_per_bit + 16 * 4 * 8 * activations.write_pj_per_bit
    assert run.activation_pj == pytest.approx(moved)
    assert run.dram_bytes == 0 == run.dram_pj
    parts = run.arithmetic_pj + run.weight_pj + run.activation_pj + run.clock_pj + run.wire_pj + run.leakage_pj
    assert run.energy_nj == pytest.approx(parts / 1e3)
    reused = run_dense([ProductShape(16, 100, 4, window_reuse=4)], array)
    assert reused.activation_pj < run.activation_pj
    assert reused.cycles == run.cycles


def test_partial_sums_leave_and_come_back() -> None:
    array = DenseArray(10, 16, "weight-stationary", 8, 64 * 1024, 16 * 1024)
    one, three = (run_dense([ProductShape(16, columns, 50)], array) for columns in (10, 30))
    sums = 16 * 50 * 32  # bits, for each further fold of the columns
    activations = array.activation_banks
    inputs = 2 * 10 * 50 * 8 * activations.read_pj_per_bit
    expected = inputs + 2 * sums * (activations.read_pj_per_bit + activations.write_pj_per_bit)
    assert three.activation_pj - one.activation_pj == pytest.approx(expected)


def test_weights_that_do_not_fit_come_from_dram_once() -> None:
    array = DenseArray(1, 64, "output-stationary", 8, 64 * 1024, 16 * 1024)
    fits, exceeds = ProductShape(256, 256), ProductShape(257, 256)
    assert run_dense([fits], array).dram_bytes == 0
    loaded = run_dense([exceeds], array)
    assert loaded.dram_bytes == 257 * 256
    assert loaded.latency_us >= 257 * 256 / 12.8e3
    assert run_dense([replace(exceeds, vectors=9)], array).dram_bytes == loaded.dram_bytes
    assert run_dense([fits, fits], array).dram_bytes == 256 * 256  # one of the two stays
    small = ProductShape(10, 256)
    assert run_dense([small, exceeds], array).dram_bytes == loaded.dram_bytes
    writes = loaded.weight_pj - 8 * loaded.dram_bytes * array.weight_banks.read_pj_per_bit
    assert writes == pytest.approx(8 * loaded.dram_bytes * array.weight_banks.write_pj_per_bit)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_runs_follow_one_another(dataflow: Dataflow) -> None:
    """Five runs of a vector cost five times one run; weights that do not fit alone are loaded anew."""
    array = DenseArray(4, 8, dataflow, 8, 64 * 1024, 16 * 1024)
    for columns in (100, 5000):  # the second is loaded
        one, five = (run_dense([ProductShape(16, columns, runs=runs)], array) for runs in (1, 5))
        assert bool(one.dram_bytes) == (columns == 5000)
        for name, value in vars(one).items():
            assert getattr(five, name) == pytest.approx(5 * value), name
    together = run_dense([ProductShape(16, 100, 5)], array)  # not the same as five vectors of one run
    assert together.cycles < five.cycles
    assert together.weight_pj <= run_dense([ProductShape(16, 100, runs=5)], array).weight_pj


def test_weights_stay_in_a_grid_that_takes_them_whole() -> None:
    array = DenseArray(4, 8, "weight-stationary", 8, 64 * 1024, 16 * 1024)
    one, five = (run_dense([ProductShape(8, 4, runs=runs)], array) for runs in (1, 5))
    assert five.weight_pj == one.weight_pj
    assert five.activation_pj == pytest.approx(5 * one.activation_pj)
    assert one.cycles == 4 + 2 * 4 + 8 - 2
    assert five.cycles == one.cycles + 4 * grid_cycles(4, 8, 1)


def test_a_loaded_layer_that_fits_alone_serves_all_of_its_runs() -> None:
    array = DenseArray(1, 64, "output-stationary", 8, 64 * 1024, 16 * 1024)
    large, small = ProductShape(250, 256), ProductShape(100, 256, runs=5)
    loaded = run_dense([large, small], array)
    assert loaded.dram_bytes == 100 * 256
    assert loaded.cycles == run_dense([large], array).cycles + max(
        5 * cycles_of(small, array), transfer_cycles(100 * 256, array)
    )
    assert run_dense([large, replace(small, runs=0.2)], array).dram_bytes == 0.2 * 100 * 256
    assert run_dense([large, small], array, alone=True).dram_bytes == 0


def test_shapes_of_calls_have_all_vectors() -> None:
    of_calls = ProductShape.of_calls
    assert of_calls(3, 9, 7) == ProductShape(3, 9, 7)
    assert of_calls(3, 9, 7, calls=7, groups=2) == ProductShape(3, 9, 1, 2, runs=7)
    assert of_calls(3, 9, 0.2) == ProductShape(3, 9, 1, runs=0.2)
    assert of_calls(3, 9, 2.5) == ProductShape(3, 9, 3, runs=2.5 / 3)
    array = DenseArray(1, 8, "output-stationary", 8, 64 * 1024, 16 * 1024)
    whole, part = (run_dense([of_calls(3, 9, vectors)], array) for vectors in (1, 0.2))
    for name, value in vars(whole).items():
        assert getattr(part, name) == pytest.approx(value / 5), name
    assert run_dense([of_calls(3, 9, 2.5)], array).macs == pytest.approx(2.5 * 27)


def test_the_shape_of_a_compact_layer_has_what_it_leaves_out() -> None:
    places = np.zeros((3, 10, 18), dtype=np.int64)
    layer = NetworkLayer("conv", "Conv2d", 30, 18, 3, "conv.weight", places, None, None, 1, 12.0, 0.0, (6, 2), 9.0)
    assert ProductShape.of_layer(layer, 100, 1) == ProductShape(12, 20, 100, 3, 9.0)
    assert ProductShape.of_layer(layer, 4, 1) == ProductShape(12, 20, 4, 3, 4.0)  # no more windows than positions
    assert ProductShape.of_layer(layer, 0.5, 0) == ProductShape(12, 20, 1, 3, 1.0, 0.5)  # not for the first input
    assert ProductShape.of_layer(layer, 4, 4) == ProductShape(12, 20, 1, 3, 1.0, 4)


def test_a_batch_joins_the_vectors_of_a_run() -> None:
    assert ProductShape(3, 9, 4, 2, 1.5).of_batch(3) == ProductShape(3, 9, 12, 2, 1.5)
    assert ProductShape(3, 9, runs=7).of_batch(16) == ProductShape(3, 9, 16, runs=7)  # sequences side by side
    assert ProductShape(3, 9, runs=0.2).of_batch(5) == ProductShape(3, 9)
    assert ProductShape.of_calls(3, 9, 2.5).of_batch(2) == ProductShape(3, 9, 5)


def test_the_match_is_the_best_shape() -> None:
    shapes, pes = [ProductShape(100, 300, 7), ProductShape(20, 100, 7)], ArrayConfig(num_pes=16)
    match = dense_match(shapes, pes)
    costs = [
        (run := run_dense(shapes, array)).latency_us * run.energy_nj
        for dataflow in DATAFLOWS
        for array in same_silicon(pes, area_mm2(pes), dataflow, 8)
    ]
    assert match.run.latency_us * match.run.energy_nj == min(costs)
    twice = compare_with_dense(shapes, pes, 2 * match.run.latency_us, match.run.energy_nj / 4)
    assert twice.speedup == pytest.approx(0.5)
    assert twice.energy_gain == pytest.approx(4)
    assert str(twice).startswith("dense is faster, sparse takes less energy; ")
    assert str(twice).endswith("The PEs take 2x its time and 0.25x its energy.")
    assert str(compare_with_dense(shapes, pes, 1e-6, 1e-6)).startswith("sparse wins in time and energy; ")
    assert str(compare_with_dense(shapes, pes, 1e6, 1e9)).startswith("dense wins in time and energy; ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "rows must be"),
        ({"dataflow": "row-stationary"}, "dataflow must be"),
        ({"bits": 4}, "bits must be 8 or 16; found 4"),
        ({"clock_mhz": 0}, "clock_mhz must be"),
        ({"columns": 2**20}, "in no number of banks within the SRAM tables"),
        ({"node_nm": 7}, "node_nm"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DenseArray(**({"rows": 2, "columns": 2} | changes))


def test_arrays_of_many_pes_have_a_match() -> None:
    for num_pes in (256, 1024):
        for bits in WEIGHT_BITS:
            assert dense_match([ProductShape(1000, 1000)], ArrayConfig(num_pes=num_pes), bits).array.macs >= 256
    with pytest.raises(InputError, match="bits must be 8 or 16; found 12"):
        dense_match([ProductShape(3, 9)], ArrayConfig(), 12)


def test_small_layers_take_small_grids() -> None:
    """A grid as large as the area allows would take longer to fill than such a layer takes."""
    match = dense_match([ProductShape(32, 64)], ArrayConfig(num_pes=16))
    assert match.array.macs <= 256


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="columns"):
        ProductShape(3, 0)
    with pytest.raises(InputError, match=r"window_reuse must be 1 to the 9 columns; found 0\.5"):
        ProductShape(3, 9, window_reuse=0.5)
    with pytest.raises(InputError, match="runs must be"):
        ProductShape(3, 9, runs=0)
    beyond = ArrayConfig(num_pes=1, sparse_matrix_bytes=64)
    with pytest.raises(InputError, match="an SRAM must have"):
        dense_match([ProductShape(3, 9)], beyond)
