"""What enters each layer of a trained network, as the vectors that an array multiplies (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from traces import InputError
from traces.convolution import Convolution
from traces.torch_activations import record_activations


@dataclass(frozen=True, eq=False)
class EnteringVectors:
    """Some of the vectors that enter one layer.

    vectors     float32 [vectors, columns]
    per_input   how many there are for one input of the network: the positions of a convolution, else 1
    """

    vectors: npt.NDArray[np.float32]
    per_input: float

    @property
    def activity(self) -> npt.NDArray[np.float64]:
        """[columns]: the share of the vectors in which a column is not zero."""
        found: npt.NDArray[np.float64] = np.asarray((self.vectors != 0).mean(axis=0), dtype=np.float64)
        return found


def entering_vectors(
    module: torch.nn.Module, inputs: npt.NDArray[Any], layers: Sequence[str], most: int
) -> dict[str, EnteringVectors]:
    """Record what enters these layers on `inputs` [inputs, ...]; of each at most so many vectors, evenly spaced.

    A layer that the network never calls gets one vector of zeros, none per input.

    Raises InputError if a layer is neither Linear nor Conv2d of one group, or has padding by name.
    """
    parts = dict(module.named_modules())
    wrong = {name: parts.get(name) for name in layers if not _known(parts.get(name))}
    for name, part in wrong.items():
        raise InputError(
            f"{name}: the cost of {type(part).__name__} on an array is not known; only that of Linear and of Conv2d of "
            f"one group, with padding in numbers, is"
        )
    recorded = record_activations(module, inputs, layers, all_called=False)
    found = {}
    for name in layers:
        if name not in recorded:
            columns = int(parts[name].weight[0].numel())
            found[name] = EnteringVectors(np.zeros((1, columns), dtype=np.float32), 0.0)
            continue
        seen = _unrolled(parts[name], recorded[name])
        chosen = np.linspace(0, len(seen) - 1, min(most, len(seen))).astype(np.int64)
        found[name] = EnteringVectors(np.ascontiguousarray(seen[chosen]), len(seen) / len(inputs))
    return found


def _known(part: torch.nn.Module | None) -> bool:
    if isinstance(part, torch.nn.Conv2d):
        return part.groups == 1 and not isinstance(part.padding, str)
    return isinstance(part, torch.nn.Linear)


def _unrolled(part: torch.nn.Module, entering: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if not isinstance(part, torch.nn.Conv2d):
        rows: npt.NDArray[np.float32] = entering.reshape(-1, entering.shape[-1])
        return rows
    (height, width), (down, across) = part.kernel_size, part.stride
    top, left = (int(each) for each in part.padding)
    unrolled = Convolution((height, width), (down, across), (top, left)).unroll(entering)[0]
    vectors: npt.NDArray[np.float32] = unrolled.reshape(-1, unrolled.shape[-1])
    return vectors
