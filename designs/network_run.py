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
from traces.images import load_images
from traces.npz import read_npy
from traces.progress import progress_bar


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What every input costs in each layer; labels where the inputs were labelled images."""

    container: Path
    source: str
    result: NetworkResult
    labels: npt.NDArray[np.int64] | None

    @property
    def accuracy(self) -> float | None:
        """Share of inputs whose largest output is that of their label; None without labels."""
        if self.labels is None:
            return None
        return float(np.mean(self.result.output.argmax(axis=1) == self.labels))


def run_container(
    container: Path,
    array: ArrayConfig,
    data: Path | None = None,
    activations: Path | None = None,
    inputs: int = 50,
) -> NetworkRun:
    """Run at most `inputs` inputs, from a file or a set of test images, through a container's layers.

    Raises InputError if a file cannot be read or the inputs do not fit the first layer.
    """
    if inputs < 1:
        raise InputError(f"inputs={inputs} must be at least 1")
    if data is not None and activations is not None:
        raise InputError(
            f"inputs come from --data or from --activations; found both, {data} and {activations}; give one"
        )
    model = CompressedModel.load(container)
    labels = None
    if activations is not None:
        values = np.atleast_2d(read_npy(activations))[:inputs]
        source = str(activations)
    else:
        images = load_images(data)
        values, labels = images.test_images[:inputs], images.test_labels[:inputs]
        source = f"test images of {images.name}"
    columns = model.layers[0].columns
    if values.ndim != 2 or not len(values) or values.shape[1] != columns:
        raise InputError(
            f"{container}: the first layer takes {columns:,} activations; {source} give shape "
            f"{list(values.shape)}; give the network's own inputs with --data or --activations"
        )
    with progress_bar("simulating inputs", len(values)) as advance:
        result = simulate_network(model.layers, values, array, advance)
    return NetworkRun(container, source, result, labels)
