"""The loop of the search for a row order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engine import queue_recurrence
from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]


@kernel
def exchange_rows(
    kept: Integers,
    bubbles: Integers,
    input_begin: Integers,
    trailing_bubbles: Integers,
    queue_depth: int,
    exchanges: Integers,
    order: Integers,
    counts: Integers,
) -> None:
    """Try exchanges of two places of `order` one by one; keep each that does not take longer.

    kept              [rows, broadcasts], 1 where a row has an entry; broadcasts of all inputs, one after the other
    bubbles           [broadcasts]
    input_begin       [inputs + 1], where each input's broadcasts begin
    trailing_bubbles  [inputs]
    exchanges         [trials, 2], places
    order             [rows], row at each place; changed
    counts            int32 [broadcasts, num_pes], entries of each PE in this order; changed
    """
    num_pes = counts.shape[1]
    busy = np.ones(num_pes, dtype=np.int64)  # stands for "may have entries"
    nothing = np.empty(0, dtype=np.int32)
    no_table = np.empty((0, 0), dtype=np.int32)
    best = np.int64(-1)
    for trial in range(-1, exchanges.shape[0]):
        first, second = (0, 0) if trial < 0 else (exchanges[trial, 0], exchanges[trial, 1])
        first_pe, second_pe = first % num_pes, second % num_pes
        if trial >= 0 and first_pe == second_pe:
            continue
        for j in range(counts.shape[0]):
            change = kept[order[second], j] - kept[order[first], j]
            counts[j, first_pe] += change
            counts[j, second_pe] -= change
        cycles = np.int64(0)
        for i in range(trailing_bubbles.shape[0]):
            part = counts[input_begin[i] : input_begin[i + 1]]
            columns = np.arange(part.shape[0]).astype(np.int32)
            finish = np.zeros(num_pes, dtype=np.int32)
            depth = min(queue_depth, max(1, part.shape[0]))
            last, _ = queue_recurrence(
                part, columns, bubbles[input_begin[i] : input_begin[i + 1]], depth, busy, finish, nothing, no_table
            )
            cycles += max(np.int64(finish.max()), np.int64(last) + trailing_bubbles[i])
        if best < 0 or cycles <= best:
            best = cycles
            order[first], order[second] = order[second], order[first]
        else:
            for j in range(counts.shape[0]):
                change = kept[order[second], j] - kept[order[first], j]
                counts[j, first_pe] -= change
                counts[j, second_pe] += change
