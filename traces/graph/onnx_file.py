"""Reader of ONNX files: what a file states is checked against its size before anything is computed or made room for.

A graph is a program: a few bytes can ask for values of any size. Shapes are inferred before the graph runs. Values that
no input changes count in sum, other values one by one, each for one input.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper

from traces.errors import InputError
from traces.graph.surgery import subgraphs
from traces.reading_limit import check_array_bytes, check_decoded_bytes

_SMALL = 64  # values of a tensor that may be a shape
_ORIGIN_BYTES = 32  # to follow a computed value back to parameters
_NODE_BYTES = 100  # of a node that stands for the call of a function
_MOST_AXES = 64
_DEEPEST_CALLS = 64  # of functions by functions
_HALF_BYTE_TYPES = {
    getattr(TensorProto, name) for name in ("INT4", "UINT4", "FLOAT4E2M1") if hasattr(TensorProto, name)
}
_EQUATION = re.compile(r"[A-Za-z,. ]*(?:->[A-Za-z. ]*)?")


def read_graph(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file, with external data in its folder.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    onnx.ModelProto
        The model, with all its data.

    Raises
    ------
    InputError
        If the file is missing or is no ONNX model, external data lies outside of its folder, a tensor has more or less
        data than its shape states, or the data or a value that the graph computes would take more than the size of the
        files allows (`traces.reading_limit`).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
        _check_texts(path, model)
        file_bytes = _read_tensors(path, model, path.stat().st_size)
        onnx.checker.check_model(model, full_check=False)
        _check_functions(path, model, file_bytes)
        _check_values(path, model, file_bytes)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # protobuf, the checker and the inference of shapes raise their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path}: must be an ONNX model: {reason}") from None
    return model


# Attributes


def _check_texts(path: Path, model: ModelProto) -> None:
    """Raise InputError if a text is no UTF-8, or an equation has other characters than the libraries can parse."""
    graphs = [*_graphs(model.graph), *(inner for each in model.functions for node in each.node
                                       for graph in subgraphs(node) for inner in _graphs(graph))]  # fmt: skip
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in model.functions)):
        for node in nodes:
            if node.domain not in ("", "ai.onnx"):
                continue
            for attribute in node.attribute:
                for content in (attribute.s, *attribute.strings):
                    text = content.decode("utf-8", "replace")
                    if text.encode() != content:
                        raise InputError(
                            f"{path}: attribute {attribute.name[:40]!r} of {node.op_type[:40]} must be UTF-8; found "
                            f"{content[:40]!r}"
                        )
                    if node.op_type == "Einsum" and not _EQUATION.fullmatch(text):
                        raise InputError(
                            f"{path}: the equation of an Einsum must be letters, commas, dots, spaces and ->; found "
                            f"{text[:40]!r}"
                        )


# Tensors


def _read_tensors(path: Path, model: ModelProto, file_bytes: int) -> int:
    """Check all tensors, and read external data into them. Returns the bytes of all files."""
    tensors = list(_tensors(model))
    externals = {}
    decoded_bytes = 0
    for tensor in tensors:
        decoded_bytes += _check_tensor(path, tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            externals[id(tensor)] = _external_file(path, tensor)
    file_bytes += sum(file.stat().st_size for file in set(externals.values()))
    check_decoded_bytes(path, decoded_bytes, file_bytes)
    for tensor in tensors:
        if id(tensor) in externals:
            tensor.raw_data = _external_data(path, tensor, externals[id(tensor)])
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    return file_bytes


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors of a model, those of graphs inside nodes and of functions too."""

    def of_sparse(sparse: SparseTensorProto) -> Iterator[TensorProto]:
        yield sparse.values
        yield sparse.indices

    def of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                               *attribute.sparse_tensors):  # fmt: skip
                    yield from of_sparse(sparse)
                for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    yield from of_graph(graph)

    def of_graph(graph: GraphProto) -> Iterator[TensorProto]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from of_sparse(sparse)
        yield from of_nodes(graph.node)

    yield from of_graph(model.graph)
    for function in model.functions:
        yield from of_nodes(function.node)


def _check_tensor(path: Path, tensor: TensorProto) -> int:
    """Raise InputError if a tensor is invalid; return the bytes that its values take."""
    name = f"{path}: constant {tensor.name[:80]!r}"
    dims = list(tensor.dims)
    if len(dims) > _MOST_AXES or min(dims, default=0) < 0:
        raise InputError(f"{name} must have at most {_MOST_AXES} axes of length 0 or more; found {dims[:8]}")
    elements = int(math.prod(dims))
    bound = int(math.prod(max(1, length) for length in dims))
    if bound >= 2**62:
        raise InputError(f"{name} must have fewer than 2**62 values; found shape {dims[:8]}")
    if tensor.data_type == TensorProto.STRING:
        if len(tensor.string_data) != elements:
            raise InputError(f"{name} must have {elements:,} texts; found {len(tensor.string_data):,}")
        return bound
    if tensor.data_type in (TensorProto.UNDEFINED, *_unknown_types(tensor)):
        raise InputError(f"{name} must have a type of numbers that ONNX knows; found type {tensor.data_type}")
    stated = _stated_bytes(tensor, elements)
    if tensor.data_location == TensorProto.EXTERNAL:
        return max(stated, bound)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != stated:
            raise InputError(f"{name} of shape {dims} must have {stated:,} bytes; found {len(tensor.raw_data):,}")
    else:
        field = helper.tensor_dtype_to_field(tensor.data_type)
        pairs = tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
        needed = -(-elements // 2) if tensor.data_type in _HALF_BYTE_TYPES else 2 * elements if pairs else elements
        if len(getattr(tensor, field)) != needed:
            raise InputError(
                f"{name} of shape {dims} must have {needed:,} numbers; found {len(getattr(tensor, field)):,}"
            )
    return max(stated, bound)


def _unknown_types(tensor: TensorProto) -> list[int]:
    known = tensor.data_type in TensorProto.DataType.values()
    return [] if known and tensor.data_type in helper.get_all_tensor_dtypes() else [tensor.data_type]


def _stated_bytes(tensor: TensorProto, elements: int) -> int:
    if tensor.data_type in _HALF_BYTE_TYPES:
        return -(-elements // 2)
    return elements * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _external_file(path: Path, tensor: TensorProto) -> Path:
    """Return the file that holds a tensor's data. Raises InputError if it lies outside of the model's folder."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    is_inside = bool(location) and "\0" not in location and not Path(location).is_absolute()
    target = (folder / location).resolve() if is_inside else folder
    if not is_inside or ".." in Path(location).parts or not target.is_relative_to(folder):
        raise InputError(
            f"{path}: external data must lie in the folder of the model; found the location {location[:80]!r} of "
            f"constant {tensor.name[:80]!r}; move the data there"
        )
    if not target.is_file():
        raise InputError(f"{path}: the external data {location[:80]!r} must be a file beside the model; there is none")
    return target


def _external_data(path: Path, tensor: TensorProto, file: Path) -> bytes:
    stated = _stated_bytes(tensor, math.prod(tensor.dims))
    numbers = {}
    for key, otherwise in (("offset", 0), ("length", stated)):
        text = next((entry.value for entry in tensor.external_data if entry.key == key), str(otherwise))
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise InputError(f"{path}: {key} of external data must be a whole number; found {text[:40]!r}")
        numbers[key] = int(text)
    if numbers["length"] != stated or numbers["offset"] + stated > file.stat().st_size:
        raise InputError(
            f"{path}: constant {tensor.name[:80]!r} must have {stated:,} bytes in {file.name}; found "
            f"{numbers['length']:,} from {numbers['offset']:,} of {file.stat().st_size:,}"
        )
    with file.open("rb") as stream:
        stream.seek(numbers["offset"])
        return stream.read(stated)


# What the graph computes


def _check_functions(path: Path, model: ModelProto, file_bytes: int) -> None:
    """Raise InputError if the model's own functions call themselves, or stand for too many operations."""
    functions = {(each.domain, each.name): each for each in model.functions}
    counts: dict[tuple[str, str], int] = {}
    under_way: set[tuple[str, str]] = set()

    def count(nodes: Iterable[NodeProto]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += of_function(key) if key in functions else 1
            total += sum(count(graph.node) for graph in subgraphs(node))
        return total

    def of_function(key: tuple[str, str]) -> int:
        if key in under_way or len(under_way) > _DEEPEST_CALLS:
            raise InputError(f"{path}: function {key[1][:80]!r} must not call itself, nor be called too deep")
        if key not in counts:
            under_way.add(key)
            counts[key] = count(functions[key].node)
            under_way.remove(key)
        return counts[key]

    check_decoded_bytes(path, _NODE_BYTES * count(model.graph.node), file_bytes)


def _check_values(path: Path, model: ModelProto, file_bytes: int) -> None:
    """Raise InputError if a value that the graph computes would take too much memory, as far as shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(_skeleton(model), data_prop=True)
    fixed = {tensor.name for tensor in inferred.graph.initializer}
    for node in inferred.graph.node:
        if all(name in fixed for name in node.input if name):
            fixed |= set(node.output)
    fixed_bytes = 0
    for graph in _graphs(inferred.graph):
        for value in (*graph.input, *graph.value_info, *graph.output):
            shape, bytes_per_value = _shape(value)
            check_array_bytes(path, shape, bytes_per_value, file_bytes)
            if value.name in fixed:
                fixed_bytes += math.prod(shape) * (bytes_per_value + _ORIGIN_BYTES)
    check_decoded_bytes(path, fixed_bytes, file_bytes)


def _skeleton(model: ModelProto) -> ModelProto:
    """Return the graph without the data of large tensors, and without stated shapes of what it computes."""
    skeleton = ModelProto()
    skeleton.ir_version = max(model.ir_version, 4)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    graph = skeleton.graph
    graph.name = model.graph.name
    graph.input.extend(model.graph.input)
    graph.node.extend(model.graph.node)
    for value in model.graph.output:
        graph.output.add(name=value.name).type.tensor_type.elem_type = value.type.tensor_type.elem_type
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return skeleton


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _shape(value: onnx.ValueInfoProto) -> tuple[list[int], int]:
    """Return the known lengths of a value, 1 where one is not known, and the bytes of each of its numbers."""
    kind = value.type.tensor_type
    shape = [max(1, length.dim_value) if length.HasField("dim_value") else 1 for length in kind.shape.dim]
    try:
        return shape, int(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize)
    except (KeyError, TypeError):
        return shape, 1
