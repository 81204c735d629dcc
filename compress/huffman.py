"""Canonical Huffman coding, with code words of limited length.

A code is given by the length of each symbol's code word alone: words are counted up in the order of (length,
symbol), as in RFC 1951, section 3.2.2. Bits go into bytes from the highest bit down; the last byte is filled
up with zeros. A code with one symbol spends no bits at all: the number of symbols says everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_LENGTH = 24  # bits of the longest code word; enough for 65,536 symbols

Lengths = npt.NDArray[np.uint8]
Symbols = npt.NDArray[Any]


def code_lengths(counts: npt.NDArray[Any], max_length: int = MAX_LENGTH) -> Lengths:
    """The best length of each symbol's code word, at most `max_length`; 0 for a symbol that never occurs.

    counts: how often each symbol occurs, integers [symbols]. Package-merge: Larmore and Hirschberg, "A Fast
    Algorithm for Optimal Length-Limited Huffman Codes", JACM 1990. Raises ValueError if `max_length` bits
    cannot tell the symbols apart.
    """
    used = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), dtype=np.uint8)
    if used.size <= 1:
        lengths[used] = 1
        return lengths
    if used.size > 2**max_length:
        raise ValueError(f"{used.size} symbols need code words of more than {max_length} bits")
    # A package is its weight and how often each symbol lies in it; symbols in it are listed, with repeats.
    leaves = sorted((int(counts[symbol]), [int(symbol)]) for symbol in used)
    packages: list[tuple[int, list[int]]] = []
    for _ in range(max_length):
        merged = sorted(leaves + packages, key=lambda package: package[0])
        packages = [
            (left[0] + right[0], left[1] + right[1]) for left, right in zip(merged[0::2], merged[1::2], strict=False)
        ]
    for _, symbols in packages[: used.size - 1]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def encode(symbols: Symbols, lengths: Lengths) -> bytes:
    """The code words of `symbols`, one after the other. Every symbol must have a code word."""
    if symbols.size == 0 or np.count_nonzero(lengths) <= 1:
        return b""
    from compress import huffman_kernels

    num_bits = int(lengths.astype(np.int64)[symbols].sum())
    content = np.zeros((num_bits + 7) // 8, dtype=np.uint8)
    huffman_kernels.write_words(symbols, lengths, canonical_words(lengths), content)
    return content.tobytes()


def decode(content: bytes, num_symbols: int, lengths: Lengths, dtype: npt.DTypeLike) -> Symbols:
    """Read `num_symbols` symbols back. Raises ValueError if `lengths` is no code or `content` does not fit."""
    symbols = np.empty(num_symbols, dtype=dtype)
    used = np.flatnonzero(lengths)
    if used.size <= 1:
        if content or (num_symbols and not used.size):
            raise ValueError("the code has no word for the stored bits")
        symbols[:] = used[0] if num_symbols else 0
        return symbols
    per_length = np.bincount(lengths[used], minlength=MAX_LENGTH + 1)
    room = sum(int(number) * 2.0**-length for length, number in enumerate(per_length))  # Kraft, exact in floats
    if lengths.max() > MAX_LENGTH or room != 1:
        raise ValueError("the code lengths make no complete prefix code")
    from compress import huffman_kernels

    bits_read = huffman_kernels.read_words(
        np.frombuffer(content, dtype=np.uint8), per_length, _canonical_order(lengths), symbols
    )
    if bits_read < 0 or (bits_read + 7) // 8 != len(content):
        raise ValueError(f"{num_symbols:,} symbols do not end where the {len(content):,} stored bytes do")
    return symbols


def _canonical_order(lengths: Lengths) -> npt.NDArray[np.int64]:
    """The symbols that have a code word, in the order of the words: by (length, symbol)."""
    used = np.flatnonzero(lengths)
    return used[np.argsort(lengths[used], kind="stable")]


def canonical_words(lengths: Lengths) -> npt.NDArray[np.uint32]:
    """The code word of each symbol, right-aligned; 0 where a symbol has none."""
    words = np.zeros(len(lengths), dtype=np.uint32)
    word, previous = 0, 0
    for symbol in _canonical_order(lengths):
        word <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        words[symbol] = word
        word += 1
    return words
