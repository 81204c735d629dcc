"""Weights and biases that can change no output, found through the graph from rows and columns without weights.

A pass forwards finds values that are zero for all inputs: the output of a row without weights and bias, a rectified
value that is at most zero, a sum of zeros. A pass backwards finds values that change no output: a column without
weights needs none. An operator without a rule gives no zero and needs all its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from traces.arrays import Numbers
from traces.graph.elements import MOVES, Elements
from traces.graph.layers import FlatNetwork
from traces.graph.network import Network
from traces.graph.products import Part, Product
from traces.graph.resolve import FixedValues
from traces.graph.surgery import attributes, opset

Booleans = npt.NDArray[np.bool_]

#: Operators of one value whose result is 0 for 0.
_ZERO_FOR_ZERO = (
    {"Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "HardSwish", "Swish", "Mish", "Softsign"}
    | {"Tanh", "Sin", "Tan", "Sinh", "Asin", "Atan", "Asinh", "Atanh", "Erf", "Sqrt", "Floor", "Ceil", "Round", "Sign"}
    | {"Abs", "Neg", "Cast", "Shrink", "Clip"}
)
#: Other operators of values of one shape, or that are broadcast to one, each result of one value of each.
ELEMENTWISE = (
    _ZERO_FOR_ZERO
    | {"Sigmoid", "HardSigmoid", "Exp", "Log", "Cos", "Cosh", "Acos", "Acosh", "Reciprocal", "Softplus", "Not", "IsNaN"}
    | {"IsInf", "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor", "Equal", "Less"}
    | {"LessOrEqual", "Greater", "GreaterOrEqual", "Mod", "PRelu", "Where"}
)
_ALL_ZERO = ("Add", "Sub", "Sum", "Mean", "Max", "Min")
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
#: Operators that compute each channel [inputs, channels, ...] from that channel alone; those of zeros are zero.
BY_CHANNEL = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "Resize")
_OF_SHAPES = ("Shape", "Size")
#: Operators that are not finite for every finite value. What enters them is needed: a value that changes no output may
#: become another one, and an infinity times a weight of 0 is not 0.
_NOT_ALWAYS_FINITE = {
    "Div",
    "Log",
    "Reciprocal",
    "Sqrt",
    "Pow",
    "Mod",
    "Exp",
    "Tan",
    "Asin",
    "Acos",
    "Acosh",
    "Atanh",
    "Sinh",
    "Cosh",
}
_CERTAIN = 1e-3  # share of the terms of a constant by which it must be below zero to be so in any order of additions


def live_parameters(network: Network, feeds: Mapping[str, Numbers] | None = None) -> dict[str, Booleans]:
    """Return which weights and biases of a network can change its outputs.

    Parameters
    ----------
    network : Network
        The network, with the values of its parameters.
    feeds : mapping of str to array, optional
        One bound input; by default the network's example.

    Returns
    -------
    dict of str to numpy.ndarray
        For each parameter that only products use, as weights or as bias, True for each value that can change an
        output, in the parameter's shape. All others may be set to zero at once: finite outputs stay as they are.
        Weights of recurrent layers, and those of a graph with If, Loop or Scan, are not among them.

    Notes
    -----
    A weight without effect has a row that changes no output, or a column whose activations are zero for every input.
    A weight with several uses counts as without effect only if it has none in any of them.
    """
    elements = Elements.of_network(network, feeds)
    return {} if elements is None else _Liveness(elements).parameters(network)


class _Liveness:
    """Zeros and needs of all values of a network."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self.flat: FlatNetwork = elements.flat
        self.fixed: FixedValues = self.flat.program.fixed
        self.zero: dict[str, Booleans] = {}
        self.at_most_zero: dict[str, Booleans] = {}
        self.needed: dict[str, Booleans] = {}
        self.live: dict[int, tuple[Booleans, Booleans]] = {}  # rows and weights of each product's part, by its id
        steps = self.flat.program.steps
        for step in steps:
            self._forward(step)
        for value in self.flat.program.model.graph.output:
            self._need_all(value.name)
        for step in reversed(steps):
            self._backward(step)

    # Values

    def is_zero(self, name: str) -> Booleans | None:
        """Return the elements of a value that are 0 for every input; None if it is no array."""
        if name in self.fixed:
            return np.asarray(self.fixed.value(name) == 0)
        shape = self.elements.shape(name)
        if name not in self.zero and shape is not None:
            self.zero[name] = np.zeros(shape, dtype=np.bool_)
        return self.zero.get(name)

    def is_at_most_zero(self, name: str) -> Booleans | None:
        """Return the elements that are 0 or less for every input; None if the value is no array."""
        if name in self.fixed:
            values = self.fixed.value(name)
            return np.asarray(values <= 0) if values.dtype.kind in "fiu" else np.zeros(values.shape, dtype=np.bool_)
        known = self.is_zero(name)
        return known if known is None or name not in self.at_most_zero else self.at_most_zero[name]

    def _set_zero(self, name: str, zero: Booleans | None, at_most_zero: Booleans | None = None) -> None:
        shape = self.elements.shape(name) if name else None
        if shape is None or zero is None or name in self.fixed:
            return
        self.zero[name] = self._for_any_length(name, zero, np.all)
        if at_most_zero is not None:
            self.at_most_zero[name] = self._for_any_length(name, at_most_zero, np.all) | self.zero[name]

    def _needed(self, name: str) -> Booleans | None:
        """Return the elements of a value that can change an output, without those that are zero anyway."""
        shape = self.elements.shape(name)
        if shape is None:
            return None
        needed = self.needed.get(name, np.zeros(shape, dtype=np.bool_))
        zero = self.is_zero(name)
        return needed if zero is None else needed & ~zero

    def _need(self, name: str, needed: Booleans | None) -> None:
        shape = self.elements.shape(name) if name else None
        if shape is None or name in self.fixed:
            return
        if needed is None:
            self._need_all(name)
            return
        before = self.needed.get(name)
        whole = self._for_any_length(name, needed, np.any)
        self.needed[name] = whole if before is None else before | whole

    def _for_any_length(self, name: str, known: Booleans, how: Any) -> Booleans:
        """Return what holds of all (`np.all`) or some (`np.any`) places of the axes whose lengths can change."""
        whole = np.broadcast_to(known, self.elements.shape(name) or ())
        return _along(whole, self.elements.moving_axes(name), how)

    def _need_all(self, name: str) -> None:
        self._need(name, np.ones((), dtype=np.bool_))

    # Forwards

    def _forward(self, step: NodeProto | Product) -> None:
        if isinstance(step, Product):
            self._product_forward(step)
            return
        node, kind = step, step.op_type if step.domain in ("", "ai.onnx") else ""
        if kind in MOVES:
            self._move_forward(node)
        elif kind in ELEMENTWISE:
            self._elementwise_forward(node)
        elif kind in REDUCTIONS:
            axes = self.elements.reduced_axes(node)
            zero = self.is_zero(node.input[0])
            if axes is not None and zero is not None:
                keeps = bool(attributes(node).get("keepdims", 1))
                self._set_zero(node.output[0], np.asarray(zero.all(axis=axes, keepdims=keeps)))
        elif kind in BY_CHANNEL and self._keeps_channels(node):
            zero, low = self.is_zero(node.input[0]), self.is_at_most_zero(node.input[0])
            if zero is not None and low is not None:
                of_pool = kind in ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
                self._set_zero(node.output[0], _channels(zero, np.all), _channels(low, np.all) if of_pool else None)
        elif kind == "MatMul":
            first, second = (self.is_zero(name) for name in node.input)
            if first is not None and second is not None and min(first.ndim, second.ndim) >= 2:
                self._set_zero(node.output[0], ~_some(~first, ~second))
        elif kind == "BatchNormalization" and len(node.output) == 1:
            self._normalisation_forward(node)
        elif kind == "RMSNormalization":
            self._set_zero(node.output[0], self.is_zero(node.input[0]))

    def _move_forward(self, node: NodeProto) -> None:
        if node.op_type == "Gather" and node.input[0] in self.fixed and node.input[1] not in self.fixed:
            self._look_up_forward(node)
            return
        ways, moved = self.elements.moves(node), self.elements.moved(node)
        zeros, lows = self._of_moved(node, self.is_zero, moved), self._of_moved(node, self.is_at_most_zero, moved)
        if ways is None or zeros is None or lows is None:
            return
        filled = self._filled_with_zero(node)
        for name, way in zip([name for name in node.output if name], ways, strict=False):
            zero, low = (np.where(way >= 0, of_all[way], filled) for of_all in (zeros, lows))
            self._set_zero(name, self._levelled(node, name, zero), self._levelled(node, name, low))

    def _of_moved(self, node: NodeProto, known: Any, moved: Sequence[str]) -> Booleans | None:
        """Return what is known of the elements of all moved inputs, one after the other; None if one is no array."""
        masks = [known(name) for name in moved]
        if any(mask is None for mask in masks):
            return None
        return np.concatenate([np.ravel(self._levelled(node, *pair)) for pair in zip(moved, masks, strict=True)])

    def _filled_with_zero(self, node: NodeProto) -> bool:
        """Return True if what a move adds to its elements is zero."""
        if node.op_type != "Pad":
            return True
        if len(node.input) < 2:
            return float(attributes(node).get("value", 0.0)) == 0
        if len(node.input) < 3 or not node.input[2]:
            return True
        return node.input[2] in self.fixed and not self.fixed.value(node.input[2]).any()

    def _levelled(self, node: NodeProto, name: str, known: Booleans, how: Any = np.all) -> Booleans:
        """Return what holds along the axes whose places a move changes with the lengths or values of the input."""
        freely = self.elements.selects_freely(node)
        return _along(known, tuple(range(known.ndim)) if freely else self.elements.mixed_axes(node, name), how)

    def _look_up_forward(self, node: NodeProto) -> None:
        """Find the zeros of rows of a table, whichever is looked up."""
        table, axis = self.is_zero(node.input[0]), int(attributes(node).get("axis", 0))
        shape, indices = self.elements.shape(node.output[0]), self.elements.shape(node.input[1])
        if table is None or shape is None or indices is None:
            return
        axis %= table.ndim
        zero = table.all(axis=axis)
        self._set_zero(node.output[0], zero.reshape(*zero.shape[:axis], *[1] * len(indices), *zero.shape[axis:]))

    def _elementwise_forward(self, node: NodeProto) -> None:
        kind, values = node.op_type, attributes(node)
        names = [name for name in node.input if name]
        zeros = [self.is_zero(name) for name in names]
        lows = [self.is_at_most_zero(name) for name in names]
        if any(zero is None for zero in zeros) or len(node.output) != 1:
            return
        zero: Any = np.zeros((), dtype=np.bool_)
        low: Any = None
        if kind == "Clip":
            low_bound, high_bound = self._bounds(node)
            if low_bound is not None and low_bound <= 0 <= (high_bound or np.inf):
                zero, low = (lows[0], lows[0]) if low_bound == 0 else (zeros[0], lows[0])
        elif kind == "Relu":
            zero = low = lows[0]
        elif kind == "Shrink":
            if values.get("lambd", 0.5) >= 0 or values.get("bias", 0.0) == 0:
                zero = zeros[0]
        elif kind in _ZERO_FOR_ZERO:
            zero = zeros[0]
            low = lows[0] if kind == "LeakyRelu" and values.get("alpha", 0.01) >= 0 else None
        elif kind in _ALL_ZERO:
            zero = _every(zeros)
            low = _every(lows) if kind in ("Add", "Sum", "Mean", "Max") else None
        elif kind in ("Mul", "And"):
            zero = ~_every([~each for each in zeros if each is not None])
        elif kind == "PRelu" or (kind in ("Div", "Pow") and self._is_above_zero(names[1])):
            zero = zeros[0]
        elif kind == "Where":
            zero = _every(zeros[1:])
        self._set_zero(node.output[0], zero, low)

    def _is_above_zero(self, name: str) -> bool:
        """Return True if a value is fixed, and all of its elements are above 0."""
        return name in self.fixed and bool((self.fixed.value(name) > 0).all())

    def _bounds(self, node: NodeProto) -> tuple[float | None, float | None]:
        """Return the least and the largest value of a Clip; None where there is none or it is not known."""
        values = attributes(node)
        found: list[float | None] = []
        for number, name in ((1, "min"), (2, "max")):
            bound = node.input[number] if len(node.input) > number else ""
            if bound:
                found.append(float(self.fixed.value(bound)) if bound in self.fixed else math.nan)
            else:
                found.append(float(values[name]) if name in values else None)
        low, high = found
        if high is not None and math.isnan(high):
            return None, None
        return (None if low is None or math.isnan(low) else low), high

    def _normalisation_forward(self, node: NodeProto) -> None:
        """Find the channels of zeros that a normalisation with fixed statistics keeps at 0 or makes negative."""
        zero = self.is_zero(node.input[0])
        if zero is None or zero.ndim < 2 or any(name not in self.fixed for name in node.input[1:]):
            return
        scale, bias, mean, variance = (self.fixed.value(name).astype(np.float64) for name in node.input[1:])
        taken = scale * mean / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        channels = np.asarray(_channels(zero, np.all))
        by_channel = (1, -1, *[1] * (zero.ndim - 2))
        constant = ((bias == 0) & (taken == 0)).reshape(by_channel)
        below = (bias - taken < -_CERTAIN * (np.abs(bias) + np.abs(taken))).reshape(by_channel)
        self._set_zero(node.output[0], channels & constant, channels & (constant | below))

    def _product_forward(self, product: Product) -> None:
        node = product.node
        zero = self.is_zero(product.entering[0]) if product.entering else None
        if zero is None:
            return
        if node.op_type in ("Conv", "ConvTranspose"):
            weights, bias, channels, _ = self._convolution(product, zero)
            found = (weights.any(axis=3) & channels[:, np.newaxis]).any(axis=2).ravel()
            by_channel = (1, -1, *[1] * (zero.ndim - 2))
            self._set_zero(
                product.outputs[0],
                (~found & (bias == 0)).reshape(by_channel),
                (~found & (bias <= 0)).reshape(by_channel),
            )
            return
        passage = self.elements.passage(product)
        if passage is None:
            return
        entering, leaving = passage
        (part,) = product.parts
        weights, bias = self._values(part)
        nonzero = _at(~zero, entering)
        sums = _some(nonzero, np.swapaxes(weights, 1, 2))
        none = ~sums
        empty, low = none & (bias == 0)[:, np.newaxis], none & (bias <= 0)[:, np.newaxis]
        self._set_zero(product.outputs[0], empty.ravel()[leaving], low.ravel()[leaving])

    def _values(self, part: Part) -> tuple[Booleans, Numbers]:
        """Return where a part has weights, [groups, rows, columns], and its bias [groups, rows]."""
        weights = part.matrix(self.fixed.value(part.operand)).astype(np.float32) != 0
        bias = np.zeros(weights.shape[:2])
        for name in part.biases:
            bias = bias + part.bias(self.fixed.value(name)).astype(np.float64)
        return weights, bias

    def _convolution(self, product: Product, zero: Booleans) -> tuple[Booleans, Numbers, Booleans, Any]:
        """Return what a convolution multiplies, by channel.

        The weights [groups, outputs, inputs, kernel], the bias of all output channels, and the input channels that
        are not zero [groups, inputs]; and the function that turns anything of the weights' shape into the matrix.
        """
        (part,) = product.parts
        node = product.node
        weights, bias = self._values(part)
        groups, rows, columns = weights.shape
        inputs = zero.shape[1] // groups
        if node.op_type == "Conv":
            by_channel = weights.reshape(groups, rows, inputs, -1)

            def to_matrix(values: Booleans) -> Booleans:
                return values.reshape(groups, rows, columns)

            all_biases = bias.ravel()
        else:
            outputs = rows // math.prod(self.fixed.value(node.input[1]).shape[2:])
            by_channel = weights.reshape(groups, outputs, -1, inputs).swapaxes(2, 3)

            def to_matrix(values: Booleans) -> Booleans:
                return values.swapaxes(2, 3).reshape(groups, rows, columns)

            named = len(node.input) > 2 and node.input[2]
            all_biases = self.fixed.value(node.input[2]).astype(np.float64) if named else np.zeros(groups * outputs)
        channels = ~np.asarray(_channels(zero, np.all)).all(axis=0).reshape(groups, inputs)
        return by_channel, all_biases, channels, to_matrix

    # Backwards

    def _backward(self, step: NodeProto | Product) -> None:
        if isinstance(step, Product):
            self._product_backward(step)
            return
        node, kind = step, step.op_type if step.domain in ("", "ai.onnx") else ""
        outputs = [name for name in node.output if name]
        needed = self._needed(outputs[0]) if len(outputs) == 1 else None
        if kind in MOVES:
            self._move_backward(node)
        elif kind in _OF_SHAPES:
            pass
        elif needed is None:
            self._need_inputs(node)
        elif kind in ELEMENTWISE:
            self._elementwise_backward(node, needed)
        elif kind in REDUCTIONS and (axes := self.elements.reduced_axes(node)) is not None:
            self._need(node.input[0], needed if needed.ndim == self._ndim(node) else np.expand_dims(needed, axes))
        elif kind in BY_CHANNEL and self._keeps_channels(node):
            self._need(node.input[0], _channels(needed, np.any))
            for name in node.input[1:]:  # lengths of a Resize
                self._need_all(name)
        elif kind in ("Softmax", "LogSoftmax"):
            self._need(node.input[0], _any(needed, self._softmax_axes(node)))
        elif kind in ("LayerNormalization", "RMSNormalization") and attributes(node).get("epsilon", 1e-5) > 0:
            axis = int(attributes(node).get("axis", -1)) % needed.ndim
            self._need(node.input[0], _any(needed, tuple(range(axis, needed.ndim))))
            for name in node.input[1:]:
                self._need_all(name)
        elif kind == "BatchNormalization" and all(name in self.fixed for name in node.input[1:]):
            self._need(node.input[0], needed)
        elif kind == "MatMul":
            self._contraction_backward(node, needed)
        else:
            self._need_inputs(node)

    def _elementwise_backward(self, node: NodeProto, needed: Booleans) -> None:
        kind = node.op_type
        of_square = kind == "Pow" and node.input[1] in self.fixed and (self.fixed.value(node.input[1]) == 2).all()
        for number, name in enumerate(node.input):
            shape = self.elements.shape(name) if name else None
            if shape is None:
                continue
            if kind in _NOT_ALWAYS_FINITE and not of_square and (kind != "Div" or number == 1):
                self._need_all(name)
            else:
                self._need(name, _collapsed(needed, shape))

    def _need_inputs(self, node: NodeProto) -> None:
        for name in node.input:
            if name:
                self._need_all(name)

    def _ndim(self, node: NodeProto) -> int:
        return len(self.elements.shape(node.input[0]) or ())

    def _move_backward(self, node: NodeProto) -> None:
        if node.input[0] in self.fixed and node.op_type == "Gather":
            self._need_all(node.input[1])
            return
        ways, moved = self.elements.moves(node), self.elements.moved(node)
        shapes = [self.elements.shape(name) for name in moved]
        if ways is None or None in shapes:
            self._need_inputs(node)
            return
        sizes = [math.prod(shape) for shape in shapes if shape is not None]
        needed = np.zeros(sum(sizes), dtype=np.bool_)
        for name, way in zip([name for name in node.output if name], ways, strict=False):
            wanted = self._needed(name)
            if wanted is not None:
                needed[way[self._levelled(node, name, wanted, np.any) & (way >= 0)]] = True
        parts = np.split(needed, np.cumsum(sizes)[:-1])
        for name, shape, part in zip(moved, shapes, parts, strict=True):
            assert shape is not None
            self._need(name, self._levelled(node, name, part.reshape(shape), np.any))
        for name in node.input:  # what says where the others go
            if name and name not in moved:
                self._need_all(name)

    def _contraction_backward(self, node: NodeProto, needed: Booleans) -> None:
        first, second = (self.is_zero(name) for name in node.input)
        if first is None or second is None or min(first.ndim, second.ndim) < 2:
            self._need_inputs(node)
            return
        self._need(node.input[0], _collapsed(_some(needed, np.swapaxes(~second, -1, -2)), first.shape))
        self._need(node.input[1], _collapsed(_some(np.swapaxes(~first, -1, -2), needed), second.shape))

    def _softmax_axes(self, node: NodeProto) -> tuple[int, ...]:
        ndim = self._ndim(node)
        if opset(self.flat.program.model) >= 13:
            return (int(attributes(node).get("axis", -1)) % ndim,)
        return tuple(range(int(attributes(node).get("axis", 1)) % ndim, ndim))

    def _keeps_channels(self, node: NodeProto) -> bool:
        """Return True if the first two axes, inputs and channels, are those of the input."""
        before, after = self.elements.shape(node.input[0]), self.elements.shape(node.output[0])
        named = attributes(node)
        return (
            before is not None
            and after is not None
            and len(node.output) == 1
            and len(before) == len(after) >= 3
            and before[:2] == after[:2]
            and named.get("coordinate_transformation_mode") != "tf_crop_and_resize"
            and (node.op_type != "Resize" or set(named.get("axes", range(2, 9))) <= set(range(2, len(before))))
        )

    def _product_backward(self, product: Product) -> None:
        needed = self._needed(product.outputs[0]) if len(product.outputs) == 1 else None
        node = product.node
        zero = self.is_zero(product.entering[0]) if product.entering else None
        is_convolution = node.op_type in ("Conv", "ConvTranspose")
        passage = None if is_convolution or zero is None else self.elements.passage(product)
        if needed is None or zero is None or (passage is None and not is_convolution):
            for name in product.entering:
                if name:
                    self._need_all(name)
            return
        (part,) = product.parts
        if is_convolution:
            weights, _, channels, to_matrix = self._convolution(product, zero)
            groups, outputs = weights.shape[:2]
            of_outputs = np.asarray(_channels(needed, np.any)).any(axis=0).reshape(groups, outputs)
            used = (weights.any(axis=3) & of_outputs[:, :, np.newaxis]).any(axis=1)
            self._need(product.entering[0], used.reshape(1, -1, *[1] * (zero.ndim - 2)))
            live = of_outputs[:, :, np.newaxis, np.newaxis] & channels[:, np.newaxis, :, np.newaxis]
            matrix = to_matrix(np.array(np.broadcast_to(live, weights.shape)))
            self.live[id(part)] = of_outputs, matrix
            return
        assert passage is not None
        entering, leaving = passage
        weights, _ = self._values(part)
        rows = np.zeros((*entering.shape[:2], weights.shape[1]), dtype=np.bool_)
        rows.ravel()[leaving] = needed
        columns = _some(rows, weights) & (entering >= 0)
        used = np.zeros(zero.size, dtype=np.bool_)
        used[entering[columns]] = True
        self._need(product.entering[0], used.reshape(zero.shape))
        of_rows, of_columns = _any(rows, (1,)), _any(_at(~zero, entering), (1,))
        self.live[id(part)] = of_rows[:, 0], of_rows.swapaxes(1, 2) & of_columns

    # Parameters

    def parameters(self, network: Network) -> dict[str, Booleans]:
        """Return the live values of each parameter that only products use whose rows and columns are known."""
        parts = [part for product in self.flat.program.products for part in product.parts if id(part) in self.live]
        names = [name for part in parts for name in (part.operand, *part.biases)]
        origins = self.fixed.origins(names)
        allowed: set[tuple[int, str]] = set()
        for product in self.flat.program.products:
            if all(id(part) in self.live for part in product.parts):
                used = {name for part in product.parts for name in (part.operand, *part.biases)}
                allowed |= {(id(node), name) for node in product.nodes for name in used if name in node.input}
        barred = used_elsewhere(self.flat, network.parameters.keys(), allowed)
        live: dict[str, Booleans] = {}
        covered: dict[str, Booleans] = {}

        def add(operand: str, arranged: Callable[[Any], Any], found: Booleans) -> None:
            origin = origins[operand]
            if origin is None:
                barred.update(network.parameters)  # of which parameters it is made is not known
                return
            numbers, places = arranged(origin.numbers), arranged(origin.places)
            for number, name in enumerate(origin.parameters):
                here = numbers == number
                shape = network.parameters[name].shape
                live.setdefault(name, np.zeros(shape, dtype=np.bool_))
                covered.setdefault(name, np.zeros(shape, dtype=np.bool_))
                live[name].ravel()[places[here & found]] = True
                covered[name].ravel()[places[here]] = True

        for part in parts:
            rows, weights = self.live[id(part)]
            add(part.operand, part.matrix, weights)
            for name in part.biases:
                add(name, part.bias, rows)
        return {name: live[name] | ~covered[name] for name in live if name not in barred}


def used_elsewhere(flat: FlatNetwork, parameters: Any, allowed: set[tuple[int, str]]) -> set[str]:
    """Return the parameters that something other than the allowed operands of nodes depends on."""
    model, fixed = flat.program.model, flat.program.fixed
    made_of: dict[str, frozenset[str]] = {name: frozenset([name]) for name in parameters}
    none: frozenset[str] = frozenset()
    barred: set[str] = set()
    for node in model.graph.node:
        names = [name for name in node.input if name]
        if all(name in fixed for name in node.output if name):
            made_of |= dict.fromkeys(node.output, none.union(*(made_of.get(name, none) for name in names)))
            continue
        for name in names:
            if (id(node), name) not in allowed:
                barred |= made_of.get(name, none)
    for value in model.graph.output:
        barred |= made_of.get(value.name, none)
    return barred


def _every(masks: Sequence[Booleans | None]) -> Booleans:
    """Return where all of some broadcast masks are True."""
    found = np.ones((), dtype=np.bool_)
    for mask in masks:
        found = found & (np.zeros((), dtype=np.bool_) if mask is None else mask)
    return np.asarray(found)


def _some(first: Booleans, second: Booleans) -> Booleans:
    """Return where a product of two matrices of True and False has a term that is not 0."""
    return np.asarray(np.matmul(first.astype(np.float32), second.astype(np.float32)) > 0)


def _any(mask: Booleans, axes: tuple[int, ...]) -> Booleans:
    """Return where a mask is True anywhere along some axes, which get the length 1."""
    return np.asarray(mask.any(axis=axes, keepdims=True))


def _at(mask: Booleans, places: Numbers) -> Booleans:
    """Return the elements of a mask at these places; False at -1."""
    return np.asarray(np.append(mask.ravel(), False)[places])


def _along(mask: Booleans, axes: tuple[int, ...], how: Any) -> Booleans:
    """Return what holds of all (`np.all`) or some (`np.any`) places along some axes, in the mask's shape."""
    return np.array(np.broadcast_to(how(mask, axis=axes, keepdims=True), mask.shape) if axes else mask)


def _channels(mask: Booleans, how: Any) -> Booleans:
    """Return what holds of all (`np.all`) or some (`np.any`) places of each channel [inputs, channels, ...]."""
    return np.asarray(how(mask, axis=tuple(range(2, mask.ndim)), keepdims=True))


def _collapsed(mask: Booleans, shape: Sequence[int]) -> Booleans:
    """Return where a value of some shape has an element that is broadcast to a True of the mask."""
    more = mask.ndim - len(shape)
    if more > 0:
        mask = np.asarray(mask.any(axis=tuple(range(more))))
    elif more < 0:
        mask = mask.reshape([1] * -more + list(mask.shape))
    axes = tuple(axis for axis, length in enumerate(shape) if length == 1 and mask.shape[axis] != 1)
    return _any(mask, axes)
