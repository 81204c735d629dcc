"""Relative index: a sparse vector as entries (code, gap), a gap too long bridged by fillers.

Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 2 and Fig 2.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

ScanOrder = Literal["rows", "columns", "interleaved"]
SCAN_ORDERS: tuple[ScanOrder, ...] = get_args(ScanOrder)
Codes = npt.NDArray[Any]


def scanned(codes: Codes, order: ScanOrder, num_pes: int = 1) -> Codes:
    """A matrix of codes as one vector.

    "rows" row after row; "columns" column after column; "interleaved" as the SRAMs of an EIE-like array hold it: PE
    after PE, each with the rows k, k + num_pes, ..., column after column.
    """
    if order == "rows":
        return codes.ravel()
    if order == "columns":
        return np.ascontiguousarray(codes.T).ravel()
    return np.concatenate([np.ascontiguousarray(codes[pe::num_pes].T).ravel() for pe in range(num_pes)])


def unscanned(vector: Codes, rows: int, columns: int, order: ScanOrder, num_pes: int = 1) -> Codes:
    """The matrix [rows, columns] of a vector as `scanned` makes it."""
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


def skipped_zeros(codes: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where a vector's non-zeros are, and how many zeros come before each of them."""
    positions = np.flatnonzero(codes)
    return positions, np.diff(positions, prepend=-1) - 1


def encode_relative(codes: Codes, index_bits: int) -> tuple[Codes, npt.NDArray[np.uint8]]:
    """Entries of a flat vector of codes: for each non-zero its code and the zeros skipped before it.

    A gap is 0 to 2**index_bits - 1. A filler (code 0, gap 2**index_bits - 1) skips 2**index_bits positions.
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


def decode_relative(entry_codes: Codes, gaps: npt.NDArray[np.uint8], length: int) -> Codes:
    """The flat vector of `length` codes. Raises ValueError if an entry lies past its end."""
    from compress.relative_index_kernels import place_entries

    codes = np.zeros(length, dtype=entry_codes.dtype)
    outside = place_entries(entry_codes, gaps, codes)
    if outside >= 0:
        raise ValueError(f"an entry lies at position {outside:,} of {length:,}")
    return codes


def gap_counts(skipped: npt.NDArray[np.int64], index_bits: int) -> tuple[npt.NDArray[np.int64], int]:
    """How often each gap occurs among the entries that `encode_relative` would make, and how many of these are fillers.

    skipped   zeros before each non-zero
    """
    max_gap = 2**index_bits
    fillers = int((skipped // max_gap).sum())
    counts = np.bincount(skipped % max_gap, minlength=max_gap)
    counts[max_gap - 1] += fillers
    return counts, fillers
