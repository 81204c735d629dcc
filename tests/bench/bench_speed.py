"""Speed of the simulator, as ratios measured in one run: `make bench`.

Each group of the printed table is one question, and the numbers in brackets are the ratios to its fastest
row. Every row is checked before it is timed. Alex-8 is the real one where CODESIGN_DATA holds it, else the drawn one.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from designs import sample, sweep
from designs.experiments.benchmark import benchmark_sources
from designs.sweeps.workers import Processes
from designs.sweeps.workload_source import EIE, open_workload
from sim import ArrayConfig, ArrayTable, area_mm2, count, count_all, pack, simulate, simulate_batch, timed
from sim.array import prepare
from sim.cost.energy import event_energies
from sim.engine import Run
from sim.row_assignment import rows_balanced_by_activity, rows_balanced_by_entries
from tests.bench.bench_sweep import SPACE
from tests.bench.plain_c import timing_in_plain_c
from tests.sim.test_machine import assert_same
from traces.shell.command_line import data_folder
from traces.synthetic import draw_layer

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
PAPER = ArrayConfig()
_, WEIGHTS, DRAW = [source for source in benchmark_sources(data_folder(None)) if source[0] == "Alex-8"][-1]
CYCLES = {"random": 6399, "real": 7926}[WEIGHTS]
ALEX8 = f"Alex-8, {WEIGHTS} weights, 64 PEs"


@pytest.fixture(scope="module")
def alex8() -> tuple[Any, Any]:
    """Return Alex-8, packed for the paper's array, and its input."""
    layer, activations = DRAW()
    return pack(layer, PAPER), activations


@pytest.mark.benchmark(group=f"{ALEX8}: our whole simulation beside SciPy's product alone")
def test_scipy_csc_matrix_times_vector(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    packed, activations = alex8
    matrix = scipy.sparse.csc_matrix(packed.layer.weights())
    product = benchmark(lambda: matrix @ activations)
    expected = simulate(packed, activations, PAPER).output - packed.layer.bias_values()
    assert np.allclose(product, expected, atol=1e-4)


@pytest.mark.benchmark(group=f"{ALEX8}: our whole simulation beside SciPy's product alone")
def test_simulate_with_output_counters_and_energy(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    packed, activations = alex8

    def whole() -> Any:
        result = simulate(packed, activations, PAPER)
        return result, result.energy.total_pj

    assert whole()[0].cycles == CYCLES
    benchmark(whole)


@pytest.mark.benchmark(group=f"{ALEX8}: our whole simulation beside SciPy's product alone")
def test_count_without_the_output(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    assert benchmark(lambda: count(*alex8, PAPER)).cycles == CYCLES


SILICON_US = CYCLES / 800  # at 800 MHz
TIMING = f"{ALEX8}: timing alone; the chip takes {SILICON_US:.1f} us for this layer"


@pytest.mark.benchmark(group=TIMING)
def test_timing_in_plain_c(benchmark: Benchmark, alex8: tuple[Any, Any], tmp_path: Path) -> None:
    in_plain_c = timing_in_plain_c(Run(*prepare(*alex8, PAPER)), PAPER, tmp_path)
    assert benchmark(in_plain_c) + 1 + PAPER.pipeline_cycles == CYCLES


@pytest.mark.benchmark(group=TIMING)
def test_timing_of_given_broadcasts(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    run = Run(*prepare(*alex8, PAPER))
    assert benchmark(lambda: run.timing(PAPER)).cycles(PAPER) == CYCLES


@pytest.mark.benchmark(group=TIMING)
def test_scan_and_timing(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    packed, numbers = prepare(*alex8, PAPER)
    assert benchmark(lambda: Run(packed, numbers).timing(PAPER)).cycles(PAPER) == CYCLES


SQUARE = "4,096 x 4,096 codes on 64 PEs"
LARGE = "4,096 x 25,088 codes on 1,024 PEs"


@pytest.fixture(scope="module")
def square() -> tuple[Any, Any]:
    """Return a layer of the size of Alex-7, and its input."""
    return draw_layer("square", 4096, 4096, 0.1, 0.3, seed=0)


@pytest.fixture(scope="module")
def large() -> Any:
    """Return a layer of the size of VGG-6."""
    return draw_layer("large", 4096, 25_088, 0.04, 0.2, seed=0)[0]


def kept_entries(layer: Any) -> Any:
    """Return the entries of a layer without padding."""
    return np.count_nonzero(layer.codes) + np.count_nonzero(layer.bias)


@pytest.mark.benchmark(group=SQUARE)
def test_one_pass_over_square_codes(benchmark: Benchmark, square: tuple[Any, Any]) -> None:
    layer = square[0]
    assert benchmark(lambda: np.count_nonzero(layer.codes)) / layer.codes.size == layer.density


@pytest.mark.benchmark(group=SQUARE)
def test_packing_square_codes(benchmark: Benchmark, square: tuple[Any, Any]) -> None:
    def again() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (copy.copy(square[0]), PAPER), {}  # of which nothing is kept

    packed = benchmark.pedantic(pack, setup=again, rounds=30, warmup_rounds=2)
    assert packed.stored_entries - packed.padding_entries == kept_entries(square[0])


@pytest.mark.benchmark(group=SQUARE)
def test_assigning_square_rows_by_entries(benchmark: Benchmark, square: tuple[Any, Any]) -> None:
    order = benchmark(lambda: rows_balanced_by_entries(square[0], 64))
    assert np.array_equal(np.sort(order), np.arange(4096))


@pytest.mark.benchmark(group=SQUARE)
def test_assigning_square_rows_by_activity(benchmark: Benchmark, square: tuple[Any, Any]) -> None:
    order = benchmark(lambda: rows_balanced_by_activity(*square, 64))
    assert np.array_equal(np.sort(order), np.arange(4096))


@pytest.mark.benchmark(group=LARGE)
def test_one_pass_over_large_codes(benchmark: Benchmark, large: Any) -> None:
    benchmark(lambda: np.count_nonzero(large.codes))


@pytest.mark.benchmark(group=LARGE)
def test_packing_large_codes(benchmark: Benchmark, large: Any) -> None:
    def again() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (copy.copy(large), ArrayConfig(num_pes=1024)), {}

    packed = benchmark.pedantic(pack, setup=again, rounds=10, warmup_rounds=1)
    assert packed.stored_entries - packed.padding_entries == kept_entries(large)


@pytest.mark.benchmark(
    group="sweep over the nine layers of the EIE benchmark, in one process, from nothing to the table"
)
def test_sweep(benchmark: Benchmark, tmp_path: Path) -> None:
    workload, chosen = open_workload([EIE]), sample(SPACE)
    table = benchmark.pedantic(
        lambda: sweep(workload, chosen, folder=tmp_path / "sweep", workers=Processes(1), fresh=True),
        rounds=2,
        warmup_rounds=1,
    )
    assert table.num_rows == 9 * len(chosen.designs)
    benchmark.extra_info["rate"] = len(chosen.designs) / benchmark.stats["min"]


DESIGN_POINTS = [
    dataclasses.replace(PAPER, queue_slots=slots, line_bits=width, clock_mhz=clock)
    for slots in (2, 4, 8, 16, 32, 64, 128, 256)
    for width in (32, 64, 128, 256, 512)
    for clock in (400.0, 800.0, 1200.0)
]


@pytest.mark.benchmark(group="120 design points of Alex-8 over queues, lines and clocks")
def test_design_points_together(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    counts = benchmark(lambda: count_all(*alex8, DESIGN_POINTS))
    assert len(counts) == 120


@pytest.mark.benchmark(group="120 design points of Alex-8 over queues, lines and clocks")
def test_design_points_one_by_one(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    together = count_all(*alex8, DESIGN_POINTS)
    alone = benchmark.pedantic(lambda: [count(*alex8, point) for point in DESIGN_POINTS], rounds=5)
    assert [point.cycles for point in alone] == [point.cycles for point in together]


MANY = 20_000
COSTED = f"areas, timed cycles and event energies of {MANY:,} arrays"


@pytest.mark.benchmark(group=COSTED)
def test_costs_of_a_table(benchmark: Benchmark) -> None:
    areas, energies = _costs(_drawn_table())
    alone, energies_alone = _costs(_drawn_table().array(7))
    assert (areas[7], energies[7]) == (alone, energies_alone)
    benchmark.pedantic(_costs, setup=lambda: ((_drawn_table(),), {}), rounds=20)  # a table keeps figures of its SRAMs


@pytest.mark.benchmark(group=COSTED)
def test_costs_of_arrays_one_by_one(benchmark: Benchmark) -> None:
    table = _drawn_table()
    arrays = [table.array(place) for place in range(MANY)]
    benchmark.pedantic(lambda: [_costs(array) for array in arrays], rounds=3)


def _drawn_table() -> ArrayTable:
    draw = np.random.default_rng(0)
    return ArrayTable(
        num_pes=draw.integers(1, 257, MANY),
        queue_slots=draw.choice([4, 8, 16, 32], MANY),
        line_bits=draw.choice([32, 64, 128, 256], MANY),
        weight_bits=draw.integers(2, 6, MANY),
        index_bits=draw.integers(2, 6, MANY),
        clock_mhz=draw.choice([200, 400, 800], MANY),
        sparse_matrix_bytes=1024 * draw.integers(1, 129, MANY),
        pointer_bytes=2048 * draw.integers(1, 17, MANY),
        pointer_bits=draw.integers(8, 18, MANY),
        activation_bytes=1024 * draw.integers(1, 33, MANY),
    )


def _costs(arrays: ArrayConfig | ArrayTable) -> tuple[Any, Any]:
    deep: Any = timed(arrays)
    return area_mm2(deep), event_energies(deep).entry_pj


TICKED = f"{ALEX8}: the engine beside the tick machine it equals"


@pytest.mark.benchmark(group=TICKED)
def test_closed_form(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    assert benchmark(lambda: simulate(*alex8, PAPER)).cycles == CYCLES


@pytest.mark.benchmark(group=TICKED)
def test_tick_machine(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    fast = simulate(*alex8, PAPER)
    ticked = benchmark.pedantic(lambda: simulate(*alex8, PAPER, "reference"), rounds=2)
    assert_same(fast, ticked)


BATCH = 1000


@pytest.mark.benchmark(group=f"{BATCH} inputs through one packed layer of 300 x 784 on 64 PEs, with outputs")
def test_a_batch(benchmark: Benchmark) -> None:
    packed, inputs = _batch()
    result = benchmark.pedantic(lambda: simulate_batch(packed, inputs, PAPER), rounds=5, warmup_rounds=1)
    assert result.cycles[7] == count(packed, inputs[7], PAPER).cycles


@pytest.mark.benchmark(group=f"{BATCH} inputs through one packed layer of 300 x 784 on 64 PEs, with outputs")
def test_the_same_inputs_one_by_one(benchmark: Benchmark) -> None:
    packed, inputs = _batch()
    benchmark.pedantic(lambda: [simulate(packed, values, PAPER) for values in inputs], rounds=3, warmup_rounds=1)


def _batch() -> tuple[Any, Any]:
    layer, _ = draw_layer("fc1", 300, 784, 0.1, 0.2, seed=0)
    return pack(layer, PAPER), np.stack([draw_layer("x", 1, 784, 0.1, 0.2, seed)[1] for seed in range(BATCH)])
