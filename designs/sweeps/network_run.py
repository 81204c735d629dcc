"""A whole compressed network on one array, over many inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from designs.design import Design, RowAssignment
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload
from designs.sweeps.workload_source import container_inputs
from sim import ArrayConfig, PackedLayer
from sim.network import NetworkResult, simulate_network
from traces.network import Network
from traces.shell.progress import progress_bar


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What every input costs in each layer.

    source           what the inputs are
    workload         the layers, and what enters each
    packed           the layers as the array holds them
    row_assignment   which PE owns which row
    labels           where the inputs were labelled images; else None
    """

    container: Path
    source: str
    workload: Workload
    packed: list[PackedLayer]
    row_assignment: RowAssignment
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
    row_assignment: RowAssignment = "interleaved",
) -> NetworkRun:
    """Run at most `inputs` inputs, from a file or a set of test images, through a container's layers.

    Raises InputError if a file cannot be read or the inputs do not fit the first layer.
    """
    model, values, labels, source = container_inputs(container, data, activations, inputs)
    workload = Workload.of_network(Network.of_layers(str(container), model.layers), values)
    packed = packed_images(workload, Design(array, row_assignment).packing)
    with progress_bar("simulating inputs", len(values)) as advance:
        result = simulate_network(packed, values, array, advance)
    return NetworkRun(container, source, workload, packed, row_assignment, result, labels)
