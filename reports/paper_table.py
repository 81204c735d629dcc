"""Tables of our results beside the papers': Markdown to read, CSV to compute with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.markdown import markdown
from traces.files.csv_file import write_csv

PERCENT, DIFFERENCE, TIMES = "{:.1%}", "{:+.1%}", "{:,.1f}x"


@dataclass(frozen=True, eq=False)
class PaperTable:
    """Table of our results beside a paper's.

    Attributes
    ----------
    stem : str
        File name without suffix.
    title : str
        Title, with the paper and the number of its table or figure.
    columns : sequence of (str, str)
        Heading of each column, and the format of its numbers; text and missing values need no format.
    rows : sequence of sequences
        Values; None where one is missing.
    notes : sequence of str
        Sentences below the table.
    """

    stem: str
    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """Return title, table and notes as Markdown."""
        cells = [[_shown(value, form) for value, (_, form) in zip(row, self.columns, strict=True)] for row in self.rows]
        table = markdown([heading for heading, _ in self.columns], cells)
        return "\n".join([f"## {self.title}\n", table, *(f"{note}\n" for note in self.notes)])

    def write_csv(self, folder: Path) -> Path:
        """Write STEM.csv with exact numbers; a missing value is an empty field. Returns its path."""
        path = folder / f"{self.stem}.csv"
        write_csv(path, [heading for heading, _ in self.columns], self.rows)
        return path


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return form.format(value) if isinstance(value, int | float) else str(value)
