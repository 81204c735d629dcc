"""Linear relaxation of a plan: layers may mix their options, within a limit on the change of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traces.arrays import Floats, Floats64, Integers64

_ROUNDING = 1e-9  # of a limit, in sums of changes


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Least costs of mixed options, for all limits on the total change; convex and piecewise linear in the limit.

    Attributes
    ----------
    changes, costs : float64 [steps + 1]
        Total change after each step, which increases, and the least total cost at this change, which decreases.
    layers, places : int64 [steps]
        Layer that changes its option in a step, and the place of its new option.
    first : int64 [layers]
        Places of the options before the first step: those of least change.

    Notes
    -----
    Source: the linear multiple-choice knapsack, solved greedily by slope on the lower convex hull of each layer's
    options (Sinha and Zoltners, "The multiple-choice knapsack problem", Operations Research, 1979).
    """

    changes: Floats64
    costs: Floats64
    layers: Integers64
    places: Integers64
    first: Integers64

    @classmethod
    def of(cls, costs: Sequence[Floats] | Floats, changes: Sequence[Floats] | Floats) -> Relaxation:
        """Return the relaxation of these options, for each layer [options]; infinite values mark absent options."""
        hulls = [_hull(np.asarray(cost), np.asarray(change)) for cost, change in zip(costs, changes, strict=True)]
        layers = np.repeat(np.arange(len(hulls)), [len(hull) - 1 for hull in hulls])
        cost_steps, change_steps = (
            np.concatenate([np.diff(np.asarray(of_layer)[hull]) for of_layer, hull in zip(values, hulls, strict=True)])
            for values in (costs, changes)
        )
        order = np.argsort(cost_steps / change_steps, kind="stable")  # keeps the order of each layer's steps
        start = [
            sum(float(each[hull[0]]) for each, hull in zip(values, hulls, strict=True)) for values in (changes, costs)
        ]
        return cls(
            np.cumsum(np.concatenate([start[:1], change_steps[order]])),
            np.cumsum(np.concatenate([start[1:], cost_steps[order]])),
            layers[order],
            np.concatenate([hull[1:] for hull in hulls])[order],
            np.array([hull[0] for hull in hulls], dtype=np.int64),
        )

    def least_costs(self, limits: Floats) -> Floats64:
        """Return a lower bound on the total cost of any options within these limits on the total change.

        Parameters
        ----------
        limits : array of float
            Limits.

        Returns
        -------
        float64, of the shape of `limits`
            The least cost of mixed options; infinite where no options keep the limit.
        """
        limits = np.asarray(limits, dtype=np.float64)
        found = np.interp(limits, self.changes, self.costs)
        return np.where(limits + _ROUNDING * np.abs(limits) < self.changes[0], np.inf, found)

    def step(self, limit: float) -> int:
        """Return the number of whole steps within a limit on the total change."""
        return int(np.searchsorted(self.changes[1:], limit * (1 + _ROUNDING), side="right"))

    def price(self, limit: float) -> float:
        """Return the cost that one more unit of change saves at a limit; 0 if the limit does not bind."""
        step = self.step(limit)
        if step == len(self.layers):
            return 0.0
        saved, spent = self.costs[step] - self.costs[step + 1], self.changes[step + 1] - self.changes[step]
        return float(saved / spent)

    def options(self, limit: float) -> Integers64:
        """Return the places of unmixed options within a limit, [layers]: those of all whole steps."""
        places, steps = self.first.copy(), self.step(limit)
        places[self.layers[:steps]] = self.places[:steps]  # of several steps of a layer, the last one counts
        return places


def _hull(costs: Floats, changes: Floats) -> list[int]:
    """Return places of the lower convex hull of options, from the least change to the least cost."""
    order = [int(place) for place in np.lexsort((costs, changes)) if np.isfinite(costs[place] + changes[place])]
    hull: list[int] = []
    for place in order:
        if hull and costs[place] >= costs[hull[-1]]:
            continue
        while len(hull) > 1:
            before, last = hull[-2], hull[-1]
            saved = (costs[before] - costs[last]) * (changes[place] - changes[last])
            if saved > (costs[last] - costs[place]) * (changes[last] - changes[before]):
                break
            hull.pop()
        hull.append(place)
    return hull
