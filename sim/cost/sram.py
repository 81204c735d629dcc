"""Energy, leakage, area and times of an SRAM as a function of its capacity, port width and technology node.

The figures in `sram_lstp_lop.csv` are from CACTI 7.0.3 (Balasubramonian et al., TACO 2017): one bank, one read-write
port, no ECC, 350 K, objective ED, cells `itrs-lstp` of low standby power with a periphery `itrs-lop` of low operating
power. Leakage is the sum of CACTI's subthreshold and gate leakage. CACTI changes the organisation of the array from one
entry to the next, so a larger or wider SRAM is sometimes cheaper in the tables. A running maximum over capacity and
width corrects energies and area, and one over capacity the times. Leakage stays as tabulated.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sim.array_table import ArrayOrTable, ArrayTable
from sim.columns import larger, rounded_to_13_digits, where
from sim.cost.blocks import codebook_bits, codebook_is_sram
from sim.cost.constants import NOMINAL, Constants
from traces import InputError
from traces.arrays import Floats64, Integers64

POINTER_BANKS = 2
MAX_PORT_BITS = 512

QUANTITIES = ("read_pj", "write_pj", "leakage_mw", "area_mm2", "access_ns", "cycle_ns")
_SLOT_BITS = 16  # of the hash table of SRAMs
_HASH_FACTOR = -0x61C8864680B583EB  # odd; 2**64 over the golden ratio, as a signed number
_MONOTONE, _TIMES = ("read_pj", "write_pj", "area_mm2"), ("access_ns", "cycle_ns")


@dataclass(frozen=True)
class Sram:
    """Figures of one SRAM, or of one in each array of a table.

    Attributes
    ----------
    read_pj, write_pj : float, or array [arrays]
        Energy of one access over the whole port width.
    leakage_mw : float, or array [arrays]
        Leakage.
    area_mm2 : float, or array [arrays]
        Area.
    access_ns, cycle_ns : float, or array [arrays]
        Time from an address to its word, and between two accesses.
    """

    read_pj: Any
    write_pj: Any
    leakage_mw: Any
    area_mm2: Any
    access_ns: Any
    cycle_ns: Any

    def with_constants(self, constants: Constants) -> Sram:
        """Return the SRAM with the factors of other constants."""
        if constants.sram_energy == constants.sram_leakage == constants.sram_area == constants.sram_time == 1.0:
            return self
        return Sram(
            self.read_pj * constants.sram_energy,
            self.write_pj * constants.sram_energy,
            self.leakage_mw * constants.sram_leakage,
            self.area_mm2 * constants.sram_area,
            self.access_ns * constants.sram_time,
            self.cycle_ns * constants.sram_time,
        )


NO_SRAM = Sram(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


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
    above = max(int(np.searchsorted(capacities, capacity_bytes)), 1)
    between = slice(above - 1, above + 1)
    log_capacity, log_width = math.log2(capacity_bytes), math.log2(port_bits)
    log_capacities, log_widths = np.log2(capacities[between]), np.log2(widths)
    values = {}
    for quantity in QUANTITIES:
        by_width = [np.interp(log_width, log_widths, row) for row in tables[quantity][between]]
        values[quantity] = rounded_to_13_digits(math.exp(np.interp(log_capacity, log_capacities, by_width)))
    if math.isnan(values["read_pj"]):
        raise InputError(
            f"an SRAM of {capacity_bytes:,} bytes is too small for a port of {port_bits} bits; narrow the port"
        )
    return Sram(**values)


def sparse_matrix_sram(config: ArrayOrTable, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's sparse-matrix SRAM; a line narrower than 8 bits costs as much as one of 8.

    Raises InputError if the line of one array is wider than the tables allow. SRAMs of a table that are outside the
    tables have figures of nan, here as for the other SRAMs.
    """
    if not isinstance(config, ArrayTable) and config.line_bits > MAX_PORT_BITS:
        raise InputError(
            f"line_bits must be at most {MAX_PORT_BITS}, the widest port in the SRAM tables; found {config.line_bits}"
        )
    return _sram_of(
        config,
        ("sparse_matrix_bytes", "line_bits", "node_nm"),
        lambda: (config.sparse_matrix_bytes, larger(config.line_bits, 8)),
    ).with_constants(constants)


def pointer_bank_sram(config: ArrayOrTable, constants: Constants = NOMINAL) -> Sram:
    """Return one of the two banks of a PE's pointer SRAM."""
    return _sram_of(
        config,
        ("pointer_bytes", "pointer_bits", "node_nm"),
        lambda: (config.pointer_bytes // POINTER_BANKS, larger(config.pointer_bits, 8)),
    ).with_constants(constants)


def activation_sram(config: ArrayOrTable, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's activation SRAM."""
    return _sram_of(
        config,
        ("activation_bytes", "precision", "node_nm"),
        lambda: (config.activation_bytes, config.activation_bits),
    ).with_constants(constants)


def codebook_sram(config: ArrayOrTable, constants: Constants = NOMINAL) -> Sram:
    """Return one PE's codebook as an SRAM; all figures are 0 if its codebook is flip-flops."""
    in_sram = codebook_is_sram(config)
    if not np.any(in_sram):
        return NO_SRAM
    found = _sram_of(
        config,
        ("weight_bits", "precision", "node_nm"),
        lambda: (codebook_bits(config) // 8, config.activation_bits),
    ).with_constants(constants)
    return Sram(*(where(in_sram, getattr(found, quantity), 0.0) for quantity in QUANTITIES))


def _sram_of(config: ArrayOrTable, fields: tuple[str, ...], shape: Callable[[], tuple[Any, Any]]) -> Sram:
    """Return the SRAM of so many bytes and port bits, which follow from these fields; raises InputError for one array.

    A table keeps the figures, by the names of the fields.
    """
    if isinstance(config, ArrayTable):
        figures = config.kept("SRAM of " + fields[0], fields, lambda: _figures(*shape(), config.node_nm))
        return Sram(*figures)
    return sram(*shape(), config.node_nm)


@dataclass(frozen=True, eq=False)
class _KnownSrams:
    """Figures of the SRAMs that tables of arrays had so far; nan outside the tables.

    A key stands for capacity, port and node. It is looked up in the one slot that its hash gives, and by bisection if
    another key has this slot.
    """

    keys: Integers64  # sorted, [SRAMs]
    figures: Floats64  # [quantities, SRAMs]
    slots: Integers64  # number of the SRAM, by hash

    @classmethod
    def of(cls, keys: Integers64, figures: Floats64) -> _KnownSrams:
        """Return SRAMs in any order."""
        order = np.argsort(keys)
        slots = np.zeros(2**_SLOT_BITS, np.int64)
        slots[_slots(keys[order])] = np.arange(len(keys))
        return cls(keys[order], figures[:, order], slots)

    def places(self, keys: Integers64) -> Integers64:
        """Return the number of each SRAM; that of an unknown one is that of any other."""
        places = self.slots[_slots(keys)]
        others = np.flatnonzero(self.keys[places] != keys)
        places[others] = np.searchsorted(self.keys[:-1], keys[others])
        return places

    def joined(self, keys: Integers64) -> _KnownSrams:
        """Return these SRAMs and further ones."""
        figures = [_figures_or_nan(key >> 24, (key >> 7) % 2**17, key % 2**7) for key in keys.tolist()]
        return self.of(np.append(self.keys, keys), np.hstack([self.figures, np.array(figures).T]))


def _slots(keys: Integers64) -> Integers64:
    """Return the slot of each key: the upper bits of its product with an odd number (Knuth, TAOCP 3, 6.4)."""
    slots: Integers64 = (keys * _HASH_FACTOR) >> (64 - _SLOT_BITS) & (2**_SLOT_BITS - 1)
    return slots


_known = _KnownSrams.of(np.array([-1]), np.full((len(QUANTITIES), 1), np.nan))  # -1 is no SRAM


def _figures(capacity_bytes: Any, port_bits: Any, node_nm: Any) -> Floats64:
    """Return the figures of SRAMs: [quantities, SRAMs], or [quantities, 1] if all three are one number."""
    global _known
    known = _known
    keys = np.atleast_1d((capacity_bytes << 24) + (port_bits << 7) + node_nm)  # at most 2**30, 2**16 and 65
    places = known.places(keys)
    unknown = known.keys[places] != keys
    if unknown.any():
        _known = known = known.joined(np.unique(keys[unknown]))
        places = known.places(keys)
    return known.figures.take(places, axis=1)


def _figures_or_nan(capacity_bytes: int, port_bits: int, node_nm: int) -> tuple[float, ...]:
    try:
        return dataclasses.astuple(sram(capacity_bytes, port_bits, node_nm))
    except InputError:
        return (math.nan,) * len(QUANTITIES)


@cache
def _tables(
    node_nm: int,
) -> tuple[Integers64, Integers64, dict[str, Floats64]]:
    """Return capacities, widths and each quantity's logarithm [capacities, widths]; nan stands for no SRAM."""
    with Path(__file__).with_name("sram_lstp_lop.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    nodes = sorted({int(row["node_nm"]) for row in rows})
    if node_nm not in nodes:
        raise InputError(f"node_nm must be one of {', '.join(map(str, nodes))}; found {node_nm}")
    capacities = np.array(sorted({int(row["capacity_bytes"]) for row in rows}))
    widths = np.array(sorted({int(row["port_bits"]) for row in rows}))
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
    return capacities, widths, {quantity: np.log(values) for quantity, values in tables.items()}
