"""Parts of a network as data: its inputs, its layers, and what is computed off the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from traces.arrays import Floats, Integers64

#: Beginning of the names of weights that a module computes in its forward pass, and that its state does not hold.
COMPUTED = "computed:"
#: Kinds of recurrent layers, and their operators in a graph.
RECURRENT = ("LSTM", "GRU", "RNN")


class OffArray(NamedTuple):
    """Operations of one kind that are computed off the array, per input.

    Parameters
    ----------
    count : int
        Operations.
    elements : int
        Values that they compute.
    macs : int
        Multiply-accumulates: products of activations with activations, and of weights that stay off the array.
    """

    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    elements: int
    macs: int


@dataclass(frozen=True)
class NetworkInput:
    """Input of a network.

    Attributes
    ----------
    name : str
        Name of the input.
    dtype : numpy.dtype
        Type of its values.
    shape : tuple of int or None
        Length of each axis; None where any length fits.
    batch_axis : int or None
        Axis along which the network takes many inputs; None if the value is the same for all inputs.
    fixed_batch : bool
        True if the graph takes one input at a time along that axis.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    batch_axis: int | None
    fixed_batch: bool


@dataclass(frozen=True, eq=False)
class NetworkLayer:
    """Product of one weight with activations; all of its calls.

    Attributes
    ----------
    name : str
        Name of the layer: that of its parameter, without `.weight`.
    kind : str
        Kind of layer: Linear, Conv2d, ConvTranspose1d, LSTM, GRU, Einsum, ...
    rows, columns : int
        Rows of the weights, all groups together, and columns.
    groups : int
        Matrices of rows / groups rows, each with activations of its own.
    weight : str
        Parameter that holds the weights.
    places : numpy.ndarray
        Flat place in the parameter of each weight, int64 [groups, rows / groups, columns].
    bias : str or None
        Parameter that holds the bias, if it is one parameter; the array adds it.
    bias_places : numpy.ndarray or None
        Flat place in that parameter of each bias, int64 [groups, rows / groups].
    calls : int
        Places in the graph where the weights are multiplied.
    vectors_per_input : float
        Vectors that are multiplied for one input, in all calls and groups; nan if no inputs are known.
    activation_threshold : float
        Activations whose magnitude is at most this count as zero, by a Shrink in the graph.
    left_out : (int, int)
        Rows of all groups, and columns, without weights that a compact network leaves out of `rows` and `columns`.
    window_reuse : float
        Windows of a convolution that an activation is in, away from the border; the fewest of all calls.
    """

    name: str
    kind: str
    rows: int
    columns: int
    groups: int
    weight: str
    places: Integers64
    bias: str | None
    bias_places: Integers64 | None
    calls: int
    vectors_per_input: float
    activation_threshold: float = 0.0
    left_out: tuple[int, int] = (0, 0)
    window_reuse: float = 1.0


@dataclass(frozen=True, eq=False)
class Recorded:
    """Vectors that enter one layer.

    Attributes
    ----------
    vectors : numpy.ndarray
        Vectors, float32 [groups, vectors, columns]; one of zeros for a layer that is never called.
    per_input : float
        Vectors of one group for one input, mean.
    """

    vectors: Floats
    per_input: float


@dataclass(frozen=True)
class Execution:
    """Order of the products of a network for one input, and its feature maps.

    Attributes
    ----------
    calls : tuple of (str, int)
        Name of the layer, and vectors of each of its groups, of each call in order.
    live_words : int
        Largest number of values that are alive at once.
    fullest_layer : str
        Layer that is called when they are, or last before; the first one if none was.
    """

    calls: tuple[tuple[str, int], ...]
    live_words: int
    fullest_layer: str
