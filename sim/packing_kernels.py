"""The loops of packing: once over the dense codes to count the entries, once to place them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]


PES_BESIDE = 16  # whose counts are written side by side, one cache line for several of them


@kernel
def count_entries_of_pe(
    codes: Integers, index_bits: int, skipped: Integers, entries: Integers, padding: Integers
) -> None:
    """Count entries and padding of one PE, whose rows are `codes` [rows, columns]; all others [columns].

    All columns beside each other and without a branch: one vector instruction serves as many as it has lanes.
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
    """Count entries and padding per column and PE; `codes` [rows, columns], `bias` [rows] or [0].

    entry_counts, padding_counts   [columns and bias, num_pes], of a type that holds the number of a PE's rows
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
            of_pe = bias[pe::num_pes].copy().reshape(-1, 1)
            one_entry, one_padding = entry_counts[columns, pe : pe + 1], padding_counts[columns, pe : pe + 1]
            count_entries_of_pe(of_pe, index_bits, skipped[:1], one_entry, one_padding)


@kernel
def add_up(entry_counts: Integers, pointers: Integers) -> None:
    """Pointers [columns + 1, num_pes], the first row zeros, from `entry_counts` [columns, num_pes]."""
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
    """Place every entry: column by column from `column_begin` on, within a column PE by PE."""
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
                        stored_rows[at] = row - (gap - max_gap + 1) * num_pes  # the last row that it skips
                        at += 1
                        gap -= max_gap
                    stored_codes[at] = code
                    stored_gaps[at] = gap
                    stored_rows[at] = row
                    place[column] = at + 1
                    previous[column] = local_row + 1
