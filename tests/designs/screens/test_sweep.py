"""Screens about a sweep."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from designs import Design, open_workload
from designs.results import read_results, write_results
from designs.screens.sweep import print_needs, print_sweep
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.folder import SweepReader
from designs.sweeps.sweep import run_sweep
from sim import ArrayConfig, ProductShape, dense_match


def test_one_design_of_a_sweep_is_compared_with_a_dense_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NT-We and NT-LSTM have the array to themselves: each fits the dense array of 16 bits alone, and not both."""
    workload = open_workload(["NT-We", "NT-LSTM"])
    designs = [Design(ArrayConfig(num_pes=64, queue_slots=slots)) for slots in (2, 8)]
    file = run_sweep(workload, designs, None, tmp_path)
    print_sweep(SweepReader(tmp_path), ("latency_us",))
    said = capsys.readouterr().out
    assert "Dense:      point 1, which has the least energy x delay of those that can be compared: " in said
    shapes = [ProductShape(600, 4096), ProductShape(2400, 1201)]
    alone = dense_match(shapes, designs[1].array, 16, alone=True)
    assert (
        f"on the same silicon ({alone}) takes {alone.run.latency_us:,.2f} us and {alone.run.energy_nj:,.1f} nJ" in said
    )
    assert alone.run.dram_bytes == 0
    assert dense_match(shapes, designs[1].array, 16).run.dram_bytes > 0
    table, origin = read_results(file, SWEEP_COLUMNS)
    del origin["settings"]["workload"]["shapes"]  # as of an earlier version
    write_results(tmp_path / "old.parquet", table, origin)
    print_sweep(SweepReader(tmp_path / "old.parquet"), ("latency_us",))
    assert "Dense:      not compared: these results do not state the shapes" in capsys.readouterr().out


def test_a_sweep_whose_layers_do_not_fit_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ArrayConfig(num_pes=4, sparse_matrix_bytes=2048)
    run_sweep(open_workload(["NT-We"]), [Design(small)], None, tmp_path / "unlimited")
    print_sweep(SweepReader(tmp_path / "unlimited"), ("latency_us",))
    said = capsys.readouterr().out
    assert "not compared: this run takes weights or activations as if they fitted, and a dense array loads" in said
    both = [Design(small), Design(dataclasses.replace(small, memory_mode="streamed"))]
    run_sweep(open_workload(["NT-We"]), both, None, tmp_path / "both")
    print_sweep(SweepReader(tmp_path / "both"), ("latency_us", "energy_nj"), fitting=False)
    print_sweep(SweepReader(tmp_path / "both"), ("area_mm2",))
    assert "Dense:      point 1, which" in capsys.readouterr().out.rpartition("Pareto-optimal designs in area_mm2")[2]


def test_the_memory_and_disk_space_of_a_large_sweep_are_stated_before_it_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_needs(99_999, 9)
    assert not capsys.readouterr().out
    print_needs(10_000_000, 2)
    assert capsys.readouterr().out == (
        "10,000,000 designs x 2 layers need about 1.2 GB of memory in this process, and up to 10.0 GB on the disk "
        "while the rows are put in order.\n"
    )
