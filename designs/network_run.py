"""A whole compressed network on one array, over many inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from designs.workload_source import container_inputs
from sim import ArrayConfig
from sim.network import NetworkResult, simulate_network
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
    model, values, labels, source = container_inputs(container, data, activations, inputs)
    with progress_bar("simulating inputs", len(values)) as advance:
        result = simulate_network(model.layers, values, array, advance)
    return NetworkRun(container, source, result, labels)
