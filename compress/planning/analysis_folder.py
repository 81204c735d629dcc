"""Folder that keeps an analysis and the runs of its plans, so that they go on after an interruption and are shared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from traces import InputError, Inputs
from traces.arrays import Floats64, Numbers
from traces.files.atomic_file import write_atomically
from traces.files.npz import read_npy, read_npz, write_npy, write_npz

VERSION = 2
"""Number that changes with every change of what an analysis computes."""
_DIGITS = 12  # of a digest in a name


class AnalysisFolder:
    """Part of a folder that belongs to one analysis: one network, inputs, loss and seed.

    Analyses of several networks, inputs or losses lie side by side in one folder. Each finished piece is a whole file,
    so that a process that ends early leaves nothing half-written. Several processes may use a folder at once.

    Parameters
    ----------
    path : path
        Folder of analyses; it is made if it is missing.
    origin : Mapping[str, str, number, or sequence of them]
        Everything that the analysis depends on.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], origin: Mapping[str, Any]) -> None:
        content = {"version": VERSION, **origin}
        self.path = Path(path) / digest_of(content)
        self._lock = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: the analysis cannot be kept here: {error.strerror or error}") from error
        write_atomically(self.path / "origin.json", json.dumps(content, indent=1).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from computing the same analysis at the same time; they wait."""
        with self._lock:
            yield

    def parts(self) -> Iterator[dict[str, Numbers]]:
        """Yield the parts of the pass over the inputs, in order."""
        for path in sorted(self.path.glob("pass_*.npz")):
            yield read_npz(path)

    def write_part(self, arrays: dict[str, Numbers]) -> None:
        """Write one more part of the pass over the inputs."""
        write_npz(self.path / f"pass_{len(list(self.path.glob('pass_*.npz'))):04d}.npz", arrays)

    def choices(self, origin: Mapping[str, Any], layer: int) -> list[dict[str, Any]] | None:
        """Return the choices that were tried for a layer; None if they were not."""
        path = self._of_choices(origin, layer)
        if not path.exists():
            return None
        try:
            choices: list[dict[str, Any]] = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: must hold choices of a layer as JSON; found {error}; remove the file") from None
        return choices

    def write_choices(self, origin: Mapping[str, Any], layer: int, choices: Sequence[Mapping[str, Any]]) -> None:
        """Write the choices that were tried for a layer."""
        path = self._of_choices(origin, layer)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(list(choices)).encode())

    def run(self, origin: Mapping[str, Any]) -> Floats64 | None:
        """Return the values by input of a run of the network; None if there was none of this origin."""
        path = self.path / "runs" / f"{digest_of(origin)}.npy"
        return np.asarray(read_npy(path), dtype=np.float64) if path.exists() else None

    def write_run(self, origin: Mapping[str, Any], values: Floats64) -> None:
        """Write the values by input of a run of the network."""
        (self.path / "runs").mkdir(exist_ok=True)
        write_npy(self.path / "runs" / f"{digest_of(origin)}.npy", values)

    def _of_choices(self, origin: Mapping[str, Any], layer: int) -> Path:
        return self.path / f"choices_{digest_of(origin)}" / f"{layer:04d}.json"


def digest_of(content: Mapping[str, Any]) -> str:
    """Return a few digits that stand for the content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def digest_of_arrays(arrays: Mapping[str, Numbers]) -> str:
    """Return digits that stand for arrays by name: their types, shapes and values."""
    digest = hashlib.sha256()
    for name, values in arrays.items():
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[: 2 * _DIGITS]


def digest_of_inputs(inputs: Inputs) -> str:
    """Return digits that stand for inputs."""
    return digest_of_arrays(inputs.arrays)
