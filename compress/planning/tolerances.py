"""Tolerances of parameters in closed form, and the fewest shared values within them.

Tolerances that are together as wide as a bound on the outputs allows are from Khoram and Li, "Adaptive quantization of
neural networks", ICLR 2018. The second-order form, its solution with a trust region and the sharing of values by
intervals are ours.
"""

from __future__ import annotations

import numpy as np

from compress.planning.kernels import stab_intervals
from traces import InputError
from traces.arrays import Floats, Floats64, Integers64


def first_order_tolerances(gradients: Floats, bound: float, largest: float) -> Floats64:
    """Return tolerances tau, shape of `gradients`, for a bound on the change of a loss.

    They minimise -sum log2 tau subject to sum |gradient| tau <= bound and 0 < tau <= largest, the trust region. The
    solution is tau = min(largest, lambda / |gradient|). Raises InputError if bound or trust region is not positive, or
    a gradient is not finite.
    """
    return _widest(np.abs(np.asarray(gradients, dtype=np.float64)), bound, largest)


def second_order_tolerances(curvatures: Floats, bound: float, largest: float) -> Floats64:
    """Return tolerances tau, shape of `curvatures`, for a bound on the mean squared change of the outputs.

    They minimise -sum log2 tau subject to sum curvature tau**2 <= bound and 0 < tau <= largest, the trust region. The
    solution is tau = min(largest, sqrt(lambda / curvature)). No labels are needed. Raises InputError if bound or trust
    region is not positive, or a curvature is negative or not finite.

    Parameters
    ----------
    curvatures : float
        Diagonal of the Gauss-Newton matrix: a change d of one parameter alone costs curvature * d**2.
    bound, largest : float
        Bound on the cost, and largest tolerance.
    """
    costs = np.asarray(curvatures, dtype=np.float64)
    if costs.size and costs.min() < 0:
        raise InputError(f"curvatures must not be negative; found {costs.min():g}")
    return np.sqrt(_widest(costs, bound, largest**2))


def _widest(costs: Floats64, bound: float, largest: float) -> Floats64:
    """Return u that minimises -sum log u subject to sum costs u <= bound, 0 < u <= largest."""
    if not bound > 0 or not largest > 0:
        raise InputError(f"bound and trust region must be positive; found {bound:g} and {largest:g}")
    if not np.isfinite(costs).all():
        raise InputError("gradients and curvatures must be finite; check the inputs they were taken on")
    ascending = np.sort(costs, axis=None)
    capped = np.concatenate([[0.0], np.cumsum(ascending)]) * largest  # cost of the k cheapest at the trust region
    if capped[-1] <= bound:
        return np.full(costs.shape, largest)
    free = np.arange(costs.size, 0, -1)
    level = (bound - capped[:-1]) / free  # cost of each other one if the k cheapest are capped
    first = int(np.argmax(level < ascending * largest))  # the first that does not reach the trust region
    with np.errstate(divide="ignore"):
        widest: Floats64 = np.minimum(largest, level[first] / costs)
    return widest


def fewest_shared_values(values: Floats, tolerances: Floats) -> tuple[Floats64, Integers64]:
    """Return the fewest numbers such that each value has one within its tolerance.

    Intervals are stabbed from the left: the next number is the first right end that no number so far reaches. No
    smaller set exists. Each number then moves to the mean of its values, as far as all their intervals allow.

    Parameters
    ----------
    values, tolerances : float
        Of one shape.

    Returns
    -------
    shared : float64
        The numbers, ascending.
    chosen : int64, shape of `values`
        Place of the number that each value takes.

    Raises
    ------
    InputError
        If a tolerance is negative or the shapes differ.
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


def share_within(weights: Floats, tolerances: Floats) -> tuple[Integers64, Floats64]:
    """Return codes and the smallest codebook that keeps every weight within its tolerance.

    A weight whose tolerance reaches zero is pruned, code 0; the others take the fewest shared values, codes from 1 on.
    Raises InputError as `fewest_shared_values` does.
    """
    values, reach = np.asarray(weights, dtype=np.float64), np.asarray(tolerances, dtype=np.float64)
    kept = np.abs(values) > reach if values.shape == reach.shape else np.ones(values.shape, dtype=np.bool_)
    shared, chosen = fewest_shared_values(values[kept], reach[kept] if values.shape == reach.shape else reach)
    codes = np.zeros(values.shape, dtype=np.int64)
    codes[kept] = 1 + chosen
    return codes, np.concatenate([[0.0], shared])
