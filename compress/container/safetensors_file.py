"""Export to safetensors files for other tools, and import.

Each layer, named NAME, has the arrays

    NAME.codes      uint8 or uint16 [entries], codes of the entries, column by column, padding entries (code 0) included
    NAME.gaps       uint8 [entries], zeros before each, within its column
    NAME.pointers   int32 [columns + 1], where each column's entries begin: compressed sparse columns, as EIE has them
    NAME.codebook   float32 [2**weight_bits]
    NAME.bias       as codes [rows], where the layer has one

Other tensors have their own names, and the network's graph is the array `eie-codesign.graph`, uint8 [bytes]. The
metadata `eie-codesign` is JSON with shapes, names, arrangements and each layer's coding choice, so that the container
is the same, byte for byte, after an import.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from compress.container.layer_coding import CodingChoice
from compress.container.model import CompressedModel
from compress.relative_index import encode_relative
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement
from traces.arrays import Integers, Integers64, Numbers
from traces.files.atomic_file import write_atomically
from traces.layer import check_size

GAP_BITS = 8
_METADATA = "eie-codesign"
_GRAPH = "eie-codesign.graph"
Arrays = dict[str, Numbers]


def export_safetensors(path: str | os.PathLike[str], model: CompressedModel) -> None:
    """Write a model to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : path
        The file to write.
    model : CompressedModel
        The model.

    Raises
    ------
    InputError
        If `path` cannot be written, or two arrays have one name.
    """
    arrays: Arrays = {}
    described = []
    for number, layer in enumerate(model.layers):
        parts = {**_columns(layer.codes), "codebook": layer.codebook}
        if layer.bias is not None:
            parts["bias"] = layer.bias
        arrays |= {f"{layer.name}.{part}": values for part, values in parts.items()}
        arrangement = model.arrangements[number]
        described.append(
            {
                "name": layer.name,
                "shape": [int(length) for length in model.shapes[number]],
                "weight_names": model.weight_names[number],
                "bias_name": model.bias_names[number],
                "has_bias": layer.bias is not None,
                "coding": vars(model.coding[number]),
                **({} if arrangement is None else {"arrangement": vars(arrangement)}),
            }
        )
    if model.graph is not None:
        arrays[_GRAPH] = np.frombuffer(model.graph, dtype=np.uint8)
    twice = sorted(set(arrays) & set(model.tensors))
    if twice:
        raise InputError(f"{path}: {', '.join(twice)} would be there twice, of a layer or graph and of another tensor")
    others = {"tensors": list(model.tensors), "buffers": sorted(model.buffers), "has_graph": model.graph is not None}
    metadata = {_METADATA: json.dumps({"layers": described, **others})}
    write_atomically(path, _safetensors().numpy.save(arrays | dict(model.tensors), metadata))


def import_safetensors(path: str | os.PathLike[str]) -> CompressedModel:
    """Return the model that `export_safetensors` wrote.

    Parameters
    ----------
    path : path
        The file to read.

    Returns
    -------
    CompressedModel
        The model, whose container is the same, byte for byte.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = (file.metadata() or {}).get(_METADATA)
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: must be a whole safetensors file: {error}") from error
    if metadata is None:
        raise InputError(f"{path}: holds no metadata {_METADATA!r}; only files that were exported here can be imported")
    try:
        described = json.loads(metadata)
        arrangements = [
            Arrangement(**each["arrangement"]) if "arrangement" in each else None for each in described["layers"]
        ]
        layers = [
            _layer(arrays, each["name"], _matrix_shape(each["shape"], arrangement), each["has_bias"])
            for each, arrangement in zip(described["layers"], arrangements, strict=True)
        ]
        return CompressedModel(
            layers,
            [tuple(each["shape"]) for each in described["layers"]],
            weight_names=[each["weight_names"] for each in described["layers"]],
            bias_names=[each["bias_name"] for each in described["layers"]],
            coding=[CodingChoice(**each["coding"]) for each in described["layers"]],
            tensors={name: arrays[name] for name in described["tensors"]},
            buffers=described["buffers"],
            arrangements=arrangements,
            graph=_graph(arrays) if described.get("has_graph") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: is no valid export: {what}") from error


def _columns(codes: Integers) -> Arrays:
    entries = [encode_relative(column, GAP_BITS) for column in codes.T]
    lengths = [len(column_codes) for column_codes, _ in entries]
    return {
        "codes": np.concatenate([column_codes for column_codes, _ in entries]),
        "gaps": np.concatenate([gaps for _, gaps in entries]),
        "pointers": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
    }


def _graph(arrays: Arrays) -> bytes:
    if arrays[_GRAPH].dtype != np.uint8 or arrays[_GRAPH].ndim != 1:
        raise InputError(f"{_GRAPH} must be uint8 [bytes]; found {arrays[_GRAPH].dtype} {list(arrays[_GRAPH].shape)}")
    return arrays[_GRAPH].tobytes()


def _matrix_shape(shape: list[int], arrangement: Arrangement | None) -> tuple[int, int]:
    if arrangement is not None:
        return arrangement.rows, arrangement.columns
    return int(shape[0]), int(np.prod(shape[1:], dtype=object))


def _layer(arrays: Arrays, name: str, shape: tuple[int, int], has_bias: bool) -> CompressedLayer:
    entry_codes, gaps, pointers, codebook = (arrays[f"{name}.{part}"] for part in _PARTS)
    bias = arrays[f"{name}.bias"] if has_bias else None
    rows, columns = shape
    check_size(name, rows, columns)
    lengths: Integers64 = pointers[1:].astype(np.int64) - pointers[:-1]
    if pointers.shape != (columns + 1,) or pointers[0] or (lengths < 0).any() or pointers[-1] != len(entry_codes):
        raise InputError(f"layer {name!r}: pointers must rise from 0 to {len(entry_codes):,}, one for each column")
    if gaps.shape != entry_codes.shape or gaps.dtype != np.uint8 or entry_codes.dtype not in (np.uint8, np.uint16):
        raise InputError(f"layer {name!r}: codes must be uint8 or uint16, and gaps uint8, one for each code")
    ends = np.cumsum(gaps.astype(np.int64) + 1)
    column_of = np.repeat(np.arange(columns), lengths)
    row_of = ends - np.concatenate([[0], ends])[pointers[:-1]][column_of] - 1
    if row_of.size and row_of.max() >= rows:
        raise InputError(f"layer {name!r}: an entry lies in row {row_of.max():,} of {rows:,}")
    codes = np.zeros((rows, columns), dtype=entry_codes.dtype)
    codes[row_of, column_of] = entry_codes
    return CompressedLayer(name, codes, codebook, bias)


_PARTS = ("codes", "gaps", "pointers", "codebook")


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise InputError(
            "this needs the package safetensors; install the extra: pip install 'eie-codesign[safetensors]'"
        ) from None
    return safetensors
