"""Execution of a flat graph: products of weights with activations apart, everything else in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.products import Multiply, Product
from traces.graph.resolve import FixedValues
from traces.graph.runtime import Session


class GuardError(InputError):
    """Another branch or number of iterations than the flat graph was made for."""


@dataclass(eq=False)
class _Segment:
    """Operations between products, which run together."""

    nodes: list[NodeProto]
    inputs: list[str]
    outputs: list[str]
    session: Session | None = None


class Program:
    """Flat graph that is cut at its products, so that these can be computed elsewhere.

    Parameters
    ----------
    model : onnx.ModelProto
        The flat graph, with the values of its parameters.
    fixed : FixedValues
        Its values that no input changes.
    products : sequence of Product
        The products that are computed elsewhere; all other operations run in ONNX Runtime.
    guards : mapping of str to array
        Values that decided how the graph was made flat.

    Attributes
    ----------
    model, fixed, products
        As given.
    """

    def __init__(
        self, model: ModelProto, fixed: FixedValues, products: Sequence[Product], guards: Mapping[str, Numbers]
    ) -> None:
        self.model, self.fixed, self.products, self._guards = model, fixed, list(products), dict(guards)
        self._initialisers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._inputs = [value.name for value in model.graph.input]
        self._outputs = [value.name for value in model.graph.output]
        self._checks: dict[int, Session] = {}
        self._segments, self._by_level = self._cut()

    def run(self, feeds: Mapping[str, Numbers], multiply: Multiply | None, observer: Any = None) -> dict[str, Any]:
        """Run the network and return its outputs by name.

        Parameters
        ----------
        feeds : mapping of str to array
            Inputs by name.
        multiply : callable or None
            Multiplies a part of a product with vectors. None has ONNX Runtime compute the products, too.
        observer : callable, optional
            Takes each product, the values that entered and the values that left and are used.

        Raises
        ------
        GuardError
            If the inputs need another flat graph.
        InputError
            If the inputs do not fit.
        """
        values: dict[str, Any] = {name: feeds[name] for name in self._inputs}
        values |= self.fixed.values(self._constant_outputs)
        last = len(self._segments) - 1
        for level, segment in enumerate(self._segments):
            if segment.outputs:
                if segment.session is None:
                    segment.session = self._session(segment, values)
                values |= segment.session.run({name: values[name] for name in segment.inputs})
            for name, expected in self._guards.items():
                if name in segment.outputs and not np.array_equal(values[name], expected):
                    raise GuardError(
                        f"the network takes another branch on these inputs than on the first ones ({name})"
                    )
            for product in self._by_level[level]:
                entering = [values[name] for name in product.entering]
                named = [name for name in product.outputs if name]
                if multiply is None:
                    leaving = self.framework_outputs(product, entering)
                else:
                    products = product.run(entering, multiply)
                    leaving = [value for value, name in zip(products, product.outputs, strict=True) if name]
                if observer is not None:
                    observer(product, entering, leaving)
                values |= dict(zip(named, leaving, strict=True))
            if level < last:
                for name in self._dead_after[level]:
                    values.pop(name, None)
        return {name: values[name] for name in self._outputs}

    @property
    def steps(self) -> list[NodeProto | Product]:
        """Operations and products in the order of their execution, without operations that no input changes."""
        steps: list[NodeProto | Product] = []
        for segment, products in zip(self._segments, self._by_level, strict=True):
            moving = [node for node in segment.nodes if any(name not in self.fixed for name in node.output if name)]
            steps += [*moving, *products]
        return steps

    def framework_outputs(self, product: Product, entering: Sequence[Any]) -> list[Any]:
        """Return what ONNX Runtime computes for one product from the same values."""
        number = id(product)
        if number not in self._checks:
            self._checks[number] = self._alone(product, entering)
        session = self._checks[number]
        results = session.run(dict(zip(product.entering, entering, strict=True)))
        return [results[name] for name in product.outputs if name]

    def _alone(self, product: Product, entering: Sequence[Any]) -> Session:
        constants = {name for node in product.nodes for name in node.input if name and name in self.fixed}
        given = dict(zip(product.entering, entering, strict=True))
        inputs = [_value_info(name, value) for name, value in given.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in product.outputs if name]
        graph = helper.make_graph(list(product.nodes), "product", inputs, outputs)
        for name, value in self.fixed.values(sorted(constants)).items():
            tensor = self._initialisers.get(name)
            graph.initializer.append(tensor if tensor is not None else numpy_helper.from_array(value, name))
        return Session(self._wrapped(graph))

    def _wrapped(self, graph: onnx.GraphProto) -> ModelProto:
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        model.ir_version = self.model.ir_version
        return model

    def _cut(self) -> tuple[list[_Segment], list[list[Product]]]:
        """Return the operations by how many products come before them, and the products that follow each level."""
        of_node = {id(node): product for product in self.products for node in product.nodes}
        levels: dict[str, int] = dict.fromkeys(self._inputs, 0)
        levels |= dict.fromkeys(self.fixed.names, 0)
        by_level: list[list[Product]] = [[]]
        nodes_by_level: list[list[NodeProto]] = [[]]

        def level_of(names: Collection[str]) -> int:
            return max((levels[name] for name in names if name), default=0)

        for node in self.model.graph.node:
            product = of_node.get(id(node))
            if product is not None:
                if node is not product.node:
                    continue
                if not all(name in levels for name in product.entering if name):
                    raise InputError(f"{product.name}: the graph must be in the order of its execution")
                level = level_of(product.entering)
                while len(by_level) <= level + 1:
                    by_level.append([])
                    nodes_by_level.append([])
                by_level[level].append(product)
                levels |= {name: level + 1 for name in product.outputs if name}
            else:
                level = level_of(node.input)
                nodes_by_level[level].append(node)
                levels |= {name: max(level, levels.get(name, 0)) for name in node.output if name}
        wanted = set(self._outputs) | set(self._guards)
        wanted |= {name for product in self.products for name in product.entering if name}
        segments = self._pruned(nodes_by_level, wanted)
        self._constant_outputs = sorted(name for name in wanted if name in self.fixed)
        self._dead_after = self._last_uses(segments, by_level)
        return segments, by_level

    def _pruned(self, nodes_by_level: list[list[NodeProto]], wanted: set[str]) -> list[_Segment]:
        """Return the segments, without operations that nothing needs; constants are in each segment that uses them."""
        producer: dict[str, tuple[int, int]] = {}  # level of the operation that makes a value, and its place in all
        nodes = [node for of_level in nodes_by_level for node in of_level]
        place = 0
        for level, of_level in enumerate(nodes_by_level):
            for node in of_level:
                producer |= {name: (level, place) for name in node.output if name}
                place += 1
        crossing: dict[int, set[str]] = {}  # values that leave each level
        for name in wanted:
            if name in producer and name not in self.fixed:
                crossing.setdefault(producer[name][0], set()).add(name)
        segments = []
        for level in reversed(range(len(nodes_by_level))):
            kept, inputs = set(), set()
            outputs = crossing.get(level, set())
            waiting, seen = list(outputs), set()
            while waiting:
                name = waiting.pop()
                if name in seen or not name:
                    continue
                seen.add(name)
                if name in producer and (producer[name][0] == level or name in self.fixed):
                    kept.add(producer[name][1])
                    waiting += list(nodes[producer[name][1]].input)
                elif name not in self._initialisers:
                    inputs.add(name)
            for name in inputs:
                if name in producer:
                    crossing.setdefault(producer[name][0], set()).add(name)
            segments.append(_Segment([nodes[each] for each in sorted(kept)], sorted(inputs), sorted(outputs)))
        return segments[::-1]

    def _last_uses(self, segments: Sequence[_Segment], by_level: Sequence[Sequence[Product]]) -> list[list[str]]:
        last: dict[str, int] = {}
        for level, (segment, products) in enumerate(zip(segments, by_level, strict=True)):
            for name in [*segment.inputs, *(name for product in products for name in product.entering)]:
                last[name] = level
        dead: list[list[str]] = [[] for _ in segments]
        for name, level in last.items():
            if name not in self._outputs:
                dead[level].append(name)
        return dead

    def _session(self, segment: _Segment, values: Mapping[str, Any]) -> Session:
        inputs = [_value_info(name, values[name]) for name in segment.inputs]
        outputs = [onnx.ValueInfoProto(name=name) for name in segment.outputs]
        graph = helper.make_graph(segment.nodes, "segment", inputs, outputs)
        used = {name for node in segment.nodes for name in node.input}
        graph.initializer.extend(self._initialisers[name] for name in sorted(used & self._initialisers.keys()))
        return Session(self._wrapped(graph))


def _value_info(name: str, value: Any) -> onnx.ValueInfoProto:
    if not isinstance(value, np.ndarray):
        raise InputError(f"value {name!r} of the network must be an array; found {type(value).__name__}")
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
