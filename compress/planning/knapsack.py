"""Multiple-choice knapsack of a plan: one option per layer, solved exactly up to a small gap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from traces.arrays import Booleans, Floats, Integers64

_GAP_OF_NEAREST = 5e-3
_GAP = 1e-3  # a solution may be worse than the best by this share
_SECONDS = 20.0
_INFEASIBLE = 2  # status of scipy.optimize.linprog
_ROUNDING = 1e-9  # of a bound, in sums of counts
_NOT_MIXED = 1e-9  # of a layer, a smaller part of an option counts as none


def choose(
    objective: Sequence[Floats], totals: Mapping[str, tuple[Sequence[Floats], float]], gap: float = _GAP
) -> Integers64 | None:
    """Choose one option per layer, minimising the sum of the objective within all bounds.

    Parameters
    ----------
    objective : sequence of float [options]
        For each layer.
    totals : Mapping[str, (sequence of float [options], float)]
        By name: values of the options as in `objective`, and the upper bound on their sum over the layers.
    gap : float
        Share by which the solution may be worse than the best.

    Returns
    -------
    int64 [layers] or None
        Place of each layer's option; None if no options keep the bounds.

    Raises
    ------
    MemoryError, ValueError
        As scipy.optimize.milp does.
    """
    kept = [_useful([of_layer, *(counts[n] for counts, _ in totals.values())]) for n, of_layer in enumerate(objective)]
    costs = [of_layer[places] for of_layer, places in zip(objective, kept, strict=True)]
    rows = [([counts[n][places] for n, places in enumerate(kept)], bound) for counts, bound in totals.values()]
    solved, able = _relaxed(costs, rows, gap)
    if solved is not None:
        return np.array([places[at] for places, at in zip(kept, solved, strict=True)])
    if able is None:
        return None
    kept, costs = _left(kept, able), _left(costs, able)
    rows = [(_left(counts, able), bound) for counts, bound in rows]
    found = _solve(costs, [(np.concatenate(counts), bound) for counts, bound in rows], slack=False)
    return None if found is None else np.array([places[at] for places, at in zip(kept, found, strict=True)])


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
    over = [name for name in totals if name not in hard]
    if len(over) == 1:  # the violation is least where the sum is
        return choose(totals[over[0]][0], {name: totals[name] for name in hard}, _GAP_OF_NEAREST)
    zeros = [np.zeros(size) for size in sizes]
    rows = [(np.concatenate(list(counts)), bound) for name, (counts, bound) in totals.items() if name in hard]
    soft = []
    for name, (counts, bound) in totals.items():
        if name not in hard:
            scale = bound if bound > 0 else 1.0  # a bound of 0 or less has no relative violation: the sum decides
            soft.append((np.concatenate(list(counts)) / scale, bound / scale))
    return _solve(zeros, rows, slack=True, soft=soft)


def _useful(columns: Sequence[Floats]) -> Integers64:
    """Return the places of the options of a layer that no other option dominates, one of several equal ones."""
    table, first = np.unique(np.stack(columns, axis=1), axis=0, return_index=True)
    worse: Booleans = np.all(table[:, None] >= table[None], axis=2)  # equal rows are gone
    worse &= ~np.eye(len(table), dtype=np.bool_)
    return np.sort(first[~np.any(worse, axis=1)])


def _left(of_layers: Sequence[Any], able: Sequence[Booleans]) -> list[Any]:
    return [of_layer[left] for of_layer, left in zip(of_layers, able, strict=True)]


def _relaxed(
    costs: Sequence[Floats], rows: Sequence[tuple[Sequence[Floats], float]], gap: float
) -> tuple[Integers64 | None, list[Booleans] | None]:
    """Solve the linear relaxation, in which layers may mix options, and round its solution.

    Parameters
    ----------
    costs : sequence of float [options]
        For each layer.
    rows : sequence of (sequence of float [options], float)
        Counts like `costs`, and the upper bound on their sum.
    gap : float
        Share by which a solution may be worse than the best.

    Returns
    -------
    int64 [layers] or None
        Options within the bounds whose cost is within the gap of the least possible; None if none were found.
    list of bool [options] or None
        Options that a better solution may have; None if no options keep the bounds.
    """
    every = [np.ones(len(of_layer), dtype=np.bool_) for of_layer in costs]
    sizes = [len(of_layer) for of_layer in costs]
    layer = np.repeat(np.arange(len(sizes)), sizes)
    one_each = sparse.csr_array((np.ones(layer.size), (layer, np.arange(layer.size))))
    scales = [max(abs(bound), 1e-300) for _, bound in rows]
    table = np.stack([np.concatenate(list(counts)) / scale for (counts, _), scale in zip(rows, scales, strict=True)])
    bounds = np.array([bound / scale + _ROUNDING for (_, bound), scale in zip(rows, scales, strict=True)])
    flat = np.concatenate(list(costs))
    size = max(float(np.abs(flat).max()), 1e-300)
    relaxed = linprog(flat / size, table, bounds, one_each, np.ones(len(sizes)), method="highs")
    if relaxed.x is None:
        return None, None if relaxed.status == _INFEASIBLE else every
    prices = -size * np.minimum(relaxed.ineqlin.marginals, 0.0)
    # the cost of any solution within the bounds is at least the floor, and by so much more if it has an option
    more = flat + prices @ table
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    least = np.minimum.reduceat(more, begins)
    floor = float(least.sum() - prices @ bounds)
    spent = np.where(relaxed.x > _NOT_MIXED, prices @ table, np.inf)
    best = _improved(
        np.array([int(each.argmin()) for each in np.split(spent, begins[1:])]), flat, table, bounds, begins
    )
    if best is None:
        return None, every
    cost = float(flat[begins + best].sum())
    if cost - floor <= gap * abs(cost):
        return best, every
    return None, np.split(floor + more - least[layer] <= cost + _ROUNDING * size, begins[1:])


def _improved(
    places: Integers64, costs: Floats, counts: Floats, bounds: Floats, begins: Integers64
) -> Integers64 | None:
    """Change one layer at a time, as long as that lowers the cost within the bounds; None if they are not kept."""
    layer = np.searchsorted(begins, np.arange(len(costs)), side="right") - 1
    while True:
        chosen = begins + places
        room = bounds - counts[:, chosen].sum(axis=1)
        if (room < 0).any():
            return None
        fits = (counts - counts[:, chosen][:, layer] <= room[:, None]).all(axis=0)
        gains = np.where(fits, costs[chosen][layer] - costs, 0.0)
        option = int(gains.argmax())
        if gains[option] <= 0:
            return places
        places = places.copy()
        places[layer[option]] = option - begins[layer[option]]


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
