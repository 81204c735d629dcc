"""Loops that assign rows to PEs, compiled with Numba: the balance, and the search by exchanges."""

from __future__ import annotations

import numpy as np

from sim.engine_kernels import queue_recurrence
from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def deal(work: Integers, rows: Integers, num_pes: int, order: Integers) -> None:
    """Deal rows in this order, each to the PE with the least work so far that has places left, the first one of equals.

    Parameters
    ----------
    work : numpy.ndarray
        Work of each row, int64 [rows].
    rows : numpy.ndarray
        The rows in the order in which they are dealt, [rows].
    num_pes : int
        PEs; PE k has the places k, k + num_pes, ... of `order`.
    order : numpy.ndarray
        Result: row at each place, int64 [rows]; those of a PE in ascending order.
    """
    pes = min(num_pes, work.shape[0])
    heap = np.arange(pes)  # PEs with places left; the one at place i has no more work than those at 2 i + 1 and 2 i + 2
    loads = np.zeros(pes, dtype=np.int64)
    dealt = np.zeros(pes, dtype=np.int64)
    owner = np.empty(work.shape[0], dtype=np.int64)
    for row in rows:
        pe = heap[0]
        owner[row] = pe
        loads[pe] += work[row]
        dealt[pe] += 1
        if pe + dealt[pe] * num_pes >= work.shape[0]:  # its places are full
            pes -= 1
            pe = heap[pes]
        place = 0
        while 2 * place + 1 < pes:
            child = 2 * place + 1
            if child + 1 < pes and comes_before(loads, heap[child + 1], heap[child]):
                child += 1
            if comes_before(loads, pe, heap[child]):
                break
            heap[place] = heap[child]
            place = child
        heap[place] = pe
    dealt[:] = 0
    for row in range(work.shape[0]):
        pe = owner[row]
        order[pe + dealt[pe] * num_pes] = row
        dealt[pe] += 1


@kernel
def comes_before(loads: Integers, pe: int, other_pe: int) -> bool:
    """Return True if a PE has less work than another one, or as much and a lower number."""
    return loads[pe] < loads[other_pe] or (loads[pe] == loads[other_pe] and pe < other_pe)


@kernel
def total_cycles(
    bubbles: Integers,
    input_begin: Integers,
    trailing_bubbles: Integers,
    queue_depth: int,
    wire_registers: int,
    lags: Integers,
    counts: Integers,
) -> np.int64:
    """Return the cycles of all inputs, without those that do not depend on the order (see `exchange_rows`)."""
    busy = np.ones(counts.shape[1], dtype=np.int64)  # any PE may have entries
    finish_edges = np.empty(counts.shape[1], dtype=np.int64)
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
            lags,
            finish_edges,
            np.empty(depth + end - begin, dtype=np.int32),
        )
        cycles += last_active_edge
    return cycles


@kernel
def exchange(kept: Integers, row: int, other_row: int, pe: int, other_pe: int, counts: Integers) -> None:
    """Update `counts` when `pe` gives `row` to `other_pe` and gets `other_row`."""
    for j in range(counts.shape[0]):
        if kept[other_row, j] != kept[row, j]:
            gains, loses = (pe, other_pe) if kept[other_row, j] else (other_pe, pe)
            counts[j, gains] += 1
            counts[j, loses] -= 1


@kernel
def exchange_rows(
    kept: Integers,
    bubbles: Integers,
    input_begin: Integers,
    trailing_bubbles: Integers,
    queue_depth: int,
    wire_registers: int,
    exchanges: Integers,
    num_pes: int,
    lags: Integers,
    order: Integers,
    counts: Integers,
) -> None:
    """Try exchanges of two places of `order` one by one; keep each one that does not take longer.

    Parameters
    ----------
    kept : numpy.ndarray
        1 where a row has an entry, uint8 [rows, broadcasts]; the broadcasts of all inputs, one after the other.
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
    num_pes : int
        PEs of the array.
    lags : numpy.ndarray
        Room [lanes], as in `queue_recurrence`.
    order : numpy.ndarray
        Row at each place, [rows]; changed.
    counts : numpy.ndarray
        Entries of each PE in this order, [broadcasts, lanes], of a type that holds the rows of a PE; changed.
    """
    best = total_cycles(bubbles, input_begin, trailing_bubbles, queue_depth, wire_registers, lags, counts)
    for trial in range(exchanges.shape[0]):
        first, second = exchanges[trial, 0], exchanges[trial, 1]
        first_pe, second_pe = first % num_pes, second % num_pes
        if first_pe == second_pe:
            continue
        exchange(kept, order[first], order[second], first_pe, second_pe, counts)
        cycles = total_cycles(bubbles, input_begin, trailing_bubbles, queue_depth, wire_registers, lags, counts)
        if cycles <= best:
            best = cycles
            order[first], order[second] = order[second], order[first]
        else:
            exchange(kept, order[second], order[first], first_pe, second_pe, counts)
