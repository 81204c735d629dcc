"""Export to safetensors files for other tools, and import.

Each layer, named NAME, has the arrays

    NAME.codes      uint8 or uint16 [entries], codes of the entries, column by column, padding entries (code 0) included
    NAME.gaps       uint8 [entries], zeros before each, within its column
    NAME.pointers   int32 [columns + 1], where each column's entries begin: compressed sparse columns, as EIE has them
    NAME.codebook   float32 [2**weight_bits], or [codebooks, 2**weight_bits]
    NAME.bias       as codes [rows], where the layer has one
    NAME.row_codebooks  uint16 [rows], number of each row's codebook, where there are several

Other tensors have their own names, and the network's graph is the array `eie-codesign.graph`, uint8 [bytes]. The
metadata `eie-codesign` is JSON with shapes, names, arrangements and each layer's coding choice, so that the container
is the same, byte for byte, after an import.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from compress.container.bytes_io import MOST_DIMENSIONS
from compress.container.layer_coding import CodingChoice
from compress.container.model import CompressedModel
from compress.relative_index import encode_relative
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement
from traces.arrays import Integers, Integers64, Numbers
from traces.files.atomic_file import write_atomically
from traces.layer import check_size
from traces.plain_values import mapping, number, parsed_json, sequence, text, true_or_false, whole_number
from traces.reading_limit import ReadingLimitError, check_decoded_bytes

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
    for place, layer in enumerate(model.layers):
        parts = {**_columns(layer.codes), "codebook": layer.codebook}
        parts |= {key: values for key in _PRESENT if (values := getattr(layer, key)) is not None}
        arrays |= {f"{layer.name}.{part}": values for part, values in parts.items()}
        arrangement = model.arrangements[place]
        described.append(
            {
                "name": layer.name,
                "shape": [int(length) for length in model.shapes[place]],
                "weight_names": model.weight_names[place],
                "bias_name": model.bias_names[place],
                "has_bias": layer.bias is not None,
                "coding": {name: value for name, value in vars(model.coding[place]).items() if value is not False},
                **({} if arrangement is None else {"arrangement": vars(arrangement)}),
                **({"activation_threshold": layer.activation_threshold} if layer.activation_threshold else {}),
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
    except (safetensors.SafetensorError, OSError, ValueError) as error:  # ValueError: more axes than NumPy has
        raise InputError(f"{path}: must be a whole safetensors file: {error}") from error
    if metadata is None:
        raise InputError(f"{path}: holds no metadata {_METADATA!r}; only files that were exported here can be imported")
    try:
        return _model(parsed_json(f"the metadata {_METADATA!r}", metadata), arrays, path)
    except ReadingLimitError:
        raise
    except (KeyError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: is no valid export: {what}") from error


def _model(metadata: Any, arrays: Arrays, path: str | os.PathLike[str]) -> CompressedModel:
    """Return the model of metadata and arrays."""
    described = mapping("the metadata", metadata, ("layers", "tensors", "buffers"), ("has_graph",))
    entries = [
        mapping("a layer", each, _LAYER_VALUES, ("arrangement", "activation_threshold"))
        for each in sequence("layers", described["layers"])
    ]
    names = [text("name", each["name"]) for each in entries]
    if len(set(names)) < len(names):
        raise InputError("every layer must have a name of its own; found one twice")
    shapes = [
        tuple(whole_number("shape", length, 1) for length in sequence("shape", each["shape"])) for each in entries
    ]
    arrangements = [
        Arrangement(**mapping("arrangement", each["arrangement"], ("view", "axes", "row_axes")))
        if "arrangement" in each
        else None
        for each in entries
    ]
    layers = []
    decoded_bytes = sum(values.nbytes for values in arrays.values())
    file_bytes = os.path.getsize(path)
    for each, name, shape, arrangement in zip(entries, names, shapes, arrangements, strict=True):
        rows, columns = _matrix_shape(shape, arrangement)
        check_size(name, rows, columns)
        decoded_bytes += rows * columns * arrays[f"{name}.codes"].dtype.itemsize
        check_decoded_bytes(path, decoded_bytes, file_bytes)
        layer = _layer(arrays, name, (rows, columns), true_or_false("has_bias", each["has_bias"]))
        threshold = number("activation_threshold", each.get("activation_threshold", 0.0), 0)
        layers.append(dataclasses.replace(layer, activation_threshold=threshold))
    others = [text("a tensor's name", name) for name in sequence("tensors", described["tensors"])]
    has_graph = true_or_false("has_graph", described.get("has_graph", False))
    return CompressedModel(
        layers,
        shapes,
        weight_names=[list(sequence("weight_names", each["weight_names"])) for each in entries],
        bias_names=[text("bias_name", each["bias_name"]) for each in entries],
        coding=[CodingChoice(**mapping("coding", each["coding"], (), _CODING)) for each in entries],
        tensors={name: arrays[name] for name in others},
        buffers=[text("a buffer's name", name) for name in sequence("buffers", described["buffers"])],
        arrangements=arrangements,
        graph=_graph(arrays) if has_graph else None,
    )


_LAYER_VALUES = ("name", "shape", "weight_names", "bias_name", "has_bias", "coding")
_CODING = ("index_bits", "scan_order", "num_pes", "coder", "leaves_out_empty")


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


def _matrix_shape(shape: tuple[int, ...], arrangement: Arrangement | None) -> tuple[int, int]:
    if arrangement is not None:
        return arrangement.rows, arrangement.columns
    if not 2 <= len(shape) <= MOST_DIMENSIONS:
        raise InputError(f"the weights' shape must have 2 to {MOST_DIMENSIONS} dimensions; found {len(shape)}")
    return shape[0], math.prod(shape[1:])


def _layer(arrays: Arrays, name: str, shape: tuple[int, int], has_bias: bool) -> CompressedLayer:
    entry_codes, gaps, pointers, codebook = (arrays[f"{name}.{part}"] for part in _PARTS)
    bias = arrays[f"{name}.bias"] if has_bias else None
    rows, columns = shape
    vectors = entry_codes.ndim == 1 and gaps.shape == entry_codes.shape
    if not vectors or gaps.dtype != np.uint8 or entry_codes.dtype not in (np.uint8, np.uint16):
        raise InputError(f"layer {name!r}: codes must be uint8 or uint16, and gaps uint8, one for each code")
    if pointers.dtype != np.int32 or pointers.shape != (columns + 1,):
        raise InputError(
            f"layer {name!r}: pointers must be int32 [{columns + 1:,}], one for each column and the end; found "
            f"{pointers.dtype} {list(pointers.shape)}"
        )
    lengths: Integers64 = pointers[1:].astype(np.int64) - pointers[:-1]
    if pointers[0] or (lengths < 0).any() or pointers[-1] != len(entry_codes):
        raise InputError(f"layer {name!r}: pointers must rise from 0 to {len(entry_codes):,}, one for each column")
    ends = np.cumsum(gaps.astype(np.int64) + 1)
    column_of = np.repeat(np.arange(columns), lengths)
    row_of = ends - np.concatenate([[0], ends])[pointers[:-1]][column_of] - 1
    if row_of.size and row_of.max() >= rows:
        raise InputError(f"layer {name!r}: an entry lies in row {row_of.max():,} of {rows:,}")
    codes = np.zeros((rows, columns), dtype=entry_codes.dtype)
    codes[row_of, column_of] = entry_codes
    return CompressedLayer(name, codes, codebook, bias, row_codebooks=arrays.get(f"{name}.row_codebooks"))


_PRESENT = ("bias", "row_codebooks")
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
