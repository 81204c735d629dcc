"""Initialisers of an ONNX file, and the part that each one plays in a product (onnx needed)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from compress.weight_files.parameters import NamedParameters, Role, is_matrix, plain_array, transposed_convolution
from traces import InputError
from traces.arrangement import Arrangement
from traces.arrays import Numbers

_BEFORE_A_PRODUCT = (
    "Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat",
)  # fmt: skip
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Gather")


def read_onnx(path: str | os.PathLike[str]) -> NamedParameters:
    """Read the initialisers of an ONNX file by name, values in external files included.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    NamedParameters
        The initialisers of its graph, with the roles of those of two dimensions or more that enter a product.

    Raises
    ------
    InputError
        If onnx is not installed, or the file or an external file of values is missing or damaged.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise InputError(
            f"{path}: is an ONNX file, which needs the package onnx; install the extra: "
            f"pip install 'eie-codesign[onnx]'"
        ) from None
    try:
        model = onnx.load(os.fspath(path))
    except Exception as error:  # protobuf, onnx and the system each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: must be a whole ONNX file beside its external data; found: {reason}") from error
    values: dict[str, Numbers] = {}
    left_out = {each.values.name: "a sparse initialiser" for each in model.graph.sparse_initializer}
    for tensor in model.graph.initializer:
        if not isinstance(tensor.name, str):  # protobuf gives bytes where they are no text
            raise InputError(f"{path}: must be a whole ONNX file; found the name {tensor.name!r}; copy it again")
        try:
            found = plain_array(tensor.name, numpy_helper.to_array(tensor))
        except InputError:
            raise
        except Exception as error:  # onnx raises whatever NumPy meets, and KeyError for an unknown type
            raise InputError(f"{path}: initialiser {tensor.name!r} is damaged: {error}") from error
        if isinstance(found, str):
            left_out[tensor.name] = found
        else:
            values[tensor.name] = found
    return NamedParameters(values, left_out, roles=_roles(model.graph, values))


def _roles(graph: Any, values: dict[str, Numbers]) -> dict[str, Role]:
    """Return the role of each initialiser of two dimensions or more that enters a product, however it is reshaped."""
    roles: dict[str, Role] = {}
    reached = {name: [name] for name, array in values.items() if is_matrix(array)}
    for node in _nodes(graph):
        if node.op_type in _BEFORE_A_PRODUCT:
            entries = node.input if node.op_type == "Concat" else node.input[:1]
            names = [name for entry in entries for name in reached.get(entry, ())]
            reached.update({output: names for output in node.output if names})
        if node.op_type not in _PRODUCTS:
            continue
        for place, entry in enumerate(node.input):
            for name in reached.get(entry, ()) if _is_factor(node.op_type, place) else ():
                direct, shape = entry == name, values[name].shape
                arrangement = _arrangement(node, place, shape) if direct else Arrangement.identity(shape)
                biased = direct and place == 1 and node.op_type in ("Conv", "Gemm") and len(node.input) > 2
                roles.setdefault(name, Role(arrangement, node.input[2] if biased else None))
    return roles


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _is_factor(operator: str, place: int) -> bool:
    """Return True if this input of an operator is multiplied, or looked up."""
    if operator == "Gather":
        return place == 0
    if operator in ("LSTM", "GRU", "RNN"):
        return place in (1, 2)
    return operator == "Einsum" or place in (0, 1)


def _arrangement(node: Any, place: int, shape: tuple[int, ...]) -> Arrangement:
    """Return the arrangement of a weight that is this input of a product."""
    options = {each.name: each.i for each in node.attribute}
    axes = tuple(range(len(shape)))
    swapped = Arrangement(shape, (*axes[:-2], axes[-1], axes[-2]), len(shape) - 1)
    if node.op_type == "ConvTranspose":
        return transposed_convolution(shape, options.get("group", 1))
    if node.op_type == "Gemm" and (not options.get("transB", 0) if place else options.get("transA", 0)):
        return swapped
    if node.op_type == "MatMul" and place:
        return swapped
    if node.op_type in ("MatMul", "LSTM", "GRU", "RNN"):
        return Arrangement(shape, axes, len(shape) - 1)
    return Arrangement.identity(shape)
