"""Layer files in NumPy's `.npz` format: one compressed layer, and optionally one recorded input.

The arrays are those of `CompressedLayer` by attribute: `codes`, uint8 or uint16 [rows, columns]; `codebook`, float32
[2**weight_bits], or [codebooks, 2**weight_bits] with `row_codebooks`, uint16 [rows]; optionally `bias`, of the type of
`codes` [rows], or `free_bias`, float32 [rows], and `activation_threshold`, float32; and optionally `act`, float32
[columns].
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from traces.arrays import Floats32, Numbers
from traces.errors import InputError
from traces.files.array_stream import MAGIC, PythonObjectsError, read_array
from traces.files.atomic_file import atomic_file
from traces.layer import CompressedLayer, checked_activations
from traces.reading_limit import check_decoded_bytes

_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive, and of an empty one
_ENCRYPTED = 1  # bit of a member's flags
_KIND = "must be a whole .npy or .npz file of plain arrays; it is another kind of file, cut off or damaged"
ZIP_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def read_npz(path: str | os.PathLike[str], left_out: dict[str, str] | None = None) -> dict[str, Numbers]:
    """Read all arrays of an `.npz` file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    left_out : dict or None
        If given, arrays of Python objects are left out, and the reason is put there by their name.

    Returns
    -------
    dict
        Arrays by name.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds Python objects, is encrypted or packed otherwise than by deflate, or
        its arrays would take more than its size allows (`traces.reading_limit`).
    """
    content = _load(path, left_out)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an .npz file of named arrays; found a single array (.npy)")
    return content


def read_npy(path: str | os.PathLike[str]) -> Numbers:
    """Read the array of an `.npy` file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    numpy.ndarray
        The array.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds Python objects.
    """
    content = _load(path)
    if isinstance(content, dict):
        raise InputError(f"{path}: must be an .npy file of one array; found named arrays (.npz)")
    return content


def _load(path: str | os.PathLike[str], left_out: dict[str, str] | None = None) -> Numbers | dict[str, Numbers]:
    try:
        with Path(path).open("rb") as stream:
            file_bytes = os.fstat(stream.fileno()).st_size
            begin = stream.read(len(MAGIC))
            stream.seek(0)
            if begin == MAGIC:
                return read_array(stream, path, file_bytes, file_bytes)
            if begin[:4] in _ZIP_BEGINS:
                with zipfile.ZipFile(stream) as archive:
                    return _arrays(archive, path, file_bytes, left_out)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ZIP_DAMAGES as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {_KIND} ({str(error)[:200]})") from None
    raise InputError(f"{path}: {_KIND}")


def check_members(archive: zipfile.ZipFile, path: str | os.PathLike[str], file_bytes: int) -> None:
    """Raise InputError if members of a zip archive are packed in a strange way, or would take more than they may.

    Parameters
    ----------
    archive : ZipFile
        The archive.
    path : path
        Its name, for errors.
    file_bytes : int
        Bytes of its file.
    """
    members = archive.infolist()
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise InputError(f"{path}: its members must not be encrypted; found {member.filename[:80]!r}; decrypt it")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{path}: its members must be stored or deflated; found compression method {member.compress_type} "
                f"of {member.filename[:80]!r}; write them with numpy.savez_compressed or torch.save"
            )
    names = Counter(member.filename for member in members)
    if len(names) < len(members):
        ((twice, _),) = names.most_common(1)
        raise InputError(f"{path}: every member must have a name of its own; found {twice[:80]!r} twice")
    if sum(member.compress_size for member in members) > file_bytes:
        raise InputError(f"{path}: its members must lie one behind the other; found some that overlap")
    check_decoded_bytes(path, sum(member.file_size for member in members), file_bytes)


def _arrays(
    archive: zipfile.ZipFile, path: str | os.PathLike[str], file_bytes: int, left_out: dict[str, str] | None
) -> dict[str, Numbers]:
    """Return the arrays of a zip archive, after a look at what all its members state."""
    check_members(archive, path, file_bytes)
    arrays: dict[str, Numbers] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in arrays:
            raise InputError(f"{path}: every array must have a name of its own; found {name[:80]!r} twice")
        with archive.open(member) as content:
            try:
                arrays[name] = read_array(content, f"{path}: {name[:80]}", member.file_size, file_bytes)  # type: ignore[arg-type]
            except PythonObjectsError:
                if left_out is None:
                    raise
                left_out[name] = "Python objects, no numbers"
    return arrays


def read_layer(path: str | os.PathLike[str]) -> tuple[CompressedLayer, Floats32 | None]:
    """Read a layer file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; the layer gets its name.

    Returns
    -------
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray or None
        The recorded input, float32 [columns], or None.

    Raises
    ------
    InputError
        If the file is missing or damaged, lacks `codes` or `codebook`, or its arrays make no valid layer.
    """
    arrays = read_npz(path)
    missing = [name for name in ("codes", "codebook") if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: a layer file must hold the arrays codes and codebook; {' and '.join(missing)} missing; "
            f"found {', '.join(arrays) or 'none'}"
        )
    layer = CompressedLayer.of_arrays(Path(path).stem, arrays)
    activations = arrays.get("act")
    return layer, None if activations is None else checked_activations(f"{path}: act", activations, layer.columns)


def read_layer_and_input(path: str | os.PathLike[str]) -> tuple[CompressedLayer, Floats32]:
    """Read a layer file that must hold a recorded input.

    Parameters
    ----------
    path : str or os.PathLike
        The file; the layer gets its name.

    Returns
    -------
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray
        The recorded input, float32 [columns].

    Raises
    ------
    InputError
        As `read_layer` does, and if there is no recorded input.
    """
    layer, activations = read_layer(path)
    if activations is None:
        raise InputError(
            f"{path}: must hold one recorded input as the array act, float32 [{layer.columns}]; found none"
        )
    return layer, activations


def write_layer(path: str | os.PathLike[str], layer: CompressedLayer, activations: Floats32 | None = None) -> None:
    """Write a layer file that `read_layer` reads; it is complete or absent.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray, optional
        Input to record with it, float32 [columns].
    """
    arrays = layer.arrays()
    if activations is not None:
        arrays["act"] = activations
    write_npz(path, arrays)


def write_npz(path: str | os.PathLike[str], arrays: dict[str, Numbers]) -> None:
    """Write arrays to an `.npz` file, completely or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    arrays : dict
        Arrays by name.
    """
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():  # numpy.savez_compressed takes no array named file or allow_pickle
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(values), allow_pickle=False)


def write_npy(path: str | os.PathLike[str], array: Numbers) -> None:
    """Write one array to an `.npy` file, completely or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    array : numpy.ndarray
        The array.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
