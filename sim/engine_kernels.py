"""Loops of the closed form, compiled with Numba; `sim.engine` states the recurrence they run."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers, Numbers
from traces.kernel_cache import kernel


@kernel
def scan(
    activations: Numbers,
    num_pes: int,
    has_bias: bool,
    one: float,
    columns: Integers,
    values: Numbers,
    bubbles: Integers,
) -> tuple[int, int]:
    """Find the broadcast columns, their values and the bubble cycles before each: leading non-zero detection.

    Fills `columns`, `values` and `bubbles`, which have room for every column and two more. Returns the number of
    broadcasts, and the bubble cycles after the last one, for trailing rows without non-zeros.
    """
    bubbles[:] = 0
    broadcasts = 0
    passed = 0  # bubble cycles since the last broadcast, including that of leaving its row
    leaving = 0  # 1 if the bubble of leaving the last broadcast's row is among them
    for begin in range(0, activations.shape[0], num_pes):
        first = broadcasts
        for column in range(begin, min(begin + num_pes, activations.shape[0])):
            columns[broadcasts] = column  # overwritten unless the count goes up: no branch to predict
            values[broadcasts] = activations[column]
            broadcasts += activations[column] != 0
        if broadcasts > first:
            bubbles[first] = passed
            leaving = 1 if columns[broadcasts - 1] < begin + num_pes - 1 else 0
            passed = leaving
        else:
            passed += 1
    if has_bias:  # it is the first lane of a row of its own
        columns[broadcasts] = activations.shape[0]
        values[broadcasts] = one
        bubbles[broadcasts] = passed
        return broadcasts + 1, 0
    return broadcasts, passed if passed > leaving else 0  # the last row that has a non-zero need not be left


@kernel
def queue_recurrence(
    entry_counts: Integers,
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
    entry_counts : numpy.ndarray
        [columns, num_pes].
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
        Zeros [num_pes], of the type that `lag_type` returns: the narrower it is, the more lanes a vector has.
    finish_edges : numpy.ndarray
        Zeros, int64 [num_pes]. Result: edge at which each PE's last entry leaves its pointer read.
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
    next column waits for the rest of the lag. This wait and the column's own entries are the new lag.
    """
    num_pes = entry_counts.shape[1]
    narrow = lags.dtype.type
    zero, one = narrow(0), narrow(1)
    largest_step = np.int64(np.iinfo(lags.dtype).max)

    # From this broadcast on, a column may be the last one with entries in some PE.
    first_that_may_finish = columns.shape[0]
    seen, unseen = np.empty(num_pes, dtype=np.bool_), 0
    for pe in range(num_pes):
        seen[pe] = stored[pe] == 0
        unseen += stored[pe] != 0
    while unseen > 0 and first_that_may_finish > 0:
        first_that_may_finish -= 1
        for pe in range(num_pes):
            if not seen[pe] and entry_counts[columns[first_that_may_finish], pe] > 0:
                seen[pe] = True
                unseen -= 1

    pop_to_broadcast = 1 + 2 * np.int64(wire_registers)  # edges from a pop to the broadcast that it allows
    latest_pops[:queue_depth] = 1 - pop_to_broadcast  # blocks nothing
    broadcast = np.int64(wire_registers)
    blocked_cycles = np.int64(0)
    for j in range(columns.shape[0]):
        ready = broadcast + 1 + bubbles[j]
        edge = max(ready, np.int64(latest_pops[j]) + pop_to_broadcast)
        blocked_cycles += edge - ready
        step = narrow(min(edge - broadcast, largest_step))
        broadcast = edge
        column = np.uint64(columns[j])  # a slice of `entry_counts` would double the time of the loop below
        longest_wait = zero
        for pe in range(num_pes):
            wait = narrow(max(lags[pe], step) - step)
            longest_wait = max(longest_wait, wait)
            lags[pe] = narrow(wait + max(one, narrow(entry_counts[column, pe])))
        latest_pops[j + queue_depth] = broadcast + 1 + np.int64(longest_wait)
        if j >= first_that_may_finish:
            for pe in range(num_pes):
                if entry_counts[column, pe] > 0:
                    finish_edges[pe] = broadcast + 1 + np.int64(lags[pe])
    # A layer is not over before its scan is, which the last column left some cycles before it entered the queues.
    last_active_edge = broadcast - wire_registers + trailing_bubbles
    for pe in range(num_pes):
        last_active_edge = max(last_active_edge, finish_edges[pe])
    return last_active_edge, blocked_cycles


@kernel
def record_edges(
    entry_counts: Integers,
    columns: Integers,
    bubbles: Integers,
    wire_registers: int,
    latest_pops: Integers,
    broadcast_edges: Integers,
    pop_edges: Integers,
) -> None:
    """Fill in every b[j] and s[k, j], int32 [broadcasts] and [broadcasts, num_pes], from `latest_pops`."""
    broadcast = np.int32(wire_registers)
    pop_to_broadcast = np.int32(1 + 2 * wire_registers)
    free_edges = np.zeros(entry_counts.shape[1], dtype=np.int32)
    for j in range(columns.shape[0]):
        broadcast = np.int32(max(broadcast + 1 + bubbles[j], latest_pops[j] + pop_to_broadcast))
        broadcast_edges[j] = broadcast
        for pe in range(free_edges.shape[0]):
            pop_edges[j, pe] = max(np.int32(broadcast + 1), free_edges[pe])
            free_edges[pe] = pop_edges[j, pe] + max(np.int32(1), np.int32(entry_counts[columns[j], pe]))


@kernel
def count_line_reads(pointers: Integers, columns: Integers, entries_per_line: int, line_reads: Integers) -> None:
    """Count the lines that each PE reads, in `line_reads`, zeros int64 [num_pes]; a PE keeps the line read last."""
    num_pes = line_reads.shape[0]
    held = np.full(num_pes, -1, dtype=np.int32)
    reads = np.zeros(num_pes, dtype=np.int32)
    # Exact for 32-bit addresses and lines of up to 2**16 entries: half an entry is more than the rounding error.
    lines_per_entry = 1.0 / entries_per_line
    for j in range(columns.shape[0]):
        column = np.uint64(columns[j])
        for pe in range(num_pes):
            begin = pointers[column, pe]
            end = pointers[column + np.uint64(1), pe]
            first = np.int32((begin + 0.5) * lines_per_entry)
            last = np.int32((end - 0.5) * lines_per_entry)
            has_entries = end > begin
            new_lines = np.int32(last - first + (np.int32(0) if first == held[pe] else np.int32(1)))
            reads[pe] += new_lines if has_entries else np.int32(0)
            held[pe] = last if has_entries else held[pe]
    line_reads += reads


@kernel
def sum_counts(counts: Integers, columns: Integers, totals: Integers) -> None:
    """Add up `counts` [columns, num_pes] over the broadcast columns; `totals` int64 [num_pes], zeros."""
    sums = np.zeros(totals.shape[0], dtype=np.int32)
    for j in range(columns.shape[0]):
        column = np.uint64(columns[j])
        for pe in range(totals.shape[0]):
            sums[pe] += np.int32(counts[column, pe])
    totals += sums


@kernel
def accumulate(
    codes: Integers,
    output_rows: Integers,
    column_begin: Integers,
    codebook: Numbers,
    columns: Integers,
    values: Numbers,
    output: Numbers,
) -> None:
    """Decode, multiply and add every entry, for each row in the order in which its PE does.

    `codebook` is float64 [shared weights], `output` float64 [rows]. A product of two float32 numbers is exact in
    float64; sums are rounded to float64 in broadcast order. Padding adds its zero to a row that it skips.
    """
    for j in range(columns.shape[0]):
        value = np.float64(values[j])
        begin, end = column_begin[columns[j]], column_begin[columns[j] + 1]
        column_codes, column_rows = codes[begin:end], output_rows[begin:end]  # slices: no index can be negative
        for entry in range(end - begin):
            output[column_rows[entry]] += codebook[column_codes[entry]] * value


@kernel
def accumulate_codes(
    codes: Integers,
    output_rows: Integers,
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
    half = (np.int64(1) << np.int64(shift)) >> np.int64(1)
    overflows = 0
    for j in range(columns.shape[0]):
        value = values[j]
        begin, end = column_begin[columns[j]], column_begin[columns[j] + 1]
        column_codes, column_rows = codes[begin:end], output_rows[begin:end]
        for entry in range(end - begin):
            row = column_rows[entry]
            total = output[row] + ((codebook[column_codes[entry]] * value + half) >> np.int64(shift))
            inside = min(max(total, np.int64(lowest)), np.int64(highest))
            overflows += inside != total
            output[row] = inside
    return overflows
