"""What a simulation gives back: counts as whole numbers and arrays per PE, and the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.energy import DEFAULT_PRESET, Energy, energy_of

PerPE = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
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

    @property
    def useful_macs(self) -> int:
        return int(self.entries_per_pe.sum() - self.padding_per_pe.sum())

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
        """Energy by block, in pJ, of the preset `eie-45nm`; see `sim.energy`."""
        return self.energy_with(DEFAULT_PRESET)

    def energy_with(self, preset: str) -> Energy:
        """Energy by block, in pJ, of one of `sim.energy.ENERGY_PRESETS`. Raises InputError if there is none."""
        return energy_of(
            self.config,
            self.cycles,
            self.pointer_reads,
            self.line_reads,
            int(self.entries_per_pe.sum()),
            self.useful_macs,
            preset,
        )


@dataclass(frozen=True, eq=False)
class SimulationResult(Counts):
    """Counts, and the output activations (before any non-linearity), float32 [rows]."""

    output: npt.NDArray[np.float32]


def rounded(output: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The output as the result holds it; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        return output.astype(np.float32)
