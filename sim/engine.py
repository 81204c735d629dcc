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
from sim.result import Counts, SimulationResult, rounded
from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]
Floats = npt.NDArray[Any]

PIPELINE_CYCLES = 5  # from an entry's leaving the pointer read to its being written


@dataclass(frozen=True, eq=False)
class Schedule:
    """When each column is broadcast and taken, and what that counts up to.

    columns          int32 [broadcasts], in broadcast order; the bias is column `layer.columns`
    values           float32 [broadcasts], the activation of each
    broadcast_edges  int64 [broadcasts], b[j]; empty unless recorded
    pop_edges        int64 [broadcasts, num_pes], s[k, j]; empty unless recorded
    """

    counts: Counts
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    broadcast_edges: npt.NDArray[np.int64]
    pop_edges: npt.NDArray[np.int64]


def schedule(
    packed: PackedLayer, activations: npt.NDArray[np.float32], config: ArrayConfig, record: bool = False
) -> Schedule:
    """Timing and every counter of one layer on one input; with `record`, the edges of every column, too."""
    num_pes = config.num_pes
    has_bias = packed.layer.bias is not None
    room = activations.size + has_bias
    columns = np.empty(room, dtype=np.int32)
    values = np.empty(room, dtype=np.float32)
    bubbles = np.empty(room, dtype=np.int32)
    broadcasts, trailing_bubbles = scan(activations, num_pes, has_bias, columns, values, bubbles)
    columns, values, bubbles = columns[:broadcasts], values[:broadcasts], bubbles[:broadcasts]

    free, finish, entries, padding, line_reads = np.zeros((5, num_pes), dtype=np.int64)
    broadcast_edges = np.empty(broadcasts if record else 0, dtype=np.int64)
    pop_edges = np.empty((broadcasts, num_pes) if record else (0, 0), dtype=np.int64)
    last_broadcast, blocked_cycles = queue_recurrence(
        packed.entry_counts,
        columns,
        bubbles,
        config.queue_depth,
        free,
        finish,
        broadcast_edges,
        pop_edges,
    )
    sum_entries(packed.entry_counts, packed.padding_counts, columns, entries, padding)
    count_line_reads(packed.pointers, columns, config.entries_per_line, line_reads)
    # A layer is not over before its scan is.
    last_active_edge = max(int(finish.max()), last_broadcast + trailing_bubbles)
    counts = Counts(
        config=config,
        stored_entries=packed.stored_entries,
        padding_entries=packed.padding_entries,
        broadcasts=broadcasts,
        cycles=1 + last_active_edge + PIPELINE_CYCLES,  # the first one, which ends with edge 0, loads a row
        bubble_cycles=int(bubbles.sum()) + trailing_bubbles,
        blocked_cycles=blocked_cycles,
        entries_per_pe=entries,
        padding_per_pe=padding,
        line_reads_per_pe=line_reads,
        finish_edge_per_pe=finish,
    )
    return Schedule(counts, columns, values, broadcast_edges, pop_edges)


def run(packed: PackedLayer, activations: npt.NDArray[np.float32], config: ArrayConfig) -> SimulationResult:
    """Counts and output of one layer on one input."""
    plan = schedule(packed, activations, config)
    output = np.empty(packed.layer.rows, dtype=np.float64)
    accumulate(
        packed.codes,
        packed.gaps,
        packed.pe_begin,
        packed.pointers,
        packed.layer.codebook.astype(np.float64),
        plan.columns,
        plan.values,
        output,
    )
    return SimulationResult(**vars(plan.counts), output=rounded(output))


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
    free_edges: Integers,
    finish_edges: Integers,
    broadcast_edges: Integers,
    pop_edges: Integers,
) -> tuple[int, int]:
    """Run the recurrence over the broadcast columns.

    entry_counts      [columns, num_pes]
    columns, bubbles  [broadcasts], from `scan`
    free_edges        int64 [num_pes], zeros on entry; when each PE's pointer read is free again
    finish_edges      int64 [num_pes], zeros on entry; when each PE's last entry has left its pointer read
    broadcast_edges, pop_edges   int64 [broadcasts] and [broadcasts, num_pes] to have every b[j] and s[k, j]
                      recorded, or [0] and [0, 0]

    Returns the edge of the last broadcast and the cycles in which a full queue blocked the broadcast.
    """
    num_pes = entry_counts.shape[1]
    latest_pops = np.zeros(queue_depth, dtype=np.int64)  # max_k s[k, .] of the last D columns
    slot = 0  # j mod D
    broadcast = 0
    blocked_cycles = 0
    for j in range(columns.shape[0]):
        ready = broadcast + 1 + bubbles[j]
        # While j < D the slot still holds 0, which blocks nothing.
        broadcast = max(ready, latest_pops[slot] + 1)
        blocked_cycles += broadcast - ready
        latest = np.int64(0)
        counts = entry_counts[columns[j]]
        for pe in range(num_pes):
            entries = np.int64(counts[pe])
            pop = max(broadcast + 1, free_edges[pe])
            latest = max(latest, pop)
            free = pop + max(1, entries)
            free_edges[pe] = free
            finish_edges[pe] = free if entries > 0 else finish_edges[pe]
        latest_pops[slot] = latest
        slot = slot + 1 if slot + 1 < queue_depth else 0
        if broadcast_edges.shape[0] > 0:
            broadcast_edges[j] = broadcast
            for pe in range(num_pes):
                pop_edges[j, pe] = free_edges[pe] - max(1, np.int64(counts[pe]))
    return broadcast, blocked_cycles


@kernel
def count_line_reads(pointers: Integers, columns: Integers, entries_per_line: int, line_reads: Integers) -> None:
    """Lines each PE reads: a line is read unless it is the one read last. `line_reads` int64 [num_pes]."""
    for pe in range(line_reads.shape[0]):
        held = np.int64(-1)
        reads = np.int64(0)
        for j in range(columns.shape[0]):
            begin = np.int64(pointers[pe, columns[j]])
            end = np.int64(pointers[pe, columns[j] + 1])
            if end > begin:
                first = begin // entries_per_line
                last = (end - 1) // entries_per_line
                reads += last - first + (0 if first == held else 1)
                held = last
        line_reads[pe] = reads


@kernel
def sum_entries(
    entry_counts: Integers, padding_counts: Integers, columns: Integers, entries: Integers, padding: Integers
) -> None:
    """Entries and padding entries that each PE goes through; `entries`, `padding` int64 [num_pes], zeros."""
    for j in range(columns.shape[0]):
        for pe in range(entries.shape[0]):
            entries[pe] += np.int64(entry_counts[columns[j], pe])
            padding[pe] += np.int64(padding_counts[columns[j], pe])


@kernel
def accumulate(
    codes: Integers,
    gaps: Integers,
    pe_begin: Integers,
    pointers: Integers,
    codebook: Floats,
    columns: Integers,
    values: Floats,
    output: Floats,
) -> None:
    """The functional result: decode, multiply and add every entry, in the order in which the PE does.

    `codebook` float64 [shared weights], `output` float64 [rows]. A product of two float32 numbers is exact in
    float64; sums are rounded to float64 in broadcast order.
    """
    num_pes = pe_begin.shape[0] - 1
    accumulators = np.empty((output.shape[0] + num_pes - 1) // num_pes, dtype=np.float64)
    for pe in range(num_pes):
        accumulators[:] = 0.0
        for j in range(columns.shape[0]):
            value = np.float64(values[j])
            local_row = np.int64(-1)
            begin = pe_begin[pe] + np.int64(pointers[pe, columns[j]])
            end = pe_begin[pe] + np.int64(pointers[pe, columns[j] + 1])
            for entry in range(begin, end):
                local_row += np.int64(gaps[entry]) + 1
                if codes[entry] != 0:
                    accumulators[local_row] += codebook[codes[entry]] * value
        for place, row in enumerate(range(pe, output.shape[0], num_pes)):
            output[row] = accumulators[place]
