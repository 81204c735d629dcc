"""Loop of the search for a row order, compiled with Numba."""

from __future__ import annotations

import numpy as np

from sim.engine_kernels import queue_recurrence
from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def total_cycles(
    bubbles: Integers,
    input_begin: Integers,
    trailing_bubbles: Integers,
    queue_depth: int,
    wire_registers: int,
    counts: Integers,
) -> np.int64:
    """Return the cycles of all inputs, without those that do not depend on the order (see `exchange_rows`)."""
    num_pes = counts.shape[1]
    busy = np.ones(num_pes, dtype=np.int64)  # any PE may have entries
    cycles = np.int64(0)
    for i in range(trailing_bubbles.shape[0]):
        begin, end = input_begin[i], input_begin[i + 1]
        depth = min(queue_depth, max(1, end - begin))
        last_active_edge, _ = queue_recurrence(
            counts[begin:end],
            np.arange(end - begin).astype(np.int32),
            bubbles[begin:end],
            trailing_bubbles[i],
            depth,
            wire_registers,
            busy,
            np.zeros(num_pes, dtype=np.uint32),
            np.zeros(num_pes, dtype=np.int64),
            np.empty(depth + end - begin, dtype=np.int32),
        )
        cycles += last_active_edge
    return cycles


@kernel
def exchange(kept: Integers, row: int, other_row: int, pe: int, other_pe: int, counts: Integers) -> None:
    """Update `counts` when `pe` gives `row` to `other_pe` and gets `other_row`."""
    for j in range(counts.shape[0]):
        change = kept[other_row, j] - kept[row, j]
        counts[j, pe] += change
        counts[j, other_pe] -= change


@kernel
def exchange_rows(
    kept: Integers,
    bubbles: Integers,
    input_begin: Integers,
    trailing_bubbles: Integers,
    queue_depth: int,
    wire_registers: int,
    exchanges: Integers,
    order: Integers,
    counts: Integers,
) -> None:
    """Try exchanges of two places of `order` one by one; keep each one that does not take longer.

    Parameters
    ----------
    kept : numpy.ndarray
        1 where a row has an entry, [rows, broadcasts]; the broadcasts of all inputs, one after the other.
    bubbles : numpy.ndarray
        [broadcasts].
    input_begin : numpy.ndarray
        First broadcast of each input, [inputs + 1].
    trailing_bubbles : numpy.ndarray
        [inputs].
    queue_depth : int
        Columns that a queue holds.
    wire_registers : int
        Registers between the scan and the queues, in each direction.
    exchanges : numpy.ndarray
        Pairs of places, [trials, 2].
    order : numpy.ndarray
        Row at each place, [rows]; changed.
    counts : numpy.ndarray
        Entries of each PE in this order, int32 [broadcasts, num_pes]; changed.
    """
    num_pes = counts.shape[1]
    best = total_cycles(bubbles, input_begin, trailing_bubbles, queue_depth, wire_registers, counts)
    for trial in range(exchanges.shape[0]):
        first, second = exchanges[trial, 0], exchanges[trial, 1]
        first_pe, second_pe = first % num_pes, second % num_pes
        if first_pe == second_pe:
            continue
        exchange(kept, order[first], order[second], first_pe, second_pe, counts)
        cycles = total_cycles(bubbles, input_begin, trailing_bubbles, queue_depth, wire_registers, counts)
        if cycles <= best:
            best = cycles
            order[first], order[second] = order[second], order[first]
        else:
            exchange(kept, order[second], order[first], first_pe, second_pe, counts)
