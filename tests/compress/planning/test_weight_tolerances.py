"""Tolerances of weights as a small result: against counting by hand, and as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.planning.plan import Tolerance
from compress.planning.weight_tolerances import QUANTILES, WeightTolerances
from traces import InputError
from traces.arrays import Floats64

TOLERANCE = Tolerance(divergence=0.01)


def drawn() -> tuple[dict[str, Floats64], dict[str, Floats64]]:
    """Return weights and tolerances of two layers; the second has zeros, and its tolerances are of another size."""
    draw = np.random.default_rng(0)
    weights = {"one": draw.normal(size=(20, 30)), "two": draw.normal(size=(5, 8)) * (draw.random((5, 8)) < 0.7)}
    ranges = {"one": draw.lognormal(-1, 1, (20, 30)), "two": np.minimum(draw.lognormal(-4, 1, (5, 8)), 1)}
    return weights, ranges


def test_shares_quantiles_and_bins_are_those_of_counting() -> None:
    weights, ranges = drawn()
    result = WeightTolerances.of(TOLERANCE, weights, ranges)
    largest = max(each.max() for each in ranges.values())
    for layer in result.layers:
        pairs = list(zip(np.abs(weights[layer.layer]).ravel(), ranges[layer.layer].ravel(), strict=True))
        assert layer.rows * layer.columns == len(pairs) == sum(count for *_, count in layer.counts)
        assert layer.reach_zero == pytest.approx(sum(reach >= weight for weight, reach in pairs) / len(pairs))
        assert layer.widest == pytest.approx(sum(reach == largest for _, reach in pairs) / len(pairs))
        ratios = [reach / weight for weight, reach in pairs if weight > 0]
        assert layer.ratios == pytest.approx(np.quantile(ratios, QUANTILES), rel=1e-5)
        across, up = np.array(result.magnitude_edges), np.array(result.tolerance_edges)
        for x, y, count in layer.counts:
            inside = 0
            for weight, reach in pairs:  # values outside are in the first and the last bin
                column = min(max(int((across <= weight).sum()) - 1, 0), len(across) - 2)
                row = min(max(int((up <= reach).sum()) - 1, 0), len(up) - 2)
                inside += (column, row) == (x, y)
            assert abs(inside - count) <= 1  # borders are rounded


def test_a_layer_of_zeros_and_one_tolerance_for_all_are_summarised() -> None:
    result = WeightTolerances.of(TOLERANCE, {"zero": np.zeros((2, 3))}, {"zero": np.full((2, 3), 0.5)})
    (layer,) = result.layers
    assert layer.reach_zero == layer.widest == 1
    assert set(layer.ratios) == {0.0}
    assert sum(count for *_, count in layer.counts) == 6


def test_the_result_is_the_same_after_a_file_which_says_its_units(tmp_path: Path) -> None:
    result = WeightTolerances.of(TOLERANCE, *drawn())
    path = tmp_path / "small.tolerances.json"
    result.save(path)
    assert WeightTolerances.load(path) == result
    assert "quantiles of tolerance over magnitude" in path.read_text()
    path.write_text("{}")
    with pytest.raises(InputError, match=r"small\.tolerances\.json: tolerances of weights must be JSON as Weight"):
        WeightTolerances.load(path)
    with pytest.raises(InputError, match="there is no such file"):
        WeightTolerances.load(tmp_path / "none.json")
