"""The multiple-choice knapsack of a plan: one choice for each layer, solved exactly."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

Floats = npt.NDArray[Any]
_GAP = 1e-3  # a solution may be this share worse than the best
_SECONDS = 20.0


def choose(
    objective: Sequence[Floats], totals: Mapping[str, tuple[Sequence[Floats], float]]
) -> npt.NDArray[np.int64] | None:
    """Which choice each layer takes, so that the objective's sum is the least; None if no choice keeps the bounds.

    objective   for each layer, float [choices]
    totals      by name: what each choice counts, as in `objective`, and the bound on the sum over the layers

    Raises MemoryError or ValueError as scipy.optimize.milp does.
    """
    return _solve(objective, [(np.concatenate(list(counts)), bound) for counts, bound in totals.values()], slack=False)


def choose_nearest(
    sizes: Sequence[int], totals: Mapping[str, tuple[Sequence[Floats], float]], hard: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """Which choice each layer takes, so that the sum that is furthest over its bound is so by the smallest share.

    sizes   choices of each layer
    hard    names of the totals that must keep their bounds; None is returned if they cannot
    """
    zeros = [np.zeros(size) for size in sizes]
    rows = [(np.concatenate(list(counts)), bound) for name, (counts, bound) in totals.items() if name in hard]
    soft = []
    for name, (counts, bound) in totals.items():
        if name not in hard:
            scale = bound if bound > 0 else 1.0  # of a bound that nothing keeps there is no share: the sum decides
            soft.append((np.concatenate(list(counts)) / scale, bound / scale))
    return _solve(zeros, rows, slack=True, soft=soft)


def _solve(
    objective: Sequence[Floats],
    rows: Sequence[tuple[Floats, float]],
    slack: bool,
    soft: Sequence[tuple[Floats, float]] = (),
) -> npt.NDArray[np.int64] | None:
    sizes = [len(each) for each in objective]
    total = sum(sizes)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = sparse.csr_array((np.ones(total), (layer, np.arange(total))), shape=(len(sizes), total + slack))
    constraints = [LinearConstraint(one_each, 1, 1)]
    upper = np.append(np.ones(total), [np.inf] * slack)
    for counts, bound in rows:
        scale = max(abs(bound), 1e-300)
        alone = counts <= max(bound, 0)  # others cannot be chosen; their numbers, huge at times, unsettle the solver
        upper[:total][~alone] = 0
        shares = np.append(np.where(alone, counts, 0) / scale, [0.0] * slack)
        constraints.append(LinearConstraint(shares[np.newaxis], -np.inf, bound / scale))
    for counts, bound in soft:
        constraints.append(LinearConstraint(np.append(counts, -1.0)[np.newaxis], -np.inf, bound))
    costs = np.append(np.concatenate(list(objective)), [1.0] * slack)
    found = milp(
        costs / max(float(np.abs(costs).max()), 1e-300),
        integrality=np.append(np.ones(total), [0.0] * slack),
        bounds=Bounds(0, upper),
        constraints=constraints,
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if found.x is None:
        return None
    return np.array([int(found.x[a:b].argmax()) for a, b in itertools.pairwise(begins)])
