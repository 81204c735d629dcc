"""A whole compressed network on one array, over many inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compress import CompressedModel
from sim import ArrayConfig, SimulationResult, pack, simulate_network
from traces import InputError
from traces.images import load_images
from traces.npz import read_npy
from traces.progress import progress_bar


@dataclass(frozen=True, eq=False)
class ContainerRun:
    """Results by input, then by layer; labels where the inputs were labelled images."""

    container: Path
    model: CompressedModel
    array: ArrayConfig
    source: str
    results: list[list[SimulationResult]]
    labels: npt.NDArray[np.int64] | None

    @property
    def accuracy(self) -> float | None:
        """Share of inputs whose largest output is that of their label; None without labels."""
        if self.labels is None:
            return None
        answers = [int(np.argmax(layers[-1].output)) for layers in self.results]
        return float(np.mean(np.array(answers) == self.labels))


def run_container(
    container: Path,
    array: ArrayConfig,
    data: Path | None = None,
    activations: Path | None = None,
    inputs: int = 50,
) -> ContainerRun:
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
    packed = [pack(layer, array) for layer in model.layers]
    results = []
    with progress_bar("simulating inputs", len(values)) as advance:
        for value in values:
            results.append(simulate_network(packed, value, array))
            advance()
    return ContainerRun(container, model, array, source, results, labels)
