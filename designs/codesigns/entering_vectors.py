"""Vectors that enter each layer of a trained network, as an array multiplies them (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from traces import InputError
from traces.arrays import Floats, Floats32, Floats64
from traces.convolution import Convolution
from traces.torch_activations import record_activations


@dataclass(frozen=True, eq=False)
class EnteringVectors:
    """Recorded vectors that enter one layer.

    Attributes
    ----------
    vectors : array of float32 [vectors, columns]
        Some of the vectors.
    per_input : float
        Vectors per input of the network: the positions of a convolution, otherwise 1.
    """

    vectors: Floats32
    per_input: float

    @property
    def activity(self) -> Floats64:
        """Share of the vectors in which each column is non-zero, [columns]."""
        return np.asarray((self.vectors != 0).mean(axis=0), dtype=np.float64)


def entering_vectors(
    module: torch.nn.Module, inputs: Floats, layers: Sequence[str], most: int
) -> dict[str, EnteringVectors]:
    """Record the vectors that enter some layers of a network.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    inputs : array [inputs, ...]
        Inputs to record.
    layers : sequence of str
        Names of the layers.
    most : int
        Largest number of vectors per layer; they are evenly spaced.

    Returns
    -------
    dict of str to EnteringVectors
        The vectors by layer. A layer that the network does not call gets one vector of zeros and per_input 0.

    Raises
    ------
    InputError
        If a layer is neither Linear nor Conv2d of one group, or has padding by name.
    """
    parts = dict(module.named_modules())
    for name in layers:
        if not _known(parts.get(name)):
            raise InputError(
                f"{name}: a layer on the array must be Linear, or Conv2d of one group with padding in numbers; found "
                f"{type(parts.get(name)).__name__}, whose cost is unknown"
            )
    recorded = record_activations(module, inputs, layers, all_called=False)
    entering = {}
    for name in layers:
        if name not in recorded:
            columns = int(parts[name].weight[0].numel())
            entering[name] = EnteringVectors(np.zeros((1, columns), dtype=np.float32), 0.0)
            continue
        vectors = _unrolled(parts[name], recorded[name])
        chosen = np.linspace(0, len(vectors) - 1, min(most, len(vectors))).astype(np.int64)
        entering[name] = EnteringVectors(np.ascontiguousarray(vectors[chosen]), len(vectors) / len(inputs))
    return entering


def _known(part: torch.nn.Module | None) -> bool:
    if isinstance(part, torch.nn.Conv2d):
        return part.groups == 1 and not isinstance(part.padding, str)
    return isinstance(part, torch.nn.Linear)


def _unrolled(part: torch.nn.Module, entering: Floats32) -> Floats32:
    if not isinstance(part, torch.nn.Conv2d):
        rows: Floats32 = entering.reshape(-1, entering.shape[-1])
        return rows
    (height, width), (down, across) = part.kernel_size, part.stride
    top, left = (int(each) for each in part.padding)
    unrolled = Convolution((height, width), (down, across), (top, left)).unroll(entering)[0]
    vectors: Floats32 = unrolled.reshape(-1, unrolled.shape[-1])
    return vectors
