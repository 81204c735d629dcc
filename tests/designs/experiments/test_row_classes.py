"""Exact methods that row classes are compared with: errors, the Hungarian method, the linear program."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.weight_sharing import share_weights
from designs.experiments.row_classes import assignments, class_errors, least_error, lower_bound

SIZES = np.array([2, 2, 2])
LOADS = np.array([5, 1, 4, 2, 3, 3])


def drawn_errors(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 3))


def enumerated(errors: np.ndarray, most: float = np.inf) -> float:
    """Return the least error of all assignments of two rows to each class within a bound on loads."""
    allowed = [
        owner
        for owner in itertools.product(range(3), repeat=6)
        if (np.bincount(owner, minlength=3) == 2).all() and np.bincount(owner, LOADS).max() <= most
    ]
    return float(min(errors[np.arange(6), owner].sum() for owner in allowed))


@pytest.mark.parametrize("seed", range(4))
def test_the_hungarian_method_finds_the_best_of_all_assignments(seed: int) -> None:
    assert least_error(drawn_errors(seed), SIZES) == pytest.approx(enumerated(drawn_errors(seed)))


@pytest.mark.parametrize("seed", range(4))
def test_the_linear_program_bounds_all_assignments_from_below(seed: int) -> None:
    errors = 1e-6 * drawn_errors(seed)
    assert lower_bound(errors, SIZES, LOADS, np.full(3, 18.0)) == pytest.approx(enumerated(errors))
    bounded = lower_bound(errors, SIZES, LOADS, np.full(3, 6.0))
    assert enumerated(errors) * (1 + 1e-9) < bounded <= enumerated(errors, 6.0) * (1 + 1e-9)


def test_errors_of_classes_are_those_of_optimal_sharing() -> None:
    stream = np.random.default_rng(0)
    matrix, kept = stream.normal(size=(6, 20)), stream.random((6, 20)) < 0.7
    classes = np.arange(6) % 2
    errors = class_errors(matrix, kept, classes, 3)
    for number in range(2):
        rows = classes == number
        codes, codebook, _ = share_weights(matrix[rows], kept[rows], 2)
        shared = np.where(kept[rows], codebook[codes].astype(np.float64) - matrix[rows], 0)
        assert errors[rows, number] == pytest.approx(np.square(shared).sum(axis=1), rel=1e-4)
    assert class_errors(matrix, kept, classes, 3, each=False).tolist() == errors[np.arange(6), classes].tolist()


def test_one_matrix_of_each_shape_with_more_rows_than_codebooks_is_compared() -> None:
    stream = np.random.default_rng(0)
    matrices = {
        name: stream.normal(size=shape).astype(np.float32)
        for name, shape in {"a": (12, 9), "b": (12, 9), "c": (4, 9)}.items()
    }
    rows = assignments(matrices, 8, (4, 8), (0.5,), 2)
    assert [(row["layer"], row["codebooks"]) for row in rows] == [("a", 4), ("a", 8)]
    for row in rows:
        assert row["own_error"] < row["bounded_error"]
        assert row["least_error"] <= row["free_error"] * (1 + 1e-9)
