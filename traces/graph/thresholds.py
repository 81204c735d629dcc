"""Activation thresholds in a graph: a Shrink before each product of a weight that has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper

from traces.errors import InputError
from traces.graph.description import RECURRENT
from traces.graph.layers import static_layers
from traces.graph.products import threshold_of
from traces.graph.resolve import DRAWN
from traces.graph.surgery import collect_names, opset, subgraphs, unique_name

if TYPE_CHECKING:
    from traces.graph.network import Network

_FIRST_OPSET = 9  # with Shrink
_PRODUCTS = ("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul")
_Parameters = frozenset[str]


def with_thresholds(network: Network, thresholds: Mapping[str, float]) -> Network:
    """Return the network with a Shrink before each product of these weights; see `Network.with_thresholds`."""
    given = {name: float(np.float32(value)) for name, value in thresholds.items()}
    wanted = {name: value for name, value in given.items() if value and name in network.parameters}
    if not wanted:
        return network
    version = opset(network.graph)
    if version < _FIRST_OPSET:
        raise InputError(
            f"{network.name}: activation_threshold needs a graph of opset {_FIRST_OPSET} or later; found {version}; "
            f"convert it with onnx.version_converter"
        )
    graph = ModelProto()
    graph.CopyFrom(network.graph)
    scope = {name: frozenset([name] if name in wanted else []) for name in network.parameters}
    taken = set(network.parameters)
    collect_names(graph.graph, taken)
    _Inserter(network.name, wanted, taken, _uses(graph.graph)).visit(graph.graph, scope)
    changed = type(network)(network.name, graph, network.parameters)
    changed.kept["origins"] = network.kept.setdefault("origins", {})
    layers, lookups = static_layers(changed)
    for layer in layers:
        if layer.activation_threshold < wanted.get(layer.weight, 0.0):
            reason = "a recurrent layer has two inputs, its sequence and its state" if layer.kind in RECURRENT else ""
            raise _refused(network.name, layer.weight, reason or f"found a product ({layer.kind}) that takes none")
    unused = sorted(wanted.keys() - {layer.weight for layer in layers} - lookups.keys())
    if unused:
        raise _refused(network.name, unused[0], "found none")
    return changed


def _uses(graph: GraphProto) -> Counter[str]:
    """Return how often nodes and outputs of a graph and of the graphs inside it use each value."""
    uses = Counter([*(value.name for value in graph.output), *(name for node in graph.node for name in node.input)])
    return sum((_uses(body) for node in graph.node for body in subgraphs(node)), uses)


def _refused(network: str, weight: str, reason: str) -> InputError:
    return InputError(
        f"{network}: activation_threshold of {weight!r} must be that of products with activations; {reason}; leave it "
        f"out"
    )


class _Inserter:
    """Insertion of thresholds into a graph and the graphs inside it.

    Parameters
    ----------
    network : str
        Name of the network in errors.
    thresholds : mapping of str to float
        Threshold by the name of the weight.
    taken : set of str
        Names of all values.
    uses : Counter of str
        Uses of each value.
    """

    def __init__(self, network: str, thresholds: Mapping[str, float], taken: set[str], uses: Counter[str]) -> None:
        self._network, self._thresholds, self._taken, self._uses = network, thresholds, taken, uses

    def visit(self, graph: GraphProto, outer: Mapping[str, _Parameters]) -> None:
        """Insert thresholds; `outer` has, for each fixed value, the weights with thresholds that it is made of."""
        scope = dict(outer) | {tensor.name: frozenset[str]() for tensor in graph.initializer}
        shrinks: dict[str, float] = {}
        nodes: list[NodeProto] = []
        for node in graph.node:
            names = [name for name in node.input if name]
            inner = list(subgraphs(node))
            fixed = all(name in scope for name in names) and node.op_type not in DRAWN and not inner
            if fixed:
                behind = frozenset[str]().union(*(scope[name] for name in names))
                scope |= dict.fromkeys(node.output, behind)
            for body in inner:
                self._check_passed([*names, *(value.name for value in body.output)], scope)
                self.visit(body, scope)
            if node.op_type == "Shrink" and (threshold := threshold_of(node)) is not None:
                shrinks |= dict.fromkeys(node.output, threshold)
            if node.op_type in _PRODUCTS and not fixed and len(names) >= 2:
                nodes += self._before(node, scope, shrinks)
            nodes.append(node)
        copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)

    def _check_passed(self, names: list[str], scope: Mapping[str, _Parameters]) -> None:
        """Raise InputError if a weight with a threshold is an input or output of a branch or a loop."""
        passed = sorted(frozenset[str]().union(*(scope.get(name, frozenset()) for name in names)))
        if passed:
            raise _refused(self._network, passed[0], "found it as an input or output of If, Loop or Scan")

    def _before(
        self, node: NodeProto, scope: Mapping[str, _Parameters], shrinks: Mapping[str, float]
    ) -> list[NodeProto]:
        """Return the threshold before a product, which it then takes; none if it has one as large to itself."""
        weight = 1 if node.input[1] in scope else 0
        thresholds = [self._thresholds[name] for name in scope.get(node.input[weight], ())]
        entering = node.input[1 - weight]
        own = shrinks.get(entering, 0.0) if self._uses[entering] == 1 else 0.0
        if not thresholds or own >= max(thresholds):
            return []
        output = unique_name(f"{node.output[0]}/kept", self._taken)
        self._taken.add(output)
        node.input[1 - weight] = output
        name = f"{node.name or node.output[0]}/threshold"
        return [helper.make_node("Shrink", [entering], [output], name=name, lambd=max(thresholds), bias=0.0)]
