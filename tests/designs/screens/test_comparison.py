"""Screen about the comparison of ways to search a co-design."""

from __future__ import annotations

import pytest

from designs.codesigns.comparison import COMPARISON_COLUMNS
from designs.results import table_of
from designs.screens.comparison import print_comparison


def test_each_way_has_its_share_its_gain_and_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "network": "small",
            "method": method,
            "seed": seed,
            "compressions": compressions + (seed if method == "co-design" else 0),
            "designs": 1000 * compressions,
            "front": 7,
            "hypervolume": share,
        }
        for seed in (0, 1)
        for method, compressions, share in (("co-design", 20, 0.6), ("two steps", 1, 0.4), ("front first", 5, 0.5))
    ]
    print_comparison(table_of(COMPARISON_COLUMNS, rows))
    said = capsys.readouterr().out
    assert "small: dominated share of the costs" in said
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert cells[:2] == [[seed, "0.600", "0.400", "+50.0%", "0.500", "+20.0%"] for seed in ("0", "1")]
    assert cells[2:] == [
        ["co-design", "20 to 21", "20,000", "7"],
        ["two steps", "1", "1,000", "7"],
        ["front first", "5", "5,000", "7"],
    ]
