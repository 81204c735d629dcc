"""Workloads: the layers of a compressed network and the activations that enter each, in memory or mapped from files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from designs.file_names import file_name
from sim import ArrayConfig, ProductShape
from sim.batch import checked_inputs
from traces import AnyInputs, CompressedLayer, CompressedNetwork, InputError
from traces.arrays import Floats, Floats32
from traces.files.atomic_file import write_atomically
from traces.graph.description import Execution

if TYPE_CHECKING:
    from compress import CompressedModel

_INDEX = "workload.json"
_COUNTS = "vectors_per_input", "groups", "inputs", "sampling_error"  # fields of a layer besides its arrays


@dataclass(frozen=True, eq=False)
class WorkloadLayer:
    """One layer of a workload, with recorded activations.

    Attributes
    ----------
    layer : CompressedLayer
        The matrix; the rows of all groups, one group after the other.
    activations : array of float32 [groups * vectors, columns]
        Recorded vectors, one group after the other. Each group multiplies as many vectors, with its own rows.
    vectors_per_input : float
        Vectors of one group for one input of the network, mean: positions of a convolution, steps of a sequence.
    groups : int
        Groups of rows, as in a convolution with groups; they run one after the other.
    inputs : int
        Inputs of the network that the vectors belong to; 0 if they follow from all vectors being there.
    sampling_error : float
        Bound on the relative error of mean cycles and energy because the vectors are a sample of those of the inputs,
        at a confidence level of 95 %; 0 if they are all.
    shape : ProductShape, optional
        Shape for one input, with what a compact network leaves out. By default it follows from the other fields; it
        stays None if there are no vectors.

    Raises
    ------
    InputError
        If the activations do not fit the layer, or there are not as many as the other fields say.
    """

    layer: CompressedLayer
    activations: Floats32
    vectors_per_input: float = 1
    groups: int = 1
    inputs: int = 0
    sampling_error: float = 0.0
    shape: ProductShape | None = None

    def __post_init__(self) -> None:
        name = self.layer.name
        checked_inputs(self.layer, self.activations)
        if self.groups < 1 or self.layer.rows % self.groups or len(self.activations) % self.groups:
            raise InputError(
                f"layer {name!r}: groups must divide {self.layer.rows} rows and {len(self.activations)} vectors; found "
                f"groups={self.groups}"
            )
        if not self.inputs:
            vectors = self.vectors_per_input
            if vectors < 1 or int(vectors) != vectors or self.vectors % int(vectors):
                raise InputError(
                    f"layer {name!r}: {self.vectors} vectors must be a multiple of vectors_per_input={vectors}"
                )
            object.__setattr__(self, "inputs", self.vectors // int(vectors))
        if self.shape is None and self.vectors_per_input:
            rows, columns = self.layer.rows // self.groups, self.layer.columns
            shape = ProductShape.of_calls(rows, columns, self.vectors_per_input, groups=self.groups)
            object.__setattr__(self, "shape", shape)

    @property
    def vectors(self) -> int:
        """Number of recorded vectors of each group."""
        return len(self.activations) // self.groups

    @cached_property
    def matrices(self) -> list[CompressedLayer]:
        """Matrix of each group."""
        if self.groups == 1:
            return [self.layer]
        rows = self.layer.rows // self.groups
        return [self.layer.part(slice(begin, begin + rows)) for begin in range(0, self.layer.rows, rows)]

    def group_activations(self, group: int) -> Floats32:
        """Return the vectors of one group, float32 [vectors, columns]."""
        return self.activations[group * self.vectors : (group + 1) * self.vectors]


@dataclass(frozen=True, eq=False)
class Workload:
    """Layers that run one after the other, each with recorded activations.

    Attributes
    ----------
    name : str
        Name of the workload.
    layers : tuple of WorkloadLayer
        The layers in the order in which they run.
    execution : Execution, optional
        Order of the calls and feature maps of the network that the layers are of. None: the layers are independent, and
        each has the array to itself.

    Raises
    ------
    InputError
        If there is no layer, or two have one name.
    """

    name: str
    layers: tuple[WorkloadLayer, ...]
    execution: Execution | None = None

    def __post_init__(self) -> None:
        names = self.layer_names
        if not names or len(set(names)) < len(names):
            raise InputError(f"workload {self.name!r} must have layers of different names; found {names or 'none'}")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in the order in which they run."""
        return tuple(each.layer.name for each in self.layers)

    @property
    def shapes(self) -> list[ProductShape]:
        """Shapes for one input of the layers that it is multiplied with."""
        return [each.shape for each in self.layers if each.shape is not None]

    @property
    def sampled(self) -> dict[str, dict[str, float]]:
        """Vectors taken, of how many, and the bound on the error, of each layer whose vectors are a sample."""
        return {
            each.layer.name: {
                "vectors": len(each.activations),
                "of": each.groups * each.vectors_per_input * each.inputs,
                "error": each.sampling_error,
            }
            for each in self.layers
            if each.vectors < each.inputs * each.vectors_per_input
        }

    @cached_property
    def digest(self) -> str:
        """Hash of names and arrays, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        if self.execution is not None:
            digest.update(f"{self.execution}\0".encode())
        for each in self.layers:
            digest.update(f"{each.layer.name}\0{each.vectors_per_input}\0".encode())
            if each.groups > 1 or each.vectors != each.inputs * each.vectors_per_input:
                digest.update(f"{each.groups} groups, {each.inputs} inputs\0".encode())
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
    def of_network(
        cls,
        network: CompressedModel | CompressedNetwork | str | os.PathLike[str] | Sequence[CompressedLayer],
        inputs: AnyInputs,
        *,
        state: Mapping[str, str] | None = None,
        sampling_error: float | None = None,
        arrays: Sequence[ArrayConfig] = (),
        after_input: Callable[[], object] = lambda: None,
    ) -> Workload:
        """Return the layers of a network with the vectors that enter them, which is run in floating point for it.

        Parameters
        ----------
        network : CompressedModel, CompressedNetwork, path or sequence of layers
            A compressed network, as `sim.simulate_network` takes it.
        inputs : array, tuple or mapping of arrays, path, or Inputs
            Inputs of the network.
        state : mapping of str to str, optional
            For each input of the network that is its own earlier output, the name of that output. The inputs are then
            steps that follow one another.
        sampling_error : float, optional
            Largest relative error of the mean cycles and energy of each layer because some of the vectors are taken for
            all, at a confidence level of 95 %. 0 takes all vectors. By default all vectors are taken if they are at
            most `sampling.ALL_VECTORS`, all layers and groups together, in at most `ALL_BYTES`; 0.02 otherwise.
        arrays : sequence of ArrayConfig, optional
            Arrays on which the error is measured. The default is the EIE paper's design point.
        after_input : callable, optional
            Called once after each input, whenever the network is run.

        Returns
        -------
        Workload
            One layer for each layer of the network; a convolution with groups is one layer, too.

        Raises
        ------
        InputError
            If the inputs do not fit the network, a container has no graph, or sampling_error is not 0 to 1.

        Notes
        -----
        The error is that of the mean over the given inputs; it says nothing about other inputs. It holds on `arrays`;
        other arrays of a sweep have errors of about this size. `WorkloadLayer.sampling_error` has the estimate.
        """
        from designs.sweeps.recording import record_layers

        return cls(*record_layers(network, inputs, state, sampling_error, arrays, after_input))

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
            reason = error.strerror or f"the disk may be full: {error}"  # NumPy states the bytes alone
            raise InputError(f"{folder} cannot be written: {reason}; give another folder, or make room") from error
        entries = [
            {name: getattr(each, name) for name in _COUNTS}
            | {"name": each.layer.name, "arrays": list(_arrays(each))}
            | {"shape": None if each.shape is None else dataclasses.asdict(each.shape)}
            for each in self.layers
        ]
        executed = None if self.execution is None else dataclasses.asdict(self.execution)
        index = {"name": self.name, "digest": self.digest, "layers": entries, "execution": executed}
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
                layer = CompressedLayer.of_arrays(entry["name"], arrays)
                counts = {key: entry[key] for key in _COUNTS}
                shape = None if entry["shape"] is None else ProductShape(**entry["shape"])
                layers.append(WorkloadLayer(layer, arrays["activations"], **counts, shape=shape))
            execution = _execution(index["execution"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: must hold a complete workload: {error}") from error
        workload = cls(index["name"], tuple(layers), execution)
        vars(workload)["digest"] = index["digest"]  # computed when it was written
        return workload

    @staticmethod
    def digest_in(folder: str | os.PathLike[str]) -> str | None:
        """Return the digest of the workload in a folder; None if there is none."""
        try:
            return str(json.loads((Path(folder) / _INDEX).read_text())["digest"])
        except (OSError, ValueError, KeyError):
            return None


def _execution(entry: Mapping[str, Any] | None) -> Execution | None:
    """Return an execution from its plain values."""
    if entry is None:
        return None
    calls = tuple((str(name), int(vectors)) for name, vectors in entry["calls"])
    return Execution(calls, int(entry["live_words"]), str(entry["fullest_layer"]))


def mapped(path: Path) -> Floats:
    """Return the array of a .npy file, mapped read-only."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _arrays(each: WorkloadLayer) -> dict[str, Floats]:
    return each.layer.arrays() | {"activations": each.activations}
