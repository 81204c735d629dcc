"""Tables and figure of searches beside the true front."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from reports.search_quality import draw_regret, searches_markdown, spaces_markdown


def row(search: str, seed: int, trials: int, hypervolume: float) -> dict[str, Any]:
    """Return a row of one search."""
    return {
        **{"network": "lenet_5", "seed": seed, "search": search, "trials": trials, "designs": trials, "members": 9},
        **{"processor_s": 2.0 + seed, "hypervolume": hypervolume, "found": 0.5, "matched": 0.75 + 0.1 * seed},
        "worst": 1.1 + 0.2 * seed,
    }


ROWS = [
    row("tpe", 0, 100, 0.9),
    row("tpe", 1, 100, 0.8),
    row("compressions", 0, 12, 0.95),
    row("compressions", 0, 96, 1.0),
]


def test_means_of_the_seeds_stand_beside_the_worst_seed() -> None:
    lines = searches_markdown(ROWS).splitlines()
    assert len(lines) == 2 + 3
    assert "| single designs, TPE" in lines[-1]
    for cell in ("2.5 (3.0)", "0.8500 (0.8000)", "50.0% (50.0%)", "0.8000 (0.7500)", "1.20 (1.30)"):
        assert f"| {cell} " in lines[-1]
    assert [line.split("|")[3].strip() for line in lines[2:]] == ["12", "96", "100"]


def test_spaces_are_listed_with_their_sizes() -> None:
    sizes = {"compressions": 9001, "arrays": 1152, "designs": 10369152, "members": 20563}
    text = spaces_markdown(
        [{"network": "resnet_20", "most_loss": 0.1, **sizes, "member_compressions": 808, "processor_s": 44.8}]
    )
    for cell in ("ResNet-20, five layers", "10%", "9,001", "1,152", "10,369,152", "20,563", "808", "45"):
        assert f"| {cell} " in text


def test_the_figure_has_a_line_for_each_search_on_logarithmic_axes() -> None:
    figure = draw_regret(ROWS)
    upper, lower = figure.axes
    assert isinstance(upper, Axes)
    for axes in (upper, lower):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in upper.get_lines()}
    assert lines["compressions, all arrays"] == pytest.approx(np.array([[12, 0.05], [96, 1e-5]]))
    assert lines["single designs, TPE"] == pytest.approx(np.array([[100, 0.15]]))
