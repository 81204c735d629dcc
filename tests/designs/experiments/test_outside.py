"""Numbers that others published, computed from the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from designs.experiments import outside
from designs.experiments.outside import MASKS, NUM_PES, read_masks, run_outside
from designs.result_files import OUTSIDE_COLUMNS, outside_file
from designs.results import read_results
from reports import __main__ as commands
from reports import outside as pages
from reports.outside import ELEMENT_CYCLES, SPARSELOOP_CYCLES, TINY_MODELS
from sim import ArrayConfig, simulate, simulate_batch
from tests.conftest import real_file
from traces import InputError, Network, layer_from_matrix
from traces.files.images import load_idx_folder


def small_masks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Write masks of one small layer of 12 channels as Sparseloop's artifact has them."""
    monkeypatch.setattr(outside, "MASKS", {"L07": 12})
    draw = np.random.default_rng(2)
    weights, activations = draw.random((12, 12)) < 0.4, draw.random((5, 12)) < 0.6
    (folder / "mobilenet_masks").mkdir()
    for name, mask in (("weights", weights), ("iacts", activations)):
        text = "".join(str(int(each)) for each in mask.ravel())
        (folder / "mobilenet_masks" / f"L07_{name}.txt").write_text(text)
    return weights, activations


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("num_pes", NUM_PES)
def test_useful_macs_are_the_cycles_that_sparseloop_states_less_one(name: str, num_pes: int, data: Path) -> None:
    real_file(data, "mobilenet_masks", f"{name}_weights.txt")
    weights, activations = (mask.astype(np.float32) for mask in read_masks(data, name))
    layer, array = layer_from_matrix(name, weights), ArrayConfig(num_pes=num_pes)
    result = simulate_batch(layer, activations, array)
    assert int(result.useful_macs.sum()) == SPARSELOOP_CYCLES[name] - 1 == ELEMENT_CYCLES[name]
    np.testing.assert_array_equal(result.output, activations @ weights.T)
    if num_pes == 16:
        ticked = [simulate(layer, vector, array, "reference") for vector in activations[:2]]
        assert [(each.useful_macs, each.cycles) for each in ticked] == [
            (result.useful_macs[place], result.cycles[place]) for place in range(2)
        ]


def test_small_masks_go_through_the_experiment_and_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, activations = small_masks(tmp_path, monkeypatch)
    folder = tmp_path / "results"
    run_outside(folder, tmp_path)
    path = outside_file(folder, "sparseloop")
    rows = read_results(path, OUTSIDE_COLUMNS["sparseloop"])[0].to_pylist()
    macs = int((activations.astype(int) @ weights.T.astype(int)).sum())
    assert [row["num_pes"] for row in rows] == list(NUM_PES)
    assert {row["useful_macs"] for row in rows} == {macs}
    assert all(row["cycles"] * row["num_pes"] >= macs for row in rows)
    written = path.stat().st_mtime_ns
    run_outside(folder, tmp_path)
    assert path.stat().st_mtime_ns == written
    mask = tmp_path / "mobilenet_masks/L07_iacts.txt"
    others = mask.read_text()
    mask.write_text("1" * len(others))
    run_outside(folder, tmp_path)
    assert {row["useful_macs"] for row in read_results(path, OUTSIDE_COLUMNS["sparseloop"])[0].to_pylist()} != {macs}
    mask.write_text(others)
    run_outside(folder, tmp_path)
    with pytest.raises(SystemExit, match="numbers that must be the published ones differ: L07: useful MACs"):
        commands.outside(folder)
    monkeypatch.setitem(pages.SPARSELOOP_CYCLES, "L07", macs + 1)
    monkeypatch.setitem(pages.ELEMENT_CYCLES, "L07", macs)
    commands.outside(folder)
    assert f"| {macs + 1:,} " in capsys.readouterr().out


@pytest.mark.parametrize(("content", "found"), [("0101", "4"), ("", "0"), ("01" * 6 + "2" * 12, "24")])
def test_masks_that_do_not_fit_get_a_sentence(
    content: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_masks(tmp_path, monkeypatch)
    (tmp_path / "mobilenet_masks/L07_iacts.txt").write_text(content)
    with pytest.raises(InputError, match=f"must hold digits 0 and 1 without spaces, 12 for each row; found {found} "):
        read_masks(tmp_path, "L07")
    (tmp_path / "mobilenet_masks/L07_iacts.txt").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_masks(tmp_path, "L07")
    with pytest.raises(InputError, match=r"must hold mobilenet_masks/L07_weights\.txt and the others, or models"):
        run_outside(tmp_path / "results", tmp_path)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_weights_and_macs_of_mlperf_tiny_are_those_of_its_definitions(name: str, data: Path) -> None:
    files = {
        "resnet_8": "resnet8_cifar10.onnx",
        "ds_cnn": "ds_cnn_keyword_spotting.onnx",
        "autoencoder": "autoencoder_toycar.onnx",
    }
    network = Network.open(real_file(data, "models", "mlperf_tiny", files[name]))
    assert outside.size_and_work(network) == (TINY_MODELS[name].weights, TINY_MODELS[name].macs)


@pytest.mark.slow
def test_resnet_8_answers_as_often_right_as_its_publishers_state(data: Path) -> None:
    model = real_file(data, "models", "mlperf_tiny", "resnet8_cifar10.onnx")
    images = load_idx_folder(real_file(data, "cifar10"))
    pixels = np.ascontiguousarray(images.test_images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) * np.float32(255))
    network = Network.open(model)
    right = 0
    for begin in range(0, len(pixels), 500):
        (scores,) = network.run(pixels[begin : begin + 500]).values()
        right += int(np.count_nonzero(scores.argmax(axis=1) == images.test_labels[begin : begin + 500]))
    assert right / len(pixels) == TINY_MODELS["resnet_8"].accuracy
