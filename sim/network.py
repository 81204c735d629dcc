"""A network on the array: layer after layer, a rectifier in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sim.array import simulate
from sim.config import ArrayConfig
from sim.packing import PackedLayer
from sim.result import SimulationResult
from traces import CompressedLayer, InputError


def simulate_network(
    layers: Sequence[CompressedLayer | PackedLayer],
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
) -> list[SimulationResult]:
    """Run fully connected layers one after the other; each takes the last one's output, rectified (ReLU).

    activations  float32 [columns of the first layer]. The last layer's output is not rectified.

    Raises InputError if a layer does not take as many activations as the one before puts out.
    """
    results: list[SimulationResult] = []
    for layer in layers:
        plain = layer.layer if isinstance(layer, PackedLayer) else layer
        if results and results[-1].output.size != plain.columns:
            raise InputError(
                f"layer {plain.name!r} has {plain.columns:,} columns and the layer before puts out "
                f"{results[-1].output.size:,} activations; give the layers of one network, in order"
            )
        results.append(simulate(layer, activations, config))
        activations = np.maximum(results[-1].output, 0)
    return results
