"""How fast the simulator is, as ratios taken in one run: `make bench`.

Each group of the printed table is one question, and the numbers in brackets are the ratios to its fastest
row. Every row is checked before it is timed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from sim import ArrayConfig, count, count_all, pack, simulate
from sim.array import prepare
from sim.engine import Run
from traces.eie_benchmark import benchmark_layer
from traces.synthetic import draw_layer

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
PAPER = ArrayConfig()


@pytest.fixture(scope="module")
def alex8() -> tuple[Any, Any]:
    """Alex-8 at the published densities, packed for the paper's array, and its input."""
    layer, activations = benchmark_layer("Alex-8").draw()
    return pack(layer, PAPER), activations


@pytest.mark.benchmark(group="Alex-8, 64 PEs: our whole simulation beside SciPy's product alone")
def test_scipy_csc_matrix_times_vector(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    packed, activations = alex8
    matrix = scipy.sparse.csc_matrix(packed.layer.weights())
    product = benchmark(lambda: matrix @ activations)
    expected = simulate(packed, activations, PAPER).output - packed.layer.bias_values()
    assert np.allclose(product, expected, atol=1e-4)


@pytest.mark.benchmark(group="Alex-8, 64 PEs: our whole simulation beside SciPy's product alone")
def test_simulate_with_output_counters_and_energy(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    packed, activations = alex8

    def whole() -> Any:
        result = simulate(packed, activations, PAPER)
        return result, result.energy.total_pj

    assert whole()[0].cycles == 6399
    benchmark(whole)


@pytest.mark.benchmark(group="Alex-8, 64 PEs: our whole simulation beside SciPy's product alone")
def test_count_without_the_output(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    assert benchmark(lambda: count(*alex8, PAPER)).cycles == 6399


@pytest.mark.benchmark(group="Alex-8, 64 PEs: our whole simulation beside SciPy's product alone")
def test_timing_of_one_more_queue_depth(benchmark: Benchmark, alex8: tuple[Any, Any]) -> None:
    run = Run(*prepare(*alex8, PAPER))
    assert benchmark(lambda: run.timing(PAPER.queue_depth)).cycles == 6399


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


SMALL = draw_layer("small", 256, 512, 0.2, 0.4, seed=0)


@pytest.mark.benchmark(group="256 x 512 on 16 PEs: the engine beside the tick machine it equals")
def test_closed_form(benchmark: Benchmark) -> None:
    array = ArrayConfig(num_pes=16)
    packed = pack(SMALL[0], array)
    ticked = simulate(packed, SMALL[1], array, "reference")
    result = benchmark(lambda: simulate(packed, SMALL[1], array))
    assert result.cycles == ticked.cycles
    assert np.array_equal(result.output, ticked.output)


@pytest.mark.benchmark(group="256 x 512 on 16 PEs: the engine beside the tick machine it equals")
def test_tick_machine(benchmark: Benchmark) -> None:
    array = ArrayConfig(num_pes=16)
    packed = pack(SMALL[0], array)
    benchmark.pedantic(lambda: simulate(packed, SMALL[1], array, "reference"), rounds=3)
