"""Quality of a predicted front: against the true one, or estimated without it.

Without the true front, two figures say something of it. Growth: the share of the hypervolume that the last quarter of
the compressions added. Gap: how much less latency any compression could take on the arrays of the front, at the same
predicted change of the outputs, if layers could mix their choices (the linear relaxation of
`compress.planning.relaxation`); no compression can do better, and some of the gap is the relaxation's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from designs.codesigns.search import LOSSES
from designs.codesigns.trials import Front, StudyTrial
from designs.hypervolume import CostBox, dominated_share, greedy_order
from traces.arrays import Floats64

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

NEAR = 0.05
"""Relative difference within which a design matches a member of the true front in a cost."""
_LAST = 0.25  # of the compressions, in which the growth is measured
_ARRAYS = 6  # of the front, on which the gap is measured
_INSIDE = 0.99  # of the box: a design that is worst in a cost is not left out
_EQUAL = 1e-9  # relative difference of equal costs


@dataclass(frozen=True)
class Regret:
    """Distance of a front from the true one.

    Attributes
    ----------
    hypervolume : float
        Hypervolume relative to that of the true front, in the box around the true front.
    found : float
        Share of the true members that the front has: designs of equal costs, or better ones.
    matched : float
        Share of the true members that some design of the front matches in all costs within NEAR.
    worst : float
        Largest ratio of costs, over all true members, by which the nearest design of the front is worse in its worst
        cost.
    """

    hypervolume: float
    found: float
    matched: float
    worst: float


def regret(objectives: Sequence[str], costs: Floats64, true_costs: Floats64) -> Regret:
    """Return the distance of a front from the true one.

    Parameters
    ----------
    objectives : sequence of str
        Figures to minimise.
    costs : float64 [designs, objectives]
        Costs of the front.
    true_costs : float64 [members, objectives]
        Costs of the true front.

    Notes
    -----
    Losses are compared by difference, relative to the largest one of the true front: they may be 0.
    """
    box = CostBox.around(objectives, true_costs)
    scale = true_costs.copy()
    for number, name in enumerate(objectives):
        if name in LOSSES:
            scale[:, number] = max(float(true_costs[:, number].max()), 1e-300)
    worst = np.empty(len(true_costs))
    for place, (member, unit) in enumerate(zip(true_costs, scale, strict=True)):
        worst[place] = ((costs - member) / unit).max(axis=1).min()
    whole = dominated_share(box, true_costs)
    return Regret(
        dominated_share(box, costs) / whole if whole else 1.0,
        float((worst <= _EQUAL).mean()),
        float((worst <= NEAR).mean()),
        1 + max(0.0, float(worst.max())),
    )


def growth(trials: Sequence[StudyTrial], objectives: Sequence[str]) -> float:
    """Return the share of the hypervolume that the last quarter of the trials added; at least one design."""
    whole = Front.of(trials, objectives).costs
    box = CostBox.around(objectives, whole)
    before = Front.of(trials[: len(trials) - max(1, int(_LAST * len(trials)))], objectives).costs
    share = dominated_share(box, whole)
    return 1 - dominated_share(box, before) / share if share and len(before) else 1.0


def gap(problem: CodesignProblem, trials: Sequence[StudyTrial]) -> tuple[float, float]:
    """Return how much less latency any compression could take at the same change of the outputs, at most.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    trials : sequence of StudyTrial
        Its finished trials; at least one has a design.

    Returns
    -------
    float, float
        Mean and largest share of the latency, over members of the front that are spread in all costs, each with its
        own array. Shallower stages, which a smaller compression may allow, count as the shallowest.
    """
    objectives, space = problem.search.objectives, problem.compressions
    front = Front.of(trials, objectives)
    places = CostBox.around(objectives, front.costs).places(front.costs)
    shares = []
    for at in greedy_order(np.minimum(places, _INSIDE), _ARRAYS):
        trial = trials[front.trials[at]]
        design = trial.designs.design(int(front.places[at]))
        width = design.array.weight_bits
        cycles = np.full(space.change.shape, np.inf)
        for layer, name in enumerate(space.names):
            for place in space.best_by_density(layer, width):
                choice = space.candidates[layer][place].choice
                cycles[layer, place] = problem.enumeration.least_cycles(design, name, choice)
        change = space.changes_of(space.row(trial.choices))
        least = float(space.least_costs(cycles, change, width)[0]) + problem.enumeration.fixed_cycles(design)
        latency_us = float(trial.designs.figures["latency_us"][front.places[at]])
        shares.append(max(0.0, 1 - least / (latency_us * design.array.clock_mhz)))
    return float(np.mean(shares)), float(np.max(shares))


def quality(problem: CodesignProblem, trials: Sequence[StudyTrial]) -> dict[str, Any]:
    """Return growth and gap as plain values for the settings of result files; none if no design keeps all bounds."""
    if not any(len(trial.designs) for trial in trials):
        return {}
    mean, largest = gap(problem, trials)
    grown = growth(trials, problem.search.objectives)
    return {"growth": grown, "gap": {"latency_us": {"mean": mean, "largest": largest}}}
