"""How good a predicted front is: against the true one, or estimated without it.

Without the true front, two figures say something of it. Growth: the share of the hypervolume that the last quarter of
the compressions added. Gap: how much less latency any compression could take on the arrays of the front, at the same
predicted change of the outputs, if layers could mix their choices (the linear relaxation of
`compress.planning.relaxation`); no compression can do better, and some of the gap is the relaxation's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from designs.codesigns.search import LOSSES
from designs.codesigns.trials import Front, StudyTrial
from designs.hypervolume import CostBox, dominated_share
from traces.arrays import Floats64

if TYPE_CHECKING:
    pass

NEAR = 0.05
"""Relative difference within which a design matches a member of the true front in a cost."""
_LAST = 0.25  # of the compressions, in which the growth is measured
_ARRAYS = 32  # of the front, on which the gap is measured
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
