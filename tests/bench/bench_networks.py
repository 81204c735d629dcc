"""Speed of simulated networks beside their dense forward pass in PyTorch, one thread each: `make bench`.

The simulation has every output, counter and difference. The networks are real ones of CODESIGN_DATA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress import CompressionConfig, LayerSettings, compress
from compress.graph_module import GraphModule
from compress.networks import load_parameters
from designs.experiments.example_networks import resnet_20
from sim import ArrayConfig, simulate_network
from traces import read_net
from traces.files.images import load_idx_folder
from traces.files.npz import read_npz
from traces.shell.command_line import data_folder

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
SQUEEZENET = "SqueezeNet, 8 images, all 26 layers with outputs"
RESNET = "ResNet-20, 100 images, all 20 layers with outputs"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _found(name: str) -> Path:
    path = (data_folder(None) or Path("absent")) / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.fixture(scope="module")
def squeezenet() -> tuple[Any, Any]:
    """Return SqueezeNet, compressed by its authors, and images."""
    network = read_net(_found("squeezenet_deep_compression/compressed_SqueezeNet.net"))
    return network, (60 * np.random.default_rng(6).normal(size=(8, 3, 227, 227))).astype(np.float32)


@pytest.fixture(scope="module")
def resnet() -> tuple[Any, Any, Any]:
    """Return ResNet-20, the same compressed, and images."""
    parameters = _found("models/resnet20_cifar10.npz")
    images = load_idx_folder(_found("cifar10")).test_images[:100].reshape(100, -1)
    module = resnet_20()
    values = {name.removeprefix("state_dict."): each for name, each in read_npz(parameters).items()}
    load_parameters(module, values, f"{parameters}: must hold the parameters of a ResNet-20")
    settings = CompressionConfig(LayerSettings(density=0.4), pruning_steps=1)
    return module.eval(), compress(module, settings, inputs=images[:8]), images


def _forward(benchmark: Benchmark, module: Any, images: Any) -> None:
    tensor = torch.from_numpy(images)
    with torch.inference_mode():
        benchmark.pedantic(lambda: module(tensor), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group=SQUEEZENET)
def test_squeezenet_in_pytorch(benchmark: Benchmark, squeezenet: tuple[Any, Any]) -> None:
    network, images = squeezenet
    _forward(benchmark, GraphModule(network.network.to_onnx(), network.network.parameters).eval(), images)


@pytest.mark.benchmark(group=SQUEEZENET)
def test_squeezenet_simulated(benchmark: Benchmark, squeezenet: tuple[Any, Any]) -> None:
    array = ArrayConfig(weight_bits=8)
    result = benchmark.pedantic(lambda: simulate_network(*squeezenet, array), rounds=3, warmup_rounds=1)
    assert len(result.layers) == 26


@pytest.mark.benchmark(group=RESNET)
def test_resnet_in_pytorch(benchmark: Benchmark, resnet: tuple[Any, Any, Any]) -> None:
    _forward(benchmark, resnet[0], resnet[2])


@pytest.mark.benchmark(group=RESNET)
def test_resnet_simulated(benchmark: Benchmark, resnet: tuple[Any, Any, Any]) -> None:
    result = benchmark.pedantic(lambda: simulate_network(*resnet[1:], ArrayConfig()), rounds=3, warmup_rounds=1)
    assert len(result.layers) == 20
