"""Networks in the form of compressed ones with nothing lost: each distinct weight is a shared weight."""

from __future__ import annotations

import numpy as np

from compress import CompressedModel
from traces import CompressedLayer, InputError, Network
from traces.graph.stored import arrangements

_MOST_BITS = 16  # of a code


def uncompressed(network: Network) -> CompressedModel:
    """Return the compressed model of a network in which all weights keep their values.

    Parameters
    ----------
    network : Network
        Network whose products have weights of at most 65,535 distinct values each, zero aside.

    Raises
    ------
    InputError
        If a weight has more distinct values.
    """
    shapes = {name: values.shape for name, values in network.parameters.items()}
    chosen = arrangements([layer for layer in network.weights.values() if layer is not None], shapes)
    layers = [
        _lossless(name, arrangement.matrix(np.asarray(network.parameters[name], dtype=np.float32)))
        for name, arrangement in chosen.items()
    ]
    return CompressedModel(
        layers,
        [shapes[name] for name in chosen],
        weight_names=[(name,) for name in chosen],
        tensors={name: values for name, values in network.parameters.items() if name not in chosen},
        arrangements=list(chosen.values()),
        graph=network.graph_bytes(),
    )


def _lossless(name: str, matrix: np.ndarray) -> CompressedLayer:
    values = np.unique(matrix[matrix != 0])
    bits = max(1, int(np.ceil(np.log2(len(values) + 1))))
    if bits > _MOST_BITS:
        raise InputError(
            f"weight {name!r} must have at most {2**_MOST_BITS - 1:,} distinct values to be stored without loss; found "
            f"{len(values):,}"
        )
    codebook = np.zeros(2**bits, dtype=np.float32)
    codebook[1 : len(values) + 1] = values
    codes = np.where(matrix == 0, 0, 1 + np.searchsorted(values, matrix)).astype(np.uint8 if bits <= 8 else np.uint16)
    return CompressedLayer(name.removesuffix(".weight"), np.ascontiguousarray(codes), codebook)
