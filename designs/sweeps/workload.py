"""What a sweep runs: the layers of a compressed network and what enters each, in memory or mapped from files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from designs.file_names import file_name
from sim.batch import checked_inputs
from traces import CompressedLayer, InputError
from traces.files.atomic_file import write_atomically
from traces.network import INPUT, LayerStep, Network

_INDEX = "workload.json"


@dataclass(frozen=True, eq=False)
class WorkloadLayer:
    """One packed matrix's work.

    layer              the matrix
    activations        float32 [vectors, columns], what it was recorded to be multiplied with
    vectors_per_input  how many of them belong to one input: the positions of a convolution
    """

    layer: CompressedLayer
    activations: npt.NDArray[np.float32]
    vectors_per_input: int = 1

    @property
    def inputs(self) -> int:
        """Inputs of the network that the vectors belong to."""
        return len(self.activations) // self.vectors_per_input


@dataclass(frozen=True, eq=False)
class Workload:
    """Layers that run one after the other, each with recorded activations.

    Raises InputError if there is no layer, a name is there twice, or activations do not fit their layer.
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
        """In the order in which they run."""
        return tuple(each.layer.name for each in self.layers)

    @cached_property
    def digest(self) -> str:
        """A hash of names and arrays, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for each in self.layers:
            digest.update(f"{each.layer.name}\0{each.vectors_per_input}\0".encode())
            for name, array in _arrays(each).items():
                digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode() + np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    @classmethod
    def of_layers(
        cls, name: str, layers: Sequence[CompressedLayer], activations: Mapping[str, npt.NDArray[np.float32]]
    ) -> Workload:
        """Fully connected layers with what enters each, float32 [inputs, columns] by layer name."""
        found = []
        for layer in layers:
            recorded = activations.get(layer.name)
            if recorded is None or recorded.ndim != 2 or not len(recorded):
                shape = "none" if recorded is None else f"shape {list(recorded.shape)}"
                raise InputError(f"layer {layer.name!r}: activations must be [inputs, {layer.columns}]; found {shape}")
            found.append(WorkloadLayer(layer, np.ascontiguousarray(recorded, dtype=np.float32)))
        return cls(name, tuple(found))

    @classmethod
    def of_network(cls, network: Network, inputs: npt.NDArray[Any]) -> Workload:
        """A feed-forward network, run in floating point on `inputs` [inputs, ...] to see what enters each layer.

        Each group of a convolution is a layer of its own, NAME/GROUP. Raises InputError if the inputs are of another
        shape than the network takes.
        """
        if inputs.shape[1:] != network.input_shape or not len(inputs) or inputs.dtype.kind not in "fiub":
            raise InputError(
                f"network {network.name!r} takes numbers [inputs, {', '.join(map(str, network.input_shape))}]; found "
                f"{inputs.dtype} {list(inputs.shape)}"
            )
        outputs: dict[str, npt.NDArray[np.float32]] = {INPUT: inputs.astype(np.float32)}
        found: list[WorkloadLayer] = []
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
                found.append(WorkloadLayer(layer, flat, vectors.shape[2]))
        return cls(network.name, tuple(found))

    def write(self, folder: Path) -> None:
        """Write every array to a file of its own; the index comes last, so that a folder with one is whole.

        Raises InputError if the disk is full, or the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number, each in enumerate(self.layers):
                for name, array in _arrays(each).items():
                    np.save(folder / f"{number}.{name}.npy", array, allow_pickle=False)  # for now: not forced to disk
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another place") from error
        entries = [
            {"name": each.layer.name, "vectors_per_input": each.vectors_per_input, "arrays": list(_arrays(each))}
            for each in self.layers
        ]
        index = {"name": self.name, "digest": self.digest, "layers": entries}
        write_atomically(folder / _INDEX, json.dumps(index, indent=1).encode())

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Workload:
        """Map what `write` wrote, for reading: processes share its pages. Raises InputError if it is not there."""
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
            raise InputError(f"{path}: holds no whole workload: {error}") from error
        workload = cls(index["name"], tuple(layers))
        vars(workload)["digest"] = index["digest"]  # need not be worked out again
        return workload

    @staticmethod
    def digest_in(folder: str | os.PathLike[str]) -> str | None:
        """The digest of the workload that a folder holds; None if it holds none."""
        try:
            found = json.loads((Path(folder) / _INDEX).read_text())["digest"]
        except (OSError, ValueError, KeyError):
            return None
        return str(found)


def mapped(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, mapped for reading."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _arrays(each: WorkloadLayer) -> dict[str, npt.NDArray[Any]]:
    layer = each.layer
    arrays = {"codes": layer.codes, "codebook": layer.codebook, "activations": each.activations}
    biases = {"bias": layer.bias, "free_bias": layer.free_bias}
    return arrays | {name: values for name, values in biases.items() if values is not None}
