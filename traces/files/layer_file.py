"""Reader of one layer from a layer file, a matrix or a directory of the EIE simulator."""

from __future__ import annotations

import os
from pathlib import Path

from traces.arrays import Floats32
from traces.errors import InputError
from traces.files.eie_directory import read_eie_directory
from traces.files.matrix import TEXT_READERS, name_and_suffix, read_matrix
from traces.files.npz import read_layer, read_npz
from traces.layer import CompressedLayer


def open_layer(path: str | os.PathLike[str]) -> tuple[CompressedLayer, Floats32 | None]:
    """Read a layer and its recorded input from a file of any supported format.

    Parameters
    ----------
    path : str or os.PathLike
        Directory of the EIE authors' simulator (`read_eie_directory`); a matrix in an `.npy` file, in an `.npz` file
        of `scipy.sparse.save_npz`, or in an `.mtx` or `.smtx` file, also with `.gz` behind (`read_matrix`); or a layer
        file (`read_layer`).

    Returns
    -------
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray or None
        The recorded input, float32 [columns], or None.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format.
    """
    path = Path(path)
    if path.is_dir():
        return read_eie_directory(path)
    if name_and_suffix(path)[1] in (".npy", *TEXT_READERS):
        return read_matrix(path), None
    if path.exists() and path.suffix != ".npz":
        raise InputError(
            f"{path}: one layer comes from a layer file (.npz with codes and codebook), a matrix (.npy, .npz of "
            f"scipy.sparse.save_npz, .mtx, .smtx) or a directory of the EIE simulator; a container takes "
            f"python -m designs simulate"
        )
    if {"format", "shape", "data"} <= read_npz(path).keys():
        return read_matrix(path), None
    return read_layer(path)
