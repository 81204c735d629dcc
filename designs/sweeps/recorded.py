"""Samples of recorded vectors that are large enough for the means of their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from traces.arrays import Floats, Floats64, Integers64

LARGEST_ERROR = 0.02
FEWEST_VECTORS = 24
_DEVIATIONS = 2.5  # above the 1.96 of one look at one mean, since a sample is looked at after each doubling


@dataclass(frozen=True, eq=False)
class VectorSample:
    """Sample of the vectors that enter a layer.

    Attributes
    ----------
    places : numpy.ndarray
        Places of the vectors, int64 [vectors].
    error : float
        Bound on the relative error of the mean of each cost, at a confidence level of 95 %; 0 if it is all vectors.
    """

    places: Integers64
    error: float


def sampled(
    work: Floats,
    costs: Callable[[Integers64], Floats64],
    largest_error: float = LARGEST_ERROR,
    total: float | None = None,
) -> VectorSample:
    """Return a sample of vectors for which the mean of each cost is within an error; it is doubled until it is.

    Parameters
    ----------
    work : array [vectors]
        Number of values of each vector that an array works on: those that are not zero.
    costs : callable
        Returns the costs of the vectors at some places, float64 [places, costs].
    largest_error : float
        Largest relative error of the mean of each cost, at a confidence level of 95 %.
    total : float, optional
        Number of vectors that these ones stand for; by default, they are all.

    Notes
    -----
    The vectors are ordered by their work, and taken at equal distances. The variance of such a mean is that of the
    differences of neighbours (Wolter, "Introduction to Variance Estimation", chapter 8). Since the work of all vectors
    is known, a sample is also too small while the mean work of its vectors is further than the error from that of all.
    """
    order = np.argsort(work, kind="stable")
    total = max(len(work), total or 0)
    size = min(FEWEST_VECTORS, len(work))
    while True:
        places = order[((np.arange(size) + 0.5) * len(work) / size).astype(np.int64)]
        error = _relative_error(costs(places), total)
        if size == len(work):
            return VectorSample(places, error)
        error = max(error, _distance(float(work[places].mean()), float(work.mean())))
        if error <= largest_error:
            return VectorSample(places, error)
        size = min(2 * size, len(work))


def _relative_error(costs: Floats64, total: float) -> float:
    """Return half the widest confidence interval of the mean costs, relative to the mean."""
    size = len(costs)
    if size >= total:
        return 0.0
    differences = np.square(np.diff(costs, axis=0)).sum(axis=0) / (2 * max(1, size - 1))
    errors = _DEVIATIONS * np.sqrt(differences / size * (1 - size / total))
    return max(map(_ratio, errors, costs.mean(axis=0)), default=0.0)


def _distance(value: float, right: float) -> float:
    return _ratio(abs(value - right), right)


def _ratio(error: float, mean: float) -> float:
    return 0.0 if error == 0 else float("inf") if mean == 0 else float(error / mean)
