"""Accuracy against bits of shared weights, of convolutions and of fully connected layers (PyTorch needed).

Deep Compression's Table 6 shows AlexNet, tuned after sharing. Ours shows the trained networks available here, shared
once and not tuned; it measures the loss from the number of bits alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.config import CompressionConfig
from designs.result_files import SHARING_COLUMNS
from designs.results import provenance, table_of, write_results
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

if TYPE_CHECKING:
    import torch

BITS = ((32, 32), (8, 5), (8, 4), (4, 2))  # convolutions, fully connected layers; 32: not shared


@dataclass(frozen=True, eq=False)
class TrainedImageNetwork:
    """Trained network with the images that its accuracy is measured on.

    Attributes
    ----------
    name : str
        Name of the network in the result file.
    module : torch.nn.Module
        Trained network.
    images : ImageSet
        Images; only the test images are used.
    """

    name: str
    module: torch.nn.Module
    images: ImageSet


def run_sharing(path: Path, networks: Sequence[TrainedImageNetwork]) -> None:
    """Share the weights of each network with each pair of BITS; write the accuracies to the result file `path`."""
    from compress.training.fine_tuning import accuracy

    rows: list[dict[str, Any]] = []
    with progress_bar("sharing weights", len(networks) * len(BITS)) as advance:
        for network in networks:
            images = network.images
            for convolution_bits, connected_bits in BITS:
                shared = _shared(network.module, convolution_bits, connected_bits)
                row = {"network": network.name, "convolution_bits": convolution_bits, "connected_bits": connected_bits}
                rows.append(row | {"accuracy": accuracy(shared, images.test_images, images.test_labels)})
                advance()
    write_results(path, table_of(SHARING_COLUMNS, rows), provenance({"bits": BITS}))


def _shared(module: torch.nn.Module, convolution_bits: int, connected_bits: int) -> torch.nn.Module:
    """Return a copy whose non-zero weights are shared; biases are left alone."""
    import torch

    from compress.training.compressor import Compressor

    shared = copy.deepcopy(module)
    if convolution_bits == 32:
        return shared
    layers: dict[str, dict[str, Any]] = {}
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            bits = convolution_bits if isinstance(part, torch.nn.Conv2d) else connected_bits
            density = max(1, int(part.weight.count_nonzero())) / part.weight.numel()
            layers[name] = {"density": density, "weight_bits": bits}
            if part.bias is not None:
                layers[name]["share_bias"] = False
    compressor = Compressor(copy.deepcopy(module), CompressionConfig(layers=layers, pruning_steps=1))
    while compressor.step() is not None:
        pass
    compressor.finalize().load_into(shared)
    return shared
