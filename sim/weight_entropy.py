"""Bits that an ideal code takes for the weights of a layer: the entropy of their codes, and that of their positions.

Of a matrix with n weights that are not zero, n[c] of them with code c,

    code_bits     = sum over c of n[c] log2( n / n[c] )
    position_bits = min( sum over columns j of log2 C( rows, n[j] ), sum over rows i of log2 C( columns, n[i] ) )

An ideal code of the codes knows how often each occurs. An ideal code of the positions knows how many weights each
column has, or each row, for nothing, and takes all placements of that many as equally likely. Pointers of compressed
sparse columns state these numbers, and gaps the placements. Masks with more structure than that may take fewer bits,
which no code of single entries reaches. Source: Shannon, "A Mathematical Theory of Communication", 1948; Cover,
"Enumerative Source Encoding", 1973.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sim.packing import kept_weights
from traces import CompressedLayer
from traces.arrays import Integers

_KNOWN: weakref.WeakKeyDictionary[CompressedLayer, WeightEntropy] = weakref.WeakKeyDictionary()


class WeightEntropy(NamedTuple):
    """Bits of an ideal code of weights.

    Attributes
    ----------
    weights : int
        Weights that are not zero, those of a coded bias included.
    code_bits, position_bits : float
        Bits of their codes, and of their positions.
    """

    weights: int = 0
    code_bits: float = 0.0
    position_bits: float = 0.0

    @property
    def bits_per_weight(self) -> float:
        """Bits of a weight, mean; 0 without weights."""
        return (self.code_bits + self.position_bits) / self.weights if self.weights else 0.0

    @classmethod
    def total(cls, entropies: Iterable[WeightEntropy]) -> WeightEntropy:
        """Return the sum of several, each coded by itself."""
        return cls(*(sum(values) for values in zip(cls(), *entropies, strict=True)))


def weight_entropy(layer: CompressedLayer) -> WeightEntropy:
    """Return the bits that an ideal code takes for the weights of a layer; they are found once.

    Parameters
    ----------
    layer : CompressedLayer
        The layer. A coded bias is one more column.

    Returns
    -------
    WeightEntropy
        The weights and their bits.
    """
    from sim import packing_kernels

    if layer not in _KNOWN:
        kept = kept_weights(layer)
        codes = np.zeros(2**layer.weight_bits, dtype=np.int64)
        columns = np.zeros(kept.shape[0] * 64, dtype=np.int64)
        bias = layer.codes[0, :0] if layer.bias is None else layer.bias
        packing_kernels.count_kept(layer.codes, bias, kept, codes, columns)
        used = codes[codes > 0]
        weights = int(used.sum())
        in_rows = np.bitwise_count(kept).sum(axis=0, dtype=np.int64)
        num_columns = layer.columns + (layer.bias is not None)
        _KNOWN[layer] = WeightEntropy(
            weights,
            float(weights * math.log2(weights) - used @ np.log2(used)) if weights else 0.0,
            min(_placements_bits(layer.rows, columns[:num_columns]), _placements_bits(num_columns, in_rows)),
        )
    return _KNOWN[layer]


def _placements_bits(places: int, numbers: Integers) -> float:
    """Return the sum of the logarithms of the binomial coefficients of these numbers among so many places, in bits."""
    nats = 0.0
    for number, times in zip(*(each.tolist() for each in np.unique(numbers, return_counts=True)), strict=True):
        nats += times * (math.lgamma(places + 1) - math.lgamma(number + 1) - math.lgamma(places - number + 1))
    return max(0.0, nats / math.log(2))
