"""Loops of Huffman coding."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers
from traces.kernel_cache import kernel

SYMBOLS_A_LOOKUP = 6  # most symbols of a table entry


@kernel
def fill_code_lengths(counts: Integers, max_length: int, lengths: Integers) -> None:
    """Fill in the length of each symbol's code word by package-merge (`huffman.code_lengths`).

    In each of `max_length` lists, leaves and packages of two from the list before are merged by weight; of equal ones
    the leaf is first. Of the last list, the first 2 n - 2 are taken; of each list before, the two parts of every
    package taken. A leaf's length is how often it is taken.

    Parameters
    ----------
    counts : int64 [symbols]
        Occurrences, each below 2**54; at most 2**max_length and 256 of them are not 0.
    max_length : int
        Bits of the longest code word.
    lengths : uint8 [symbols]
        Filled.
    """
    used = 0
    for symbol in range(counts.shape[0]):
        lengths[symbol] = 0
        used += counts[symbol] > 0
    ascending = np.empty(used, dtype=np.int64)  # a count and its symbol, so that no two are equal
    place = 0
    for symbol in range(counts.shape[0]):
        if counts[symbol] > 0:
            ascending[place] = counts[symbol] << 8 | symbol
            place += 1
    if used <= 1:
        if used:
            lengths[ascending[0] & 255] = 1
        return
    ascending.sort()
    leaves_before = np.empty((max_length, 2 * used), dtype=np.int16)  # leaves among the first i + 1 of each list
    merged, before = np.empty(2 * used, dtype=np.int64), np.empty(2 * used, dtype=np.int64)
    num_before = 0
    for step in range(max_length):
        num_packages = num_before // 2
        leaf = package = 0
        for place in range(used + num_packages):
            weight = before[2 * package] + before[2 * package + 1] if package < num_packages else 0
            if leaf < used and (package == num_packages or ascending[leaf] >> 8 <= weight):
                weight = ascending[leaf] >> 8
                leaf += 1
            else:
                package += 1
            merged[place] = weight
            leaves_before[step, place] = leaf
        num_before = used + num_packages
        merged, before = before, merged
    taken = 2 * used - 2
    for step in range(max_length - 1, -1, -1):
        if taken == 0:
            break
        num_leaves = int(leaves_before[step, taken - 1])
        for place in range(num_leaves):
            lengths[ascending[place] & 255] += 1
        taken = 2 * (taken - num_leaves)


@kernel
def table_bytes(lengths: Integers) -> int:
    """Return the bytes of `layer_coding.code_table`: half a byte for each symbol, and one more for a run of zeros."""
    halves = 0
    symbol = 0
    while symbol < lengths.shape[0]:
        halves += 1
        symbol += 1
        if lengths[symbol - 1] == 0:
            halves += 1
            more = 0
            while more < 15 and symbol < lengths.shape[0] and lengths[symbol] == 0:
                more += 1
                symbol += 1
    return (halves + 1) // 2


@kernel
def symbols_bits(counts: Integers, max_length: int) -> int:
    """Return the bits of symbols with these occurrences, int64, and of their code table; 0 for one symbol alone."""
    used = 0
    for symbol in range(counts.shape[0]):
        used += counts[symbol] > 0
    if used <= 1:
        return 0
    lengths = np.empty(counts.shape[0], dtype=np.uint8)
    fill_code_lengths(counts, max_length, lengths)
    bits = 8 * table_bytes(lengths)
    for symbol in range(counts.shape[0]):
        bits += int(counts[symbol] * np.int64(lengths[symbol]))
    return bits


@kernel
def fill_reversed_words(lengths: Integers, max_length: int, words: Integers) -> None:
    """Fill in the code word of each symbol, uint32, its first bit lowest; 0 if a symbol has none.

    `lengths` are uint8 [symbols], at most `max_length`. Words count up in the order of (length, symbol).
    """
    for symbol in range(words.shape[0]):
        words[symbol] = 0
    word = 0
    for length in range(1, max_length + 1):
        for symbol in range(lengths.shape[0]):
            if lengths[symbol] == length:
                for bit in range(length):
                    words[symbol] |= np.uint32(((word >> bit) & 1) << (length - 1 - bit))
                word += 1
        word <<= 1


@kernel
def load_uint64(content: Integers, place: int) -> np.uint64:
    """Return eight bytes of a uint8 array from `place` on as a number, lowest byte first; compiled to one load."""
    at = np.uint64(place)
    value = np.uint64(content[at])
    value |= np.uint64(content[at + np.uint64(1)]) << np.uint64(8)
    value |= np.uint64(content[at + np.uint64(2)]) << np.uint64(16)
    value |= np.uint64(content[at + np.uint64(3)]) << np.uint64(24)
    value |= np.uint64(content[at + np.uint64(4)]) << np.uint64(32)
    value |= np.uint64(content[at + np.uint64(5)]) << np.uint64(40)
    value |= np.uint64(content[at + np.uint64(6)]) << np.uint64(48)
    value |= np.uint64(content[at + np.uint64(7)]) << np.uint64(56)
    return value


@kernel
def store_uint64(content: Integers, place: int, value: np.uint64) -> None:
    """Write a number as eight bytes of a uint8 array from `place` on, lowest first; compiled to one store."""
    at = np.uint64(place)
    content[at] = value & np.uint64(255)
    content[at + np.uint64(1)] = (value >> np.uint64(8)) & np.uint64(255)
    content[at + np.uint64(2)] = (value >> np.uint64(16)) & np.uint64(255)
    content[at + np.uint64(3)] = (value >> np.uint64(24)) & np.uint64(255)
    content[at + np.uint64(4)] = (value >> np.uint64(32)) & np.uint64(255)
    content[at + np.uint64(5)] = (value >> np.uint64(40)) & np.uint64(255)
    content[at + np.uint64(6)] = (value >> np.uint64(48)) & np.uint64(255)
    content[at + np.uint64(7)] = (value >> np.uint64(56)) & np.uint64(255)


@kernel
def write_stream(symbols: Integers, lengths: Integers, reversed_words: Integers, stream: Integers) -> None:
    """Write the code word of each symbol into `stream`, uint32 [words], long enough, from the lowest bit up."""
    waiting = np.uint64(0)
    num_waiting = np.uint64(0)
    place = np.int64(0)
    for i in range(symbols.shape[0]):
        symbol = symbols[i]
        waiting |= np.uint64(reversed_words[symbol]) << num_waiting
        num_waiting += np.uint64(lengths[symbol])
        stream[place] = np.uint32(waiting)  # written again until 32 bits have come: no branch to predict
        full = num_waiting >> np.uint64(5)
        waiting >>= full << np.uint64(5)
        num_waiting &= np.uint64(31)
        place += np.int64(full)
    stream[place] = np.uint32(waiting)


# Entry of a table, uint64: the bits of its symbols, in 6 bits; their number, in 10 bits; from bit 16 on the symbols, a
# byte each.
ONE = np.uint64(1 << 6)


@kernel
def fill_table(lengths: Integers, reversed_words: Integers, single: Integers) -> None:
    """Fill in, for every run of bits, the one symbol that it begins with: uint64 [2**bits]."""
    size = single.shape[0]
    for symbol in range(lengths.shape[0]):
        if lengths[symbol]:
            entry = np.uint64(lengths[symbol]) | ONE | np.uint64(symbol) << np.uint64(16)
            for place in range(np.int64(reversed_words[symbol]), size, 1 << np.int64(lengths[symbol])):
                single[place] = entry


@kernel
def fill_table_of_several(single: Integers, bits: int, table: Integers) -> None:
    """Fill in, for every run of bits, all symbols that end in it, up to SYMBOLS_A_LOOKUP."""
    for place in range(table.shape[0]):
        entry = single[place]
        used = np.int64(entry & np.uint64(63))
        symbols = entry >> np.uint64(16)
        number = 1
        while number < SYMBOLS_A_LOOKUP:
            following = single[place >> used]
            length = np.int64(following & np.uint64(63))
            if used + length > bits:
                break
            symbols |= (following >> np.uint64(16)) << np.uint64(8 * number)
            used += length
            number += 1
        table[place] = np.uint64(used) | np.uint64(number) * ONE | symbols << np.uint64(16)


@kernel
def read_streams(
    content: Integers,
    first_bytes: Integers,
    single: Integers,
    table: Integers,
    bits: int,
    begins: Integers,
    symbols: Integers,
    bits_read: Integers,
) -> None:
    """Read all streams at the same time, so that a look-up in one does not wait for that in another.

    Parameters
    ----------
    content : uint8
        All streams, and 8 more bytes after the last.
    first_bytes : int64 [streams]
        Place of each stream's first byte.
    single, table : uint64 [2**bits]
        Entries of one symbol, and of several.
    bits : int
        Bits of a look-up, up to 12.
    begins : int64 [streams + 1]
        Place of each stream's first symbol in `symbols`.
    symbols : uint8
        Filled.
    bits_read : int64 [streams]
        Filled; a damaged stream may seem to end anywhere.
    """
    num_streams = first_bytes.shape[0]
    mask = np.uint64((1 << bits) - 1)
    last = np.int64(content.shape[0] - 8)
    at = first_bytes * 8
    places = begins[:num_streams].copy()
    while True:
        rounds = np.int64(2**62)
        for stream in range(num_streams):
            rounds = min(rounds, (begins[stream + 1] - places[stream] - 2) // (4 * SYMBOLS_A_LOOKUP))
        if rounds <= 0:
            break
        for _ in range(rounds):
            for stream in range(num_streams):
                bit, place = at[stream], places[stream]
                buffer = load_uint64(content, min(bit >> 3, last)) >> np.uint64(bit & 7)
                taken = np.uint64(0)
                for _lookup in range(4):  # of up to 12 bits each; the buffer has at least 57
                    entry = table[buffer & mask]
                    store_uint64(symbols, place, entry >> np.uint64(16))
                    place += np.int64((entry >> np.uint64(6)) & np.uint64(7))
                    buffer >>= entry & np.uint64(63)
                    taken += entry
                at[stream] = bit + np.int64(taken & np.uint64(63))
                places[stream] = place
    for stream in range(num_streams):
        bit, place, end = at[stream], places[stream], begins[stream + 1]
        while place < end:
            buffer = load_uint64(content, min(bit >> 3, last)) >> np.uint64(bit & 7)
            entry = table[buffer & mask]
            if end - place < 8:
                entry = single[buffer & mask]
                symbols[place] = entry >> np.uint64(16)
            else:
                store_uint64(symbols, place, entry >> np.uint64(16))
            place += np.int64((entry >> np.uint64(6)) & np.uint64(7))
            bit += np.int64(entry & np.uint64(63))
        bits_read[stream] = bit - first_bytes[stream] * 8
