"""Results of a simulation: counts as whole numbers and as arrays over PEs, and the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.config import ArrayConfig
from sim.cost.energy import DEFAULT_PRESET, Energy, Transfers, block_energies
from sim.entropy_limits import ByteLimit, EnergyLimit, byte_limit, energy_limit
from sim.fixed_point import FixedPoint
from sim.limits import Limit, limit_of
from sim.memory import Block, Schedule, Shortfall, memory_counts
from sim.packing import PackedLayer
from sim.weight_entropy import WeightEntropy
from traces.arrays import Floats32, Integers64


@dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """Counts of one layer with one input on one array.

    Attributes
    ----------
    config : ArrayConfig
        The array.
    stored_entries, padding_entries : int
        Entries of the packed matrix as the SRAMs hold it, and padding among them.
    stored_lines, stored_pointers : int
        Lines and pointers that the weights take in the SRAMs of all PEs.
    entropy : WeightEntropy
        Bits of an ideal code of the weights (`sim.weight_entropy`).
    broadcasts : int
        Columns sent to the PEs: non-zero activations, and the bias.
    cycles : int
        Cycles from loading the first row of activations to the last activation write.
    bubble_cycles : int
        Cycles in which the scan left a row and broadcast nothing.
    blocked_cycles : int
        Cycles in which a broadcast waited for a slot of a queue.
    entries_per_pe, padding_per_pe : numpy.ndarray
        Entries that each PE goes through, padding included, and padding among them, int64 [num_pes].
    line_reads_per_pe : numpy.ndarray
        Lines that each PE reads from its sparse-matrix SRAM, int64 [num_pes].
    finish_edge_per_pe : numpy.ndarray
        Clock edge at which each PE's last entry left the pointer read, int64 [num_pes]; 0 without entries.
    scan_limit_cycles, pe_limit_cycles, array_limit_cycles : int
        Cycles that the layer takes at least: for its broadcasts, for the entries of the most loaded PE, and for the
        larger one in each block (`sim.limits`).
    blocks : int
        Parts in which the layer was run, one after the other (`sim.memory`).
    waiting_cycles : int
        Cycles in which no block ran, since one was being loaded or stored.
    dram_read_bytes, dram_write_bytes : int
        Traffic from and to DRAM.
    line_writes, pointer_writes : int
        Lines and pointers that loads write into the SRAMs of all PEs.
    activation_reads, activation_writes : int
        Activations that leave the activation SRAMs for the DRAM, and that enter them from there.
    shortfalls : tuple of Shortfall
        Capacities that the layer exceeds, if it was simulated as if it fitted.
    """

    config: ArrayConfig
    stored_entries: int
    padding_entries: int
    stored_lines: int
    stored_pointers: int
    entropy: WeightEntropy
    broadcasts: int
    cycles: int
    bubble_cycles: int
    blocked_cycles: int
    entries_per_pe: Integers64
    padding_per_pe: Integers64
    line_reads_per_pe: Integers64
    finish_edge_per_pe: Integers64
    scan_limit_cycles: int
    pe_limit_cycles: int
    array_limit_cycles: int
    blocks: int = 1
    waiting_cycles: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    line_writes: int = 0
    pointer_writes: int = 0
    activation_reads: int = 0
    activation_writes: int = 0
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
        """Pointer pairs (begin and end of a column) that all PEs read."""
        return self.config.num_pes * self.broadcasts

    @property
    def line_reads(self) -> int:
        """Lines that all PEs read from their sparse-matrix SRAMs."""
        return int(self.line_reads_per_pe.sum())

    @property
    def efficiency(self) -> float:
        """Useful multiply-accumulates per PE and cycle (compare EIE's Table IV, theoretical over actual)."""
        return self.useful_macs / (self.cycles * self.config.num_pes)

    @property
    def latency_us(self) -> float:
        """Latency in microseconds."""
        return self.cycles / self.config.clock_mhz

    @property
    def transfers(self) -> Transfers:
        """Accesses of the SRAMs by what moves weights and activations."""
        return Transfers(self.line_writes, self.pointer_writes, self.activation_reads, self.activation_writes)

    @property
    def limit(self) -> Limit:
        """Least cycles that this layer takes with this input, what sets them, and where the measured ones go."""
        return limit_of(self)

    @property
    def energy_limit(self) -> EnergyLimit:
        """Least energy that this layer takes with this input and the preset `eie`, and where the rest goes."""
        return energy_limit(self.useful_macs, self.entropy, self.config, self.energy)

    @property
    def byte_limit(self) -> ByteLimit:
        """Least bytes of its weights in the SRAMs, and where the rest goes."""
        return byte_limit(self)

    @property
    def energy(self) -> Energy:
        """Energy by block in pJ with the preset `eie` (`sim.cost.energy`)."""
        return self.energy_with(DEFAULT_PRESET)

    def energy_with(self, preset: str) -> Energy:
        """Return the energy by block in pJ with one of `ENERGY_PRESETS`; raise InputError for any other preset."""
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
                transfers=self.transfers,
            )
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulationResult(Counts):
    """Counts and output of one layer with one input.

    Attributes
    ----------
    output : numpy.ndarray
        Output activations before any non-linearity, float32 [rows].
    number_format : FixedPoint or None
        Fixed-point format of the layer; None for floating point.
    output_codes : numpy.ndarray or None
        Outputs as the accumulators hold them, int64 [rows]; None for floating point.
    overflows : int
        Additions that left the range of an accumulator and were saturated.
    saturated_activations : int
        Inputs that were too large for the format.
    """

    output: Floats32
    number_format: FixedPoint | None = None
    output_codes: Integers64 | None = None
    overflows: int = 0
    saturated_activations: int = 0


_SUMS = (
    *("broadcasts", "bubble_cycles", "blocked_cycles", "entries_per_pe", "padding_per_pe", "line_reads_per_pe"),
    *("scan_limit_cycles", "pe_limit_cycles", "array_limit_cycles"),
)


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
