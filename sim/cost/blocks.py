"""Flip-flops, gates and wires of the blocks of an array, as functions of its parameters.

The counts are those of the array in SystemVerilog (`sim.rtl.synthesis`), as formulas in its widths; a test compares
them with its synthesis. Storage is clocked only in a cycle that writes it, all other flip-flops in every cycle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sim.config import SHORTEST_PIPELINE_CYCLES, ArrayConfig

PAPER_BITS = 16  # of an activation, a shared weight and an accumulator
COLUMN_INDEX_BITS = 16
REGISTER_FILE_WORDS = 2 * 64  # source and destination registers of a PE
NODE_INPUTS = 4  # of a node of the scan's tree


@dataclass(frozen=True)
class BlockCells:
    """Cells of one block of a PE.

    Attributes
    ----------
    flip_flops : float
        Flip-flops that are clocked in every cycle.
    storage_bits : float
        Flip-flops that are clocked only when they are written.
    gates : float
        Gates of two inputs without those of multiplier, adder and divider.
    """

    flip_flops: float
    storage_bits: float
    gates: float


def pe_cells(config: ArrayConfig) -> Mapping[str, BlockCells]:
    """Return the cells of each block of one PE, without its SRAMs; the blocks are those of the paper's Table II."""
    bits, pointer_bits = config.activation_bits, config.pointer_bits
    position_bits = math.ceil(math.log2(config.queue_slots))
    slot_bits = bits + COLUMN_INDEX_BITS
    further_stages = config.pipeline_cycles - SHORTEST_PIPELINE_CYCLES
    stage_bits = bits + config.entry_bits + 2  # activation, entry, start of a column, presence
    return {
        "queue": BlockCells(2 * position_bits, config.queue_slots * slot_bits, 20 * position_bits),
        "pointer read": BlockCells(bits + pointer_bits + 3, 0, 16 * pointer_bits),
        "sparse-matrix read": BlockCells(
            2 * bits + 37 + further_stages * stage_bits, config.line_bits, 15 + 2.8 * config.line_bits
        ),
        "arithmetic": BlockCells(2.6 * bits + 35, 0 if codebook_is_sram(config) else codebook_bits(config), 0),
        "activation read and write": BlockCells(2 * bits + 11, REGISTER_FILE_WORDS * bits, 150 + 4.2 * bits),
    }


def broadcast_flip_flops(config: ArrayConfig) -> int:
    """Return the flip-flops of a broadcast of several cycles: a register for four PEs, pops and credits of each PE."""
    if config.broadcast_cycles == 1:
        return 0
    registers = -(-config.num_pes // NODE_INPUTS) * (config.activation_bits + COLUMN_INDEX_BITS)
    credits = config.num_pes * math.ceil(math.log2(config.queue_slots))
    return (config.broadcast_cycles - 1) * (registers + config.num_pes) + credits


def codebook_bits(config: ArrayConfig) -> int:
    """Return the bits of a PE's codebook."""
    return int(2**config.weight_bits) * config.activation_bits


def codebook_is_sram(config: ArrayConfig) -> bool:
    """Return True if the codebook is as large as the smallest SRAM of the tables; smaller ones are flip-flops."""
    return codebook_bits(config) >= 512 * 8


def needs_divider(config: ArrayConfig) -> bool:
    """Return True if the entries of a line are no power of two: an address then has no bit field for the place."""
    entries = config.entries_per_line
    return entries & (entries - 1) != 0


def num_lnzd_units(num_pes: int) -> int:
    """Return the number of leading non-zero detection units: a tree of 4-input nodes over the PEs (21 for 64)."""
    units = 0
    nodes = num_pes
    while nodes > 1:
        nodes = -(-nodes // NODE_INPUTS)
        units += nodes
    return max(units, 1)


def tree_levels(num_pes: int) -> int:
    """Return the levels of the scan's tree over the PEs (3 for 64)."""
    levels, nodes = 1, num_pes
    while nodes > NODE_INPUTS:
        nodes = -(-nodes // NODE_INPUTS)
        levels += 1
    return levels


def tree_mm(num_pes: int, pe_mm2: float) -> float:
    """Return the length in mm of all wires of an H-tree over square PEs of this area."""
    side = math.sqrt(num_pes)
    return 1.5 * math.sqrt(pe_mm2) * side * (side - 1)


def longest_path_mm(num_pes: int, pe_mm2: float) -> float:
    """Return the length in mm of the path from the middle of the array to its farthest PE, along the H-tree."""
    return math.sqrt(pe_mm2) * (math.sqrt(num_pes) - 1)
