"""Parameters of a network whose graph is known, with the part that each one plays in a product."""

from __future__ import annotations

import os
from collections.abc import Mapping

from compress.weight_files.parameters import NamedParameters, Role
from traces import Network
from traces.arrangement import Arrangement
from traces.graph.description import COMPUTED
from traces.graph.stored import arrangements

#: Parameters that are multiplied or looked up, by name, each with its kind and arrangement.
Products = Mapping[str, tuple[str, Arrangement]]


def read_onnx(path: str | os.PathLike[str]) -> NamedParameters:
    """Return the parameters of an ONNX file, values in external files included.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    InputError
        If onnx is not installed, the file or an external file of values is missing or damaged, or a product is not
        handled.
    """
    return named_parameters(Network.open(path))


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
    joined = {**state, **{name: array for name, array in network.parameters.items() if name not in state}}
    return NamedParameters(joined, state.left_out, state.notes, roles, sorted(state.buffers))


def computed_weights(network: Network) -> list[str]:
    """Return the weights that a module computes in its forward pass, so that its state does not hold them."""
    return [name for name in network.weights if name.startswith(COMPUTED)]
