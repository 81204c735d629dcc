"""Tables and figure of the ends of a space."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from reports.space_ends import draw_shares, earlier_markdown, moves_markdown, shares_markdown


def share(version: str, seed: int, at_smallest: float, at_largest: float) -> dict[str, Any]:
    """Return a row of the shares of one parameter."""
    key: dict[str, Any] = {
        "network": "lenet_5",
        "seed": seed,
        "version": version,
        "parameter": "clock_mhz",
        "members": 40 + seed,
    }
    return key | {"smallest": "200.0", "largest": "1600.0", "at_smallest": at_smallest, "at_largest": at_largest}


SHARES = [
    share("today", 0, 0.1, 0.2),
    share("today", 1, 0.2, 0.4),
    share("earlier", 0, 0.0, 0.9),
    share("earlier", 1, 0.0, 1.0),
]


def test_shares_are_means_with_the_range_of_the_seeds_and_bold_above_60_percent() -> None:
    text = shares_markdown(SHARES)
    assert "| LeNet-5 | clock_mhz: 200.0 to 1600.0 |" in text
    assert "| 0% (0% to 0%)" in text
    assert "| 15% (10% to 20%)" in text
    assert "| **95% (90% to 100%)**" in text
    assert "| 30% (20% to 40%)" in text
    assert "LeNet-5, earlier: 40, 41; LeNet-5, today: 40, 41." in text
    assert "earlier" not in shares_markdown(SHARES[:2])


def test_stops_are_shares_of_all_moves_with_their_median() -> None:
    key: dict[str, Any] = {"network": "net", "parameter": "num_pes"}
    stops = [("up", "area_mm2", 6, 0.3), ("up", "clock: logic", 2, 0.1), ("down", "end of the space", 8, math.nan)]
    rows = [
        key | {"seed": seed, "direction": way, "stops": what, "members": members, "worsening": worsening + 0.2 * seed}
        for seed in (0, 1)
        for way, what, members, worsening in stops
    ]
    text = moves_markdown(rows)
    assert "| net     | num_pes   | end of the space 100%" in text
    assert "| area_mm2 75% (+40%), clock: logic 25% (+20%) |" in text


def test_earlier_members_are_counted_by_what_stops_them() -> None:
    row = {"network": "resnet_8", "seed": 0, "trial": 1, "latency_us_ratio": 2.0, "area_mm2_ratio": 1.0}
    rows = [
        row | {"feasible": True, "reason": "", "optimal": True, "energy_nj_ratio": 1.5},
        row | {"feasible": True, "reason": "", "optimal": False, "energy_nj_ratio": 1.5},
        row | {"feasible": False, "reason": "clock: slow", "optimal": False, "energy_nj_ratio": 9.0},
        row | {"feasible": False, "reason": "clock: slow", "optimal": False, "energy_nj_ratio": 9.0},
    ]
    cells = [cell.strip() for cell in earlier_markdown(rows).splitlines()[2].split("|")[1:-1]]
    assert cells[:5] == ["ResNet-8", "4", "2 (50%)", "1", "clock: slow 2"]
    assert cells[5:] == ["2.00 (2.00 to 2.00)", "1.50 (1.50 to 1.50)", "1.00 (1.00 to 1.00)"]
    assert earlier_markdown(rows[2:]).splitlines()[2].count("none") == 3


def test_the_figure_shows_smallest_values_to_the_left() -> None:
    figure = draw_shares(SHARES)
    (axes,) = figure.axes
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths[:4] == pytest.approx([0, 0.95, -0.15, 0.3])
    assert axes.get_title() == "LeNet-5"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["earlier", "today"]
