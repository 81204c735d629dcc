"""The smallest containers of the recipes, kept in `tests/containers`: their sizes, and what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from tests.conftest import PROJECT, real_file
from traces.files.images import load_idx_folder

CONTAINERS = PROJECT / "tests" / "containers"


@pytest.mark.parametrize(
    ("name", "parameters", "least_ratio"),
    [("lenet_300_100", 266_610, 64), ("lenet_5", 431_080, 162), ("resnet_20", 269_722, 8)],
)
def test_a_container_is_as_small_as_it_says(name: str, parameters: int, least_ratio: float) -> None:
    file = CONTAINERS / f"{name}.dc"
    model = CompressedModel.load(file)
    assert model.parameter_bytes == 4 * parameters
    assert model.size_report.total == model.size_bytes == file.stat().st_size
    assert model.to_bytes() == file.read_bytes()
    assert 4 * parameters / file.stat().st_size >= least_ratio


@pytest.mark.parametrize(("name", "highest_error"), [("lenet_300_100", 0.0164), ("lenet_5", 0.0080)])
def test_a_lenet_keeps_its_error(data: Path, name: str, highest_error: float) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    from designs.experiments.lenet import build_lenet, error_of

    images = load_idx_folder(real_file(data, "mnist"))
    network = build_lenet(name)
    CompressedModel.load(CONTAINERS / f"{name}.dc").load_into(network)
    assert len(images.test_images) == 10_000
    assert error_of(network, images) <= highest_error + 1e-9


@pytest.mark.slow
def test_with_the_paper_s_densities_and_5_bits_lenet_300_100_takes_at_most_25_8_kilobytes(data: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    import torch

    from compress.compression import compress
    from compress.config import CompressionConfig
    from compress.training.fine_tuning import train
    from designs.experiments.deep_compression import PAPER_SETTINGS
    from designs.experiments.lenet import build_lenet

    images = load_idx_folder(real_file(data, "mnist"))
    torch.manual_seed(0)
    network = build_lenet("lenet_300_100")
    train(network, images.train_images, images.train_labels, epochs=4, learning_rate=1e-3)

    def fine_tune(module: torch.nn.Module, _: object) -> None:
        train(module, images.train_images, images.train_labels, epochs=1, learning_rate=1e-3)

    config = CompressionConfig(layers=PAPER_SETTINGS["lenet_300_100"], pruning_steps=2)
    model = compress(network, config, fine_tune)
    assert model.size_bytes <= 25_800
    pytest.importorskip("constriction", reason="needs the extra 'range'")
    assert model.coded(CodingChoice(coder="range")).size_bytes <= 24_500


@pytest.mark.slow
def test_resnet_keeps_its_accuracy(data: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    from designs.experiments.resnet import ResNet20, accuracy_of

    images = load_idx_folder(real_file(data, "cifar10"))
    network = ResNet20().eval()
    CompressedModel.load(CONTAINERS / "resnet_20.dc").load_into(network)
    assert len(images.test_images) == 10_000
    assert accuracy_of(network, images) >= 0.9173 - 0.005
