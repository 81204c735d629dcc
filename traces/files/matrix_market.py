"""Reader of Matrix Market files (`.mtx`), plain or gzip.

Source: Boisvert, Pozo, Remington, "The Matrix Market Exchange Formats: Initial Design", NISTIR 5935, 1996. SciPy's
reader ignores what stands behind a number and adds entries at one place; a layer must not be read so.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from traces.arrays import Floats64, Integers64
from traces.errors import InputError
from traces.files.plain_or_gzip import read_plain_or_gzip
from traces.layer import LOST_WEIGHT_REMEDY, NO_LOST_WEIGHT, check_size
from traces.reading_limit import check_array_bytes, check_decoded_bytes

if TYPE_CHECKING:
    import scipy.sparse

BANNER = b"%%MatrixMarket"
_FORMATS = ("coordinate", "array")
_FIELDS = ("real", "integer", "unsigned-integer", "pattern")  # SciPy writes the third one
_SYMMETRIES = ("general", "symmetric", "skew-symmetric")
_SIZE = re.compile(rb"[0-9]{1,18}")
_BLANK_LINES = re.compile(rb"\n[ \t\r\n]*\n")
_LINE = re.compile(rb"[^\s][^\n]*\n")
_COMMENT = re.compile(rb"^[ \t]*+%", re.MULTILINE)
_ZERO = re.compile(rb"(?<!\S)[-+]?[0.]++(?:[eE][-+]?[0-9]++)?[ \t]*+\r?\n")
_INDEX = rb"[ \t]*+[0-9]{1,18}(?![0-9])[ \t]++"
_VALUE = {
    "real": rb"[ \t]*+[-+]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?",
    "integer": rb"[ \t]*+[-+]?[0-9]++",
    "unsigned-integer": rb"[ \t]*+[0-9]++",
    "pattern": rb"",
}
_BYTES_PER_ENTRY = 64  # row, column and value, once as numbers of a line and once apart, and for sorting them


def read_matrix_market(path: str | os.PathLike[str]) -> scipy.sparse.coo_array:
    """Read a matrix from a Matrix Market file.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or gzip: coordinate or array; real, integer, unsigned-integer or pattern; general,
        symmetric or skew-symmetric.

    Returns
    -------
    scipy.sparse.coo_array
        The matrix, float64 [rows, columns], each place once. Entries of a pattern are 1: the form has no values.

    Raises
    ------
    InputError
        If the file is missing, cut off or damaged, is complex or Hermitian, holds a comment among its entries, an
        index outside of its sizes, a place twice, a value beyond float32 or one that is 0 only as float32, or would
        take more than its size allows (`traces.reading_limit`).
    """
    import scipy.sparse

    content, file_bytes = read_plain_or_gzip(path)
    head = _head(path, content)
    rows, columns = head.shape
    check_size(Path(path).name, rows, columns)
    check_array_bytes(path, head.shape, 1, file_bytes)
    check_decoded_bytes(path, len(content) + head.entries * _BYTES_PER_ENTRY, file_bytes)
    row, column, values = _entries(path, content, head)
    if head.symmetry != "general":
        mirrored = row != column
        sign = -1 if head.symmetry == "skew-symmetric" else 1
        row, column = np.concatenate([row, column[mirrored]]), np.concatenate([column, row[mirrored]])
        values = np.concatenate([values, sign * values[mirrored]])
    return scipy.sparse.coo_array((values, (row, column)), shape=head.shape)


@dataclass(frozen=True)
class _Head:
    """Statement of a file about its content; `end` is the place behind it."""

    form: str
    field: str
    symmetry: str
    shape: tuple[int, int]
    entries: int
    end: int


def _head(path: str | os.PathLike[str], content: bytes) -> _Head:
    end = content.find(b"\n") + 1
    words = [word.decode("latin1").lower() for word in content[:end].split(None, 5)]
    if len(words) != 5 or words[0] != BANNER.decode().lower() or words[1] != "matrix":
        raise InputError(
            f"{path}: line 1 must be %%MatrixMarket matrix, a form, a type and a symmetry, and nothing else; found "
            f"{content[: min(end, 80) or 80]!r}" + ("" if end else ", which does not end; the file is cut off")
        )
    form, field, symmetry = words[2:]
    if field == "complex" or symmetry == "hermitian":
        raise InputError(
            f"{path}: line 1: weights must be real numbers; found a matrix {field} {symmetry}; write its real part "
            f"with scipy.io.mmwrite"
        )
    valid = form in _FORMATS and field in _FIELDS and symmetry in _SYMMETRIES
    if not valid or (field == "pattern" and (form == "array" or symmetry == "skew-symmetric")):
        raise InputError(
            f"{path}: line 1 must state {' or '.join(_FORMATS)}, {' or '.join(_FIELDS)} (an array and a skew-symmetric "
            f"matrix have values), {' or '.join(_SYMMETRIES)}; found {form} {field} {symmetry}"
        )
    line = 1
    while True:
        begin, end, line = end, content.find(b"\n", end) + 1, line + 1
        if not end:
            raise InputError(f"{path}: line {line}: expected the sizes of the matrix; the file is cut off")
        words_of_line = content[begin:end].split(None, 4)
        if words_of_line and not words_of_line[0].startswith(b"%"):
            break
    needed = 3 if form == "coordinate" else 2
    if len(words_of_line) != needed or not all(_SIZE.fullmatch(word) for word in words_of_line):
        raise InputError(
            f"{path}: line {line} must hold {'rows, columns and entries' if needed == 3 else 'rows and columns'}, "
            f"{needed} whole numbers; found {content[begin:end].strip()[:60]!r}"
        )
    rows, columns, *stated = (int(word) for word in words_of_line)
    if min(rows, columns) < 1 or (symmetry != "general" and rows != columns):
        raise InputError(
            f"{path}: line {line}: rows and columns must be above 0, and equal if the matrix is symmetric; found "
            f"{rows:,} x {columns:,}, {symmetry}"
        )
    places = {"general": rows * columns, "symmetric": rows * (rows + 1) // 2, "skew-symmetric": rows * (rows - 1) // 2}
    entries = stated[0] if stated else places[symmetry]
    if entries > places[symmetry]:
        raise InputError(
            f"{path}: line {line}: a {symmetry} matrix of {rows:,} x {columns:,} must have at most "
            f"{places[symmetry]:,} entries, each place once; found {entries:,}"
        )
    return _Head(form, field, symmetry, (rows, columns), entries, end)


def _entries(path: str | os.PathLike[str], content: bytes, head: _Head) -> tuple[Integers64, Integers64, Floats64]:
    """Return row, column and value of each entry of the file."""
    if not content.endswith(b"\n"):
        raise InputError(
            f"{path}: the last line must end; found none; the file is cut off, or its last line needs a line feed"
        )
    body = _BLANK_LINES.sub(b"\n", b"\n" + content[head.end :])[1:]
    found = body.count(b"\n")

    def refuse(entry: int, requirement: str, remedy: str = "") -> InputError:
        lines = _LINE.finditer(content, head.end)
        place = next(each for number, each in enumerate(lines) if number == entry)
        line = content.count(b"\n", 0, place.start()) + 1
        found = f"found {place[0].strip()[:60]!r}"
        return InputError("; ".join([f"{path}: line {line}: {requirement}", found, *([remedy] if remedy else [])]))

    comment = _COMMENT.search(body)
    if comment is not None:
        at = body.count(b"\n", 0, comment.start())
        raise refuse(at, "comments must stand before the line of the sizes", "move it there")
    if found != head.entries:
        cause = "cut off or damaged" if found < head.entries else "damaged, or its line of sizes is wrong"
        raise InputError(
            f"{path}: must have {head.entries:,} lines of entries, as it states; found {found:,}; the file is {cause}"
        )

    indices = _INDEX * 2 if head.form == "coordinate" else b""
    if head.field == "pattern":
        indices = indices.removesuffix(rb"[ \t]++")
    entry = indices + _VALUE[head.field] + rb"[ \t]*+\r?\n"
    end = re.match(rb"(?:%b)*+" % entry, body).end()  # type: ignore[union-attr]  # the pattern matches no text, too
    if end != len(body):
        parts = "row, column" if head.field == "pattern" else "row, column and value"
        parts = parts if head.form == "coordinate" else "one value"
        raise refuse(body.count(b"\n", 0, end), f"must hold {parts} of type {head.field}, and nothing else")
    width = (2 if head.form == "coordinate" else 0) + (head.field != "pattern")
    numbers = np.fromstring(body, dtype=np.float64, sep=" ") if body else np.zeros(0)
    numbers = numbers.reshape(head.entries, width)
    values = np.ones(head.entries) if head.field == "pattern" else numbers[:, -1]
    large = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)
    if large.size:
        raise refuse(int(large[0]), "a value must be finite as float32", "correct it, or scale the weights")
    zeros = np.flatnonzero(values.astype(np.float32) == 0)
    if zeros.size:
        written = np.fromiter((each.start() for each in _ZERO.finditer(body)), dtype=np.int64)
        line_ends = np.flatnonzero(np.frombuffer(body, dtype=np.uint8) == ord("\n"))
        lost = np.setdiff1d(zeros, np.searchsorted(line_ends, written))
        if lost.size:
            raise refuse(int(lost[0]), f"values {NO_LOST_WEIGHT}", LOST_WEIGHT_REMEDY)
    if head.form == "array":
        return *_places(head), values
    row, column = (numbers[:, each].astype(np.int64) - 1 for each in range(2))
    rows, columns = head.shape
    outside = np.flatnonzero((row < 0) | (row >= rows) | (column < 0) | (column >= columns))
    if outside.size:
        raise refuse(int(outside[0]), f"row and column must be from 1 to {rows:,} and from 1 to {columns:,}")
    if head.symmetry != "general":
        upper = np.flatnonzero(row - column < (head.symmetry == "skew-symmetric"))
        if upper.size:
            raise refuse(int(upper[0]), f"a {head.symmetry} matrix must hold its lower triangle alone")
    places = row * columns + column
    order = np.argsort(places, kind="stable")
    twice = np.flatnonzero(places[order[1:]] == places[order[:-1]])
    if twice.size:
        raise refuse(int(order[twice[0] + 1]), "each place must be there once; this one is there twice")
    return row, column, values


def _places(head: _Head) -> tuple[Integers64, Integers64]:
    """Return row and column of each value of an array, which are listed column by column."""
    rows, columns = head.shape
    column, row = np.divmod(np.arange(rows * columns), rows)
    if head.symmetry != "general":
        lower = row - column >= (head.symmetry == "skew-symmetric")
        row, column = row[lower], column[lower]
    return row, column
