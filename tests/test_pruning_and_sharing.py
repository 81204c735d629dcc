"""Magnitude pruning and shared weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from compress.pruning import density_schedule, magnitude_mask
from compress.weight_sharing import kmeans_1d, nearest_codes, share_weights
from traces import InputError


def drawn_weights(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1))
def test_pruning_keeps_the_largest_weights_and_no_other(seed: int, density: float) -> None:
    weights = drawn_weights(seed, 13, 17)
    mask = magnitude_mask(weights, density)
    assert mask.sum() == max(1, round(density * weights.size))
    pruned = np.abs(weights[~mask])
    assert not pruned.size or np.abs(weights[mask]).min() >= pruned.max()


def test_of_equal_magnitudes_the_first_are_kept_and_a_zero_never_is() -> None:
    assert magnitude_mask(np.array([1.0, -1.0, 1.0, 1.0]), 0.5).tolist() == [True, True, False, False]
    assert magnitude_mask(np.array([0.0, 2.0, 0.0]), 1.0).tolist() == [False, True, False]
    large = np.random.default_rng(0).random(1000) < 0.5
    mask = magnitude_mask(np.where(large, 2.0, -1.0), 0.75)
    assert mask[large].all()
    small_kept = 750 - int(large.sum())
    assert mask[~large].tolist() == [True] * small_kept + [False] * (int((~large).sum()) - small_kept)


@pytest.mark.parametrize("density", [0, -0.1, 1.5, float("nan")])
def test_an_impossible_density_is_refused(density: float) -> None:
    with pytest.raises(InputError, match="density: the share of weights to keep must be above 0 and at most 1; found"):
        magnitude_mask(np.ones(4), density)


def test_weights_of_a_training_that_diverged_are_refused() -> None:
    weights = np.array([1.0, np.nan])
    with pytest.raises(InputError, match="weights to prune must be finite"):
        magnitude_mask(weights, 0.5)
    with pytest.raises(InputError, match="weights to share must be finite"):
        share_weights(weights, np.array([True, True]), 2)


def test_gradual_pruning_ends_at_the_target_in_equal_steps() -> None:
    assert np.allclose(density_schedule(0.125, 3), [0.5, 0.25, 0.125])
    assert density_schedule(0.1, 1) == [0.1]
    with pytest.raises(InputError, match="at least one step; found 0"):
        density_schedule(0.1, 0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.integers(1, 8))
def test_a_pruned_weight_has_code_zero_and_a_kept_one_never(seed: int, density: float, weight_bits: int) -> None:
    weights = drawn_weights(seed, 9, 20)
    kept = magnitude_mask(weights, density)
    bias = drawn_weights(seed + 1, 9)
    codes, codebook, bias_codes = share_weights(weights, kept, weight_bits, bias)
    assert ((codes > 0) == kept).all()
    assert codebook.shape == (2**weight_bits,)
    assert codebook[0] == 0
    assert codes.max() < 2**weight_bits
    assert bias_codes is not None
    assert bias_codes.shape == (9,)


def test_every_weight_takes_the_shared_weight_nearest_to_it() -> None:
    weights = drawn_weights(3, 40, 30)
    kept = magnitude_mask(weights, 0.4)
    codes, codebook, _ = share_weights(weights, kept, 4)
    distances = np.abs(weights[kept][:, np.newaxis] - codebook[np.newaxis, 1:])
    assert np.allclose(np.abs(weights - codebook[codes])[kept], distances.min(axis=1))
    values = drawn_weights(4, 100)
    best = np.abs(values[:, np.newaxis] - codebook).min(axis=1)
    assert np.allclose(np.abs(values - codebook[nearest_codes(values, codebook)]), best)


@pytest.mark.parametrize("num_centroids", [1, 3, 15, 31])
def test_kmeans_ends_where_scikit_learn_does_from_the_same_start(num_centroids: int) -> None:
    samples = drawn_weights(5, 3000).astype(np.float64)
    start = np.linspace(samples.min(), samples.max(), num_centroids)
    theirs = KMeans(num_centroids, init=start[:, np.newaxis], n_init=1, max_iter=1000, tol=0).fit(
        samples[:, np.newaxis]
    )
    ours = kmeans_1d(samples, num_centroids)
    error = np.min((samples[:, np.newaxis] - ours) ** 2, axis=1).sum()
    assert error == pytest.approx(theirs.inertia_, rel=1e-6)


def test_fewer_weights_than_centroids_are_represented_exactly() -> None:
    weights = np.array([[0.5, -0.25, 0.0]], dtype=np.float32)
    codes, codebook, _ = share_weights(weights, weights != 0, 4)
    assert codebook[codes].tolist() == weights.tolist()
    nothing, codebook, _ = share_weights(weights, np.zeros((1, 3), dtype=bool), 4)
    assert not nothing.any()
    assert not codebook.any()


def test_weight_bits_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="weight_bits=9 must be 1 to 8"):
        share_weights(np.ones(3), np.ones(3, dtype=bool), 9)
