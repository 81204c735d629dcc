"""One layer from whatever holds it: a layer file, a matrix, a directory of the EIE simulator."""

from __future__ import annotations

import os
from pathlib import Path

from traces.errors import InputError
from traces.files.eie_directory import read_eie_directory
from traces.files.matrix import read_matrix
from traces.files.npz import read_layer, read_npz
from traces.layer import CompressedLayer, FloatVector


def open_layer(path: str | os.PathLike[str]) -> tuple[CompressedLayer, FloatVector | None]:
    """Read a layer, and the input that is recorded with it, or None.

    A directory is read as the EIE authors' simulator does (`read_eie_directory`), `.npy` as dense weights and `.npz`
    as `scipy.sparse.save_npz` wrote it (`read_matrix`), if that is what it holds; any other `.npz` as a layer file
    (`read_layer`). Raises InputError as they do, and on a file of another kind.
    """
    path = Path(path)
    if path.is_dir():
        return read_eie_directory(path)
    if path.suffix == ".npy":
        return read_matrix(path), None
    if path.exists() and path.suffix != ".npz":
        raise InputError(
            f"{path}: one layer comes from a layer file (.npz with codes and codebook), a matrix (.npy, .npz of "
            f"scipy.sparse.save_npz) or a directory of the EIE simulator; a container takes python -m designs simulate"
        )
    if {"format", "shape", "data"} <= read_npz(path).keys():
        return read_matrix(path), None
    return read_layer(path)
