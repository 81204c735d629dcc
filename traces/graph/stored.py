"""Compressed layers as they are stored, and the matrices that an array multiplies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traces.arrangement import Arrangement
from traces.arrays import Numbers
from traces.errors import InputError
from traces.graph.description import NetworkLayer
from traces.layer import CompressedLayer


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """One compressed parameter of a network.

    Attributes
    ----------
    layer : CompressedLayer
        Codes as a matrix with outputs as rows, and their codebook.
    shape : tuple of int
        Shape of the parameter.
    arrangement : Arrangement
        Way from the parameter to the matrix.
    bias_name : str
        Parameter that the bias in the codebook is.
    """

    layer: CompressedLayer
    shape: tuple[int, ...]
    arrangement: Arrangement
    bias_name: str


def array_matrices(layer: NetworkLayer, stored: StoredLayer, bias: Numbers | None) -> list[CompressedLayer]:
    """Return the matrix of each group of a network's layer, with its bias.

    Parameters
    ----------
    layer : NetworkLayer
        Layer of the network.
    stored : StoredLayer
        Its compressed parameter.
    bias : numpy.ndarray or None
        Values that the array adds [groups, rows / groups]. They are codes of the layer's codebook if the stored bias is
        the layer's, and values otherwise.

    Returns
    -------
    list of CompressedLayer
        One matrix [rows / groups, columns] for each group, with the threshold of the product.

    Raises
    ------
    InputError
        If the graph does not apply the stored threshold, or a row on the array has several codebooks.
    """
    compressed = stored.layer
    if layer.activation_threshold < compressed.activation_threshold:
        raise InputError(
            f"layer {layer.name!r}: activation_threshold={compressed.activation_threshold:g} must be that of its "
            f"product in the graph; found {layer.activation_threshold:g} there; store the layer without a threshold"
        )
    codes = stored.arrangement.parameter(compressed.codes, stored.shape).ravel()[layer.places]
    numbers = _row_codebooks(layer, stored)
    coded = compressed.bias is not None and layer.bias == stored.bias_name and layer.bias_places is not None
    matrices = []
    for group in range(layer.groups):
        bias_codes: Any = None
        free: Any = None
        if coded:
            assert compressed.bias is not None
            assert layer.bias_places is not None
            bias_codes = compressed.bias[layer.bias_places[group]]
        elif bias is not None:
            free = np.asarray(bias[group], dtype=np.float32)
        codebooks: dict[str, Any] = {}
        if numbers is not None:
            used, of_rows = np.unique(numbers[group], return_inverse=True)
            codebooks = {"codebook": compressed.codebook[used], "row_codebooks": of_rows.astype(np.uint16)}
        matrices.append(
            dataclasses.replace(
                compressed,
                name=layer.name,
                codes=codes[group],
                bias=bias_codes,
                free_bias=free,
                activation_threshold=layer.activation_threshold,
                **codebooks,
            )
        )
    return matrices


def _row_codebooks(layer: NetworkLayer, stored: StoredLayer) -> Numbers | None:
    """Return the number of each array row's codebook, [groups, rows / groups]; None if there is one codebook."""
    compressed = stored.layer
    if compressed.row_codebooks is None:
        return None
    spread = np.broadcast_to(compressed.row_codebooks[:, np.newaxis], compressed.codes.shape)
    numbers = stored.arrangement.parameter(spread, stored.shape).ravel()[layer.places]
    of_rows = numbers[..., 0]
    if (numbers != of_rows[..., np.newaxis]).any():
        raise InputError(
            f"layer {layer.name!r}: a row on the array must have one codebook, since a PE has one; found a row of "
            f"weights of several rows of the stored matrix; compress it with codebooks='layer'"
        )
    return of_rows


def arrangements(layers: Sequence[NetworkLayer], shapes: Mapping[str, Sequence[int]]) -> dict[str, Arrangement]:
    """Return how each parameter that is multiplied makes a matrix with outputs as rows.

    Parameters
    ----------
    layers : sequence of NetworkLayer
        Layers of a network.
    shapes : mapping of str to sequence of int
        Shape of each parameter.
    """
    chosen: dict[str, Arrangement] = {}
    for layer in layers:
        if layer.weight not in chosen:
            fitting = [each for each in _possible(shapes[layer.weight], layer) if _has_rows(each, layer)]
            chosen[layer.weight] = fitting[0] if fitting else Arrangement.identity(shapes[layer.weight])
    return chosen


def _possible(shape: Sequence[int], layer: NetworkLayer) -> list[Arrangement]:
    axes = tuple(range(len(shape)))
    possible = [Arrangement(tuple(shape), axes, row_axes) for row_axes in range(1, len(shape))]
    if len(shape) >= 2:
        possible.append(Arrangement(tuple(shape), (*axes[:-2], axes[-1], axes[-2]), len(shape) - 1))
    if layer.kind.startswith("ConvTranspose"):
        view = (layer.groups, shape[0] // layer.groups, *shape[1:])
        possible.append(Arrangement(view, (0, *range(2, len(view)), 1), len(view) - 1))
    return possible or [Arrangement.identity(shape)]


def _has_rows(arrangement: Arrangement, layer: NetworkLayer) -> bool:
    """Return True if each row of the layer is a row of the arranged parameter."""
    if arrangement.columns != layer.columns:
        return False
    size = arrangement.rows * arrangement.columns
    matrix = arrangement.matrix(np.arange(size))
    row_of = np.full(size, -1)
    row_of[matrix[:, 0]] = np.arange(arrangement.rows)
    rows = layer.places.reshape(-1, layer.columns)
    found = row_of[rows[:, 0]]
    return bool((found >= 0).all() and np.array_equal(matrix[found], rows))
