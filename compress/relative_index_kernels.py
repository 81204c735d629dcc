"""The loop of the relative index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]


@kernel
def place_entries(entry_codes: Integers, gaps: Integers, codes: Integers) -> int:
    """Write each code so many zeros after the one before it; returns the place of one past the end, or -1."""
    place = np.int64(-1)
    for i in range(entry_codes.shape[0]):
        place += np.int64(gaps[i]) + 1
        if place >= codes.shape[0]:
            return int(place)
        codes[place] = entry_codes[i]
    return -1
