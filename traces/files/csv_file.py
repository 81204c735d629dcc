"""CSV files whose cells a spreadsheet shows and does not compute."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

from traces.files.atomic_file import write_atomically

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # beginnings of a cell that a spreadsheet computes


def write_csv(path: str | os.PathLike[str], headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a table as CSV.

    Parameters
    ----------
    path : path
        The file.
    headings : sequence of str
        Heading of each column.
    rows : iterable of sequences
        Cells of each row: numbers as they are, None as an empty cell, anything else as text.

    Raises
    ------
    InputError
        If the file cannot be written.

    Notes
    -----
    Text that a spreadsheet would take for a formula begins with an apostrophe in the file, as OWASP advises against
    "CSV injection"; names of layers and networks come from files. Text that is a number stays as it is. A carriage
    return is written as \r.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[_cell(value) for value in row] for row in (headings, *rows)])
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def _cell(value: Any) -> Any:
    """Return a cell that is no formula."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    formula = text.startswith(_FORMULA) and not _is_number(text)
    text = text.replace("\r", "\\r")  # the csv module does not quote it, and readers take it for the end of a row
    return f"'{text}" if formula else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text
