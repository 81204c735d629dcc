"""Closed form of the array: clock edges and counters without ticking a clock.

Columns are numbered j = 0, 1, ... in broadcast order, the bias last. With n[k, j] entries of column j in
PE k, g[j] bubble cycles of the scan before broadcast j, a queue that holds D columns, and R = broadcast_cycles - 1
registers between the scan and the queues, in each direction,

    b[j]    = max( b[j-1] + 1 + g[j],  max_k s[k, j-D] + 1 + 2 R )  edge at which column j enters the queues; b[-1] = R
    s[k, j] = max( b[j] + 1,  s[k, j-1] + max(1, n[k, j-1]) )       edge at which PE k takes it out
    F       = max over k, j with n[k, j] > 0 of  s[k, j] + n[k, j]  edge at which the last entry leaves a pointer read
    cycles  = F + 1 + pipeline_cycles

Column j leaves the scan at edge b[j] - R. If the last cycle of the scan, with the bubbles after its last broadcast,
ends later than F, its edge stands in for F.

Only the largest s[., j] of a column is needed again, so the state is one number per PE and D for the array. The loops
are in `sim/engine_kernels.py`. `sim.datapath` is the same machine, one clock tick at a time.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sim.config import ArrayConfig
from sim.engine_kernels import (
    accumulate,
    accumulate_codes,
    count_line_reads,
    queue_recurrence,
    record_edges,
    scan,
)
from sim.fixed_point import Operands
from sim.host_memory import check_memory
from sim.limits import array_limits
from sim.memory import stored_counts
from sim.packing import PackedLayer
from sim.result import Counts
from traces.arrays import Integers32, Integers64, Numbers
from traces.kernel_lanes import LANES

EDGE_BYTES = 32  # of a broadcast in a PE: its edge, and what observers make of it, in 64 bits


class Run:
    """One packed layer with one input, to be counted on every array that its SRAM images fit.

    The broadcasts, the entries of each PE, the timing for each queue and the line reads for each line are computed
    once and serve all arrays.

    Attributes
    ----------
    columns : numpy.ndarray
        Columns in broadcast order, int32 [broadcasts]; the bias is column `layer.columns`.
    bubbles : numpy.ndarray
        Bubble cycles before each broadcast, int32 [broadcasts].
    """

    def __init__(self, packed: PackedLayer, operands: Operands) -> None:
        self.packed = packed
        self.operands = operands
        activations = operands.activations
        num_pes = packed.num_pes
        has_bias = packed.layer.bias is not None
        room = activations.size + 2  # one for the bias, one that `scan` may write to and not use
        columns, bubbles = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
        broadcasts, self.trailing_bubbles = scan(activations, num_pes, has_bias, columns, bubbles)
        self.columns, self.bubbles = columns[:broadcasts], bubbles[:broadcasts]
        self._timings: dict[tuple[int, int], Timing] = {}
        self._line_reads: dict[int, Integers64] = {}

    @property
    def values(self) -> Numbers:
        """Activation of each broadcast, or its fixed-point code, float32 or int64 [broadcasts]."""
        activations = self.operands.activations
        if self.packed.layer.bias is None:
            return activations[self.columns]
        return np.append(activations[self.columns[:-1]], activations.dtype.type(self.operands.one))

    @cached_property
    def bubble_cycles(self) -> int:
        """Cycles in which the scan left a row and broadcast nothing."""
        return int(self.bubbles.sum()) + self.trailing_bubbles

    @cached_property
    def entries(self) -> Integers64:
        """Entries that each PE goes through, padding included, int64 [num_pes]."""
        return self.packed.summed(self.packed.entry_lanes, self.columns)

    @cached_property
    def padding(self) -> Integers64:
        """Padding entries among them, int64 [num_pes]."""
        return self.packed.summed(self.packed.padding_lanes, self.columns)

    def timing(self, config: ArrayConfig) -> Timing:
        """Compute the clock edges for the queues and the broadcast of one array."""
        packed = self.packed
        broadcasts, lanes = self.columns.size, packed.entry_lanes.shape[1]
        wire_registers = config.broadcast_cycles - 1
        depth = min(config.queue_depth, max(1, broadcasts))  # a longer queue than there are columns is never full
        finish_edges = np.empty(lanes, dtype=np.int64)
        latest_pops = np.empty(depth + broadcasts, dtype=np.int32)
        last_active_edge, blocked_cycles = queue_recurrence(
            packed.entry_lanes,
            self.columns,
            self.bubbles,
            self.trailing_bubbles,
            depth,
            wire_registers,
            packed.stored_per_pe,
            np.empty(lanes, dtype=lag_type(depth, packed.most_entries)),
            finish_edges,
            latest_pops,
        )
        return Timing(
            int(last_active_edge), int(blocked_cycles), wire_registers, finish_edges[: packed.num_pes], latest_pops
        )

    def edges(self, timing: Timing) -> tuple[Integers32, Integers32]:
        """Return the edges b[j] and s[k, j] of every column, int32 [broadcasts] and [broadcasts, num_pes]."""
        packed, broadcasts = self.packed, self.columns.size
        check_memory(
            f"layer {packed.layer.name!r}: edges of num_pes={packed.num_pes:,} times {broadcasts:,} broadcasts",
            EDGE_BYTES * broadcasts * packed.num_pes,
            "use fewer PEs or a sparser input",
        )
        broadcast_edges = np.empty(broadcasts, dtype=np.int32)
        pop_edges = np.empty((broadcasts, packed.num_pes), dtype=np.int32)
        record_edges(
            packed.entry_lanes,
            self.columns,
            self.bubbles,
            timing.wire_registers,
            timing.latest_pops,
            broadcast_edges,
            pop_edges,
        )
        return broadcast_edges, pop_edges

    def line_reads(self, entries_per_line: int) -> Integers64:
        """Count the lines that each PE reads, int64 [num_pes]."""
        if entries_per_line not in self._line_reads:
            packed = self.packed
            reads = np.empty(packed.entry_lanes.shape[1], dtype=np.int64)
            multiplier, shift, number = line_division(entries_per_line, packed.fullest_pe_entries + entries_per_line)
            room = np.empty(LANES, dtype=number)
            count_line_reads(packed.entry_lanes, self.columns, entries_per_line, multiplier, shift, room, reads)
            self._line_reads[entries_per_line] = reads[: packed.num_pes]
        return self._line_reads[entries_per_line]

    def counts(self, config: ArrayConfig) -> Counts:
        """Return the timing and all counters on one array."""
        key = config.queue_depth, config.broadcast_cycles
        if key not in self._timings:
            self._timings[key] = self.timing(config)
        timing = self._timings[key]
        return Counts(
            config=config,
            **stored_counts(self.packed, config),
            broadcasts=self.columns.size,
            cycles=timing.cycles(config),
            bubble_cycles=self.bubble_cycles,
            blocked_cycles=timing.blocked_cycles,
            entries_per_pe=self.entries,
            padding_per_pe=self.padding,
            line_reads_per_pe=self.line_reads(config.entries_per_line),
            finish_edge_per_pe=timing.finish_edges,
            **array_limits(self.columns.size, self.bubble_cycles, int(self.entries.max()), config.pipeline_cycles),
        )

    def accumulate(self, accumulators: Numbers) -> int:
        """Add every product to its row's accumulator, float64 or int64 [rows]; return the number of overflows."""
        packed, operands = self.packed, self.operands
        entries = (packed.entries, packed.code_bits, packed.column_begin)
        number = operands.number_format
        if number is None:
            accumulate(*entries, operands.codebook, self.columns, self.values, accumulators)
            return 0
        limits = (number.shift, number.lowest, number.highest)
        return int(accumulate_codes(*entries, operands.codebook, self.columns, self.values, *limits, accumulators))


def line_division(entries_per_line: int, most_entries: int) -> tuple[int, int, type[np.unsignedinteger[Any]]]:
    """Return how a kernel divides the place of an entry by the entries of a line: multiplier, shift and type.

    The quotient of e < `most_entries` is (e * multiplier) >> shift, in that type. Source: Granlund and Montgomery,
    "Division by invariant integers using multiplication", 1994.
    """
    bits = max(1, most_entries).bit_length()
    shift = bits + (entries_per_line - 1).bit_length()
    multiplier = -(-(2**shift) // entries_per_line)
    while multiplier % 2 == 0:
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift, np.uint32 if multiplier << bits <= 2**32 else np.uint64


def lag_type(queue_depth: int, most_entries: int) -> type[np.unsignedinteger[Any]]:
    """Return the narrowest type in which no PE's lag overflows.

    When a column is broadcast, all PEs have taken out the one `queue_depth` before it. So a PE is behind by at most
    `queue_depth` columns and the new one, of at most `most_entries` cycles each. A longer broadcast does not add to it.
    """
    return np.min_scalar_type((queue_depth + 1) * max(1, most_entries)).type


class Timing(NamedTuple):
    """Clock edges of one run.

    Attributes
    ----------
    last_active_edge
        Last edge at which the scan went on or an entry left its pointer read.
    blocked_cycles
        Cycles in which a full queue blocked the broadcast.
    wire_registers
        Registers between the scan and the queues, in each direction.
    finish_edges
        Edge at which each PE's last entry leaves its pointer read, int64 [num_pes]; 0 without entries.
    latest_pops
        Edge at which the last PE takes each column out of its queue, int32 [queue depth + broadcasts]; before the first
        column, an edge that blocks nothing.
    """

    last_active_edge: int
    blocked_cycles: int
    wire_registers: int
    finish_edges: Integers64
    latest_pops: Integers32

    def cycles(self, config: ArrayConfig) -> int:
        """Return the cycles of the layer; the first one, which ends with edge 0, loads a row."""
        return 1 + self.last_active_edge + config.pipeline_cycles
