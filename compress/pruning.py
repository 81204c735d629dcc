"""Magnitude pruning: keep the largest weights of a layer (Han et al., "Deep Compression", section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from traces import InputError


def magnitude_mask(weights: npt.NDArray[Any], density: float) -> npt.NDArray[np.bool_]:
    """True for the `density` share of weights with the largest magnitude; shape of `weights`.

    Keeps round(density * size) weights, at least one; of equal magnitudes the first are kept, and a weight
    that is exactly zero never is. Raises InputError if `density` is not above 0 and at most 1 or a weight is
    not finite.
    """
    check_density("density", density)
    return _largest(np.abs(weights), max(1, round(density * weights.size)))


def _largest(magnitudes: npt.NDArray[Any], keep: int) -> npt.NDArray[np.bool_]:
    """True for so many of the largest magnitudes; of equal ones the first, and never a zero."""
    if not np.isfinite(magnitudes).all():
        raise InputError("weights to prune must be finite; found NaN or infinity (has the training diverged?)")
    flat = magnitudes.ravel()
    threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
    mask: npt.NDArray[np.bool_] = flat > threshold
    ties = np.flatnonzero(flat == threshold)
    mask[ties[: keep - int(mask.sum())]] = True
    mask &= flat > 0
    return mask.reshape(magnitudes.shape)


def check_density(name: str, density: float) -> None:
    """Raise InputError if `density`, which the user knows as `name`, is no share of weights to keep."""
    if not 0 < density <= 1:
        raise InputError(f"{name}: the share of weights to keep must be above 0 and at most 1; found {density}")


def cubic_schedule(target_density: float, steps: int) -> list[float]:
    """Densities of gradual pruning, fast at first, ending at the target.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.
    """
    if steps < 1:
        raise InputError(f"pruning takes at least one step; found {steps}")
    return [target_density + (1 - target_density) * (1 - step / steps) ** 3 for step in range(1, steps + 1)]


def balanced_mask(weights: npt.NDArray[Any], density: float, num_pes: int) -> npt.NDArray[np.bool_]:
    """As `magnitude_mask`, but each PE, which owns the rows k, k + num_pes, ..., keeps as many weights, to one.

    A PE that owns fewer weights than its part keeps them all, and the others share the rest. Source: load-balance-aware
    pruning, Han et al., "ESE", FPGA 2017, section 3.2.
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


def global_masks(
    weights: Sequence[npt.NDArray[Any]], density: float, criterion: Literal["global", "lamp"]
) -> list[npt.NDArray[np.bool_]]:
    """Masks that together keep a share of all weights: the largest ("global"), or those with the highest LAMP score.

    Every layer keeps at least one weight; one that is exactly zero is never kept. Source of LAMP: Lee et al.,
    "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021, equation 4.
    """
    check_density("density", density)
    scores = [np.abs(values).ravel() if criterion == "global" else _lamp_scores(values) for values in weights]
    together = np.concatenate(scores)
    kept = np.split(
        _largest(together, max(1, round(density * together.size))), np.cumsum([each.size for each in scores])
    )
    masks = []
    for mask, each, values in zip(kept, scores, weights, strict=False):
        mask[each.argmax()] |= each.max() > 0
        masks.append(mask.reshape(values.shape))
    return masks


def _lamp_scores(weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    squares = weights.astype(np.float64).ravel() ** 2
    order = np.argsort(squares, kind="stable")
    as_large = np.cumsum(squares[order][::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.where(as_large > 0, as_large, 1)
    return scores
