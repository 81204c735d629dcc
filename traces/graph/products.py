"""Products of a weight with activations in a flat graph, each with the vectors that are multiplied.

Each product gives its weights as matrices [groups, rows, columns], turns the activations that enter its node into
vectors [groups, vectors, columns], and turns the products of these into the outputs of the node. The semantics of the
operators are those of the ONNX specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from traces.arrays import Floats, Numbers
from traces.errors import InputError
from traces.graph.description import RECURRENT
from traces.graph.resolve import DRAWN, FixedValues
from traces.graph.surgery import attributes

#: Multiplies the matrices of a part of a product with vectors [groups, vectors, columns]. Their values up to the
#: product's threshold count as zero, and the bias is added.
Multiply = Callable[["Part", Floats], Floats]


@dataclass(frozen=True, eq=False)
class Part:
    """Matrix of a product: its weights, its bias, and where they come from.

    Attributes
    ----------
    operand : str
        Value of the graph that holds the weights.
    matrix : callable
        Takes the operand's values, or anything of its shape, and returns [groups, rows, columns].
    biases : tuple of str
        Values of the graph whose sum is the bias; the bias is added on the array.
    bias : callable
        Takes the values of one of `biases` and returns [groups, rows].
    kind : str
        Kind of layer, as PyTorch names it.
    left_out : (int, int)
        Rows of all groups, and columns, that hold no weights and that the matrix lacks (`traces.graph.compaction`).
    window_reuse : float
        Windows of a convolution that an activation is in, away from the border (`window_reuse_of`).
    """

    operand: str
    matrix: Callable[[Numbers], Numbers]
    biases: tuple[str, ...]
    bias: Callable[[Numbers], Numbers]
    kind: str
    left_out: tuple[int, int] = (0, 0)
    window_reuse: float = 1.0


@dataclass(frozen=True, eq=False)
class Product:
    """One node that multiplies weights with activations, with their threshold and the addition of its bias.

    Attributes
    ----------
    nodes : tuple of NodeProto
        The thresholds (Shrink) before the node, if any, the node, and the addition that follows it, if any.
    parts : tuple of Part
        Matrices, one but for recurrent nodes.
    entering : tuple of str
        Values that enter, in the order of `run`; "" for an absent one.
    outputs : tuple of str
        Values that leave; "" for an unused one.
    batch_axis : int or None
        Axis of the first entering value that must hold the inputs, so that vectors come input by input.
    run : callable
        Takes the entering values and a `Multiply`, and returns the outputs.
    activation_threshold : float
        Activations whose magnitude is at most this count as zero for the `Multiply`.
    """

    nodes: tuple[NodeProto, ...]
    parts: tuple[Part, ...]
    entering: tuple[str, ...]
    outputs: tuple[str, ...]
    batch_axis: int | None
    run: Callable[[Sequence[Any], Multiply], tuple[Any, ...]] = field(repr=False)
    activation_threshold: float = 0.0

    @property
    def node(self) -> NodeProto:
        """The node that multiplies."""
        return next(node for node in self.nodes if node.op_type != "Shrink")

    @property
    def name(self) -> str:
        """Name of the node in the graph."""
        return self.node.name or self.outputs[0]


_QUANTISED = ("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DeformConv")


def find_products(model: ModelProto, fixed: FixedValues) -> list[Product]:
    """Return the products of a flat graph, in order.

    Raises InputError for an operator with weights that is not handled, by its name.
    """
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    producers = {name: node for node in model.graph.node if node.op_type == "Shrink" for name in node.output}
    outputs = {value.name for value in model.graph.output}
    products = []
    for node in model.graph.node:
        place = f"{node.op_type} ({node.name or node.output[0]})"
        if node.op_type in DRAWN or (node.op_type == "Dropout" and _drops(node, fixed)):
            raise InputError(f"{place}: random values, which are not handled; export the network for inference")
        if all(name in fixed for name in node.input if name) or not node.input:
            continue
        if node.op_type in _QUANTISED and any(name in fixed for name in node.input[1:] if name):
            raise InputError(f"{place}: this operator is not handled; give the network before it was converted to it")
        if node.domain not in ("", "ai.onnx"):
            matrices = [name for name in node.input if name in fixed and _is_matrix(fixed.value(name))]
            if matrices:
                raise InputError(
                    f"{place} of domain {node.domain!r}: its product with {matrices[0]} is not handled; export the "
                    f"network with standard operators"
                )
            continue
        maker = _MAKERS.get(node.op_type)
        product = maker(node, fixed, place) if maker else None
        if product is not None:
            product = _with_addition(product, fixed, users, outputs)
            products.append(_with_thresholds(product, producers, users, outputs))
    return products


def find_lookups(model: ModelProto, fixed: FixedValues) -> list[tuple[NodeProto, str]]:
    """Return the look-ups in tables of weights (embeddings), each with the value that holds the table."""
    return [
        (node, node.input[0])
        for node in model.graph.node
        if node.op_type == "Gather"
        and node.input[0] in fixed
        and node.input[1] not in fixed
        and _is_matrix(fixed.value(node.input[0]))
    ]


def _drops(node: NodeProto, fixed: FixedValues) -> bool:
    training = node.input[2] if len(node.input) > 2 else ""
    return bool(training) and not (training in fixed and not fixed.value(training))


def _is_matrix(values: Numbers) -> bool:
    return values.dtype.kind in "fV" and values.ndim >= 2 and values.size > 1


def _no_bias(values: Numbers) -> Numbers:
    return values


# Convolutions


def _conv(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    weight = node.input[1]
    if weight not in fixed:
        return None
    shape = fixed.value(weight).shape
    values = attributes(node)
    kernel, groups = shape[2:], int(values.get("group", 1))
    if node.input[0] in fixed or shape[0] % groups:
        raise InputError(f"{place}: weights {list(shape)} in {groups} groups, which are not handled")
    rows = shape[0] // groups
    strides, dilations = _spatial(values, "strides", kernel), _spatial(values, "dilations", kernel)
    bias = _fixed_bias(node, fixed, place)
    columns = math.prod(shape[1:])
    part = Part(
        weight,
        lambda w: w.reshape(groups, rows, columns),
        (bias,) if bias else (),
        lambda b: b.reshape(groups, rows),
        f"Conv{len(kernel)}d",
        window_reuse=window_reuse_of(kernel, strides, dilations),
    )

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        images = entering[0]
        pads = _pads(values, images.shape[2:], kernel, strides, dilations)
        vectors, sizes = unrolled(images, kernel, strides, dilations, pads, groups)
        products = multiply(part, vectors)  # [groups, inputs * positions, rows]
        by_input = products.reshape(groups, len(images), -1, rows).transpose(1, 0, 3, 2)
        return (np.ascontiguousarray(by_input.reshape(len(images), shape[0], *sizes)),)

    return Product((node,), (part,), (node.input[0],), (node.output[0],), 0, run)


def window_reuse_of(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> float:
    """Return the windows of a convolution that an activation is in, away from the border.

    Along an axis, windows begin at each multiple of the stride, and take every activation at a multiple of the
    dilation. They reach the multiples of the greatest common divisor of both, of which each is in gcd * size / stride
    windows on average, or in one if windows leave gaps.

    Parameters
    ----------
    kernel, strides, dilations : sequence of int
        By axis.

    Returns
    -------
    float
        Mean over the activations that are in a window at all, 1 to the size of the kernel.
    """
    return math.prod(
        max(1.0, math.gcd(stride, dilation) * size / stride)
        for size, stride, dilation in zip(kernel, strides, dilations, strict=True)
    )


def unrolled(
    images: Floats,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    groups: int,
) -> tuple[Floats, tuple[int, ...]]:
    """Return the vectors that a convolution multiplies, and the sizes of its output.

    Parameters
    ----------
    images : numpy.ndarray
        Activations [inputs, channels, *sizes].
    kernel, strides, dilations : sequence of int
        By axis.
    pads : sequence of (int, int)
        Zeros before and after, by axis.
    groups : int
        Parts of the channels that are convolved separately.

    Returns
    -------
    vectors : numpy.ndarray
        [groups, inputs * positions, channels / groups * kernel sizes], in the order of an unrolled weight. The values
        of neighbouring positions lie side by side in memory, as in the images.
    sizes : tuple of int
        Output positions by axis.
    """
    axes = len(kernel)
    padded = np.pad(images, ((0, 0), (0, 0), *pads)) if any(map(any, pads)) else images
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    if any(size < needed for size, needed in zip(padded.shape[2:], reach, strict=True)):
        raise InputError(f"a kernel that reaches over {reach} must fit the padded image; found {padded.shape[2:]}")
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + axes)))
    strided = tuple(slice(None, None, stride) for stride in strides)
    dilated = tuple(slice(None, None, dilation) for dilation in dilations)
    windows = windows[(slice(None), slice(None), *strided, *dilated)]
    sizes = windows.shape[2 : 2 + axes]
    inputs, channels = images.shape[:2]
    by_group = windows.reshape(inputs, groups, channels // groups, *sizes, *kernel)
    order = (1, 2, *range(3 + axes, 3 + 2 * axes), 0, *range(3, 3 + axes))
    columns = by_group.transpose(order).reshape(groups, -1, inputs * math.prod(sizes))
    return np.ascontiguousarray(columns).transpose(0, 2, 1), sizes


def _fixed_bias(node: NodeProto, fixed: FixedValues, place: str) -> str:
    """Return the name of a convolution's bias; "" without one."""
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and bias not in fixed:
        raise InputError(f"{place}: a bias that depends on the input, which is not handled")
    return bias


def _spatial(values: Mapping[str, Any], name: str, kernel: Sequence[int]) -> list[int]:
    return [int(value) for value in values.get(name) or [1] * len(kernel)]


def _pads(
    values: Mapping[str, Any],
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    mode = values.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return [(0, 0)] * len(kernel)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return pads
    flat = [int(value) for value in values.get("pads") or [0] * (2 * len(kernel))]
    pads = list(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))
    if min(flat, default=0) < 0:
        raise InputError(f"pads of a convolution must not be negative; found {flat}")
    return pads


def _conv_transpose(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    weight = node.input[1]
    if weight not in fixed:
        return None
    shape = fixed.value(weight).shape
    values = attributes(node)
    kernel, groups = shape[2:], int(values.get("group", 1))
    if node.input[0] in fixed:
        raise InputError(f"{place}: a fixed image, which is not handled")
    bias = _fixed_bias(node, fixed, place)
    channels, outputs, axes = shape[0], shape[1], len(kernel)
    strides, dilations = _spatial(values, "strides", kernel), _spatial(values, "dilations", kernel)
    part = Part(
        weight,
        lambda w: np.moveaxis(w.reshape(groups, channels // groups, -1), 1, 2),
        (),
        _no_bias,
        f"ConvTranspose{axes}d",
    )
    bias_values = fixed.value(bias) if bias else None

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        images = entering[0]
        inputs, sizes = len(images), images.shape[2:]
        positions = math.prod(sizes)
        vectors = images.reshape(inputs, groups, channels // groups, positions).transpose(1, 0, 3, 2)
        vectors = np.ascontiguousarray(vectors).reshape(groups, inputs * positions, -1)
        products = multiply(part, vectors).reshape(groups, inputs, *sizes, outputs, *kernel)
        full = [
            (size - 1) * stride + (length - 1) * dilation + 1
            for size, stride, length, dilation in zip(sizes, strides, kernel, dilations, strict=True)
        ]
        begins, lengths = _transposed_borders(values, sizes, full, strides)
        room = [
            max(whole, begin + length) - min(0, begin)
            for whole, begin, length in zip(full, begins, lengths, strict=True)
        ]
        shift = [max(0, -begin) for begin in begins]
        summed = np.zeros((inputs, groups, outputs, *room), dtype=products.dtype)
        for offset in np.ndindex(*kernel):
            where = tuple(
                slice(before + step * dilation, before + step * dilation + (size - 1) * stride + 1, stride)
                for step, dilation, size, stride, before in zip(offset, dilations, sizes, strides, shift, strict=True)
            )
            taken = products[(..., *offset)]  # [groups, inputs, *sizes, outputs]
            summed[(slice(None), slice(None), slice(None), *where)] += np.moveaxis(taken, (0, -1), (1, 2))
        window = tuple(
            slice(begin + before, begin + before + length)
            for begin, before, length in zip(begins, shift, lengths, strict=True)
        )
        result = summed[(slice(None), slice(None), slice(None), *window)]
        result = result.reshape(inputs, groups * outputs, *lengths)
        if bias_values is not None:  # overlapping products are added first, so the array cannot add it
            result = result + bias_values.reshape(-1, *[1] * axes).astype(result.dtype)
        return (np.ascontiguousarray(result),)

    return Product((node,), (part,), (node.input[0],), (node.output[0],), 0, run)


def _transposed_borders(
    values: Mapping[str, Any], sizes: Sequence[int], full: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return where the output begins in the sum of all products, and how long it is, by axis."""
    axes = len(sizes)
    extra = [int(value) for value in values.get("output_padding") or [0] * axes]
    mode = values.get("auto_pad", "NOTSET")
    given = values.get("output_shape")
    whole = [length + more for length, more in zip(full, extra, strict=True)]
    if given or mode in ("SAME_UPPER", "SAME_LOWER"):
        lengths = (
            [int(value) for value in given][-axes:]
            if given
            else [size * stride for size, stride in zip(sizes, strides, strict=True)]
        )
        if not given:  # ONNX Runtime never takes pads below 0
            lengths = [min(length, wanted) for length, wanted in zip(whole, lengths, strict=True)]
        totals = [max(0, length - wanted) for length, wanted in zip(whole, lengths, strict=True)]
        begins = [total - total // 2 if mode != "SAME_UPPER" else total // 2 for total in totals]
        return begins, lengths
    flat = [0] * (2 * axes) if mode == "VALID" else [int(value) for value in values.get("pads") or [0] * (2 * axes)]
    return flat[:axes], [length - flat[k] - flat[axes + k] for k, length in enumerate(whole)]


# Matrix products


def _gemm(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    first, second = node.input[:2]
    if first not in fixed and second not in fixed:
        return None
    values = attributes(node)
    alpha, beta = float(values.get("alpha", 1.0)), float(values.get("beta", 1.0))
    trans_a, trans_b = bool(values.get("transA", 0)), bool(values.get("transB", 0))
    third = node.input[2] if len(node.input) > 2 and (beta or node.input[2] not in fixed) else ""
    weight_second = second in fixed
    weight = second if weight_second else first
    transposed = trans_b if weight_second else not trans_a
    shape = fixed.value(weight).shape
    rows = shape[0] if transposed else shape[1]

    def matrix(w: Numbers) -> Numbers:
        return (w if transposed else w.T)[np.newaxis]

    by_row = bool(third) and third in fixed and weight_second and alpha == 1.0 and beta == 1.0
    if by_row:
        by_row = fixed.value(third).shape in ((rows,), (1, rows), (1,), (1, 1), ())
    part = Part(
        weight,
        matrix,
        (third,) if by_row else (),
        lambda b: np.broadcast_to(b.reshape(1, -1), (1, rows)),
        "Linear",
    )
    added = "" if by_row else third
    fixed_addend = fixed.value(added) if added and added in fixed else None

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        activations = entering[0]
        if weight_second:
            vectors = activations.T if trans_a else activations
        else:
            vectors = activations if trans_b else activations.T
        products = multiply(part, np.ascontiguousarray(vectors)[np.newaxis])[0]
        result = products if weight_second else products.T
        if alpha != 1.0:
            result = alpha * result
        if added and beta:
            addend = fixed_addend if fixed_addend is not None else entering[1]
            result = result + beta * np.asarray(addend)
        return (np.ascontiguousarray(result.astype(activations.dtype)),)

    entering: tuple[str, ...] = (first,) if weight_second else (second,)
    if added and fixed_addend is None:
        entering = (*entering, added)
    batch_axis = (1 if trans_a else 0) if weight_second else (0 if trans_b else 1)
    return Product((node,), (part,), entering, (node.output[0],), batch_axis, run)


def _matmul(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    first, second = node.input
    if (first in fixed) == (second in fixed):
        return None
    weight_second = second in fixed
    weight = second if weight_second else first
    values = fixed.value(weight)
    if values.dtype.kind not in "fV" or values.ndim == 0:
        return None
    if math.prod(values.shape[:-2]) == 1:
        columns = values.shape[-2] if weight_second and values.ndim > 1 else values.shape[-1]

        def matrix(w: Numbers) -> Numbers:
            if w.ndim == 1:
                return w.reshape(1, 1, -1)
            plain = w.reshape(w.shape[-2:])
            return (plain.T if weight_second else plain)[np.newaxis]

        part = Part(weight, matrix, (), _no_bias, "Linear")

        def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
            activations = entering[0]
            vectors = activations if weight_second or activations.ndim == 1 else np.swapaxes(activations, -1, -2)
            flat = np.ascontiguousarray(vectors).reshape(1, -1, columns)
            products = multiply(part, flat)[0].reshape(*vectors.shape[:-1], -1)
            if values.ndim == 1:
                return (np.asarray(products[..., 0], order="C"),)
            if not weight_second and activations.ndim > 1:
                products = np.swapaxes(products, -1, -2)
            more = max(activations.ndim, values.ndim) - (activations.ndim == 1) - products.ndim
            return (np.ascontiguousarray(products.reshape([1] * more + list(products.shape))),)

        activations = first if weight_second else second
        return Product((node,), (part,), (activations,), (node.output[0],), 0, run)
    # a matrix for each place of the leading axes: as an Einsum
    leading = "abcdefghij"[: values.ndim - 2]
    letters = f"{leading}yz" if weight_second else f"{leading}xy"
    return _contraction(node, fixed, place, weight, letters, leading, weight_second)


def _contraction(
    node: NodeProto,
    fixed: FixedValues,
    place: str,
    weight: str,
    letters: str,
    leading: str,
    weight_second: bool,
) -> Product:
    """Return a MatMul whose weight has leading axes, by the letters of an Einsum; axes of length 1 are broadcast."""
    shape = fixed.value(weight).shape

    def run_equation(activations: Floats) -> tuple[str, str]:
        if activations.ndim < 2:
            raise InputError(f"{place}: a vector times {list(shape)}, which is not handled")
        more = activations.ndim - 2
        outer = "klmnopqrst"[: max(0, more - len(leading))]
        own = (outer + leading)[-more:] if more else ""
        tail = "xy" if weight_second else "yz"
        return own + tail, outer + leading + "xz"

    for length in shape[: len(leading)]:
        if length == 1:
            raise InputError(f"{place}: weights {list(shape)} that are broadcast, which are not handled")
    return _einsum_product(node, fixed, place, weight, letters, run_equation, weight_second)


def _einsum(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    constant = [name for name in node.input if name in fixed]
    if not constant:
        return None
    matrices = [name for name in constant if _is_matrix(fixed.value(name)) or fixed.value(name).size > 1]
    if not matrices:
        return None
    equation = attributes(node)["equation"].replace(" ", "")
    if len(node.input) != 2 or "." in equation:
        raise InputError(
            f"{place}: a product of weights with {equation!r}, which is not handled; use two operands, without '...'"
        )
    sides, _, output = equation.partition("->")
    terms = sides.split(",")
    if "->" not in equation:
        joined = sides.replace(",", "")
        output = "".join(sorted(letter for letter in set(joined) if joined.count(letter) == 1))
    if any(len(set(term)) < len(term) for term in terms):
        raise InputError(f"{place}: {equation!r} with a letter twice in one operand, which is not handled")
    weight_second = node.input[1] in fixed
    letters, other = (terms[1], terms[0]) if weight_second else (terms[0], terms[1])
    weight = node.input[1] if weight_second else node.input[0]
    if any(letter not in other and letter not in output for letter in letters):
        raise InputError(f"{place}: {equation!r} sums weights alone, which is not handled")
    if any(letter not in letters and letter not in output for letter in other):
        raise InputError(f"{place}: {equation!r} sums activations alone, which is not handled")
    return _einsum_product(node, fixed, place, weight, letters, lambda _: (other, output), weight_second)


def _einsum_product(
    node: NodeProto,
    fixed: FixedValues,
    place: str,
    weight: str,
    letters: str,
    equation: Callable[[Floats], tuple[str, str]],
    weight_second: bool,
) -> Product:
    """Return the product of weights with these letters with activations, whose letters `equation` gives.

    Letters that both operands and the output have are groups; letters of both that the output lacks are summed.
    """
    shape = fixed.value(weight).shape
    lengths = dict(zip(letters, shape, strict=True))
    fake = np.empty((1,) * 8)

    def split(other: str, output: str) -> tuple[str, str, str, str]:
        groups = "".join(each for each in letters if each in other and each in output)
        summed = "".join(each for each in letters if each in other and each not in output)
        rows = "".join(each for each in letters if each not in other)
        positions = "".join(each for each in other if each not in letters)
        return groups, summed, rows, positions

    if node.op_type == "Einsum":
        groups, summed, rows, _ = split(*equation(fake))
    else:
        groups = letters[:-2]
        summed, rows = ("y", "z") if weight_second else ("y", "x")
    sizes = [math.prod(lengths[each] for each in part) for part in (groups, rows, summed)]

    def matrix(w: Numbers) -> Numbers:
        order = [letters.index(each) for each in groups + rows + summed]
        return w.transpose(order).reshape(sizes)

    part = Part(weight, matrix, (), _no_bias, "Linear" if not groups else "Einsum")

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        activations = entering[0]
        other, output = equation(activations)
        missing = "".join(each for each in groups if each not in other)
        if missing:  # MatMul broadcasts the activations over the weights' leading axes
            activations = np.broadcast_to(
                activations.reshape([1] * len(missing) + list(activations.shape)),
                [lengths[each] for each in missing] + list(activations.shape),
            )
            other = missing + other
        if node.op_type == "MatMul":  # likewise along axes of length 1
            wanted = [lengths[each] if each in groups else -1 for each in other]
            shape_now = [
                length if found == 1 and length > 0 else found
                for length, found in zip(wanted, activations.shape, strict=True)
            ]
            activations = np.broadcast_to(activations, shape_now)
        known = dict(zip(other, activations.shape, strict=True))
        if any(known[each] != lengths[each] for each in groups + summed):
            raise InputError(f"{place}: activations {list(activations.shape)} do not fit weights {list(shape)}")
        positions = "".join(each for each in other if each not in letters)
        order = [other.index(each) for each in groups + positions + summed]
        arranged = np.ascontiguousarray(activations.transpose(order))
        vectors = arranged.reshape(sizes[0], -1, sizes[2])
        products = multiply(part, vectors)  # [groups, positions, rows]
        axes = groups + positions + rows
        shaped = products.reshape([{**known, **lengths}[each] for each in axes])
        return (np.asarray(shaped.transpose([axes.index(each) for each in output]), order="C"),)

    return Product((node,), (part,), (node.input[0] if weight_second else node.input[1],), (node.output[0],), 0, run)


def _with_addition(
    product: Product, fixed: FixedValues, users: Mapping[str, Sequence[NodeProto]], outputs: set[str]
) -> Product:
    """Return the product together with the addition of a bias that follows it, if there is one."""
    node, (part, *_) = product.nodes[0], product.parts
    result = product.outputs[0]
    if node.op_type not in ("MatMul", "Gemm", "Einsum") or part.biases or result in outputs:
        return product
    followers = users.get(result, [])
    if len(followers) != 1 or followers[0].op_type != "Add" or part.kind != "Linear":
        return product
    (addition,) = followers
    addend = addition.input[1] if addition.input[0] == result else addition.input[0]
    if addend not in fixed or node.op_type == "Einsum" or (node.op_type == "Gemm" and len(product.entering) > 1):
        return product
    values = attributes(node)
    if node.op_type == "Gemm" and (
        values.get("alpha", 1.0) != 1.0 or len(node.input) > 2 or node.input[1] not in fixed
    ):
        return product
    if node.op_type == "MatMul" and node.input[1] not in fixed:
        return product
    bias = fixed.value(addend)
    weights = fixed.value(part.operand)
    rows = part.matrix(weights).shape[1]
    if weights.ndim < 2 or bias.ndim != 1 or bias.shape[0] not in (1, rows) or bias.dtype != weights.dtype:
        return product
    new_part = replace(part, biases=(addend,), bias=lambda b: np.broadcast_to(b.reshape(1, -1), (1, rows)))

    def run(entering: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        return product.run(entering, lambda _, vectors: multiply(new_part, vectors))

    return Product((node, addition), (new_part,), product.entering, (addition.output[0],), product.batch_axis, run)


def threshold_of(node: NodeProto) -> float | None:
    """Return the threshold of a Shrink that leaves what it keeps as it is; None if it is another operation."""
    values = attributes(node)
    lambd = float(values.get("lambd", 0.5))
    return lambd if lambd >= 0 and values.get("bias", 0.0) == 0.0 else None


def _with_thresholds(
    product: Product, shrinks: Mapping[str, NodeProto], users: Mapping[str, Sequence[NodeProto]], outputs: set[str]
) -> Product:
    """Return the product together with the thresholds of the activations that enter it alone."""
    if product.node.op_type in RECURRENT:  # its states are not what the threshold is for
        return product
    entering = product.entering[0]
    nodes: list[NodeProto] = []
    threshold = 0.0
    while entering in shrinks and len(users[entering]) == 1 and entering not in outputs:
        node = shrinks[entering]
        found = threshold_of(node)
        if found is None:
            break
        nodes.insert(0, node)
        threshold, entering = max(threshold, found), node.input[0]
    if not nodes:
        return product
    return replace(
        product,
        nodes=(*nodes, *product.nodes),
        entering=(entering, *product.entering[1:]),
        activation_threshold=threshold,
    )


# Recurrent layers


def _recurrent(node: NodeProto, fixed: FixedValues, place: str) -> Product | None:
    names = [*node.input, *[""] * (8 - len(node.input))]
    entering, input_weights, hidden_weights, bias, lengths, hidden, cell, peepholes = names
    if input_weights not in fixed and hidden_weights not in fixed:
        return None
    values = attributes(node)
    kind = node.op_type
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    shape = fixed.value(hidden_weights).shape if hidden_weights in fixed else ()
    if input_weights not in fixed or hidden_weights not in fixed or (bias and bias not in fixed):
        raise InputError(f"{place}: weights that depend on the input, which are not handled")
    directions, size = shape[0], shape[2]
    _check_recurrent(values, place, kind, directions, peepholes)
    direction = values.get("direction", "forward")
    after = bool(values.get("linear_before_reset", 0))
    nonlinear = [each.lower() for each in values.get("activations", [])] or ["tanh"] * directions

    def part_of(number: int, operand: str, begin: int, end: int, offset: int) -> Part:
        return Part(
            operand,
            lambda w: w[number : number + 1, begin:end],
            (bias,) if bias else (),
            lambda b: b[number : number + 1, offset + begin : offset + end],
            kind,
        )

    whole = gates * size
    split = kind == "GRU" and not after
    parts: list[tuple[Part, ...]] = []
    for number in range(directions):
        of_direction = [part_of(number, input_weights, 0, whole, 0)]
        if split:
            of_direction += [
                part_of(number, hidden_weights, 0, 2 * size, whole),
                part_of(number, hidden_weights, 2 * size, whole, whole),
            ]
        else:
            of_direction.append(part_of(number, hidden_weights, 0, whole, whole))
        parts.append(tuple(of_direction))
    layout = int(values.get("layout", 0))

    def run(values_in: Sequence[Any], multiply: Multiply) -> tuple[Any, ...]:
        given = dict(zip(order, values_in, strict=True))
        sequence = given[entering]
        if layout:
            sequence = np.swapaxes(sequence, 0, 1)
        steps, inputs = sequence.shape[:2]
        dtype = sequence.dtype
        if lengths:
            found = given.get(lengths)
            found = fixed.value(lengths) if found is None else found
            if not (np.asarray(found) == steps).all():
                raise InputError(
                    f"{place}: sequences of different lengths, which are not handled; give them one by one"
                )

        def initial(name: str) -> Floats:
            if not name:
                return np.zeros((directions, inputs, size), dtype=dtype)
            state = given[name] if name in given else fixed.value(name)
            return np.swapaxes(state, 0, 1) if layout else np.asarray(state)

        first_hidden, first_cell = initial(hidden), initial(cell)
        outputs = np.zeros((steps, directions, inputs, size), dtype=dtype)
        last_hidden, last_cell = [], []
        for number, of_direction in enumerate(parts):
            backwards = direction == "reverse" or number == 1
            ordered = sequence[::-1] if backwards else sequence
            # input by input, so that counts can be told apart
            flat = np.ascontiguousarray(np.swapaxes(ordered, 0, 1)).reshape(1, inputs * steps, -1)
            from_input = multiply(of_direction[0], flat).reshape(inputs, steps, -1)
            state, memory = first_hidden[number].astype(dtype), first_cell[number].astype(np.float64)
            for step in range(steps):
                gate_input = from_input[:, step].astype(np.float64)
                state, memory = _next_state(
                    kind,
                    of_direction,
                    gate_input,
                    state,
                    memory,
                    multiply,
                    split,
                    nonlinear[min(number, len(nonlinear) - 1)],
                )
                outputs[steps - 1 - step if backwards else step, number] = state
            last_hidden.append(state)
            last_cell.append(memory.astype(dtype))
        finals = [np.stack(last_hidden), np.stack(last_cell)]
        if layout:
            outputs = np.ascontiguousarray(outputs.transpose(2, 0, 1, 3))
            finals = [np.swapaxes(each, 0, 1) for each in finals]
        return tuple([outputs, *finals][: len(node.output)])

    order = [name for name in (entering, lengths, hidden, cell) if name and name not in fixed]
    return Product(
        (node,),
        tuple(part for of_direction in parts for part in of_direction),
        tuple(order),
        tuple(node.output),
        0 if layout else 1,
        run,
    )


def _next_state(
    kind: str,
    parts: Sequence[Part],
    from_input: Any,
    state: Floats,
    memory: Any,
    multiply: Multiply,
    split: bool,
    nonlinear: str,
) -> tuple[Floats, Any]:
    """Return the next hidden and cell state [inputs, size]; the gates are evaluated in float64."""
    dtype = state.dtype

    def times(part: Part, vectors: Any) -> Any:
        return multiply(part, np.ascontiguousarray(vectors, dtype=dtype)[np.newaxis])[0].astype(np.float64)

    if kind == "RNN":
        total = from_input + times(parts[1], state)
        return (np.maximum(total, 0) if nonlinear == "relu" else np.tanh(total)).astype(dtype), memory
    if kind == "LSTM":
        i, o, f, c = np.split(from_input + times(parts[1], state), 4, axis=1)
        memory = _sigmoid(f) * memory + _sigmoid(i) * np.tanh(c)
        return (_sigmoid(o) * np.tanh(memory)).astype(dtype), memory
    before = state.astype(np.float64)
    if split:
        z_input, r_input, h_input = np.split(from_input, 3, axis=1)
        z, r = np.split(np.concatenate([z_input, r_input], axis=1) + times(parts[1], state), 2, axis=1)
        z, r = _sigmoid(z), _sigmoid(r)
        h = np.tanh(h_input + times(parts[2], r * before))
    else:
        (z_input, r_input, h_input) = np.split(from_input, 3, axis=1)
        (z_state, r_state, h_state) = np.split(times(parts[1], state), 3, axis=1)
        z, r = _sigmoid(z_input + z_state), _sigmoid(r_input + r_state)
        h = np.tanh(h_input + r * h_state)
    return ((1 - z) * h + z * before).astype(dtype), memory


def _sigmoid(values: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * values))


def _check_recurrent(values: Mapping[str, Any], place: str, kind: str, directions: int, peepholes: str) -> None:
    usual = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}[kind] * directions
    given = [each.lower() for each in values.get("activations", [])]
    if given and given != usual and not (kind == "RNN" and set(given) <= {"relu", "tanh"}):
        raise InputError(f"{place}: activations {', '.join(given)}, which are not handled")
    for name, reason in (("clip", "clipped gates"), ("input_forget", "coupled gates")):
        if values.get(name):
            raise InputError(f"{place}: {reason} ({name}), which are not handled")
    if peepholes:
        raise InputError(f"{place}: peephole weights, which are not handled")


_MAKERS: dict[str, Callable[[NodeProto, FixedValues, str], Product | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
