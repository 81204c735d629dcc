"""Area of the array, block by block: SRAMs from their tables, the rest from cells and `sim.cost.constants`."""

from __future__ import annotations

from types import MappingProxyType

from sim.config import ArrayConfig
from sim.cost.blocks import (
    PAPER_BITS,
    broadcast_flip_flops,
    codebook_is_sram,
    needs_divider,
    num_lnzd_units,
    pe_cells,
)
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.sram import POINTER_BANKS, activation_sram, codebook_sram, pointer_bank_sram, sparse_matrix_sram

# Han et al., "EIE", ISCA 2016, Table II, um2: the modules of one PE.
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
MULTIPLIER_GROWTH = 1.57  # exponent; synthesised areas of 8, 16 and 32 bits are as 0.35 to 1 to 3.1
CONTROL_GATES = 960  # of scan and central control, without their tree (`sim.rtl.synthesis`)


def module_areas_um2(config: ArrayConfig, constants: Constants = NOMINAL) -> dict[str, float]:
    """Return the area of each module of one PE in um2, filler included.

    Notes
    -----
    The multiplier grows with its width to the power 1.57 (synthesis), everything else with the number of its bits. A
    line whose entries are no power of two needs a divider, which turns an address into a line and a place.
    """
    logic = NODES[config.node_nm].area
    bit_um2 = {"queue": constants.queue_um2_per_bit}
    cells = pe_cells(config)
    areas = {
        name: logic
        * (
            of_block.storage_bits * bit_um2.get(name, constants.register_file_um2_per_bit)
            + of_block.flip_flops * constants.register_file_um2_per_bit
            + of_block.gates * constants.gate_um2
        )
        for name, of_block in cells.items()
    }
    areas["pointer read"] += POINTER_BANKS * pointer_bank_sram(config, constants).area_mm2 * 1e6
    areas["sparse-matrix read"] += sparse_matrix_sram(config, constants).area_mm2 * 1e6
    areas["activation read and write"] += activation_sram(config, constants).area_mm2 * 1e6
    if needs_divider(config):
        areas["sparse-matrix read"] += logic * constants.divider_um2 * config.pointer_bits / PAPER_BITS
    areas["arithmetic"] += (
        logic * constants.multiply_add_um2 * (config.activation_bits / PAPER_BITS) ** MULTIPLIER_GROWTH
    )
    if codebook_is_sram(config):
        areas["arithmetic"] += codebook_sram(config, constants).area_mm2 * 1e6
    filled = sum(areas.values()) / (1 - constants.filler_share)
    return areas | {"filler": filled * constants.filler_share}


def pe_area_um2(config: ArrayConfig, constants: Constants = NOMINAL) -> float:
    """Return the area of one PE in um2."""
    return sum(module_areas_um2(config, constants).values())


def area_mm2(config: ArrayConfig, constants: Constants = NOMINAL) -> float:
    """Return the area of an array in mm2: its PEs, the tree of the scan, and the control.

    Parameters
    ----------
    config : ArrayConfig
        The array.
    constants : Constants, optional
        Constants of the model (`sim.cost.constants`).

    Returns
    -------
    float
        Area in mm2.

    Raises
    ------
    InputError
        If an SRAM is outside the tables (`sim.cost.sram`).
    """
    logic = NODES[config.node_nm].area
    registers = broadcast_flip_flops(config) * constants.register_file_um2_per_bit
    shared = registers + num_lnzd_units(config.num_pes) * constants.lnzd_unit_um2 + CONTROL_GATES * constants.gate_um2
    return (config.num_pes * pe_area_um2(config, constants) + logic * shared) / 1e6
