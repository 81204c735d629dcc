"""LeNets trained, compressed and reported beside Deep Compression's tables (PyTorch needed)."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel
from compress.training.distillation import distil
from designs.commands.experiment import deep_compression as experiment_command
from designs.experiments import deep_compression as lenet_experiment
from designs.experiments import lenet
from designs.result_files import CONTAINER_COLUMNS, CONTAINERS_FILE, CURVE_COLUMNS, CURVES_FILE
from designs.results import read_results
from reports.__main__ import deep_compression as report_command
from reports.deep_compression.networks import draw_curves
from tests.traces.files.test_readers import idx_bytes
from traces import InputError
from traces.files.images import ImageSet, load_digits, load_idx_folder


@pytest.fixture(scope="module")
def large_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of IDX files: digits of 8 x 8 pixels, each pixel repeated three by three, with a margin."""
    folder = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for part, images, labels in (
        ("train", digits.train_images[:300], digits.train_labels[:300]),
        ("t10k", digits.test_images[:100], digits.test_labels[:100]),
    ):
        large = np.kron(images.reshape(-1, 8, 8), np.ones((1, 3, 3)))
        pixels = np.pad(large * 255, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(pixels)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels.astype(np.uint8)))
    return folder


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the steps and take few epochs and points."""
    monkeypatch.setattr(lenet, "TEACHER_EPOCHS", 4)
    monkeypatch.setattr(lenet, "TEACHER_BATCH", 20)
    monkeypatch.setattr(lenet, "DISTORTED_COPIES", 2)
    monkeypatch.setattr(lenet, "BATCH", 50)
    short: dict[str, Any] = {"dense_epochs": 6, "pruning_epochs": 3, "tuning_epochs": 2, "sharing_epochs": 1}
    recipes = (replace(lenet.LENET_300_100, **short, density=0.1), replace(lenet.LENET_5, **short, density=0.1))
    monkeypatch.setattr(lenet_experiment, "RECIPES", recipes)
    monkeypatch.setattr(lenet_experiment, "TUNING_EPOCHS", 1)
    monkeypatch.setattr(lenet_experiment, "CURVE_EPOCHS", 1)
    monkeypatch.setattr(lenet_experiment, "DENSITIES", (0.1,))
    monkeypatch.setattr(lenet_experiment, "SHARED_BITS", (4,))
    monkeypatch.setattr(lenet_experiment, "INITIALISATIONS", ("optimal", "linear"))


def test_the_report_measures_its_own_containers_and_goes_on_where_it_stopped(
    large_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    hurry(monkeypatch)
    experiment_command(large_digits, tmp_path)
    report_command(tmp_path)
    rows = read_results(tmp_path / CONTAINERS_FILE, CONTAINER_COLUMNS)[0].to_pylist()
    assert {(row["network"], row["recipe"]) for row in rows} == {
        (name, recipe) for name in ("lenet_300_100", "lenet_5") for recipe in ("smallest", "as the paper")
    }
    tables = (tmp_path / "tables.md").read_text()
    last_cells = [line.split("|")[-2].strip() for line in tables.splitlines() if "|" in line]
    for row in rows:
        model = CompressedModel.load(tmp_path / row["file"])
        assert f"{(tmp_path / row['file']).stat().st_size:,}" in tables
        assert model.parameter_bytes == 4 * {"lenet_300_100": 266_610, "lenet_5": 431_080}[row["network"]]
        assert row["error_before"] < 0.5
        if row["coder"] == "huffman":
            for size in model.size_report.layers:
                assert f"{size.above_entropy:+.1%}" in last_cells
        assert f"{row['error']:.2%}" in tables
    same = [row for row in rows if row["recipe"] == "as the paper" and row["network"] == "lenet_5"]
    assert len({row["error"] for row in same}) == 1  # whatever the coder
    points = read_results(tmp_path / CURVES_FILE, CURVE_COLUMNS)[0].to_pylist()
    assert [sum(point["figure"] == number for point in points) for number in (6, 7, 8)] == [3, 48, 14]
    of_bits = {point["weight_bits"]: point["error"] for point in points if point["series"] == "all layers, dense"}
    assert of_bits[8] < of_bits[1]
    for name in ("fig6_pruning_and_sharing", "fig7_bits", "fig8_initialisations"):
        assert (tmp_path / f"{name}.svg").stat().st_size > 5_000

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dc")}
    (tmp_path / "lenet_5" / "paper" / "huffman.dc").unlink()
    experiment_command(large_digits, tmp_path)
    report_command(tmp_path)
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"huffman.dc"}
    assert (tmp_path / "tables.md").read_text() == tables


def test_a_run_that_is_cut_off_goes_on_to_the_same_container(
    large_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    recipe, lessons = lenet_experiment.RECIPES[0], lenet.Lessons(load_idx_folder(large_digits), tmp_path)
    whole = lenet.compress_lenet(recipe, lessons, tmp_path / "whole")
    calls, allowed = 0, 7  # the dense network, an epoch of pruning in four parts, and two parts of the next

    def cut_off(*args: Any, **options: Any) -> None:
        nonlocal calls
        if calls == allowed:
            raise KeyboardInterrupt
        calls += 1
        distil(*args, **options)

    monkeypatch.setattr(lenet, "distil", cut_off)
    with pytest.raises(KeyboardInterrupt):
        lenet.compress_lenet(recipe, lessons, tmp_path / "cut")
    calls, allowed = 0, 10  # eight parts, then tuning, then sharing
    again = lenet.compress_lenet(recipe, lessons, tmp_path / "cut")
    assert calls == allowed
    assert again.to_bytes() == whole.to_bytes()
    assert sorted(path.name for path in (tmp_path / "cut").iterdir() if path.suffix) == [
        "compressed.dc",
        "dense.npz",
        "stages.json",
    ]


def test_every_label_of_the_sizes_is_a_percentage() -> None:
    for sizes in ((8_000, 60_000, 300_000), (25_000, 110_000)):
        points = [{"figure": 6, "series": "pruning alone", "size_bytes": size, "error": 0.02} for size in sizes]
        bits = {"network": "lenet_5", "series": "all layers, dense", "weight_bits": 4, "error": 0.02}
        figure = draw_curves([*points, {**bits, "figure": 7}, {**bits, "figure": 8}])["fig6_pruning_and_sharing"]
        figure.draw_without_rendering()
        labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels(which="both")]
        assert len(labels) >= 2
        assert all(label.endswith("%") for label in labels)


def test_images_of_another_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODESIGN_DATA", raising=False)  # the hour of training would begin
    pixels, labels = np.zeros((3, 64), np.float32), np.arange(3)
    with pytest.raises(InputError, match="LeNets take images of 28 x 28 pixels; those of small have 64 pixels"):
        lenet_experiment.run_deep_compression(ImageSet("small", pixels, labels, pixels, labels), tmp_path)
    with pytest.raises(InputError, match="trained on MNIST; give the folder"):
        experiment_command(None, tmp_path)
    with pytest.raises(InputError, match=r"containers\.parquet: there is no such result file; make it with"):
        report_command(tmp_path)
