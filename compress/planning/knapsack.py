"""Multiple-choice knapsack of a plan: one option per layer, solved exactly up to a small gap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from traces.arrays import Floats, Integers64

_GAP = 1e-3  # a solution may be worse than the best by this share
_SECONDS = 20.0


def choose(objective: Sequence[Floats], totals: Mapping[str, tuple[Sequence[Floats], float]]) -> Integers64 | None:
    """Choose one option per layer, minimising the sum of the objective within all bounds.

    Parameters
    ----------
    objective : sequence of float [options]
        For each layer.
    totals : Mapping[str, (sequence of float [options], float)]
        By name: values of the options as in `objective`, and the upper bound on their sum over the layers.

    Returns
    -------
    int64 [layers] or None
        Place of each layer's option; None if no options keep the bounds.

    Raises
    ------
    MemoryError, ValueError
        As scipy.optimize.milp does.
    """
    return _solve(objective, [(np.concatenate(list(counts)), bound) for counts, bound in totals.values()], slack=False)


def choose_nearest(
    sizes: Sequence[int], totals: Mapping[str, tuple[Sequence[Floats], float]], hard: Sequence[str]
) -> Integers64 | None:
    """Choose one option per layer, minimising the largest relative bound violation.

    Parameters
    ----------
    sizes : sequence of int
        Number of options of each layer.
    totals : Mapping[str, (sequence of float [options], float)]
        As `choose` takes them.
    hard : sequence of str
        Names of the totals that must keep their bounds.

    Returns
    -------
    int64 [layers] or None
        Place of each layer's option; None if no options keep the hard bounds.
    """
    zeros = [np.zeros(size) for size in sizes]
    rows = [(np.concatenate(list(counts)), bound) for name, (counts, bound) in totals.items() if name in hard]
    soft = []
    for name, (counts, bound) in totals.items():
        if name not in hard:
            scale = bound if bound > 0 else 1.0  # a bound of 0 or less has no relative violation: the sum decides
            soft.append((np.concatenate(list(counts)) / scale, bound / scale))
    return _solve(zeros, rows, slack=True, soft=soft)


def _solve(
    objective: Sequence[Floats],
    rows: Sequence[tuple[Floats, float]],
    slack: bool,
    soft: Sequence[tuple[Floats, float]] = (),
) -> Integers64 | None:
    sizes = [len(of_layer) for of_layer in objective]
    total = sum(sizes)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = sparse.csr_array((np.ones(total), (layer, np.arange(total))), shape=(len(sizes), total + slack))
    constraints = [LinearConstraint(one_each, 1, 1)]
    upper = np.append(np.ones(total), [np.inf] * slack)
    for counts, bound in rows:
        scale = max(abs(bound), 1e-300)
        alone = counts <= max(bound, 0)  # others cannot be chosen; huge values disturb the solver
        upper[:total][~alone] = 0
        shares = np.append(np.where(alone, counts, 0) / scale, [0.0] * slack)
        constraints.append(LinearConstraint(shares[np.newaxis], -np.inf, bound / scale))
    for counts, bound in soft:
        constraints.append(LinearConstraint(np.append(counts, -1.0)[np.newaxis], -np.inf, bound))
    costs = np.append(np.concatenate(list(objective)), [1.0] * slack)
    result = milp(
        costs / max(float(np.abs(costs).max()), 1e-300),
        integrality=np.append(np.ones(total), [0.0] * slack),
        bounds=Bounds(0, upper),
        constraints=constraints,
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if result.x is None:
        return None
    return np.array([int(result.x[a:b].argmax()) for a, b in itertools.pairwise(begins)])
