"""The density at which an array of PEs and a dense array are equal, and the command."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

from designs import (
    Workload,
    WorkloadLayer,
    advise,
    breakeven_rows,
    compare_at_density,
    open_workload,
    run_container,
)
from designs.breakeven import LEAST_DENSITY, breakeven_density, sparse_cost
from designs.commands.breakeven import breakeven
from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
from designs.results import read_results
from designs.screens.network_run import print_network_run
from sim import ArrayConfig, ProductShape, count, dense_match
from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from traces import InputError, Network, draw_layer

PES = ArrayConfig(num_pes=16, sparse_matrix_bytes=4 * 1024, pointer_bytes=4 * 1024)


def test_a_falling_gain_is_found_where_it_reaches_1() -> None:
    assert breakeven_density(lambda density: 0.07 / density) == pytest.approx(0.07, rel=2e-3)
    assert breakeven_density(lambda density: 2.0) == 1
    assert breakeven_density(lambda density: LEAST_DENSITY / 2 / density) == 0


def test_costs_are_those_of_a_simulated_layer() -> None:
    layer, activations = draw_layer("drawn", 64, 100, 0.2, 0.5, seed=1)
    counts = count(dataclasses.replace(layer, bias=None), activations, PES)
    cost = sparse_cost(ProductShape(64, 100, vectors=3, groups=2), 0.2, 0.5, PES)
    assert cost.latency_us == pytest.approx(6 * counts.latency_us)
    assert cost.energy_nj == pytest.approx(6 * counts.energy.total_nj)
    assert not cost.from_dram


def test_columns_of_large_layers_cost_in_proportion() -> None:
    array = ArrayConfig()
    large = sparse_cost(ProductShape(4096, 4096), 0.05, 0.3, array)
    layer, activations = draw_layer("drawn", 4096, 4096, 0.05, 0.3, seed=2)
    counts = count(dataclasses.replace(layer, bias=None), activations, array)
    assert large.latency_us == pytest.approx(counts.latency_us, rel=0.05)
    assert large.energy_nj == pytest.approx(counts.energy.total_nj, rel=0.05)


def test_weights_that_do_not_fit_are_loaded_once() -> None:
    shape = ProductShape(512, 512)
    assert not sparse_cost(shape, 0.05, 0.5, PES).from_dram
    one, many = (sparse_cost(dataclasses.replace(shape, vectors=number), 0.5, 0.5, PES) for number in (1, 1000))
    assert one.from_dram
    assert many.from_dram
    assert one.latency_us > 512 * 512 * 0.5 / 12.8e3  # a byte for each entry
    assert many.latency_us < 1000 * one.latency_us


def test_both_sides_are_equal_at_the_breakeven() -> None:
    shape = ProductShape(256, 256, vectors=2)
    found = compare_at_density(shape, 0.1, 0.4, PES)
    assert found.speedup == pytest.approx(found.dense.run.latency_us / found.sparse.latency_us)
    for density, name in ((found.latency_density, "latency_us"), (found.energy_density, "energy_nj")):
        assert 0 < density < 1
        ratio = getattr(found.dense.run, name) / getattr(sparse_cost(shape, density, 0.4, PES), name)
        assert ratio == pytest.approx(1, abs=0.05)
    assert (found.speedup > 1) == (found.latency_density > 0.1)
    assert (found.energy_gain > 1) == (found.energy_density > 0.1)


def test_a_larger_batch_is_better_for_the_dense_array() -> None:
    rows = breakeven_rows(open_workload(["NT-We"]), ArrayConfig(), (1, 64), (8,))
    one, many = rows
    assert many["vectors"] == 64
    assert many["latency_us"] == pytest.approx(64 * one["latency_us"])
    assert many["dense_latency_us"] < 64 * one["dense_latency_us"]
    assert many["latency_density"] <= one["latency_density"]
    assert many["energy_density"] <= one["energy_density"]


def test_shapes_of_groups() -> None:
    layer, _ = draw_layer("conv", 30, 18, 0.5, 1.0, seed=1)
    vectors = np.ones((3 * 8, 18), dtype=np.float32)
    each = WorkloadLayer(layer, vectors, vectors_per_input=4, groups=3, inputs=2)
    assert each.shape == ProductShape(10, 18, 4, 3)
    (row,) = breakeven_rows(Workload("mine", (each,)), PES, (2,), (16,))
    assert (row["rows"], row["groups"], row["vectors"], row["dense_bits"]) == (10, 3, 8, 16)
    assert row["activation_density"] == 1


def test_runs_of_a_vector_cost_what_one_costs() -> None:
    for array in (PES, dataclasses.replace(PES, sparse_matrix_bytes=1024)):  # the second loads in each run
        one, ten = (sparse_cost(ProductShape(200, 300, runs=runs), 0.5, 0.4, array) for runs in (1, 10))
        assert one.from_dram == ten.from_dram == (array is not PES)
        assert ten.latency_us == pytest.approx(10 * one.latency_us)
        assert ten.energy_nj == pytest.approx(10 * one.energy_nj)


def lstm(path: Path) -> Path:
    """Write the container of an LSTM with six inputs and three cells."""
    parameters = {"w": drawn(1, 1, 12, 6), "r": drawn(2, 1, 12, 3)}
    made = model([node("LSTM", ["x", "w", "r"], hidden_size=3)], {"x": [5, "n", 6]}, parameters=parameters, opset=14)
    compressed(Network.open(made, {"x": activations(3, 5, 1, 6)})).save(path / "lstm.dc")
    np.save(path / "x.npy", activations(3, 5, 1, 6))
    return path / "lstm.dc"


def test_steps_of_a_recurrent_layer_follow_one_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    container = lstm(tmp_path)
    breakeven(PES, (str(container),), (1, 4), (8,), inputs=tmp_path / "x.npy", out=tmp_path / "out")
    rows = read_results(tmp_path / "out" / BREAKEVEN_FILE, BREAKEVEN_COLUMNS)[0].to_pylist()
    found = [(row["rows"], row["columns"], row["batch"], row["vectors"], row["runs"]) for row in rows]
    assert found == [(12, 6, 1, 5, 1), (12, 6, 4, 20, 1), (12, 3, 1, 1, 5), (12, 3, 4, 4, 5)]
    capsys.readouterr()
    run = run_container(container, ArrayConfig(num_pes=4, weight_bits=8), tmp_path / "x.npy")
    assert run.result.shapes == (ProductShape(12, 6, 5), ProductShape(12, 3, runs=5))
    assert tuple(run.workload.shapes) == run.result.shapes
    print_network_run(run, advise(run))
    assert re.search(r"^Dense: +(sparse|dense) (wins|is faster)", capsys.readouterr().out, re.MULTILINE)


def test_a_compact_layer_is_whole_on_the_dense_array() -> None:
    layer, _ = draw_layer("compact", 30, 18, 0.5, 1.0, seed=1)
    whole = ProductShape(40, 20, window_reuse=9)
    each = WorkloadLayer(layer, np.ones((1, 18), dtype=np.float32), shape=whole)
    (row,) = breakeven_rows(Workload("mine", (each,)), PES, (1,), (8,))
    assert (row["rows"], row["columns"], row["rows_left_out"], row["columns_left_out"]) == (30, 18, 10, 2)
    assert row["window_reuse"] == 9
    assert row["dense_energy_nj"] == dense_match([whole], PES).run.energy_nj
    assert row["latency_us"] == sparse_cost(ProductShape(30, 18), layer.density, 1.0, PES).latency_us


def test_a_network_that_is_never_called_is_refused() -> None:
    layer, _ = draw_layer("idle", 30, 18, 0.5, 1.0, seed=1)
    each = WorkloadLayer(layer, np.zeros((1, 18), dtype=np.float32), vectors_per_input=0, inputs=1)
    with pytest.raises(InputError, match="idle network: no layer is multiplied with the inputs"):
        breakeven_rows(Workload("idle network", (each,)), PES, (1,), (8,))


def test_the_command_writes_and_says_who_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    breakeven(ArrayConfig(), ("NT-We",), (1, 64), (8,), out=tmp_path)
    shown = capsys.readouterr().out
    no_layer = "wins in time and energy on no layer"
    assert f"Batch 1: sparse {no_layer}; dense {no_layer}." in shown
    assert f"Batch 64: sparse {no_layer}; dense wins in time and energy on NT-We (8 bits)." in shown
    rows = read_results(tmp_path / BREAKEVEN_FILE, BREAKEVEN_COLUMNS)[0].to_pylist()
    assert [row["batch"] for row in rows] == [1, 64]
    assert all(math.isfinite(row["dense_energy_nj"]) for row in rows)


def test_loading_costs_as_in_a_streamed_run() -> None:
    array = ArrayConfig()
    layer, activations = draw_layer("drawn", 4096, 20000, 0.04, 0.2, seed=1)
    streamed = count(
        dataclasses.replace(layer, bias=None), activations, dataclasses.replace(array, memory_mode="streamed")
    )
    cost = sparse_cost(ProductShape(4096, 20000), 0.04, 0.2, array)
    assert cost.from_dram
    assert cost.latency_us == pytest.approx(streamed.latency_us, rel=0.1)
    assert cost.energy_nj == pytest.approx(streamed.energy.total_nj, rel=0.1)


def test_activations_below_a_threshold_are_not_active() -> None:
    layer, _ = draw_layer("mine", 40, 30, 0.5, 1.0, seed=1)
    values = np.linspace(0, 1, 30, dtype=np.float32)[np.newaxis]
    workload = Workload("mine", (WorkloadLayer(dataclasses.replace(layer, activation_threshold=0.5), values),))
    (row,) = breakeven_rows(workload, PES, (1,), (8,))
    assert row["activation_density"] == 0.5


@pytest.mark.parametrize(
    ("batches", "bits", "name"),
    [((0,), (8,), "batches"), ((1,), (4,), "bits"), ((), (8,), "batches"), ((1,), (8, 8), "bits")],
)
def test_wrong_options_are_refused(tmp_path: Path, batches: tuple[int, ...], bits: tuple[int, ...], name: str) -> None:
    with pytest.raises(InputError, match=name):
        breakeven(ArrayConfig(), ("NT-We",), batches, bits, out=tmp_path)
    assert not list(tmp_path.iterdir())
