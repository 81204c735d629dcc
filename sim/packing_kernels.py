"""The loops of packing: once over the dense codes to count the entries, once to place them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.kernel_cache import kernel

Integers = npt.NDArray[Any]


@kernel
def count_entries(
    codes: Integers, bias: Integers, max_gap: int, entry_counts: Integers, padding_counts: Integers
) -> None:
    """Count entries and padding per column and PE; `codes` [rows, columns], `bias` [rows] or [0]."""
    rows, columns = codes.shape
    num_pes = entry_counts.shape[1]
    previous = np.empty(columns + 1, dtype=np.int64)  # the PE's row after each column's last entry
    for pe in range(num_pes):
        previous[:] = 0
        for local_row, row in enumerate(range(pe, rows, num_pes)):
            for column in range(columns):
                if codes[row, column] != 0:
                    padding = (local_row - previous[column]) // max_gap
                    padding_counts[column, pe] += padding
                    entry_counts[column, pe] += padding + 1
                    previous[column] = local_row + 1
            if bias.size > 0 and bias[row] != 0:
                padding = (local_row - previous[columns]) // max_gap
                padding_counts[columns, pe] += padding
                entry_counts[columns, pe] += padding + 1
                previous[columns] = local_row + 1


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
