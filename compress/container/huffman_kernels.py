"""Loops of Huffman coding."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces import kernel_lanes as lanes
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
def load_uint64(content: Integers, place: Any) -> np.uint64:
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
def store_uint64(content: Integers, place: Any, value: np.uint64) -> None:
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


# Entry of a table, uint64: the bits of its symbols, in 8 bits; the symbols, a byte each; their number, in 8 bits.
NUMBER = np.uint64(56)  # first bit of the number of symbols
SYMBOLS = np.uint64(8)  # first bit of the symbols
ONE = np.uint64(1)
TABLE_BITS = 12  # bits of a look-up; 32 KiB of entries, of which the nearest cache holds most
MASK = np.uint64(2**TABLE_BITS - 1)
LOOKUPS = 4  # of TABLE_BITS each, from one load of 8 bytes, which has at least 57 bits after the first
TOP = np.uint64(2**63)


@kernel
def fill_table(lengths: Integers, reversed_words: Integers, single: Integers) -> None:
    """Fill in, for every run of bits, the one symbol that it begins with: uint64 [2**TABLE_BITS]."""
    size = single.shape[0]
    for symbol in range(lengths.shape[0]):
        if lengths[symbol]:
            entry = np.uint64(lengths[symbol]) | ONE << NUMBER | np.uint64(symbol) << SYMBOLS
            for place in range(np.int64(reversed_words[symbol]), size, 1 << np.int64(lengths[symbol])):
                single[place] = entry


@kernel
def fill_table_of_several(single: Integers, table: Integers) -> None:
    """Fill in, for every run of bits, all symbols that end in it, up to SYMBOLS_A_LOOKUP."""
    for place in range(table.shape[0]):
        used = np.int64(single[place] & np.uint64(255))
        symbols = (single[place] >> SYMBOLS) & np.uint64(255)
        number = 1
        while number < SYMBOLS_A_LOOKUP:
            following = single[place >> used]
            length = np.int64(following & np.uint64(255))
            if used + length > TABLE_BITS:
                break
            symbols |= ((following >> SYMBOLS) & np.uint64(255)) << np.uint64(8 * number)
            used += length
            number += 1
        table[place] = np.uint64(used) | symbols << SYMBOLS | np.uint64(number) << NUMBER


@kernel
def bits_from(content: Integers, at: np.uint64) -> np.uint64:
    """Return the bits of `content` from bit `at` on, 56 or more, with the highest of the result set."""
    return load_uint64(content, at >> np.uint64(3)) >> (at & np.uint64(7)) | TOP


@kernel
def look_up(buffer: np.uint64, place: np.uint64, table: Integers, symbols: Integers) -> tuple[np.uint64, np.uint64]:
    """Write the symbols that `buffer` begins with; return what follows them, and the place after them.

    Eight bytes are written, whatever the number of symbols.
    """
    entry = table[buffer & MASK]
    store_uint64(symbols, place, entry >> SYMBOLS)
    return buffer >> (entry & np.uint64(63)), place + (entry >> NUMBER)


@kernel
def safe_rounds(content: Integers, bit: Any, room: Any) -> Any:
    """Return how many rounds of LOOKUPS from `bit` on neither read past the content nor write more than `room` bytes.

    A round takes up to LOOKUPS * TABLE_BITS bits and SYMBOLS_A_LOOKUP symbols a look-up; the last look-up writes 8.
    """
    of_symbols = (room - 8 + SYMBOLS_A_LOOKUP) // (LOOKUPS * SYMBOLS_A_LOOKUP)
    return min(of_symbols, (8 * (content.shape[0] - 8) - bit) // (LOOKUPS * TABLE_BITS))


@kernel
def read_streams(
    content: Integers,
    first_bytes: Integers,
    single: Integers,
    table: Integers,
    begins: Integers,
    symbols: Integers,
    bits_read: Integers,
) -> None:
    """Read up to 8 streams at the same time, so that a look-up in one does not wait for that in another.

    Parameters
    ----------
    content : uint8
        All streams.
    first_bytes : int64 [streams]
        Place of each stream's first byte.
    single, table : uint64 [2**TABLE_BITS]
        Entries of one symbol, and of several.
    begins : int64 [streams + 1]
        Place of each stream's first symbol in `symbols`.
    symbols : uint8
        Filled.
    bits_read : int64 [streams]
        Filled; a damaged stream may seem to end anywhere.

    Notes
    -----
    The state of the streams is in local variables: a processor would wait for a state in an array until it knows that
    no symbol is written there. For the same reason look-up k of all streams stands before look-up k + 1 of any: what
    does not depend on each other is then close enough to be computed at once.
    """
    num_streams = first_bytes.shape[0]
    last = num_streams - 1
    at = np.empty(8, dtype=np.uint64)
    places = np.empty(8, dtype=np.uint64)
    for i in range(8):  # the last stream stands for those that are missing, and is read several times
        at[i] = 8 * first_bytes[min(i, last)]
        places[i] = begins[min(i, last)]
    while num_streams > 2:
        rounds: Any = np.int64(2**62)
        for i in range(num_streams):
            rounds = min(rounds, safe_rounds(content, np.int64(at[i]), begins[i + 1] - np.int64(places[i])))
        if rounds <= 0:
            break
        a0, a1, a2, a3, a4, a5, a6, a7 = at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]
        p0, p1, p2, p3 = places[0], places[1], places[2], places[3]
        p4, p5, p6, p7 = places[4], places[5], places[6], places[7]
        for _ in range(rounds):
            b0, b1, b2, b3 = (
                bits_from(content, a0),
                bits_from(content, a1),
                bits_from(content, a2),
                bits_from(content, a3),
            )
            b4, b5, b6, b7 = (
                bits_from(content, a4),
                bits_from(content, a5),
                bits_from(content, a6),
                bits_from(content, a7),
            )
            for _lookup in range(LOOKUPS):
                b0, p0 = look_up(b0, p0, table, symbols)
                b1, p1 = look_up(b1, p1, table, symbols)
                b2, p2 = look_up(b2, p2, table, symbols)
                b3, p3 = look_up(b3, p3, table, symbols)
                b4, p4 = look_up(b4, p4, table, symbols)
                b5, p5 = look_up(b5, p5, table, symbols)
                b6, p6 = look_up(b6, p6, table, symbols)
                b7, p7 = look_up(b7, p7, table, symbols)
            a0, a1 = a0 + lanes.leading_zeros(b0), a1 + lanes.leading_zeros(b1)
            a2, a3 = a2 + lanes.leading_zeros(b2), a3 + lanes.leading_zeros(b3)
            a4, a5 = a4 + lanes.leading_zeros(b4), a5 + lanes.leading_zeros(b5)
            a6, a7 = a6 + lanes.leading_zeros(b6), a7 + lanes.leading_zeros(b7)
        at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7] = a0, a1, a2, a3, a4, a5, a6, a7
        places[0], places[1], places[2], places[3] = p0, p1, p2, p3
        places[4], places[5], places[6], places[7] = p4, p5, p6, p7
    for stream in range(num_streams):
        bit, place, end = at[stream], places[stream], np.uint64(begins[stream + 1])
        while True:
            rounds = safe_rounds(content, np.int64(bit), np.int64(end - place))
            if rounds <= 0:
                break
            for _ in range(rounds):
                buffer = bits_from(content, bit)
                for _lookup in range(LOOKUPS):
                    buffer, place = look_up(buffer, place, table, symbols)
                bit += lanes.leading_zeros(buffer)
        while place < end:
            entry = single[bits_near_end(content, bit) & MASK]
            symbols[place] = (entry >> SYMBOLS) & np.uint64(255)
            place += ONE
            bit += entry & np.uint64(63)
        bits_read[stream] = np.int64(bit) - 8 * first_bytes[stream]


@kernel
def bits_near_end(content: Integers, at: np.uint64) -> np.uint64:
    """Return 16 bits of `content` or more from bit `at` on; after its end there are zeros."""
    value = np.uint64(0)
    first = np.int64(at >> np.uint64(3))
    for byte in range(max(0, min(3, content.shape[0] - first))):
        value |= np.uint64(content[first + byte]) << np.uint64(8 * byte)
    return value >> (at & np.uint64(7))
