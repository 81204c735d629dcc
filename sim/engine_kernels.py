"""Loops of the closed form, compiled with Numba; `sim.engine` states the recurrence they run."""

from __future__ import annotations

import numpy as np

from traces import kernel_lanes as lanes
from traces.arrays import Integers, Numbers
from traces.kernel_cache import kernel


@kernel
def scan(
    activations: Numbers, num_pes: int, has_bias: bool, columns: Integers, bubbles: Integers
) -> tuple[np.int64, int]:
    """Find the broadcast columns and the bubble cycles before each: leading non-zero detection.

    Fills `columns` and `bubbles`, which have room for every column and two more. Returns the number of broadcasts, and
    the bubble cycles after the last one, for trailing rows without non-zeros.
    """
    size, lanes_of_row = np.uint64(activations.shape[0]), np.uint64(num_pes)  # indices that cannot be negative
    for j in range(np.uint64(bubbles.shape[0])):
        bubbles[j] = 0
    broadcasts = np.uint64(0)
    passed = 0  # bubble cycles since the last broadcast, including that of leaving its row
    leaving = 0  # 1 if the bubble of leaving the last broadcast's row is among them
    begin = np.uint64(0)
    while begin < size:
        first = broadcasts
        end = min(begin + lanes_of_row, size)
        for column in range(begin, end):
            columns[broadcasts] = column  # overwritten unless the count goes up: no branch to predict
            broadcasts += np.uint64(activations[column] != 0)
        if broadcasts > first:
            bubbles[first] = passed
            last = np.uint64(columns[broadcasts - np.uint64(1)])
            leaving = 1 if last < begin + lanes_of_row - np.uint64(1) else 0
            passed = leaving
        else:
            passed += 1
        begin += lanes_of_row
    if has_bias:  # it is the first lane of a row of its own
        columns[broadcasts] = size
        bubbles[broadcasts] = passed
        return np.int64(broadcasts) + 1, 0
    # The last row that has a non-zero need not be left.
    return np.int64(broadcasts), passed if passed > leaving else 0


@kernel
def queue_recurrence(
    counts: Integers,
    columns: Integers,
    bubbles: Integers,
    trailing_bubbles: int,
    queue_depth: int,
    wire_registers: int,
    stored: Integers,
    lags: Integers,
    finish_edges: Integers,
    latest_pops: Integers,
) -> tuple[np.int64, np.int64]:
    """Run the recurrence over the broadcast columns.

    Parameters
    ----------
    counts : numpy.ndarray
        Entries of each column in each PE, [columns, lanes]; further lanes than PEs have none.
    columns, bubbles : numpy.ndarray
        [broadcasts], from `scan`.
    trailing_bubbles : int
        From `scan`.
    queue_depth : int
        Columns that a queue holds.
    wire_registers : int
        Registers between the scan and the queues, in each direction.
    stored : numpy.ndarray
        Entries of all columns in each PE, [num_pes]; only zero or not matters.
    lags : numpy.ndarray
        Room [lanes], of the type that `lag_type` returns: the narrower it is, the faster a vector is.
    finish_edges : numpy.ndarray
        int64 [lanes]. Result: edge at which each PE's last entry leaves its pointer read; 0 without entries.
    latest_pops : numpy.ndarray
        int32 [queue_depth + broadcasts]. Result: max_k s[k, j - queue_depth]; before the first column, an
        edge that blocks nothing.

    Returns
    -------
    last_active_edge, blocked_cycles
        Last edge at which the scan went on or an entry left its pointer read, and cycles in which a full queue blocked
        the broadcast.

    Notes
    -----
    The state of a PE is its lag: the number of edges from the one after the last broadcast until the PE is free. The
    next column waits for the rest of the lag. This wait and the column's own entries are the new lag. The lags of the
    first 64 PEs stay in registers.
    """
    broadcasts, size = np.uint64(columns.shape[0]), np.uint64(counts.shape[1])
    zero, one = lags.dtype.type(0), lags.dtype.type(1)
    zeros, ones = lanes.spread(zero), lanes.spread(one)
    vector, depth = np.uint64(lanes.LANES), np.uint64(queue_depth)
    largest_step = np.int64(~zero)
    may_finish = first_that_may_finish(counts, columns, stored, lags)
    for lane in range(size):
        lags[lane] = zero
        finish_edges[lane] = 0
    pop_to_broadcast = 1 + 2 * np.int64(wire_registers)  # edges from a pop to the broadcast that it allows
    for j in range(depth):
        latest_pops[j] = 1 - pop_to_broadcast  # blocks nothing
    broadcast = np.int64(wire_registers)
    blocked_cycles = np.int64(0)
    first_lags = zeros
    for j in range(broadcasts):
        ready = broadcast + 1 + bubbles[j]
        edge = max(ready, np.int64(latest_pops[j]) + pop_to_broadcast)
        blocked_cycles += edge - ready
        step = lanes.spread(lags.dtype.type(min(edge - broadcast, largest_step)))
        broadcast = edge
        place = np.uint64(columns[j]) * size
        longest_wait = lanes.subtract_to_zero(first_lags, step)
        entries = lanes.convert(lanes.load(counts, place), zero)
        first_lags = lanes.add(longest_wait, lanes.larger(entries, ones))
        begin = vector
        while begin < size:
            wait = lanes.subtract_to_zero(lanes.load(lags, begin), step)
            entries = lanes.convert(lanes.load(counts, place + begin), zero)
            lanes.store(lags, begin, lanes.add(wait, lanes.larger(entries, ones)))
            longest_wait = lanes.larger(longest_wait, wait)
            begin += vector
        latest_pops[j + depth] = broadcast + 1 + np.int64(lanes.largest(longest_wait))
        if j >= may_finish:
            lanes.store(lags, np.uint64(0), first_lags)
            for lane in range(size):
                if counts[np.uint64(columns[j]), lane] > 0:
                    finish_edges[lane] = broadcast + 1 + np.int64(lags[lane])
    # A layer is not over before its scan is, which the last column left some cycles before it entered the queues.
    last_active_edge = broadcast - wire_registers + trailing_bubbles
    for lane in range(size):
        last_active_edge = max(last_active_edge, finish_edges[lane])
    return last_active_edge, blocked_cycles


@kernel
def first_that_may_finish(counts: Integers, columns: Integers, stored: Integers, lags: Integers) -> np.uint64:
    """Return the first broadcast that may be the last one with entries in some PE; `lags` is room [lanes]."""
    size = np.uint64(counts.shape[1])
    zero = lags.dtype.type(0)
    zeros = lanes.spread(zero)
    for lane in range(size):
        lags[lane] = stored[lane] != 0 if lane < np.uint64(stored.shape[0]) else 0  # 1 until a column has entries
    first = np.uint64(columns.shape[0])
    begin = np.uint64(0)
    while begin < size:
        j = np.uint64(columns.shape[0])
        pending = lanes.load(lags, begin)
        while j > 0 and lanes.largest(pending) > 0:
            j -= np.uint64(1)
            entries = lanes.convert(lanes.load(counts, np.uint64(columns[j]) * size + begin), zero)
            pending = lanes.choose(lanes.equal(entries, zeros), pending, zeros)
        first = min(first, j)
        begin += np.uint64(lanes.LANES)
    return first


@kernel
def record_edges(
    counts: Integers,
    columns: Integers,
    bubbles: Integers,
    wire_registers: int,
    latest_pops: Integers,
    broadcast_edges: Integers,
    pop_edges: Integers,
) -> None:
    """Fill in every b[j] and s[k, j], int32 [broadcasts] and [broadcasts, num_pes], from `latest_pops`.

    `counts` is as in `queue_recurrence`.
    """
    broadcast = np.int32(wire_registers)
    pop_to_broadcast = np.int32(1 + 2 * wire_registers)
    free_edges = np.zeros(pop_edges.shape[1], dtype=np.int32)
    for j in range(columns.shape[0]):
        broadcast = np.int32(max(broadcast + 1 + bubbles[j], latest_pops[j] + pop_to_broadcast))
        broadcast_edges[j] = broadcast
        for pe in range(free_edges.shape[0]):
            pop_edges[j, pe] = max(np.int32(broadcast + 1), free_edges[pe])
            free_edges[pe] = pop_edges[j, pe] + max(np.int32(1), np.int32(counts[columns[j], pe]))


@kernel
def count_line_reads(
    counts: Integers,
    columns: Integers,
    entries_per_line: int,
    multiplier: int,
    shift: int,
    of_lanes: Integers,
    line_reads: Integers,
) -> None:
    """Count the lines that each PE reads, in `line_reads`, int64 [lanes]; a PE keeps the line read last.

    Parameters
    ----------
    counts : numpy.ndarray
        As in `queue_recurrence`.
    columns : numpy.ndarray
        [broadcasts], in ascending order.
    entries_per_line, multiplier, shift : int
        Entry e is in line (e * multiplier) >> shift (`sim.engine.line_division`).
    of_lanes : numpy.ndarray
        Room [64], of a type that holds these products.
    line_reads : numpy.ndarray
        Result.
    """
    size = np.uint64(counts.shape[1])
    number = of_lanes.dtype.type
    zero, factor, bits = number(0), number(multiplier), number(shift)
    zeros, of_last_line = lanes.spread(zero), lanes.spread(number(entries_per_line - 1))
    first_lane = np.uint64(0)
    while first_lane < size:
        begin, reads = zeros, zeros  # entries before the column, and lines read
        held = zeros  # one more than the line read last
        column = np.uint64(0)
        for j in range(np.uint64(columns.shape[0])):
            while column < np.uint64(columns[j]):
                begin = lanes.add(begin, lanes.convert(lanes.load(counts, column * size + first_lane), zero))
                column += np.uint64(1)
            entries = lanes.convert(lanes.load(counts, column * size + first_lane), zero)
            column += np.uint64(1)
            unread = lanes.larger(held, lanes.shift_right(lanes.multiply(begin, factor), bits))
            begin = lanes.add(begin, entries)
            end = lanes.shift_right(lanes.multiply(lanes.add(begin, of_last_line), factor), bits)
            without = lanes.equal(entries, zeros)
            reads = lanes.add(reads, lanes.choose(without, zeros, lanes.subtract(end, unread)))
            held = lanes.choose(without, held, end)
        lanes.store(of_lanes, np.uint64(0), reads)
        for lane in range(np.uint64(lanes.LANES)):
            line_reads[first_lane + lane] = np.int64(of_lanes[lane])
        first_lane += np.uint64(lanes.LANES)


@kernel
def accumulate(
    entries: Integers,
    code_bits: int,
    column_begin: Integers,
    codebook: Numbers,
    columns: Integers,
    values: Numbers,
    output: Numbers,
) -> None:
    """Decode, multiply and add every entry, for each row in the order in which its PE does.

    `entries` and `column_begin` are those of a `PackedLayer`, `codebook` is float64 [shared weights], `output` float64
    [rows]. A product of two float32 numbers is exact in float64; sums are rounded to float64 in broadcast order.
    Padding adds its zero to a row that it skips.
    """
    one, bits = entries.dtype.type(1), entries.dtype.type(code_bits)
    mask = (one << bits) - one
    for j in range(np.uint64(columns.shape[0])):
        value = np.float64(values[j])
        column = np.uint64(columns[j])
        begin, end = np.uint64(column_begin[column]), np.uint64(column_begin[column + np.uint64(1)])
        at = begin
        while at + np.uint64(4) <= end:
            first, second = entries[at], entries[at + np.uint64(1)]
            third, fourth = entries[at + np.uint64(2)], entries[at + np.uint64(3)]
            of_first, of_second = codebook[first & mask] * value, codebook[second & mask] * value
            of_third, of_fourth = codebook[third & mask] * value, codebook[fourth & mask] * value
            output[first >> bits] += of_first
            output[second >> bits] += of_second
            output[third >> bits] += of_third
            output[fourth >> bits] += of_fourth
            at += np.uint64(4)
        while at < end:
            output[entries[at] >> bits] += codebook[entries[at] & mask] * value
            at += np.uint64(1)


@kernel
def accumulate_codes(
    entries: Integers,
    code_bits: int,
    column_begin: Integers,
    codebook: Integers,
    columns: Integers,
    values: Integers,
    shift: int,
    lowest: int,
    highest: int,
    output: Integers,
) -> int:
    """Decode, multiply and add every entry in fixed point (`sim.fixed_point`), all int64; return the overflows.

    Padding adds its zero to a row that it skips; this neither rounds nor overflows.
    """
    one, bits = entries.dtype.type(1), entries.dtype.type(code_bits)
    mask = (one << bits) - one
    half = (np.int64(1) << np.int64(shift)) >> np.int64(1)
    overflows = 0
    for j in range(np.uint64(columns.shape[0])):
        value, column = values[j], np.uint64(columns[j])
        for at in range(np.uint64(column_begin[column]), np.uint64(column_begin[column + np.uint64(1)])):
            row = entries[at] >> bits
            total = output[row] + ((codebook[entries[at] & mask] * value + half) >> np.int64(shift))
            inside = min(max(total, np.int64(lowest)), np.int64(highest))
            overflows += inside != total
            output[row] = inside
    return overflows
