"""Second entropy coder: range coding of the non-zeros' positions in adaptive contexts, and then of their codes.

Writing needs the optional package constriction (Bamler, "Understanding Entropy Coding", 2022); reading does not. Rows
are coded one after the other, each in four passes: every eighth column; the columns in the middle between two of these;
and twice again. Let n[c] be the non-zeros in column c of the r rows before that are not empty, and d the density of the
whole matrix. The base probability that a weight of a row that is not empty is non-zero is

    base = (n[c] + prior * d') / (r + prior),    d' = d / share of rows that are not empty

It is multiplied by the ratio of seen to expected non-zeros among the weights before it of the same pass and context.
The context is the number of non-zeros among its two neighbours of earlier passes, and whether the row's earlier passes
held far fewer, fewer, as many or more non-zeros than expected. Probabilities are whole numbers over 2**16, made by
sums, products and quotients alone, so that every machine computes the same. Codes are coded by their frequencies.

`guide/container.md` describes the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.container.bytes_io import ByteReader, varint
from compress.container.range_coding_kernels import CONTEXTS, PASSES, PRECISION_BITS, SMALLEST
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers, Integers64

PRIORS = (1, 2, 4, 8, 16, 32)
_MOST_PER_BYTE = 300  # weights: one of probability LARGEST takes 0.029 bits
_AT_ONCE = 2**22  # weights that are predicted before they are encoded


def encode_range(codes: Integers, weight_bits: int) -> bytes:
    """Write a matrix of codes, uint8 or uint16 [rows, columns], in as few bytes as possible."""
    ways = []
    for transposed in (False, True):
        turned = codes.T if transposed else codes
        mask = turned != 0
        prior = min(range(len(PRIORS)), key=lambda each: _cost_bits(mask, PRIORS[each]))
        ways.append(_encode(turned, weight_bits, transposed, prior))
    return min(ways, key=len)


def _encode(codes: Integers, weight_bits: int, transposed: bool, prior: int) -> bytes:
    stream = _constriction().stream
    mask = codes != 0
    filled = mask.any(axis=1)
    counts = np.bincount(codes[mask], minlength=2**weight_bits)[1:]
    encoder = stream.queue.RangeEncoder()
    bernoulli = stream.model.Bernoulli(perfect=False)
    statistics = _Statistics(len(codes), codes.shape[1], int(counts.sum()), int(filled.sum()), PRIORS[prior])
    encoder.encode(filled.astype(np.int32), stream.model.Bernoulli(statistics.share_of_filled_rows, perfect=False))
    at_once = max(1, _AT_ONCE // codes.shape[1])
    for begin in range(0, len(codes), at_once):
        some = slice(begin, begin + at_once)
        bits, probabilities = statistics.predicted(mask[some].view(np.uint8), filled[some])
        if bits.size:
            encoder.encode(bits, bernoulli, probabilities)
    if np.count_nonzero(counts) > 1:
        of_codes = stream.model.Categorical(counts / counts.sum(), perfect=False)
        encoder.encode(codes[mask].astype(np.int32) - 1, of_codes)
    words: bytes = encoder.get_compressed().astype("<u4").tobytes()
    head = bytes([transposed | prior << 1]) + varint(int(counts.sum())) + varint(int(filled.sum()))
    return head + b"".join(varint(int(count)) for count in counts) + words


def decode_range(content: bytes, rows: int, columns: int, weight_bits: int, dtype: npt.DTypeLike) -> Integers:
    """Read a matrix. Raises ValueError if the bytes are invalid for its shape."""
    reader = ByteReader(content)
    (way,) = reader.take(1)
    transposed, prior = way & 1, way >> 1
    if prior >= len(PRIORS):
        raise ValueError(f"unknown prior {prior}")
    if transposed:
        rows, columns = columns, rows
    num_kept, num_filled = reader.varint(), reader.varint()
    numbers = [reader.varint() for _ in range(2**weight_bits - 1)]
    if sum(numbers) != num_kept or not -(-num_kept // columns) <= num_filled <= min(rows, num_kept):
        raise ValueError(f"{num_kept:,} weights of {sum(numbers):,} codes in {num_filled:,} of {rows:,} rows")
    if reader.left % 4:
        raise ValueError("the coder's words are cut off")
    if num_kept > min(rows * columns, _MOST_PER_BYTE * (reader.left + 4)):
        raise ValueError(f"{num_kept:,} weights are more than {reader.left:,} bytes can hold")
    words = np.frombuffer(reader.take(reader.left), dtype="<u4").astype(np.uint32)
    statistics = _Statistics(rows, columns, num_kept, num_filled, PRIORS[prior])
    codes = _decode(words, statistics, np.array(numbers, dtype=np.int64), dtype)
    return np.ascontiguousarray(codes.T) if transposed else codes


def _decode(words: Integers, statistics: _Statistics, counts: Integers64, dtype: npt.DTypeLike) -> Integers:
    from compress.container import range_coding_kernels

    state = np.empty(4, dtype=np.uint64)
    range_coding_kernels.start(words, state)
    flags = np.empty(statistics.rows, dtype=np.bool_)
    codes = np.zeros((statistics.rows, statistics.columns), dtype=dtype)
    valid = range_coding_kernels.decode_flags(words, state, statistics.share_of_filled_rows, flags)
    if valid and np.count_nonzero(flags) != statistics.num_filled:
        raise ValueError(f"{np.count_nonzero(flags):,} filled rows where {statistics.num_filled:,} must be")
    kept = statistics.decoded(words, state, codes, flags) if valid else -1
    if kept >= 0 and kept != statistics.num_kept:
        raise ValueError(f"{kept:,} weights or more where {statistics.num_kept:,} must be")
    valid = kept >= 0
    if valid and np.count_nonzero(counts) > 1:
        valid = range_coding_kernels.decode_codes(words, state, _begins(counts), codes.ravel())
    elif kept > 0:
        codes[codes != 0] = 1 + int(counts.argmax())
    if not valid:
        raise ValueError("the words are none that an encoder writes")
    if not range_coding_kernels.is_at_end(words, state):
        raise ValueError("words are left after the last weight")
    return codes


def _begins(counts: Integers64) -> Integers:
    """Return where each code begins in the 2**24 parts of the range, as constriction's Categorical lays them out.

    Every code has one part, and the others by its frequency.
    """
    shares = counts / counts.sum()
    sums = np.concatenate([[0.0], np.cumsum(shares)])
    scale = (2**PRECISION_BITS - len(counts)) / sums[-1]
    begins = (sums[:-1] * scale).astype(np.uint64) + np.arange(len(counts), dtype=np.uint64)
    return np.append(begins, np.uint64(2**PRECISION_BITS))


@dataclass
class _Statistics:
    """Statistics of a matrix and of its rows so far, which predict the next one.

    Attributes
    ----------
    rows, columns : int
        Shape of the matrix.
    num_kept, num_filled : int
        Non-zeros, and rows that are not empty.
    prior : int
        Rows of which the prior makes up.
    """

    rows: int
    columns: int
    num_kept: int
    num_filled: int
    prior: int

    def __post_init__(self) -> None:
        self.density = self.num_kept / (max(1, self.num_filled) * self.columns)
        self.share_of_filled_rows = min(max(self.num_filled / self.rows, SMALLEST), 1 - SMALLEST)
        self._rows_before = 0
        self._in_column = np.zeros(self.columns, dtype=np.int64)
        self._seen, self._expected = np.zeros((2, PASSES, CONTEXTS), dtype=np.int64)

    def predicted(self, rows: Integers, flags: Booleans) -> tuple[Integers, Floats64]:
        """Return the bits of the next rows that have a flag, int32 in the order of coding, and their probabilities."""
        bits = np.empty(np.count_nonzero(flags) * self.columns, dtype=np.int32)
        probabilities = np.empty(bits.size)
        no_words = np.empty(0, dtype=np.uint32), np.empty(4, dtype=np.uint64)
        self._predict(rows, flags, *no_words, bits, probabilities)
        return bits, probabilities

    def decoded(self, words: Integers, state: Integers, codes: Integers, flags: Booleans) -> int:
        """Write 1 for each non-zero of the rows that have a flag; return their number, or -1 (`predict_rows`)."""
        return self._predict(codes, flags, words, state, np.empty(0, dtype=np.int32), np.empty(0))

    def _predict(
        self,
        rows: Integers,
        flags: Booleans,
        words: Integers,
        state: Integers,
        bits: Integers,
        probabilities: Floats64,
    ) -> int:
        from compress.container import range_coding_kernels

        kept = range_coding_kernels.predict_rows(
            self._rows_before,
            self.prior,
            self.prior * self.density,
            self._in_column,
            self._seen,
            self._expected,
            rows,
            flags,
            words,
            state,
            self.num_kept,
            bits,
            probabilities,
        )
        self._rows_before += int(np.count_nonzero(flags))
        return int(kept)


def _cost_bits(mask: Booleans, prior: int) -> float:
    """Return the bits of an ideal coder for a mask, with the bases as probabilities."""
    filled = mask[mask.any(axis=1)]
    statistics = _Statistics(len(mask), mask.shape[1], int(mask.sum()), len(filled), prior)
    seen = np.cumsum(filled, axis=0, dtype=np.int32) - filled
    of_rows = np.arange(len(filled))[:, np.newaxis] + prior
    probabilities = np.clip((seen + prior * statistics.density) / of_rows, SMALLEST, 1 - SMALLEST)
    share = statistics.share_of_filled_rows
    empty = len(mask) - len(filled)
    of_flags = -len(filled) * np.log2(share) - empty * np.log2(1 - share)
    return float(of_flags - np.log2(np.where(filled, probabilities, 1 - probabilities)).sum())


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise InputError(
            "the range coder needs the package constriction; install the extra: pip install 'eie-codesign[range]'"
        ) from None
    return constriction
