"""Execution of a network for one input: the order in which its products are called, and the feature maps alive at once.

A product needs its inputs until its last vector, so its inputs and outputs are alive together. An operation off the
array writes its outputs over those of its inputs that nothing needs any more, as an addition, a rectifier or pooling in
order can. Reshaping moves nothing. The vectors that a convolution is unrolled into are not stored. A state, such as
keys and values of earlier tokens, and what operations only move from it, is in DRAM and no feature map.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from onnx import NodeProto

from traces.arrays import Floats, Numbers
from traces.graph.description import Execution
from traces.graph.layers import FlatNetwork, dense, shapes_of
from traces.graph.products import Part, Product

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
_SHAPE_ONLY = ("Shape", "Size")
_MOVES = (
    *_VIEWS,
    *("Slice", "Split", "Gather", "GatherElements", "GatherND", "Concat", "Transpose", "Expand", "Tile", "Pad"),
    *("Cast", "Where", "Scatter", "ScatterElements", "ScatterND"),
)


def execution(flat: FlatNetwork, feeds: Mapping[str, Numbers], state: Collection[str] = ()) -> Execution:
    """Run one input, and return the order of its products and its feature maps.

    Parameters
    ----------
    flat : FlatNetwork
        The network, resolved for this input.
    feeds : mapping of str to numpy.ndarray
        One input, bound.
    state : collection of str, optional
        Inputs that are earlier outputs.

    Returns
    -------
    Execution
        Calls and feature maps.
    """
    calls: list[tuple[str, int]] = []
    multiply = dense(flat)

    def noting(part: Part, vectors: Floats) -> Floats:
        calls.append((flat.layers[flat.layer_of_part[id(part)]].name, vectors.shape[1]))
        return multiply(part, vectors)

    flat.program.run(feeds, noting)
    return Execution(tuple(calls), *feature_maps(flat, feeds, state))


def feature_maps(flat: FlatNetwork, feeds: Mapping[str, Numbers], state: Collection[str] = ()) -> tuple[int, str]:
    """Return the largest number of values of one input that are alive at once, and the layer that is called then.

    Parameters
    ----------
    flat : FlatNetwork
        The network, resolved for this input.
    feeds : mapping of str to numpy.ndarray
        One input, bound.
    state : collection of str, optional
        Inputs that are earlier outputs.
    """
    fixed, steps = flat.program.fixed, flat.program.steps
    in_dram = _moved(flat, state)
    words = {name: math.prod(shape) for name, shape in shapes_of(flat, feeds).items() if name not in fixed}
    words = {name: count for name, count in words.items() if name not in in_dram}
    stored_as = {name: name for name in words}  # a view is stored as what it is a view of
    last_use: dict[str, int] = {}
    leaving: list[list[str]] = []
    for number, step in enumerate(steps):
        kind = "" if isinstance(step, Product) else step.op_type
        inputs, outputs = _inputs_and_outputs(step, words)
        if kind in _VIEWS and inputs and outputs:
            stored_as[outputs[0]] = stored_as[inputs[0]]
        leaving.append([stored_as[name] for name in outputs])
        needed = [] if kind in _SHAPE_ONLY else [stored_as[name] for name in inputs]
        last_use |= dict.fromkeys([*needed, *leaving[-1]], number)
    last_use |= {stored_as[value.name]: len(steps) for value in flat.program.model.graph.output if value.name in words}
    alive = {name for name in feeds if name in last_use}
    products = [step for step in steps if isinstance(step, Product)]
    layer = _layer_of(products[0], flat) if products else ""
    largest = sum(words[name] for name in alive), layer
    for number, (step, outputs) in enumerate(zip(steps, leaving, strict=True)):
        after = {name for name in alive | set(outputs) if last_use[name] > number}
        if isinstance(step, Product):
            layer = _layer_of(step, flat)
            after_or_during = alive | set(outputs)
        else:
            after_or_during = after
        largest = max(largest, (sum(words[name] for name in after_or_during), layer), key=lambda each: each[0])
        alive = after
    return largest


def _moved(flat: FlatNetwork, state: Collection[str]) -> set[str]:
    """Return the state, and the values that operations only move from it."""
    moved = set(state)
    for step in flat.program.steps if state else ():
        if not isinstance(step, Product) and step.op_type in _MOVES and moved & set(step.input):
            moved |= {name for name in step.output if name}
    return moved


def _inputs_and_outputs(step: NodeProto | Product, words: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Return the values that enter and leave an operation or a product, of those that an input changes."""
    names = (step.entering, step.outputs) if isinstance(step, Product) else (step.input, step.output)
    inputs, outputs = ([name for name in of_side if name in words] for of_side in names)
    return inputs, outputs


def _layer_of(product: Product, flat: FlatNetwork) -> str:
    return flat.layers[flat.layer_of_part[id(product.parts[0])]].name
