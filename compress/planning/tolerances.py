"""How far each parameter may move, in closed form, and the fewest shared values such tolerances allow.

The form, tolerances that are together as wide as a bound on the outputs lets them be, is after Khoram and Li, "Adaptive
quantization of neural networks", ICLR 2018. The second-order form, its solution with a trust region and the sharing of
values by intervals are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from compress.planning.kernels import stab_intervals
from traces import InputError

Floats = npt.NDArray[Any]


def first_order_tolerances(gradients: Floats, bound: float, largest: float) -> npt.NDArray[np.float64]:
    """Tolerances tau, shape of `gradients`, for a bound on the change of a loss: labels are needed for the gradients.

    They minimise -sum log2 tau subject to sum |gradient| tau <= bound and 0 < tau <= largest, the trust region; so
    tau = min(largest, lambda / |gradient|). Raises InputError if bound or trust region is not positive, or a gradient
    is not finite.
    """
    return _widest(np.abs(np.asarray(gradients, dtype=np.float64)), bound, largest)


def second_order_tolerances(curvatures: Floats, bound: float, largest: float) -> npt.NDArray[np.float64]:
    """Tolerances tau, shape of `curvatures`, for a bound on the mean squared change of the outputs: no labels.

    curvatures   diagonal of the Gauss-Newton matrix: what a change d of one parameter alone costs is curvature d**2

    They minimise -sum log2 tau subject to sum curvature tau**2 <= bound and 0 < tau <= largest, the trust region; so
    tau = min(largest, sqrt(lambda / curvature)). Raises InputError if bound or trust region is not positive, or a
    curvature is negative or not finite.
    """
    costs = np.asarray(curvatures, dtype=np.float64)
    if costs.size and costs.min() < 0:
        raise InputError(f"curvatures must not be negative; found {costs.min():g}")
    return np.sqrt(_widest(costs, bound, largest**2))


def _widest(costs: npt.NDArray[np.float64], bound: float, largest: float) -> npt.NDArray[np.float64]:
    """u that minimise -sum log u subject to sum costs u <= bound, 0 < u <= largest."""
    if not bound > 0 or not largest > 0:
        raise InputError(f"bound and trust region must be positive; found {bound:g} and {largest:g}")
    if not np.isfinite(costs).all():
        raise InputError("gradients and curvatures must be finite; check the inputs they were taken on")
    ascending = np.sort(costs, axis=None)
    capped = np.concatenate([[0.0], np.cumsum(ascending)]) * largest  # what the k cheapest take at the trust region
    if capped[-1] <= bound:
        return np.full(costs.shape, largest)
    free = np.arange(costs.size, 0, -1)
    level = (bound - capped[:-1]) / free  # what each of the others takes, if the k cheapest are capped
    first = int(np.argmax(level < ascending * largest))  # the first that it would not let reach the trust region
    with np.errstate(divide="ignore"):
        found: npt.NDArray[np.float64] = np.minimum(largest, level[first] / costs)
    return found


def fewest_shared_values(values: Floats, tolerances: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The fewest numbers such that each value has one within its tolerance: ascending, and which one each value takes.

    values, tolerances   one shape; the second result has it, too

    Intervals are stabbed from the left: a number is needed at the first right end that no number so far reaches;
    no set of fewer exists. Each number then goes to the mean of its values, as far as all their intervals allow it.
    Raises InputError if a tolerance is negative or the shapes differ.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    reach = np.asarray(tolerances, dtype=np.float64).ravel()
    if np.shape(values) != np.shape(tolerances):
        shapes = f"{list(np.shape(values))} and {list(np.shape(tolerances))}"
        raise InputError(f"values and tolerances must have one shape; found {shapes}")
    if flat.size and not reach.min() >= 0:
        raise InputError(f"tolerances must not be negative; found {reach.min():g}")
    lowest, highest = flat - reach, flat + reach
    order = np.argsort(highest, kind="stable")
    chosen = np.empty(flat.size, dtype=np.int64)
    count = stab_intervals(lowest, highest, order, chosen)
    least, most = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(least, chosen, lowest)
    np.minimum.at(most, chosen, highest)
    means = np.bincount(chosen, flat, count) / np.maximum(np.bincount(chosen, minlength=count), 1)
    return np.clip(means, least, most), chosen.reshape(np.shape(values))


def share_within(weights: Floats, tolerances: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The smallest codebook that keeps every weight within its tolerance: codes, shape of `weights`, and the codebook.

    A weight whose tolerance reaches zero is pruned, code 0; the others take the fewest shared values that there are,
    codes from 1 on. Raises InputError as `fewest_shared_values`.
    """
    values, reach = np.asarray(weights, dtype=np.float64), np.asarray(tolerances, dtype=np.float64)
    kept = np.abs(values) > reach if values.shape == reach.shape else np.ones(values.shape, dtype=np.bool_)
    shared, chosen = fewest_shared_values(values[kept], reach[kept] if values.shape == reach.shape else reach)
    codes = np.zeros(values.shape, dtype=np.int64)
    codes[kept] = 1 + chosen
    return codes, np.concatenate([[0.0], shared])
