"""Area of the array, block by block: SRAMs from their tables, the rest from cells and `sim.cost.constants`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, overload

from sim.array_table import ArrayOrTable, ArrayTable
from sim.columns import by_value, rounded_to_13_digits, where
from sim.config import ArrayConfig
from sim.cost.blocks import (
    PAPER_BITS,
    broadcast_flip_flops,
    needs_divider,
    num_lnzd_units,
    pe_cells,
)
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.sram import POINTER_BANKS, activation_sram, codebook_sram, pointer_bank_sram, sparse_matrix_sram
from traces.arrays import Floats64

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


def module_areas_um2(config: ArrayOrTable, constants: Constants = NOMINAL) -> dict[str, Any]:
    """Return the area of each module of one PE in um2, filler included; each is a float, or an array [arrays].

    Notes
    -----
    The multiplier grows with its width to the power 1.57 (synthesis), everything else with the number of its bits. A
    line whose entries are no power of two needs a divider, which turns an address into a line and a place.
    """
    logic = by_value(_logic_area, config.node_nm)
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
    divider_um2 = logic * constants.divider_um2 * config.pointer_bits / PAPER_BITS
    areas["sparse-matrix read"] += where(needs_divider(config), divider_um2, 0.0)
    areas["arithmetic"] += logic * constants.multiply_add_um2 * by_value(_multiplier_growth, config.activation_bits)
    areas["arithmetic"] += codebook_sram(config, constants).area_mm2 * 1e6
    filled = sum(areas.values()) / (1 - constants.filler_share)
    return areas | {"filler": filled * constants.filler_share}


def _logic_area(node_nm: int) -> float:
    return NODES[node_nm].area


def _multiplier_growth(bits: int) -> float:
    return rounded_to_13_digits((bits / PAPER_BITS) ** MULTIPLIER_GROWTH)


def pe_area_um2(config: ArrayOrTable, constants: Constants = NOMINAL) -> Any:
    """Return the area of one PE in um2, a float, or an array [arrays]."""
    return sum(module_areas_um2(config, constants).values())


@overload
def area_mm2(config: ArrayConfig, constants: Constants = ...) -> float: ...
@overload
def area_mm2(config: ArrayTable, constants: Constants = ...) -> Floats64: ...
def area_mm2(config: ArrayOrTable, constants: Constants = NOMINAL) -> float | Floats64:
    """Return the area of an array in mm2: its PEs, the tree of the scan, and the control.

    Parameters
    ----------
    config : ArrayConfig or ArrayTable
        The array, or a table of arrays.
    constants : Constants, optional
        Constants of the model (`sim.cost.constants`).

    Returns
    -------
    float, or float64 array [arrays]
        Area in mm2; in a table, nan for an array of which an SRAM is outside the tables (`sim.cost.sram`).

    Raises
    ------
    InputError
        If an SRAM of one array is outside the tables.
    """
    logic = by_value(_logic_area, config.node_nm)
    registers = broadcast_flip_flops(config) * constants.register_file_um2_per_bit
    units = by_value(num_lnzd_units, config.num_pes)
    shared = registers + units * constants.lnzd_unit_um2 + CONTROL_GATES * constants.gate_um2
    found: float | Floats64 = (config.num_pes * pe_area_um2(config, constants) + logic * shared) / 1e6
    return config.filled(found) if isinstance(config, ArrayTable) else found
