"""Intakes of networks: ONNX files, and functions that give a module."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto

from traces.arrays import Numbers
from traces.errors import InputError
from traces.function_names import named_function, network_and_inputs
from traces.graph.description import COMPUTED
from traces.graph.onnx_file import read_graph
from traces.graph.products import find_products
from traces.graph.resolve import FixedValues, KnownOrigins
from traces.graph.runtime import graph_faults
from traces.graph.surgery import ELSEWHERE, WHOLE, restored, subgraphs, take_parameters, without_functions

if TYPE_CHECKING:
    from traces.graph.network import Network


def open_network(
    cls: type[Network], source: Any, inputs: Any, lengths: Mapping[str, Mapping[int, str]] | None = None
) -> Network:
    """Open a network: see `Network.open`."""
    if isinstance(source, cls):
        _check_no_lengths(source.name, lengths)
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix.lower() == ".onnx" or path.is_file():
            _check_no_lengths(str(path), lengths)
            return _of_model(cls, str(path), read_graph(path), inputs)
        if ":" not in str(source):
            raise InputError(
                f"{source}: a network must be an ONNX file, package.module:function, or a torch.nn.Module; there is no "
                f"such file"
            )
        module, given = network_and_inputs(named_function(str(source))())
        return _of_module(cls, str(source), module, given if inputs is None else inputs, lengths)
    if isinstance(source, ModelProto):
        _check_no_lengths(source.graph.name or "network", lengths)
        copy = ModelProto()
        copy.CopyFrom(source)
        return _of_model(cls, source.graph.name or "network", copy, inputs)
    return _of_module(cls, type(source).__name__, source, inputs, lengths)


def _check_no_lengths(name: str, lengths: object) -> None:
    if lengths is not None:
        raise InputError(f"{name}: lengths are those of a module, which is traced; a graph has its own; leave them out")


def _of_module(
    cls: type[Network], name: str, module: Any, inputs: Any, lengths: Mapping[str, Mapping[int, str]] | None
) -> Network:
    from traces.graph.module_intake import exported, multiplied_elsewhere

    model, named, example = exported(name, module, inputs, lengths)
    scopes = _scopes(model.graph)
    network = _of_model(cls, name, model, example, named)
    elsewhere = multiplied_elsewhere(network, module, scopes)
    if elsewhere:
        network.graph.metadata_props.add(key=ELSEWHERE, value=json.dumps(elsewhere, separators=(",", ":")))
    network.module = module
    network.tracing = None if lengths is None else (inputs, lengths)
    return network


def _of_model(
    cls: type[Network], name: str, model: ModelProto, inputs: Any, named: frozenset[str] | None = None
) -> Network:
    try:
        if model.functions:
            model = without_functions(model)
        for output in model.graph.output:
            kind = output.type.WhichOneof("value")
            if kind not in (None, "tensor_type"):
                raise InputError(f"output {output.name!r} must be a tensor; found {kind}")
        origins: KnownOrigins = {}
        with graph_faults(name):
            scopes = _scopes(model.graph)
            parameters = take_parameters(model, named)
            _replace_computed(model, parameters, scopes, named is not None, origins)
        network = cls(name, model, parameters, None, inputs)
        network.kept["origins"] = origins
        return network if named is not None or inputs is None else _with_inputs_apart(network, inputs)
    except InputError as error:
        raise error if str(error).startswith(name) else InputError(f"{name}: {error}") from None


def _with_inputs_apart(network: Network, inputs: Any) -> Network:
    """Return the network, as one that takes all inputs as one if they depend on each other."""
    from traces.graph.layers import check_independent

    feeds = network.bind(inputs)
    if network.num_inputs(feeds) == 1:
        feeds = {
            entry.name: feeds[entry.name]
            if entry.batch_axis is None or entry.fixed_batch
            else np.concatenate([feeds[entry.name]] * 2, axis=entry.batch_axis)
            for entry in network.inputs
        }
    try:
        check_independent(network, feeds)
    except InputError:
        network.graph.metadata_props.add(key=WHOLE, value="1")
        whole = type(network)(network.name, network.graph, network.parameters, None, inputs)
        whole.kept["origins"] = network.kept["origins"]
        return whole
    return network


def _scopes(graph: GraphProto) -> dict[str, str]:
    """Return the module that each value was computed in, where the exporter says so."""
    scopes: dict[str, str] = {}
    for node in graph.node:
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                names = [part.strip(" '\"") for part in entry.value.strip("[]").split(",")]
                if len(names) > 1:
                    scopes |= dict.fromkeys(node.output, names[-2])
    return scopes


def _replace_computed(
    model: ModelProto, parameters: dict[str, Numbers], scopes: dict[str, str], from_module: bool, known: KnownOrigins
) -> None:
    """Make parameters of weights that are none: those that are computed or joined from parameters, and constants.

    Those of a module are named `COMPUTED` and the name of their module, since its state holds none of that name. Only
    the graph itself is looked at; weights that are computed inside of If, Loop and Scan are refused later.
    """
    flat = restored(model, parameters)
    plain = [node for node in flat.graph.node if next(subgraphs(node), None) is None]
    copies = [_copy(node) for node in plain]
    del flat.graph.node[:]
    flat.graph.node.extend(copies)
    fixed = FixedValues(flat, parameters.keys(), known)
    parts = [(product, part) for product in find_products(flat, fixed) for part in product.parts]
    origins = fixed.origins([part.operand for _, part in parts])
    replaced: dict[str, str] = {}
    for product, part in parts:
        origin = origins[part.operand]
        if part.operand in replaced or (origin is not None and len(origin.sources(part.matrix)) == 1):
            continue
        scope = scopes.get(product.outputs[0], "")
        base = f"{scope}.weight" if scope else f"{product.name}.weight"
        base = f"{COMPUTED}{base}" if from_module else base
        name, number = base, 1
        while name in parameters or name in fixed:
            number += 1
            name = f"{base}_{number}"
        parameters[name] = fixed.value(part.operand)
        replaced[part.operand] = name
    if replaced:
        for node in model.graph.node:
            for place, used in enumerate(node.input):
                node.input[place] = replaced.get(used, used)
        _remove_unused(model, parameters)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _remove_unused(model: ModelProto, parameters: dict[str, Numbers]) -> None:
    """Remove nodes and parameters that no output depends on any more."""
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed |= set(node.input)
            for inner in subgraphs(node):
                needed |= _all_inputs(inner)
    copies = [_copy(node) for node in kept[::-1]]
    initialisers = [tensor for tensor in model.graph.initializer if tensor.name not in needed]
    for tensor in initialisers:
        model.graph.initializer.remove(tensor)
    del model.graph.node[:]
    model.graph.node.extend(copies)
    for name in [name for name in parameters if name not in needed]:
        del parameters[name]


def _all_inputs(graph: GraphProto) -> set[str]:
    names = {value.name for value in graph.output}
    for node in graph.node:
        names |= set(node.input)
        for inner in subgraphs(node):
            names |= _all_inputs(inner)
    return names
