"""Counts of the EIE authors' own cycle simulator, to be reproduced exactly (tests/golden/*.csv).

`line_reads` there takes entries of 8 bits in every row, so it compares only where max_gap is 16.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sim import ArrayConfig, SimulationResult, simulate
from tests.conftest import PROJECT, real_file
from traces import CompressedLayer
from traces.arrays import Floats32
from traces.eie_benchmark import benchmark_layer
from traces.files.npz import read_layer_and_input
from traces.synthetic import draw_layer

# the golden counts know no capacities
pytestmark = pytest.mark.filterwarnings("ignore::sim.DoesNotFitWarning")

Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    with (PROJECT / "tests/golden" / name).open() as stream:
        return list(csv.DictReader(stream))


def array_of(row: Row) -> ArrayConfig:
    return ArrayConfig(
        num_pes=int(row["num_pes"]),
        queue_slots=int(row["queue_slots"]),
        line_bits=int(row["line_bits"]),
        index_bits=int(row["max_gap"]).bit_length() - 1,
    )


def check(row: Row, layer: CompressedLayer, activations: Floats32, result: SimulationResult) -> None:
    found = {
        "rows": layer.rows,
        "columns": layer.columns,
        "entries": result.stored_entries,
        "padding": result.padding_entries,
        "nonzero_activations": np.count_nonzero(activations),
        "cycles": result.cycles,
        "pointer_reads": result.pointer_reads,
        "useful_macs": result.useful_macs,
    }
    if row["max_gap"] == "16":
        found["line_reads"] = result.line_reads
    expected = {name: int(row[name]) for name in found if name in row}
    assert {name: found[name] for name in expected} == expected
    exact = layer.weights().astype(np.float64) @ activations.astype(np.float64) + layer.bias_values()
    np.testing.assert_allclose(result.output, exact.astype(np.float32), rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("row", rows_of("random_layers.csv"), ids=lambda row: row["seed"])
@pytest.mark.parametrize("engine", ["closed-form", "reference"])
def test_small_odd_shapes_come_out_exactly(row: Row, engine: str) -> None:
    layer, activations = draw_layer(
        "drawn",
        int(row["rows"]),
        int(row["columns"]),
        float(row["weight_density"]),
        float(row["activation_density"]),
        int(row["seed"]),
    )
    check(row, layer, activations, simulate(layer, activations, array_of(row), engine))  # type: ignore[arg-type]


@pytest.mark.parametrize("row", rows_of("eie_benchmark_synthetic.csv"), ids=lambda row: row["layer"])
def test_the_nine_benchmark_layers_come_out_exactly(row: Row) -> None:
    published = benchmark_layer(row["layer"])
    assert published.paper_actual_us == float(row["paper_actual_us"])
    assert published.paper_theoretical_us == float(row["paper_theoretical_us"])
    layer, activations = published.draw()
    check(row, layer, activations, simulate(layer, activations, array_of(row)))


ALEX8 = rows_of("alex8.csv")


@pytest.mark.parametrize("row", ALEX8, ids=lambda row: "-".join(list(row.values())[2:6]))
def test_the_real_alex8_comes_out_exactly(row: Row, data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    check(row, layer, activations, simulate(layer, activations, array_of(row)))


def test_the_real_alex8_is_the_paper_s_layer(data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    result = simulate(layer, activations, ArrayConfig())
    assert (result.cycles, result.useful_macs) == (7926, 453_748)
    assert (result.pointer_reads, result.line_reads) == (112_640, 100_900)
    assert round(result.efficiency, 4) == 0.8945
    assert round(result.latency_us, 1) == 9.9  # Table IV, actual
    assert result.entries_per_pe.max() == 7778


@pytest.mark.parametrize("row", ALEX8[:4], ids=lambda row: "-".join(list(row.values())[2:6]))
def test_the_tick_machine_runs_the_real_alex8_exactly(row: Row, data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    check(row, layer, activations, simulate(layer, activations, array_of(row), "reference"))
