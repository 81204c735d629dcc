"""Energy of one layer at 45 nm: counts times the energy of each event, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from sim.config import ArrayConfig
from sim.cost.sram import POINTER_BANKS, activation_sram, pointer_bank_sram, sparse_matrix_sram
from traces import InputError
from traces.arrays import Floats64, Integers64

# Han et al., "EIE", ISCA 2016, Table I (after Horowitz, ISSCC 2014), 45 nm.
SRAM_READ_PJ_PER_BIT = 5.0 / 32  # a 32 KB SRAM; horowitz-45nm uses it for every capacity
REGISTER_FILE_PJ_PER_BIT = 1.0 / 32
DRAM_PJ_PER_BYTE = 640.0 / 4  # a 32-bit access
# Integer multiplication and addition by bits. 32 bits: the same table. 8 bits: Horowitz, ISSCC 2014. 16 bits: a
# multiplication takes a fifth of a 32-bit one (EIE, section VI), and an adder's energy is proportional to its width.
MULTIPLY_PJ = MappingProxyType({32: 3.1, 16: 3.1 / 5, 8: 0.2})
ADD_PJ = MappingProxyType({32: 0.1, 16: 0.1 / 2, 8: 0.03})
# Table II, mW at 800 MHz: a leading non-zero detection unit, and the modules of one PE.
LNZD_UNIT_MW = 0.023
QUEUE_MW = 0.112
POINTER_READ_MW = 1.807
SPARSE_MATRIX_READ_MW = 4.955
ARITHMETIC_MW = 1.162
ACTIVATION_READ_WRITE_MW = 1.122
PE_MW = 9.157
MW_AT_800_MHZ_IN_PJ_PER_CYCLE = 1 / 0.8
LNZD_UNIT_PJ_PER_CYCLE = LNZD_UNIT_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE
# Activity of a PE in Alex-8, the layer whose power Table II states: columns taken and entries processed in each cycle
# (7,926 cycles, 1,760 columns, 453,748 entries in 64 PEs).
ALEX8_COLUMNS_PER_CYCLE = 1760 / 7926
ALEX8_ENTRIES_PER_CYCLE = 453_748 / 64 / 7926

Count = int | Integers64 | Floats64


class Transfers(NamedTuple):
    """Accesses of the SRAMs by what moves weights and activations; counts may be arrays.

    Attributes
    ----------
    line_writes, pointer_writes
        Lines and pointers that loads write into the SRAMs of all PEs.
    activation_reads, activation_writes
        Activations that are read from the activation SRAMs to leave the PEs, and that are written into them.
    """

    line_writes: Count = 0
    pointer_writes: Count = 0
    activation_reads: Count = 0
    activation_writes: Count = 0


NO_TRANSFERS = Transfers()
PAPER_BITS = 16  # of an activation, a shared weight and an accumulator
COLUMN_INDEX_BITS = 16


def arithmetic_pj(bits: int) -> float:
    """Return the energy in pJ of decoding, multiplying and adding numbers of 8, 16 or 32 bits (EIE, Table I)."""
    return bits * REGISTER_FILE_PJ_PER_BIT + MULTIPLY_PJ[bits] + ADD_PJ[bits]


@dataclass(frozen=True)
class Energy:
    """Energy of one layer on the array in pJ.

    Attributes
    ----------
    scan_pj, queue_pj, pointer_read_pj, sparse_matrix_read_pj, arithmetic_pj, activation_write_pj : float
        Energy of each block in the paper's Fig 4.
    port_pj : float
        Activations that are read from and written to the activation SRAMs to cross the port or the DRAM's.
    sram_write_pj : float
        Lines and pointers that are written into the SRAMs when weights are loaded.
    leakage_pj : float
        Leakage of the SRAMs.
    dram_pj : float
        Transfers from and to DRAM.
    """

    scan_pj: float
    queue_pj: float
    pointer_read_pj: float
    sparse_matrix_read_pj: float
    arithmetic_pj: float
    activation_write_pj: float
    port_pj: float
    sram_write_pj: float
    leakage_pj: float
    dram_pj: float

    @property
    def total_pj(self) -> float:
        """Energy of all blocks, leakage and DRAM."""
        return float(sum(getattr(self, field.name) for field in fields(self)))

    @property
    def total_nj(self) -> float:
        """`total_pj` in nJ, as reports show it."""
        return self.total_pj / 1e3


@dataclass(frozen=True)
class EventEnergies:
    """Energy of each event in one PE in pJ, and the leakage of its SRAMs."""

    column_queued_pj: float  # a column and its activation, written once and read once
    pointer_pair_pj: float  # one access to each bank
    line_read_pj: float
    entry_pj: float  # decode, multiply, add; also of padding
    accumulator_pj: float  # an accumulator, read once and written once
    leakage_mw: float
    activation_read_pj: float  # one activation from the activation SRAM
    activation_stored_pj: float  # one activation into it
    line_write_pj: float
    pointer_stored_pj: float  # one pointer into its bank


def eie_45nm(config: ArrayConfig) -> EventEnergies:
    """Return the energies of the paper's PE: SRAMs from CACTI (`sim.cost.sram`), the rest from Table II.

    Three energies are calibrated, since the paper states only the power: that of a column in the queue, of an entry in
    the arithmetic, and of a multiply-accumulate in the activation read and write. Each is the power of Table II divided
    by the activity in Alex-8. The paper's numbers have 16 bits. For other widths, queue and accumulators cost in
    proportion to their bits, and arithmetic as in Table I.
    """
    pointer_bank, sparse_matrix = pointer_bank_sram(config), sparse_matrix_sram(config)
    activations = activation_sram(config)
    sram_leakage_mw = POINTER_BANKS * pointer_bank.leakage_mw + sparse_matrix.leakage_mw + activations.leakage_mw
    bits = config.activation_bits
    queue_pj = QUEUE_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_COLUMNS_PER_CYCLE
    entry_pj = ARITHMETIC_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_ENTRIES_PER_CYCLE
    accumulator_pj = ACTIVATION_READ_WRITE_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_ENTRIES_PER_CYCLE
    return EventEnergies(
        column_queued_pj=queue_pj * (bits + COLUMN_INDEX_BITS) / (PAPER_BITS + COLUMN_INDEX_BITS),
        pointer_pair_pj=POINTER_BANKS * pointer_bank.read_pj,
        line_read_pj=sparse_matrix.read_pj,
        entry_pj=entry_pj * arithmetic_pj(bits) / arithmetic_pj(PAPER_BITS),
        accumulator_pj=accumulator_pj * bits / PAPER_BITS,
        leakage_mw=sram_leakage_mw,
        activation_read_pj=activations.read_pj,
        activation_stored_pj=activations.write_pj,
        line_write_pj=sparse_matrix.write_pj,
        pointer_stored_pj=pointer_bank.write_pj,
    )


def horowitz_45nm(config: ArrayConfig) -> EventEnergies:
    """Return the energies of Table I alone: an SRAM costs 5 pJ per 32 bits; no leakage and no calibration."""
    bits = config.activation_bits
    return EventEnergies(
        column_queued_pj=2 * (bits + COLUMN_INDEX_BITS) * REGISTER_FILE_PJ_PER_BIT,
        pointer_pair_pj=POINTER_BANKS * config.pointer_bits * SRAM_READ_PJ_PER_BIT,
        line_read_pj=config.line_bits * SRAM_READ_PJ_PER_BIT,
        entry_pj=arithmetic_pj(bits),
        accumulator_pj=2 * bits * REGISTER_FILE_PJ_PER_BIT,
        leakage_mw=0.0,
        activation_read_pj=bits * SRAM_READ_PJ_PER_BIT,
        activation_stored_pj=bits * SRAM_READ_PJ_PER_BIT,
        line_write_pj=config.line_bits * SRAM_READ_PJ_PER_BIT,
        pointer_stored_pj=config.pointer_bits * SRAM_READ_PJ_PER_BIT,
    )


DEFAULT_PRESET = "eie-45nm"
#: Energies of events by name, each a function of the array.
ENERGY_PRESETS: Mapping[str, Callable[[ArrayConfig], EventEnergies]] = MappingProxyType(
    {DEFAULT_PRESET: eie_45nm, "horowitz-45nm": horowitz_45nm}
)


def num_lnzd_units(num_pes: int) -> int:
    """Return the number of leading non-zero detection units: a tree of 4-input nodes over the PEs (21 for 64)."""
    units = 0
    nodes = num_pes
    while nodes > 1:
        nodes = -(-nodes // 4)
        units += nodes
    return max(units, 1)


def block_energies(
    config: ArrayConfig,
    cycles: Count,
    pointer_reads: Count,
    line_reads: Count,
    processed_entries: Count,
    useful_macs: Count,
    dram_bytes: Count,
    preset: str = DEFAULT_PRESET,
    transfers: Transfers = NO_TRANSFERS,
) -> dict[str, Any]:
    """Return the energy of counted events in pJ, by the fields of `Energy`; counts may be arrays of one shape.

    `pointer_reads` are pairs, one for each column that a PE takes. `processed_entries` include padding: it is decoded
    and multiplied like any entry, but not written. A byte from or to DRAM costs the same in both presets (Table I:
    640 pJ for 32 bits). Raises InputError if there is no such preset or an SRAM is outside the tables.
    """
    if preset not in ENERGY_PRESETS:
        raise InputError(f"preset must be one of {', '.join(ENERGY_PRESETS)}; found {preset!r}")
    event = ENERGY_PRESETS[preset](config)
    ns = cycles * (1e3 / config.clock_mhz)
    return {
        "scan_pj": cycles * (num_lnzd_units(config.num_pes) * LNZD_UNIT_PJ_PER_CYCLE),
        "queue_pj": pointer_reads * event.column_queued_pj,
        "pointer_read_pj": pointer_reads * event.pointer_pair_pj,
        "sparse_matrix_read_pj": line_reads * event.line_read_pj,
        "arithmetic_pj": processed_entries * event.entry_pj,
        "activation_write_pj": useful_macs * event.accumulator_pj,
        "port_pj": cycles * 0
        + transfers.activation_reads * event.activation_read_pj
        + transfers.activation_writes * event.activation_stored_pj,
        "sram_write_pj": cycles * 0
        + transfers.line_writes * event.line_write_pj
        + transfers.pointer_writes * event.pointer_stored_pj,
        "leakage_pj": ns * (config.num_pes * event.leakage_mw),  # mW x ns = pJ
        "dram_pj": dram_bytes * DRAM_PJ_PER_BYTE,
    }
