"""Loops that measure a matrix of codes before it is written, and count its bytes."""

from __future__ import annotations

import numpy as np

from compress.container.huffman_kernels import symbols_bits
from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def count_gaps(codes: Integers, counts: Integers) -> int:
    """Count the gaps of a flat vector's non-zeros modulo 256; return how often 256 zeros are skipped before them.

    Parameters
    ----------
    codes : bool or unsigned integer [n]
    counts : int64 [256]
        Raised.
    """
    gap = 0
    fillers = 0
    for i in range(codes.shape[0]):
        if codes[i]:
            counts[gap & 255] += 1
            fillers += gap >> 8
            gap = 0
        else:
            gap += 1
    return fillers


@kernel
def count_gaps_of_columns(codes: Integers, num_pes: int, counts: Integers) -> int:
    """Count gaps as `count_gaps` does, in the order of `num_pes` PEs: of one, column after column.

    Rows are read as they lie in memory. A gap inside a column counts when its row is read; those from column to column
    need only the first and the last non-zero of each.

    Parameters
    ----------
    codes : bool or unsigned integer [rows, columns]
        Contiguous rows.
    num_pes : int
        PEs, at most as many as rows; PE k holds the rows k, k + num_pes, and so on.
    counts : int64 [256]
        Raised.
    """
    rows, columns = codes.shape
    first, last = np.empty(columns, dtype=np.int32), np.empty(columns, dtype=np.int32)
    used = np.empty(columns, dtype=np.int32)
    fillers = 0
    begin, end_before = 0, -1  # of a PE's vector in that of all, and of the last non-zero
    for pe in range(num_pes):
        last[:] = -1
        own_rows = (rows - pe + num_pes - 1) // num_pes
        for row in range(own_rows):
            number = 0
            for column in range(columns):  # a loop without choices, as most codes are 0
                used[number] = column
                number += codes[pe + row * num_pes, column] != 0
            for place in range(number):
                column = used[place]
                if last[column] < 0:
                    first[column] = row
                else:
                    gap = row - last[column] - 1
                    counts[gap & 255] += 1
                    fillers += gap >> 8
                last[column] = row
        for column in range(columns):
            if last[column] >= 0:
                gap = begin + first[column] - end_before - 1
                counts[gap & 255] += 1
                fillers += gap >> 8
                end_before = begin + last[column]
            begin += own_rows
    return fillers


@kernel
def fold_gaps(modulo_256: Integers, skipped: int, width: int, counts: Integers) -> int:
    """Count the gaps of entries for one width of a gap; return the number of padding entries.

    Parameters
    ----------
    modulo_256, skipped
        As `count_gaps` counts them.
    width : int
        Bits of a gap, 1 to 8.
    counts : int64 [256]
        Raised.
    """
    fillers = skipped << (8 - width)
    for gap in range(256):
        counts[gap & ((1 << width) - 1)] += modulo_256[gap]
        fillers += modulo_256[gap] * (gap >> width)
    counts[(1 << width) - 1] += fillers
    return fillers


@kernel
def measure_gaps(
    codes: Integers,
    num_pes: int,
    widths: Integers,
    max_length: int,
    counts: Integers,
    bits: Integers,
    fillers: Integers,
) -> None:
    """Count the gaps of a matrix's non-zeros in one scan order for several widths, and the bits that they take.

    Parameters
    ----------
    codes : bool or unsigned integer [rows, columns]
        Contiguous rows.
    num_pes : int
        0 for row after row; otherwise as `count_gaps_of_columns` takes it.
    widths : int64 [widths]
        Bits of a gap, 1 to 8 each.
    max_length : int
        Bits of the longest code word.
    counts : int64 [widths, 256]
        Raised by the occurrences of each gap, those of padding entries included.
    bits, fillers : int64 [widths]
        Results: bits of the gaps and of their code table, and padding entries.
    """
    modulo_256 = np.zeros(256, dtype=np.int64)
    if num_pes:
        skipped = count_gaps_of_columns(codes, num_pes, modulo_256)
    else:
        skipped = count_gaps(codes.reshape(-1), modulo_256)
    for number in range(widths.shape[0]):
        width = widths[number]
        fillers[number] = fold_gaps(modulo_256, skipped, width, counts[number])
        bits[number] = symbols_bits(counts[number, : 1 << width], max_length)


@kernel
def count_codes(codes: Integers, counts: Integers) -> None:
    """Count each byte of the codes that are not 0.

    Parameters
    ----------
    codes : uint8 or uint16 [n]
    counts : int64 [planes, 256]
        Raised; the lower byte counts in the first plane.
    """
    for i in range(codes.shape[0]):
        code = np.int64(codes[i])
        if code:
            for plane in range(counts.shape[0]):
                counts[plane, code & 255] += 1
                code = code >> 8


@kernel
def cheapest(of_gaps: Integers, fillers: Integers, planes: Integers, max_length: int) -> int:
    """Return the place of the way that takes the fewest bits; of equal ones the first.

    Parameters
    ----------
    of_gaps : int64 [ways]
        Bits of everything but the codes.
    fillers : int64 [ways]
        Padding entries, whose code is 0.
    planes : int64 [planes, 256]
        Occurrences of each byte of the codes that are not 0.
    max_length : int
        Bits of the longest code word.
    """
    best = 0
    least = 2**62
    known = np.empty(fillers.shape[0], dtype=np.int64)
    for way in range(fillers.shape[0]):
        of_codes = -1
        for earlier in range(way):
            if fillers[earlier] == fillers[way]:
                of_codes = known[earlier]
                break
        if of_codes < 0:
            of_codes = 0
            for plane in range(planes.shape[0]):
                planes[plane, 0] += fillers[way]
                of_codes += symbols_bits(planes[plane], max_length)
                planes[plane, 0] -= fillers[way]
        known[way] = of_codes
        if of_gaps[way] + of_codes < least:
            least = of_gaps[way] + of_codes
            best = way
    return best


@kernel
def count_stream_bits(codes: Integers, width: int, run: int, lengths: Integers, bits: Integers) -> None:
    """Add up the bits of each stream of gaps and codes (`huffman.encode`), without writing them.

    Parameters
    ----------
    codes : uint8 or uint16 [n]
        In scan order.
    width : int
        Bits of a gap.
    run : int
        Entries of a stream.
    lengths : int64 [1 + planes, 256]
        Lengths of the code words of gaps, and of each byte of the codes.
    bits : int64 [1 + planes, streams]
        Raised.
    """
    max_gap = 1 << width
    gap = 0
    entry = 0
    for i in range(codes.shape[0]):
        if codes[i] == 0:
            gap += 1
            continue
        while gap >= max_gap:
            stream = entry // run
            bits[0, stream] += lengths[0, max_gap - 1]
            for plane in range(1, bits.shape[0]):
                bits[plane, stream] += lengths[plane, 0]
            gap -= max_gap
            entry += 1
        stream = entry // run
        bits[0, stream] += lengths[0, gap]
        code = np.int64(codes[i])
        for plane in range(1, bits.shape[0]):
            bits[plane, stream] += lengths[plane, code & 255]
            code = code >> 8
        gap = 0
        entry += 1
