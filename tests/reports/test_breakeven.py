"""Table and figure of an array of PEs beside a dense array."""

from __future__ import annotations

import numpy as np

from designs import breakeven_rows, open_workload
from reports.breakeven import breakeven_markdown, draw_breakeven
from sim import ArrayConfig


def test_table_and_figure() -> None:
    rows = breakeven_rows(open_workload(["NT-We", "NT-LSTM"]), ArrayConfig(), (1, 16), (8,))
    table = breakeven_markdown(rows)
    assert table.count("\n| NT-") == 4
    assert "never" in table
    figure = draw_breakeven(rows)
    first, second = figure.axes
    assert first.get_title() == "PEs: faster than a dense array of 8 bits"
    lines = {line.get_label(): line for line in second.get_lines()}
    at_1, at_16 = np.asarray(lines["NT-We"].get_ydata(), dtype=float)
    assert at_1 > at_16  # a larger batch needs sparser weights
