"""Loops of the closed form for many inputs, compiled with Numba.

Inputs run one by one, where they are few or most activations are zero, or side by side: inputs are the lanes of
vectors, and every step is taken for all of them at once, whether their activation is zero or not. Then arrays are
[columns, inputs] or [rows, inputs], and bytes or floats of neighbouring inputs lie side by side.
"""

from __future__ import annotations

import numpy as np

from sim.engine_kernels import accumulate, accumulate_codes, queue_recurrence, scan
from traces import kernel_lanes as lanes
from traces.arrays import Booleans, Integers, Numbers
from traces.kernel_cache import kernel

INPUTS_AT_ONCE = 256  # whose scans are kept while their lines are counted
GROUP = 256  # inputs that are counted together
SUM_LANES = 128  # inputs whose products are added side by side
SUM_COLUMNS = 32  # whose activations stay in the first-level cache with the sums of a row; at most 256
SUM_ROWS = 512  # whose sums stay in the second-level cache


@kernel
def number_lines(
    counts: Integers,
    entries_per_line: int,
    multiplier: int,
    shift: int,
    room: Integers,
    first_lines: Integers,
    last_lines: Integers,
    spans: Integers,
) -> None:
    """Give the lines of each column in each PE a number, from 1 on, for inputs that share them.

    Parameters
    ----------
    counts : numpy.ndarray
        Entries of each column in each PE, [columns, lanes].
    entries_per_line, multiplier, shift, room
        As in `count_line_reads`.
    first_lines, last_lines : numpy.ndarray
        Results [columns, lanes]: the largest number of the type, and 0, where a column has no entries.
    spans : numpy.ndarray
        Zeros, int64 [columns]. Result: lines of all PEs that each column spans.
    """
    number, line = room.dtype.type, first_lines.dtype.type
    factor, bits = number(multiplier), number(shift)
    zeros, ones = lanes.spread(number(0)), lanes.spread(number(1))
    before_next_line = lanes.spread(number(entries_per_line - 1))
    no_first, no_last = lanes.spread(line(~line(0))), lanes.spread(line(0))
    size = np.uint64(counts.shape[1])
    first_lane = np.uint64(0)
    while first_lane < size:
        begin = zeros
        for column in range(np.uint64(counts.shape[0])):
            place = column * size + first_lane
            entries = lanes.convert(lanes.load(counts, place), number(0))
            without = lanes.equal(entries, zeros)
            first = lanes.shift_right(lanes.multiply(begin, factor), bits)
            begin = lanes.add(begin, entries)
            end = lanes.shift_right(lanes.multiply(lanes.add(begin, before_next_line), factor), bits)
            first_number = lanes.convert(lanes.add(first, ones), line(0))
            lanes.store(first_lines, place, lanes.choose(without, no_first, first_number))
            lanes.store(last_lines, place, lanes.choose(without, no_last, lanes.convert(end, line(0))))
            spans[column] += np.int64(lanes.total(lanes.choose(without, zeros, lanes.subtract(end, first))))
        first_lane += np.uint64(lanes.LANES)


@kernel
def count_kept_lines(first_lines: Integers, last_lines: Integers, columns: Integers) -> np.int64:
    """Count the columns of each PE whose first line is the line read last, which is not read again.

    `first_lines` and `last_lines` are those of `number_lines`. Entries lie in the order of the columns, so the line
    read last has the largest number so far.
    """
    line = first_lines.dtype.type
    zeros, ones = lanes.spread(line(0)), lanes.spread(line(1))
    size = np.uint64(first_lines.shape[1])
    kept_lines = np.int64(0)
    first_lane = np.uint64(0)
    while first_lane < size:
        held, kept = zeros, zeros  # no line has the number 0
        for j in range(np.uint64(columns.shape[0])):
            place = np.uint64(columns[j]) * size + first_lane
            same = lanes.equal(lanes.load(first_lines, place), held)
            kept = lanes.add(kept, lanes.choose(same, ones, zeros))
            held = lanes.larger(held, lanes.load(last_lines, place))
        kept_lines += np.int64(lanes.total(lanes.convert(kept, np.uint64(0))))
        first_lane += np.uint64(lanes.LANES)
    return kept_lines


@kernel
def most_loaded(entry_lanes: Integers, columns: Integers, room: Integers) -> np.int64:
    """Return the entries of some columns in the PE that has most of them; `room` is of a type that holds their sum."""
    zero = room.dtype.type(0)
    zeros = lanes.spread(zero)
    most = zeros
    size = np.uint64(entry_lanes.shape[1])
    first_lane = np.uint64(0)
    while first_lane < size:
        entries = zeros
        for j in range(np.uint64(columns.shape[0])):
            of_column = lanes.load(entry_lanes, np.uint64(columns[j]) * size + first_lane)
            entries = lanes.add(entries, lanes.convert(of_column, zero))
        most = lanes.larger(most, entries)
        first_lane += np.uint64(lanes.LANES)
    return np.int64(lanes.largest(most))


@kernel
def count_inputs(
    activations: Numbers,
    num_pes: int,
    has_bias: bool,
    entry_lanes: Integers,
    stored: Integers,
    entries: Integers,
    padding: Integers,
    timings: Integers,
    lags: Integers,
    lines: Integers,
    room: Integers,
    first_lines: Integers,
    last_lines: Integers,
    counts: Integers,
    edges: Integers,
    line_reads: Integers,
) -> None:
    """Count many inputs for several queues and lines; each input is scanned once.

    Parameters
    ----------
    activations, num_pes, has_bias
        As in `scan`, of all inputs, [inputs, columns].
    entry_lanes : numpy.ndarray
        Entries of each column in each PE, [columns, lanes].
    stored : numpy.ndarray
        Entries of all columns in each PE, [num_pes].
    entries, padding : numpy.ndarray
        Entries of each column in all PEs, and padding among them, [columns].
    timings : numpy.ndarray
        Queue depth and wire registers of each timing, int64 [timings, 2].
    lags : numpy.ndarray
        As in `queue_recurrence`.
    lines : numpy.ndarray
        Entries of each line, and multiplier and shift of its division (`sim.engine.line_division`), int64 [lines, 3].
    room : numpy.ndarray
        As in `count_line_reads`.
    first_lines, last_lines : numpy.ndarray
        Room for the numbers of lines [columns, lanes], of an unsigned type that holds more than the entries of a PE.
    counts : numpy.ndarray
        int64 [inputs, 5]. Result: broadcasts, bubble cycles, processed entries, padding among them, and entries of the
        PE that has most.
    edges : numpy.ndarray
        int64 [timings, 2, inputs]. Result: last active edge, and blocked cycles.
    line_reads : numpy.ndarray
        int64 [lines, inputs]. Result: lines that all PEs read.
    """
    num_inputs, most = activations.shape[0], activations.shape[1] + 2
    at_once = min(num_inputs, INPUTS_AT_ONCE)
    columns, bubbles = np.empty((at_once, most), dtype=np.int32), np.empty(most, dtype=np.int32)
    broadcasts = np.empty(at_once, dtype=np.int64)
    longest = 1
    for timing in range(timings.shape[0]):
        longest = max(longest, timings[timing, 0])
    latest_pops = np.empty(longest + most, dtype=np.int32)
    finish_edges = np.empty(entry_lanes.shape[1], dtype=np.int64)
    spans = np.empty(entry_lanes.shape[0], dtype=np.int64)
    for begin in range(0, num_inputs, INPUTS_AT_ONCE):
        end = min(begin + at_once, num_inputs)
        for i in range(begin, end):
            sent, trailing = scan(activations[i], num_pes, has_bias, columns[i - begin], bubbles)
            broadcasts[i - begin] = sent
            bubble_cycles, processed, of_padding = trailing, 0, 0
            for j in range(np.uint64(sent)):
                column = np.uint64(columns[i - begin, j])
                bubble_cycles += bubbles[j]
                processed += entries[column]
                of_padding += padding[column]
            counts[i, 0], counts[i, 1], counts[i, 2], counts[i, 3] = sent, bubble_cycles, processed, of_padding
            counts[i, 4] = most_loaded(entry_lanes, columns[i - begin, :sent], first_lines)
            for timing in range(timings.shape[0]):
                edges[timing, 0, i], edges[timing, 1, i] = queue_recurrence(
                    entry_lanes,
                    columns[i - begin, :sent],
                    bubbles,
                    trailing,
                    min(timings[timing, 0], max(1, sent)),
                    timings[timing, 1],
                    stored,
                    lags,
                    finish_edges,
                    latest_pops,
                )
        for line in range(lines.shape[0]):
            spans[:] = 0
            number_lines(
                entry_lanes, lines[line, 0], lines[line, 1], lines[line, 2], room, first_lines, last_lines, spans
            )
            for i in range(begin, end):
                sent_columns = columns[i - begin, : broadcasts[i - begin]]
                reads = -count_kept_lines(first_lines, last_lines, sent_columns)
                for j in range(sent_columns.shape[0]):
                    reads += spans[np.uint64(sent_columns[j])]
                line_reads[line, i] = reads


@kernel
def find_values(
    activations: Numbers, has_bias: bool, one: float, columns: Integers, bubbles: Integers, values: Numbers
) -> np.int64:
    """Fill in the columns and values of the broadcasts of one input; return their number. `bubbles` is room."""
    broadcasts, _ = scan(activations, activations.shape[0], has_bias, columns, bubbles)
    for j in range(broadcasts):
        values[j] = activations[columns[j]] if columns[j] < activations.shape[0] else one
    return broadcasts


@kernel
def accumulate_inputs(
    activations: Numbers,
    has_bias: bool,
    one: float,
    entries: Integers,
    code_bits: int,
    column_begin: Integers,
    codebook: Numbers,
    outputs: Numbers,
) -> None:
    """Run `accumulate` for many inputs: `activations` [inputs, columns], `outputs` [inputs, rows]."""
    most = activations.shape[1] + 2
    columns, bubbles = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
    values = np.empty(most, dtype=activations.dtype)
    for i in range(activations.shape[0]):
        broadcasts = find_values(activations[i], has_bias, one, columns, bubbles, values)
        accumulate(entries, code_bits, column_begin, codebook, columns[:broadcasts], values, outputs[i])


@kernel
def accumulate_codes_of_inputs(
    activations: Integers,
    has_bias: bool,
    one: int,
    entries: Integers,
    code_bits: int,
    column_begin: Integers,
    codebook: Integers,
    shift: int,
    lowest: int,
    highest: int,
    outputs: Integers,
    overflows: Integers,
) -> None:
    """Run `accumulate_codes` for many inputs; `overflows` is int64 [inputs]."""
    most = activations.shape[1] + 2
    columns, bubbles = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
    values = np.empty(most, dtype=activations.dtype)
    for i in range(activations.shape[0]):
        broadcasts = find_values(activations[i], has_bias, one, columns, bubbles, values)
        overflows[i] = accumulate_codes(
            entries, code_bits, column_begin, codebook, columns[:broadcasts], values, shift, lowest, highest, outputs[i]
        )


@kernel
def list_entries(
    codes: Integers, bias: Integers, begins: Integers, entry_columns: Integers, entry_codes: Integers
) -> None:
    """List the entries of each row without padding, `SUM_ROWS` rows and in them `SUM_COLUMNS` columns at a time.

    Parameters
    ----------
    codes : numpy.ndarray
        Codes of the layer [rows, columns].
    bias : numpy.ndarray
        Codes of the bias [rows], one more column; empty if there is none.
    begins : numpy.ndarray
        [groups of columns * rows + 1]. Result: place of the first entry of each row in each group of columns.
    entry_columns, entry_codes : numpy.ndarray
        [entries + 1]. Result: column of each entry within its group, uint8, and its code.
    """
    rows, columns = codes.shape
    has_bias = bias.shape[0] > 0
    place, number = 0, 0
    for first_row in range(0, rows, SUM_ROWS):
        for first in range(0, columns + has_bias, SUM_COLUMNS):
            for row in range(first_row, min(first_row + SUM_ROWS, rows)):
                begins[number] = place
                number += 1
                for column in range(first, min(first + SUM_COLUMNS, columns)):
                    entry_columns[place] = column - first  # overwritten unless it is an entry: no branch to predict
                    entry_codes[place] = codes[row, column]
                    place += codes[row, column] != 0
                if has_bias and columns < first + SUM_COLUMNS:
                    entry_columns[place] = columns - first
                    entry_codes[place] = bias[row]
                    place += bias[row] != 0
    begins[number] = place


@kernel
def accumulate_lanes(
    activations: Numbers,
    first_input: int,
    one: float,
    begins: Integers,
    entry_columns: Integers,
    entry_codes: Integers,
    codebook: Numbers,
    sums: Numbers,
) -> None:
    """Multiply and add every entry for many inputs side by side, as `accumulate` does for one.

    A zero activation adds a zero, which changes no sum but -0.0; so no initial value may be -0.0.

    Parameters
    ----------
    activations : numpy.ndarray
        float32 [columns, all inputs].
    first_input : int
        Input that the first sums are those of.
    one : float
        Activation of the bias column, which comes after all others.
    begins, entry_columns, entry_codes : numpy.ndarray
        From `list_entries`.
    codebook : numpy.ndarray
        float64 [shared weights].
    sums : numpy.ndarray
        float64 [rows, inputs]. The products of a row are added in the order of its columns.
    """
    columns = activations.shape[0]
    rows, num_inputs = sums.shape
    all_columns = (begins.shape[0] - 1) // rows * SUM_COLUMNS  # rounded up
    block = np.empty((SUM_COLUMNS, SUM_LANES), dtype=np.float64)
    totals = np.empty((min(rows, SUM_ROWS), SUM_LANES), dtype=np.float64)  # lie better in cache lines than `sums`
    for begin in range(0, num_inputs, SUM_LANES):
        end = min(begin + SUM_LANES, num_inputs)
        width = end - begin
        number = 0
        for first_row in range(0, rows, SUM_ROWS):
            last_row = min(first_row + SUM_ROWS, rows)
            for row in range(first_row, last_row):
                totals[row - first_row, :width] = sums[row, begin:end]
            for first in range(0, all_columns, SUM_COLUMNS):
                for column in range(first, min(first + SUM_COLUMNS, columns)):
                    block[column - first, :width] = activations[column, first_input + begin : first_input + end]
                if columns < first + SUM_COLUMNS:
                    block[columns - first, :] = one
                for row in range(last_row - first_row):
                    entry, last = begins[number], begins[number + 1]
                    number += 1
                    total = totals[row]
                    while entry + 4 <= last:  # a sum is loaded and stored once for four products
                        weight_0, values_0 = codebook[entry_codes[entry]], block[entry_columns[entry]]
                        weight_1, values_1 = codebook[entry_codes[entry + 1]], block[entry_columns[entry + 1]]
                        weight_2, values_2 = codebook[entry_codes[entry + 2]], block[entry_columns[entry + 2]]
                        weight_3, values_3 = codebook[entry_codes[entry + 3]], block[entry_columns[entry + 3]]
                        for i in range(width):
                            first_two = (total[i] + weight_0 * values_0[i]) + weight_1 * values_1[i]
                            total[i] = (first_two + weight_2 * values_2[i]) + weight_3 * values_3[i]
                        entry += 4
                    while entry < last:
                        weight_0, values_0 = codebook[entry_codes[entry]], block[entry_columns[entry]]
                        for i in range(width):
                            total[i] += weight_0 * values_0[i]
                        entry += 1
            for row in range(first_row, last_row):
                sums[row, begin:end] = totals[row - first_row, :width]


@kernel
def accumulate_code_lanes(
    activations: Integers,
    first_input: int,
    one: int,
    begins: Integers,
    entry_columns: Integers,
    entry_codes: Integers,
    codebook: Integers,
    shift: int,
    lowest: int,
    highest: int,
    sums: Integers,
    overflows: Integers,
) -> None:
    """Multiply and add every entry in fixed point for many inputs side by side, as `accumulate_codes` does for one.

    A zero activation adds a zero, which neither rounds nor overflows. The parameters are those of `accumulate_lanes`,
    in int64; `overflows` is int64 [inputs], zeros.
    """
    columns = activations.shape[0]
    rows, num_inputs = sums.shape
    places = np.int64(shift)
    half = (np.int64(1) << places) >> np.int64(1)
    least, most = np.int64(lowest), np.int64(highest)
    for begin in range(0, num_inputs, SUM_LANES):
        end = min(begin + SUM_LANES, num_inputs)
        lost = overflows[begin:end]
        ones = np.full(end - begin, one, dtype=np.int64)
        number = 0
        for first_row in range(0, rows, SUM_ROWS):
            for first in range(0, (begins.shape[0] - 1) // rows * SUM_COLUMNS, SUM_COLUMNS):
                for row in range(first_row, min(first_row + SUM_ROWS, rows)):
                    total = sums[row, begin:end]
                    for entry in range(begins[number], begins[number + 1]):
                        weight, column = codebook[entry_codes[entry]], first + entry_columns[entry]
                        values = activations[column, first_input + begin :] if column < columns else ones
                        for i in range(total.shape[0]):
                            exact = total[i] + ((weight * values[i] + half) >> places)
                            inside = min(max(exact, least), most)
                            lost[i] += inside != exact
                            total[i] = inside
                    number += 1


@kernel
def count_scans(
    nonzero: Integers, num_pes: int, has_bias: bool, entries: Integers, padding: Integers, counts: Integers
) -> None:
    """Count the broadcasts, bubble cycles, entries and padding of many inputs side by side, as `scan` finds them.

    Parameters
    ----------
    nonzero : numpy.ndarray
        1 where an activation is not zero and 0 elsewhere, uint8 [columns, inputs]; the bias is the last column, all 1.
    num_pes : int
        PEs, those without entries included.
    has_bias : bool
        Whether there is a bias column.
    entries, padding : numpy.ndarray
        Entries of each column in all PEs, and padding among them, int32 [columns].
    counts : numpy.ndarray
        int64 [4, inputs]. Result: broadcasts, bubble cycles, processed entries, padding among them.
    """
    narrow = np.int32
    zero = narrow(0)
    columns, num_inputs = nonzero.shape
    scanned = columns - has_bias
    any_padding = np.any(padding != 0)
    sent, passed, bubbles = np.empty(GROUP, narrow), np.empty(GROUP, narrow), np.empty(GROUP, narrow)
    of_entries, of_padding = np.empty(GROUP, narrow), np.empty(GROUP, narrow)
    row_sends, leaving = np.empty(GROUP, narrow), np.empty(GROUP, narrow)
    for begin in range(0, num_inputs, GROUP):
        end = min(begin + GROUP, num_inputs)
        width = end - begin
        for state in (sent, passed, bubbles, of_entries, of_padding, row_sends, leaving):
            state[:] = zero
        for column in range(columns):
            sends = nonzero[column, begin:end]
            of_column = narrow(entries[column])
            for i in range(width):
                mask = narrow(-narrow(sends[i]))  # all bits, or none
                sent[i] = narrow(sent[i] - mask)
                of_entries[i] = narrow(of_entries[i] + (of_column & mask))
                bubbles[i] = narrow(bubbles[i] + (passed[i] & mask))
                passed[i] = narrow(passed[i] & ~mask)
                row_sends[i] = narrow(row_sends[i] | mask)
            if any_padding:
                of_column = narrow(padding[column])
                for i in range(width):
                    of_padding[i] = narrow(of_padding[i] + (of_column & narrow(-narrow(sends[i]))))
            if column < scanned and (column % num_pes == num_pes - 1 or column == scanned - 1):
                leave_row(sends, column % num_pes == num_pes - 1, row_sends, passed, leaving)
        for i in range(width):
            trailing = passed[i] if passed[i] > leaving[i] and not has_bias else zero
            counts[0, begin + i] = sent[i]
            counts[1, begin + i] = bubbles[i] + trailing
            counts[2, begin + i] = of_entries[i]
            counts[3, begin + i] = of_padding[i]


@kernel
def leave_row(last_sends: Integers, full: bool, row_sends: Integers, passed: Integers, leaving: Integers) -> None:
    """Leave a row of activations in the scan of many inputs; all states are int32 [inputs].

    Parameters
    ----------
    last_sends : numpy.ndarray
        1 for inputs whose activation in the last column of the row is not zero, 0 for others, uint8 [inputs].
    full : bool
        Whether the row has an activation for each PE. Only then does its last broadcast leave the row, too.
    row_sends : numpy.ndarray
        -1 for inputs with a broadcast in this row, 0 for others; set to 0 for the next row.
    passed : numpy.ndarray
        Bubble cycles since the last broadcast.
    leaving : numpy.ndarray
        1 if the bubble of leaving the last broadcast's row is among them.
    """
    narrow = np.int32
    zero, one = narrow(0), narrow(1)
    is_full = one if full else zero
    for i in range(last_sends.shape[0]):
        bubble = narrow(one - narrow(is_full * narrow(last_sends[i])))
        passed[i] = bubble if row_sends[i] != zero else narrow(passed[i] + one)
        leaving[i] = bubble if row_sends[i] != zero else leaving[i]
        row_sends[i] = zero


@kernel
def count_edges(
    nonzero: Integers,
    num_pes: int,
    has_bias: bool,
    entry_counts: Integers,
    in_other_pes: Booleans,
    queue_depth: int,
    wire_registers: int,
    lags: Integers,
    edges: Integers,
) -> None:
    """Run the recurrence of `queue_recurrence` for many inputs side by side.

    Parameters
    ----------
    nonzero, num_pes, has_bias
        As in `count_scans`.
    entry_counts : numpy.ndarray
        [columns, PEs] of the PEs that have several entries in some column; their number is a multiple of 8. A PE that
        has at most one entry in each column never makes a column wait, and its lag is 1 after each.
    in_other_pes : numpy.ndarray
        True for columns that have entries in one of the other PEs, bool [columns].
    queue_depth : int
        As in `queue_recurrence`; 0 if the queues are never full.
    wire_registers : int
        As in `queue_recurrence`.
    lags : numpy.ndarray
        Room for the lags of `GROUP` inputs in each PE, [PEs * GROUP], of an unsigned type that holds any lag and
        `2 + 2 * wire_registers` more.
    edges : numpy.ndarray
        int64 [2, inputs]. Result: last active edge, and blocked cycles.
    """
    wide, narrow = np.int32, lags.dtype.type
    zero, one = wide(0), wide(1)
    nothing, unit = narrow(0), narrow(1)
    columns, num_inputs = nonzero.shape
    scanned = columns - has_bias
    pop_and_back = narrow(2 + 2 * wire_registers)  # edges from the broadcast of a column taken at once
    broadcast, passed, blocked = np.empty(GROUP, wide), np.empty(GROUP, wide), np.empty(GROUP, wide)
    row_sends, leaving, finish_edge = np.empty(GROUP, wide), np.empty(GROUP, wide), np.empty(GROUP, wide)
    step, longest_wait, finish_lag = np.empty(GROUP, narrow), np.empty(GROUP, narrow), np.empty(GROUP, narrow)
    # Edges from the last broadcast until the last columns, the newest first, allow the one `queue_depth` after them.
    room = np.zeros(max(queue_depth, 1) * GROUP, narrow)
    oldest = room[room.shape[0] - GROUP :]
    for begin in range(0, num_inputs, GROUP):
        end = min(begin + GROUP, num_inputs)
        width = end - begin
        for state in (passed, blocked, row_sends, leaving, finish_edge):
            state[:] = zero
        broadcast[:] = wide(wire_registers)
        room[:] = nothing
        lags[:] = nothing
        for column in range(columns):
            sends = nonzero[column, begin:end]
            broadcast_lanes(sends, oldest, broadcast, passed, blocked, row_sends, step)
            longest_wait[:] = nothing
            finish_lag[:] = unit if in_other_pes[column] else nothing
            for pe in range(0, entry_counts.shape[1], 8):
                of_eight = lags[pe * GROUP : (pe + 8) * GROUP]
                take_column(entry_counts[column, pe : pe + 8], step[:width], of_eight, longest_wait, finish_lag)
            if queue_depth > 0:
                for each in range(queue_depth - 2, -1, -1):
                    pass_on(step[:width], room[each * GROUP : (each + 2) * GROUP])
                for i in range(width):
                    room[i] = narrow(longest_wait[i] + pop_and_back) if step[i] != nothing else room[i]
            for i in range(width):
                finish = wide(broadcast[i] + wide(one + wide(finish_lag[i])))
                finish = finish if finish_lag[i] != nothing else zero
                finish_edge[i] = max(finish_edge[i], wide(finish & wide(-wide(sends[i]))))
            if column < scanned and (column % num_pes == num_pes - 1 or column == scanned - 1):
                leave_row(sends, column % num_pes == num_pes - 1, row_sends, passed, leaving)
        for i in range(width):
            trailing = passed[i] if passed[i] > leaving[i] and not has_bias else zero
            edges[0, begin + i] = max(finish_edge[i], broadcast[i] - wire_registers + trailing)
            edges[1, begin + i] = blocked[i]


@kernel
def pass_on(step: Integers, room: Integers) -> None:
    """Pass the first half of `room` on to the second, for inputs whose `step` is not 0, after so many edges."""
    narrow = room.dtype.type
    for i in range(step.shape[0]):
        past = step[i]
        left = narrow(max(room[i], past) - past)
        room[i + GROUP] = left if past != narrow(0) else room[i + GROUP]


@kernel
def broadcast_lanes(
    sends: Integers,
    oldest: Integers,
    broadcast: Integers,
    passed: Integers,
    blocked: Integers,
    row_sends: Integers,
    step: Integers,
) -> None:
    """Move the inputs that send a column to its broadcast edge; `step` is 0 for the others."""
    wide, narrow = np.int32, step.dtype.type
    one = wide(1)
    largest_step = wide(min(np.int64(np.iinfo(step.dtype).max), np.int64(2**31 - 1)))
    for i in range(sends.shape[0]):
        mask = wide(-wide(sends[i]))  # all bits, or none
        bubbles = passed[i]
        ready = wide(one + bubbles)
        ahead = wide(max(ready, wide(oldest[i])) & mask)
        blocked[i] = wide(blocked[i] + wide(ahead - wide(ready & mask)))
        passed[i] = wide(bubbles & ~mask)
        row_sends[i] = wide(row_sends[i] | mask)
        step[i] = narrow(min(ahead, largest_step))
        broadcast[i] = wide(broadcast[i] + ahead)


@kernel
def take_column(
    entry_counts: Integers, step: Integers, lags: Integers, longest_wait: Integers, finish_lag: Integers
) -> None:
    """Let eight PEs take a column, for inputs whose `step` is not 0.

    `entry_counts` are the entries of the column in each PE [8], `lags` those of the first PE, the second, and so on,
    [8 * GROUP]. The longest wait, and the longest lag of a PE with entries, are raised, [inputs].
    """
    narrow = lags.dtype.type
    nothing, unit, all_bits = narrow(0), narrow(1), narrow(np.iinfo(lags.dtype).max)
    count_0, count_1 = narrow(entry_counts[0]), narrow(entry_counts[1])
    count_2, count_3 = narrow(entry_counts[2]), narrow(entry_counts[3])
    count_4, count_5 = narrow(entry_counts[4]), narrow(entry_counts[5])
    count_6, count_7 = narrow(entry_counts[6]), narrow(entry_counts[7])
    works_0, works_1 = all_bits if count_0 else nothing, all_bits if count_1 else nothing
    works_2, works_3 = all_bits if count_2 else nothing, all_bits if count_3 else nothing
    works_4, works_5 = all_bits if count_4 else nothing, all_bits if count_5 else nothing
    works_6, works_7 = all_bits if count_6 else nothing, all_bits if count_7 else nothing
    count_0, count_1, count_2, count_3 = max(count_0, unit), max(count_1, unit), max(count_2, unit), max(count_3, unit)
    count_4, count_5, count_6, count_7 = max(count_4, unit), max(count_5, unit), max(count_6, unit), max(count_7, unit)
    for i in range(step.shape[0]):
        past = step[i]
        takes = all_bits if past != nothing else nothing
        wait_0 = narrow(max(lags[i], past) - past)
        wait_1 = narrow(max(lags[i + GROUP], past) - past)
        wait_2 = narrow(max(lags[i + 2 * GROUP], past) - past)
        wait_3 = narrow(max(lags[i + 3 * GROUP], past) - past)
        wait_4 = narrow(max(lags[i + 4 * GROUP], past) - past)
        wait_5 = narrow(max(lags[i + 5 * GROUP], past) - past)
        wait_6 = narrow(max(lags[i + 6 * GROUP], past) - past)
        wait_7 = narrow(max(lags[i + 7 * GROUP], past) - past)
        lag_0, lag_1 = narrow(wait_0 + narrow(count_0 & takes)), narrow(wait_1 + narrow(count_1 & takes))
        lag_2, lag_3 = narrow(wait_2 + narrow(count_2 & takes)), narrow(wait_3 + narrow(count_3 & takes))
        lag_4, lag_5 = narrow(wait_4 + narrow(count_4 & takes)), narrow(wait_5 + narrow(count_5 & takes))
        lag_6, lag_7 = narrow(wait_6 + narrow(count_6 & takes)), narrow(wait_7 + narrow(count_7 & takes))
        wait_0, wait_4 = max(max(wait_0, wait_1), max(wait_2, wait_3)), max(max(wait_4, wait_5), max(wait_6, wait_7))
        longest_wait[i] = max(longest_wait[i], max(wait_0, wait_4))
        finish_0 = max(narrow(lag_0 & works_0), narrow(lag_1 & works_1))
        finish_2 = max(narrow(lag_2 & works_2), narrow(lag_3 & works_3))
        finish_4 = max(narrow(lag_4 & works_4), narrow(lag_5 & works_5))
        finish_6 = max(narrow(lag_6 & works_6), narrow(lag_7 & works_7))
        finish_lag[i] = max(finish_lag[i], max(max(finish_0, finish_2), max(finish_4, finish_6)))
        lags[i], lags[i + GROUP], lags[i + 2 * GROUP], lags[i + 3 * GROUP] = lag_0, lag_1, lag_2, lag_3
        lags[i + 4 * GROUP], lags[i + 5 * GROUP], lags[i + 6 * GROUP], lags[i + 7 * GROUP] = lag_4, lag_5, lag_6, lag_7


@kernel
def list_lines(pointers: Integers, entries_per_line: int, begins: Integers, line_columns: Integers) -> None:
    """List the columns that have entries in each line of each PE.

    Parameters
    ----------
    pointers : numpy.ndarray
        [columns + 1, PEs].
    entries_per_line : int
        Entries of a line.
    begins : numpy.ndarray
        [lines of all PEs + 1]. Result: place of the first column of each line.
    line_columns : numpy.ndarray
        [columns of all lines + 1]. Result: the columns of each line; a column that goes on in the next line is in both.
    """
    place, line = 0, 0
    for pe in range(pointers.shape[1]):
        next_line = 0  # first entry of the PE's next line
        for column in range(pointers.shape[0] - 1):
            first, last = pointers[column, pe], pointers[column + 1, pe]
            line_columns[place] = column  # overwritten unless the column goes on in the line: no branch to predict
            place += first < last and first < next_line
            while next_line < last:
                begins[line] = place
                line_columns[place] = column
                place += 1
                line += 1
                next_line += entries_per_line
    begins[line] = place


@kernel
def count_lines(nonzero: Integers, begins: Integers, line_columns: Integers, line_reads: Integers) -> None:
    """Count the lines that all PEs read, for many inputs side by side.

    A line is read once if any of its columns is sent: all of them but the last end in it, so that it stays the line
    that its PE read last until the last of them has been taken.

    Parameters
    ----------
    nonzero : numpy.ndarray
        As in `count_scans`.
    begins, line_columns : numpy.ndarray
        From `list_lines`.
    line_reads : numpy.ndarray
        int64 [inputs]. Result: lines that all PEs read.
    """
    columns, num_inputs = nonzero.shape
    block = np.zeros((columns, GROUP), dtype=np.uint8)
    reads, some_reads, seen = np.empty(GROUP, np.int32), np.empty(GROUP, np.uint8), np.empty(GROUP, np.uint8)
    for begin in range(0, num_inputs, GROUP):
        width = min(GROUP, num_inputs - begin)
        for column in range(columns):
            block[column, :width] = nonzero[column, begin : begin + width]
        reads[:] = 0
        for first in range(0, begins.shape[0] - 1, 255):  # lines that a byte can count
            some_reads[:] = 0
            for line in range(first, min(first + 255, begins.shape[0] - 1)):
                place, last = begins[line], begins[line + 1] - 1
                if last - place >= 8:
                    seen[:] = 0
                    for each in range(place, last + 1):
                        sends = block[line_columns[each]]
                        for i in range(GROUP):
                            seen[i] |= sends[i]
                    for i in range(GROUP):
                        some_reads[i] += seen[i]
                else:  # some of the eight are the last one
                    sends_0, sends_1 = block[line_columns[place]], block[line_columns[min(place + 1, last)]]
                    sends_2 = block[line_columns[min(place + 2, last)]]
                    sends_3 = block[line_columns[min(place + 3, last)]]
                    sends_4 = block[line_columns[min(place + 4, last)]]
                    sends_5 = block[line_columns[min(place + 5, last)]]
                    sends_6 = block[line_columns[min(place + 6, last)]]
                    sends_7 = block[line_columns[last]]
                    for i in range(GROUP):
                        first_four = (sends_0[i] | sends_1[i]) | (sends_2[i] | sends_3[i])
                        last_four = (sends_4[i] | sends_5[i]) | (sends_6[i] | sends_7[i])
                        some_reads[i] += first_four | last_four
            for i in range(GROUP):
                reads[i] += some_reads[i]
        for i in range(width):
            line_reads[begin + i] = reads[i]


@kernel
def compare(values: Numbers, expected: Numbers) -> tuple[float, float]:
    """Return the largest difference of two float32 arrays of one axis, and the largest finite magnitude of the second.

    Equal infinities do not differ; a difference that is not a number counts as infinite.
    """
    infinite = np.float64(np.inf)
    differences, magnitudes = np.zeros(GROUP), np.zeros(GROUP, dtype=np.float32)
    for begin in range(0, values.shape[0], GROUP):
        first, second = values[begin : begin + GROUP], expected[begin : begin + GROUP]
        for i in range(first.shape[0]):
            difference = np.float64(0) if first[i] == second[i] else abs(np.float64(first[i]) - np.float64(second[i]))
            difference = difference if difference == difference else infinite
            differences[i] = difference if difference > differences[i] else differences[i]
            magnitude = abs(second[i]) if abs(second[i]) < infinite else np.float32(0)
            magnitudes[i] = magnitude if magnitude > magnitudes[i] else magnitudes[i]
    return differences.max(), np.float64(magnitudes.max())
