"""Intakes of networks: ONNX files, and functions that give a module."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, ModelProto, helper

from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.products import find_products
from traces.graph.resolve import FixedValues
from traces.graph.runtime import read_graph
from traces.graph.surgery import restored, subgraphs, take_parameters

if TYPE_CHECKING:
    from traces.graph.network import Network


def named_function(name: str) -> Callable[..., Any]:
    """Return the function named `package.module:function`. Raises InputError if it cannot be called."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} must be package.module:function, like my_network:build")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"{name}: the module cannot be imported: {error}; run this where Python finds it") from error
    except AttributeError:
        raise InputError(f"{name}: the module has no {attribute}") from None
    if not callable(function):
        raise InputError(f"{name} must be a function or a class; found {type(function).__name__}")
    return function


def open_network(cls: type[Network], source: Any, inputs: Any) -> Network:
    """Open a network: see `Network.open`."""
    if isinstance(source, cls):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix.lower() == ".onnx" or path.is_file():
            return _of_model(cls, str(path), read_graph(path), inputs)
        if ":" not in str(source):
            raise InputError(
                f"{source}: a network must be an ONNX file, package.module:function, or a torch.nn.Module; there is no "
                f"such file"
            )
        built = named_function(str(source))()
        module, given = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
        return _of_module(cls, str(source), module, given if inputs is None else inputs)
    if isinstance(source, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(source)
        return _of_model(cls, source.graph.name or "network", copy, inputs)
    return _of_module(cls, type(source).__name__, source, inputs)


def _of_module(cls: type[Network], name: str, module: Any, inputs: Any) -> Network:
    from traces.graph.module_intake import exported

    model, named, example = exported(name, module, inputs)
    network = _of_model(cls, name, model, example, named)
    network.module = module
    return network


def _of_model(
    cls: type[Network], name: str, model: ModelProto, inputs: Any, named: frozenset[str] = frozenset()
) -> Network:
    try:
        scopes = _scopes(model.graph)
        parameters = take_parameters(model, named)
        _replace_computed(model, parameters, scopes)
        return cls(name, model, parameters, None, inputs)
    except InputError as error:
        raise error if str(error).startswith(name) else InputError(f"{name}: {error}") from None


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


def _replace_computed(model: ModelProto, parameters: dict[str, Numbers], scopes: dict[str, str]) -> None:
    """Make parameters of the weights that are computed from parameters, such as normalised ones.

    Only the graph itself is looked at; weights that are computed inside of If, Loop and Scan are refused later.
    """
    whole = restored(model, parameters)
    flat = ModelProto()
    flat.CopyFrom(whole)
    plain = [node for node in whole.graph.node if next(subgraphs(node), None) is None]
    del flat.graph.node[:]
    flat.graph.node.extend(plain)
    fixed = FixedValues(flat, parameters.keys())
    products = find_products(flat, fixed)
    operands = {part.operand: (product, part) for product in products for part in product.parts}
    origins = fixed.origins(list(operands))
    changed = False
    for operand, (product, part) in operands.items():
        origin = origins[operand]
        joined = origin is not None and any(
            len(np.unique(each.matrix(origin.numbers))) > 1
            for other in products
            for each in other.parts
            if each.operand == operand
        )
        if origin is not None and not joined:
            continue
        value = fixed.value(operand)
        if operand in {tensor.name for tensor in model.graph.initializer}:
            continue
        scope = scopes.get(product.outputs[0], "")
        base = f"{scope}.weight" if scope else f"{product.name}.weight"
        name, number = base, 1
        taken = set(parameters) | fixed.names
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        parameters[name] = value
        for node in model.graph.node:
            for place, used in enumerate(node.input):
                if used == operand:
                    node.input[place] = name
        changed = True
        del part
    if changed:
        _remove_unused(model, parameters)


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
    nodes = kept[::-1]
    copies = []
    for node in nodes:
        copy = helper.make_node("Identity", [], [])
        copy.CopyFrom(node)
        copies.append(copy)
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
