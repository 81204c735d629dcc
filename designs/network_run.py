"""A whole compressed network on one array, over many inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compress import CompressedModel
from sim import ArrayConfig
from sim.network import NetworkResult, simulate_network
from traces import InputError
from traces.deep_compression_net import read_net
from traces.images import load_images
from traces.network import Network
from traces.npz import read_npy
from traces.progress import progress_bar


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What every input costs in each layer; labels where the inputs were labelled images."""

    path: Path
    array: ArrayConfig
    source: str
    result: NetworkResult
    labels: npt.NDArray[np.int64] | None

    @property
    def accuracy(self) -> float | None:
        """Share of inputs whose largest output is that of their label; None without labels."""
        if self.labels is None:
            return None
        answers = self.result.output.reshape(len(self.labels), -1).argmax(axis=1)
        return float(np.mean(answers == self.labels))


def run_network(
    path: Path,
    array: ArrayConfig,
    data: Path | None = None,
    activations: Path | None = None,
    inputs: int = 50,
    prototxt: Path | None = None,
) -> NetworkRun:
    """Run at most `inputs` inputs, from a file or a set of test images, through a container or a `.net` file.

    Raises InputError if a file cannot be read or the inputs do not fit the network.
    """
    if inputs < 1:
        raise InputError(f"inputs={inputs} must be at least 1")
    if data is not None and activations is not None:
        raise InputError(
            f"inputs come from --data or from --activations; found both, {data} and {activations}; give one"
        )
    network = _read_network(path, prototxt)
    shape = network.input_shape
    labels = None
    if activations is not None:
        values = read_npy(activations)
        values = (values[np.newaxis] if values.ndim == len(shape) else values)[:inputs]
        source = str(activations)
    else:
        images = load_images(data)
        values, labels = images.test_images[:inputs], images.test_labels[:inputs]
        source = f"test images of {images.name}"
    if values.shape[1:] != shape or not len(values):
        raise InputError(
            f"{path}: the network takes inputs of shape {list(shape)}; {source} give {list(values.shape)}; "
            f"give the network's own inputs with --data or --activations"
        )
    with progress_bar("simulating inputs", len(values)) as advance:
        result = simulate_network(network, values, array, advance)
    return NetworkRun(path, array, source, result, labels)


def _read_network(path: Path, prototxt: Path | None) -> Network:
    if path.suffix == ".net":
        return read_net(path, prototxt)
    if prototxt is not None:
        raise InputError(f"--prototxt describes a .net file; {path} is none")
    return Network.of_layers(path.stem, CompressedModel.load(path).layers)
