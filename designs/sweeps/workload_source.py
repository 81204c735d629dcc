"""Workloads by name: layers of the EIE benchmark, a container, or layer files."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressedModel
from compress.class_scores import check_labels
from compress.networks import given_inputs
from designs.sweeps.workload import Workload, WorkloadLayer
from sim import ArrayConfig
from traces import AnyInputs, CompressedLayer, CompressedNetwork, InputError, Network
from traces.arrays import Floats, Floats32, Numbers
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.images import load_images
from traces.files.layer_file import open_layer
from traces.files.npz import read_layer_and_input, read_npy
from traces.plain_values import whole_number
from traces.shell.progress import progress_bar

EIE = "eie"


def open_workload(
    names: Sequence[str],
    data: str | os.PathLike[str] | None = None,
    inputs: AnyInputs | None = None,
    most: int = 50,
    state: Mapping[str, str] | None = None,
    sampling_error: float | None = None,
    arrays: Sequence[ArrayConfig] = (),
) -> Workload:
    """Return the workload of these names.

    Parameters
    ----------
    names : sequence of str
        "eie" for all nine layers of the EIE benchmark, or some of these layers by name; layer files; or one container.
        Layer files and benchmark layers have one recorded input each.
    data : path, optional
        Folder of the images that enter a container, and of the real benchmark layers; a layer that it does not hold is
        drawn at random.
    inputs : array, tuple or mapping of arrays, path, or Inputs, optional
        Inputs of a container's network instead of images.
    most : int
        Largest number of inputs of a container.
    state, sampling_error, arrays
        For a container, those of `Workload.of_network`.

    Returns
    -------
    Workload
        The layers with their recorded inputs.

    Raises
    ------
    InputError
        If a file is missing or invalid.
    """
    if len(names) == 1 and names[0].endswith(".dc"):
        read = container_inputs(names[0], inputs, data, most, state=state)
        with progress_bar("recording inputs", read.count) as advance:
            return Workload.of_network(
                read.network,
                read.feeds,
                state=state,
                sampling_error=sampling_error,
                arrays=arrays,
                after_input=advance,
            )
    if not names or inputs is not None or state or sampling_error is not None:
        raise InputError(
            "a workload is eie, layers of it, layer files, or one container (.dc); only a container takes inputs, "
            f"state and sampling_error; found {', '.join(names) or 'nothing'}"
        )
    layer_names = [each for name in names for each in (EIE_BENCHMARK if name == EIE else (name,))]
    layers = [_named_layer(name, None if data is None else Path(data)) for name in layer_names]
    return Workload(" ".join(names), tuple(WorkloadLayer(layer, values[np.newaxis]) for layer, values in layers))


def _named_layer(name: str, data: Path | None) -> tuple[CompressedLayer, Floats32]:
    if name in EIE_BENCHMARK:
        real = None if data is None or name not in REAL_LAYERS else data / REAL_LAYERS[name]
        if real is None or not real.exists():
            return EIE_BENCHMARK[name].draw()
        layer, values = read_layer_and_input(real)
        return dataclasses.replace(layer, name=name), values
    if not Path(name).exists():
        raise InputError(
            f"{name}: there is no such layer file, and the EIE benchmark has "
            f"{', '.join(EIE_BENCHMARK)}; all nine are eie"
        )
    layer, recorded = open_layer(name)
    if recorded is None:
        raise InputError(f"{name}: a sweep needs a recorded input (the array act of a layer file); found none")
    return layer, recorded


@dataclass(frozen=True, eq=False)
class ContainerInputs:
    """Compressed network of a container, with inputs.

    Attributes
    ----------
    network : CompressedNetwork
        The network; its name is the container's path.
    sequential : bool
        True if the container has no graph, so that its layers run one after the other with a rectifier (ReLU) between.
    feeds : dict of str to numpy.ndarray
        Inputs by name, as the network takes them.
    labels : numpy.ndarray or None
        Labels of the inputs that were asked for.
    image_labels : numpy.ndarray or None
        Labels that the images have.
    origin : str
        Origin of the inputs, in words.
    """

    network: CompressedNetwork
    sequential: bool
    feeds: dict[str, Numbers]
    labels: Numbers | None
    image_labels: Numbers | None
    origin: str

    @property
    def count(self) -> int:
        """Number of inputs."""
        return self.network.network.num_inputs(self.feeds)


def open_container(container: str | os.PathLike[str]) -> tuple[CompressedNetwork, bool]:
    """Return the compressed network of a container, and True if it has no graph and its layers run in order.

    Raises
    ------
    InputError
        If the file is no container; or it has no graph, and layers that do not run one after the other.
    """
    model = CompressedModel.load(container)
    if model.graph is not None:
        model.network.name = str(container)
        return CompressedNetwork(model.network, model.stored_layers), False
    remedy = "compress the network with its inputs, or an ONNX file, so that the container has its graph"
    beside = model.tensors_beside_layers
    if beside:
        raise InputError(
            f"{container}: has no graph, so its layers run one after the other, ReLU in between, and it must hold only "
            f"layers and their biases; found {', '.join(beside)}, which would be ignored; {remedy}"
        )
    for layer, shape, names in zip(model.layers, model.shapes, model.weight_names, strict=True):
        if shape != layer.codes.shape or len(names) > 1 or re.search(r"weight_[ih][hr]", names[0]):
            raise InputError(
                f"{container}: has no graph, so its layers must be fully connected and run one after the other; found "
                f"{', '.join(names)} of shape {list(shape)}; {remedy}"
            )
    return CompressedNetwork.of_layers(model.layers, str(container)), True


def container_inputs(
    container: str | os.PathLike[str],
    inputs: AnyInputs | None = None,
    data: str | os.PathLike[str] | None = None,
    most: int = 50,
    labels: Numbers | str | os.PathLike[str] | None = None,
    state: Mapping[str, str] | None = None,
) -> ContainerInputs:
    """Read a container, and inputs of its network.

    Parameters
    ----------
    container, inputs, data, most, labels, state
        Those of `designs.sweeps.network_run.run_container`.

    Returns
    -------
    ContainerInputs
        At most `most` inputs.

    Raises
    ------
    InputError
        If a file cannot be read, or the inputs do not fit the network.
    """
    most = whole_number("most", most, 1)
    if data is not None and inputs is not None:
        raise InputError(f"inputs come from a file or from data; found both, {inputs} and {data}; give one")
    compressed, sequential = open_container(container)
    network = compressed.network
    given: Any
    image_labels: Numbers | None = None
    if inputs is None:
        images = load_images(data)
        given, origin = _shaped(images.test_images, network), f"test images of {images.name}"
        image_labels = images.test_labels[:most]
    else:
        given, origin = read_inputs(inputs, network, state or {})
    try:
        feeds = network.bind(given, state or ())
    except InputError as error:
        remedy = "" if inputs is not None else "; give the network's own inputs as inputs"
        raise InputError(f"{error} from {origin}{remedy}") from None
    total = network.num_inputs(feeds)
    feeds = network.part(feeds, 0, most) | {name: feeds[name] for name in state or {}}
    if labels is not None:
        values = read_npy(labels) if isinstance(labels, str | os.PathLike) else labels
        labels = check_labels("labels", values, total, positions=None)[:most]
    return ContainerInputs(compressed, sequential, feeds, labels, image_labels, origin)


def _shaped(images: Floats, network: Network) -> Floats:
    """Return images in the shape of a network's only input, if they have as many values."""
    lengths = network.inputs[0].shape[1:]
    known = [length for length in lengths if length is not None]
    fits = len(known) == len(lengths) and math.prod(known) == math.prod(images.shape[1:])
    return images.reshape(len(images), *known) if fits else images


def read_inputs(inputs: AnyInputs, network: Network, state: Mapping[str, str]) -> tuple[Any, str]:
    """Return inputs as `Network.bind` takes them, with the first values of the state, and their origin."""
    is_file = isinstance(inputs, str | os.PathLike)
    if is_file and not Path(str(inputs)).exists() and str(inputs).isdigit():
        raise InputError(
            f"inputs is the file of the inputs; found the number {inputs}; give the number as most={inputs}"
        )
    read = given_inputs(inputs)
    if state and not isinstance(read, Mapping):
        others = [entry.name for entry in network.inputs if entry.name not in state]
        read = dict(zip(others, read if isinstance(read, tuple) else (read,), strict=False))
    elif len(network.inputs) == 1 and np.ndim(read) == len(network.inputs[0].shape) - 1:  # one input alone
        read = np.asarray(read)[np.newaxis]
    if state:
        from traces.graph.inputs import state_before

        given = {name: values for name, values in read.items() if name in state}
        read = {**read, **state_before(network, state, given)}
    return read, str(inputs) if is_file else "given inputs"
