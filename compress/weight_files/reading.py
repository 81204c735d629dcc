"""Reading of parameters from files of any kind, told apart by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compress.weight_files.kinds import kind_of
from compress.weight_files.parameters import NamedParameters, plain_array, unwrapped
from traces import InputError
from traces.arrays import Numbers
from traces.files.npz import read_npz
from traces.plain_values import parsed_json, read_text, shown, text
from traces.reading_limit import check_decoded_bytes


def read_parameters(path: str | os.PathLike[str], key: str | None = None) -> NamedParameters:
    """Read parameters by name from a file of weights, whatever its suffix is.

    Parameters
    ----------
    path : path
        PyTorch file of a state dict or a checkpoint (PyTorch needed), .npz file, or .safetensors, .h5 (h5py) or ONNX
        file (onnx), which need the package in brackets; or the index of a model in several such files.
    key : str or None
        Path to the state dict in a PyTorch checkpoint, such as "model.ema"; "" for its top level. If None, the
        checkpoint must be a state dict, or hold one alone under a usual name.

    Returns
    -------
    NamedParameters
        Dict of arrays by name; its `left_out` and `notes` say what was not read and what was chosen. Prefixes of
        wrappers (`module.`, `_orig_mod.`, `state_dict.`) that all names carry are taken away.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind, a package for it is not installed, or `key` is needed,
        unknown or without effect.
    """
    kind = kind_of(path)
    if kind == "torch":
        from compress.weight_files.checkpoint import read_checkpoint

        return read_checkpoint(path, key)
    if key is not None:
        raise InputError(f"{path}: key has no effect, since only PyTorch checkpoints have keys; leave it out")
    if kind == "onnx":
        from compress.weight_files.network_parameters import read_onnx

        return read_onnx(path)
    if kind == "shards":
        return _shards(Path(path))
    readers: dict[str, Callable[[Any], NamedParameters]] = {"npz": _npz, "safetensors": _safetensors, "hdf5": _hdf5}
    return unwrapped(readers[kind](path))


def _shards(path: Path) -> NamedParameters:
    """Read all files that the index of a model in several files names."""
    index = parsed_json(path, read_text(path))
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise InputError(f"{path}: must be a whole index of weight files (weight_map); found {shown(index)}")
    names = sorted({text(f"{path}: a file of weight_map", name) for name in index["weight_map"].values()})
    outside = [name for name in names if Path(name).name != name or name == ".." or "\0" in name]
    if outside:
        raise InputError(f"{path}: must name files of its own folder; found {shown(outside[0])}")
    values: dict[str, Numbers] = {}
    left_out: dict[str, str] = {}
    notes: dict[str, None] = {}
    for name in names:
        if kind_of(path.parent / name) == "shards":
            raise InputError(f"{path}: must name files of weights; found {shown(name)}, an index itself")
        part = read_parameters(path.parent / name)
        values |= part
        left_out |= part.left_out
        notes |= dict.fromkeys(part.notes)
    return NamedParameters(values, left_out, [*notes])


def _npz(path: str | os.PathLike[str]) -> NamedParameters:
    left_out: dict[str, str] = {}
    return _parameters(read_npz(path, left_out), left_out)


def _safetensors(path: str | os.PathLike[str]) -> NamedParameters:
    try:
        import safetensors
    except ImportError:
        raise InputError(
            f"{path}: is a safetensors file, which needs the package safetensors; install the extra: "
            f"pip install 'eie-codesign[safetensors]'"
        ) from None
    try:
        with open(path, "rb") as file:
            entries = safetensors.deserialize(file.read())  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, OSError, MemoryError) as error:
        raise InputError(f"{path}: must be a whole safetensors file; it is cut off or damaged: {error}") from error
    arrays: dict[str, Numbers] = {}
    left_out = {}
    for name, entry in entries:
        if entry["dtype"] == "BF16":
            high = np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16
            arrays[name] = high.view(np.float32).reshape(entry["shape"])
        elif entry["dtype"] in _SAFETENSORS_TYPES:
            arrays[name] = np.frombuffer(entry["data"], _SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
        else:
            left_out[name] = f"{entry['dtype']} values, which NumPy has not"
    return _parameters(arrays, left_out)


_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def _hdf5(path: str | os.PathLike[str]) -> NamedParameters:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: is an HDF5 file (.h5), which needs the package h5py; install it: pip install h5py"
        ) from None
    arrays: dict[str, Numbers] = {}
    left_out = {}
    notes = []
    decoded_bytes, file_bytes = 0, os.path.getsize(path)

    def read(name: str, item: Any) -> None:
        if not isinstance(name, str):
            raise InputError(f"{path}: must be a whole HDF5 file; found the name {name!r}; copy it again")
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind not in "fiub":
            left_out[name] = f"{item.dtype} values, which are no real numbers"
        elif item.is_virtual or item.external or (item.size and not item.id.get_storage_size()):
            raise InputError(
                f"{path}: dataset {name!r} must hold its values in this file; it declares the shape "
                f"{list(item.shape)} and holds {item.id.get_storage_size():,} bytes"
            )
        else:
            nonlocal decoded_bytes
            decoded_bytes += item.size * item.dtype.itemsize
            check_decoded_bytes(path, decoded_bytes, file_bytes)
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            weights = file.get("model_weights")  # of a whole Keras model, beside its optimiser's
            if weights is not None:
                notes.append("The weights are those of the Keras model (model_weights).")
            (file if weights is None else weights).visititems(read)
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: must be a whole HDF5 file; it is cut off or damaged: {error}") from error
    return NamedParameters(_parameters(arrays, left_out), left_out, notes)


def _parameters(arrays: dict[str, Numbers], left_out: dict[str, str]) -> NamedParameters:
    """Return the arrays of numbers, and in `left_out` the reasons for the others."""
    values = {}
    for name, array in arrays.items():
        found = plain_array(name, array)
        if isinstance(found, str):
            left_out[name] = found
        else:
            values[name] = found
    return NamedParameters(values, left_out)
