"""Execution of a network for one input: the order in which its products are called, and the feature maps alive at once.

A product needs its inputs until its last vector, so its inputs and outputs are alive together. An operation off the
array writes its outputs over those of its inputs that nothing needs any more, as an addition, a rectifier or pooling in
order can. Reshaping moves nothing. The vectors that a convolution is unrolled into are not stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from traces.arrays import Floats, Numbers
from traces.graph.layers import FlatNetwork, dense, shapes_of
from traces.graph.products import Part, Product

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
_SHAPE_ONLY = ("Shape", "Size")


@dataclass(frozen=True)
class Execution:
    """Order of the products of a network for one input, and its feature maps.

    Attributes
    ----------
    calls : tuple of (str, int)
        Name of the layer, and vectors of each of its groups, of each call in order.
    live_words : int
        Largest number of values that are alive at once.
    fullest_layer : str
        Layer that is called when they are, or last before; the first one if none was.
    """

    calls: tuple[tuple[str, int], ...]
    live_words: int
    fullest_layer: str


def execution(flat: FlatNetwork, feeds: Mapping[str, Numbers]) -> Execution:
    """Run one input, and return the order of its products and its feature maps.

    Parameters
    ----------
    flat : FlatNetwork
        The network, resolved for this input.
    feeds : mapping of str to numpy.ndarray
        One input, bound.

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
    return Execution(tuple(calls), *feature_maps(flat, feeds))


def feature_maps(flat: FlatNetwork, feeds: Mapping[str, Numbers]) -> tuple[int, str]:
    """Return the largest number of values of one input that are alive at once, and the layer that is called then.

    Parameters
    ----------
    flat : FlatNetwork
        The network, resolved for this input.
    feeds : mapping of str to numpy.ndarray
        One input, bound.
    """
    fixed, steps = flat.program.fixed, flat.program.steps
    words = {name: math.prod(shape) for name, shape in shapes_of(flat, feeds).items() if name not in fixed}
    stored_as = {name: name for name in words}  # a view is stored as what it is a view of
    last_use: dict[str, int] = {}
    entering: list[list[str]] = []
    leaving: list[list[str]] = []
    for number, step in enumerate(steps):
        is_product = isinstance(step, Product)
        inputs = [name for name in (step.entering if is_product else step.input) if name in words]
        outputs = [name for name in (step.outputs if is_product else step.output) if name in words]
        if not is_product and step.op_type in _VIEWS and inputs and outputs:
            stored_as[outputs[0]] = stored_as[inputs[0]]
        entering.append([stored_as[name] for name in inputs])
        leaving.append([stored_as[name] for name in outputs])
        only_shape = not is_product and step.op_type in _SHAPE_ONLY
        last_use |= dict.fromkeys([*([] if only_shape else entering[-1]), *leaving[-1]], number)
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


def _layer_of(product: Product, flat: FlatNetwork) -> str:
    return flat.layers[flat.layer_of_part[id(product.parts[0])]].name
