"""CSV files: what a spreadsheet reads back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from traces.files.csv_file import write_csv


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\tx",
        "\r=1",
        "\n=1",
        '=HYPERLINK("http://x","y")',
        "-inf-1",
        "- 1",
    ],
)
def test_text_that_begins_like_a_formula_begins_with_an_apostrophe(name: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["layer", name], [[name, 1], ["fc", name]])
    cell = "'" + name.replace("\r", "\\r")
    assert read(tmp_path / "table.csv") == [["layer", cell], [cell, "1"], ["fc", cell]]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1, "-1"),
        (-0.5, "-0.5"),
        (np.float64(-1e-9), "-1e-09"),
        (np.int64(-3), "-3"),
        (float("-inf"), "-inf"),
        ("-0.25", "-0.25"),
        ("+1e5", "+1e5"),
        (None, ""),
        (True, "True"),
        ("conv-1", "conv-1"),
        ("a=b", "a=b"),
        ("'quoted", "'quoted"),
        ("a\rb", "a\\rb"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_numbers_and_other_text_stay_as_they_are(value: object, cell: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["value"], [[value], [1]])
    assert read(tmp_path / "table.csv") == [["value"], [cell], ["1"]]
