"""Layer files: one compressed layer, and optionally one recorded input, in NumPy's `.npz` form.

Arrays: `codes` uint8 or uint16 [rows, columns], `codebook` float32 [2**weight_bits], optionally `bias`
(type of codes) [rows] and `act` float32 [columns].
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.atomic_file import atomic_file
from traces.errors import InputError
from traces.layer import CompressedLayer, FloatVector


def read_npz(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an `.npz` file by name. Raises InputError if it is missing, damaged or holds objects."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: must be an .npz file; found a single array")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(
            f"{path}: must be a whole .npz file of plain arrays; reading it failed: {error}"
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
    layer = CompressedLayer(Path(path).stem, arrays["codes"], arrays["codebook"], arrays.get("bias"))
    return layer, arrays.get("act")


def write_layer(
    path: str | os.PathLike[str], layer: CompressedLayer, activations: FloatVector | None = None
) -> None:
    """Write a layer file that `read_layer` reads back. The file is whole or absent."""
    arrays: dict[str, npt.NDArray[Any]] = {"codes": layer.codes, "codebook": layer.codebook}
    if layer.bias is not None:
        arrays["bias"] = layer.bias
    if activations is not None:
        arrays["act"] = activations
    write_npz(path, arrays)


def write_npz(path: str | os.PathLike[str], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name to an `.npz` file, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
