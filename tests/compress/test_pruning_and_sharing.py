"""Magnitude pruning and shared weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from compress.pruning import (
    balanced_mask,
    cubic_schedule,
    global_masks,
    magnitude_mask,
    magnitude_thresholds,
    mask_above,
)
from compress.weight_sharing import (
    MOST_POINTS,
    Initialisation,
    nearest_codes,
    optimal_centroids,
    share_weights,
    shared_values,
)
from traces import InputError

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


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


def test_gradual_pruning_is_fast_at_first_and_ends_at_the_target() -> None:
    assert np.allclose(cubic_schedule(0.2, 2), [0.3, 0.2])
    assert cubic_schedule(0.1, 1) == [0.1]
    with pytest.raises(InputError, match="steps must be at least 1; found 0"):
        cubic_schedule(0.1, 0)


def test_balanced_pruning_leaves_every_pe_as_many_weights() -> None:
    weights = drawn_weights(9, 64, 50) * np.repeat([1, 10], 32)[:, np.newaxis]
    mask = balanced_mask(weights, 0.2, 8)
    assert [int(mask[pe::8].sum()) for pe in range(8)] == [80] * 8
    assert len({int(magnitude_mask(weights, 0.2)[pe * 8 : pe * 8 + 8].sum()) for pe in range(8)}) > 1
    assert balanced_mask(weights[:3], 0.5, 8).sum() == 75


@pytest.mark.parametrize("density", [0.03, 0.2, 0.47, 0.9, 1.0])
def test_pes_with_unequal_rows_keep_equally_many_weights_too(density: float) -> None:
    weights = drawn_weights(15, 10, 30)
    mask = balanced_mask(weights, density, 4)
    of_pes = [int(mask[pe::4].sum()) for pe in range(4)]  # of 90, 90, 60 and 60
    assert sum(of_pes) == round(density * 300)
    assert max(of_pes) - min(of_pes) <= 1 or set(of_pes[2:]) == {60}
    for pe in range(4):
        own, kept = np.abs(weights[pe::4]), mask[pe::4]
        assert kept.all() or own[kept].min() > own[~kept].max()


@pytest.mark.parametrize("criterion", ["global", "lamp"])
def test_of_equal_weights_of_all_layers_no_more_than_the_share_is_kept(criterion: Any) -> None:
    masks = global_masks([np.ones((10, 10)), -np.ones((10, 10))], 0.15, criterion)
    assert sum(int(mask.sum()) for mask in masks) in (30, 31)
    assert all(mask.any() for mask in masks)


def test_global_pruning_looks_at_all_layers_together() -> None:
    small, large = drawn_weights(10, 20, 30), drawn_weights(11, 10, 40) * 5
    masks = global_masks([small, large], 0.2, "global")
    assert sum(int(mask.sum()) for mask in masks) == 200
    assert min(np.abs(small[masks[0]]).min(), np.abs(large[masks[1]]).min()) >= np.abs(large[~masks[1]]).max()
    assert masks[1].mean() > 3 * masks[0].mean()


def test_lamp_does_not_see_the_scale_of_a_layer() -> None:
    first, second = drawn_weights(12, 30, 30), drawn_weights(13, 10, 10)
    masks = global_masks([first, second], 0.1, "lamp")
    scaled = global_masks([first * 100, second], 0.1, "lamp")
    assert sum(int(mask.sum()) for mask in masks) == 100
    for ours, theirs in zip(masks, scaled, strict=True):
        assert np.array_equal(ours, theirs)
    score = first[0, 0] ** 2 / (first[np.abs(first) >= abs(first[0, 0])] ** 2).sum()
    assert masks[0][0, 0] == (score >= sorted(_scores(first) + _scores(second))[-100])


def _scores(weights: Floats) -> list[float]:
    squares = np.sort(weights.astype(np.float64).ravel() ** 2)[::-1]
    return (squares / np.cumsum(squares)).tolist()  # type: ignore[no-any-return]


def test_every_layer_keeps_a_weight_and_a_zero_is_never_kept() -> None:
    masks = global_masks([np.full((2, 2), 1e-6), drawn_weights(14, 40, 40), np.zeros((2, 2))], 0.01, "global")
    assert masks[0].any()
    assert not masks[2].any()
    with pytest.raises(InputError, match="weights to prune must be finite"):
        global_masks([np.array([[np.nan]])], 0.5, "lamp")


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
def test_lloyd_s_iterations_end_where_scikit_learn_s_do_from_the_same_start(num_centroids: int) -> None:
    samples = drawn_weights(5, 3000).astype(np.float64)
    start = np.linspace(samples.min(), samples.max(), num_centroids)
    theirs = KMeans(num_centroids, init=start[:, np.newaxis], n_init=1, max_iter=1000, tol=0).fit(
        samples[:, np.newaxis]
    )
    ours, _ = shared_values(samples, num_centroids, initialisation="linear")
    assert squared_error(samples, ours) == pytest.approx(theirs.inertia_, rel=1e-6)


def squared_error(samples: Floats, centroids: Floats, importances: Floats | float = 1.0) -> float:
    return float((importances * np.min((samples[:, np.newaxis] - centroids) ** 2, axis=1)).sum())


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_the_optimal_centroids_are_the_best_of_all(
    seed: int, size: int, num_centroids: int, digits: int, weighted: bool
) -> None:
    stream = np.random.default_rng(seed)
    samples = np.sort(stream.normal(size=size).round(digits))
    importances = stream.uniform(0.1, 1, size) if weighted else np.ones(size)
    best = np.inf
    for cuts in itertools.combinations_with_replacement(range(size + 1), num_centroids - 1):
        error = 0.0
        for begin, end in itertools.pairwise([0, *cuts, size]):
            if end > begin:
                run, mass = samples[begin:end], importances[begin:end]
                error += float((mass * (run - np.average(run, weights=mass)) ** 2).sum())
        best = min(best, error)
    centroids, codes = shared_values(samples, num_centroids, importances=importances)
    assert squared_error(samples, centroids, importances) == pytest.approx(best, abs=1e-9)
    assert float((importances * (samples - centroids[codes - 1]) ** 2).sum()) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("initialisation", ["linear", "density", "random"])
@pytest.mark.parametrize("num_centroids", [3, 15, 255])
def test_no_initialisation_ends_below_the_optimum(initialisation: Initialisation, num_centroids: int) -> None:
    samples = drawn_weights(6, 4000).astype(np.float64)
    optimum = squared_error(samples, shared_values(samples, num_centroids)[0])
    found = shared_values(samples, num_centroids, initialisation=initialisation, seed=1)[0]
    assert optimum <= squared_error(samples, found) * (1 + 1e-9)


def test_the_histogram_of_many_values_is_nearly_exact() -> None:
    samples = drawn_weights(7, 5 * MOST_POINTS)
    centroids, codes = shared_values(samples, 15)
    error = float(((samples - centroids[codes - 1]) ** 2).sum())
    lloyd, _ = shared_values(samples, 15, initialisation="density")
    assert error < float(np.min((samples[:, np.newaxis] - lloyd) ** 2, axis=1).sum()) * 1.00001
    distances = np.abs(samples[:1000, np.newaxis] - centroids)
    assert np.array_equal(codes[:1000] - 1, distances.argmin(axis=1))


def test_important_weights_are_met_more_closely() -> None:
    weights = drawn_weights(8, 50, 40)
    importances = np.where(weights > 1, 1000.0, 1.0)
    errors = []
    for given_importances in (None, importances):
        codes, codebook, _ = share_weights(weights, weights != 0, 3, importances=given_importances)
        errors.append(float(((weights - codebook[codes])[weights > 1] ** 2).sum()))
    assert errors[1] < errors[0] / 2
    for wrong, sentence in ((importances[0], "must have the shape of weights"), (importances * 0, "must be positive")):
        with pytest.raises(InputError, match=sentence):
            share_weights(weights, weights != 0, 3, importances=wrong)
    with pytest.raises(InputError, match="must be one of optimal, linear, density, random; found 'best'"):
        share_weights(weights, weights != 0, 3, initialisation="best")  # type: ignore[arg-type]


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


def test_centroids_of_several_numbers_come_from_one_table() -> None:
    stream = np.random.default_rng(0)
    weights = stream.normal(size=(60, 50)).astype(np.float32)
    kept, importances = magnitude_mask(weights, 0.6), stream.random((60, 50)) + 0.1
    numbers = (1, 3, 7, 15, 31)
    for number, centroids in zip(numbers, optimal_centroids(weights, kept, importances, 0.5, numbers), strict=True):
        alone, _ = shared_values(weights.ravel(), number, kept.ravel(), importances.ravel() + 0.5)
        assert np.array_equal(centroids, alone)


def test_thresholds_of_several_densities_are_those_of_a_sort() -> None:
    weights = np.round(np.random.default_rng(0).normal(size=(50, 40)), 1)  # with ties and zeros
    densities = (1.0, 0.5, 0.11, 1e-9)
    for density, threshold in zip(densities, magnitude_thresholds(weights, densities), strict=True):
        order = np.argsort(-np.abs(weights).ravel(), kind="stable")[: max(1, round(density * 2000))]
        expected = np.zeros(2000, bool)
        expected[order] = True
        assert np.array_equal(mask_above(weights, threshold), expected.reshape(50, 40) & (weights != 0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_thresholds_are_those_of_a_partial_sort_in_every_type(dtype: Any) -> None:
    weights = np.asfortranarray(1000 * np.random.default_rng(0).normal(size=(60, 70))).astype(dtype)
    magnitudes = np.sort(np.abs(weights).ravel())
    for density in (1.0, 0.3, 0.001):
        (found,) = magnitude_thresholds(weights, [density])
        keep = max(1, round(density * weights.size))
        assert found.magnitude == magnitudes[-keep]
        assert found.ties == keep - int((magnitudes > magnitudes[-keep]).sum())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_pruned(dtype: Any, wrong: float) -> None:
    with pytest.raises(InputError, match="weights to prune must be finite"):
        magnitude_mask(np.array([[1, wrong, 2]], dtype=dtype), 0.5)
