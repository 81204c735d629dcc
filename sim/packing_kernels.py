"""Loops of packing, on the bits that tell which weights are kept: one counts the entries, another one places them."""

from __future__ import annotations

import numpy as np

from traces import kernel_lanes as lanes
from traces.arrays import Integers
from traces.kernel_cache import kernel

COLUMNS_AT_ONCE = 256  # of which entries are placed at once: what is written then stays in the nearest cache


@kernel
def mark_kept(codes: Integers, bias: Integers, kept: Integers) -> None:
    """Set the bits of the weights that are kept, uint64 [words, rows]: bit c of word w is that of column 64 w + c.

    `bias`, [rows] or [0] if there is none, is one more column.
    """
    rows, columns = np.uint64(codes.shape[0]), np.uint64(codes.shape[1])
    size = np.uint64(lanes.LANES)
    whole, rest = columns // size, columns % size
    zeros = lanes.spread(codes.dtype.type(0))
    first = np.uint64(0)
    while first < rows:  # eight words of a row of `kept` are a cache line
        end = min(first + np.uint64(8), rows)
        for word in range(whole):
            for row in range(first, end):
                kept[word, row] = ~lanes.equal(lanes.load(codes, row * columns + word * size), zeros)
        first = end
    for row in range(rows if whole < np.uint64(kept.shape[0]) else np.uint64(0)):
        mask = np.uint64(0)
        for column in range(rest):
            mask |= np.uint64(codes[row, whole * size + column] != 0) << column
        if bias.shape[0] > 0:
            mask |= np.uint64(bias[row] != 0) << rest
        kept[whole, row] = mask


@kernel
def count_kept(
    codes: Integers, bias: Integers, kept: Integers, codebooks: Integers, of_codes: Integers, of_columns: Integers
) -> None:
    """Count the weights that are kept by code and by column.

    Parameters
    ----------
    codes, bias, kept : numpy.ndarray
        As those of `mark_kept`.
    codebooks : numpy.ndarray
        Codebook of each row, int64 [rows].
    of_codes : numpy.ndarray
        Zeros, int64 [codebooks, codes]. Result.
    of_columns : numpy.ndarray
        Zeros, int64 [64 words]. Result.
    """
    columns, size = np.uint64(codes.shape[1]), np.uint64(lanes.LANES)
    for row in range(np.uint64(kept.shape[1])):
        for word in range(np.uint64(kept.shape[0])):
            mask = kept[word, row]
            while mask != 0:
                column = np.uint64(word) * size + lanes.lowest(mask)
                mask &= mask - np.uint64(1)
                of_codes[codebooks[row], codes[row, column] if column < columns else bias[row]] += 1
                of_columns[column] += 1


@kernel
def weigh_rows(kept: Integers, planes: Integers, sums: Integers) -> None:
    """Add up the weights of the columns that each row keeps.

    Parameters
    ----------
    kept : numpy.ndarray
        From `mark_kept`.
    planes : numpy.ndarray
        Bits of the weights, uint64 [bits, words]: bit c of word w of plane b is bit b of the weight of column 64 w + c.
    sums : numpy.ndarray
        Zeros, int64 [rows]. Result.
    """
    for plane in range(np.uint64(planes.shape[0])):
        for word in range(np.uint64(kept.shape[0])):
            mask = planes[plane, word]
            for row in range(np.uint64(kept.shape[1])):
                sums[row] += np.int64(lanes.count_ones(kept[word, row] & mask)) << plane


@kernel
def count_entries(
    kept: Integers,
    order: Integers,
    num_pes: int,
    index_bits: int,
    room: Integers,
    entries: Integers,
    padding: Integers,
) -> None:
    """Count entries and padding of each column in each PE.

    Parameters
    ----------
    kept : numpy.ndarray
        From `mark_kept`.
    order : numpy.ndarray
        Row at each place, int64 [rows].
    num_pes, index_bits : int
        Parameters of the array.
    room : numpy.ndarray
        Room for counts that are still PE by PE, of the type of the results, [3, 64, 64].
    entries, padding : numpy.ndarray
        Results [64 words, lanes], of a type that holds the number of a PE's rows; `lanes` are the PEs, rounded up to
        whole vectors. `padding` has no rows if no gap can be too long.
    """
    words, rows, pes = np.uint64(kept.shape[0]), np.uint64(kept.shape[1]), np.uint64(num_pes)
    number = entries.dtype.type
    zeros, ones, bits = lanes.spread(number(0)), lanes.spread(number(1)), number(index_bits)
    pads = padding.shape[0] > 0
    size = np.uint64(lanes.LANES)
    tile = size * size  # counts of 64 columns in 64 PEs
    for word in range(words):
        first_pe = np.uint64(0)
        while first_pe < np.uint64(entries.shape[1]):
            for lane in range(size):
                stored, bridging, skipped = zeros, zeros, zeros
                place = first_pe + lane if first_pe + lane < pes else rows
                while place < rows:
                    mask = kept[word, np.uint64(order[place])]
                    place += pes
                    stored = lanes.add(stored, lanes.choose(mask, ones, zeros))
                    if pads:
                        bridged = lanes.shift_right(skipped, bits)
                        bridging = lanes.add(bridging, lanes.choose(mask, bridged, zeros))
                        skipped = lanes.choose(mask, zeros, lanes.add(skipped, ones))
                lanes.store(room, lane * size, lanes.add(stored, bridging))
                if pads:
                    lanes.store(room, tile + lane * size, bridging)
            store_transposed(room, np.uint64(0), np.uint64(2) * tile, entries, word * size, first_pe)
            if pads:
                store_transposed(room, tile, np.uint64(2) * tile, padding, word * size, first_pe)
            first_pe += size


@kernel
def store_transposed(
    room: Integers,
    tile: np.uint64,
    spare: np.uint64,
    result: Integers,
    first_row: np.uint64,
    first_lane: np.uint64,
) -> None:
    """Store a tile of 64 x 64 numbers, transposed, into `result` [rows, lanes] from a row and a lane on.

    The tile begins at a place of `room`, and from `spare` on there is room for another one. Each of six steps
    interleaves rows i and i + 32 to rows 2 i and 2 i + 1: a perfect shuffle.
    """
    size, two = np.uint64(lanes.LANES), np.uint64(2)
    half, stride = size // two, np.uint64(result.shape[1])
    for _ in range(5):
        for row in range(half):
            upper, lower = lanes.load(room, tile + row * size), lanes.load(room, tile + (row + half) * size)
            lanes.store(room, spare + two * row * size, lanes.interleave_low(upper, lower))
            lanes.store(room, spare + (two * row + np.uint64(1)) * size, lanes.interleave_high(upper, lower))
        tile, spare = spare, tile
    for row in range(half):
        upper, lower = lanes.load(room, tile + row * size), lanes.load(room, tile + (row + half) * size)
        place = (first_row + two * row) * stride + first_lane
        lanes.store(result, place, lanes.interleave_low(upper, lower))
        lanes.store(result, place + stride, lanes.interleave_high(upper, lower))


@kernel
def place_entries(
    codes: Integers,
    bias: Integers,
    kept: Integers,
    order: Integers,
    num_pes: int,
    max_gap: int,
    column_begin: Integers,
    room: Integers,
    entries: Integers,
    gaps: Integers,
) -> None:
    """Place every entry column by column from `column_begin` on, within a column PE by PE.

    `entries` gets the code in its lowest bits, as many as the type of `codes` has, and the row above them. `room` is
    uint64 [2, COLUMNS_AT_ONCE].
    """
    rows, pes, columns = np.uint64(kept.shape[1]), np.uint64(num_pes), np.uint64(codes.shape[1])
    number = entries.dtype.type
    code_bits, longest = number(8 * codes.itemsize), np.uint64(max_gap)
    all_columns, size = np.uint64(column_begin.shape[0] - 1), np.uint64(lanes.LANES)
    per_pe = (rows + pes - np.uint64(1)) // pes
    places = room[0]  # of the next entry of each column
    free = room[1]  # row after that of its last entry; PE k counts from k per_pe on
    first = np.uint64(0)
    while first < all_columns:
        end = min(first + np.uint64(COLUMNS_AT_ONCE), all_columns)
        for column in range(first, end):
            places[column - first] = column_begin[column]
            free[column - first] = 0
        for pe in range(pes):
            first_row = np.uint64(pe) * per_pe
            counted_row = first_row
            place = np.uint64(pe)
            while place < rows:
                row = np.uint64(order[place])
                for word in range(first // size, (end + size - np.uint64(1)) // size):
                    mask = kept[word, row]
                    while mask != 0:
                        column = word * size + lanes.lowest(mask)
                        mask &= mask - np.uint64(1)
                        code = codes[row, column] if column < columns else bias[row]
                        at = places[column - first]
                        gap = counted_row - max(free[column - first], first_row)
                        while gap >= longest:
                            gap -= longest  # rows that are left after those that the padding skips
                            skipped = order[place - (gap + np.uint64(1)) * pes]
                            entries[at] = number(skipped) << code_bits
                            gaps[at] = longest - np.uint64(1)
                            at += np.uint64(1)
                        entries[at] = (number(row) << code_bits) | number(code)
                        gaps[at] = gap
                        places[column - first] = at + np.uint64(1)
                        free[column - first] = counted_row + np.uint64(1)
                place += pes
                counted_row += np.uint64(1)
        first = end


@kernel
def sum_counts(counts: Integers, columns: Integers, of_lanes: Integers, sums: Integers) -> None:
    """Add up counts [all columns, lanes] over some columns, int32; `sums` is int64 [lanes].

    `of_lanes` is room, uint32 [64]. A sum must be less than 2**32.
    """
    zero, size = np.uint32(0), np.uint64(lanes.LANES)
    first = np.uint64(0)
    while first < np.uint64(counts.shape[1]):
        total = lanes.spread(zero)
        for j in range(np.uint64(columns.shape[0])):
            here = lanes.load(counts, np.uint64(columns[j]) * np.uint64(counts.shape[1]) + first)
            total = lanes.add(total, lanes.convert(here, zero))
        lanes.store(of_lanes, np.uint64(0), total)
        for lane in range(size):
            sums[first + lane] = np.int64(of_lanes[lane])
        first += size


@kernel
def sum_columns(counts: Integers, sums: Integers) -> None:
    """Add up the counts of all PEs, [columns, lanes], into `sums`, int64 [columns]; a sum must be less than 2**32."""
    zero = np.uint32(0)
    for column in range(np.uint64(counts.shape[0])):
        total = lanes.spread(zero)
        place = column * np.uint64(counts.shape[1])
        end = place + np.uint64(counts.shape[1])
        while place < end:
            total = lanes.add(total, lanes.convert(lanes.load(counts, place), zero))
            place += np.uint64(lanes.LANES)
        sums[column] = np.int64(lanes.total(total))
