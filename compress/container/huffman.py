"""Canonical Huffman coding of bytes, with code words of limited length, in several streams.

Words are counted up in the order of (length, symbol), as in RFC 1951, section 3.2.2. The streams of one code are
decoded at the same time, so that a look-up in one does not wait for that in another. `guide/container.md` describes
the bytes.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from compress.container.bytes_io import ByteReader, varint
from traces.arrays import Integers, Integers64

MAX_LENGTH = 12  # bits of the longest code word; the decoder's table then stays in the nearest cache
SYMBOLS_A_STREAM = 2**14  # fewer are not worth the bytes of another stream
MOST_STREAMS = 8

Lengths = npt.NDArray[np.uint8]
Symbols = npt.NDArray[np.uint8]


def code_lengths(counts: Integers, max_length: int = MAX_LENGTH) -> Lengths:
    """Return the optimal length of each symbol's code word, at most `max_length`; 0 for a symbol that never occurs.

    Parameters
    ----------
    counts : int [up to 256]
        Occurrences of each symbol, below 2**54.
    max_length : int
        Bits of the longest code word.

    Raises
    ------
    ValueError
        If there are more symbols than code words of `max_length` bits.

    Notes
    -----
    Package-merge: Larmore and Hirschberg, "A Fast Algorithm for Optimal Length-Limited Huffman Codes", JACM 1990.
    """
    used = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), dtype=np.uint8)
    if used.size <= 1:
        lengths[used] = 1
        return lengths
    if used.size > 2**max_length:
        raise ValueError(f"{used.size} symbols need code words of more than {max_length} bits")
    from compress.container import huffman_kernels

    huffman_kernels.fill_code_lengths(counts.astype(np.int64), max_length, lengths)
    return lengths


def coded_bits(counts: Integers) -> int:
    """Return the bits of one stream of symbols with these occurrences."""
    if np.count_nonzero(counts) <= 1:
        return 0
    return int((counts.astype(np.int64) * code_lengths(counts)).sum())


def encode(symbols: Symbols, lengths: Lengths) -> bytes:
    """Return the streams of `symbols`. Every symbol must have a code word."""
    if symbols.size == 0 or np.count_nonzero(lengths) <= 1:
        return b""
    from compress.container import huffman_kernels

    words = _reversed_words(lengths)
    begins = stream_begins(symbols.size)
    streams = []
    for begin, end in itertools.pairwise(begins):
        run = symbols[begin:end]
        num_bits = int(np.bincount(run, minlength=len(lengths)) @ lengths.astype(np.int64))
        stream = np.zeros(num_bits // 32 + 2, dtype="<u4")
        huffman_kernels.write_stream(run, lengths, words, stream)
        streams.append(stream.tobytes()[: (num_bits + 7) // 8])
    return b"".join([*(varint(len(stream)) for stream in streams[:-1]), *streams])


def decode(content: bytes, num_symbols: int, lengths: Lengths) -> Symbols:
    """Read `num_symbols` symbols back. Raises ValueError if `lengths` is no code, or `content` does not fit."""
    used = np.flatnonzero(lengths)
    if used.size <= 1:
        if content or (num_symbols and not used.size):
            raise ValueError("the code has no word for the stored bits")
        return np.full(num_symbols, used[0] if num_symbols else 0, dtype=np.uint8)
    longest = int(lengths.max())
    if longest > MAX_LENGTH or (2.0 ** -lengths[used].astype(np.float64)).sum() != 1:  # Kraft, exact in floats
        raise ValueError("the code lengths make no complete prefix code")
    if not num_symbols:
        if content:
            raise ValueError("bytes are stored for no symbols")
        return np.zeros(0, dtype=np.uint8)
    from compress.container import huffman_kernels

    begins = stream_begins(num_symbols)
    reader = ByteReader(content)
    sizes = [reader.varint() for _ in range(len(begins) - 2)]
    sizes.append(len(content) - reader.position - sum(sizes))
    if sizes[-1] < 0 or num_symbols > 8 * len(content):
        raise ValueError(f"{len(content):,} bytes do not hold {num_symbols:,} symbols in {len(sizes)} streams")
    first_bytes = reader.position + np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
    single, table = np.empty((2, 2**huffman_kernels.TABLE_BITS), dtype=np.uint64)
    huffman_kernels.fill_table(lengths, _reversed_words(lengths), single)
    huffman_kernels.fill_table_of_several(single, table)
    symbols = np.empty(num_symbols, dtype=np.uint8)
    bits_read = np.zeros(len(sizes), dtype=np.int64)
    huffman_kernels.read_streams(
        np.frombuffer(content, dtype=np.uint8), first_bytes, single, table, begins, symbols, bits_read
    )
    if ((bits_read + 7) // 8 != sizes).any():
        raise ValueError(f"{num_symbols:,} symbols do not end where the {len(content):,} stored bytes do")
    return symbols


def _reversed_words(lengths: Lengths) -> Integers:
    """Return the code word of each symbol, uint32, its first bit lowest."""
    from compress.container import huffman_kernels

    words = np.empty(len(lengths), dtype=np.uint32)
    huffman_kernels.fill_reversed_words(lengths, MAX_LENGTH, words)
    return words


def stream_begins(num_symbols: int) -> Integers64:
    """Return the begin of each stream's run of symbols, and the end of the last."""
    streams = min(max(num_symbols // SYMBOLS_A_STREAM, 1), MOST_STREAMS)
    run = -(-num_symbols // streams)
    return np.minimum(np.arange(streams + 1) * run, num_symbols)
