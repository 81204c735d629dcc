"""The loops of Huffman coding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]


@kernel
def write_words(symbols: Integers, lengths: Integers, words: Integers, content: Integers) -> None:
    """Write the code word of each symbol into `content`, uint8, zeros, just long enough."""
    waiting = np.uint64(0)  # bits not yet written, right-aligned
    num_waiting = np.int64(0)
    place = 0
    for i in range(symbols.shape[0]):
        length = np.int64(lengths[symbols[i]])
        waiting = (waiting << np.uint64(length)) | np.uint64(words[symbols[i]])
        num_waiting += length
        while num_waiting >= 8:
            num_waiting -= 8
            content[place] = (waiting >> np.uint64(num_waiting)) & np.uint64(255)
            place += 1
    if num_waiting > 0:
        content[place] = (waiting << np.uint64(8 - num_waiting)) & np.uint64(255)


@kernel
def read_words(content: Integers, per_length: Integers, order: Integers, symbols: Integers) -> int:
    """Fill `symbols`; return the bits read, or -1 if `content` ends too early.

    per_length   code words of each length, from length 0 on; a complete prefix code
    order        symbols in the order of their code words
    """
    num_bits = content.shape[0] * 8
    bit = 0
    for i in range(symbols.shape[0]):
        word = 0  # the bits read so far, less the first code word of this length
        before = 0  # code words that are shorter
        length = 0
        while True:
            if bit >= num_bits:
                return -1
            word = word * 2 + ((content[bit >> 3] >> (7 - (bit & 7))) & 1)
            bit += 1
            length += 1
            if word < per_length[length]:
                symbols[i] = order[before + word]
                break
            word -= per_length[length]
            before += per_length[length]
    return bit
