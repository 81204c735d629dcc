"""Networks of any source, as compression takes them: their weights by name, or a PyTorch module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compress.container.model import CompressedModel
from compress.weight_files.parameters import NamedParameters, Role
from traces import InputError, Network
from traces.arrangement import Arrangement
from traces.graph.description import COMPUTED
from traces.graph.stored import arrangements

if TYPE_CHECKING:
    import torch

Products = Mapping[str, tuple[str, Arrangement]]


def is_module(network: Any) -> bool:
    """Return True if this is a torch.nn.Module; PyTorch is not imported for the answer."""
    return any(
        f"{kind.__module__}.{kind.__name__}" == "torch.nn.modules.module.Module" for kind in type(network).__mro__
    )


def open_network(network: Any, inputs: Any = None, weights: str | os.PathLike[str] | None = None) -> Network:
    """Open a network, whichever source it has.

    Parameters
    ----------
    network : torch.nn.Module, Network, path or str
        A module; an opened network; an ONNX file; or package.module:function, which gives a module, or a module and
        inputs.
    inputs : array, tuple of arrays, dict of arrays, or Inputs
        Example inputs, which a module needs.
    weights : path, optional
        File of parameters to load into the module that a function gives.

    Returns
    -------
    Network
        The network. Its module, if there is one, is an independent copy with plain parameters.

    Raises
    ------
    InputError
        If the network cannot be read or traced, or has a product that is not handled.
    """
    inputs = getattr(inputs, "given", inputs)
    if isinstance(network, Network):
        return network
    if not is_module(network) and ":" in str(network) and not os.path.exists(network):
        from compress.network_source import build_network

        name = str(network)
        network, given = build_network(name, weights)
        return _of_module(network, given if inputs is None else inputs, name)
    if weights is not None:
        raise InputError(f"{network}: weights are loaded into the module of a function; this network has its own")
    if is_module(network):
        return _of_module(network, inputs, type(network).__name__)
    return Network.open(network, inputs)


def _of_module(module: torch.nn.Module, inputs: Any, name: str) -> Network:
    from compress.modules import plain_module

    network = Network.open(plain_module(module), inputs)
    network.name = name
    return network


def network_products(network: Network) -> Products:
    """Return the parameters of a network that are multiplied or looked up, each with its kind and arrangement."""
    weights = network.weights
    layers = [layer for layer in weights.values() if layer is not None]
    arranged = arrangements(layers, {name: network.parameters[name].shape for name in weights})
    products = {}
    for name, layer in weights.items():
        default = Arrangement.identity(network.parameters[name].shape)
        products[name] = ("Embedding" if layer is None else layer.kind, arranged.get(name, default))
    return products


def named_parameters(network: Network) -> NamedParameters:
    """Return the parameters of a network, with the role of each weight.

    Those of a module are all parameters and buffers of its state, unless it computes weights, which no state holds.
    """
    roles = {}
    for name, (kind, arrangement) in network_products(network).items():
        layer = network.weights[name]
        bias = None
        if layer is not None and layer.bias is not None and layer.bias_places is not None:
            values = network.parameters[layer.bias]
            one_for_each = values.shape == (arrangement.rows,) and layer.bias_places.size == arrangement.rows
            bias = layer.bias if one_for_each and (layer.bias_places.ravel() == range(arrangement.rows)).all() else None
        roles[name] = Role(arrangement, bias, kind)
    if network.module is None or computed_weights(network):
        return NamedParameters(network.parameters, roles=roles)
    from compress.weight_files.checkpoint import state_of

    state = state_of(network.module)
    values = {**state, **{name: array for name, array in network.parameters.items() if name not in state}}
    return NamedParameters(values, state.left_out, state.notes, roles, sorted(state.buffers))


def computed_weights(network: Network) -> list[str]:
    """Return the weights that a module computes in its forward pass, so that its state does not hold them."""
    return [name for name in network.weights if name.startswith(COMPUTED)]


def with_graph(model: CompressedModel, network: Network) -> CompressedModel:
    """Return a model with the graph of its network. Raises InputError if it lacks a parameter of the graph."""
    held = {*model.decoded_parameters(), *model.tensors}
    missing = [name for name in network.parameters if name not in held]
    if missing:
        raise InputError(
            f"{network.name}: the model must hold the parameters of the graph; it lacks {', '.join(missing)}"
        )
    return model.with_graph(network.graph_bytes())
