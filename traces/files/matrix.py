"""Layers from plain weights: dense arrays, SciPy's sparse matrices, and files of either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces.arrays import Floats32, Numbers
from traces.errors import InputError
from traces.files.matrix_market import read_matrix_market
from traces.files.npz import read_npy, read_npz
from traces.files.smtx import read_smtx
from traces.layer import CompressedLayer, check_size, weights_as_float32
from traces.reading_limit import check_array_bytes

if TYPE_CHECKING:
    import scipy.sparse

TEXT_READERS = {".mtx": read_matrix_market, ".smtx": read_smtx}
MOST_SHARED_WEIGHTS = 2**16 - 1  # besides the zero
_PARTS = {
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "bsr": ("indices", "indptr"),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
_WRITTEN = "must be a sparse matrix as scipy.sparse.save_npz writes it"
_BYTES_PER_ENTRY = 32  # of its row and column, and for sorting them


def layer_from_matrix(
    name: str,
    weights: Numbers | scipy.sparse.sparray | scipy.sparse.spmatrix,
    bias: npt.ArrayLike | None = None,
) -> CompressedLayer:
    """Make a layer with these weights in float32; their distinct values are its codebook.

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
        If an array has a wrong shape or type, holds a value that is not finite as float32 or is 0 only as float32,
        there are more than 65,535 different values besides zero, or the indices of a sparse matrix are not consistent.

    Notes
    -----
    Every weight other than zero is kept exactly. A zero of either sign is a pruned weight, which has no sign: -0.0
    comes back as 0.0, in `bias` too. Entries of a sparse matrix at one place are added, as SciPy defines, in float64.
    """
    import scipy.sparse

    if scipy.sparse.issparse(weights):
        matrix = _entries(name, weights)
        shape, values, places = matrix.shape, np.asarray(matrix.data), matrix.coords
    else:
        values = np.asarray(weights)
        shape, places = values.shape, None
    if len(shape) != 2 or 0 in shape or values.dtype.kind not in "fiub":
        raise InputError(
            f"layer {name!r}: weights must be real numbers [rows, columns], at least one; "
            f"found {values.dtype} {list(shape)}"
        )
    check_size(name, *shape)
    values = weights_as_float32(f"layer {name!r}: weights", values, places)
    biases = np.zeros(0, dtype=np.float32)
    if bias is not None:
        biases = np.asarray(bias)
        if biases.dtype.kind not in "fiub":
            raise InputError(f"layer {name!r}: bias must be real numbers; found {biases.dtype}")
        biases = weights_as_float32(f"layer {name!r}: bias", biases)
        if biases.shape != (shape[0],):
            raise InputError(
                f"layer {name!r}: bias must be [{shape[0]}], one value per row; found {list(biases.shape)}"
            )
    distinct = np.unique(np.concatenate([values.ravel(), biases]))
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

    if places is None:
        codes = codes_of(values)
    else:
        codes = np.zeros(shape, dtype=dtype)
        codes[places] = codes_of(values)
    return CompressedLayer(name, codes, codebook, None if bias is None else codes_of(biases))


def _entries(name: str, weights: Any) -> Any:
    """Return a sparse matrix with one entry for each place, scipy.sparse.coo_array."""
    import scipy.sparse

    try:
        if hasattr(weights, "check_format"):  # before its indices lead anywhere
            weights.check_format(full_check=True)
        matrix = scipy.sparse.coo_array(weights)
        if matrix.data.dtype.kind not in "fiub":
            return matrix
        summed = matrix.astype(np.result_type(matrix.data.dtype, np.float64))
        summed.sum_duplicates()
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(
            f"layer {name!r}: the indices of a sparse matrix must lie in its shape, and its pointers must not fall; "
            f"found a matrix that SciPy refuses: {str(error)[:200]}"
        ) from None
    return matrix if summed.nnz == matrix.nnz else summed


def read_matrix(path: str | os.PathLike[str]) -> CompressedLayer:
    """Read a layer from a file of plain weights; it gets the name of the file.

    Parameters
    ----------
    path : str or os.PathLike
        `.npy` file of dense weights, `.npz` file of `scipy.sparse.save_npz`, Matrix Market file (`.mtx`), or mask of
        the Deep Learning Matrix Collection (`.smtx`); the latter two plain or with `.gz` behind.

    Returns
    -------
    CompressedLayer
        The layer.

    Raises
    ------
    InputError
        As `layer_from_matrix` does, and if the file is missing, damaged or of another format, or its matrix
        would take more than its size allows (`traces.reading_limit`).

    Notes
    -----
    A mask without values (`.smtx`, or a pattern of Matrix Market) becomes a layer with one shared weight, 1.0. Its
    stored entries and cycles are those of any layer with this mask.
    """
    name, suffix = name_and_suffix(path)
    try:
        if suffix == ".npy":
            return layer_from_matrix(name, read_npy(path))
        if suffix in TEXT_READERS:
            return layer_from_matrix(name, TEXT_READERS[suffix](path))
        return layer_from_matrix(name, _sparse(read_npz(path), path))
    except InputError as error:
        raise error if str(error).startswith(f"{path}: ") else InputError(f"{path}: {error}") from None


def name_and_suffix(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the name that a matrix gets from its file, and the suffix that names the format, before `.gz`."""
    plain = Path(path).with_suffix("") if Path(path).suffix == ".gz" else Path(path)
    return plain.stem, plain.suffix


def _sparse(arrays: dict[str, Numbers], path: str | os.PathLike[str]) -> Any:
    """Return the SciPy sparse matrix of these arrays of a file."""
    import scipy.sparse

    form = arrays.get("format", np.array(b"")).ravel()[:1].tolist()
    form = [each.decode("latin1") if isinstance(each, bytes) else each for each in form]
    parts = _PARTS.get(form[0]) if form and isinstance(form[0], str) else None
    needed = ("shape", "data", *(parts or ()))
    if parts is None or any(part not in arrays for part in needed):
        raise InputError(
            f"{path}: {_WRITTEN}, in one of the formats {', '.join(_PARTS)} with all its arrays; found "
            f"{', '.join(arrays)[:100] or 'no arrays'} and the format {str(form)[:40]}"
        )
    for part in ("shape", *parts):
        if arrays[part].dtype.kind not in "iu" or arrays[part].ndim != 1:
            raise InputError(
                f"{path}: {_WRITTEN}; {part} must be one row of whole numbers; found {arrays[part].dtype} "
                f"{list(arrays[part].shape)}"
            )
    shape = tuple(arrays["shape"].tolist())
    data = arrays["data"]
    if len(shape) != 2 or min(shape) < 1:
        raise InputError(f"{path}: {_WRITTEN}; shape must be two whole numbers above 0; found {shape}")
    check_size(Path(path).stem, *shape)
    file_bytes = Path(path).stat().st_size
    check_array_bytes(path, shape, 1 if data.size < 256 else 2, file_bytes)
    check_array_bytes(path, data.shape, data.dtype.itemsize + _BYTES_PER_ENTRY, file_bytes)
    indices = [arrays[part].astype(np.int64) for part in parts]  # values of uint64 beyond int64 become negative
    try:
        if form[0] == "coo":
            return scipy.sparse.coo_array((data, tuple(indices)), shape=shape)
        if form[0] == "dia":
            return scipy.sparse.dia_array((data, *indices), shape=shape)
        kind = {"csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array, "bsr": scipy.sparse.bsr_array}[form[0]]
        return kind((data, *indices), shape=shape)
    except Exception as error:  # SciPy raises errors of many types
        raise InputError(f"{path}: {_WRITTEN}; its arrays do not match: {str(error)[:200]}") from None
