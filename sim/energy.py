"""Energy of one layer: counts times the published energy of each event, block by block."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sim.config import ArrayConfig

# 45 nm, Han et al., "EIE", ISCA 2016, Table I (after Horowitz, ISSCC 2014).
SRAM_READ_PJ_PER_BIT = 5.0 / 32  # a 32 KB SRAM; taken for every capacity
REGISTER_FILE_PJ_PER_BIT = 1.0 / 32
INT32_MULTIPLY_PJ = 3.1
INT32_ADD_PJ = 0.1
# Section VI of the same paper: a 16-bit fixed-point multiplication takes a fifth of a 32-bit one.
INT16_MULTIPLY_PJ = INT32_MULTIPLY_PJ / 5
INT16_ADD_PJ = INT32_ADD_PJ / 2  # an adder's energy is proportional to its width
# Table II: a leading non-zero detection unit draws 0.023 mW at 800 MHz.
LNZD_UNIT_PJ_PER_CYCLE = 0.023e-3 / 800e6 * 1e12

ACTIVATION_BITS = 16
POINTER_BITS = 16
COLUMN_INDEX_BITS = 16


@dataclass(frozen=True)
class Energy:
    """Dynamic energy of one layer on the array, in pJ, a field for each block of the paper's Fig 4.

    Without leakage, and with an SRAM read that costs the same per bit at every capacity.
    """

    scan_pj: float
    queue_pj: float
    pointer_read_pj: float
    sparse_matrix_read_pj: float
    arithmetic_pj: float
    activation_write_pj: float

    @property
    def total_pj(self) -> float:
        """The sum over all blocks."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


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
) -> Energy:
    """Energy of the counted events.

    `pointer_reads` are pairs; a column that a PE takes is written to and read from its queue once.
    `processed_entries` include padding, which decodes and multiplies like any entry but writes nothing.
    """
    queue_bits = ACTIVATION_BITS + COLUMN_INDEX_BITS
    decode_pj = ACTIVATION_BITS * REGISTER_FILE_PJ_PER_BIT  # one 16-bit read of the codebook
    return Energy(
        scan_pj=cycles * num_lnzd_units(config.num_pes) * LNZD_UNIT_PJ_PER_CYCLE,
        queue_pj=pointer_reads * 2 * queue_bits * REGISTER_FILE_PJ_PER_BIT,
        pointer_read_pj=pointer_reads * 2 * POINTER_BITS * SRAM_READ_PJ_PER_BIT,
        sparse_matrix_read_pj=line_reads * config.line_bits * SRAM_READ_PJ_PER_BIT,
        arithmetic_pj=processed_entries * (decode_pj + INT16_MULTIPLY_PJ + INT16_ADD_PJ),
        # the accumulator is read once and written once
        activation_write_pj=useful_macs * 2 * ACTIVATION_BITS * REGISTER_FILE_PJ_PER_BIT,
    )
