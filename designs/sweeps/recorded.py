"""Samples of recorded vectors that are large enough for the means of their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True, eq=False)
class VectorsByWork:
    """Vectors in the order of their work, of which samples are taken at equal distances.

    Attributes
    ----------
    work : array [vectors]
        Number of values of each vector that an array works on: those that are not zero.
    """

    work: Floats

    def __len__(self) -> int:
        return len(self.work)

    @cached_property
    def mean(self) -> float:
        """Mean work of all vectors."""
        return float(self.work.mean())

    @cached_property
    def _order(self) -> Integers64:
        return np.argsort(self.work, kind="stable")

    def places(self, size: int) -> Integers64:
        """Return the places of the vectors of a sample of this size."""
        return self._order[((np.arange(size) + 0.5) * len(self) / size).astype(np.int64)]


def sampled(
    vectors: VectorsByWork,
    costs: Callable[[Integers64], Floats64],
    largest_error: float = LARGEST_ERROR,
    total: float | None = None,
) -> VectorSample:
    """Return a sample of vectors for which the mean of each cost is within an error; it is doubled until it is.

    Parameters
    ----------
    vectors : VectorsByWork
        The vectors.
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
    total = max(len(vectors), total or 0)
    size = min(FEWEST_VECTORS, len(vectors))
    while True:
        places = vectors.places(size)
        error = _relative_error(costs(places), total)
        if size == len(vectors):
            return VectorSample(places, error)
        error = max(error, _distance(float(vectors.work[places].mean()), vectors.mean))
        if error <= largest_error:
            return VectorSample(places, error)
        size = min(2 * size, len(vectors))


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
