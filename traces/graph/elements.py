"""Numbered elements of the values of a network for one input, followed through the operations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from traces.arrays import Integers64, Numbers
from traces.errors import InputError
from traces.graph.compaction import not_compact
from traces.graph.layers import FlatNetwork
from traces.graph.products import Product
from traces.graph.runtime import Session
from traces.graph.surgery import attributes, subgraphs

if TYPE_CHECKING:
    from traces.graph.network import Network

_REARRANGING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Identity", "Dropout")
_SELECTING = ("Slice", "Split", "Gather", "Concat", "Pad", "Tile", "DepthToSpace", "SpaceToDepth")
MOVES = (*_REARRANGING, *_SELECTING)
"""Operators whose outputs are elements of their inputs, in other places."""

_OFFSET = 2.0**40  # of the numbers of elements where they pass a product, so that no usual threshold makes them zero
_PARAMETER = 2**16  # elements of a value that says where others go


class Elements:
    """Values of a flat network for one input.

    Parameters
    ----------
    flat : FlatNetwork
        The network, resolved for this input, with all of its products apart.
    feeds : mapping of str to numpy.ndarray
        One input, bound.

    Attributes
    ----------
    flat
        As given.
    shapes : dict of str to tuple of int
        Shape of each value that an input changes, by name. A value that is no array, such as a sequence, has none.

    Notes
    -----
    An axis is *static* if its length is the same for inputs of any shape. What holds of single places on another axis
    holds for this input alone.
    """

    def __init__(self, flat: FlatNetwork, feeds: Mapping[str, Numbers]) -> None:
        self.flat = flat
        model, fixed = flat.program.model, flat.program.fixed
        names = sorted({name for node in model.graph.node for name in node.output if name and name not in fixed})
        values = dict(feeds) | (Session(model, names).run(feeds) if names else {})
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        self.shapes: dict[str, tuple[int, ...]] = {name: value.shape for name, value in arrays.items()}
        self._parameters = {
            name: value for name, value in arrays.items() if value.dtype.kind in "iub" and value.size <= _PARAMETER
        }
        self._static = _static_axes(model, self.shapes)
        self._moves: dict[int, list[Integers64] | None] = {}

    @classmethod
    def of_network(cls, network: Network, feeds: Mapping[str, Numbers] | None) -> Elements | None:
        """Return the values of a network whose products have all rows and columns, for one bound input or the example.

        None if there is If, Loop or Scan, or if a value has no elements, so that it says nothing about other inputs.
        """
        if any(True for node in network.graph.graph.node for _ in subgraphs(node)):
            return None
        feeds = network.example if feeds is None else feeds
        whole = type(network)(network.name, not_compact(network.graph), network.parameters)
        elements = cls(whole.flat(feeds), feeds)
        return None if any(0 in shape for shape in elements.shapes.values()) else elements

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a value; None if it is no array."""
        if name in self.flat.program.fixed:
            return tuple(self.flat.program.fixed.value(name).shape)
        return self.shapes.get(name)

    def reduced_axes(self, node: NodeProto) -> tuple[int, ...] | None:
        """Return the axes that a reduction removes; None if they are not known."""
        axes = attributes(node).get("axes")
        if len(node.input) > 1 and node.input[1]:
            if node.input[1] not in self.flat.program.fixed:
                return None
            axes = self.flat.program.fixed.value(node.input[1]).ravel().tolist()
        ndim = len(self.shape(node.input[0]) or ())
        if not axes:
            return None if attributes(node).get("noop_with_empty_axes", 0) else tuple(range(ndim))
        return tuple(int(axis) % ndim for axis in axes)

    def moving_axes(self, name: str) -> tuple[int, ...]:
        """Return the axes of a value whose lengths can change from input to input."""
        shape = () if name in self.flat.program.fixed else self.shape(name) or ()
        return tuple(axis for axis in range(len(shape)) if (name, axis) not in self._static)

    def moves(self, node: NodeProto) -> list[Integers64] | None:
        """Return the element that each element of a node's outputs is.

        Parameters
        ----------
        node : onnx.NodeProto
            A node of an operator in `MOVES`.

        Returns
        -------
        list of numpy.ndarray or None
            For each output, the number of an element among those of all `moved` inputs, one after the other; -1 for
            one that is of no input. None if that is not known.
        """
        key = id(node)
        if key not in self._moves:
            try:
                self._moves[key] = self._moved(node)
            except InputError:  # an element type or a mode that ONNX Runtime lacks
                self._moves[key] = None
        return self._moves[key]

    def moved(self, node: NodeProto) -> list[str]:
        """Return the inputs of a move whose elements are moved."""
        return list(node.input) if node.op_type == "Concat" else [node.input[0]]

    def selects_freely(self, node: NodeProto) -> bool:
        """Return True if what a move selects depends on the input."""
        others = [name for name in node.input[len(self.moved(node)) :] if name]
        return node.op_type in _SELECTING and any(name not in self.flat.program.fixed for name in others)

    def is_selection(self, node: NodeProto) -> bool:
        """Return True if a move leaves elements out, repeats them, or joins them with others."""
        return node.op_type in _SELECTING

    def _moved(self, node: NodeProto) -> list[Integers64] | None:
        moved = self.moved(node)
        given: dict[str, Numbers] = {}
        begin = 0
        alone = NodeProto()
        alone.CopyFrom(node)
        for number, name in enumerate(node.input):
            if not name:
                continue
            own = f"input{number}"
            if number < len(moved):
                shape = self.shape(name)
                if shape is None:
                    return None
                given[own] = np.arange(begin, begin + math.prod(shape), dtype=np.float64).reshape(shape)
                begin += math.prod(shape)
            elif node.op_type == "Pad" and number == 2:
                given[own] = np.array(-1.0)
            elif name in self.flat.program.fixed:
                given[own] = self.flat.program.fixed.value(name)
            elif name in self._parameters:
                given[own] = self._parameters[name]
            else:
                return None
            alone.input[number] = own
        if node.op_type == "Pad" and attributes(node).get("mode", "constant") == "constant":
            if len(node.input) < 2:  # of an old operator set
                del alone.attribute[:]
                alone.attribute.extend(each for each in node.attribute if each.name != "value")
                alone.attribute.append(helper.make_attribute("value", -1.0))
            elif len(node.input) < 3 or not node.input[2]:
                del alone.input[2:]
                alone.input.append("input2")
                given["input2"] = np.array(-1.0)
                alone.input.extend(f"input{k}" if name else "" for k, name in enumerate(node.input) if k > 2)
        if node.op_type == "Dropout":
            del alone.output[1:]
        outputs = [name for name in alone.output if name]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in given.items()
        ]
        graph = helper.make_graph([alone], "move", inputs, [onnx.ValueInfoProto(name=name) for name in outputs])
        model = helper.make_model(graph, opset_imports=list(self.flat.program.model.opset_import))
        model.ir_version = self.flat.program.model.ir_version
        results = Session(model).run(given)
        return [results[name].astype(np.int64) for name in outputs]

    def passage(self, product: Product) -> tuple[Integers64, Integers64] | None:
        """Return the way of elements through a product, if each output is a product of one row with one vector.

        Parameters
        ----------
        product : Product
            A product of the network.

        Returns
        -------
        entering : numpy.ndarray
            Number of the element of the first entering value at each place of the vectors, int64 [groups, vectors,
            columns]; -1 for a zero that is no element.
        leaving : numpy.ndarray
            Place in the products [groups, vectors, rows] of each element of the output, int64, of its shape.
        """
        shape = self.shape(product.entering[0]) if product.entering else None
        if shape is None or not _is_linear(product):
            return None
        numbers = _OFFSET + np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
        seen: list[Any] = []

        def multiply(part: Any, vectors: Any) -> Any:
            rows = part.matrix(self.flat.program.fixed.value(part.operand)).shape[1]
            seen.append(vectors)
            return _OFFSET + np.arange(vectors.shape[0] * vectors.shape[1] * rows, dtype=np.float64).reshape(
                *vectors.shape[:2], rows
            )

        (output,) = product.run([numbers], multiply)
        (vectors,) = seen
        entering = np.where(vectors == 0, -1.0, vectors - _OFFSET).astype(np.int64)
        return entering, (output - _OFFSET).astype(np.int64)


def _is_linear(product: Product) -> bool:
    """Return True if a product adds nothing but its part's bias, and scales nothing."""
    node = product.node
    if len(product.parts) != 1 or len(product.entering) != 1 or len(product.outputs) != 1:
        return False
    if product.activation_threshold >= _OFFSET:
        return False
    if node.op_type == "Gemm":
        values = attributes(node)
        (part,) = product.parts
        return values.get("alpha", 1.0) == 1.0 and (len(node.input) < 3 or not node.input[2] or bool(part.biases))
    return node.op_type in ("MatMul", "Einsum")


def _static_axes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> set[tuple[str, int]]:
    """Return the axes, as name and number, whose lengths follow from the graph alone."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # of C++: a graph that is too large or that it does not know
        return set()
    static = set()
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        shape = shapes.get(value.name)
        lengths = value.type.tensor_type.shape.dim
        if shape is None or len(lengths) != len(shape):
            continue
        for axis, (length, found) in enumerate(zip(lengths, shape, strict=True)):
            if length.HasField("dim_value") and length.dim_value == found:
                static.add((value.name, axis))
    return static
