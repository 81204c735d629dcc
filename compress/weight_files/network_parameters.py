"""Parameters of a network whose graph is known, with the part that each one plays in a product."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from compress.weight_files.parameters import NamedParameters, Role
from traces import Network
from traces.arrangement import Arrangement
from traces.graph.description import COMPUTED, NetworkLayer
from traces.graph.stored import arrangements

#: Parameters that are multiplied or looked up, by name, each with its kind and arrangement.
Products = Mapping[str, tuple[str, Arrangement, int]]


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
    """Return the parameters of a network that are multiplied or looked up, each with kind, arrangement and groups."""
    weights = network.weights
    layers = [layer for layer in weights.values() if layer is not None]
    arranged = arrangements(layers, {name: network.parameters[name].shape for name in weights})
    products = {}
    for name, layer in weights.items():
        default = Arrangement.identity(network.parameters[name].shape)
        arrangement = arranged.get(name, default)
        groups = 1 if layer is None else _groups(layer, arrangement)
        products[name] = ("Embedding" if layer is None else layer.kind, arrangement, groups)
    return products


def _groups(layer: NetworkLayer, arrangement: Arrangement) -> int:
    """Return the groups of a layer; 1 if the arrangement does not have the rows of one group after the other's."""
    size = arrangement.rows * arrangement.columns
    if layer.groups == 1 or arrangement.rows % layer.groups or layer.places.size != size:
        return 1
    matrix = arrangement.matrix(np.arange(layer.places.size)).reshape(layer.groups, -1)
    return layer.groups if (np.sort(matrix) == np.sort(layer.places.reshape(layer.groups, -1))).all() else 1


def named_parameters(network: Network) -> NamedParameters:
    """Return the parameters of a network, with the role of each weight.

    Those of a module are all parameters and buffers of its state, unless it computes weights, which no state holds.
    """
    roles = {}
    for name, (kind, arrangement, groups) in network_products(network).items():
        layer = network.weights[name]
        bias = None
        if layer is not None and layer.bias is not None and layer.bias_places is not None:
            values = network.parameters[layer.bias]
            one_for_each = values.shape == (arrangement.rows,) and layer.bias_places.size == arrangement.rows
            bias = layer.bias if one_for_each and (layer.bias_places.ravel() == range(arrangement.rows)).all() else None
        roles[name] = Role(arrangement, bias, kind, groups)
    if network.module is None or computed_weights(network):
        return NamedParameters(network.parameters, roles=roles)
    from compress.weight_files.checkpoint import state_of

    state = state_of(network.module)
    joined = {**state, **{name: array for name, array in network.parameters.items() if name not in state}}
    return NamedParameters(joined, state.left_out, state.notes, roles, sorted(state.buffers))


def computed_weights(network: Network) -> list[str]:
    """Return the weights that a module computes in its forward pass, so that its state does not hold them."""
    return [name for name in network.weights if name.startswith(COMPUTED)]
