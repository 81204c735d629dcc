"""Magnitude pruning: only the largest weights of a layer are kept (Han et al., "Deep Compression", section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from traces import InputError
from traces.arrays import Booleans, Floats64, Numbers

_WEIGHTS_AT_ONCE = 2**20


def magnitude_mask(weights: Numbers, density: float) -> Booleans:
    """Return the mask of the weights of largest magnitude, in the shape of `weights`.

    Keeps round(density * size) weights, at least one. Of equal magnitudes the first are kept; a weight that is exactly
    zero is never kept. Raises InputError if `density` is not above 0 and at most 1, or a weight is not finite.
    """
    (threshold,) = magnitude_thresholds(weights, [density])
    return mask_above(weights, threshold)


@dataclass(frozen=True)
class MagnitudeThreshold:
    """Border between the weights that are kept and those that are pruned.

    Attributes
    ----------
    magnitude : float
        Larger weights are kept.
    ties : int
        Number of weights of exactly this magnitude, the first ones, that are kept.
    """

    magnitude: float
    ties: int


def magnitude_thresholds(weights: Numbers, densities: Sequence[float]) -> list[MagnitudeThreshold]:
    """Return the thresholds of `magnitude_mask` for several densities.

    One pass counts the magnitudes by their highest 16 bits, another gathers those that share them with a threshold, and
    only these are sorted.
    """
    from compress import pruning_kernels

    for density in densities:
        check_density("density", density)
    flat = weights.ravel(order="K")
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float32 if flat.dtype == np.float16 else np.float64)
    bits = flat.view(np.uint32 if flat.dtype == np.float32 else np.uint64)
    shift = 8 * bits.itemsize - 17
    counts = np.zeros(2**16, dtype=np.int64)
    pruning_kernels.count_magnitudes(bits, shift, counts)
    infinity = int(flat.dtype.type(np.inf).view(bits.dtype)) >> shift  # NaN have the same bits, or higher ones
    if counts[infinity:].any():
        raise InputError("weights to prune must be finite; found NaN or infinity (has the training diverged?)")
    keeps = [max(1, round(density * flat.size)) for density in densities]
    bins = np.searchsorted(np.cumsum(counts), [flat.size - keep for keep in keeps], side="right")
    chosen = np.zeros(counts.size, dtype=np.bool_)
    chosen[bins] = True
    gathered = np.empty(int(counts[chosen].sum()), dtype=bits.dtype)
    pruning_kernels.gather_magnitudes(bits, shift, chosen, gathered)
    magnitudes = np.abs(gathered.view(flat.dtype))
    magnitudes.sort()
    left_out = np.cumsum(np.where(chosen, 0, counts))
    thresholds = []
    for keep, place in zip(keeps, bins, strict=True):
        below = int(left_out[place])
        threshold = magnitudes[flat.size - keep - below]
        larger = flat.size - below - int(np.searchsorted(magnitudes, threshold, side="right"))
        thresholds.append(MagnitudeThreshold(threshold.item(), keep - larger))
    return thresholds


def mask_above(weights: Numbers, threshold: MagnitudeThreshold) -> Booleans:
    """Return the mask of `magnitude_mask` for a threshold."""
    flat = weights.reshape(-1)
    mask = np.empty(flat.size, dtype=np.bool_)
    left = threshold.ties if threshold.magnitude > 0 else 0
    for begin in range(0, flat.size, _WEIGHTS_AT_ONCE):
        magnitudes = np.abs(flat[begin : begin + _WEIGHTS_AT_ONCE])
        part = mask[begin : begin + _WEIGHTS_AT_ONCE]
        np.greater(magnitudes, threshold.magnitude, out=part)
        if left:
            ties = np.flatnonzero(magnitudes == threshold.magnitude)[:left]
            part[ties] = True
            left -= ties.size
    return mask.reshape(weights.shape)


def _largest(magnitudes: Numbers, keep: int) -> Booleans:
    """Return the mask of the `keep` largest magnitudes; of equal ones the first, and never a zero."""
    if not np.isfinite(magnitudes).all():
        raise InputError("weights to prune must be finite; found NaN or infinity (has the training diverged?)")
    flat = magnitudes.ravel()
    threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
    mask: Booleans = flat > threshold
    ties = np.flatnonzero(flat == threshold)
    mask[ties[: keep - int(mask.sum())]] = True
    mask &= flat > 0
    return mask.reshape(magnitudes.shape)


def check_density(name: str, density: float) -> None:
    """Raise InputError, which calls it `name`, if `density` is not above 0 and at most 1."""
    if not 0 < density <= 1:
        raise InputError(f"{name}: the share of weights to keep must be above 0 and at most 1; found {density}")


def cubic_schedule(target_density: float, steps: int) -> list[float]:
    """Return the densities of gradual pruning, which fall fast at first and end at the target.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1; found {steps}")
    return [target_density + (1 - target_density) * (1 - step / steps) ** 3 for step in range(1, steps + 1)]


def balanced_mask(weights: Numbers, density: float, num_pes: int) -> Booleans:
    """Return a mask like `magnitude_mask` in which all PEs keep equally many weights, plus or minus one.

    PE k owns the rows k, k + num_pes, and so on. A PE that owns fewer weights than its part keeps them all, and the
    others keep the rest. Source: load-balance-aware pruning, Han et al., "ESE", FPGA 2017, section 3.2.
    """
    check_density("density", density)
    mask = np.zeros(weights.shape, dtype=np.bool_)
    num_pes = min(num_pes, len(weights))
    left = max(1, round(density * weights.size))
    for done, pe in enumerate(reversed(range(num_pes))):  # the last PEs own the fewest rows
        own = np.abs(weights[pe::num_pes])
        keep = min(own.size, left // (num_pes - done))
        left -= keep
        if keep:
            mask[pe::num_pes] = _largest(own, keep)
    return mask


def global_masks(weights: Sequence[Numbers], density: float, criterion: Literal["global", "lamp"]) -> list[Booleans]:
    """Return masks that together keep a share of all weights.

    The criterion "global" keeps the largest weights, "lamp" those of the highest LAMP score. Every layer keeps at
    least one weight; a weight that is exactly zero is never kept. Source of LAMP: Lee et al.,
    "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021, equation 4.
    """
    check_density("density", density)
    scores = [np.abs(values).ravel() if criterion == "global" else _lamp_scores(values) for values in weights]
    together = np.concatenate(scores)
    kept = np.split(
        _largest(together, max(1, round(density * together.size))), np.cumsum([of_layer.size for of_layer in scores])
    )
    masks = []
    for mask, of_layer, values in zip(kept, scores, weights, strict=False):
        mask[of_layer.argmax()] |= of_layer.max() > 0
        masks.append(mask.reshape(values.shape))
    return masks


def _lamp_scores(weights: Numbers) -> Floats64:
    squares = weights.astype(np.float64).ravel() ** 2
    order = np.argsort(squares, kind="stable")
    as_large = np.cumsum(squares[order][::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.where(as_large > 0, as_large, 1)
    return scores
