"""A workload from its name on the command line: EIE's benchmark layers, a container, layer files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compress import CompressedModel
from designs.sweeps.workload import Workload, WorkloadLayer
from traces import CompressedLayer, InputError
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.images import load_images
from traces.files.layer_file import open_layer
from traces.files.npz import read_layer_and_input, read_npy
from traces.layer import FloatVector
from traces.network import Network

EIE = "eie"
Inputs = tuple[CompressedModel, npt.NDArray[Any], npt.NDArray[np.int64] | None, str]


def open_workload(
    names: Sequence[str], data: Path | None = None, activations: Path | None = None, inputs: int = 50
) -> Workload:
    """The workload of these names: "eie" for all nine benchmark layers, some of them, a container, or layer files.

    data          folder of images that enter a container; and of the real benchmark layers, taken where it holds them
    activations   .npy file of inputs instead of images
    inputs        how many to take at most

    Layers of files and of the benchmark come with one recorded input each. Raises InputError if something is missing.
    """
    if len(names) == 1 and names[0].endswith(".dc"):
        return container_workload(Path(names[0]), data, activations, inputs)
    if not names or activations is not None:
        raise InputError(
            "a workload is eie, layers of it, layer files, or one container (.dc), which alone takes --activations; "
            f"found {', '.join(names) or 'nothing'}"
        )
    listed = [each for name in names for each in (EIE_BENCHMARK if name == EIE else (name,))]
    layers = [_named_layer(name, data) for name in listed]
    found = tuple(WorkloadLayer(layer, values[np.newaxis]) for layer, values in layers)
    return Workload(" ".join(names), found)


def _named_layer(name: str, data: Path | None) -> tuple[CompressedLayer, FloatVector]:
    if name in EIE_BENCHMARK:
        real = None if data is None or name not in REAL_LAYERS else data / REAL_LAYERS[name]
        if real is None or not real.exists():
            return EIE_BENCHMARK[name].draw()
        layer, values = read_layer_and_input(real)
        return dataclasses.replace(layer, name=name), values
    if not Path(name).exists():
        raise InputError(
            f"{name}: there is no such layer file, and EIE's benchmark has {', '.join(EIE_BENCHMARK)}; all nine are eie"
        )
    layer, recorded = open_layer(name)
    if recorded is None:
        raise InputError(f"{name}: a sweep needs a recorded input (the array act of a layer file); found none")
    return layer, recorded


def container_workload(
    container: Path, data: Path | None = None, activations: Path | None = None, inputs: int = 50
) -> Workload:
    """The fully connected layers of a container, one after the other. Raises InputError if its layers are none."""
    model, values, _, _ = container_inputs(container, data, activations, inputs)
    return Workload.of_network(Network.of_layers(str(container), model.layers), values)


def container_inputs(container: Path, data: Path | None, activations: Path | None, inputs: int) -> Inputs:
    """A container's model and at most `inputs` inputs, from a file or a set of test images.

    With labels, if there are, and what the inputs are. Raises InputError if they do not fit the first layer, or the
    container holds more than layers and their biases: what that is between the layers it does not say.
    """
    if inputs < 1:
        raise InputError(f"inputs={inputs} must be at least 1")
    if data is not None and activations is not None:
        raise InputError(
            f"inputs come from --data or from --activations; found both, {data} and {activations}; give one"
        )
    model = CompressedModel.load(container)
    beside = model.tensors_beside_layers
    if beside:
        raise InputError(
            f"{container}: its layers are run one after the other, ReLU in between, so it must hold nothing else than "
            f"layers and their biases; found {', '.join(beside)}, which would be left out; fuse normalisation with "
            f"the layers before they are compressed (torch.nn.utils.fusion)"
        )
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
    return model, values, labels, source
