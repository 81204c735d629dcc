"""Layers and inputs drawn at random, the same for everyone: `numpy.random.RandomState` streams are frozen."""

from __future__ import annotations

import numpy as np

from traces.errors import InputError
from traces.layer import CompressedLayer, FloatVector


def draw_layer(
    name: str, rows: int, columns: int, weight_density: float, activation_density: float, seed: int
) -> tuple[CompressedLayer, FloatVector]:
    """Draw a 4-bit layer with a bias, and one input, at the given densities (shares of non-zeros, 0 to 1).

    Draws in this order: the mask of kept weights, their codes 1 to 15, the bias codes 0 to 15, the mask of
    active inputs, their values from [0, 1). The codebook is 0 and 15 values evenly from -0.7 to 0.7.
    """
    if rows < 1 or columns < 1:
        raise InputError(f"a layer has at least one row and one column; found {rows} x {columns}")
    for field, density in (("weight_density", weight_density), ("activation_density", activation_density)):
        if not 0 <= density <= 1:
            raise InputError(f"{field} is a share of non-zeros and must be 0 to 1; found {density}")
    stream = np.random.RandomState(seed)
    codes = np.empty((rows, columns), dtype=np.uint8)
    # Row blocks draw the same numbers as one call would, without arrays of 8 bytes a weight.
    block = max(1, 2**18 // columns)
    blocks = [slice(first, min(first + block, rows)) for first in range(0, rows, block)]
    for part in blocks:
        codes[part] = stream.random_sample(codes[part].shape) < weight_density
    for part in blocks:
        codes[part] *= stream.randint(1, 16, size=codes[part].shape).astype(np.uint8)
    bias = stream.randint(0, 16, size=rows).astype(np.uint8)
    active = stream.random_sample(columns) < activation_density
    values = stream.random_sample(columns)
    activations = np.where(active, values, 0).astype(np.float32)
    codebook = np.concatenate([[0.0], np.linspace(-0.7, 0.7, 15)]).astype(np.float32)
    return CompressedLayer(name, codes, codebook, bias), activations
