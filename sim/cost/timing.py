"""Clock of an array: its limits, and the cycles that SRAMs, logic and wires take at a given clock.

Three loops limit the clock, whatever the depth of the pipeline: two accesses to one SRAM, an addition to an accumulator
that the next entry needs, and the choice of the next non-zero activation. All other delays become pipeline stages. The
path of an entry goes from its column's pointers over the line, the codebook and the multiplier to the accumulator. A
broadcast goes over the wires from the middle of the array to the farthest PE.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, overload

import numpy as np

from sim.array_table import ArrayOrTable, ArrayTable
from sim.columns import by_value, larger, largest, rounded_to_13_digits, rounded_up, where
from sim.config import SHORTEST_PIPELINE_CYCLES, ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.blocks import PAPER_BITS, longest_path_mm, needs_divider, tree_levels
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.sram import activation_sram, pointer_bank_sram, sparse_matrix_sram
from traces import InputError
from traces.arrays import Integers64

DELAY_GROWTH = 0.64  # exponent; synthesised delays of 8, 16 and 32 bits are as 0.72 to 1 to 1.74


class ClockWarning(UserWarning):
    """Warning that an array was simulated at a clock that it does not reach."""


@dataclass(frozen=True)
class Timing:
    """Clock of one array, or of each array of a table.

    Attributes
    ----------
    highest_clock_mhz : float, or float64 array [arrays]
        Highest clock that its loops allow.
    limit : str, or array of str [arrays]
        Loop that limits it.
    path_ns : float, or float64 array [arrays]
        Time from a column's pointer read to the write of its first entry, without flip-flops.
    broadcast_ns : float, or float64 array [arrays]
        Time of a broadcast on the wires.
    pipeline_cycles, broadcast_cycles : int, or int64 array [arrays]
        Fewest values of these fields of `ArrayConfig` at its clock, or at the highest one if that is lower.
    """

    highest_clock_mhz: Any
    limit: Any
    path_ns: Any
    broadcast_ns: Any
    pipeline_cycles: Any
    broadcast_cycles: Any


def timing(config: ArrayOrTable, constants: Constants = NOMINAL) -> Timing:
    """Return the limits of an array's clock, and the cycles that its delays take.

    Parameters
    ----------
    config : ArrayConfig or ArrayTable
        The array, or a table of arrays.
    constants : Constants, optional
        Constants of the model (`sim.cost.constants`).

    Returns
    -------
    Timing
        The limits and cycles. In a table, an array of which an SRAM is outside the tables (`sim.cost.sram`) has clock
        and times of nan, an empty limit and cycles of 0.

    Raises
    ------
    InputError
        If an SRAM of one array is outside the tables.

    Notes
    -----
    The time of additions and multiplications grows with their width to the power 0.64 (synthesis), that of a divider in
    proportion to its bits. Pointers of the columns at the head of the queue are read ahead, so their access time delays
    the first entries of a layer only. The paper's five cycles from the pointer read to the write are the fewest.
    """
    return _timing_of_table(config, constants) if isinstance(config, ArrayTable) else _kept_timing(config, constants)


def _timing_of_table(table: ArrayTable, constants: Constants) -> Timing:
    """Return the timing of all arrays, each field an array; those with an SRAM outside the tables have no figures."""
    found = _timing(table, constants)
    known = ~np.isnan(found.broadcast_ns)  # it follows from the area, of which all SRAMs are part
    return Timing(
        highest_clock_mhz=np.where(known, found.highest_clock_mhz, np.nan),
        limit=np.where(known, found.limit, ""),
        path_ns=np.where(known, found.path_ns, np.nan),
        broadcast_ns=table.filled(found.broadcast_ns),
        pipeline_cycles=np.where(known, found.pipeline_cycles, 0),
        broadcast_cycles=np.where(known, found.broadcast_cycles, 0),
    )


def _timing(config: ArrayOrTable, constants: Constants) -> Timing:
    delay = by_value(_logic_delay, config.node_nm)
    by_bits = delay * by_value(_delay_growth, config.activation_bits)
    flip_flop_ns = delay * constants.flip_flop_ns
    pointers, lines, activations = (
        of(config, constants) for of in (pointer_bank_sram, sparse_matrix_sram, activation_sram)
    )
    add_ns, multiply_ns = constants.add_ns * by_bits, constants.multiply_ns * by_bits
    loops = {
        "cycle time of the sparse-matrix SRAM": lines.cycle_ns,
        "cycle time of the pointer SRAM": pointers.cycle_ns,
        "cycle time of the activation SRAM": activations.cycle_ns,
        "addition to an accumulator": add_ns + flip_flop_ns,
        "detection of the next non-zero activation": (
            delay * constants.lnzd_unit_ns * by_value(tree_levels, config.num_pes) + flip_flop_ns
        ),
    }
    limit, longest_ns = largest(loops)
    path_ns = pointers.access_ns + lines.access_ns + multiply_ns + 2 * add_ns
    path_ns += delay * constants.decode_ns
    divider_ns = delay * constants.divider_ns * config.pointer_bits / PAPER_BITS
    path_ns = path_ns + where(needs_divider(config), divider_ns, 0.0)
    pe_mm2 = area_mm2(config, constants) / config.num_pes
    broadcast_ns = constants.wire_ns_per_mm * longest_path_mm(config.num_pes, pe_mm2)
    useful_ns = larger(1e3 / config.clock_mhz, longest_ns) - flip_flop_ns  # loops are longer than a flip-flop
    return Timing(
        highest_clock_mhz=1e3 / longest_ns,
        limit=limit,
        path_ns=path_ns,
        broadcast_ns=broadcast_ns,
        pipeline_cycles=larger(SHORTEST_PIPELINE_CYCLES, rounded_up(path_ns / useful_ns) - 1),
        broadcast_cycles=larger(1, rounded_up(broadcast_ns / useful_ns)),
    )


_kept_timing = lru_cache(maxsize=4096)(_timing)


def _logic_delay(node_nm: int) -> float:
    return NODES[node_nm].delay


def _delay_growth(bits: int) -> float:
    return rounded_to_13_digits((bits / PAPER_BITS) ** DELAY_GROWTH)


@overload
def timed(array: ArrayConfig) -> ArrayConfig: ...
@overload
def timed(array: ArrayTable) -> ArrayTable: ...
def timed(array: ArrayOrTable) -> ArrayOrTable:
    """Return the array with as many pipeline and broadcast cycles as its delays take at its clock.

    Parameters
    ----------
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays; their own pipeline_cycles and broadcast_cycles are where the search for the
        fewest begins.

    Returns
    -------
    ArrayConfig or ArrayTable
        The array, or the table, with these cycles. In a table, an array of which an SRAM is outside the tables
        (`sim.cost.sram`) keeps its cycles, and one that needs more than `ArrayConfig` allows has as many as it needs.

    Raises
    ------
    InputError
        If an SRAM of one array is outside the tables, or it needs more cycles than `ArrayConfig` allows.
    """
    if isinstance(array, ArrayTable):
        return _timed_table(array)
    found = timing(array)
    while (array.pipeline_cycles, array.broadcast_cycles) != (found.pipeline_cycles, found.broadcast_cycles):
        array = replace(array, pipeline_cycles=found.pipeline_cycles, broadcast_cycles=found.broadcast_cycles)
        grown = timing(array)  # the registers make the array larger
        found = grown if grown.broadcast_cycles >= found.broadcast_cycles else found
    return array


def _timed_table(table: ArrayTable) -> ArrayTable:
    """Do the same for each array, in every round only for those whose cycles changed in the last one."""
    cycles = np.array([table.filled(table.pipeline_cycles), table.filled(table.broadcast_cycles)])
    places, rows = np.arange(len(table)), table
    found = _cycles(timing(table))
    while True:
        changed = np.flatnonzero((found != cycles[:, places]).any(axis=0) & (found[0] > 0))
        if not changed.size:
            return table.replace(pipeline_cycles=cycles[0], broadcast_cycles=cycles[1])
        places, rows, found = places[changed], rows.take(changed), found[:, changed]
        cycles[:, places] = found
        rows = rows.replace(pipeline_cycles=found[0], broadcast_cycles=found[1])
        grown = _cycles(timing(rows))
        found = np.where(grown[1] >= found[1], grown, found)


def _cycles(found: Timing) -> Integers64:
    """Return cycles of pipeline and broadcast: int64 [2, arrays]."""
    return np.array([found.pipeline_cycles, found.broadcast_cycles])


def warn_of_clock(array: ArrayConfig, stacklevel: int) -> None:
    """Warn if the array does not reach its clock."""
    excess = clock_excess(array)
    if excess:
        warnings.warn(f"{excess}; figures are those of an array that cannot be built", ClockWarning, stacklevel)


def clock_excess(array: ArrayConfig) -> str:
    """Return a sentence if the clock is higher than the loops of the array allow; otherwise an empty text.

    Arrays with SRAMs outside the tables (`sim.cost.sram`) are not judged.
    """
    try:
        found = timing(array)
    except InputError:
        return ""
    if array.clock_mhz <= found.highest_clock_mhz:
        return ""
    return f"clock_mhz must be at most {found.highest_clock_mhz:.0f}, by the {found.limit}; found {array.clock_mhz:g}"
