"""How often networks are right in the array's arithmetic: floating point, and fixed point of 32, 16 and 8 bits.

EIE's Fig 10 is of AlexNet on ImageNet, which is not here. Ours is of the LeNets on MNIST, as their containers have
them, or of the main job's network on scikit-learn's digits, every product and sum rounded as `sim.fixed_point` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from compress import CompressedModel
from designs.results import Column, provenance, table_of, write_results
from sim import ArrayConfig, simulate_network
from sim.config import Precision
from traces.convolution import Convolution
from traces.files.images import ImageSet
from traces.network import INPUT, LayerStep, Network, PoolStep, Step
from traces.shell.progress import progress_bar

PRECISIONS: tuple[Precision, ...] = ("float", "fixed-32", "fixed-16", "fixed-8")
PRECISION_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("images", pa.int64(), "images", "test images that were simulated"),
    Column("precision", pa.string(), "", "arithmetic of the array"),
    Column("accuracy", pa.float64(), "1", "share of the test images that are given their label"),
]
PRECISION_FILE = "precision.parquet"
IMAGES = {"lenet_300_100": 10_000, "lenet_5": 1_000}  # a convolution is one product for each position
_AT_ONCE = 250
_LENET_5_KERNEL = 5


@dataclass(frozen=True, eq=False)
class LabelledNetwork:
    """A network, and test images with labels, int64 [images]; images are float32 [images, *network.input_shape]."""

    network: Network
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def lenet_on_mnist(name: str, container: Path, images: ImageSet) -> LabelledNetwork:
    """A LeNet as its container has it, and the first test images. Raises InputError if they do not go together."""
    network = lenet_network(name, CompressedModel.load(container))
    chosen = slice(0, IMAGES[name])
    shaped = images.test_images[chosen].reshape(-1, *network.input_shape)
    return LabelledNetwork(network, shaped, images.test_labels[chosen])


def lenet_network(name: str, model: CompressedModel) -> Network:
    """lenet_300_100 or lenet_5: layers from a container, with what lies between them (`designs.experiments.lenet.build_lenet`)."""
    steps: list[Step] = []
    source = INPUT
    for number, layer in enumerate(model.layers):
        convolution = Convolution((_LENET_5_KERNEL, _LENET_5_KERNEL)) if layer.name.startswith("conv") else None
        rectified = convolution is None and number < len(model.layers) - 1
        steps.append(LayerStep(layer, source, convolution, rectified=rectified))
        source = layer.name
        if convolution is not None:
            steps.append(PoolStep(f"{layer.name}/pool", source, "max", (2, 2), (2, 2)))
            source = f"{layer.name}/pool"
    shape = (1, 28, 28) if isinstance(steps[1], PoolStep) else (model.layers[0].columns,)
    return Network(name, shape, tuple(steps))


def run_precisions(path: Path, networks: Sequence[LabelledNetwork]) -> None:
    """Run the test images through each network in each arithmetic, and write the result file `path`."""
    rows: list[dict[str, Any]] = []
    with progress_bar("accuracy of arithmetics", sum(len(each.labels) for each in networks) * len(PRECISIONS)) as bar:
        for each in networks:
            for precision in PRECISIONS:
                config = ArrayConfig(precision=precision, weight_bits=max(x.weight_bits for x in each.network.layers))
                right = 0
                for begin in range(0, len(each.labels), _AT_ONCE):
                    part = slice(begin, begin + _AT_ONCE)
                    output = simulate_network(each.network, each.images[part], config, bar).output
                    right += int((output.argmax(axis=1) == each.labels[part]).sum())
                row = {"network": each.network.name, "images": len(each.labels), "precision": precision}
                rows.append(row | {"accuracy": right / len(each.labels)})
    write_results(path, table_of(PRECISION_COLUMNS, rows), provenance({"at_once": _AT_ONCE}))
