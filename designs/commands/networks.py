"""Trained networks by their names on the command line (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path

from compress.network_source import load_parameters, named_function
from compress.weight_files.reading import read_parameters
from designs.codesigns.trained_network import TrainedNetwork
from designs.experiments.main_job import TRAINED_FILE, build_network
from designs.experiments.planning import TRAINED_ON, lenet, resnet
from designs.experiments.resnet import load_resnet
from designs.file_names import file_name
from designs.results import RESULTS_FOLDER
from traces import InputError
from traces.files.images import ImageSet, load_images

_EVALUATED = 8000  # training images besides the pool
NETWORKS = ("main", "lenet_5", "resnet_20")


def open_network(name: str, data: Path | None = None, weights: Path | None = None) -> TrainedNetwork:
    """Open a trained network with images to compress and verify it on, and test images for reports.

    LeNet-5 was not trained on its images; ResNet-20 and the main job's network were trained on theirs.

    Parameters
    ----------
    name : str
        main: the network in the results of the main job; lenet_5: trained here on MNIST at its first use; resnet_20, on
        CIFAR-10, with its weights; or MODULE:FUNCTION that gives a TrainedNetwork.
    data : Path, optional
        Folder of images; None: the digits of scikit-learn.
    weights : Path, optional
        State dict of resnet_20, or of the main job's network, .npz or .pt.

    Returns
    -------
    TrainedNetwork
        The network and its images.

    Raises
    ------
    InputError
        If there is no such network, or data or weights are missing.
    """
    if ":" in name:
        return _from_function(name)
    if name not in NETWORKS:
        raise InputError(f"network must be one of {', '.join(NETWORKS)}, or MODULE:FUNCTION; found {name!r}")
    if name != "main" and data is None:
        raise InputError(f"{name} needs the folder of its images; give it with --data")
    images = load_images(data)
    if name == "main":
        return _main_job(images, weights)
    if name == "lenet_5":
        if weights is not None:
            raise InputError("lenet_5 is trained here, so weights have no effect; omit them")
        planned, first = lenet(images, RESULTS_FOLDER / "lenet_5"), TRAINED_ON
    else:
        if weights is None:
            raise InputError("resnet_20 needs its state dict; give it with --weights")
        planned, first = resnet(load_resnet(read_parameters(weights)), images), 0
    after = first + len(planned.pool)
    return TrainedNetwork(
        name,
        planned.module,
        planned.pool,
        images.train_labels[first:after],
        images.train_images[after : after + _EVALUATED],
        images.train_labels[after : after + _EVALUATED],
        images.test_images,
        images.test_labels,
        planned.densities,
    )


def _main_job(images: ImageSet, weights: Path | None) -> TrainedNetwork:
    path = weights
    if path is None:
        remedy = "give the trained network with --weights"
        path = RESULTS_FOLDER / file_name("the name of the images' folder", images.name, remedy) / TRAINED_FILE
    if not path.exists():
        raise InputError(f"{path}: there is no trained network; make it with python -m designs, or give --weights")
    network = build_network(images)
    load_parameters(network, read_parameters(path), f"{path}: must hold the parameters of the main job's network")
    pool = images.train_images[-2000:]
    labels = images.train_labels[-2000:]
    return TrainedNetwork("main", network.eval(), pool, labels, test=images.test_images, test_labels=images.test_labels)


def _from_function(name: str) -> TrainedNetwork:
    network = named_function(name)()
    if not isinstance(network, TrainedNetwork):
        raise InputError(f"{name} must give a designs.TrainedNetwork; found {type(network).__name__}")
    return network
