"""Figure of the tolerances of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.planning.plan import Tolerance
from compress.planning.weight_tolerances import WeightTolerances
from reports.tolerances import draw_tolerances, tolerances_markdown
from tests.commands import check_refusal, run_command
from traces.arrays import Floats64


def result_of(layers: int) -> WeightTolerances:
    draw = np.random.default_rng(0)
    weights = {f"block.{number}": draw.normal(size=(16, 20)) for number in range(layers)}
    ranges = {name: draw.lognormal(-2, 1, each.shape) for name, each in weights.items()}
    return WeightTolerances.of(Tolerance(divergence=0.01), weights, ranges)


@pytest.mark.parametrize("layers", [1, 4, 7, 20, 54])
def test_each_layer_has_a_panel_that_shows_all_its_bins(layers: int) -> None:
    result = result_of(layers)
    figure = draw_tolerances(result)
    panels = [axes for axes in figure.axes if axes.get_title() and axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [layer.layer for layer in result.layers]
    for axes, layer in zip(panels, result.layers, strict=True):
        (mesh,) = axes.collections
        shown: Floats64 = np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan)
        assert np.count_nonzero(~np.isnan(shown)) == len(layer.counts)
        assert f"{100 * layer.reach_zero:.3g} % reach zero" in [text.get_text() for text in axes.texts]
        (line,) = axes.lines
        assert np.array_equal(line.get_xdata(), line.get_ydata())
    assert len([axes for axes in figure.axes if axes.get_visible()]) == layers + 1  # the scale of colours
    figure.draw_without_rendering()


def test_the_command_writes_a_table_and_a_figure(tmp_path: Path) -> None:
    result = result_of(3)
    result.save(tmp_path / "small.tolerances.json")
    done = run_command("reports", "tolerances", "small.tolerances.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tolerances_markdown(result) in done.stdout
    for name in ("small_tolerances.svg", "small_tolerances.png", "small_tolerances.md"):
        assert (tmp_path / name).stat().st_size > 300
    check_refusal("none.json: there is no such file", "reports", "tolerances", "none.json", folder=tmp_path)
