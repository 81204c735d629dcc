"""Energy of one layer: counts times the energy of each event, block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sim.array_table import ArrayOrTable, ArrayTable
from sim.columns import by_value, where
from sim.config import ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.blocks import (
    COLUMN_INDEX_BITS,
    PAPER_BITS,
    broadcast_flip_flops,
    codebook_is_sram,
    needs_divider,
    num_lnzd_units,
    pe_cells,
    tree_mm,
)
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.sram import POINTER_BANKS, activation_sram, codebook_sram, pointer_bank_sram, sparse_matrix_sram
from traces import InputError
from traces.arrays import Floats64, Integers64

# Han et al., "EIE", ISCA 2016, Table I (after Horowitz, ISSCC 2014), 45 nm.
SRAM_READ_PJ_PER_BIT = 5.0 / 32  # a 32 KB SRAM; horowitz-45nm uses it for every capacity
# Integer multiplication and addition by bits. 32 bits: the same table. 8 bits: Horowitz, ISSCC 2014. 16 bits: a
# multiplication takes a fifth of a 32-bit one (EIE, section VI), and an adder's energy is proportional to its width.
MULTIPLY_PJ = MappingProxyType({32: 3.1, 16: 3.1 / 5, 8: 0.2})
ADD_PJ = MappingProxyType({32: 0.1, 16: 0.1 / 2, 8: 0.03})
# Table II, mW at 800 MHz: modules of one PE, its clock network included, and the whole PE.
PAPER_MW = MappingProxyType(
    {
        "queue": 0.112,
        "pointer read": 1.807,
        "sparse-matrix read": 4.955,
        "arithmetic": 1.162,
        "activation read and write": 1.122,
    }
)
PAPER_PE_MW = 9.157
_FILE_WORDS = 64  # of the register file whose energy Table I states

Count = float | Integers64 | Floats64


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


@dataclass(frozen=True)
class Energy:
    """Energy of one layer on the array in pJ.

    Attributes
    ----------
    scan_pj : float
        Leading non-zero detection.
    broadcast_pj : float
        Wires from the scan to the PEs.
    queue_pj, pointer_read_pj, sparse_matrix_read_pj, arithmetic_pj, activation_write_pj : float
        Energy of each block of the PEs, without their clock (EIE, Fig 4).
    clock_pj : float
        Clock of all flip-flops, and its tree.
    port_pj : float
        Activations that are read from and written to the activation SRAMs to cross the port or the DRAM's.
    sram_write_pj : float
        Lines and pointers that are written into the SRAMs when weights are loaded.
    leakage_pj : float
        Leakage of the SRAMs.
    dram_pj : float
        Transfers from and to DRAM, and its standby if the array loads weights from it.
    """

    scan_pj: float
    broadcast_pj: float
    queue_pj: float
    pointer_read_pj: float
    sparse_matrix_read_pj: float
    arithmetic_pj: float
    activation_write_pj: float
    clock_pj: float
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
    """Energy of each event in pJ; those of a PE but for broadcast, scan, clock and DRAM, which are those of the array.

    Those of a table are arrays [arrays].

    Attributes
    ----------
    column_queued_pj : float
        A column and its activation, written once and read once.
    pointer_pair_pj : float
        One access to each bank.
    line_read_pj : float
        One line.
    entry_pj : float
        Place in the line, decoding, multiplication and addition of an entry; also of padding.
    accumulator_pj : float
        An accumulator, read once and written once.
    leakage_mw : float
        Leakage of the SRAMs of a PE.
    column_broadcast_pj : float
        A column and its activation on the wires to all PEs.
    scan_pj_per_cycle, clock_pj_per_cycle : float
        Leading non-zero detection, and clock of all flip-flops with its tree.
    dram_standby_mw : float
        Refresh and termination of the DRAM, if the array loads weights from it.
    activation_read_pj, activation_stored_pj : float
        An activation from and into the activation SRAM.
    line_write_pj, pointer_stored_pj : float
        A line, and a pointer, into their SRAMs.
    """

    column_queued_pj: Any
    pointer_pair_pj: Any
    line_read_pj: Any
    entry_pj: Any
    accumulator_pj: Any
    leakage_mw: Any
    column_broadcast_pj: Any
    scan_pj_per_cycle: Any
    clock_pj_per_cycle: Any
    dram_standby_mw: Any
    activation_read_pj: Any
    activation_stored_pj: Any
    line_write_pj: Any
    pointer_stored_pj: Any


def eie(config: ArrayOrTable, constants: Constants = NOMINAL) -> EventEnergies:
    """Return the energies of an array: SRAMs from their tables, the rest from cells and `sim.cost.constants`.

    Notes
    -----
    A word in flip-flops costs in proportion to their number, as its multiplexer and wires grow: a register file of 64
    words has the energy of Table I. Multiplication costs as in Table I by width. Storage is clocked when it is written;
    otherwise it takes the share of its clock gates. Energies are those at the nominal voltage of the node, whatever the
    clock.
    """
    logic_energy = by_value(_logic_energy, config.node_nm)
    bits, slot_bits = config.activation_bits, config.activation_bits + COLUMN_INDEX_BITS
    pointer_bank, sparse_matrix = pointer_bank_sram(config, constants), sparse_matrix_sram(config, constants)
    activations = activation_sram(config, constants)
    leakage_mw = sum(leakage_mw_by_module(config, constants).values())
    written_pj_per_bit = logic_energy * constants.flip_flop_clock_fj / 1e3

    def read_pj(words: Any, word_bits: Any) -> Any:
        return logic_energy * constants.register_file_pj_per_bit * word_bits * words / _FILE_WORDS

    in_flip_flops_pj = read_pj(1 << config.weight_bits, bits)
    decode_pj = where(codebook_is_sram(config), codebook_sram(config, constants).read_pj, in_flip_flops_pj)
    entry_pj = decode_pj + logic_energy * (
        constants.multiply_pj * by_value(MULTIPLY_PJ.__getitem__, bits) / MULTIPLY_PJ[PAPER_BITS]
        + constants.add_pj * by_value(ADD_PJ.__getitem__, bits) / ADD_PJ[PAPER_BITS]
    )
    divider_pj = logic_energy * constants.divider_pj * config.pointer_bits / PAPER_BITS
    entry_pj = entry_pj + where(needs_divider(config), divider_pj, 0.0)
    wires_mm = tree_mm(config.num_pes, area_mm2(config, constants) / config.num_pes)
    wire = by_value(_wire_energy, config.node_nm) * wires_mm
    return EventEnergies(
        column_queued_pj=slot_bits * written_pj_per_bit + read_pj(config.queue_slots, slot_bits),
        pointer_pair_pj=POINTER_BANKS * pointer_bank.read_pj,
        line_read_pj=sparse_matrix.read_pj + config.line_bits * written_pj_per_bit,
        entry_pj=entry_pj,
        accumulator_pj=2 * read_pj(_FILE_WORDS, bits),
        leakage_mw=leakage_mw,
        column_broadcast_pj=slot_bits * constants.wire_pj_per_bit_mm * wire,
        scan_pj_per_cycle=by_value(num_lnzd_units, config.num_pes) * constants.lnzd_unit_pj * logic_energy,
        clock_pj_per_cycle=config.num_pes * sum(clock_pj_by_module(config, constants).values())
        + broadcast_flip_flops(config) * written_pj_per_bit
        + constants.clock_wire_pj_per_mm * wire,
        dram_standby_mw=by_value(_loads_weights, config.memory_mode) * constants.dram_standby_mw,
        activation_read_pj=activations.read_pj,
        activation_stored_pj=activations.write_pj,
        line_write_pj=sparse_matrix.write_pj,
        pointer_stored_pj=pointer_bank.write_pj,
    )


def _logic_energy(node_nm: int) -> float:
    return NODES[node_nm].energy


def _wire_energy(node_nm: int) -> float:
    return NODES[node_nm].wire_energy


def _loads_weights(memory_mode: str) -> float:
    """Return 1 if the array loads weights from DRAM, and 0 otherwise."""
    return 1.0 if memory_mode in ("passes", "streamed") else 0.0


def clock_pj_by_module(config: ArrayOrTable, constants: Constants = NOMINAL) -> dict[str, Any]:
    """Return the energy of a cycle of the clock in each module of a PE in pJ, without writes of its storage.

    Each is a float, or an array [arrays]; so are the leakages of `leakage_mw_by_module`.
    """
    flip_flop_pj = by_value(_logic_energy, config.node_nm) * constants.flip_flop_clock_fj / 1e3
    return {
        name: flip_flop_pj * (cells.flip_flops + constants.gated_share * cells.storage_bits)
        for name, cells in pe_cells(config).items()
    }


def leakage_mw_by_module(config: ArrayOrTable, constants: Constants = NOMINAL) -> dict[str, Any]:
    """Return the leakage of the SRAMs in each module of a PE in mW."""
    return {
        "pointer read": POINTER_BANKS * pointer_bank_sram(config, constants).leakage_mw,
        "sparse-matrix read": sparse_matrix_sram(config, constants).leakage_mw,
        "arithmetic": codebook_sram(config, constants).leakage_mw,
        "activation read and write": activation_sram(config, constants).leakage_mw,
    }


def module_mw(config: ArrayConfig, energies_pj: Mapping[str, float], cycles: float) -> dict[str, float]:
    """Return the power of each module of one PE in mW, with its clock and its leakage, as the paper's Table II has it.

    Parameters
    ----------
    config : ArrayConfig
        The array.
    energies_pj : mapping of str to float
        Energies of the whole array, by the fields of `Energy`.
    cycles : float
        Cycles in which they were spent.

    Returns
    -------
    dict of str to float
        Power by the names of PAPER_MW; tree of the clock, broadcast, scan and DRAM are in none of them.
    """
    blocks = {
        "queue": "queue_pj",
        "pointer read": "pointer_read_pj",
        "sparse-matrix read": "sparse_matrix_read_pj",
        "arithmetic": "arithmetic_pj",
        "activation read and write": "activation_write_pj",
    }
    per_cycle = config.clock_mhz / 1e3  # pJ in a cycle to mW
    clock, leakage = clock_pj_by_module(config), leakage_mw_by_module(config)
    return {
        name: (energies_pj[block] / cycles / config.num_pes + clock[name]) * per_cycle + leakage.get(name, 0.0)
        for name, block in blocks.items()
    }


def horowitz_45nm(config: ArrayOrTable, constants: Constants = NOMINAL) -> EventEnergies:
    """Return the energies of Table I alone: an SRAM costs 5 pJ per 32 bits; no leakage, clock, wires or calibration.

    Raises InputError for another node than 45 nm, also of a single array of a table.
    """
    if np.any(config.node_nm != 45):
        other_nm = np.setdiff1d(config.node_nm, 45)[0]
        raise InputError(f"preset horowitz-45nm needs node_nm=45; found {other_nm}; use preset eie")
    bits, slot_bits = config.activation_bits, config.activation_bits + COLUMN_INDEX_BITS
    bit_pj = constants.register_file_pj_per_bit
    return EventEnergies(
        column_queued_pj=2 * slot_bits * bit_pj,
        pointer_pair_pj=POINTER_BANKS * config.pointer_bits * SRAM_READ_PJ_PER_BIT,
        line_read_pj=config.line_bits * SRAM_READ_PJ_PER_BIT,
        entry_pj=bits * bit_pj + by_value(MULTIPLY_PJ.__getitem__, bits) + by_value(ADD_PJ.__getitem__, bits),
        accumulator_pj=2 * bits * bit_pj,
        leakage_mw=0.0,
        column_broadcast_pj=0.0,
        scan_pj_per_cycle=by_value(num_lnzd_units, config.num_pes) * constants.lnzd_unit_pj,
        clock_pj_per_cycle=0.0,
        dram_standby_mw=0.0,
        activation_read_pj=bits * SRAM_READ_PJ_PER_BIT,
        activation_stored_pj=bits * SRAM_READ_PJ_PER_BIT,
        line_write_pj=config.line_bits * SRAM_READ_PJ_PER_BIT,
        pointer_stored_pj=config.pointer_bits * SRAM_READ_PJ_PER_BIT,
    )


DEFAULT_PRESET = "eie"
#: Energies of events by name, each a function of the array, or of a table of arrays.
ENERGY_PRESETS: Mapping[str, Callable[[ArrayOrTable, Constants], EventEnergies]] = MappingProxyType(
    {DEFAULT_PRESET: eie, "horowitz-45nm": horowitz_45nm}
)


def event_energies(config: ArrayOrTable, preset: str = DEFAULT_PRESET, constants: Constants = NOMINAL) -> EventEnergies:
    """Return the energies of a preset; raise InputError if there is no such one or an SRAM is outside the tables.

    Energies of a table are arrays [arrays], and nan for an array of which an SRAM is outside the tables.
    """
    if isinstance(config, ArrayTable):
        return _energies_of_table(config, preset, constants)
    return _kept_energies(config, preset, constants)


def _energies_of_table(table: ArrayTable, preset: str, constants: Constants) -> EventEnergies:
    """Return the energies of all arrays, each an array, and none of an array with an SRAM outside the tables."""
    found = _energies(table, preset, constants)
    known = ~np.isnan(found.column_broadcast_pj)  # in preset eie it follows from the area, of which all SRAMs are part
    return EventEnergies(*(table.filled(np.where(known, value, np.nan)) for value in astuple(found)))


def _energies(config: ArrayOrTable, preset: str, constants: Constants) -> EventEnergies:
    if preset not in ENERGY_PRESETS:
        raise InputError(f"preset must be one of {', '.join(ENERGY_PRESETS)}; found {preset!r}")
    return ENERGY_PRESETS[preset](config, constants)


_kept_energies = lru_cache(maxsize=4096)(_energies)


def block_energies(
    config: ArrayOrTable,
    cycles: Count,
    pointer_reads: Count,
    line_reads: Count,
    processed_entries: Count,
    useful_macs: Count,
    dram_bytes: Count,
    preset: str = DEFAULT_PRESET,
    constants: Constants = NOMINAL,
    transfers: Transfers = NO_TRANSFERS,
) -> dict[str, Any]:
    """Return the energy of counted events in pJ, by the fields of `Energy`; counts may be arrays of one shape.

    Counts of a table of arrays are arrays [arrays], or are broadcast against them, and so are the energies, which are
    nan for an array of which an SRAM is outside the tables.
    `pointer_reads` are pairs, one for each column that a PE takes. `processed_entries` include padding: it is decoded
    and multiplied like any entry, but not written. A byte from or to DRAM costs the same in both presets (Table I:
    640 pJ for 32 bits); an array that loads weights from DRAM pays its standby, too. Raises InputError if there is no
    such preset or an SRAM is outside the tables.
    """
    event = event_energies(config, preset, constants)
    ns = cycles * (1e3 / config.clock_mhz)
    return {
        "scan_pj": cycles * event.scan_pj_per_cycle,
        "broadcast_pj": pointer_reads * (event.column_broadcast_pj / config.num_pes),
        "queue_pj": pointer_reads * event.column_queued_pj,
        "pointer_read_pj": pointer_reads * event.pointer_pair_pj,
        "sparse_matrix_read_pj": line_reads * event.line_read_pj,
        "arithmetic_pj": processed_entries * event.entry_pj,
        "activation_write_pj": useful_macs * event.accumulator_pj,
        "clock_pj": cycles * event.clock_pj_per_cycle,
        "port_pj": cycles * 0
        + transfers.activation_reads * event.activation_read_pj
        + transfers.activation_writes * event.activation_stored_pj,
        "sram_write_pj": cycles * 0
        + transfers.line_writes * event.line_write_pj
        + transfers.pointer_writes * event.pointer_stored_pj,
        "leakage_pj": ns * (config.num_pes * event.leakage_mw),  # mW x ns = pJ
        "dram_pj": dram_bytes * constants.dram_pj_per_byte + ns * event.dram_standby_mw,
    }
