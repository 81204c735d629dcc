"""Workloads by name: layers of the EIE benchmark, a container, or layer files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress import CompressedModel
from designs.sweeps.workload import Workload, WorkloadLayer
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Floats32, Integers64
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.images import load_images
from traces.files.layer_file import open_layer
from traces.files.npz import read_layer_and_input, read_npy
from traces.network import Network

EIE = "eie"


def open_workload(
    names: Sequence[str],
    data: str | os.PathLike[str] | None = None,
    activations: str | os.PathLike[str] | None = None,
    inputs: int = 50,
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
    activations : path, optional
        File of a container's inputs (.npy) instead of images.
    inputs : int
        Largest number of inputs of a container.

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
        return container_workload(names[0], data, activations, inputs)
    if not names or activations is not None:
        raise InputError(
            "a workload is eie, layers of it, layer files, or one container (.dc); only a container takes activations; "
            f"found {', '.join(names) or 'nothing'}"
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


def container_workload(
    container: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    activations: str | os.PathLike[str] | None = None,
    inputs: int = 50,
) -> Workload:
    """Return the fully connected layers of a container, one after the other; raise InputError if it has others."""
    model, values, _, _ = container_inputs(container, data, activations, inputs)
    return Workload.of_network(Network.of_layers(str(container), model.layers), values)


def container_inputs(
    container: str | os.PathLike[str],
    data: str | os.PathLike[str] | None,
    activations: str | os.PathLike[str] | None,
    inputs: int,
) -> tuple[CompressedModel, Floats, Integers64 | None, str]:
    """Read a container, and inputs from a file or a set of test images.

    Parameters
    ----------
    container, data, activations, inputs
        Those of `designs.sweeps.network_run.run_container`.

    Returns
    -------
    model : CompressedModel
        The container.
    values : array [inputs, columns]
        At most `inputs` inputs.
    labels : array of int [inputs], optional
        Labels of the images.
    inputs_from : str
        Origin of the inputs, in words.

    Raises
    ------
    InputError
        If the inputs do not fit the first layer, or the container holds more than layers and biases: it does not say
        where in the network the rest belongs.
    """
    if inputs < 1:
        raise InputError(f"inputs={inputs} must be at least 1")
    if data is not None and activations is not None:
        raise InputError(f"inputs come from data or from activations; found both, {data} and {activations}; give one")
    model = CompressedModel.load(container)
    beside = model.tensors_beside_layers
    if beside:
        raise InputError(
            f"{container}: its layers run one after the other, ReLU in between, so it must hold only layers and their "
            f"biases; found {', '.join(beside)}, which would be ignored; fuse normalisation with the layers before "
            f"they are compressed (torch.nn.utils.fusion)"
        )
    labels = None
    if activations is not None:
        values = np.atleast_2d(read_npy(activations))[:inputs]
        inputs_from = str(activations)
    else:
        images = load_images(data)
        values, labels = images.test_images[:inputs], images.test_labels[:inputs]
        inputs_from = f"test images of {images.name}"
    columns = model.layers[0].columns
    if values.ndim != 2 or not len(values) or values.shape[1] != columns:
        raise InputError(
            f"{container}: the first layer takes {columns:,} activations; {inputs_from} give shape "
            f"{list(values.shape)}; give the network's own inputs as data or activations"
        )
    return model, values, labels, inputs_from
