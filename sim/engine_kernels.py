"""Loops of the closed form, compiled with Numba; `sim.engine` states the recurrence they run."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers, Numbers
from traces.kernel_cache import kernel

INPUTS_AT_ONCE = 256  # whose scans are kept while their lines are counted


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
def number_lines(
    pointers: Integers, entries_per_line: int, first_lines: Integers, last_lines: Integers, spans: Integers
) -> None:
    """Give the lines of each column in each PE a number, from 1 on, for inputs that share them.

    Fills `first_lines`, the largest number of the type without entries, `last_lines`, 0 without entries, and the lines
    of all PEs that each column spans, `spans` int64 [columns].
    """
    number = first_lines.dtype.type
    no_line = np.int64(np.iinfo(first_lines.dtype).max)
    lines_per_entry = 1.0 / entries_per_line  # exact as in `count_line_reads`
    for column in range(first_lines.shape[0]):
        span = np.int64(0)
        for pe in range(first_lines.shape[1]):
            begin, end = pointers[column, pe], pointers[column + 1, pe]
            first = np.int32((begin + 0.5) * lines_per_entry) + np.int32(1)
            last = np.int32((end - 0.5) * lines_per_entry) + np.int32(1)
            first_lines[column, pe] = number(first if end > begin else no_line)
            last_lines[column, pe] = number(last if end > begin else 0)
            span += last - first + 1 if end > begin else 0
        spans[column] = span


@kernel
def count_kept_lines(
    first_lines: Integers, last_lines: Integers, columns: Integers, held: Integers, kept: Integers
) -> np.int64:
    """Count the columns of each PE whose first line is the line read last, which is not read again.

    `first_lines` and `last_lines` are those of `number_lines`; `held` and `kept` have their type, [PEs]. Entries lie in
    the order of the columns, so the line read last has the largest number so far.
    """
    number = held.dtype.type
    zero, one = number(0), number(1)
    held[:] = 0  # no line has this number
    kept[:] = 0
    for j in range(columns.shape[0]):
        column = np.uint64(columns[j])
        for pe in range(held.shape[0]):
            kept[pe] = number(kept[pe] + (one if first_lines[column, pe] == held[pe] else zero))
            held[pe] = max(held[pe], last_lines[column, pe])
    total = np.int64(0)
    for pe in range(kept.shape[0]):
        total += kept[pe]
    return total


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


@kernel
def count_inputs(
    activations: Numbers,
    num_pes: int,
    has_bias: bool,
    one: float,
    entry_counts: Integers,
    pointers: Integers,
    padding: Integers,
    timings: Integers,
    lags: Integers,
    entries_per_line: Integers,
    first_lines: Integers,
    last_lines: Integers,
    counts: Integers,
    edges: Integers,
    line_reads: Integers,
) -> None:
    """Count many inputs for several queues and lines; each input is scanned once.

    PEs without any entry may be left out of `entry_counts`, `pointers` and `lags`: they never wait, block or finish.

    Parameters
    ----------
    activations, num_pes, has_bias, one
        As in `scan`, of all inputs, [inputs, columns]; `num_pes` counts the PEs that are left out, too.
    entry_counts, pointers, lags : numpy.ndarray
        As in the kernels above.
    padding : numpy.ndarray
        Padding entries of each column in all PEs, [columns].
    timings : numpy.ndarray
        Queue depth and wire registers of each timing, int64 [timings, 2].
    entries_per_line : numpy.ndarray
        Entries of each line, int64 [lines].
    first_lines, last_lines : numpy.ndarray
        Room for the numbers of lines [columns, PEs], of an unsigned type that holds more than the entries of a PE.
    counts : numpy.ndarray
        Zeros, int64 [inputs, 4]. Result: broadcasts, bubble cycles, processed entries, padding among them.
    edges : numpy.ndarray
        int64 [timings, 2, inputs]. Result: last active edge, and blocked cycles.
    line_reads : numpy.ndarray
        int64 [lines, inputs]. Result: lines that all PEs read.
    """
    num_inputs, room = activations.shape[0], activations.shape[1] + 2
    lanes = entry_counts.shape[1]
    held, kept = np.empty(lanes, dtype=first_lines.dtype), np.empty(lanes, dtype=first_lines.dtype)
    at_once = min(num_inputs, INPUTS_AT_ONCE)
    columns, bubbles = np.empty((at_once, room), dtype=np.int32), np.empty(room, dtype=np.int32)
    broadcasts = np.empty(at_once, dtype=np.int64)
    values = np.empty(room, dtype=activations.dtype)
    longest = 1
    for timing in range(timings.shape[0]):
        longest = max(longest, timings[timing, 0])
    latest_pops = np.empty(longest + room, dtype=np.int32)
    finish_edges = np.empty(lanes, dtype=np.int64)
    spans = np.empty(entry_counts.shape[0], dtype=np.int64)
    entries = np.zeros(entry_counts.shape[0], dtype=np.int64)
    for column in range(entries.shape[0]):
        for pe in range(lanes):
            entries[column] += entry_counts[column, pe]
    for begin in range(0, num_inputs, at_once):
        end = min(begin + at_once, num_inputs)
        for i in range(begin, end):
            sent, trailing = scan(activations[i], num_pes, has_bias, one, columns[i - begin], values, bubbles)
            broadcasts[i - begin] = sent
            counts[i, 0] = sent
            counts[i, 1] = trailing
            for j in range(sent):
                column = columns[i - begin, j]
                counts[i, 1] += bubbles[j]
                counts[i, 2] += entries[column]
                counts[i, 3] += padding[column]
            for timing in range(timings.shape[0]):
                lags[:] = 0
                finish_edges[:] = 0
                edges[timing, 0, i], edges[timing, 1, i] = queue_recurrence(
                    entry_counts,
                    columns[i - begin, :sent],
                    bubbles,
                    trailing,
                    min(timings[timing, 0], max(1, sent)),
                    timings[timing, 1],
                    pointers[-1],
                    lags,
                    finish_edges,
                    latest_pops,
                )
        for line in range(entries_per_line.shape[0]):
            number_lines(pointers, entries_per_line[line], first_lines, last_lines, spans)
            for i in range(begin, end):
                sent_columns = columns[i - begin, : broadcasts[i - begin]]
                reads = -count_kept_lines(first_lines, last_lines, sent_columns, held, kept)
                for j in range(sent_columns.shape[0]):
                    reads += spans[np.uint64(sent_columns[j])]
                line_reads[line, i] = reads


@kernel
def accumulate_inputs(
    activations: Numbers,
    has_bias: bool,
    one: float,
    codes: Integers,
    output_rows: Integers,
    column_begin: Integers,
    codebook: Numbers,
    outputs: Numbers,
) -> None:
    """Run `accumulate` for many inputs: `activations` [inputs, columns], `outputs` [inputs, rows]."""
    room = activations.shape[1] + 2
    columns, bubbles = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
    values = np.empty(room, dtype=activations.dtype)
    for i in range(activations.shape[0]):
        broadcasts, _ = scan(activations[i], activations.shape[1], has_bias, one, columns, values, bubbles)
        accumulate(codes, output_rows, column_begin, codebook, columns[:broadcasts], values, outputs[i])


@kernel
def accumulate_codes_of_inputs(
    activations: Integers,
    has_bias: bool,
    one: int,
    codes: Integers,
    output_rows: Integers,
    column_begin: Integers,
    codebook: Integers,
    shift: int,
    lowest: int,
    highest: int,
    outputs: Integers,
    overflows: Integers,
) -> None:
    """Run `accumulate_codes` for many inputs; `overflows` is int64 [inputs]."""
    room = activations.shape[1] + 2
    columns, bubbles = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
    values = np.empty(room, dtype=activations.dtype)
    for i in range(activations.shape[0]):
        broadcasts, _ = scan(activations[i], activations.shape[1], has_bias, one, columns, values, bubbles)
        overflows[i] = accumulate_codes(
            codes, output_rows, column_begin, codebook, columns[:broadcasts], values, shift, lowest, highest, outputs[i]
        )
