"""Experiment on codebooks of PEs, on a network that is trained in a second (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from designs.experiments import pe_codebooks
from designs.experiments.pe_codebooks import WAYS, run_pe_codebooks
from designs.experiments.planning.networks import Data, MeasuredNetwork
from designs.result_files import PE_CODEBOOKS_COLUMNS, pe_codebooks_files
from designs.results import read_results
from reports import __main__ as commands
from reports.pe_codebooks import assignments_markdown, codebooks_markdown, divergences_markdown
from traces import InputError


def small_network() -> MeasuredNetwork:
    torch.manual_seed(0)
    first = torch.nn.Linear(16, 160)
    module = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(160, 5)).eval()
    with torch.no_grad():
        first.weight.mul_(torch.logspace(-1, 1, 160)[torch.randperm(160)][:, None])
    inputs = np.random.default_rng(0).normal(size=(160, 16)).astype(np.float32)
    bounds = (0.05, 0.05, 0.05)
    labels = np.zeros(80, dtype=np.int64)
    return MeasuredNetwork("lenet_300_100", module, inputs[:80], inputs[80:], "kl", bounds, bounds, 0.05, labels=labels)


def test_each_way_of_sharing_is_measured_and_its_tables_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pe_codebooks, "_makers", lambda data: {"lenet_300_100": small_network})
    run_pe_codebooks(Data(tmp_path))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    run_pe_codebooks(Data(tmp_path))
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    (path,) = pe_codebooks_files(tmp_path, "codebooks")
    rows = read_results(path, PE_CODEBOOKS_COLUMNS["codebooks"])[0].to_pylist()
    by_way = {(row["sharing"], row["density"], row["weight_bits"], row["codebooks"]): row for row in rows}
    assert len(by_way) == len(rows) == 2 * (3 * 2 * 2 + 2 + 1)
    one, interleaved, pes, groups = (by_way["k-means", 1.0, 4, way] for way in WAYS)
    assert (
        pes["squared_error"] < 0.8 * interleaved["squared_error"] < interleaved["squared_error"] < one["squared_error"]
    )
    assert pes["squared_error"] < groups["squared_error"] < one["squared_error"]
    assert one["codebook_bytes"] == 2 * 2 * 15
    of_rows = 160 * 6 // 8
    heads = 4  # number of codebooks, and the form of the list, of two layers
    assert pes["codebook_bytes"] == 2 * 15 * (64 + 5) + of_rows + heads
    assert interleaved["codebook_bytes"] == pes["codebook_bytes"] - of_rows
    assert pes["array_cycles"] <= 1.1 * one["array_cycles"]
    assert pes["switch_cycles"] > one["switch_cycles"]

    (path,) = pe_codebooks_files(tmp_path, "assignments")
    found = read_results(path, PE_CODEBOOKS_COLUMNS["assignments"])[0].to_pylist()
    assert [(row["rows"], row["codebooks"], row["density"]) for row in found] == [
        (160, number, density) for number in (8, 64) for density in (1.0, 0.5)
    ]
    for row in found:
        assert row["least_error"] <= row["free_error"] * (1 + 1e-9)
        assert row["lower_bound"] <= row["bounded_error"] * (1 + 1e-9)
        assert row["own_error"] < row["bounded_error"] < row["interleaved_error"]

    commands.pe_codebooks(tmp_path)
    content = (tmp_path / "tables.md").read_text()
    assert content in capsys.readouterr().out
    shown = divergences_markdown(rows), codebooks_markdown(rows), assignments_markdown(found)
    assert content == "\n".join(shown)
    assert (tmp_path / "pe_codebooks.svg").exists()


def test_networks_that_are_not_here_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="networks must be among stories, resnet_20, lenet_300_100"):
        run_pe_codebooks(Data(tmp_path), ["stories"])
