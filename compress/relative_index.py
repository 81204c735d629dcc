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
    rows, columns = codes.shape
    num_pes = min(num_pes, rows)  # further ones have no rows
    full, rest = divmod(rows, num_pes)  # the first `rest` PEs have a row more
    parts = []
    if rest:
        own = np.arange(rest)[:, np.newaxis] + num_pes * np.arange(full + 1)
        parts.append(codes[own].transpose(0, 2, 1).ravel())
    of_others = codes[: full * num_pes].reshape(full, num_pes, columns)[:, rest:]
    parts.append(of_others.transpose(1, 2, 0).ravel())
    return np.concatenate(parts)


def unscanned(vector: Integers, rows: int, columns: int, order: ScanOrder, num_pes: int = 1) -> Integers:
    """Return the matrix [rows, columns] of a vector that `scanned` made."""
    if order == "rows":
        return vector.reshape(rows, columns)
    if order == "columns":
        return np.ascontiguousarray(vector.reshape(columns, rows).T)
    codes = np.empty((rows, columns), dtype=vector.dtype)
    begin = 0
    for pe in range(min(num_pes, rows)):
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
    from compress.relative_index_kernels import fill_entries, num_entries

    entries = num_entries(codes, index_bits)
    entry_codes, gaps = np.empty(entries, dtype=codes.dtype), np.empty(entries, dtype=np.uint8)
    fill_entries(codes, index_bits, entry_codes, gaps)
    return entry_codes, gaps


def decode_relative(entry_codes: Integers, gaps: Integers, length: int) -> Integers:
    """Return the flat vector of `length` codes. Raises ValueError if an entry lies past its end."""
    from compress.relative_index_kernels import place_entries

    codes = np.zeros(length, dtype=entry_codes.dtype)
    outside = place_entries(entry_codes, gaps, codes)
    if outside >= 0:
        raise ValueError(f"an entry lies at position {outside:,} of {length:,}")
    return codes
