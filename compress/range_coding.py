"""A second entropy coder: range coding of where the weights are, in contexts that adapt, and then of their codes.

It needs the optional package constriction (Bamler, "Understanding Entropy Coding", 2022). Rows are coded one after the
other, so that the rows before are the context: with n[c] non-zeros in column c of the r rows before, density d of the
whole matrix and a row that is not empty, a weight is non-zero with probability

    (n[c] + prior * d') / (r + prior),    d' = d over the share of rows that are not empty

where r counts rows that are not empty. Probabilities are sums and quotients alone, so that every machine computes the
same ones. Codes are coded by their frequencies.

    u8            bit 0: the matrix is coded transposed; the other bits: log2 of prior
    varint        non-zeros
    varint        rows that are not empty
    varint each   how often each code from 1 on occurs
    bytes         the coder's words, uint32
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from compress.bytes_io import ByteReader, varint
from traces import InputError

Codes = npt.NDArray[Any]
PRIORS = (1, 2, 4, 8, 16, 32)
_SMALLEST = 2.0**-16  # a probability; what has never been seen is still possible


def encode_range(codes: Codes, weight_bits: int) -> bytes:
    """Write a matrix of codes, uint8 or uint16 [rows, columns], in the way that takes the fewest bytes."""
    ways = [(transposed, prior) for transposed in (False, True) for prior in range(len(PRIORS))]
    mask = codes != 0
    transposed, prior = min(ways, key=lambda way: _cost_bits(mask.T if way[0] else mask, PRIORS[way[1]]))
    return _encode(codes.T if transposed else codes, weight_bits, transposed, prior)


def _encode(codes: Codes, weight_bits: int, transposed: bool, prior: int) -> bytes:
    stream = _constriction().stream
    mask = codes != 0
    filled = mask.any(axis=1)
    counts = np.bincount(codes[mask], minlength=2**weight_bits)[1:]
    encoder = stream.queue.RangeEncoder()
    bernoulli = stream.model.Bernoulli(perfect=False)
    context = _Context(codes.shape[1], int(counts.sum()), int(filled.sum()), len(codes), PRIORS[prior])
    encoder.encode(filled.astype(np.int32), stream.model.Bernoulli(context.share_of_filled_rows, perfect=False))
    for row in mask[filled]:
        encoder.encode(row.astype(np.int32), bernoulli, context.probabilities())
        context.add(row)
    if np.count_nonzero(counts) > 1:
        encoder.encode(codes[mask].astype(np.int32) - 1, _categorical(stream, counts))
    words: bytes = encoder.get_compressed().astype("<u4").tobytes()
    head = bytes([transposed | prior << 1]) + varint(int(counts.sum())) + varint(int(filled.sum()))
    return head + b"".join(varint(int(count)) for count in counts) + words


def decode_range(content: bytes, rows: int, columns: int, weight_bits: int, dtype: npt.DTypeLike) -> Codes:
    """Read a matrix back. Raises ValueError if the bytes are not those of such a matrix."""
    stream = _constriction().stream
    reader = ByteReader(content)
    (way,) = reader.take(1)
    transposed, prior = way & 1, way >> 1
    if prior >= len(PRIORS):
        raise ValueError(f"no prior is numbered {prior}")
    if transposed:
        rows, columns = columns, rows
    num_kept, num_filled = reader.varint(), reader.varint()
    counts = np.array([reader.varint() for _ in range(2**weight_bits - 1)])
    if counts.sum() != num_kept or not -(-num_kept // columns) <= num_filled <= min(rows, num_kept):
        raise ValueError(f"{num_kept:,} weights of {counts.sum():,} codes in {num_filled:,} of {rows:,} rows")
    if reader.left % 4:
        raise ValueError("the coder's words are cut off")
    decoder = stream.queue.RangeDecoder(np.frombuffer(reader.take(reader.left), dtype="<u4").astype(np.uint32))
    bernoulli = stream.model.Bernoulli(perfect=False)
    context = _Context(columns, num_kept, num_filled, rows, PRIORS[prior])
    found = np.zeros((rows, columns), dtype=dtype)
    filled = decoder.decode(stream.model.Bernoulli(context.share_of_filled_rows, perfect=False), rows)
    mask = np.zeros((rows, columns), dtype=np.bool_)
    for row in np.flatnonzero(filled):
        mask[row] = decoder.decode(bernoulli, context.probabilities())
        context.add(mask[row])
    if mask.sum() != num_kept:
        raise ValueError(f"{mask.sum():,} weights where {num_kept:,} must be")
    if np.count_nonzero(counts) > 1:
        found[mask] = decoder.decode(_categorical(stream, counts), num_kept) + 1
    elif num_kept:
        found[mask] = 1 + int(counts.argmax())
    if not decoder.maybe_exhausted():
        raise ValueError("words are left after the last weight")
    return np.ascontiguousarray(found.T) if transposed else found


class _Context:
    """What the rows so far say of the next one."""

    def __init__(self, columns: int, num_kept: int, num_filled: int, rows: int, prior: int) -> None:
        self.density = num_kept / (max(1, num_filled) * columns)
        self.share_of_filled_rows = min(max(num_filled / rows, _SMALLEST), 1 - _SMALLEST)
        self.prior = prior
        self.rows = 0
        self.in_column = np.zeros(columns, dtype=np.int64)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Of each weight of the next row that is not empty."""
        found = (self.in_column + self.prior * self.density) / (self.rows + self.prior)
        return np.clip(found, _SMALLEST, 1 - _SMALLEST)

    def add(self, row: npt.NDArray[np.bool_]) -> None:
        self.in_column += row
        self.rows += 1


def _cost_bits(mask: npt.NDArray[np.bool_], prior: int) -> float:
    """Bits that an ideal coder takes for a mask."""
    filled = mask[mask.any(axis=1)]
    context = _Context(mask.shape[1], int(mask.sum()), len(filled), len(mask), prior)
    seen = np.cumsum(filled, axis=0, dtype=np.int32) - filled
    of_rows = np.arange(len(filled))[:, np.newaxis] + prior
    probabilities = np.clip((seen + prior * context.density) / of_rows, _SMALLEST, 1 - _SMALLEST)
    share = context.share_of_filled_rows
    empty = len(mask) - len(filled)
    of_flags = -len(filled) * np.log2(share) - empty * np.log2(1 - share)
    return float(of_flags - np.log2(np.where(filled, probabilities, 1 - probabilities)).sum())


def _categorical(stream: Any, counts: npt.NDArray[np.int64]) -> Any:
    return stream.model.Categorical(counts / counts.sum(), perfect=False)


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise InputError(
            "the range coder needs the package constriction; install the extra: pip install 'eie-codesign[range]'"
        ) from None
    return constriction
