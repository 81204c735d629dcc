"""Folder that keeps an analysis and the runs of its plans, so that they go on after an interruption and are shared."""

from __future__ import annotations

import hashlib
import itertools
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
from traces.files.checksums import arrays_with_checksum, checked_arrays, read_checked, write_checked
from traces.files.npz import read_npz, write_npz

VERSION = 3
"""Number that changes with every change of what an analysis computes or how its files hold it."""
_DIGITS = 12  # of a digest in a name


class AnalysisFolder:
    """Part of a folder that belongs to one analysis: one network, inputs, loss and seed.

    Analyses of several networks, inputs or losses lie side by side in one folder. Each finished piece is a whole file,
    so that a process that ends early leaves nothing half-written. Several processes may use a folder at once. A file
    that was changed counts as missing.

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
            raise InputError(
                f"{path}: the analysis cannot be kept here: {error.strerror or error}; choose another place"
            ) from error
        write_atomically(self.path / "origin.json", json.dumps(content, indent=1).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from computing the same analysis at the same time; they wait."""
        with self._lock:
            yield

    def parts(self) -> Iterator[dict[str, Numbers]]:
        """Yield the parts of the pass over the inputs, in order, up to the first that is missing or was changed."""
        for number in itertools.count():
            part = self._arrays(self._of_part(number), number)
            if part is None:
                return
            yield part

    def write_part(self, number: int, arrays: Mapping[str, Numbers]) -> None:
        """Write a part of the pass over the inputs; later ones of an earlier pass are removed."""
        self._write_arrays(self._of_part(number), arrays, number)
        for later in itertools.count(number + 1):
            if not self._of_part(later).exists():
                break
            self._of_part(later).unlink()

    def choices(self, origin: Mapping[str, Any], layer: int) -> list[dict[str, Any]] | None:
        """Return the choices that were tried for a layer; None if they were not."""
        checked = read_checked(self._of_choices(origin, layer), self._belongs_to(origin, layer))
        return None if checked is None else list(checked["choices"])

    def write_choices(self, origin: Mapping[str, Any], layer: int, choices: Sequence[Mapping[str, Any]]) -> None:
        """Write the choices that were tried for a layer."""
        path = self._of_choices(origin, layer)
        write_checked(path, {"choices": list(choices)}, self._belongs_to(origin, layer))

    def run(self, origin: Mapping[str, Any]) -> Floats64 | None:
        """Return the values by input of a run of the network; None if there was none of this origin."""
        arrays = self._arrays(self._of_run(origin), origin)
        return None if arrays is None else np.asarray(arrays["values"], dtype=np.float64)

    def write_run(self, origin: Mapping[str, Any], values: Floats64) -> None:
        """Write the values by input of a run of the network."""
        self._write_arrays(self._of_run(origin), {"values": values}, origin)

    def _arrays(self, path: Path, belongs_to: Any) -> dict[str, Numbers] | None:
        """Return the arrays of a file; None if it is missing, or its content is not what was written."""
        try:
            return checked_arrays(read_npz(path), self._belongs_to(belongs_to))
        except InputError:
            return None

    def _write_arrays(self, path: Path, arrays: Mapping[str, Numbers], belongs_to: Any) -> None:
        write_npz(path, arrays_with_checksum(arrays, self._belongs_to(belongs_to)))

    def _belongs_to(self, *of: Any) -> list[Any]:
        """Return what a content belongs to: this analysis, and a part of it."""
        return [self.path.name, *(dict(each) if isinstance(each, Mapping) else each for each in of)]

    def _of_part(self, number: int) -> Path:
        return self.path / f"pass_{number:04d}.npz"

    def _of_run(self, origin: Mapping[str, Any]) -> Path:
        return self.path / "runs" / f"{digest_of(origin)}.npz"

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
