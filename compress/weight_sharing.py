"""Weight sharing: one-dimensional k-means over the kept weights of a layer, the zero reserved."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from traces import InputError

Initialisation = Literal["optimal", "linear", "density", "random"]
Floats = npt.NDArray[Any]

MOST_POINTS = 2**16  # distinct values that are cut exactly; more of them go into a histogram
HISTOGRAM_BINS = 2**14
_MOST_ITERATIONS = 1000
_NOTHING = np.zeros(0, dtype=np.bool_)
_NO_FLOATS = np.zeros(0, dtype=np.float32)


def share_weights(
    weights: npt.NDArray[Any],
    kept: npt.NDArray[np.bool_],
    weight_bits: int,
    bias: npt.NDArray[Any] | None = None,
    initialisation: Initialisation = "optimal",
    importances: npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[Any] | None]:
    """Codes and codebook of a layer, and the codes of its bias.

    weights         any shape; `kept`, of the same shape, is False where a weight has been pruned
    weight_bits     bits of a code, 1 to 8: 2**weight_bits - 1 shared weights and the reserved zero
    bias            [rows] or None; it shares the codebook with the weights, and may take the zero
    initialisation  "optimal", or where Lloyd's iterations begin, see `shared_values`
    importances     of each weight's squared error, positive, shape of `weights`; 1 each if none are given
    seed            of the random initialisation

    A pruned weight has code 0 and a kept one a code from 1 on, whatever its value. Codes are uint8; the
    codebook is float32 [2**weight_bits] with entry 0 = 0.0, the rest ascending.

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.
    """
    if not 1 <= weight_bits <= 8:
        raise InputError(f"weight_bits={weight_bits} must be 1 to 8")
    flat, flat_kept = weights.ravel(), kept.ravel()
    weight_of = _NO_FLOATS
    if importances is not None:
        if importances.shape != weights.shape:
            raise InputError(
                f"importances must have the shape of weights, {list(weights.shape)}; found {list(importances.shape)}"
            )
        weight_of = importances.ravel().astype(np.float64)
        if not np.isfinite(weight_of).all() or not (weight_of > 0).all():
            raise InputError("every importance must be positive and finite")
    if bias is not None:
        extra = np.ones(bias.size, dtype=np.bool_)
        flat, flat_kept = np.concatenate([flat, bias]), np.concatenate([flat_kept, extra])
        if weight_of.size:
            weight_of = np.concatenate(
                [weight_of, np.full(bias.size, weight_of[kept.ravel()].mean() if kept.any() else 1)]
            )
    centroids, flat_codes = shared_values(flat, 2**weight_bits - 1, flat_kept, weight_of, initialisation, seed)
    codebook = np.concatenate([[0.0], centroids]).astype(np.float32)
    codes = flat_codes[: weights.size].reshape(weights.shape)
    return codes, codebook, None if bias is None else nearest_codes(bias, codebook)


def nearest_codes(values: npt.NDArray[Any], codebook: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The code of the shared weight nearest to each value, the reserved zero included."""
    order = np.argsort(codebook, kind="stable")
    ascending = codebook[order].astype(np.float64)
    return order[np.searchsorted(_midpoints(ascending), values.astype(np.float64))].astype(np.uint8)


def shared_values(
    values: Floats,
    num_centroids: int,
    kept: npt.NDArray[np.bool_] = _NOTHING,
    importances: Floats = _NO_FLOATS,
    initialisation: Initialisation = "optimal",
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """k-means on a line: ascending centroids float64 [num_centroids], and uint8 codes from 1 on, 0 if not kept.

    "optimal" has the least possible sum of squared errors where there are at most MOST_POINTS distinct values; of
    more, at most the least that borders between HISTOGRAM_BINS bins can give. The others are Lloyd's iterations from
    evenly spaced centroids ("linear"), from centroids between which equally many values lie ("density"), and from
    values drawn at random ("random", Forgy's). A centroid that loses all its values stays where it is. No values give
    centroids of 0. Raises InputError if a value is not finite, or there is no such initialisation.

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.2.
    """
    from compress import kmeans_kernels

    if initialisation not in get_args(Initialisation):
        raise InputError(
            f"initialisation must be one of {', '.join(get_args(Initialisation))}; found {initialisation!r}"
        )
    values = np.ascontiguousarray(values)
    used = values if not kept.size else values[kept]
    codes = np.zeros(values.size, dtype=np.uint8)
    if not used.size:
        return np.zeros(num_centroids), codes
    lowest, highest = float(used.min()), float(used.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InputError("weights to share must be finite; found NaN or infinity (has the training diverged?)")
    span = highest - lowest
    bins_per_unit = HISTOGRAM_BINS / span if span > 0 else 0.0
    if initialisation == "optimal":
        centroids = _optimal(values, used, num_centroids, kept, importances, lowest, bins_per_unit)
    elif initialisation == "linear":
        centroids = np.linspace(lowest, highest, num_centroids)
    elif initialisation == "density":
        centroids = np.quantile(used, (np.arange(num_centroids) + 0.5) / num_centroids)
    else:
        centroids = np.sort(np.random.default_rng(seed).choice(used, num_centroids)).astype(np.float64)
    before = -np.ones(num_centroids)
    for _ in range(_MOST_ITERATIONS):
        midpoints = _midpoints(centroids)
        bins = np.clip(((midpoints - lowest) * bins_per_unit).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        code_of_bin = np.searchsorted(bins, np.arange(HISTOGRAM_BINS)).astype(np.uint8)  # midpoints in lower bins
        mass, sums = np.zeros((2, num_centroids))
        kmeans_kernels.nearest_codes(
            values, importances, kept, midpoints, lowest, bins_per_unit, code_of_bin, codes, mass, sums
        )
        if initialisation == "optimal" or np.array_equal(mass, before):
            break
        before = mass
        filled = mass > 0
        centroids[filled] = sums[filled] / mass[filled]
        centroids.sort()
    return centroids, codes


def _optimal(
    values: Floats,
    used: Floats,
    num_centroids: int,
    kept: npt.NDArray[np.bool_],
    importances: Floats,
    lowest: float,
    bins_per_unit: float,
) -> npt.NDArray[np.float64]:
    """Centroids of the best cut of the distinct values, or of the bins of a histogram of many of them."""
    from compress import kmeans_kernels

    points = np.zeros(0)
    if used.size <= 4 * MOST_POINTS:
        points, place = np.unique(used.astype(np.float64), return_inverse=True)
    if 0 < points.size <= MOST_POINTS:
        weight_of = None if not importances.size else (importances[kept] if kept.size else importances)
        mass = np.bincount(place, weight_of, points.size).astype(np.float64)
        sums = mass * points
    else:
        mass, sums = np.zeros((2, HISTOGRAM_BINS))
        kmeans_kernels.fill_histogram(values, importances, kept, lowest, bins_per_unit, mass, sums)
        mass, sums = mass[mass > 0], sums[mass > 0]
    shift = sums.sum() / mass.sum()  # squares about the mean lose no digits
    centred = sums / mass - shift
    borders = np.zeros(min(num_centroids, mass.size) + 1, dtype=np.int64)
    masses, firsts, squares = (
        np.concatenate([[0.0], np.cumsum(each)]) for each in (mass, mass * centred, mass * centred**2)
    )
    kmeans_kernels.best_borders(masses, firsts, squares, borders)
    begins = np.unique(borders[:-1])
    begins = begins[begins < mass.size]
    means = np.add.reduceat(mass * centred, begins) / np.add.reduceat(mass, begins) + shift
    # with fewer points than centroids, the rest repeat the largest
    return np.concatenate([means, np.full(num_centroids - means.size, means[-1])])


def _midpoints(ascending: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (ascending[1:] + ascending[:-1]) / 2
