"""Loop of the relative index."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def place_entries(entry_codes: Integers, gaps: Integers, codes: Integers) -> int:
    """Write each code after its gap of zeros; return the place of a code past the end, or -1."""
    place = np.int64(-1)
    for i in range(entry_codes.shape[0]):
        place += np.int64(gaps[i]) + 1
        if place >= codes.shape[0]:
            return int(place)
        codes[place] = entry_codes[i]
    return -1
