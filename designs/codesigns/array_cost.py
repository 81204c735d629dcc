"""Costs of compressed layers on an array, simulated; a cost function for plans (PyTorch needed)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from compress.modules import plain_module, weight_units
from designs.codesigns.entering_vectors import entering_vectors
from sim import ArrayConfig, count_all, pack
from traces import CompressedLayer, InputError
from traces.arrays import Floats


class ArrayCost:
    """Latency, energy and SRAM of each layer of a network on one array; a `compress.planning.planner.Cost`.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network. The vectors that enter its layers are recorded once.
    inputs : array [inputs, ...]
        Inputs to record.
    array : ArrayConfig, optional
        The array. A layer with wider codes or other gaps is simulated on the same array with these widths.
    vectors : int
        Largest number of vectors to simulate per layer. A convolution has one vector per output position, of which
        evenly spaced ones are simulated.

    Raises
    ------
    InputError
        If a layer is neither Linear nor Conv2d of one group, or has padding by name.
    """

    def __init__(
        self, module: torch.nn.Module, inputs: Floats, array: ArrayConfig | None = None, vectors: int = 24
    ) -> None:
        self.array = array or ArrayConfig()
        names = [unit.name for unit in weight_units(plain_module(module))[0]]
        self._entering = entering_vectors(module, inputs, names, vectors)

    def __call__(self, layer: CompressedLayer, index_bits: int) -> dict[str, float]:
        """Return mean latency_us and energy_nj per input, and the sram_bytes_per_pe of the entries, of a layer."""
        if layer.name not in self._entering:
            known = ", ".join(self._entering)
            raise InputError(f"{layer.name}: the layer must be one of the recorded ones, {known}")
        entering = self._entering[layer.name]
        weight_bits = max(self.array.weight_bits, layer.weight_bits)
        array = replace(self.array, weight_bits=weight_bits, index_bits=index_bits)
        packed = pack(layer, array)
        counts = [count_all(packed, each, [array])[0] for each in entering.vectors]
        return {
            "latency_us": float(np.mean([each.latency_us for each in counts])) * entering.per_input,
            "energy_nj": float(np.mean([each.energy.total_pj for each in counts])) * entering.per_input / 1e3,
            "sram_bytes_per_pe": int(packed.stored_per_pe.max()) * array.entry_bits / 8,
        }
