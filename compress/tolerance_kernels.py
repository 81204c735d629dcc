"""The loop that stabs intervals."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from traces.kernel_cache import kernel

Floats = npt.NDArray[Any]
Integers = npt.NDArray[Any]


@kernel
def stab_intervals(lowest: Floats, highest: Floats, order: Integers, chosen: Integers) -> int:
    """Fill `chosen` with the number of the point that stabs each interval; returns how many points there are.

    order   of the intervals by their right ends, ascending
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
