"""Trained networks by their names on the command line (PyTorch needed)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.networks import is_module, load_parameters
from compress.planning.choices import DENSITIES
from compress.weight_files.reading import read_parameters
from designs.codesigns.trained_network import TrainedNetwork
from designs.experiments.main_job import TRAINED_FILE, build_network
from designs.experiments.planning.networks import LENET_DENSITIES, LENET_POOL, RESNET_POOL, resnet_8_inputs
from designs.experiments.planning.trained import TRAINED_ON, trained_lenet
from designs.experiments.resnet import load_resnet
from designs.file_names import file_name
from designs.results import RESULTS_FOLDER
from designs.stages import is_kept
from traces import InputError, Network
from traces.files.images import ImageSet, load_images
from traces.files.npz import read_npy
from traces.function_names import named_function, network_and_inputs

if TYPE_CHECKING:
    import torch

_EVALUATED = 8000  # training images besides the pool


@dataclass(frozen=True)
class InputFiles:
    """Files of the inputs of any network.

    Attributes
    ----------
    inputs : Path, optional
        .npy file of inputs [inputs, ...], or .npz file with an array for each of the network's inputs by name.
    labels : Path, optional
        .npy file of the inputs' labels, int [inputs] or [inputs, positions].
    evaluation, evaluation_labels : Path, optional
        Inputs and labels that the front is verified on; by default, the same ones.
    """

    inputs: Path | None = None
    labels: Path | None = None
    evaluation: Path | None = None
    evaluation_labels: Path | None = None

    @property
    def given(self) -> dict[str, Path]:
        """Files that are given, by name."""
        return {name: path for name, path in vars(self).items() if path is not None}


NETWORKS = ("main", "lenet_5", "resnet_20", "resnet_8")


def open_network(
    name: str,
    data: Path | None = None,
    weights: Path | None = None,
    files: InputFiles | None = None,
    leave: Sequence[str] = (),
    thresholds: bool = False,
) -> TrainedNetwork:
    """Open a trained network with inputs to compress and verify it on, and test images for reports.

    LeNet-5 was not trained on its images; the ResNets and the main job's network were trained on theirs.

    Parameters
    ----------
    name : str
        main: the network in the results of the main job; lenet_5: trained here on MNIST at its first use; resnet_20 and
        resnet_8, on CIFAR-10, with their weights; an ONNX file; or MODULE:FUNCTION that gives a module, a module and
        inputs, or a TrainedNetwork.
    data : Path, optional
        Folder of images; None: the digits of scikit-learn.
    weights : Path, optional
        State dict of resnet_20, of the main job's network, or of the module that a function gives, .npz or .pt; the
        ONNX file of resnet_8.
    files : InputFiles, optional
        Files of the inputs of an ONNX file or of a module.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them; by default, those that a TrainedNetwork names.
    thresholds : bool
        True to also try activation thresholds; by default, as a TrainedNetwork says.

    Returns
    -------
    TrainedNetwork
        The network and its images.

    Raises
    ------
    InputError
        If there is no such network, or data or weights are missing.
    """
    files = files or InputFiles()
    network = _any_network(name, weights, files) if name not in NETWORKS else _named(name, data, weights, files)
    network = replace(network, leave=tuple(leave)) if leave else network
    return replace(network, thresholds=True) if thresholds else network


def _named(name: str, data: Path | None, weights: Path | None, files: InputFiles) -> TrainedNetwork:
    """Return one of the project's networks, with its images."""
    if files.given:
        raise InputError(f"{name} has images of its own, so {', '.join(files.given)} have no effect; leave them out")
    if name != "main" and data is None:
        raise InputError(f"{name} needs the folder of its images; give it with --data")
    images = load_images(data)
    module: torch.nn.Module | Path
    if name == "main":
        return _main_job(images, weights)
    if name == "lenet_5":
        if weights is not None:
            raise InputError("lenet_5 is trained here, so weights have no effect; omit them")
        module = trained_lenet(images, RESULTS_FOLDER / "lenet_5")
        first, after = TRAINED_ON, TRAINED_ON + LENET_POOL
    else:
        if weights is None:
            what = "state dict" if name == "resnet_20" else "ONNX file"
            raise InputError(f"{name} needs its {what}; give it with --weights")
        module = load_resnet(read_parameters(weights)) if name == "resnet_20" else weights
        first, after = 0, RESNET_POOL
    inputs = resnet_8_inputs if name == "resnet_8" else np.asarray
    return TrainedNetwork(
        name,
        module,
        inputs(images.train_images[first:after]),
        images.train_labels[first:after],
        inputs(images.train_images[after : after + _EVALUATED]),
        images.train_labels[after : after + _EVALUATED],
        inputs(images.test_images),
        images.test_labels,
        LENET_DENSITIES if name == "lenet_5" else DENSITIES,
    )


def _main_job(images: ImageSet, weights: Path | None) -> TrainedNetwork:
    path = weights
    if path is None:
        remedy = "give the trained network with --weights"
        path = RESULTS_FOLDER / file_name("the name of the images' folder", images.name, remedy) / TRAINED_FILE
    if not path.exists():
        raise InputError(f"{path}: there is no trained network; make it with python -m designs, or give --weights")
    if weights is None and not is_kept(path):
        raise InputError(
            f"{path}: must be as the main job wrote it; its checksum differs; run python -m designs again, or give "
            f"--weights"
        )
    network = build_network(images)
    load_parameters(network, read_parameters(path), f"{path}: must hold the parameters of the main job's network")
    pool = images.train_images[-2000:]
    labels = images.train_labels[-2000:]
    return TrainedNetwork("main", network.eval(), pool, labels, test=images.test_images, test_labels=images.test_labels)


def _any_network(name: str, weights: Path | None, files: InputFiles) -> TrainedNetwork:
    """Return the network of an ONNX file or a function, with the inputs of files."""
    if Path(name).suffix.lower() == ".onnx" or os.path.exists(name):
        if weights is not None:
            raise InputError(f"{name} has its own weights, so others have no effect; leave them out")
        return _with_inputs(name, Path(name).stem, name, files, None)
    if ":" not in name:
        raise InputError(
            f"network must be one of {', '.join(NETWORKS)}, an ONNX file, or MODULE:FUNCTION; found {name!r}"
        )
    built = named_function(name)()
    if isinstance(built, TrainedNetwork):
        if files.given or weights is not None:
            useless = ", ".join([*files.given, *(["weights"] if weights is not None else [])])
            raise InputError(f"{name} gives a network with its inputs, so {useless} have no effect; leave them out")
        return built
    network, inputs = network_and_inputs(built)
    if not is_module(network) and not isinstance(network, Network):
        raise InputError(
            f"{name} must give a torch.nn.Module, or a designs.TrainedNetwork; found {type(network).__name__}"
        )
    if weights is not None:
        load_parameters(network, read_parameters(weights), f"{weights}: must hold the parameters of {name}")
    return _with_inputs(name, name, network, files, inputs)


def _with_inputs(source: str, name: str, network: Any, files: InputFiles, inputs: Any) -> TrainedNetwork:
    if inputs is None and files.inputs is None:
        raise InputError(f"{source} needs inputs that it is compressed and measured on; give them with --inputs FILE")
    labels, evaluation_labels = (
        None if path is None else read_npy(path) for path in (files.labels, files.evaluation_labels)
    )
    pool = inputs if files.inputs is None else files.inputs
    return TrainedNetwork(name, network, pool, labels, files.evaluation, evaluation_labels)
