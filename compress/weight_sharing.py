"""Weight sharing: one-dimensional k-means over the kept weights of a layer, the zero reserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces import InputError

_MAX_ITERATIONS = 1000


def share_weights(
    weights: npt.NDArray[Any],
    kept: npt.NDArray[np.bool_],
    weight_bits: int,
    bias: npt.NDArray[Any] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[Any] | None]:
    """Codes and codebook of a layer, and the codes of its bias.

    weights      any shape; `kept`, of the same shape, is False where a weight has been pruned
    weight_bits  bits of a code, 1 to 8: 2**weight_bits - 1 shared weights and the reserved zero
    bias         [rows] or None; it shares the codebook with the weights, and may take the zero

    A pruned weight has code 0 and a kept one a code from 1 on, whatever its value. Codes are uint8; the
    codebook is float32 [2**weight_bits] with entry 0 = 0.0, the rest ascending.

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3, with linear initialisation, which the
    paper finds best (section 3.2).
    """
    if not 1 <= weight_bits <= 8:
        raise InputError(f"weight_bits={weight_bits} must be 1 to 8")
    kept_weights = weights[kept].astype(np.float64)
    samples = kept_weights if bias is None else np.concatenate([kept_weights, bias.astype(np.float64)])
    if not np.isfinite(samples).all():
        raise InputError("weights to share must be finite; found NaN or infinity (has the training diverged?)")
    centroids = kmeans_1d(samples, 2**weight_bits - 1)
    codebook = np.concatenate([[0.0], centroids]).astype(np.float32)
    codes = np.zeros(weights.shape, dtype=np.uint8)
    codes[kept] = 1 + _nearest(kept_weights, centroids)
    return codes, codebook, None if bias is None else nearest_codes(bias, codebook)


def nearest_codes(values: npt.NDArray[Any], codebook: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The code of the shared weight nearest to each value, the reserved zero included."""
    order = np.argsort(codebook, kind="stable")
    sorted_codebook = codebook[order].astype(np.float64)
    return order[_nearest(values.astype(np.float64), sorted_codebook)].astype(np.uint8)


def kmeans_1d(samples: npt.NDArray[np.float64], num_centroids: int) -> npt.NDArray[np.float64]:
    """Lloyd's k-means on a line: ascending centroids [num_centroids], started evenly from lowest to highest.

    A centroid that loses all its samples stays where it is. No samples give centroids of 0.
    """
    if samples.size == 0:
        return np.zeros(num_centroids)
    ordered = np.sort(samples)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.linspace(ordered[0], ordered[-1], num_centroids)
    previous_borders = None
    for _ in range(_MAX_ITERATIONS):
        # On a line, a cluster is a run of the ordered samples, and its sum a difference of running sums.
        borders = np.searchsorted(ordered, _midpoints(centroids))
        if previous_borders is not None and np.array_equal(borders, previous_borders):
            break
        previous_borders = borders
        begin, end = np.concatenate([[0], borders]), np.concatenate([borders, [ordered.size]])
        filled = end > begin
        centroids[filled] = (sums[end] - sums[begin])[filled] / (end - begin)[filled]
        centroids.sort()
    return centroids


def _nearest(values: npt.NDArray[np.float64], ascending: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The place of the nearest of `ascending` for each value."""
    return np.searchsorted(_midpoints(ascending), values)


def _midpoints(ascending: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (ascending[1:] + ascending[:-1]) / 2
