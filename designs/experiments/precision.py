"""Accuracy of networks in the array's arithmetic: floating point, and fixed point of 32, 16 and 8 bits.

EIE's Fig 10 shows AlexNet on ImageNet, which is not available here. Ours shows the LeNets of the containers on MNIST,
or the main job's network on scikit-learn's digits. Products and sums are rounded as in `sim.fixed_point`. Number
formats are fitted to training images, so that test images may saturate and overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compress import CompressedModel
from designs.result_files import PRECISION_COLUMNS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, compute_network, fit_formats
from sim.config import Precision
from traces import CompressedNetwork, Network
from traces.files.images import ImageSet
from traces.shell.progress import progress_bar

PRECISIONS: tuple[Precision, ...] = ("float", "fixed-32", "fixed-16", "fixed-8")
IMAGES = {"lenet_300_100": 10_000, "lenet_5": 1_000}  # a convolution takes one product per position
CALIBRATION_IMAGES = 1_000


@dataclass(frozen=True, eq=False)
class LabelledNetwork:
    """Network with labelled test images.

    Attributes
    ----------
    name : str
        Name of the network in results.
    network : CompressedNetwork
        Network to run on the array.
    images : float32 [images, pixels]
        Test images.
    labels : int64 [images]
        Their labels.
    calibration : float32 [images, pixels]
        Other images, that number formats are fitted to.
    """

    name: str
    network: CompressedNetwork
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.float32]


def lenet_on_mnist(name: str, container: Path, images: ImageSet) -> LabelledNetwork:
    """Return the LeNet of a container with the first test images (PyTorch needed)."""
    network = lenet_network(name, CompressedModel.load(container))
    chosen = slice(0, IMAGES[name])
    calibration = images.train_images[:CALIBRATION_IMAGES]
    return LabelledNetwork(name, network, images.test_images[chosen], images.test_labels[chosen], calibration)


def lenet_network(name: str, model: CompressedModel) -> CompressedNetwork:
    """Return lenet_300_100 or lenet_5 with a container's weights (PyTorch needed)."""
    from designs.experiments.lenet import SIDE, build_lenet

    module = build_lenet(name).eval()
    model.load_into(module)
    network = Network.open(module, np.zeros((2, SIDE * SIDE), dtype=np.float32))
    return CompressedNetwork(network, model.stored_layers)


def run_precisions(path: Path, networks: Sequence[LabelledNetwork]) -> None:
    """Run the test images through each network in each arithmetic; write the result file `path`."""
    rows: list[dict[str, Any]] = []
    images = sum(len(labelled.labels) for labelled in networks)
    with progress_bar("running networks in each arithmetic", images * len(PRECISIONS)) as bar:
        for labelled in networks:
            network, labels = labelled.network, labelled.labels
            weight_bits = max(layer.weight_bits for layer in network.layers)
            for precision in PRECISIONS:
                config = ArrayConfig(precision=precision, weight_bits=weight_bits)
                formats = None if precision == "float" else fit_formats(network, labelled.calibration, config)
                found = compute_network(network, labelled.images, config, number_formats=formats, after_input=bar)
                row = {"network": labelled.name, "images": len(labels), "precision": precision}
                rows.append(row | {"accuracy": float((found.output.argmax(axis=1) == labels).mean())})
    settings = {"calibration_images": {each.name: len(each.calibration) for each in networks}}
    write_results(path, table_of(PRECISION_COLUMNS, rows), provenance(settings))
