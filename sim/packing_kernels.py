"""Loops of packing: one over the dense codes counts the entries, another one places them."""

from __future__ import annotations

import numpy as np

from traces.arrays import Integers
from traces.kernel_cache import kernel

PES_BESIDE = 16  # PEs whose counts are written side by side: several of them share a cache line


@kernel
def count_entries_of_pe(
    codes: Integers, index_bits: int, skipped: Integers, entries: Integers, padding: Integers
) -> None:
    """Count entries and padding of one PE with the rows `codes` [rows, columns]; all other arrays are [columns].

    The inner loop runs over the columns and has no branch, so that one vector instruction serves several columns.
    """
    narrow = entries.dtype.type
    zero, one, shift = narrow(0), narrow(1), narrow(index_bits)
    skipped[:] = 0
    entries[:] = 0
    padding[:] = 0
    for row in range(codes.shape[0]):
        row_codes = codes[row]
        for column in range(entries.shape[0]):
            kept = row_codes[column] != 0
            bridged = narrow(skipped[column] >> shift) if kept else zero
            padding[column] = narrow(padding[column] + bridged)
            entries[column] = narrow(entries[column] + (narrow(bridged + one) if kept else zero))
            skipped[column] = zero if kept else narrow(skipped[column] + one)


@kernel
def count_entries(
    codes: Integers, bias: Integers, index_bits: int, entry_counts: Integers, padding_counts: Integers
) -> None:
    """Count entries and padding of each column in each PE.

    Parameters
    ----------
    codes : numpy.ndarray
        [rows, columns].
    bias : numpy.ndarray
        [rows], or [0] if there is none.
    index_bits : int
        Bits of a gap.
    entry_counts, padding_counts : numpy.ndarray
        Results [columns and bias, num_pes], of a type that holds the number of a PE's rows.
    """
    columns, num_pes = codes.shape[1], entry_counts.shape[1]
    skipped = np.empty(columns, dtype=entry_counts.dtype)  # rows of the PE since each column's last entry
    entries = np.empty((PES_BESIDE, columns), dtype=entry_counts.dtype)
    padding = np.empty((PES_BESIDE, columns), dtype=entry_counts.dtype)
    for first in range(0, num_pes, PES_BESIDE):
        pes = min(PES_BESIDE, num_pes - first)
        for pe in range(pes):
            count_entries_of_pe(codes[first + pe :: num_pes], index_bits, skipped, entries[pe], padding[pe])
        for column in range(columns):
            for pe in range(pes):
                entry_counts[column, first + pe] = entries[pe, column]
                padding_counts[column, first + pe] = padding[pe, column]
    if bias.size > 0:
        for pe in range(num_pes):
            pe_bias = bias[pe::num_pes].copy().reshape(-1, 1)
            one_entry, one_padding = entry_counts[columns, pe : pe + 1], padding_counts[columns, pe : pe + 1]
            count_entries_of_pe(pe_bias, index_bits, skipped[:1], one_entry, one_padding)


@kernel
def add_up(entry_counts: Integers, pointers: Integers) -> None:
    """Add up `entry_counts` [columns, num_pes] to `pointers` [columns + 1, num_pes], whose first row is zeros."""
    for column in range(entry_counts.shape[0]):
        for pe in range(entry_counts.shape[1]):
            pointers[column + 1, pe] = pointers[column, pe] + np.int32(entry_counts[column, pe])


@kernel
def fill_entries(
    codes: Integers,
    bias: Integers,
    max_gap: int,
    num_pes: int,
    column_begin: Integers,
    stored_codes: Integers,
    stored_gaps: Integers,
    stored_rows: Integers,
) -> None:
    """Place every entry column by column from `column_begin` on, within a column PE by PE."""
    rows, columns = codes.shape
    previous = np.empty(columns + 1, dtype=np.int64)
    place = np.empty(columns + 1, dtype=np.int64)
    place[: column_begin.shape[0] - 1] = column_begin[:-1]
    for pe in range(num_pes):
        previous[:] = 0
        for local_row, row in enumerate(range(pe, rows, num_pes)):
            for column in range(columns + 1):
                if column < columns:
                    code = codes[row, column]
                elif bias.size > 0:
                    code = bias[row]
                else:
                    continue
                if code != 0:
                    gap = local_row - previous[column]
                    at = place[column]
                    while gap >= max_gap:
                        stored_codes[at] = 0
                        stored_gaps[at] = max_gap - 1
                        stored_rows[at] = row - (gap - max_gap + 1) * num_pes  # last row that the padding skips
                        at += 1
                        gap -= max_gap
                    stored_codes[at] = code
                    stored_gaps[at] = gap
                    stored_rows[at] = row
                    place[column] = at + 1
                    previous[column] = local_row + 1
