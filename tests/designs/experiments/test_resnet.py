"""ResNet-20 compressed towards its own outputs (PyTorch needed)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel
from compress.training.distillation import distil
from designs.commands.experiment import resnet as experiment_command
from designs.experiments import resnet as resnet_recipe
from designs.experiments.lenet import save_parameters
from designs.experiments.resnet import ResNet20, ResnetRecipe, compress_resnet, load_resnet
from reports.__main__ import resnet as report_command
from tests.traces.files.test_readers import idx_bytes
from traces import InputError
from traces.files.images import ImageSet, load_idx_folder


@pytest.fixture(scope="module")
def network() -> ResNet20:
    """Return an untrained network whose normalisation has seen images: its answers differ from image to image."""
    torch.manual_seed(0)
    found = ResNet20().train()
    with torch.no_grad():
        for _ in range(20):
            found(blotches(30))
    return found.eval()


def blotches(number: int) -> Any:
    return torch.nn.functional.interpolate(torch.rand(number, 3, 4, 4), size=(32, 32), mode="bilinear").flatten(1)


def image_set(network: ResNet20, labelled: bool = True) -> ImageSet:
    """Return blotches, labelled by the network or all with 0."""
    torch.manual_seed(1)
    images = blotches(120)
    with torch.no_grad():
        labels = network(images).argmax(1).numpy() * labelled
    return ImageSet("blotches", images[:80].numpy(), labels[:80], images[80:].numpy(), labels[80:])


RECIPE = ResnetRecipe(density=0.3, weight_bits=4, pruning_epochs=1, tuning_epochs=1, sharing_epochs=1)


@pytest.fixture(scope="module")
def model(network: ResNet20, tmp_path_factory: pytest.TempPathFactory) -> CompressedModel:
    return compress_resnet(network, image_set(network), tmp_path_factory.mktemp("whole"), RECIPE)


def test_resnet_is_compressed_without_labels(network: ResNet20, model: CompressedModel, tmp_path: Path) -> None:
    blind = compress_resnet(network, image_set(network, labelled=False), tmp_path, RECIPE)
    assert blind.to_bytes() == model.to_bytes()
    assert sum(size.kept for size in model.size_report.layers) == pytest.approx(0.3 * 268_336, abs=30)
    assert max(layer.weight_bits for layer in model.layers) == 4


def test_a_run_that_is_cut_off_goes_on_to_the_same_container(
    network: ResNet20, model: CompressedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = image_set(network)
    calls, allowed = 0, 5  # four parts of an epoch and tuning, after which a state is kept; then sharing

    def cut_off(*args: Any, **options: Any) -> None:
        nonlocal calls
        if calls == allowed:
            raise KeyboardInterrupt
        calls += 1
        distil(*args, **options)

    monkeypatch.setattr(resnet_recipe, "distil", cut_off)
    with pytest.raises(KeyboardInterrupt):
        compress_resnet(network, images, tmp_path, RECIPE)
    calls, allowed = 0, 1
    assert compress_resnet(network, images, tmp_path, RECIPE).to_bytes() == model.to_bytes()
    assert calls == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["compressed.dc", "stages.json"]


def test_the_report_of_resnet_measures_its_container(
    network: ResNet20, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("designs.experiments.resnet.ResnetRecipe", lambda: ResnetRecipe(0.3, 4, 1, 1, 1))
    images = image_set(network)
    for part, pixels, labels in (
        ("train", images.train_images, images.train_labels),
        ("t10k", images.test_images, images.test_labels),
    ):
        values = (pixels * 255).astype(np.uint8).reshape(-1, 3, 32, 32)
        (tmp_path / f"{part}-images-idx4-ubyte").write_bytes(idx_bytes(values))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels.astype(np.uint8)))
    save_parameters(network, tmp_path / "weights.npz")
    experiment_command(tmp_path / "weights.npz", tmp_path, tmp_path / "out")
    capsys.readouterr()
    report_command(tmp_path / "out")
    size = (tmp_path / "out" / "compressed.dc").stat().st_size
    row = capsys.readouterr().out.splitlines()[2]
    after = ResNet20()
    CompressedModel.load(tmp_path / "out" / "compressed.dc").load_into(after)
    read = load_idx_folder(tmp_path)
    accuracies = [resnet_recipe.accuracy_of(each, read) for each in (network, after.eval())]
    assert f"| ResNet-20 | {accuracies[0]:.2%}" in row
    assert f"| {accuracies[1]:.2%}" in row
    assert f"{size:,} | {4 * 269_722 / size:.1f}x" in row
    assert CompressedModel.load(tmp_path / "out" / "compressed.dc").parameter_bytes == 4 * 269_722
    with pytest.raises(InputError, match=r"takes images of 3 x 32 x 32 values; those of small have 5$"):
        compress_resnet(network, replace(read, name="small", train_images=read.train_images[:, :5]), tmp_path)


def test_parameters_of_another_network_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be those of a ResNet-20, option A: .*Missing key"):
        load_resnet({"weight": np.zeros(3, np.float32)})
