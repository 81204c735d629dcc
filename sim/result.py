"""What a simulation gives back: counts as whole numbers and arrays per PE, and the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.cost.energy import DEFAULT_PRESET, Energy, block_energies
from sim.fixed_point import FixedPoint
from sim.memory import Block, Schedule, Shortfall, memory_counts
from sim.packing import PackedLayer

PerPE = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """What one layer with one input costs on one array; everything but the output.

    stored_entries, padding_entries   in the whole packed matrix, as the SRAMs hold it
    broadcasts          columns sent to the PEs: non-zero activations, and the bias
    cycles              from loading the first row of activations to the last activation write
    bubble_cycles       cycles in which the scan left a row and broadcast nothing
    blocked_cycles      cycles in which a broadcast waited for a full queue
    useful_macs         multiply-accumulates that are not padding
    pointer_reads       pairs (begin and end of a column) over all PEs
    line_reads          lines of the sparse-matrix SRAM over all PEs
    blocks              parts in which the layer was run, one after the other (`sim.memory`)
    waiting_cycles      cycles in which no block ran, but one was being loaded or stored
    dram_read_bytes, dram_write_bytes
    shortfalls          what the array lacks to hold the layer, where it was simulated all the same
    *_per_pe            int64 [num_pes]: entries gone through (padding included), padding among them, lines
                        read, and the clock edge at which the last entry left the pointer read (0: no entry)
    """

    config: ArrayConfig
    stored_entries: int
    padding_entries: int
    broadcasts: int
    cycles: int
    bubble_cycles: int
    blocked_cycles: int
    entries_per_pe: PerPE
    padding_per_pe: PerPE
    line_reads_per_pe: PerPE
    finish_edge_per_pe: PerPE
    blocks: int = 1
    waiting_cycles: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    shortfalls: tuple[Shortfall, ...] = ()

    @property
    def processed_entries(self) -> int:
        """Entries that the PEs go through, padding included."""
        return int(self.entries_per_pe.sum())

    @property
    def useful_macs(self) -> int:
        """Multiply-accumulates that are not padding."""
        return self.processed_entries - int(self.padding_per_pe.sum())

    @property
    def pointer_reads(self) -> int:
        return self.config.num_pes * self.broadcasts

    @property
    def line_reads(self) -> int:
        return int(self.line_reads_per_pe.sum())

    @property
    def efficiency(self) -> float:
        """Useful multiply-accumulates per PE and cycle (compare EIE's Table IV, theoretical over actual)."""
        return self.useful_macs / (self.cycles * self.config.num_pes)

    @property
    def latency_us(self) -> float:
        return self.cycles / self.config.clock_mhz

    @property
    def energy(self) -> Energy:
        """Energy by block, in pJ, of the preset `eie-45nm`; see `sim.cost.energy`."""
        return self.energy_with(DEFAULT_PRESET)

    def energy_with(self, preset: str) -> Energy:
        """Energy by block, in pJ, of one of `sim.cost.energy.ENERGY_PRESETS`. Raises InputError if there is none."""
        return Energy(
            **block_energies(
                self.config,
                self.cycles,
                self.pointer_reads,
                self.line_reads,
                self.processed_entries,
                self.useful_macs,
                self.dram_read_bytes + self.dram_write_bytes,
                preset,
            )
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulationResult(Counts):
    """Counts, and the output activations (before any non-linearity), float32 [rows].

    number_format   the fixed-point format of the layer; None for floating point, so are the next
    output_codes    int64 [rows], the outputs as the accumulators hold them
    overflows       additions that left the range of an accumulator, and were saturated
    saturated_activations   inputs that were too large for the format
    """

    output: npt.NDArray[np.float32]
    number_format: FixedPoint | None = None
    output_codes: npt.NDArray[np.int64] | None = None
    overflows: int = 0
    saturated_activations: int = 0


_SUMS = ("broadcasts", "bubble_cycles", "blocked_cycles", "entries_per_pe", "padding_per_pe", "line_reads_per_pe")


def summed(parts: Sequence[object], names: Sequence[str]) -> dict[str, Any]:
    """Return the sums over `parts` of their attributes, by name."""
    return {name: sum(getattr(part, name) for part in parts) for name in names}


def counts_in_sequence(
    packed: PackedLayer, blocks: Sequence[Block], counts: Sequence[Counts], times: Schedule, config: ArrayConfig
) -> dict[str, Any]:
    """Return the fields of `Counts` of a layer whose blocks ran one after the other."""
    finish = np.zeros(config.num_pes, dtype=np.int64)
    for begin, part in zip(times.begins, counts, strict=True):
        finish = np.where(part.finish_edge_per_pe > 0, begin + part.finish_edge_per_pe, finish)
    return {
        **memory_counts(packed, blocks, config),
        **summed(counts, _SUMS),
        "cycles": int(times.cycles),
        "finish_edge_per_pe": finish,
        "blocks": len(blocks),
        "waiting_cycles": int(times.waiting_cycles),
    }
