"""Magnitude pruning: keep the largest weights of a layer (Han et al., "Deep Compression", section 2)."""

from __future__ import annotations

from typing import Any

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
    magnitudes = np.abs(weights).ravel()
    if not np.isfinite(magnitudes).all():
        raise InputError("weights to prune must be finite; found NaN or infinity (has the training diverged?)")
    keep = max(1, round(density * magnitudes.size))
    threshold = np.partition(magnitudes, magnitudes.size - keep)[magnitudes.size - keep]
    mask: npt.NDArray[np.bool_] = magnitudes > threshold
    ties = np.flatnonzero(magnitudes == threshold)
    mask[ties[: keep - int(mask.sum())]] = True
    mask &= magnitudes > 0
    return mask.reshape(weights.shape)


def check_density(name: str, density: float) -> None:
    """Raise InputError if `density`, which the user knows as `name`, is no share of weights to keep."""
    if not 0 < density <= 1:
        raise InputError(f"{name}: the share of weights to keep must be above 0 and at most 1; found {density}")


def density_schedule(target_density: float, steps: int) -> list[float]:
    """Densities of gradual pruning, each the same fraction of the one before, ending at the target."""
    if steps < 1:
        raise InputError(f"pruning takes at least one step; found {steps}")
    return [target_density ** (step / steps) for step in range(1, steps + 1)]
