"""Hypervolume: the share of a box of costs that a set of designs dominates; it compares multi-objective searches."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from traces import InputError

LOGARITHMIC = ("latency_us", "energy_nj", "area_mm2", "file_bytes")
"""Objectives that span decades; they are compared by their logarithms."""
_ROUNDING = 1e-12  # of hypervolumes


def scaled(objectives: Sequence[str], costs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return `costs` [designs, objectives] with the decimal logarithms of the LOGARITHMIC objectives."""
    values = np.array(costs, dtype=np.float64)
    for number, name in enumerate(objectives):
        if name in LOGARITHMIC:
            values[:, number] = np.log10(np.maximum(values[:, number], 1e-12))
    return values


class CostBox:
    """A box in the space of costs, from the best cost to the worst in each objective.

    Parameters
    ----------
    objectives : sequence of str
        Names of the objectives; those in LOGARITHMIC are scaled by their logarithms.
    best, worst : sequence of float [objectives]
        Two corners of the box.
    """

    def __init__(self, objectives: Sequence[str], best: Sequence[float], worst: Sequence[float]) -> None:
        self.objectives = tuple(objectives)
        self._low = scaled(objectives, [best])[0]
        spans = scaled(objectives, [worst])[0] - self._low
        self._spans = np.where(spans > 0, spans, 1.0)

    @classmethod
    def around(cls, objectives: Sequence[str], costs: npt.NDArray[Any]) -> CostBox:
        """Return the smallest box that holds `costs` [designs, objectives]."""
        return cls(objectives, costs.min(axis=0), costs.max(axis=0))

    def places(self, costs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return costs [designs, objectives] relative to the box: 0 is its best cost, 1 its worst."""
        places: npt.NDArray[np.float64] = (scaled(self.objectives, costs) - self._low) / self._spans
        return places


def dominated_share(box: CostBox, costs: npt.ArrayLike) -> float:
    """Return the share of a box that a set of designs dominates, 0 to 1, exactly up to rounding.

    Parameters
    ----------
    box : CostBox
        The box of costs.
    costs : array [designs, objectives]
        Costs of the designs. A design outside the box counts with the part of the box that it dominates: none if one
        of its costs is the worst one or beyond; where a cost is below the best one, as if it was the best one.

    Raises
    ------
    InputError
        If a cost is nan.

    Notes
    -----
    Source: the library moocore; Guerreiro and Fonseca, "Computing and updating hypervolume contributions in up to
    four dimensions", IEEE Transactions on Evolutionary Computation, 2018. The run time grows with n log(n) for up to
    three objectives and n^2 for four; each further objective takes about n times as long.
    """
    values = np.asarray(costs, dtype=np.float64).reshape(-1, len(box.objectives))
    return _volume(_inside(box, values))


def greedy_order(places: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.int64]:
    """Return places of points in an order in which each adds the most hypervolume to those before it.

    Parameters
    ----------
    places : float64 [points, objectives]
        The points, in the unit box: 0 is the best value of an objective, 1 the worst, which dominates nothing.
    number : int
        Most points that are ordered.

    Returns
    -------
    int64 [at most number]
        Points that add something, the most first. For any n, the first n of them dominate at least 1 - 1/e = 63 % of
        what any n points can dominate; in practice 99 % and more.

    Notes
    -----
    A point adds the less, the more points are before it; so only the points that added most when they were last tried
    are tried again. Source: Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978;
    Guerreiro, Fonseca, Paquete, "Greedy hypervolume subset selection in low dimensions", Evolutionary Computation,
    2016.
    """
    gains = [(-float(gain), at, 0) for at, gain in enumerate(np.prod(np.maximum(1 - places, 0.0), axis=1)) if gain > 0]
    heapq.heapify(gains)
    chosen: list[int] = []
    while gains and len(chosen) < number:
        lost, at, known = heapq.heappop(gains)
        if known == len(chosen):
            chosen.append(at)
            continue
        gain = float(np.prod(1 - places[at])) - _volume(np.maximum(places[chosen], places[at]))
        if gain > _ROUNDING:
            heapq.heappush(gains, (max(-gain, lost), at, len(chosen)))
    return np.array(chosen, dtype=np.int64)


def spread_out(places: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.int64]:
    """Return places of points that lie far apart: the best in each cost, then always the one farthest from these.

    Parameters
    ----------
    places : float64 [points, costs]
        The points, such as `CostBox.places` gives them.
    number : int
        Most points that are chosen.

    Returns
    -------
    int64 [at most number]
        The chosen points in the order of the choice; for any n, the first n of them lie far apart, too.

    Notes
    -----
    Distances are sums over the costs. Source: Gonzalez, "Clustering to minimize the maximum intercluster distance",
    Theoretical Computer Science, 1985.
    """
    if not len(places):
        return np.zeros(0, dtype=np.int64)
    chosen: list[int] = list(dict.fromkeys(places.argmin(axis=0).tolist()))[:number]
    distances = np.min([np.abs(places - places[at]).sum(axis=1) for at in chosen], axis=0)
    while len(chosen) < min(number, len(places)):
        distances[chosen] = -1.0  # so that equal points are chosen once each
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(places - places[chosen[-1]]).sum(axis=1))
    return np.array(chosen, dtype=np.int64)


def _inside(box: CostBox, costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return places of costs in a box, of which 0 is the least; check that none is nan."""
    if np.isnan(costs).any():
        raise InputError(
            f"costs must not be nan; found nan in {int(np.isnan(costs).any(axis=1).sum())} of {len(costs)} designs; "
            f"leave out designs without a known cost"
        )
    return np.maximum(box.places(costs), 0.0)


def _volume(places: npt.NDArray[np.float64]) -> float:
    """Return the part of the unit box that places [points, objectives] dominate."""
    within = places[(places < 1).all(axis=1)]
    if not len(within):
        return 0.0
    from moocore import hypervolume  # takes as long to import as the rest of this module's imports

    return min(1.0, float(hypervolume(within, ref=np.ones(within.shape[1]))))
