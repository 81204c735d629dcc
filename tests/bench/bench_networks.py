"""Processor time of a simulated network beside its dense forward pass in PyTorch, in one run.

    python -m tests.bench.bench_networks --data DIR

Both run on one thread. The simulation has every output, counter and difference. PyTorch needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import tyro

from compress import CompressionConfig, LayerSettings, compress
from compress.graph_module import GraphModule
from compress.networks import load_parameters
from designs.experiments.example_networks import resnet_20
from sim import ArrayConfig, simulate_network
from traces import CompressedNetwork, read_net
from traces.files.images import load_idx_folder
from traces.files.npz import read_npz
from traces.shell.command_line import data_folder, run


def seconds(function: Callable[[], object]) -> float:
    """Return the shortest processor time of three runs, after one that warms up."""
    function()
    times = []
    for _ in range(3):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def show(name: str, module: torch.nn.Module, compressed: Any, inputs: Any, array: ArrayConfig) -> None:
    """Print the times of one network, and their ratio."""
    tensor = torch.from_numpy(inputs)
    with torch.no_grad():
        dense = seconds(lambda: module(tensor)) / len(inputs)
    simulated = seconds(lambda: simulate_network(compressed, inputs, array)) / len(inputs)
    print(
        f"{name}, {len(inputs)} inputs: dense {dense * 1e3:.2f} ms an input, simulated {simulated * 1e3:.1f} ms, "
        f"{simulated / dense:.1f} times as long"
    )


def main(data: Path | None = None) -> None:
    """Measure SqueezeNet and ResNet-20, as far as their files are here.

    Args:
        data: folder that holds squeezenet_deep_compression, models and cifar10; default: $CODESIGN_DATA
    """
    torch.set_num_threads(1)
    folder = data_folder(data) or Path("absent")
    net = folder / "squeezenet_deep_compression" / "compressed_SqueezeNet.net"
    if net.exists():
        squeezenet: CompressedNetwork = read_net(net)
        module = GraphModule(squeezenet.network.to_onnx(), squeezenet.network.parameters).eval()
        images = (60 * np.random.default_rng(6).normal(size=(8, 3, 227, 227))).astype(np.float32)
        show("SqueezeNet", module, squeezenet, images, ArrayConfig(weight_bits=8))
    parameters, cifar = folder / "models" / "resnet20_cifar10.npz", folder / "cifar10"
    if parameters.exists() and cifar.exists():
        resnet = resnet_20()
        values = {name.removeprefix("state_dict."): each for name, each in read_npz(parameters).items()}
        load_parameters(resnet, values, f"{parameters}: must hold the parameters of a ResNet-20")
        inputs = load_idx_folder(cifar).test_images[:100].reshape(100, -1)
        settings = CompressionConfig(LayerSettings(density=0.4), pruning_steps=1)
        show("ResNet-20", resnet, compress(resnet, settings, inputs=inputs[:8]), inputs, ArrayConfig())


if __name__ == "__main__":
    run(lambda: tyro.cli(main))
