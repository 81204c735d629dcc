"""Energy of one layer: counts times the energy of each event, block by block, at 45 nm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from sim.config import ArrayConfig
from sim.sram import POINTER_BANKS, POINTER_BITS, pointer_bank_sram, sparse_matrix_sram
from traces import InputError

# Han et al., "EIE", ISCA 2016, Table I (after Horowitz, ISSCC 2014), 45 nm.
SRAM_READ_PJ_PER_BIT = 5.0 / 32  # a 32 KB SRAM; horowitz-45nm takes it for every capacity
REGISTER_FILE_PJ_PER_BIT = 1.0 / 32
INT32_MULTIPLY_PJ = 3.1
INT32_ADD_PJ = 0.1
# Section VI of the same paper: a 16-bit fixed-point multiplication takes a fifth of a 32-bit one.
INT16_MULTIPLY_PJ = INT32_MULTIPLY_PJ / 5
INT16_ADD_PJ = INT32_ADD_PJ / 2  # an adder's energy is proportional to its width
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
# What a PE did in each cycle of Alex-8, the layer whose power Table II states: columns taken, entries gone
# through (7,926 cycles, 1,760 columns, 453,748 entries in 64 PEs).
ALEX8_COLUMNS_PER_CYCLE = 1760 / 7926
ALEX8_ENTRIES_PER_CYCLE = 453_748 / 64 / 7926

ACTIVATION_BITS = 16
COLUMN_INDEX_BITS = 16


@dataclass(frozen=True)
class Energy:
    """Energy of one layer on the array, in pJ, a field for each block of the paper's Fig 4, and the leakage."""

    scan_pj: float
    queue_pj: float
    pointer_read_pj: float
    sparse_matrix_read_pj: float
    arithmetic_pj: float
    activation_write_pj: float
    leakage_pj: float

    @property
    def total_pj(self) -> float:
        """The sum over all blocks."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


@dataclass(frozen=True)
class EventEnergies:
    """Energy of each event in one PE, in pJ, and the leakage of its SRAMs."""

    column_queued_pj: float  # a column and its activation, written once and read once
    pointer_pair_pj: float  # one access to each bank
    line_read_pj: float
    entry_pj: float  # decode, multiply, add; padding, too
    accumulator_pj: float  # an accumulator, read once and written once
    leakage_mw: float


def eie_45nm(config: ArrayConfig) -> EventEnergies:
    """The paper's PE: SRAM figures from CACTI (`sim.sram`), the rest from Table II.

    Three constants are calibrated, since the paper states their power alone: what a column costs in the queue,
    an entry in the arithmetic and a multiply-accumulate in the activation read and write is Table II's power
    over the activity of Alex-8.
    """
    pointer_bank, sparse_matrix = pointer_bank_sram(), sparse_matrix_sram(config.line_bits)
    return EventEnergies(
        column_queued_pj=QUEUE_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_COLUMNS_PER_CYCLE,
        pointer_pair_pj=POINTER_BANKS * pointer_bank.read_pj,
        line_read_pj=sparse_matrix.read_pj,
        entry_pj=ARITHMETIC_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_ENTRIES_PER_CYCLE,
        accumulator_pj=ACTIVATION_READ_WRITE_MW * MW_AT_800_MHZ_IN_PJ_PER_CYCLE / ALEX8_ENTRIES_PER_CYCLE,
        leakage_mw=POINTER_BANKS * pointer_bank.leakage_mw + sparse_matrix.leakage_mw,
    )


def horowitz_45nm(config: ArrayConfig) -> EventEnergies:
    """Table I alone: every SRAM costs 5 pJ for 32 bits, nothing leaks, nothing is calibrated."""
    queue_bits = ACTIVATION_BITS + COLUMN_INDEX_BITS
    return EventEnergies(
        column_queued_pj=2 * queue_bits * REGISTER_FILE_PJ_PER_BIT,
        pointer_pair_pj=POINTER_BANKS * POINTER_BITS * SRAM_READ_PJ_PER_BIT,
        line_read_pj=config.line_bits * SRAM_READ_PJ_PER_BIT,
        entry_pj=ACTIVATION_BITS * REGISTER_FILE_PJ_PER_BIT + INT16_MULTIPLY_PJ + INT16_ADD_PJ,
        accumulator_pj=2 * ACTIVATION_BITS * REGISTER_FILE_PJ_PER_BIT,
        leakage_mw=0.0,
    )


DEFAULT_PRESET = "eie-45nm"
ENERGY_PRESETS: Mapping[str, Callable[[ArrayConfig], EventEnergies]] = MappingProxyType(
    {DEFAULT_PRESET: eie_45nm, "horowitz-45nm": horowitz_45nm}
)


def num_lnzd_units(num_pes: int) -> int:
    """Leading non-zero detection units: a tree of 4-input nodes over the PEs (21 for 64), at least one."""
    units = 0
    nodes = num_pes
    while nodes > 1:
        nodes = -(-nodes // 4)
        units += nodes
    return max(units, 1)


def energy_of(
    config: ArrayConfig,
    cycles: int,
    pointer_reads: int,
    line_reads: int,
    processed_entries: int,
    useful_macs: int,
    preset: str = DEFAULT_PRESET,
) -> Energy:
    """Energy of the counted events.

    `pointer_reads` are pairs, one for each column that a PE takes. `processed_entries` include padding, which
    decodes and multiplies like any entry but writes nothing. Raises InputError if there is no such preset, or
    the line is wider than its SRAM figures go (512 bits).
    """
    if preset not in ENERGY_PRESETS:
        raise InputError(f"preset must be one of {', '.join(ENERGY_PRESETS)}; found {preset!r}")
    event = ENERGY_PRESETS[preset](config)
    ns = cycles * 1e3 / config.clock_mhz
    return Energy(
        scan_pj=cycles * num_lnzd_units(config.num_pes) * LNZD_UNIT_PJ_PER_CYCLE,
        queue_pj=pointer_reads * event.column_queued_pj,
        pointer_read_pj=pointer_reads * event.pointer_pair_pj,
        sparse_matrix_read_pj=line_reads * event.line_read_pj,
        arithmetic_pj=processed_entries * event.entry_pj,
        activation_write_pj=useful_macs * event.accumulator_pj,
        leakage_pj=config.num_pes * event.leakage_mw * ns,  # mW x ns = pJ
    )
