"""The array, clock tick by clock tick: the readable machine that the closed form must agree with.

    ActivationScan ──BroadcastWires──┬─> ActivationQueue ─> PointerRead ─> SparseMatrixRead ──┐
      (one for all)                  │                          ActivationWrite <─ Arithmetic <┘
                                     ├─> the same in every PE
                                     └─> ...

Every arrow is a register: a value that leaves a block in one cycle is in the next block from the next clock edge on.
An entry that leaves the pointer read at edge t is read from its line by t + 1, decoded by t + 2, multiplied
by t + 3, added by t + 4 and written by t + 5. In a deeper pipeline (`pipeline_cycles`), the entry that was read passes
more registers before it is decoded. A longer broadcast (`broadcast_cycles`) passes registers on its way to the queues,
and so do the pops on their way back to the scan. Source: Han et al., "EIE", ISCA 2016, section IV and Fig 4, whose
pipeline and broadcast have no further registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sim.config import ArrayConfig
from sim.datapath.activation_queue import ActivationQueue
from sim.datapath.activation_scan import ActivationScan, Broadcast
from sim.datapath.activation_write import ActivationWrite
from sim.datapath.arithmetic import Arithmetic
from sim.datapath.broadcast_wires import BroadcastWires
from sim.datapath.memory_control import run_blocks
from sim.datapath.pointer_read import PointerRead
from sim.datapath.sparse_matrix_read import SparseMatrixRead
from sim.fixed_point import Operands
from sim.limits import array_limits
from sim.memory import Block, blocks_of, stored_counts
from sim.packing import PackedLayer
from sim.result import SimulationResult, counts_in_sequence
from traces.arrays import Numbers


class ProcessingElement:
    """One PE: queue, SRAMs with the images of `packed`, arithmetic and registers."""

    def __init__(
        self, packed: PackedLayer, pe: int, config: ArrayConfig, operands: Operands, accumulators: Sequence[float]
    ) -> None:
        codes, gaps = packed.sparse_matrix_image(pe)
        entries = list(zip(codes.tolist(), gaps.tolist(), strict=True))
        self.queue = ActivationQueue(config.queue_slots)
        self.pointer_read = PointerRead(packed.pointers[:, pe].tolist())
        self.sparse_matrix_read = SparseMatrixRead(entries, config.entries_per_line, config.pipeline_cycles)
        codebooks = operands.codebook.reshape(len(packed.codebooks), -1)  # one for all PEs, or one for each
        self.arithmetic = Arithmetic(codebooks[pe % len(codebooks)].tolist(), operands.number_format)
        self.activation_write = ActivationWrite(accumulators)

    def tick(self, edge: int) -> bool:
        """Run one cycle, which ends with clock edge `edge`; return True if an entry left the pointer read."""
        self.activation_write.tick()
        address = self.pointer_read.tick(self.queue, edge)
        entry = self.sparse_matrix_read.tick(address)
        self.activation_write.accept(self.arithmetic.tick(entry, self.activation_write))
        return address is not None


class Array:
    """The PEs, the scan, the wires between them and the central control, which run one layer on one input."""

    def __init__(
        self,
        packed: PackedLayer,
        operands: Operands,
        config: ArrayConfig,
        accumulators: Numbers | None = None,
    ) -> None:
        """Load a layer; `accumulators` [rows] begin with zeros or the free bias of `operands` unless they are given."""
        self.packed = packed
        self.operands = operands
        self.config = config
        bias_activation = None if packed.layer.bias is None else operands.one
        self.scan = ActivationScan(operands.entering.tolist(), config.num_pes, bias_activation, operands.limit)
        self.order = slice(None) if packed.row_order is None else packed.row_order
        places = (operands.accumulators(packed.layer.rows) if accumulators is None else accumulators)[self.order]
        num_pes = config.num_pes
        self.pes = [
            ProcessingElement(packed, pe, config, operands, places[pe::num_pes].tolist()) for pe in range(num_pes)
        ]
        self.wires = BroadcastWires(num_pes, config.queue_depth, config.broadcast_cycles)
        self.edge = 0  # edge 0 ends the cycle that loads the first row of activations
        self.sent: Broadcast | None = None  # left the scan at this edge
        self.broadcast: Broadcast | None = None  # entered the queues at this edge

    def tick(self) -> bool:
        """Run one cycle; return True if the scan went on or an entry left a pointer read: the layer is not over."""
        self.edge += 1
        scanning = not self.scan.finished
        # A pop in this cycle does not help a broadcast in this cycle.
        self.sent = self.scan.tick(self.wires.lack_credit)
        self.broadcast = self.wires.send(self.sent)
        working = [pe.tick(self.edge) for pe in self.pes]
        self.wires.return_credits([pe.pointer_read.popped for pe in self.pes])
        if self.broadcast is not None:
            for pe in self.pes:
                pe.queue.push(self.broadcast)
        return scanning or any(working)

    @property
    def is_drained(self) -> bool:
        """True once no column is in the scan or a pointer read, and all credits for the queues are back."""
        return self.scan.finished and self.wires.are_idle and all(pe.pointer_read.column is None for pe in self.pes)

    def run(self, observe: Callable[[Array], None] | None = None) -> SimulationResult:
        """Run the layer to its end, and call `observe` with the array after every cycle.

        The layer is over when its scan has finished and its last entry is written. Columns without entries may then
        still be on their way or in a queue. Their pointers are read while the next layer starts: the reads count, the
        cycles do not.
        """
        last_active_edge = 0
        while not self.is_drained or self.edge < last_active_edge + self.config.pipeline_cycles:
            if self.tick():
                last_active_edge = self.edge
            if observe is not None:
                observe(self)
        return self._result(cycles=1 + last_active_edge + self.config.pipeline_cycles)

    @property
    def accumulators(self) -> Numbers:
        """Contents of the destination registers, float64 or int64 [rows]."""
        in_places = np.empty(self.packed.layer.rows, dtype=self.operands.codebook.dtype)
        for number, pe in enumerate(self.pes):
            in_places[number :: len(self.pes)] = pe.activation_write.accumulators
        accumulators = np.empty_like(in_places)
        accumulators[self.order] = in_places
        return accumulators

    def _result(self, cycles: int) -> SimulationResult:
        pes, number_format = self.pes, self.operands.number_format
        accumulators = self.accumulators
        entries_per_pe = np.array([pe.arithmetic.entries for pe in pes])
        broadcasts, bubble_cycles = pes[0].pointer_read.pair_reads, self.scan.bubble_cycles
        return SimulationResult(
            config=self.config,
            **stored_counts(self.packed, self.config)
            | {"stored_entries": sum(pe.sparse_matrix_read.num_entries for pe in pes)},
            broadcasts=broadcasts,
            cycles=cycles,
            bubble_cycles=bubble_cycles,
            blocked_cycles=self.scan.blocked_cycles,
            entries_per_pe=entries_per_pe,
            padding_per_pe=np.array([pe.arithmetic.padding for pe in pes]),
            line_reads_per_pe=np.array([pe.sparse_matrix_read.line_reads for pe in pes]),
            finish_edge_per_pe=np.array([pe.pointer_read.last_entry_edge for pe in pes]),
            **array_limits(broadcasts, bubble_cycles, int(entries_per_pe.max()), self.config.pipeline_cycles),
            output=self.operands.values(accumulators),
            number_format=number_format,
            output_codes=None if number_format is None else accumulators,
            overflows=sum(pe.arithmetic.unit.overflows for pe in pes),
            saturated_activations=int(self.operands.saturated_activations),
        )


def run_layer(packed: PackedLayer, operands: Operands, config: ArrayConfig) -> SimulationResult:
    """Run a layer tick by tick, in blocks if it does not fit (`sim.memory`)."""
    accumulators = operands.accumulators(packed.layer.rows)

    def run(block: Block) -> SimulationResult:
        array = Array(block.packed, block.operands(operands), config, accumulators[block.rows])
        result = array.run()
        accumulators[block.rows] = array.accumulators
        return result

    blocks = blocks_of(packed, config)
    times, results = run_blocks(blocks, config, run)
    return SimulationResult(
        **counts_in_sequence(packed, blocks, results, times, config),
        output=operands.values(accumulators),
        number_format=operands.number_format,
        output_codes=None if operands.number_format is None else accumulators,
        overflows=sum(result.overflows for result in results),
        saturated_activations=int(operands.saturated_activations),
    )
