"""Weight sharing: one-dimensional k-means over the kept weights of a layer; entry 0 is reserved for zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from traces import InputError
from traces.arrays import Booleans, Floats, Floats32, Floats64, Integers, Numbers

Initialisation = Literal["optimal", "linear", "density", "random"]

MOST_POINTS = 2**16  # distinct values that are cut exactly; more go into a histogram
HISTOGRAM_BINS = 2**14
_MOST_ITERATIONS = 1000
_WEIGHTS_AT_ONCE = 2**20
_NOTHING = np.zeros(0, dtype=np.bool_)
_NO_FLOATS = np.zeros(0, dtype=np.float32)


def share_weights(
    weights: Numbers,
    kept: Booleans,
    weight_bits: int,
    bias: Numbers | None = None,
    initialisation: Initialisation = "optimal",
    importances: Numbers | None = None,
    seed: int = 0,
) -> tuple[Integers, Floats32, Integers | None]:
    """Return codes and codebook of a layer, and the codes of its bias.

    Parameters
    ----------
    weights : array of any shape
        Of the layer.
    kept : bool, shape of `weights`
        False where a weight is pruned.
    weight_bits : int
        Bits of a code, 1 to 8: 2**weight_bits - 1 shared weights and the reserved zero.
    bias : float [rows] or None
        It shares the codebook with the weights, and may take the zero.
    initialisation : str
        "optimal", or the start of Lloyd's iterations (`shared_values`).
    importances : float, shape of `weights`, or None
        Weight of each squared error, positive; 1 each by default.
    seed : int
        Of the random initialisation.

    Returns
    -------
    codes : uint8, shape of `weights`
        0 for a pruned weight, from 1 on for a kept one, also if its value is 0.
    codebook : float32 [2**weight_bits]
        Entry 0 is 0.0; the others ascend.
    bias_codes : uint8 [rows] or None
        Codes of the bias.

    Notes
    -----
    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.
    """
    if not 1 <= weight_bits <= 8:
        raise InputError(f"weight_bits={weight_bits} must be 1 to 8")
    type_of_all = weights.dtype if bias is None else np.result_type(weights, bias)
    layer = _Values(weights.ravel().astype(type_of_all, copy=False), kept.ravel())
    if importances is not None:
        if importances.shape != weights.shape:
            raise InputError(
                f"importances must have the shape of weights, {list(weights.shape)}; found {list(importances.shape)}"
            )
        weight_of = importances.ravel().astype(np.float64)
        if not np.isfinite(weight_of).all() or not (weight_of > 0).all():
            raise InputError("every importance must be positive and finite")
        layer = replace(layer, importances=weight_of)
    parts = [layer]
    if bias is not None:
        of_bias = _Values(np.ascontiguousarray(bias, dtype=type_of_all))
        if importances is not None:
            mean = layer.importances[layer.kept].mean() if kept.any() else 1.0
            of_bias = replace(of_bias, importances=np.full(bias.size, mean))
        parts.append(of_bias)
    codes = [np.empty(part.values.shape, dtype=np.uint8) for part in parts]
    codes[0] = np.empty(weights.shape, dtype=np.uint8)
    centroids = _share(parts, 2**weight_bits - 1, [of_part.reshape(-1) for of_part in codes], initialisation, seed)
    codebook = np.concatenate([[0.0], centroids]).astype(np.float32)
    return codes[0], codebook, None if bias is None else nearest_codes(bias, codebook)


def nearest_codes(values: Numbers, codebook: Floats32) -> Integers:
    """Return the code of the shared weight nearest to each value, the reserved zero included."""
    order = np.argsort(codebook, kind="stable")
    ascending = codebook[order].astype(np.float64)
    return order[np.searchsorted(_midpoints(ascending), values.astype(np.float64))].astype(np.uint8)


def shared_values(
    values: Floats,
    num_centroids: int,
    kept: Booleans = _NOTHING,
    importances: Floats = _NO_FLOATS,
    initialisation: Initialisation = "optimal",
    seed: int = 0,
) -> tuple[Floats64, Integers]:
    """Cluster values on a line by k-means.

    "optimal" has the least possible sum of squared errors if there are at most MOST_POINTS distinct values; otherwise
    at most the least that borders between HISTOGRAM_BINS bins can give. The others are Lloyd's iterations, from evenly
    spaced centroids ("linear"), from centroids with equally many values between them ("density"), or from values drawn
    at random ("random", Forgy's). A centroid that loses all its values stays where it is. Without values, all centroids
    are 0.

    Returns
    -------
    centroids : float64 [num_centroids]
        Ascending.
    codes : uint8, shape of `values`
        From 1 on; 0 for a value that is not kept.

    Raises
    ------
    InputError
        If a value is not finite, or the initialisation is unknown.

    Notes
    -----
    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.2.
    """
    codes = np.empty(values.size, dtype=np.uint8)
    part = _Values(np.ascontiguousarray(values), kept, importances)
    return _share([part], num_centroids, [codes], initialisation, seed), codes


def optimal_centroids(
    values: Floats, kept: Booleans, importances: Floats, added: float, numbers: Sequence[int]
) -> list[Floats64]:
    """Return the centroids that `shared_values` finds, "optimal", for several numbers of centroids at once.

    Parameters
    ----------
    values : float [rows, columns]
        Values to cluster.
    kept : bool [rows, columns]
        False where a value does not count.
    importances : float [rows, columns]
        Weight of each squared error.
    added : float
        Added to each importance; the sum is positive.
    numbers : sequence of int
        Numbers of centroids.

    Returns
    -------
    list of float64 [number]
        Ascending centroids, for each number.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    part = _Values(values, kept, importances)
    size, lowest, highest = _range([part])
    if not size:
        return [np.zeros(number) for number in numbers]
    return _Points.of([part], added, size, lowest, highest).centroids(numbers)


@dataclass(frozen=True, eq=False)
class _Values:
    """Values to cluster.

    Attributes
    ----------
    values : float array
        Of one or two axes.
    kept : bool, shape of `values`
        False where a value does not count; empty to keep all.
    importances : float, shape of `values`
        Weight of each squared error; empty for 1 each.
    """

    values: Floats
    kept: Booleans = field(default_factory=_NOTHING.view)
    importances: Floats = field(default_factory=_NO_FLOATS.view)

    def used(self) -> Floats:
        """Return the values that count, flat."""
        return self.values[self.kept] if self.kept.size else self.values.ravel()

    def blocks(self) -> Iterator[_Values]:
        """Yield parts along the first axis, of about `_WEIGHTS_AT_ONCE` values each."""
        step = max(1, _WEIGHTS_AT_ONCE // max(1, self.values[:1].size))
        for begin in range(0, len(self.values), step):
            block = slice(begin, begin + step)
            yield _Values(self.values[block], self.kept[block], self.importances[block])


def _range(parts: Sequence[_Values]) -> tuple[int, float, float]:
    """Return the number of values that count, the lowest and the highest. Raises InputError if one is not finite."""
    size, lowest, highest = 0, np.inf, -np.inf
    for part in parts:
        for block in part.blocks():
            used = block.used()
            if used.size:
                size += used.size
                lowest, highest = np.minimum(lowest, used.min()), np.maximum(highest, used.max())
    if size and not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InputError("weights to share must be finite; found NaN or infinity (has the training diverged?)")
    return size, float(lowest), float(highest)


def _share(
    parts: Sequence[_Values],
    num_centroids: int,
    codes: Sequence[Integers],
    initialisation: Initialisation,
    seed: int,
) -> Floats64:
    """Cluster values as `shared_values` does; return the centroids, and fill in the codes of each part, uint8, flat."""
    from compress import kmeans_kernels

    if initialisation not in get_args(Initialisation):
        raise InputError(
            f"initialisation must be one of {', '.join(get_args(Initialisation))}; found {initialisation!r}"
        )
    size, lowest, highest = _range(parts)
    if not size:
        for of_part in codes:
            of_part[:] = 0
        return np.zeros(num_centroids)
    span = highest - lowest
    bins_per_unit = HISTOGRAM_BINS / span if span > 0 else 0.0
    if initialisation == "optimal":
        (centroids,) = _Points.of(parts, 0.0, size, lowest, highest).centroids([num_centroids])
    elif initialisation == "linear":
        centroids = np.linspace(lowest, highest, num_centroids)
    else:
        used = np.concatenate([part.used() for part in parts])
        if initialisation == "density":
            centroids = np.quantile(used, (np.arange(num_centroids) + 0.5) / num_centroids)
        else:
            centroids = np.sort(np.random.default_rng(seed).choice(used, num_centroids)).astype(np.float64)
    before = -np.ones(num_centroids)
    for _ in range(_MOST_ITERATIONS):
        midpoints = _midpoints(centroids)
        bins = np.clip(((midpoints - lowest) * bins_per_unit).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        code_of_bin = np.searchsorted(bins, np.arange(HISTOGRAM_BINS)).astype(np.uint8)  # midpoints in lower bins
        mass, sums = np.zeros((2, num_centroids))
        for part, of_part in zip(parts, codes, strict=True):
            kmeans_kernels.nearest_codes(
                part.values,
                part.importances,
                part.kept,
                midpoints,
                lowest,
                bins_per_unit,
                code_of_bin,
                of_part,
                mass,
                sums,
            )
        if initialisation == "optimal" or np.array_equal(mass, before):
            break
        before = mass
        filled = mass > 0
        centroids[filled] = sums[filled] / mass[filled]
        centroids.sort()
    return centroids


@dataclass(frozen=True, eq=False)
class _Points:
    """Ascending points to cluster: distinct values, or the bins of a histogram of many values.

    Attributes
    ----------
    mass, sums : float64 [points]
        Importance, and importance times value, of each point.
    """

    mass: Floats64
    sums: Floats64

    @classmethod
    def of(cls, parts: Sequence[_Values], added: float, size: int, lowest: float, highest: float) -> _Points:
        """Return the points of `size` kept values between `lowest` and `highest`.

        `added` is added to each importance.
        """
        from compress import kmeans_kernels

        if size <= 4 * MOST_POINTS:
            distinct, place = np.unique(np.concatenate([part.used() for part in parts]), return_inverse=True)
            if distinct.size <= MOST_POINTS:
                weight_of = None
                if parts[0].importances.size:
                    used = [replace(part, values=part.importances).used() for part in parts]
                    weight_of = np.concatenate(used).astype(np.float64) + added
                mass = np.bincount(place, weight_of, distinct.size).astype(np.float64)
                return cls(mass, mass * distinct.astype(np.float64))
        span = highest - lowest
        mass, sums = np.zeros((2, HISTOGRAM_BINS))
        bins_per_unit = HISTOGRAM_BINS / span if span > 0 else 0.0
        for part in parts:
            for block in part.blocks():
                weights = block.importances.ravel()
                weights = weights.astype(np.float64) + added if weights.size and added else weights
                kmeans_kernels.fill_histogram(
                    block.values.ravel(), weights, block.kept.ravel(), lowest, bins_per_unit, mass, sums
                )
        return cls(mass[mass > 0], sums[mass > 0])

    def centroids(self, numbers: Sequence[int]) -> list[Floats64]:
        """Return the means of the best cut into each number of runs, from one table for all."""
        from compress import kmeans_kernels

        mass, sums = self.mass, self.sums
        shift = sums.sum() / mass.sum()  # squares about the mean lose no digits
        centred = sums / mass - shift
        masses, firsts, squares = (
            np.concatenate([[0.0], np.cumsum(each)]) for each in (mass, mass * centred, mass * centred**2)
        )
        cut = np.zeros((min(max(numbers), mass.size) + 1, mass.size + 1), dtype=np.int32)
        kmeans_kernels.fill_cuts(masses, firsts, squares, cut)
        found = []
        for number in numbers:
            borders = [mass.size]
            for runs in range(min(number, mass.size), 0, -1):
                borders.append(int(cut[runs, borders[-1]]))
            begins = np.unique(borders)
            begins = begins[begins < mass.size]
            means = np.add.reduceat(mass * centred, begins) / np.add.reduceat(mass, begins) + shift
            # with fewer points than centroids, the rest repeat the largest
            found.append(np.concatenate([means, np.full(number - means.size, means[-1])]))
        return found


def _midpoints(ascending: Floats64) -> Floats64:
    return (ascending[1:] + ascending[:-1]) / 2
