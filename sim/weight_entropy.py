"""Bits that an ideal code takes for the weights of a layer: the entropy of their codes, and that of their positions.

In the rows with one codebook, n weights are not zero, n[c] of them with code c. In the whole matrix, column j has n[j]
weights that are not zero, and row i has n[i]:

    code_bits     = sum over codebooks of sum over codes c of n[c] log2( n / n[c] )
    position_bits = min( sum over columns j of log2 C( rows, n[j] ), sum over rows i of log2 C( columns, n[i] ) )

An ideal code of the codes knows how often each occurs. An ideal code of the positions knows how many weights each
column has, or each row, for nothing, and takes all placements of that many as equally likely. Pointers of compressed
sparse columns state these numbers, and gaps the placements. A code that knows more, such as which codes or places are
likely beside others, may take fewer bits. Source: Shannon, "A Mathematical Theory of Communication", 1948; Cover,
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
from traces.arrays import Floats64, Integers, Integers64

_KNOWN: weakref.WeakKeyDictionary[CompressedLayer, _Bits] = weakref.WeakKeyDictionary()


class WeightEntropy:
    """Bits of an ideal code of the weights of some matrices, each coded by itself.

    The bits are counted when they are first read, since that takes longer than counting cycles. Until then, the
    matrices stay in memory. Pickling reads the bits.

    Parameters
    ----------
    matrices : iterable of CompressedLayer
        The matrices. A coded bias is one more column.
    """

    def __init__(self, matrices: Iterable[CompressedLayer]) -> None:
        self._matrices = tuple(matrices)
        self._found: _Bits | None = None

    def __repr__(self) -> str:
        return f"WeightEntropy(weights={self.weights}, code_bits={self.code_bits}, position_bits={self.position_bits})"

    def __eq__(self, other: object) -> bool:
        return self._bits == other._bits if isinstance(other, WeightEntropy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bits)

    def __getstate__(self) -> dict[str, object]:
        return {"_matrices": (), "_found": self._bits}

    @property
    def weights(self) -> int:
        """Weights that are not zero, those of a coded bias included."""
        return self._bits.weights

    @property
    def code_bits(self) -> float:
        """Bits of their codes."""
        return self._bits.code_bits

    @property
    def position_bits(self) -> float:
        """Bits of their positions."""
        return self._bits.position_bits

    @property
    def bits_per_weight(self) -> float:
        """Mean bits of a weight, code and position; 0 without weights."""
        return (self.code_bits + self.position_bits) / self.weights if self.weights else 0.0

    @property
    def _bits(self) -> _Bits:
        matrices, found = self._matrices, self._found  # in this order: other threads set them in the other one
        if found is None:
            found = _Bits(*(sum(values) for values in zip(_Bits(), *map(_bits_of, matrices), strict=True)))
            self._found = found
            self._matrices = ()
        return found


class _Bits(NamedTuple):
    """Weights that are not zero, and the bits of their codes and of their positions."""

    weights: int = 0
    code_bits: float = 0.0
    position_bits: float = 0.0


def _bits_of(layer: CompressedLayer) -> _Bits:
    """Return the bits of one matrix; they are found once."""
    from sim import packing_kernels

    if layer not in _KNOWN:
        kept = kept_weights(layer)
        codebooks = np.zeros(layer.rows, dtype=np.int64) if layer.row_codebooks is None else layer.row_codebooks
        codes = np.zeros((layer.num_codebooks, 2**layer.weight_bits), dtype=np.int64)
        columns = np.zeros(kept.shape[0] * 64, dtype=np.int64)
        bias = layer.codes[0, :0] if layer.bias is None else layer.bias
        packing_kernels.count_kept(layer.codes, bias, kept, codebooks.astype(np.int64), codes, columns)
        in_rows = np.bitwise_count(kept).sum(axis=0, dtype=np.int64)
        num_columns = layer.columns + (layer.bias is not None)
        _KNOWN[layer] = _Bits(
            int(codes.sum()),
            max(0.0, float(_times_log2(codes.sum(axis=1)).sum() - _times_log2(codes).sum())),
            min(_placements_bits(layer.rows, columns[:num_columns]), _placements_bits(num_columns, in_rows)),
        )
    return _KNOWN[layer]


def _times_log2(numbers: Integers64) -> Floats64:
    """Return each number times its logarithm in bits, 0 for 0."""
    logarithms: Floats64 = np.log2(np.maximum(numbers, 1))
    return numbers * logarithms


def _placements_bits(places: int, numbers: Integers) -> float:
    """Return the sum of the logarithms of the binomial coefficients of these numbers among so many places, in bits."""
    nats = 0.0
    for number, times in zip(*(each.tolist() for each in np.unique(numbers, return_counts=True)), strict=True):
        nats += times * (math.lgamma(places + 1) - math.lgamma(number + 1) - math.lgamma(places - number + 1))
    return max(0.0, nats / math.log(2))
