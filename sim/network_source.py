"""Networks that simulations take: compressed ones with their graph, container files, and lists of layers."""

from __future__ import annotations

import os
from typing import Any

from sim.packing import PackedLayer
from traces import CompressedLayer, CompressedNetwork, InputError


def compressed_network(network: Any) -> tuple[CompressedNetwork, dict[str, list[PackedLayer]]]:
    """Return anything that `simulate_network` takes as a compressed network, and the layers of it that are packed.

    Raises
    ------
    InputError
        If it is no compressed network, or a container without a graph.
    """
    if isinstance(network, str | os.PathLike):
        from compress import CompressedModel

        network = CompressedModel.load(network)
    if isinstance(network, CompressedNetwork):
        return network, {}
    if hasattr(network, "stored_layers"):
        return CompressedNetwork(network.network, network.stored_layers), {}
    try:
        layers = list(network)
    except TypeError:
        raise InputError(
            f"network must be a CompressedModel, the path of a container, or a list of layers; found "
            f"{type(network).__name__}; compress a module or an ONNX file first"
        ) from None
    others = [layer for layer in layers if not isinstance(layer, CompressedLayer | PackedLayer)]
    if others:
        raise InputError(
            f"network must be a list of CompressedLayers or PackedLayers; found {type(others[0]).__name__}"
        )
    plain = [layer.layer if isinstance(layer, PackedLayer) else layer for layer in layers]
    packed = {layer.layer.name: [layer] for layer in layers if isinstance(layer, PackedLayer)}
    return CompressedNetwork.of_layers(plain), packed
