"""Samples of recorded vectors: bounds on their errors hold against all vectors."""

from __future__ import annotations

import numpy as np
import pytest

from designs.sweeps.recorded import FEWEST_VECTORS, VectorsByWork, sampled
from traces.arrays import Floats64, Integers64


def relative_errors(work: Floats64, costs: Floats64, largest_error: float) -> tuple[float, float, int]:
    """Return the error of a sample's mean against that of all vectors, the bound on it, and the sample's size."""

    def of_places(places: Integers64) -> Floats64:
        return costs[places]

    sample = sampled(VectorsByWork(work), of_places, largest_error)
    found = np.abs(costs[sample.places].mean(axis=0) / costs.mean(axis=0) - 1).max()
    return float(found), sample.error, len(sample.places)


@pytest.mark.parametrize("largest_error", [0.05, 0.02])
@pytest.mark.parametrize("kind", ["even", "skewed", "two kinds", "unrelated to work"])
def test_the_mean_of_a_sample_is_within_its_bound_in_95_percent_of_cases(kind: str, largest_error: float) -> None:
    stream = np.random.default_rng(0)
    kept, sizes = [], []
    for _ in range(200):
        work = {
            "even": stream.integers(400, 600, 4000),
            "skewed": np.minimum(stream.lognormal(4, 1, 4000), 4000).astype(np.int64),
            "two kinds": np.where(stream.random(4000) < 0.9, 2, 300),
            "unrelated to work": np.full(4000, 64),
        }[kind].astype(np.float64)
        noise = stream.normal(1, 0.4, (4000, 1)).clip(0.1)
        costs = np.stack([work * noise[:, 0] + 20, 3 * work + 100 * noise[:, 0]], axis=1)
        found, bound, size = relative_errors(work, costs, largest_error)
        assert bound <= largest_error
        kept.append(found <= largest_error)
        sizes.append(size)
    assert np.mean(kept) >= 0.95
    assert np.median(sizes) < 4000


def test_few_busy_vectors_among_blank_ones_are_not_missed() -> None:
    work = np.zeros(3000)
    work[[5, 700, 2100]] = 500
    found, bound, size = relative_errors(work, work[:, None] * 7.0 + 1, 0.02)
    assert found <= 0.02
    assert bound <= 0.02
    assert size > FEWEST_VECTORS


def test_a_sample_of_all_vectors_has_no_error_and_one_of_equal_vectors_is_small() -> None:
    few = np.arange(10.0)
    assert relative_errors(few, few[:, None] ** 3, 0.02) == (0.0, 0.0, 10)
    equal = np.ones(5000)
    assert relative_errors(equal, equal[:, None], 0.02) == (0.0, 0.0, FEWEST_VECTORS)


def test_vectors_that_stand_for_more_ones_have_an_error_even_if_all_are_taken() -> None:
    work = np.random.default_rng(0).integers(1, 100, 60).astype(np.float64)
    sample = sampled(VectorsByWork(work), lambda places: work[places, None], 0.001, total=6000)
    assert len(sample.places) == 60
    assert sample.error > 0.001
