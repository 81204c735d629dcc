"""Accuracy against bits of shared weights, of convolutions and of fully connected layers (PyTorch needed).

Deep Compression's Table 6 is of AlexNet, tuned after sharing. Ours is of trained networks that are here, shared once
and not tuned: what bits alone cost.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from compress.config import CompressionConfig
from designs.results import Column, provenance, table_of, write_results
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

if TYPE_CHECKING:
    import torch

BITS = ((32, 32), (8, 5), (8, 4), (4, 2))  # of a convolution's weights, of a fully connected layer's
SHARING_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("convolution_bits", pa.int64(), "bit", "of a shared weight of a convolution; 32: not shared"),
    Column("connected_bits", pa.int64(), "bit", "of a shared weight of a fully connected layer; 32: not shared"),
    Column("accuracy", pa.float64(), "1", "share of the test images that are given their label"),
]
SHARING_FILE = "sharing.parquet"


@dataclass(frozen=True, eq=False)
class TrainedImageNetwork:
    """A trained network and images whose test part says how often it is right."""

    name: str
    module: torch.nn.Module
    images: ImageSet


def run_sharing(path: Path, networks: Sequence[TrainedImageNetwork]) -> None:
    """Share the weights of each network with each pair of BITS, and write the result file `path`."""
    from compress.training.fine_tuning import accuracy

    rows: list[dict[str, Any]] = []
    with progress_bar("accuracy of shared weights", len(networks) * len(BITS)) as advance:
        for each in networks:
            for convolution_bits, connected_bits in BITS:
                shared = _shared(each.module, convolution_bits, connected_bits)
                row = {"network": each.name, "convolution_bits": convolution_bits, "connected_bits": connected_bits}
                rows.append(row | {"accuracy": accuracy(shared, each.images.test_images, each.images.test_labels)})
                advance()
    write_results(path, table_of(SHARING_COLUMNS, rows), provenance({"bits": BITS}))


def _shared(module: torch.nn.Module, convolution_bits: int, connected_bits: int) -> torch.nn.Module:
    """A copy whose weights that are not zero are shared; biases stay as they are."""
    import torch

    from compress.training.compressor import prepare

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
    compressor = prepare(copy.deepcopy(module), CompressionConfig(layers=layers, pruning_steps=1))
    while compressor.step() is not None:
        pass
    compressor.finalize().load_into(shared)
    return shared
