"""Simulation of a whole compressed network on one array, for many inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designs.design import Design
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload
from designs.sweeps.workload_source import container_inputs
from sim import ArrayConfig, PackedLayer
from sim.network import NetworkResult, simulate_network
from sim.row_assignment import RowAssignment
from traces.arrays import Integers64
from traces.network import Network
from traces.shell.progress import progress_bar


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """Simulation of a container: the costs of every input in each layer.

    Attributes
    ----------
    container : Path
        File of the compressed network.
    inputs_from : str
        Origin of the inputs, in words.
    workload : Workload
        The layers, and the activations that enter each.
    packed : list of PackedLayer
        The layers as the array holds them.
    row_assignment : str
        Assignment of the matrix rows to PEs.
    result : NetworkResult
        Outputs, cycles and energy.
    labels : array of int [inputs], optional
        Labels of the inputs, if they are labelled images.
    """

    container: Path
    inputs_from: str
    workload: Workload
    packed: list[PackedLayer]
    row_assignment: RowAssignment
    result: NetworkResult
    labels: Integers64 | None

    @property
    def accuracy(self) -> float | None:
        """Share of inputs whose largest output is at their label; None without labels."""
        if self.labels is None:
            return None
        return float(np.mean(self.result.output.argmax(axis=1) == self.labels))


def run_container(
    container: str | os.PathLike[str],
    array: ArrayConfig,
    data: str | os.PathLike[str] | None = None,
    activations: str | os.PathLike[str] | None = None,
    inputs: int = 50,
    row_assignment: RowAssignment = "interleaved",
) -> NetworkRun:
    """Simulate the layers of a container, one after the other with ReLU in between.

    Parameters
    ----------
    container : path
        File of the compressed network; all its layers are fully connected.
    array : ArrayConfig
        The array.
    data : path, optional
        Folder of images whose test images are the inputs. None: the digits of scikit-learn.
    activations : path, optional
        File of inputs (.npy, [inputs, columns] or [columns]) instead of images.
    inputs : int
        Largest number of inputs to simulate.
    row_assignment : {"interleaved", "entries", "activity", "search"}
        Assignment of the matrix rows to PEs.

    Returns
    -------
    NetworkRun
        The simulation.

    Raises
    ------
    InputError
        If a file cannot be read, or the inputs do not fit the first layer.
    """
    model, values, labels, inputs_from = container_inputs(container, data, activations, inputs)
    workload = Workload.of_network(Network.of_layers(str(container), model.layers), values)
    packed = packed_images(workload, Design(array, row_assignment).packing)
    with progress_bar("simulating inputs", len(values)) as advance:
        result = simulate_network(packed, values, array, advance)
    return NetworkRun(Path(container), inputs_from, workload, packed, row_assignment, result, labels)
