"""Workloads: the layers of a compressed network and the activations that enter each, in memory or mapped from files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from designs.file_names import file_name
from sim.batch import checked_inputs
from traces import CompressedLayer, InputError
from traces.arrays import Floats, Floats32
from traces.files.atomic_file import write_atomically
from traces.network import INPUT, LayerStep, Network

_INDEX = "workload.json"


@dataclass(frozen=True, eq=False)
class WorkloadLayer:
    """One layer of a workload, with recorded activations.

    Attributes
    ----------
    layer : CompressedLayer
        The matrix.
    activations : array of float32 [vectors, columns]
        Recorded vectors that the matrix is multiplied by.
    vectors_per_input : int
        Vectors of one input of the network: the positions of a convolution, otherwise 1.
    """

    layer: CompressedLayer
    activations: Floats32
    vectors_per_input: int = 1

    @property
    def inputs(self) -> int:
        """Number of inputs of the network that the vectors belong to."""
        return len(self.activations) // self.vectors_per_input


@dataclass(frozen=True, eq=False)
class Workload:
    """Layers that run one after the other, each with recorded activations.

    Attributes
    ----------
    name : str
        Name of the workload.
    layers : tuple of WorkloadLayer
        The layers in the order in which they run.

    Raises
    ------
    InputError
        If there is no layer, two have one name, or activations do not fit their layer.
    """

    name: str
    layers: tuple[WorkloadLayer, ...]

    def __post_init__(self) -> None:
        names = self.layer_names
        if not names or len(set(names)) < len(names):
            raise InputError(f"workload {self.name!r} must have layers of different names; found {names or 'none'}")
        for each in self.layers:
            checked_inputs(each.layer, each.activations)
            if each.vectors_per_input < 1 or len(each.activations) % each.vectors_per_input:
                raise InputError(
                    f"layer {each.layer.name!r}: {len(each.activations)} vectors must be a multiple of "
                    f"vectors_per_input={each.vectors_per_input}"
                )

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in the order in which they run."""
        return tuple(each.layer.name for each in self.layers)

    @cached_property
    def digest(self) -> str:
        """Hash of names and arrays, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for each in self.layers:
            digest.update(f"{each.layer.name}\0{each.vectors_per_input}\0".encode())
            for name, array in _arrays(each).items():
                digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode() + np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    @classmethod
    def of_layers(cls, name: str, layers: Sequence[CompressedLayer], activations: Mapping[str, Floats32]) -> Workload:
        """Return the workload of fully connected layers.

        Parameters
        ----------
        name : str
            Name of the workload.
        layers : sequence of CompressedLayer
            The layers, in the order in which they run.
        activations : mapping of str to array of float32 [inputs, columns]
            Recorded inputs of each layer by its name.

        Raises
        ------
        InputError
            If a layer has no activations, or they do not fit it.
        """
        work = []
        for layer in layers:
            recorded = activations.get(layer.name)
            if recorded is None or recorded.ndim != 2 or not len(recorded):
                shape = "none" if recorded is None else f"shape {list(recorded.shape)}"
                raise InputError(f"layer {layer.name!r}: activations must be [inputs, {layer.columns}]; found {shape}")
            work.append(WorkloadLayer(layer, np.ascontiguousarray(recorded, dtype=np.float32)))
        return cls(name, tuple(work))

    @classmethod
    def of_network(cls, network: Network, inputs: Floats) -> Workload:
        """Return the workload of a feed-forward network, run in floating point to record the activations.

        Parameters
        ----------
        network : Network
            The network. Each group of a convolution becomes a layer NAME/GROUP.
        inputs : array [inputs, ...]
            Inputs of the network.

        Raises
        ------
        InputError
            If the network takes inputs of another shape.
        """
        if inputs.shape[1:] != network.input_shape or not len(inputs) or inputs.dtype.kind not in "fiub":
            raise InputError(
                f"network {network.name!r} takes numbers [inputs, {', '.join(map(str, network.input_shape))}]; found "
                f"{inputs.dtype} {list(inputs.shape)}"
            )
        outputs: dict[str, Floats32] = {INPUT: inputs.astype(np.float32)}
        work: list[WorkloadLayer] = []
        for step in network.steps:
            entering = [outputs[source] for source in step.sources]
            if not isinstance(step, LayerStep):
                outputs[step.name] = step.apply(*entering)
                continue
            vectors = step.vectors(entering[0])
            groups = step.group_layers()
            products = np.stack(
                [part @ group.weights().T + group.bias_values() for group, part in zip(groups, vectors, strict=True)]
            )
            outputs[step.name] = step.finish(products, network.output_shapes[step.name])
            for number, (group, part) in enumerate(zip(groups, vectors, strict=True)):
                name = group.name if len(groups) == 1 else f"{group.name}/{number}"
                layer = dataclasses.replace(group, name=name)
                flat = np.ascontiguousarray(part.reshape(-1, layer.columns), dtype=np.float32)
                work.append(WorkloadLayer(layer, flat, vectors.shape[2]))
        return cls(network.name, tuple(work))

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write every array to its own file, and the index last, so that a folder with an index is complete.

        Raises InputError if the disk is full, or the folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number, each in enumerate(self.layers):
                for name, array in _arrays(each).items():
                    np.save(folder / f"{number}.{name}.npy", array, allow_pickle=False)  # temporary: not forced to disk
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror or error}; give another folder") from error
        entries = [
            {"name": each.layer.name, "vectors_per_input": each.vectors_per_input, "arrays": list(_arrays(each))}
            for each in self.layers
        ]
        index = {"name": self.name, "digest": self.digest, "layers": entries}
        write_atomically(folder / _INDEX, json.dumps(index, indent=1).encode())

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Workload:
        """Map the files of `write` read-only, shared between processes; raise InputError if they are incomplete."""
        path = Path(folder)
        try:
            index = json.loads((path / _INDEX).read_text())
            layers = []
            for number, entry in enumerate(index["layers"]):
                files = {name: f"{number}.{name}.npy" for name in entry["arrays"]}
                for file in files.values():
                    file_name("an array's name", file, "write the workload again")
                arrays = {name: mapped(path / file) for name, file in files.items()}
                biases = arrays.get("bias"), arrays.get("free_bias")
                layer = CompressedLayer(entry["name"], arrays["codes"], arrays["codebook"], *biases)
                layers.append(WorkloadLayer(layer, arrays["activations"], entry["vectors_per_input"]))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: must hold a complete workload: {error}") from error
        workload = cls(index["name"], tuple(layers))
        vars(workload)["digest"] = index["digest"]  # computed when it was written
        return workload

    @staticmethod
    def digest_in(folder: str | os.PathLike[str]) -> str | None:
        """Return the digest of the workload in a folder; None if there is none."""
        try:
            return str(json.loads((Path(folder) / _INDEX).read_text())["digest"])
        except (OSError, ValueError, KeyError):
            return None


def mapped(path: Path) -> Floats:
    """Return the array of a .npy file, mapped read-only."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _arrays(each: WorkloadLayer) -> dict[str, Floats]:
    layer = each.layer
    arrays = {"codes": layer.codes, "codebook": layer.codebook, "activations": each.activations}
    biases = {"bias": layer.bias, "free_bias": layer.free_bias}
    return arrays | {name: values for name, values in biases.items() if values is not None}
