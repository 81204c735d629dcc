"""Loops of planning: stabbing of intervals, and compensation of errors."""

from __future__ import annotations

import numpy as np

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


ROWS, PANEL, TILE = 8, 32, 256  # a tile of weights and the four rows of `spread` that act on it stay in the cache


@kernel
def sweep_rows(
    weights: Floats, kept: Integers, spread: Floats, first: int, shared: Floats, codes_of: Integers, codes: Integers
) -> None:
    """Set each weight to zero or to the nearest shared weight, and spread its error over those after it in its row.

    Errors act at once on the columns of a panel, and on those after it when the panel is done, in the same order.

    Parameters
    ----------
    weights : float64 [rows, columns]
        Changed.
    kept : bool [rows, columns]
        False where a weight becomes zero.
    spread : float64 [block, block]
        Upper triangular (`error_spread`), for the columns from `first` on.
    first : int
        First column of the block; columns outside of the block are left alone.
    shared : float64
        Shared weights, ascending; if empty, kept weights are only moved.
    codes_of : uint8
        Code of each shared weight.
    codes : uint8 [rows, columns]
        Filled with the codes of kept weights; left alone without shared weights.
    """
    size = spread.shape[0]
    errors = np.zeros((ROWS, PANEL))
    for begin in range(0, weights.shape[0], ROWS):
        end = min(begin + ROWS, weights.shape[0])
        for panel in range(0, size, PANEL):
            after_panel = min(panel + PANEL, size)
            for row in range(begin, end):
                for j in range(panel, after_panel):
                    before = weights[row, first + j]
                    after = before if kept[row, first + j] else 0.0
                    if kept[row, first + j] and shared.shape[0]:
                        low, high = 0, shared.shape[0] - 1
                        while low < high:
                            middle = (low + high) // 2
                            if before > 0.5 * (shared[middle] + shared[middle + 1]):
                                low = middle + 1
                            else:
                                high = middle
                        after = shared[low]
                        codes[row, first + j] = codes_of[low]
                    weights[row, first + j] = after
                    error = 0.0
                    if after != before:
                        error = (before - after) / spread[j, j]
                        for later in range(j + 1, after_panel):
                            weights[row, first + later] -= error * spread[j, later]
                    errors[row - begin, j - panel] = error
            for tile in range(after_panel, size, TILE):
                stop = min(tile + TILE, size)
                for j in range(0, after_panel - panel, 4):
                    # columns of a shorter last panel have no columns after them, so that four always exist here
                    share_0, share_1 = spread[panel + j, tile:stop], spread[panel + j + 1, tile:stop]
                    share_2, share_3 = spread[panel + j + 2, tile:stop], spread[panel + j + 3, tile:stop]
                    for row in range(begin, end):
                        error_0, error_1 = errors[row - begin, j], errors[row - begin, j + 1]
                        error_2, error_3 = errors[row - begin, j + 2], errors[row - begin, j + 3]
                        if error_0 == 0.0 and error_1 == 0.0 and error_2 == 0.0 and error_3 == 0.0:
                            continue
                        ahead = weights[row, first + tile : first + stop]
                        for later in range(ahead.shape[0]):
                            moved = ahead[later] - error_0 * share_0[later]
                            moved = moved - error_1 * share_1[later]
                            moved = moved - error_2 * share_2[later]
                            ahead[later] = moved - error_3 * share_3[later]
