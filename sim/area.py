"""Area of the array at 45 nm."""

from __future__ import annotations

from sim.config import ArrayConfig
from sim.energy import COLUMN_INDEX_BITS, PAPER_BITS, arithmetic_pj, num_lnzd_units
from sim.sram import POINTER_BANKS, activation_sram, pointer_bank_sram, sparse_matrix_sram

# Han et al., "EIE", ISCA 2016, Table II, um2: what is not SRAM in one PE, and one LNZD unit.
QUEUE_UM2 = 758  # with 8 slots
QUEUE_SLOTS = 8
ARITHMETIC_UM2 = 3_110
ACTIVATION_UM2 = 18_934
FILLER_UM2 = 23_961
LNZD_UNIT_UM2 = 189


def pe_area_um2(config: ArrayConfig) -> float:
    """Area of one PE: the SRAMs from CACTI (`sim.sram`), the rest from Table II.

    The queue grows in proportion to its bits, the arithmetic as its energy does (`sim.energy.arithmetic_pj`); the
    activation module is the paper's, with the SRAM in it changed for this array's.
    """
    srams_mm2 = sparse_matrix_sram(config).area_mm2 + POINTER_BANKS * pointer_bank_sram(config).area_mm2
    srams_mm2 += activation_sram(config).area_mm2 - activation_sram(ArrayConfig()).area_mm2
    bits = config.activation_bits
    slot_bits = (bits + COLUMN_INDEX_BITS) / (PAPER_BITS + COLUMN_INDEX_BITS)
    queue_um2 = QUEUE_UM2 * config.queue_slots / QUEUE_SLOTS * slot_bits
    arithmetic_um2 = ARITHMETIC_UM2 * arithmetic_pj(bits) / arithmetic_pj(PAPER_BITS)
    return srams_mm2 * 1e6 + queue_um2 + arithmetic_um2 + ACTIVATION_UM2 + FILLER_UM2


def area_mm2(config: ArrayConfig) -> float:
    """Area of the array: its PEs and the tree of the scan."""
    return (config.num_pes * pe_area_um2(config) + num_lnzd_units(config.num_pes) * LNZD_UNIT_UM2) / 1e6
