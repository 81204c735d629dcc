"""Random layers and inputs, the same on every machine: the streams of `numpy.random.RandomState` are frozen."""

from __future__ import annotations

import numpy as np

from traces.arrays import Floats32
from traces.errors import InputError
from traces.layer import CompressedLayer
from traces.plain_values import number, whole_number
from traces.uneven_mask import draw_mask
from traces.unevenness import Unevenness


def draw_layer(
    name: str, rows: int, columns: int, weight_density: float, activation_density: float, seed: int
) -> tuple[CompressedLayer, Floats32]:
    """Draw a layer of 4-bit codes with a bias, and one input.

    Parameters
    ----------
    name : str
        Name of the layer.
    rows, columns : int
        Shape of the weights.
    weight_density, activation_density : float
        Expected shares of non-zeros, 0 to 1.
    seed : int
        Seed of the random stream.

    Returns
    -------
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray
        The input, float32 [columns].

    Raises
    ------
    InputError
        If the layer is empty or a density is out of range.

    Notes
    -----
    The draws are in this order: mask of kept weights, their codes 1 to 15, bias codes 0 to 15, mask of active inputs,
    their values from [0, 1). The codebook is 0 and 15 values evenly spaced from -0.7 to 0.7.
    """
    _check(rows, columns, weight_density, activation_density, seed)
    stream = np.random.RandomState(seed)
    codes = np.empty((rows, columns), dtype=np.uint8)
    blocks = _row_blocks(rows, columns)
    for part in blocks:
        codes[part] = stream.random_sample(codes[part].shape) < weight_density
    for part in blocks:
        codes[part] *= stream.randint(1, 16, size=codes[part].shape).astype(np.uint8)
    bias = stream.randint(0, 16, size=rows).astype(np.uint8)
    active = stream.random_sample(columns) < activation_density
    values = stream.random_sample(columns)
    activations = np.where(active, values, 0).astype(np.float32)
    return CompressedLayer(name, codes, _codebook(), bias), activations


def draw_uneven_layer(
    name: str,
    rows: int,
    columns: int,
    weight_density: float,
    activation_density: float,
    seed: int,
    unevenness: Unevenness,
) -> tuple[CompressedLayer, Floats32]:
    """Draw a layer with a mask as uneven as those of pruned layers, and one input, at exact densities.

    Parameters
    ----------
    name : str
        Name of the layer.
    rows, columns : int
        Shape of the weights.
    weight_density, activation_density : float
        Shares of non-zeros, 0 to 1, rounded to whole weights and inputs.
    seed : int
        Seed of the random stream.
    unevenness : Unevenness
        Parameters of the mask, such as those that `unevenness_of` measures on a layer.

    Returns
    -------
    layer : CompressedLayer
        The layer.
    activations : numpy.ndarray
        The input, float32 [columns].

    Raises
    ------
    InputError
        If the layer is empty, a density is out of range, `unevenness` is of another type, or the live rows and columns
        have fewer weights.

    Notes
    -----
    The draws are in this order: the mask, as in `traces.uneven_mask`; the codes of its weights; bias codes; active
    inputs, independent of their columns; their values from (0, 1].
    """
    _check(rows, columns, weight_density, activation_density, seed)
    if not isinstance(unevenness, Unevenness):
        raise InputError(
            f"unevenness must be an Unevenness; found {type(unevenness).__name__}; measured_unevenness() returns a "
            f"typical one"
        )
    stream = np.random.RandomState(seed)
    codes = np.zeros((rows, columns), dtype=np.uint8)
    kept_weights = round(weight_density * rows * columns)
    for row, kept in draw_mask(stream, rows, columns, kept_weights, unevenness):
        codes[row, kept] = 1
    codes[codes != 0] = stream.randint(1, 16, size=kept_weights).astype(np.uint8)
    bias = stream.randint(0, 16, size=rows).astype(np.uint8)
    active = stream.permutation(columns)[: round(activation_density * columns)]
    activations = np.zeros(columns, dtype=np.float32)
    activations[active] = 1 - stream.random_sample(len(active))
    return CompressedLayer(name, codes, _codebook(), bias), activations


def _row_blocks(rows: int, columns: int) -> list[slice]:
    """Cut the rows into blocks: they draw the same numbers as one call, without arrays of 8 bytes per weight."""
    block = max(1, 2**18 // columns)
    return [slice(first, min(first + block, rows)) for first in range(0, rows, block)]


def _codebook() -> Floats32:
    return np.concatenate([[0.0], np.linspace(-0.7, 0.7, 15)]).astype(np.float32)


def _check(rows: int, columns: int, weight_density: float, activation_density: float, seed: int) -> None:
    if whole_number("rows", rows, most=2**31 - 1) < 1 or whole_number("columns", columns, most=2**31 - 1) < 1:
        raise InputError(f"a layer must have at least one row and one column; found {rows} x {columns}")
    whole_number("seed", seed, 0, 2**32 - 1)
    for field, density in (("weight_density", weight_density), ("activation_density", activation_density)):
        if not 0 <= number(field, density) <= 1:
            raise InputError(f"{field} is a share of non-zeros and must be 0 to 1; found {density}")
