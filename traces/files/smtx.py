"""Reader of masks of pruned layers in the `.smtx` form of the Deep Learning Matrix Collection, plain or gzip.

Source: Gale, Zaharia, Young, Elsen, "Sparse GPU Kernels for Deep Learning", SC 2020. Line 1 holds rows, columns and
non-zeros; line 2 the offset of each row, one more than the rows; line 3 the column of each non-zero.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from traces.arrays import Integers64
from traces.errors import InputError
from traces.files.plain_or_gzip import read_plain_or_gzip
from traces.layer import check_size
from traces.reading_limit import check_array_bytes, check_decoded_bytes

if TYPE_CHECKING:
    import scipy.sparse

_SIZES = re.compile(rb"\s*([0-9]{1,18})\s*,\s*([0-9]{1,18})\s*,\s*([0-9]{1,18})\s*")
_NUMBERS = re.compile(rb"(?:[ \t\r]*+[0-9]{1,18}(?![0-9]))*+[ \t\r]*+")
_BYTES_PER_NUMBER = 48  # offsets, places, and checking them


def read_smtx(path: str | os.PathLike[str]) -> scipy.sparse.coo_array:
    """Read a mask from an `.smtx` file.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or gzip.

    Returns
    -------
    scipy.sparse.coo_array
        The mask, float32 [rows, columns]: 1 where the file has a non-zero. The form has no values.

    Raises
    ------
    InputError
        If the file is missing, cut off or damaged, its offsets or columns do not fit its sizes, the columns of a row
        do not rise, or the mask would take more than the size of the file allows (`traces.reading_limit`).
    """
    import scipy.sparse

    content, file_bytes = read_plain_or_gzip(path)
    lines = content.split(b"\n", 3)
    sizes = _SIZES.fullmatch(lines[0])
    if sizes is None:
        raise InputError(
            f"{path}: line 1 must hold rows, columns and non-zeros, three whole numbers with commas between; found "
            f"{lines[0][:60]!r}"
        )
    rows, columns, non_zeros = (int(each) for each in sizes.groups())
    if min(rows, columns) < 1 or non_zeros > rows * columns:
        raise InputError(
            f"{path}: line 1 must hold rows and columns above 0, and at most as many non-zeros as places; found "
            f"{rows:,} x {columns:,} with {non_zeros:,}"
        )
    check_size(Path(path).name, rows, columns)
    check_array_bytes(path, (rows, columns), 1, file_bytes)
    check_decoded_bytes(path, len(content) + (rows + non_zeros) * _BYTES_PER_NUMBER, file_bytes)
    if len(lines) < 4:
        raise InputError(f"{path}: must have three lines that end; found {len(lines) - 1}; the file is cut off")
    if lines[3].strip():
        raise InputError(f"{path}: line 4: must be the end of the file; found {lines[3].strip()[:60]!r}")
    offsets = _numbers(path, 2, lines[1], rows + 1, "offsets, one more than the rows")
    steps = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != non_zeros or steps.min() < 0:
        raise InputError(
            f"{path}: line 2: offsets must rise from 0 to the {non_zeros:,} non-zeros; found {offsets[0]:,} to "
            f"{offsets[-1]:,}" + (f" and a fall behind row {int(np.argmin(steps)):,}" if steps.min() < 0 else "")
        )
    places = _numbers(path, 3, lines[2], non_zeros, "columns, one for each non-zero")
    row_of = np.repeat(np.arange(rows), steps)
    far = np.flatnonzero(places >= columns)
    if far.size:
        raise InputError(
            f"{path}: line 3: columns must be below {columns:,}; found {places[far[0]]:,} in row {row_of[far[0]]:,}"
        )
    fallen = np.flatnonzero((np.diff(places) <= 0) & (np.diff(row_of) == 0))
    if fallen.size:
        at = fallen[0]
        raise InputError(
            f"{path}: line 3: the columns of a row must rise, each once; found {places[at + 1]:,} behind "
            f"{places[at]:,} in row {row_of[at]:,}"
        )
    return scipy.sparse.coo_array((np.ones(non_zeros, dtype=np.float32), (row_of, places)), shape=(rows, columns))


def _numbers(path: str | os.PathLike[str], line: int, text: bytes, count: int, meaning: str) -> Integers64:
    """Return the whole numbers of a line, int64 [count]."""
    end = _NUMBERS.match(text).end()  # type: ignore[union-attr]  # the pattern matches no text, too
    if end != len(text):
        raise InputError(f"{path}: line {line} must hold whole numbers; found {text[end:].lstrip()[:20]!r}")
    solid = np.frombuffer(b" " + text, dtype=np.uint8) > ord(" ")
    found = int(np.count_nonzero(solid[1:] & ~solid[:-1]))
    if found != count:
        raise InputError(f"{path}: line {line} must hold {count:,} {meaning}; found {found:,}")
    return np.fromstring(text, dtype=np.int64, sep=" ") if count else np.zeros(0, dtype=np.int64)
