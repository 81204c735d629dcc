"""Relative index: a sparse vector as entries (code, gap), a gap too long bridged by fillers.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 2 and Fig 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def encode_relative(codes: npt.NDArray[Any], index_bits: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Entries of a flat vector of codes: for each non-zero its code and the zeros skipped before it.

    A gap is 0 to 2**index_bits - 1. A filler (code 0, gap 2**index_bits - 1) skips 2**index_bits positions.
    Zeros after the last non-zero are not stored.
    """
    max_gap = 2**index_bits
    positions = np.flatnonzero(codes)
    skipped = np.diff(positions, prepend=-1) - 1
    fillers = skipped // max_gap
    places = np.cumsum(fillers + 1) - 1
    num_entries = int(places[-1]) + 1 if places.size else 0
    entry_codes = np.zeros(num_entries, dtype=codes.dtype)
    gaps = np.full(num_entries, max_gap - 1, dtype=np.uint8)
    entry_codes[places] = codes[positions]
    gaps[places] = skipped % max_gap
    return entry_codes, gaps


def decode_relative(entry_codes: npt.NDArray[Any], gaps: npt.NDArray[np.uint8], length: int) -> npt.NDArray[Any]:
    """The flat vector of `length` codes. Raises ValueError if an entry lies past its end."""
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if positions.size and positions[-1] >= length:
        raise ValueError(f"an entry lies at position {positions[-1]:,} of {length:,}")
    codes = np.zeros(length, dtype=entry_codes.dtype)
    codes[positions] = entry_codes
    return codes
