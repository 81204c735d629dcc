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
    An axis is *static* if its length is the same for inputs of any shape; others are *moving*. What holds of single
    places on a moving axis, or on one that a reshape mixes with it, holds for this input alone.
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
        self._lengths = _known_lengths(model, self.shapes)
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
        return tuple(axis for axis in range(len(shape)) if not isinstance(self._lengths.get((name, axis)), int))

    def mixed_axes(self, node: NodeProto, name: str) -> tuple[int, ...]:
        """Return the axes of a move's input or output whose single places go elsewhere for inputs of other lengths.

        A reshape keeps the order of all elements. Leading and trailing axes that fill the same places of this order
        before and after it keep their places; those between them are mixed if the length of any can change.
        """
        if not self._keeps_order(node):
            return ()
        (before, after) = (self._all_lengths(each) for each in (node.input[0], node.output[0]))
        if all(isinstance(length, int) for length in (*before, *after)):
            return ()
        lead = _aligned(before, after)
        trail = _aligned(before[lead[0] :][::-1], after[lead[1] :][::-1])
        side = 0 if name == node.input[0] else 1
        return tuple(range(lead[side], len((before, after)[side]) - trail[side]))

    def _keeps_order(self, node: NodeProto) -> bool:
        """Return True if which axes a move changes follows from lengths or values."""
        if node.op_type in ("Squeeze", "Unsqueeze"):
            given = node.input[1] in self.flat.program.fixed if len(node.input) > 1 else "axes" in attributes(node)
            return not given
        return node.op_type in ("Reshape", "Flatten")

    def _all_lengths(self, name: str) -> list[int | str | None]:
        """Return the length of each axis of a value: a number, a symbol, or None if it is not known."""
        shape = self.shape(name) or ()
        if name in self.flat.program.fixed:
            return list(shape)
        return [self._lengths.get((name, axis)) for axis in range(len(shape))]

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


def _aligned(before: Sequence[int | str | None], after: Sequence[int | str | None]) -> tuple[int, int]:
    """Return how many leading axes of two shapes have the same product for inputs of any lengths."""
    aligned = (0, 0)
    one = other = 0
    size = other_size = 1
    while True:
        first = before[one] if one < len(before) else None
        second = after[other] if other < len(after) else None
        if size == other_size:
            aligned = one, other
            if first is not None and first == second:
                one, other = one + 1, other + 1
                continue
        if size <= other_size and isinstance(first, int):
            one, size = one + 1, size * first
        elif other_size <= size and isinstance(second, int):
            other, other_size = other + 1, other_size * second
        else:
            return aligned


def _known_lengths(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], int | str]:
    """Return the lengths of axes, by name and number, that follow from the graph alone: numbers, or symbols."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for value in plain.graph.output:  # what a file states of these need not be so
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(plain, data_prop=True)
    except Exception:  # of C++: a graph that is too large or that it does not know
        return {}
    given = [length.dim_param for value in model.graph.input for length in value.type.tensor_type.shape.dim]
    lengths: dict[tuple[str, int], int | str] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        shape = shapes.get(value.name)
        stated = value.type.tensor_type.shape.dim
        if shape is None or len(stated) != len(shape):
            continue
        for axis, (length, found) in enumerate(zip(stated, shape, strict=True)):
            if length.HasField("dim_value") and length.dim_value == found:
                lengths[value.name, axis] = found
            elif length.dim_param and given.count(length.dim_param) == 1:  # inputs may differ in one that several have
                lengths[value.name, axis] = length.dim_param
    return lengths
