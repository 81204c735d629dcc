"""A table of the papers, ours beside theirs: Markdown to read, CSV to compute with."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.markdown import markdown
from traces.files.atomic_file import write_atomically

PERCENT, DIFFERENCE, TIMES = "{:.1%}", "{:+.1%}", "{:,.1f}x"


@dataclass(frozen=True, eq=False)
class PaperTable:
    """One table.

    stem      of its file's name
    title     what of which paper
    columns   headings, each with the format of its numbers; text and missing values (None) need none
    rows      values
    notes     sentences to go with it
    """

    stem: str
    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """Title, table and notes."""
        cells = [[_shown(value, form) for value, (_, form) in zip(row, self.columns, strict=True)] for row in self.rows]
        table = markdown([heading for heading, _ in self.columns], cells)
        return "\n".join([f"## {self.title}\n", table, *(f"{note}\n" for note in self.notes)])

    def write_csv(self, folder: Path) -> Path:
        """Write STEM.csv with the numbers as they are; a missing value is an empty field."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([heading for heading, _ in self.columns])
        writer.writerows(self.rows)
        path = folder / f"{self.stem}.csv"
        write_atomically(path, text.getvalue().encode())
        return path


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return form.format(value) if isinstance(value, int | float) else str(value)
