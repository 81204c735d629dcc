"""Numbers that others published and that this project computes from the same data: Sparseloop, MLPerf Tiny.

The result files hold this project's numbers; `reports.outside` has the published ones. MLPerf Tiny needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from designs.result_files import OUTSIDE_COLUMNS, outside_file
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from sim import ArrayConfig, compute_network, simulate_batch
from traces import InputError, Network, layer_from_matrix
from traces.arrays import Booleans, Numbers
from traces.files.checksums import file_checksum
from traces.files.images import load_idx_folder
from traces.shell.progress import progress_bar

if TYPE_CHECKING:
    from designs.experiments.planning.networks import MeasuredNetwork

Row = dict[str, Any]
MASKS = {"L07": 64, "L21": 256}
"""Channels of the layers of Sparseloop's sparse MobileNet whose masks are published: inputs, and as many outputs."""
NUM_PES = (1, 16, 64)
_MASK_FOLDER = "mobilenet_masks"
_TINY = ("resnet_8", "ds_cnn", "autoencoder")
_AT_ONCE = 500  # inputs


def run_outside(folder: Path, data: Path, most_images: int = 10_000) -> None:
    """Write this project's numbers beside which published ones stand; an interrupted run resumes.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    data : Path
        Folder that holds mobilenet_masks, or models and cifar10; what is absent is left out.
    most_images : int
        Images of CIFAR-10's test set to run on the array, at most.

    Raises
    ------
    InputError
        If the folder holds none of the data.
    """
    makers = _tiny_networks(data, folder)
    has_masks = all(path.exists() for name in MASKS for path in _mask_files(data, name))
    if not has_masks and not makers:
        raise InputError(
            f"{data}: must hold {_MASK_FOLDER}/L07_weights.txt and the others, or models/mlperf_tiny; found neither"
        )
    with Stages(folder) as stages:
        if has_masks:
            masks = {name: [file_checksum(path) for path in _mask_files(data, name)] for name in MASKS}
            origin = provenance({"masks": masks, "num_pes": list(NUM_PES)})
            step = partial(_write, "sparseloop", lambda _: _sparseloop(data), origin)
            stages.run(outside_file(folder, "sparseloop").name, origin, step)
        for name, make in makers.items():
            network = make()
            origin = provenance(network.origin | {"most_images": most_images})
            step = partial(_write, "mlperf_tiny", partial(_tiny_rows, network, most_images), origin)
            stages.run(outside_file(folder, "mlperf_tiny", name).name, origin, step)


def _write(part: str, make: Callable[[Path], Iterator[Row]], origin: Mapping[str, Any], path: Path) -> None:
    """Write the result file of a part, a key of OUTSIDE_COLUMNS, from the rows that are made beside it."""
    write_results(path, table_of(OUTSIDE_COLUMNS[part], list(make(path.parent))), origin)


def _mask_files(data: Path, name: str) -> tuple[Path, Path]:
    return data / _MASK_FOLDER / f"{name}_weights.txt", data / _MASK_FOLDER / f"{name}_iacts.txt"


def read_masks(data: Path, name: str) -> tuple[Booleans, Booleans]:
    """Read the masks of one layer of Sparseloop's artifact.

    Parameters
    ----------
    data : Path
        Folder that holds mobilenet_masks.
    name : str
        Layer, a key of MASKS.

    Returns
    -------
    weights : bool [outputs, channels]
        True where a weight is not zero.
    activations : bool [positions, channels]
        True where an activation is not zero.

    Raises
    ------
    InputError
        If a file is missing, holds anything but digits 0 and 1, or their number does not fit the channels.
    """
    channels = MASKS[name]
    masks = []
    for path in _mask_files(data, name):
        try:
            digits = np.frombuffer(path.read_bytes().strip(), dtype=np.uint8) - ord("0")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        if digits.size == 0 or digits.max() > 1 or digits.size % channels:
            raise InputError(
                f"{path}: must hold digits 0 and 1 without spaces, {channels} for each row; found {digits.size:,} "
                f"characters"
            )
        masks.append(digits.reshape(-1, channels) == 1)
    return masks[0], masks[1]


def _sparseloop(data: Path) -> Iterator[Row]:
    """Yield a row for each layer and array."""
    for name in MASKS:
        weights, activations = read_masks(data, name)
        layer = layer_from_matrix(name, weights.astype(np.float32))
        for num_pes in NUM_PES:
            result = simulate_batch(layer, activations.astype(np.float32), ArrayConfig(num_pes=num_pes))
            yield {
                "layer": name,
                "num_pes": num_pes,
                "positions": len(activations),
                "useful_macs": int(result.useful_macs.sum()),
                "cycles": int(result.cycles.sum()),
            }


def _tiny_networks(data: Path, folder: Path) -> dict[str, Callable[[], MeasuredNetwork]]:
    """Return what makes each network of MLPerf Tiny whose data are here, by name."""
    if not (data / "models" / "mlperf_tiny").exists():
        return {}
    from designs.experiments.planning.networks import Data, network_makers

    found = network_makers(Data.of(data, folder))
    return {
        name: partial(_on_published_images, found[name], data / "cifar10") if name == "resnet_8" else found[name]
        for name in _TINY
        if name in found
    }


def _on_published_images(make: Callable[[], MeasuredNetwork], cifar10: Path) -> MeasuredNetwork:
    """Return ResNet-8, planned on training images, so that all test images are unseen."""
    from designs.experiments.planning.networks import resnet_8_inputs

    images = load_idx_folder(cifar10)
    return replace(
        make(),
        population=resnet_8_inputs(images.train_images),
        unseen=resnet_8_inputs(images.test_images),
        labels=images.test_labels,
        own=True,
    )


def _tiny_rows(network: MeasuredNetwork, most_images: int, folder: Path) -> Iterator[Row]:
    """Yield a row with size and work of a network, and of its plan; accuracies where the labels are here."""
    from compress.output_changes import answers
    from designs.experiments.planning.measuring import planned, tolerance_of

    assert isinstance(network.network, Network)
    weights, macs = size_and_work(network.network)
    plan = planned(network, tolerance_of(network, network.search, 0.9), analysis=folder / f"{network.name}_analysis")
    model = plan.apply()
    array = ArrayConfig(weight_bits=max(layer.weight_bits for layer in model.layers))
    images = network.unseen[:most_images]
    accuracies = dict.fromkeys(("accuracy", "container_accuracy", "array_accuracy"), -1.0)
    differences = -1
    if network.labels is not None:
        runs = {
            "accuracy": _in_parts(network.network.run, network.unseen),
            "container_accuracy": _in_parts(model.network.run, network.unseen),
            "array_accuracy": _in_parts(lambda part: compute_network(model, part, array).output, images),
        }
        found = {name: answers(outputs) for name, outputs in runs.items()}
        accuracies = {name: float((given == network.labels[: len(given)]).mean()) for name, given in found.items()}
        same = found["array_accuracy"] == found["container_accuracy"][: len(images)]
        differences = int(np.count_nonzero(~same))
    yield {
        "network": network.name,
        "weights": weights,
        "macs": macs,
        "loss": network.loss,
        "bound": network.search,
        "unseen": len(network.unseen),
        "images": len(images) if network.labels is not None else 0,
        "container_bytes": model.size_bytes,
        **accuracies,
        "array_differences": differences,
    }


def size_and_work(network: Network) -> tuple[int, float]:
    """Return the weights of a network's products, and their multiply-accumulates for an input before pruning."""
    layers = network.layers
    macs = sum(layer.vectors_per_input * layer.rows * layer.columns / layer.groups for layer in layers)
    return sum(layer.rows * layer.columns for layer in layers), macs


def _in_parts(run: Callable[[Numbers], Any], inputs: Numbers) -> Numbers:
    """Return the only output of a network for all inputs."""
    parts = []
    with progress_bar("running inputs", len(inputs)) as advance:
        for begin in range(0, len(inputs), _AT_ONCE):
            part = inputs[begin : begin + _AT_ONCE]
            output = run(part)
            parts.append(next(iter(output.values())) if isinstance(output, Mapping) else output)
            for _ in part:
                advance()
    return np.concatenate(parts)
