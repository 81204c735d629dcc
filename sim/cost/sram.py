"""Energy, leakage, area and times of an SRAM as a function of its capacity, port width and technology node.

The figures in `sram_lstp_lop.csv` are from CACTI 7.0.3 (Balasubramonian et al., TACO 2017): one bank, one read-write
port, no ECC, 350 K, objective ED, cells `itrs-lstp` of low standby power with a periphery `itrs-lop` of low operating
power. Leakage is the sum of CACTI's subthreshold and gate leakage. CACTI changes the organisation of the array from one
entry to the next, so a larger or wider SRAM is sometimes cheaper in the tables. A running maximum over capacity and
width corrects energies and area, and one over capacity the times. Leakage stays as tabulated.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from sim.config import ArrayConfig
from sim.cost.blocks import codebook_bits
from sim.cost.constants import NOMINAL, Constants
from traces import InputError
from traces.arrays import Floats64, Integers64

POINTER_BANKS = 2
MAX_PORT_BITS = 512

QUANTITIES = ("read_pj", "write_pj", "leakage_mw", "area_mm2", "access_ns", "cycle_ns")
_MONOTONE, _TIMES = ("read_pj", "write_pj", "area_mm2"), ("access_ns", "cycle_ns")


@dataclass(frozen=True)
class Sram:
    """Figures of one SRAM.

    Attributes
    ----------
    read_pj, write_pj : float
        Energy of one access over the whole port width.
    leakage_mw : float
        Leakage.
    area_mm2 : float
        Area.
    access_ns, cycle_ns : float
        Time from an address to its word, and between two accesses.
    """

    read_pj: float
    write_pj: float
    leakage_mw: float
    area_mm2: float
    access_ns: float
    cycle_ns: float

    def with_constants(self, constants: Constants) -> Sram:
        """Return the SRAM with the factors of other constants."""
        return Sram(
            self.read_pj * constants.sram_energy,
            self.write_pj * constants.sram_energy,
            self.leakage_mw * constants.sram_leakage,
            self.area_mm2 * constants.sram_area,
            self.access_ns * constants.sram_time,
            self.cycle_ns * constants.sram_time,
        )


@cache
def sram(capacity_bytes: int, port_bits: int, node_nm: int = 45) -> Sram:
    """Interpolate between tabulated capacities and widths, in logarithms of all quantities.

    Energies and area are monotone in capacity and width, times in capacity. Raises InputError outside the table: 512
    bytes to 4 MiB, 8 to 512 bits (less for the smallest SRAMs), and nodes of 22, 32, 45 and 65 nm.
    """
    capacities, widths, tables = _tables(node_nm)
    if not (capacities[0] <= capacity_bytes <= capacities[-1] and widths[0] <= port_bits <= widths[-1]):
        raise InputError(
            f"an SRAM must have {capacities[0]:,} to {capacities[-1]:,} bytes and a port of {widths[0]} to "
            f"{widths[-1]} bits; found {capacity_bytes:,} bytes and {port_bits} bits"
        )
    values = {}
    for quantity in QUANTITIES:
        by_width = [np.interp(math.log2(port_bits), np.log2(widths), row) for row in np.log(tables[quantity])]
        values[quantity] = math.exp(np.interp(math.log2(capacity_bytes), np.log2(capacities), by_width))
    if math.isnan(values["read_pj"]):
        raise InputError(
            f"an SRAM of {capacity_bytes:,} bytes is too small for a port of {port_bits} bits; narrow the port"
        )
    return Sram(**values)


def sparse_matrix_sram(config: ArrayConfig, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's sparse-matrix SRAM; a line narrower than 8 bits costs as much as one of 8.

    Raises InputError if the line is wider than the tables allow.
    """
    if config.line_bits > MAX_PORT_BITS:
        raise InputError(
            f"line_bits must be at most {MAX_PORT_BITS}, the widest port in the SRAM tables; found {config.line_bits}"
        )
    return sram(config.sparse_matrix_bytes, max(config.line_bits, 8), config.node_nm).with_constants(constants)


def pointer_bank_sram(config: ArrayConfig, constants: Constants = NOMINAL) -> Sram:
    """Return one of the two banks of a PE's pointer SRAM."""
    bank_bytes = config.pointer_bytes // POINTER_BANKS
    return sram(bank_bytes, max(config.pointer_bits, 8), config.node_nm).with_constants(constants)


def activation_sram(config: ArrayConfig, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's activation SRAM."""
    return sram(config.activation_bytes, config.activation_bits, config.node_nm).with_constants(constants)


def codebook_sram(config: ArrayConfig, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's codebook as an SRAM."""
    return sram(codebook_bits(config) // 8, config.activation_bits, config.node_nm).with_constants(constants)


@cache
def _tables(
    node_nm: int,
) -> tuple[Integers64, Integers64, dict[str, Floats64]]:
    """Return capacities, widths and each quantity [capacities, widths]; NaN stands for no SRAM."""
    with resources.files("sim.cost").joinpath("sram_lstp_lop.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    nodes = sorted({int(row["node_nm"]) for row in rows})
    if node_nm not in nodes:
        raise InputError(f"node_nm must be one of {', '.join(map(str, nodes))}; found {node_nm}")
    capacities = np.unique([int(row["capacity_bytes"]) for row in rows])
    widths = np.unique([int(row["port_bits"]) for row in rows])
    tables = {quantity: np.full((capacities.size, widths.size), np.nan) for quantity in QUANTITIES}
    for row in rows:
        if int(row["node_nm"]) == node_nm:
            place = (
                np.searchsorted(capacities, int(row["capacity_bytes"])),
                np.searchsorted(widths, int(row["port_bits"])),
            )
            for quantity in QUANTITIES:
                tables[quantity][place] = float(row[quantity])
    for quantity in (*_MONOTONE, *_TIMES):
        monotone = np.fmax.accumulate(tables[quantity], axis=0)
        if quantity in _MONOTONE:
            monotone = np.fmax.accumulate(monotone, axis=1)
        tables[quantity] = np.where(np.isnan(tables[quantity]), np.nan, monotone)
    return capacities, widths, tables
