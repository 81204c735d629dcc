"""Loop of the relative index."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def num_entries(codes: Integers, index_bits: int) -> int:
    """Return the number of entries of a flat vector of codes, padding entries included."""
    entries = 0
    gap = 0
    for i in range(codes.shape[0]):
        if codes[i]:
            entries += 1 + (gap >> index_bits)
            gap = 0
        else:
            gap += 1
    return entries


@kernel
def fill_entries(codes: Integers, index_bits: int, entry_codes: Integers, gaps: Integers) -> None:
    """Fill in code and gap of each entry of a flat vector of codes; both must be as long as `num_entries` says."""
    max_gap = (1 << index_bits) - 1
    place = 0
    gap = 0
    for i in range(codes.shape[0]):
        if codes[i] == 0:
            gap += 1
            continue
        while gap > max_gap:
            entry_codes[place], gaps[place] = 0, max_gap
            place += 1
            gap -= max_gap + 1
        entry_codes[place], gaps[place] = codes[i], gap
        place += 1
        gap = 0


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
