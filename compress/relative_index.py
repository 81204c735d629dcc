"""Relative index: a sparse vector as entries (code, gap); padding entries bridge gaps that are too long.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 2 and Fig 2.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from traces.arrays import Integers, Integers64

ScanOrder = Literal["rows", "columns", "interleaved"]
SCAN_ORDERS: tuple[ScanOrder, ...] = get_args(ScanOrder)


def scanned(codes: Integers, order: ScanOrder, num_pes: int = 1) -> Integers:
    """Return a matrix of codes as one vector.

    The order is "rows", "columns" or "interleaved": PE after PE, each with the rows k, k + num_pes, and so on, column
    after column, as the SRAMs of an EIE-like array hold it.
    """
    if order == "rows":
        return codes.ravel()
    if order == "columns":
        return np.ascontiguousarray(codes.T).ravel()
    return np.concatenate([np.ascontiguousarray(codes[pe::num_pes].T).ravel() for pe in range(num_pes)])


def unscanned(vector: Integers, rows: int, columns: int, order: ScanOrder, num_pes: int = 1) -> Integers:
    """Return the matrix [rows, columns] of a vector that `scanned` made."""
    if order == "rows":
        return vector.reshape(rows, columns)
    if order == "columns":
        return np.ascontiguousarray(vector.reshape(columns, rows).T)
    codes = np.empty((rows, columns), dtype=vector.dtype)
    begin = 0
    for pe in range(num_pes):
        own = len(range(pe, rows, num_pes))
        codes[pe::num_pes] = vector[begin : begin + own * columns].reshape(columns, own).T
        begin += own * columns
    return codes


def skipped_zeros(codes: Integers) -> tuple[Integers64, Integers64]:
    """Return the positions of a vector's non-zeros, and the number of zeros before each of them."""
    positions = np.flatnonzero(codes)
    return positions, np.diff(positions, prepend=-1) - 1


def encode_relative(codes: Integers, index_bits: int) -> tuple[Integers, Integers]:
    """Return the entries of a flat vector of codes: for each non-zero its code and its gap, the zeros before it.

    A gap is 0 to 2**index_bits - 1. A padding entry (code 0, gap 2**index_bits - 1) skips 2**index_bits positions.
    Zeros after the last non-zero are not stored.
    """
    max_gap = 2**index_bits
    positions, skipped = skipped_zeros(codes)
    fillers = skipped // max_gap
    places = np.cumsum(fillers + 1) - 1
    num_entries = int(places[-1]) + 1 if places.size else 0
    entry_codes = np.zeros(num_entries, dtype=codes.dtype)
    gaps = np.full(num_entries, max_gap - 1, dtype=np.uint8)
    entry_codes[places] = codes[positions]
    gaps[places] = skipped % max_gap
    return entry_codes, gaps


def decode_relative(entry_codes: Integers, gaps: Integers, length: int) -> Integers:
    """Return the flat vector of `length` codes. Raises ValueError if an entry lies past its end."""
    from compress.relative_index_kernels import place_entries

    codes = np.zeros(length, dtype=entry_codes.dtype)
    outside = place_entries(entry_codes, gaps, codes)
    if outside >= 0:
        raise ValueError(f"an entry lies at position {outside:,} of {length:,}")
    return codes


def gap_counts(skipped: Integers64, index_bits: int) -> tuple[Integers64, int]:
    """Count each gap among the entries that `encode_relative` makes, and the padding entries among them.

    Parameters
    ----------
    skipped : int64 [non-zeros]
        Zeros before each non-zero.
    index_bits : int
        Bits of a gap.
    """
    max_gap = 2**index_bits
    fillers = int((skipped // max_gap).sum())
    counts = np.bincount(skipped % max_gap, minlength=max_gap)
    counts[max_gap - 1] += fillers
    return counts, fillers
