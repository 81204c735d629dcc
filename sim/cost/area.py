"""Area of the array at 45 nm."""

from __future__ import annotations

from types import MappingProxyType

from sim.config import ArrayConfig
from sim.cost.energy import COLUMN_INDEX_BITS, PAPER_BITS, arithmetic_pj, num_lnzd_units
from sim.cost.sram import POINTER_BANKS, activation_sram, pointer_bank_sram, sparse_matrix_sram

# Han et al., "EIE", ISCA 2016, Table II, um2: the modules of one PE, and one LNZD unit.
PAPER_UM2 = MappingProxyType(
    {
        "queue": 758,  # with 8 slots
        "pointer read": 121_849,
        "sparse-matrix read": 469_412,
        "arithmetic": 3_110,
        "activation read and write": 18_934,
        "filler": 23_961,
    }
)
PAPER_PE_UM2 = 638_024
PAPER_QUEUE_SLOTS = 8
LNZD_UNIT_UM2 = 189


def module_areas_um2(config: ArrayConfig) -> dict[str, float]:
    """Return the area of each module of one PE in um2: the SRAMs from CACTI (`sim.cost.sram`), the rest from Table II.

    The queue grows in proportion to its bits, the arithmetic in proportion to its energy (`arithmetic_pj`). The
    activation module is the paper's with another SRAM in it.
    """
    bits = config.activation_bits
    slot_bits = (bits + COLUMN_INDEX_BITS) / (PAPER_BITS + COLUMN_INDEX_BITS)
    other_sram_mm2 = activation_sram(config).area_mm2 - activation_sram(ArrayConfig()).area_mm2
    return {
        "queue": PAPER_UM2["queue"] * config.queue_slots / PAPER_QUEUE_SLOTS * slot_bits,
        "pointer read": POINTER_BANKS * pointer_bank_sram(config).area_mm2 * 1e6,
        "sparse-matrix read": sparse_matrix_sram(config).area_mm2 * 1e6,
        "arithmetic": PAPER_UM2["arithmetic"] * arithmetic_pj(bits) / arithmetic_pj(PAPER_BITS),
        "activation read and write": PAPER_UM2["activation read and write"] + other_sram_mm2 * 1e6,
        "filler": PAPER_UM2["filler"],
    }


def pe_area_um2(config: ArrayConfig) -> float:
    """Return the area of one PE in um2."""
    return sum(module_areas_um2(config).values())


def area_mm2(config: ArrayConfig) -> float:
    """Return the area of an array at 45 nm in mm2: its PEs, and the tree of the scan.

    Parameters
    ----------
    config : ArrayConfig
        The array.

    Returns
    -------
    float
        Area in mm2.

    Raises
    ------
    InputError
        If an SRAM is outside the tables (`sim.cost.sram`).
    """
    return (config.num_pes * pe_area_um2(config) + num_lnzd_units(config.num_pes) * LNZD_UNIT_UM2) / 1e6
