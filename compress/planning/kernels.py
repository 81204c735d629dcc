"""Loops of planning: stabbing of intervals, and compensation of errors."""

from __future__ import annotations

from traces.arrays import Floats, Integers
from traces.kernel_cache import kernel


@kernel
def stab_intervals(lowest: Floats, highest: Floats, order: Integers, chosen: Integers) -> int:
    """Fill `chosen` with the number of the point that stabs each interval, and return the number of points.

    Parameters
    ----------
    lowest, highest : float64 [intervals]
        Ends of the intervals.
    order : int64 [intervals]
        The intervals by ascending right ends.
    chosen : int64 [intervals]
        Filled.
    """
    count = 0
    point = 0.0
    for place in range(order.shape[0]):
        i = order[place]
        if count == 0 or lowest[i] > point:
            point = highest[i]
            count += 1
        chosen[i] = count - 1
    return count


@kernel
def sweep_rows(weights: Floats, kept: Integers, spread: Floats, shared: Floats) -> None:
    """Set each weight to zero or to the nearest shared weight, and spread its error over those after it in its row.

    Parameters
    ----------
    weights : float64 [rows, columns]
        Changed.
    kept : bool [rows, columns]
        False where a weight becomes zero.
    spread : float64 [columns, columns]
        Upper triangular (`error_spread`).
    shared : float64
        Shared weights, ascending; if empty, kept weights are only moved.
    """
    for begin in range(0, weights.shape[0], 8):  # a row of `spread` is read once for eight rows
        end = min(begin + 8, weights.shape[0])
        for j in range(weights.shape[1]):
            for row in range(begin, end):
                before = weights[row, j]
                after = before if kept[row, j] else 0.0
                if kept[row, j] and shared.shape[0]:
                    low, high = 0, shared.shape[0] - 1
                    while low < high:
                        middle = (low + high) // 2
                        if before > 0.5 * (shared[middle] + shared[middle + 1]):
                            low = middle + 1
                        else:
                            high = middle
                    after = shared[low]
                weights[row, j] = after
                if after != before:
                    error = (before - after) / spread[j, j]
                    ahead, share = weights[row, j + 1 :], spread[j, j + 1 :]
                    for later in range(ahead.shape[0]):
                        ahead[later] -= error * share[later]
