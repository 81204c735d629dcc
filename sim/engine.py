"""The array in closed form, in Numba: what users run. No clock is ticked.

Columns are numbered j = 0, 1, ... in broadcast order, the bias last. With n[k, j] entries of column j in
PE k, g[j] bubble cycles of the scan before broadcast j, and a queue that holds D columns,

    b[j]    = max( b[j-1] + 1 + g[j],  max_k s[k, j-D] + 1 )        edge at which column j enters the queues
    s[k, j] = max( b[j] + 1,  s[k, j-1] + max(1, n[k, j-1]) )       edge at which PE k takes it out

Only the largest s[., j] of a column is looked at again, so the state is one number per PE and D for the
array. The same machine, one clock tick at a time, is `sim.datapath`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.packing import PackedLayer
from sim.result import Counts, rounded
from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]
Floats = npt.NDArray[Any]

PIPELINE_CYCLES = 5  # from an entry's leaving the pointer read to its being written


class Run:
    """One packed layer with one input, on every array that its SRAM images fit.

    What several arrays share is worked out once: the broadcasts, the entries of each PE, the timing for each
    queue, the line reads for each line.

    columns   int32 [broadcasts], in broadcast order; the bias is column `layer.columns`
    values    float32 [broadcasts], the activation of each
    """

    def __init__(self, packed: PackedLayer, activations: npt.NDArray[np.float32]) -> None:
        self.packed = packed
        num_pes = packed.num_pes
        has_bias = packed.layer.bias is not None
        room = activations.size + has_bias
        columns, bubbles = np.empty((2, room), dtype=np.int32)
        values = np.empty(room, dtype=np.float32)
        broadcasts, self.trailing_bubbles = scan(activations, num_pes, has_bias, columns, values, bubbles)
        self.columns, self.values, self.bubbles = columns[:broadcasts], values[:broadcasts], bubbles[:broadcasts]
        self.bubble_cycles = int(self.bubbles.sum()) + self.trailing_bubbles
        self.entries = np.zeros(num_pes, dtype=np.int64)
        sum_counts(packed.entry_counts, self.columns, self.entries)
        self.padding = np.zeros(num_pes, dtype=np.int64)
        if packed.padding_entries:
            sum_counts(packed.padding_counts, self.columns, self.padding)
        self._timing: dict[int, Timing] = {}
        self._line_reads: dict[int, npt.NDArray[np.int64]] = {}

    def timing(self, queue_depth: int, record: bool = False) -> Timing:
        """Clock edges for one depth of the queue; with `record`, those of every column, too."""
        broadcasts, num_pes = self.columns.size, self.packed.num_pes
        finish_edges = np.zeros(num_pes, dtype=np.int32)
        broadcast_edges = np.empty(broadcasts if record else 0, dtype=np.int32)
        pop_edges = np.empty((broadcasts, num_pes) if record else (0, 0), dtype=np.int32)
        last_broadcast, blocked_cycles = queue_recurrence(
            self.packed.entry_counts,
            self.columns,
            self.bubbles,
            min(queue_depth, max(1, broadcasts)),  # a longer queue than there are columns is never full
            self.entries,
            finish_edges,
            broadcast_edges,
            pop_edges,
        )
        # A layer is not over before its scan is. The first cycle, which ends with edge 0, loads a row.
        last_active_edge = max(int(finish_edges.max()), int(last_broadcast) + self.trailing_bubbles)
        cycles = 1 + last_active_edge + PIPELINE_CYCLES
        finished = finish_edges.astype(np.int64)
        return Timing(cycles, int(blocked_cycles), finished, broadcast_edges, pop_edges)

    def line_reads(self, entries_per_line: int) -> npt.NDArray[np.int64]:
        """Lines that each PE reads, int64 [num_pes]."""
        if entries_per_line not in self._line_reads:
            reads = np.zeros(self.packed.num_pes, dtype=np.int64)
            count_line_reads(self.packed.pointers, self.columns, entries_per_line, reads)
            self._line_reads[entries_per_line] = reads
        return self._line_reads[entries_per_line]

    def counts(self, config: ArrayConfig) -> Counts:
        """Timing and every counter on one array."""
        depth = config.queue_depth
        if depth not in self._timing:
            self._timing[depth] = self.timing(depth)
        timing = self._timing[depth]
        return Counts(
            config=config,
            stored_entries=self.packed.stored_entries,
            padding_entries=self.packed.padding_entries,
            broadcasts=self.columns.size,
            cycles=timing.cycles,
            bubble_cycles=self.bubble_cycles,
            blocked_cycles=timing.blocked_cycles,
            entries_per_pe=self.entries,
            padding_per_pe=self.padding,
            line_reads_per_pe=self.line_reads(config.entries_per_line),
            finish_edge_per_pe=timing.finish_edges,
        )

    def output(self) -> npt.NDArray[np.float32]:
        """The functional result, float32 [rows]."""
        packed = self.packed
        output = np.zeros(packed.layer.rows, dtype=np.float64)
        codebook = packed.layer.codebook.astype(np.float64)
        accumulate(packed.codes, packed.output_rows, packed.column_begin, codebook, self.columns, self.values, output)
        return rounded(output)


@dataclass(frozen=True, eq=False)
class Timing:
    """Clock edges of one run.

    finish_edges     int64 [num_pes], when each PE's last entry has left its pointer read; 0 without entries
    broadcast_edges  int32 [broadcasts], b[j]; empty unless recorded
    pop_edges        int32 [broadcasts, num_pes], s[k, j]; empty unless recorded
    """

    cycles: int
    blocked_cycles: int
    finish_edges: npt.NDArray[np.int64]
    broadcast_edges: npt.NDArray[np.int32]
    pop_edges: npt.NDArray[np.int32]


@kernel
def scan(
    activations: Floats, num_pes: int, has_bias: bool, columns: Integers, values: Floats, bubbles: Integers
) -> tuple[int, int]:
    """Leading non-zero detection: the broadcast columns, their values and the bubble cycles before each.

    Fills `columns`, `values` and `bubbles`, which have room for every column. Returns the number of
    broadcasts and the bubble cycles after the last one, for trailing rows without non-zeros.
    """
    num_rows = (activations.shape[0] + num_pes - 1) // num_pes
    last_lane = num_pes - 1
    previous_row = -1
    leaving_cycles = 0  # what it costs to leave the row of the last broadcast
    broadcasts = 0
    for column in range(activations.shape[0]):
        if activations[column] != 0:
            row = column // num_pes
            columns[broadcasts] = column
            values[broadcasts] = activations[column]
            bubbles[broadcasts] = row - previous_row - 1 + leaving_cycles if row > previous_row else 0
            previous_row = row
            leaving_cycles = 0 if column - row * num_pes == last_lane else 1
            broadcasts += 1
    if has_bias:  # the first lane of a row of its own
        columns[broadcasts] = activations.shape[0]
        values[broadcasts] = 1.0
        bubbles[broadcasts] = num_rows - previous_row - 1 + leaving_cycles
        return broadcasts + 1, 0
    trailing_rows = num_rows - 1 - previous_row
    return broadcasts, trailing_rows + leaving_cycles if trailing_rows > 0 else 0


@kernel
def queue_recurrence(
    entry_counts: Integers,
    columns: Integers,
    bubbles: Integers,
    queue_depth: int,
    entries: Integers,
    finish_edges: Integers,
    broadcast_edges: Integers,
    pop_edges: Integers,
) -> tuple[np.int32, np.int64]:
    """Run the recurrence over the broadcast columns.

    entry_counts      [columns, num_pes]
    columns, bubbles  [broadcasts], from `scan`
    entries           [num_pes], of the broadcast columns; only whether there are any is looked at
    finish_edges      int32 [num_pes], zeros on entry; when each PE's last entry has left its pointer read
    broadcast_edges, pop_edges   int32 [broadcasts] and [broadcasts, num_pes] to have every b[j] and s[k, j]
                      recorded, or [0] and [0, 0]

    Edges are 32-bit, which twice the lanes of a vector unit hold; `sim.packing` sees to it that they suffice.
    Returns the edge of the last broadcast and the cycles in which a full queue blocked the broadcast.
    """
    num_pes = entry_counts.shape[1]
    one = np.int32(1)

    # From this broadcast on, a column may be the last one in which some PE has entries.
    first_that_may_finish = columns.shape[0]
    unseen = np.count_nonzero(entries)
    seen = np.zeros(num_pes, dtype=np.bool_)
    while unseen > 0 and first_that_may_finish > 0:
        first_that_may_finish -= 1
        for pe in range(num_pes):
            if not seen[pe] and entry_counts[columns[first_that_may_finish], pe] > 0:
                seen[pe] = True
                unseen -= 1

    free_edges = np.zeros(num_pes, dtype=np.int32)  # when each PE's pointer read can take its next column
    latest_pops = np.zeros(queue_depth, dtype=np.int32)  # max_k s[k, .] of the last D columns
    slot = 0  # j mod D
    broadcast = np.int32(0)
    blocked_cycles = np.int64(0)
    for j in range(columns.shape[0]):
        ready = np.int32(broadcast + one + bubbles[j])
        # While j < D the slot still holds 0, which blocks nothing.
        broadcast = max(ready, np.int32(latest_pops[slot] + one))
        blocked_cycles += broadcast - ready
        earliest = np.int32(broadcast + one)
        latest = np.int32(0)
        column = np.uint64(columns[j])
        for pe in range(num_pes):
            pop = max(earliest, free_edges[pe])
            latest = max(latest, pop)
            free_edges[pe] = np.int32(pop + max(one, np.int32(entry_counts[column, pe])))
        latest_pops[slot] = latest
        slot = slot + 1 if slot + 1 < queue_depth else 0
        if j >= first_that_may_finish:
            for pe in range(num_pes):
                if entry_counts[column, pe] > 0:
                    finish_edges[pe] = free_edges[pe]
        if broadcast_edges.shape[0] > 0:
            broadcast_edges[j] = broadcast
            for pe in range(num_pes):
                pop_edges[j, pe] = free_edges[pe] - max(one, np.int32(entry_counts[column, pe]))
    return broadcast, blocked_cycles


@kernel
def count_line_reads(pointers: Integers, columns: Integers, entries_per_line: int, line_reads: Integers) -> None:
    """Lines each PE reads: a line is read unless it is the one read last. `line_reads` int64 [num_pes], zeros."""
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
    codebook: Floats,
    columns: Integers,
    values: Floats,
    output: Floats,
) -> None:
    """The functional result: decode, multiply and add every entry, for each row in the order of its PE.

    `codebook` float64 [shared weights], `output` float64 [rows], zeros. A product of two float32 numbers is
    exact in float64; sums are rounded to float64 in broadcast order. Padding adds its zero to a row it skips.
    """
    for j in range(columns.shape[0]):
        value = np.float64(values[j])
        begin, end = column_begin[columns[j]], column_begin[columns[j] + 1]
        column_codes, column_rows = codes[begin:end], output_rows[begin:end]  # slices: no index can be negative
        for entry in range(end - begin):
            output[column_rows[entry]] += codebook[column_codes[entry]] * value
