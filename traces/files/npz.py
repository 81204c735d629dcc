"""Layer files: one compressed layer, and optionally one recorded input, in NumPy's `.npz` form.

Arrays: `codes` uint8 or uint16 [rows, columns], `codebook` float32 [2**weight_bits], optionally `bias`
(type of codes) [rows] or `free_bias` float32 [rows], and `act` float32 [columns].
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.errors import InputError
from traces.files.atomic_file import atomic_file
from traces.layer import CompressedLayer, FloatVector


def read_npz(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an `.npz` file by name. Raises InputError if it is missing, damaged or holds objects."""
    found = _load(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: must be an .npz file of named arrays; found a single array (.npy)")
    return found


def read_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of an `.npy` file. Raises InputError if it is missing, damaged or holds objects."""
    found = _load(path)
    if isinstance(found, dict):
        raise InputError(f"{path}: must be an .npy file of one array; found named arrays (.npz)")
    return found


def _load(path: str | os.PathLike[str]) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise InputError(
            f"{path}: must be a whole .npy or .npz file of plain arrays; it is another kind of file, cut off or "
            f"damaged, or holds Python objects"
        ) from error


def read_layer(path: str | os.PathLike[str]) -> tuple[CompressedLayer, FloatVector | None]:
    """Read a layer file: the layer, named after the file, and its recorded input or None.

    Raises InputError if the file is missing or damaged, lacks `codes` or `codebook`, or its arrays make no
    valid layer.
    """
    arrays = read_npz(path)
    missing = [name for name in ("codes", "codebook") if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: a layer file must hold the arrays codes and codebook; {' and '.join(missing)} missing; "
            f"found {', '.join(arrays) or 'none'}"
        )
    biases = arrays.get("bias"), arrays.get("free_bias")
    layer = CompressedLayer(Path(path).stem, arrays["codes"], arrays["codebook"], *biases)
    return layer, arrays.get("act")


def read_layer_and_input(path: str | os.PathLike[str]) -> tuple[CompressedLayer, FloatVector]:
    """As `read_layer`, for a file that must hold a recorded input, too."""
    layer, activations = read_layer(path)
    if activations is None:
        raise InputError(
            f"{path}: must hold one recorded input as the array act, float32 [{layer.columns}]; found none"
        )
    return layer, activations


def write_layer(path: str | os.PathLike[str], layer: CompressedLayer, activations: FloatVector | None = None) -> None:
    """Write a layer file that `read_layer` reads back. The file is whole or absent."""
    arrays: dict[str, npt.NDArray[Any]] = {"codes": layer.codes, "codebook": layer.codebook}
    biases = {"bias": layer.bias, "free_bias": layer.free_bias}
    arrays |= {name: values for name, values in biases.items() if values is not None}
    if activations is not None:
        arrays["act"] = activations
    write_npz(path, arrays)


def write_npz(path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name to an `.npz` file, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def write_npy(path: str | os.PathLike[str], array: npt.NDArray[Any]) -> None:
    """Write one array to an `.npy` file, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
