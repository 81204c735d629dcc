"""What compressed layers of a network cost on an array: the cost function of a plan, by simulation (PyTorch needed)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sim import ArrayConfig, count_all, pack
from traces import CompressedLayer, InputError
from traces.convolution import Convolution
from traces.torch_activations import record_activations


class ArrayCost:
    """Latency, energy and SRAM of each layer of a network on one array; called as `compress.planner.Cost`.

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
        parts = {
            name: part
            for name, part in module.named_modules()
            if isinstance(part, torch.nn.Linear | torch.nn.Conv2d | torch.nn.RNNBase | torch.nn.Conv1d)
        }
        entering = record_activations(module, inputs, list(parts))
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self._times: dict[str, float] = {}  # vectors of one input
        for name, part in parts.items():
            seen = _vectors(name, part, entering[name])
            self._times[name] = len(seen) / len(inputs)
            chosen = np.linspace(0, len(seen) - 1, min(vectors, len(seen))).astype(np.int64)
            self._vectors[name] = np.ascontiguousarray(seen[chosen])

    def __call__(self, layer: CompressedLayer, index_bits: int) -> dict[str, float]:
        """latency_us and energy_uj of the layer for one input, in the mean, and sram_bytes_per_pe of its entries."""
        if layer.name not in self._vectors:
            known = ", ".join(self._vectors)
            raise InputError(f"there are no recorded activations of {layer.name}; there are those of {known}")
        weight_bits = max(self.array.weight_bits, layer.weight_bits)
        array = replace(self.array, weight_bits=weight_bits, index_bits=index_bits)
        packed = pack(layer, array)
        counts = [count_all(packed, each, [array])[0] for each in self._vectors[layer.name]]
        return {
            "latency_us": float(np.mean([each.latency_us for each in counts])) * self._times[layer.name],
            "energy_uj": float(np.mean([each.energy.total_pj for each in counts])) * self._times[layer.name] / 1e6,
            "sram_bytes_per_pe": int(packed.stored_per_pe.max()) * array.entry_bits / 8,
        }


def _vectors(name: str, part: torch.nn.Module, entering: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the rows of a layer's matrix are multiplied with: [vectors, columns]."""
    if isinstance(part, torch.nn.Linear):
        found: npt.NDArray[np.float32] = entering.reshape(-1, part.in_features)
        return found
    if not isinstance(part, torch.nn.Conv2d) or part.groups != 1 or isinstance(part.padding, str):
        raise InputError(
            f"{name}: the cost of {type(part).__name__} on the array is not known; only that of Linear and of Conv2d "
            f"of one group, with padding in numbers, is"
        )
    convolution = Convolution(
        (part.kernel_size[0], part.kernel_size[1]),
        (part.stride[0], part.stride[1]),
        (int(part.padding[0]), int(part.padding[1])),
    )
    of_group = convolution.unroll(entering)[0]
    vectors: npt.NDArray[np.float32] = of_group.reshape(-1, of_group.shape[-1])
    return vectors
