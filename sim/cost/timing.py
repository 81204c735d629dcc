"""Clock of an array: its limits, and the cycles that SRAMs, logic and wires take at a given clock.

Three loops limit the clock, whatever the depth of the pipeline: two accesses to one SRAM, an addition to an accumulator
that the next entry needs, and the choice of the next non-zero activation. All other delays become pipeline stages. The
path of an entry goes from its column's pointers over the line, the codebook and the multiplier to the accumulator. A
broadcast goes over the wires from the middle of the array to the farthest PE.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

from sim.config import SHORTEST_PIPELINE_CYCLES, ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.blocks import PAPER_BITS, longest_path_mm, needs_divider, tree_levels
from sim.cost.constants import NODES, NOMINAL, Constants
from sim.cost.sram import activation_sram, pointer_bank_sram, sparse_matrix_sram
from traces import InputError

DELAY_GROWTH = 0.64  # exponent; synthesised delays of 8, 16 and 32 bits are as 0.72 to 1 to 1.74


class ClockWarning(UserWarning):
    """Warning that an array was simulated at a clock that it does not reach."""


@dataclass(frozen=True)
class Timing:
    """Clock of one array.

    Attributes
    ----------
    highest_clock_mhz : float
        Highest clock that its loops allow.
    limit : str
        Loop that limits it.
    path_ns : float
        Time from a column's pointer read to the write of its first entry, without flip-flops.
    broadcast_ns : float
        Time of a broadcast on the wires.
    pipeline_cycles, broadcast_cycles : int
        Fewest values of these fields of `ArrayConfig` at its clock, or at the highest one if that is lower.
    """

    highest_clock_mhz: float
    limit: str
    path_ns: float
    broadcast_ns: float
    pipeline_cycles: int
    broadcast_cycles: int


@lru_cache(maxsize=4096)
def timing(config: ArrayConfig, constants: Constants = NOMINAL) -> Timing:
    """Return the limits of an array's clock, and the cycles that its delays take.

    Parameters
    ----------
    config : ArrayConfig
        The array.
    constants : Constants, optional
        Constants of the model (`sim.cost.constants`).

    Raises
    ------
    InputError
        If an SRAM is outside the tables (`sim.cost.sram`).

    Notes
    -----
    The time of additions and multiplications grows with their width to the power 0.64 (synthesis), that of a divider in
    proportion to its bits. Pointers of the columns at the head of the queue are read ahead, so their access time delays
    the first entries of a layer only. The paper's five cycles from the pointer read to the write are the fewest.
    """
    delay = NODES[config.node_nm].delay
    by_bits = delay * (config.activation_bits / PAPER_BITS) ** DELAY_GROWTH
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
            delay * constants.lnzd_unit_ns * tree_levels(config.num_pes) + flip_flop_ns
        ),
    }
    limit = max(loops, key=lambda name: loops[name])
    path_ns = pointers.access_ns + lines.access_ns + multiply_ns + 2 * add_ns
    path_ns += delay * constants.decode_ns
    if needs_divider(config):
        path_ns += delay * constants.divider_ns * config.pointer_bits / PAPER_BITS
    pe_mm2 = area_mm2(config, constants) / config.num_pes
    broadcast_ns = constants.wire_ns_per_mm * longest_path_mm(config.num_pes, pe_mm2)
    useful_ns = max(1e3 / config.clock_mhz, loops[limit]) - flip_flop_ns  # loops are longer than a flip-flop
    return Timing(
        highest_clock_mhz=1e3 / loops[limit],
        limit=limit,
        path_ns=path_ns,
        broadcast_ns=broadcast_ns,
        pipeline_cycles=max(SHORTEST_PIPELINE_CYCLES, math.ceil(path_ns / useful_ns) - 1),
        broadcast_cycles=max(1, math.ceil(broadcast_ns / useful_ns)),
    )


def timed(array: ArrayConfig) -> ArrayConfig:
    """Return the array with as many pipeline and broadcast cycles as its delays take at its clock.

    Parameters
    ----------
    array : ArrayConfig
        The array; its own pipeline_cycles and broadcast_cycles are where the search for the fewest begins.

    Returns
    -------
    ArrayConfig
        The array with these cycles.

    Raises
    ------
    InputError
        If an SRAM is outside the tables (`sim.cost.sram`).
    """
    found = timing(array)
    while (array.pipeline_cycles, array.broadcast_cycles) != (found.pipeline_cycles, found.broadcast_cycles):
        deeper = replace(array, pipeline_cycles=found.pipeline_cycles, broadcast_cycles=found.broadcast_cycles)
        grown = timing(deeper)  # the registers make the array larger
        array, found = deeper, grown if grown.broadcast_cycles >= found.broadcast_cycles else found
    return array


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
