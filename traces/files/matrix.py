"""Layers from plain weights: dense arrays, SciPy's sparse matrices, and files of either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces.arrays import Floats32, Numbers
from traces.errors import InputError
from traces.files.npz import read_npy
from traces.layer import CompressedLayer, check_size

if TYPE_CHECKING:
    import scipy.sparse

MOST_SHARED_WEIGHTS = 2**16 - 1  # besides the zero


def layer_from_matrix(
    name: str,
    weights: Numbers | scipy.sparse.sparray | scipy.sparse.spmatrix,
    bias: npt.ArrayLike | None = None,
) -> CompressedLayer:
    """Make a layer with exactly these weights in float32; their distinct values are its codebook.

    Parameters
    ----------
    name : str
        Name of the layer.
    weights : numpy.ndarray or SciPy sparse matrix
        Real numbers [rows, columns].
    bias : array_like, optional
        Real numbers [rows].

    Returns
    -------
    CompressedLayer
        The layer.

    Raises
    ------
    InputError
        If an array has a wrong shape or type, holds NaN or infinity, or there are more than 65,535 different values
        besides zero.
    """
    import scipy.sparse

    if scipy.sparse.issparse(weights):
        matrix: Any = scipy.sparse.coo_array(weights)
        shape, values = matrix.shape, np.asarray(matrix.data)
    else:
        dense = np.asarray(weights)
        shape, values = dense.shape, dense.ravel()
    if len(shape) != 2 or 0 in shape or values.dtype.kind not in "fiub":
        raise InputError(
            f"layer {name!r}: weights must be real numbers [rows, columns], at least one; "
            f"found {values.dtype} {list(shape)}"
        )
    check_size(name, *shape)
    if scipy.sparse.issparse(weights):
        matrix.sum_duplicates()
        values = np.asarray(matrix.data)
    values = _as_float32(name, "weights", values)
    biases = np.zeros(0, dtype=np.float32)
    if bias is not None:
        biases = _as_float32(name, "bias", np.asarray(bias))
        if biases.shape != (shape[0],):
            raise InputError(
                f"layer {name!r}: bias must be [{shape[0]}], one value per row; found {list(biases.shape)}"
            )
    distinct = np.unique(np.concatenate([values, biases]))
    distinct = distinct[distinct != 0]
    if distinct.size > MOST_SHARED_WEIGHTS:
        raise InputError(
            f"layer {name!r}: a codebook holds at most {MOST_SHARED_WEIGHTS:,} shared weights besides zero; found "
            f"{distinct.size:,} different values; share weights first: python -m compress pack"
        )
    codebook = np.zeros(2 ** max(1, int(distinct.size).bit_length()), dtype=np.float32)
    codebook[1 : distinct.size + 1] = distinct
    dtype = np.uint8 if codebook.size <= 256 else np.uint16

    def codes_of(numbers: Floats32) -> Numbers:
        return np.where(numbers == 0, 0, np.searchsorted(distinct, numbers) + 1).astype(dtype)

    if scipy.sparse.issparse(weights):
        codes = np.zeros(shape, dtype=dtype)
        codes[matrix.coords] = codes_of(values)
    else:
        codes = codes_of(values).reshape(shape)
    return CompressedLayer(name, codes, codebook, None if bias is None else codes_of(biases))


def _as_float32(name: str, field: str, values: Numbers) -> Floats32:
    if values.dtype.kind not in "fiub":
        raise InputError(f"layer {name!r}: {field} must be real numbers; found {values.dtype}")
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise InputError(f"layer {name!r}: {field} must be finite as float32; found NaN, infinity or a larger number")
    return narrow


def read_matrix(path: str | os.PathLike[str]) -> CompressedLayer:
    """Read a layer from a file of plain weights; it gets the name of the file.

    Parameters
    ----------
    path : str or os.PathLike
        `.npy` file of dense weights, or `.npz` file of `scipy.sparse.save_npz`.

    Returns
    -------
    CompressedLayer
        The layer.

    Raises
    ------
    InputError
        As `layer_from_matrix` does, and if the file is missing, damaged or of another format.
    """
    import scipy.sparse

    name = Path(path).stem
    if Path(path).suffix == ".npy":
        return layer_from_matrix(name, read_npy(path))
    try:
        matrix = scipy.sparse.load_npz(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except Exception as error:  # SciPy raises errors of many types on a damaged file
        raise InputError(f"{path}: must be a sparse matrix as scipy.sparse.save_npz writes it: {error}") from error
    return layer_from_matrix(name, matrix)
