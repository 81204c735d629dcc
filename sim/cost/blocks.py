"""Flip-flops, gates and wires of the blocks of an array, as functions of its parameters.

The counts are those of the array in SystemVerilog (`sim.rtl.synthesis`), as formulas in its widths; a test compares
them with its synthesis. They are numbers for one array, and arrays [arrays] for a table. Storage is clocked only in a
cycle that writes it, all other flip-flops in every cycle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sim.array_table import ArrayOrTable
from sim.columns import by_value, square_root, where
from sim.config import SHORTEST_PIPELINE_CYCLES

PAPER_BITS = 16  # of an activation, a shared weight and an accumulator
COLUMN_INDEX_BITS = 16
REGISTER_FILE_WORDS = 2 * 64  # source and destination registers of a PE
NODE_INPUTS = 4  # of a node of the scan's tree


@dataclass(frozen=True)
class BlockCells:
    """Cells of one block of a PE.

    Attributes
    ----------
    flip_flops : float, or array [arrays]
        Flip-flops that are clocked in every cycle.
    storage_bits : float, or array [arrays]
        Flip-flops that are clocked only when they are written.
    gates : float, or array [arrays]
        Gates of two inputs without those of multiplier, adder and divider.
    """

    flip_flops: Any
    storage_bits: Any
    gates: Any


def pe_cells(config: ArrayOrTable) -> Mapping[str, BlockCells]:
    """Return the cells of each block of one PE, without its SRAMs; the blocks are those of the paper's Table II."""
    bits, pointer_bits = config.activation_bits, config.pointer_bits
    position_bits = by_value(_address_bits, config.queue_slots)
    slot_bits = bits + COLUMN_INDEX_BITS
    further_stages = config.pipeline_cycles - SHORTEST_PIPELINE_CYCLES
    stage_bits = bits + config.entry_bits + 2  # activation, entry, start of a column, presence
    return {
        "queue": BlockCells(2 * position_bits, config.queue_slots * slot_bits, 20 * position_bits),
        "pointer read": BlockCells(bits + pointer_bits + 3, 0, 16 * pointer_bits),
        "sparse-matrix read": BlockCells(
            2 * bits + 37 + further_stages * stage_bits, config.line_bits, 15 + 2.8 * config.line_bits
        ),
        "arithmetic": BlockCells(2.6 * bits + 35, where(codebook_is_sram(config), 0, codebook_bits(config)), 0),
        "activation read and write": BlockCells(2 * bits + 11, REGISTER_FILE_WORDS * bits, 150 + 4.2 * bits),
    }


def _address_bits(words: int) -> int:
    return math.ceil(math.log2(words))


def broadcast_flip_flops(config: ArrayOrTable) -> Any:
    """Return the flip-flops of a broadcast of several cycles: a register for four PEs, pops and credits of each PE."""
    registers = -(-config.num_pes // NODE_INPUTS) * (config.activation_bits + COLUMN_INDEX_BITS)
    credits = config.num_pes * by_value(_address_bits, config.queue_slots)
    flip_flops = (config.broadcast_cycles - 1) * (registers + config.num_pes) + credits
    return where(config.broadcast_cycles == 1, 0, flip_flops)


def codebook_bits(config: ArrayOrTable) -> Any:
    """Return the bits of a PE's codebook."""
    return (1 << config.weight_bits) * config.activation_bits


def codebook_is_sram(config: ArrayOrTable) -> Any:
    """Return True if the codebook is as large as the smallest SRAM of the tables; smaller ones are flip-flops."""
    return codebook_bits(config) >= 512 * 8


def needs_divider(config: ArrayOrTable) -> Any:
    """Return True if the entries of a line are no power of two: an address then has no bit field for the place."""
    entries = config.entries_per_line
    return entries & (entries - 1) != 0


@cache
def num_lnzd_units(num_pes: int) -> int:
    """Return the number of leading non-zero detection units: a tree of 4-input nodes over the PEs (21 for 64)."""
    units = 0
    nodes = num_pes
    while nodes > 1:
        nodes = -(-nodes // NODE_INPUTS)
        units += nodes
    return max(units, 1)


@cache
def tree_levels(num_pes: int) -> int:
    """Return the levels of the scan's tree over the PEs (3 for 64)."""
    levels, nodes = 1, num_pes
    while nodes > NODE_INPUTS:
        nodes = -(-nodes // NODE_INPUTS)
        levels += 1
    return levels


def tree_mm(num_pes: Any, pe_mm2: Any) -> Any:
    """Return the length in mm of all wires of an H-tree over square PEs of this area."""
    side = square_root(num_pes)
    return 1.5 * square_root(pe_mm2) * side * (side - 1)


def longest_path_mm(num_pes: Any, pe_mm2: Any) -> Any:
    """Return the length in mm of the path from the middle of the array to its farthest PE, along the H-tree."""
    return square_root(pe_mm2) * (square_root(num_pes) - 1)
