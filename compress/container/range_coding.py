"""Second entropy coder: range coding of the non-zeros' positions in adaptive contexts, and then of their codes.

It needs the optional package constriction (Bamler, "Understanding Entropy Coding", 2022). Rows are coded one after the
other, each in four passes: every eighth column; the columns in the middle between two of these; and twice again. Let
n[c] be the non-zeros in column c of the r rows before that are not empty, and d the density of the whole matrix. The
base probability that a weight of a row that is not empty is non-zero is

    base = (n[c] + prior * d') / (r + prior),    d' = d / share of rows that are not empty

It is multiplied by the ratio of seen to expected non-zeros among the weights before it of the same pass and context.
The context is the number of non-zeros among its two neighbours of earlier passes, and whether the row's earlier passes
held far fewer, fewer, as many or more non-zeros than expected. Probabilities are whole numbers over 2**16, made by
sums, products and quotients alone, so that every machine computes the same. Codes are coded by their frequencies.

`guide/container.md` describes the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.container.bytes_io import ByteReader, varint
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers, Integers64

PRIORS = (1, 2, 4, 8, 16, 32)
_ONE = 2**16  # probabilities are whole numbers over this
_SMALLEST = 1 / _ONE  # a symbol that was never seen is still possible
_LARGEST = 0.98
_MOST_PER_BYTE = 300  # weights: one of probability _LARGEST takes 0.029 bits
_AT_ONCE = 2**20  # flags of rows
_DISTANCES = (4, 2, 1)  # of the neighbours in the passes after the first
_BUSY = (0.4, 0.9, 1.8)  # ratios of a row's non-zeros to the expected: borders between its contexts
_CONTEXTS = 3 * (len(_BUSY) + 1)
_DOUBT = 2 * _ONE  # counted as seen and as expected at the start


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
    context = _Context(codes.shape[1], int(counts.sum()), int(filled.sum()), len(codes), PRIORS[prior])
    encoder.encode(filled.astype(np.int32), stream.model.Bernoulli(context.share_of_filled_rows, perfect=False))

    def write(row: Integers, columns: Integers, probabilities: Floats64) -> Integers:
        bits: Integers = row[columns].astype(np.int32)
        encoder.encode(bits, bernoulli, probabilities)
        return bits

    for row in mask[filled]:
        context.code_row(partial(write, row))
    if np.count_nonzero(counts) > 1:
        encoder.encode(codes[mask].astype(np.int32) - 1, _categorical(stream, counts))
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
    counts = np.array([reader.varint() for _ in range(2**weight_bits - 1)])
    if counts.sum() != num_kept or not -(-num_kept // columns) <= num_filled <= min(rows, num_kept):
        raise ValueError(f"{num_kept:,} weights of {counts.sum():,} codes in {num_filled:,} of {rows:,} rows")
    if reader.left % 4:
        raise ValueError("the coder's words are cut off")
    if num_kept > _MOST_PER_BYTE * (reader.left + 4):
        raise ValueError(f"{num_kept:,} weights are more than {reader.left:,} bytes can hold")
    try:
        return _decode(reader, rows, columns, transposed, PRIORS[prior], num_filled, counts, dtype)
    except AssertionError as error:  # constriction raises it for data that no encoder writes
        raise ValueError(str(error)) from None


def _decode(
    reader: ByteReader,
    rows: int,
    columns: int,
    transposed: int,
    prior: int,
    num_filled: int,
    counts: Integers64,
    dtype: npt.DTypeLike,
) -> Integers:
    stream = _constriction().stream
    num_kept = int(counts.sum())
    decoder = stream.queue.RangeDecoder(np.frombuffer(reader.take(reader.left), dtype="<u4").astype(np.uint32))
    bernoulli = stream.model.Bernoulli(perfect=False)
    context = _Context(columns, num_kept, num_filled, rows, prior)
    codes = np.zeros((rows, columns), dtype=dtype)
    of_flags = stream.model.Bernoulli(context.share_of_filled_rows, perfect=False)
    flags = [decoder.decode(of_flags, min(_AT_ONCE, rows - at)) != 0 for at in range(0, rows, _AT_ONCE)]
    for row in np.flatnonzero(np.concatenate(flags)):
        codes[row] = context.code_row(lambda _, probabilities: decoder.decode(bernoulli, probabilities))
    if np.count_nonzero(codes) != num_kept:
        raise ValueError(f"{np.count_nonzero(codes):,} weights where {num_kept:,} must be")
    if np.count_nonzero(counts) > 1:
        codes[codes != 0] = decoder.decode(_categorical(stream, counts), num_kept) + 1
    elif num_kept:
        codes[codes != 0] = 1 + int(counts.argmax())
    if not decoder.maybe_exhausted():
        raise ValueError("words are left after the last weight")
    return np.ascontiguousarray(codes.T) if transposed else codes


class _Context:
    """Statistics of the rows so far, which predict the next one."""

    def __init__(self, columns: int, num_kept: int, num_filled: int, rows: int, prior: int) -> None:
        self.density = num_kept / (max(1, num_filled) * columns)
        self.share_of_filled_rows = min(max(num_filled / rows, _SMALLEST), 1 - _SMALLEST)
        self.prior = prior
        self.rows = 0
        self.in_column = np.zeros(columns, dtype=np.int64)
        self.passes = [(np.arange(0, columns, 8), 0)]
        self.passes += [(np.arange(distance, columns, 2 * distance), distance) for distance in _DISTANCES]
        self.seen = np.zeros((len(self.passes), _CONTEXTS), dtype=np.int64)
        self.expected = np.zeros((len(self.passes), _CONTEXTS), dtype=np.int64)

    def bases(self) -> Floats64:
        """Return the base probability of each weight of the next row that is not empty."""
        bases = (self.in_column + self.prior * self.density) / (self.rows + self.prior)
        return np.clip(bases, _SMALLEST, 1 - _SMALLEST)

    def code_row(self, code: Callable[[Integers, Floats64], Integers]) -> Integers:
        """Code the next row, pass by pass: `code` takes columns and probabilities of a pass and returns its bits."""
        reach = max(_DISTANCES)
        row = np.zeros(len(self.in_column) + 2 * reach, dtype=np.int64)
        bases = self.bases()
        whole = (bases * _ONE).astype(np.int64)
        in_row = expected_in_row = 0
        for number, (columns, distance) in enumerate(self.passes):
            contexts = np.zeros(len(columns), dtype=np.int64)
            if distance:
                busy = (in_row * _ONE + _ONE // 2) / (expected_in_row + _ONE // 2)
                contexts += 3 * sum(busy >= border for border in _BUSY)
                contexts += row[columns + reach - distance] + row[columns + reach + distance]
            raised = (self.seen[number] * _ONE + _DOUBT) / (self.expected[number] + _DOUBT)
            probabilities = np.floor(np.clip(bases[columns] * raised[contexts], _SMALLEST, _LARGEST) * _ONE) / _ONE
            bits = code(columns, probabilities)
            row[columns + reach] = bits
            self.seen[number] += np.bincount(contexts[bits != 0], minlength=_CONTEXTS)
            np.add.at(self.expected[number], contexts, whole[columns])
            in_row += int(bits.sum())
            expected_in_row += int(whole[columns].sum())
        bits_of_row = row[reach : len(row) - reach]
        self.in_column += bits_of_row
        self.rows += 1
        return bits_of_row


def _cost_bits(mask: Booleans, prior: int) -> float:
    """Return the bits of an ideal coder for a mask, with the bases as probabilities."""
    filled = mask[mask.any(axis=1)]
    context = _Context(mask.shape[1], int(mask.sum()), len(filled), len(mask), prior)
    seen = np.cumsum(filled, axis=0, dtype=np.int32) - filled
    of_rows = np.arange(len(filled))[:, np.newaxis] + prior
    probabilities = np.clip((seen + prior * context.density) / of_rows, _SMALLEST, 1 - _SMALLEST)
    share = context.share_of_filled_rows
    empty = len(mask) - len(filled)
    of_flags = -len(filled) * np.log2(share) - empty * np.log2(1 - share)
    return float(of_flags - np.log2(np.where(filled, probabilities, 1 - probabilities)).sum())


def _categorical(stream: Any, counts: Integers64) -> Any:
    return stream.model.Categorical(counts / counts.sum(), perfect=False)


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise InputError(
            "the range coder needs the package constriction; install the extra: pip install 'eie-codesign[range]'"
        ) from None
    return constriction
