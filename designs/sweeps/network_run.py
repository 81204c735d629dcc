"""Simulation of a whole compressed network on one array, for many inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.class_scores import check_form, check_labels
from compress.output_changes import answers, classes_last
from designs.design import Design
from designs.sweeps.original import LossOnArray, Original, check_original, loss_on_array
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload
from designs.sweeps.workload_source import ContainerInputs, container_inputs, read_inputs
from sim import ArrayConfig, FixedPoint, PackedLayer, fit_formats
from sim.network import NetworkResult, simulate_network, wide_enough
from sim.row_assignment import RowAssignment
from traces import AnyInputs, InputError
from traces.arrays import Integers64, Numbers
from traces.shell.progress import progress_bar

FITTED_TO_SAME = "these inputs"
"""Origin of number formats that are fitted to the simulated inputs."""


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """Simulation of a container: the costs of every input in each layer.

    Attributes
    ----------
    container : Path
        File of the compressed network.
    inputs_from : str
        Origin of the inputs, in words.
    inputs : int
        Number of inputs; of steps, if the network's state is fed on.
    workload : Workload
        The layers, and the activations that enter each, all of them or a sample.
    packed : list of list of PackedLayer
        The groups of each layer of the workload as the array holds them.
    row_assignment : str
        Assignment of the matrix rows to PEs.
    result : NetworkResult
        Outputs, cycles and energy.
    sequential : bool
        True if the container has no graph, so that its layers ran one after the other with a rectifier (ReLU) between.
    labels : array of int [inputs] or [inputs, positions], optional
        Labels of the inputs.
    formats_from : str
        Origin of the inputs that number formats were fitted to, in words; empty for floating point.
    lost : LossOnArray, optional
        Loss from the original network, if that was given.
    """

    container: Path
    inputs_from: str
    inputs: int
    workload: Workload
    packed: list[list[PackedLayer]]
    row_assignment: RowAssignment
    result: NetworkResult
    sequential: bool
    labels: Integers64 | None
    formats_from: str = ""
    lost: LossOnArray | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of inputs, or of their positions, whose largest output is at their label; None without labels."""
        if self.labels is None:
            return None
        return float(np.mean(answers(self.result.output) == self.labels))


def run_container(
    container: str | os.PathLike[str],
    array: ArrayConfig,
    inputs: AnyInputs | None = None,
    data: str | os.PathLike[str] | None = None,
    most: int = 50,
    row_assignment: RowAssignment = "interleaved",
    *,
    labels: Numbers | str | os.PathLike[str] | None = None,
    state: Mapping[str, str] | None = None,
    host_lanes: int | None = None,
    sampling_error: float | None = None,
    calibration: AnyInputs | None = None,
    original: Original | None = None,
) -> NetworkRun:
    """Simulate the network of a container.

    Parameters
    ----------
    container : path
        File of the compressed network. Without a graph in it, its layers must be fully connected; they run one after
        the other with a rectifier (ReLU) between.
    array : ArrayConfig
        The array. If its codes have the default width, they are as wide as the container's.
    inputs : array, tuple or mapping of arrays, path, or Inputs, optional
        Inputs of the network, as `traces.Inputs.of` takes them. A mapping may hold the first value of state.
    data : path, optional
        Folder of images whose test images are the inputs, with their labels. None, without inputs: the digits of
        scikit-learn.
    most : int
        Largest number of inputs to simulate.
    row_assignment : {"interleaved", "entries", "activity", "search"}
        Assignment of the matrix rows to PEs.
    labels : array of int [inputs] or [inputs, positions], or path, optional
        Labels of the inputs, for the accuracy.
    state : mapping of str to str, optional
        For each input of the network that is its own earlier output, the name of that output; it begins with zeros, or
        with what inputs hold for it. The inputs are steps that follow one another.
    host_lanes : int, optional
        Lanes of a vector unit on which the operations off the array are costed.
    sampling_error : float, optional
        As `Workload.of_network` takes it, for the workload on which changes of the array are simulated. The network
        itself runs with all vectors.
    calibration : array, tuple or mapping of arrays, path, or Inputs, optional
        Inputs that the number formats of an array in fixed point are fitted to; by default, the simulated inputs.
    original : Original, optional
        Original network, and what the compressed one may lose: the loss is measured in the arithmetic of the array.

    Returns
    -------
    NetworkRun
        The simulation.

    Raises
    ------
    InputError
        If a file cannot be read, inputs or labels do not fit the network, or a calibration is given for floating point.
    """
    check_original(original, state)
    if calibration is not None and array.precision == "float":
        raise InputError("calibration has no effect with precision='float'; give the array a fixed precision")
    read = container_inputs(container, inputs, data, most, labels, state)
    if array.weight_bits == ArrayConfig.weight_bits:
        array = wide_enough(array, read.network)
    with progress_bar("recording inputs", read.count) as advance:
        workload = Workload.of_network(
            read.network,
            read.feeds,
            state=state,
            sampling_error=sampling_error,
            arrays=(array,),
            after_input=advance,
        )
    formats, formats_from = _formats(read, calibration, array, state)
    packed = packed_images(workload, Design(array, row_assignment).packing)
    with progress_bar("simulating inputs", read.count) as advance:
        result = simulate_network(
            read.network,
            read.feeds,
            array,
            state=state,
            host_lanes=host_lanes,
            packed=dict(zip(workload.layer_names, packed, strict=True)),
            number_formats=formats,
            after_input=advance,
        )
    labelled = _labels(read, result.output)
    lost = None if original is None else loss_on_array(original, container, read, inputs, result.output, labelled)
    return NetworkRun(
        Path(container),
        read.origin,
        read.count,
        workload,
        packed,
        row_assignment,
        result,
        read.sequential,
        labelled,
        formats_from,
        lost,
    )


def _formats(
    read: ContainerInputs, calibration: AnyInputs | None, array: ArrayConfig, state: Mapping[str, str] | None
) -> tuple[dict[str, FixedPoint] | None, str]:
    """Return the number formats of an array in fixed point, and the origin of the inputs that they fit."""
    if array.precision == "float":
        return None, ""
    network = read.network.network
    feeds, origin = read.feeds, FITTED_TO_SAME
    if calibration is not None:
        given, origin = read_inputs(calibration, network, state or {})
        try:
            feeds = network.bind(given, state or ())
        except InputError as error:
            raise InputError(f"calibration: {error}") from None
    count = network.num_inputs(feeds)
    with progress_bar("fitting number formats", count) as advance:
        formats = fit_formats(read.network, feeds, array, state=state, after_input=advance)
    return formats, origin if calibration is None else f"{count:,} inputs of {origin}"


def _labels(read: ContainerInputs, output: Any) -> Integers64 | None:
    """Return the labels; those of images count only if the output is class scores."""
    if read.labels is not None:
        return _fitting(read.labels, output, read.count)
    if read.image_labels is None:
        return None
    try:
        return _fitting(read.image_labels, output, read.count)
    except InputError:
        return None


def _fitting(labels: Numbers, output: Any, inputs: int) -> Integers64:
    """Return labels that fit the network's only output, or raise InputError."""
    if isinstance(output, dict):
        raise InputError(f"labels are those of one output; the network has {', '.join(output)}; leave labels out")
    check_form("the network's output", output, inputs, positions=True)
    scores = classes_last(output)
    return check_labels("labels", labels, inputs, scores.shape[-1], scores.shape[1:-1])
