"""What compressed layers of a network cost on an array: the cost function of a plan, by simulation (PyTorch needed)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.modules import weight_units
from designs.codesigns.entering_vectors import entering_vectors
from sim import ArrayConfig, count_all, pack
from traces import CompressedLayer, InputError


class ArrayCost:
    """Latency, energy and SRAM of each layer of a network on one array; called as `compress.planning.planner.Cost`.

    module    the trained network: what its layers see is recorded once, on `inputs` [inputs, ...]
    array     the array; a layer whose codes or gaps have other widths than it says is run on the same with those
    vectors   vectors that are simulated for each layer, at most: of a convolution's positions, evenly spaced ones

    A convolution is one vector for each output position, one after the other. Raises InputError if a layer is neither
    Linear nor Conv2d of one group, or has padding by name.
    """

    def __init__(
        self, module: torch.nn.Module, inputs: npt.NDArray[Any], array: ArrayConfig | None = None, vectors: int = 24
    ) -> None:
        self.array = array or ArrayConfig()
        names = [unit.name for unit in weight_units(module)[0]]
        self._entering = entering_vectors(module, inputs, names, vectors)

    def __call__(self, layer: CompressedLayer, index_bits: int) -> dict[str, float]:
        """latency_us and energy_uj of the layer for one input, in the mean, and sram_bytes_per_pe of its entries."""
        if layer.name not in self._entering:
            known = ", ".join(self._entering)
            raise InputError(f"there are no recorded activations of {layer.name}; there are those of {known}")
        entering = self._entering[layer.name]
        weight_bits = max(self.array.weight_bits, layer.weight_bits)
        array = replace(self.array, weight_bits=weight_bits, index_bits=index_bits)
        packed = pack(layer, array)
        counts = [count_all(packed, each, [array])[0] for each in entering.vectors]
        return {
            "latency_us": float(np.mean([each.latency_us for each in counts])) * entering.per_input,
            "energy_uj": float(np.mean([each.energy.total_pj for each in counts])) * entering.per_input / 1e6,
            "sram_bytes_per_pe": int(packed.stored_per_pe.max()) * array.entry_bits / 8,
        }
