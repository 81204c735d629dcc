"""Readers of layers, images, recorded inputs and graphs, with mutations that know their structure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tests.soak.mutants import Reader, changed_bytes
from traces import read_npy


def _npy_files() -> list[bytes]:
    contents = []
    for array in (np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros((0, 3)), np.arange(5)):
        stream = io.BytesIO()
        np.save(stream, array)
        contents.append(stream.getvalue())
    return contents


def _read_npy(path: Path) -> None:
    read_npy(path).sum()


READERS: list[Reader] = [Reader("npy", ".npy", _npy_files, [changed_bytes], _read_npy)]
