"""Uncertainty of a verified front: how often a design stays on it when the constants of the cost model are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from designs.codesigns.layer_costs import counts_of_rows
from designs.codesigns.point import CodesignPoint
from designs.codesigns.search import DRAWS, LOSSES
from designs.near_ties import standing_for, told_apart
from designs.sweeps.evaluation import energies_pj
from sim import ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.constants import Constants
from sim.cost.timing import timing
from traces import InputError
from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.plain_values import shown, whole_number

DRAWN = ("energy_nj", "area_mm2")
"""Figures of a design that depend on the constants."""
MOST_DRAWS = 1_000_000
Excesses = Callable[[Mapping[str, float], bool, ArrayConfig], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class VerifiedDesign:
    """Design as measured, with what its costs under other constants need.

    Attributes
    ----------
    point : CodesignPoint
        The design with its measured figures.
    counts : float64 [layers, counts]
        Measured COUNTS (`designs.sweeps.evaluation`) of each layer, mean per input.
    loss_interval : (float, float)
        Interval of the measured loss.
    """

    point: CodesignPoint
    counts: Floats64
    loss_interval: tuple[float, float]

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> VerifiedDesign:
        """Return the design of a record of `designs.codesigns.verification.Verification`."""
        lower, upper = record["measured_loss"]
        return cls(CodesignPoint.from_dict(record), counts_of_rows(record["layers"]), (lower, upper))


class Standing(NamedTuple):
    """Standing of one design among others under uncertain constants.

    Attributes
    ----------
    front_share : float
        Share of the draws in which the design is feasible and Pareto-optimal.
    same_as : int
        Place of the design that stands for it; its own place if it stands for itself.
    """

    front_share: float
    same_as: int


def number_of_draws(uncertain: object) -> int:
    """Return a number of draws, 0 for none. Raises InputError unless it is a whole number up to MOST_DRAWS."""
    try:
        return whole_number("uncertain", uncertain, 0, MOST_DRAWS)
    except InputError:
        raise InputError(
            f"uncertain must be a whole number of draws of the cost model's constants, such as {DRAWS}, or 0 for none, "
            f"at most {MOST_DRAWS:,}; found {shown(uncertain)}"
        ) from None


def standings(
    designs: Sequence[VerifiedDesign],
    objectives: Sequence[str],
    excesses: Excesses,
    constants: Sequence[Constants],
) -> list[Standing]:
    """Find how often each design is on the front, and which designs cannot be told apart.

    Parameters
    ----------
    designs : sequence of VerifiedDesign
        Verified designs.
    objectives : sequence of str
        Figures to minimise.
    excesses : callable
        Relative violations of all bounds by figures, `CodesignProblem.excesses`.
    constants : sequence of Constants
        Draws of the constants, each for all designs together; at least one.

    Returns
    -------
    list of Standing
        One for each design.

    Raises
    ------
    InputError
        If an SRAM is outside the tables (`sim.cost.sram`).

    Notes
    -----
    Each draw gives energy, area and highest clock of each design from its measured counts. Loss, latency and file size
    do not depend on the constants: an array keeps its clock and its pipeline, and is infeasible in a draw that does not
    allow its clock. An objective tells two designs apart as `designs.near_ties.told_apart` has it; a loss does so only
    if its measured intervals do not overlap, too. Of designs that no objective tells apart, the one with the largest
    share stands for the others. A design that is feasible in no draw stands for itself.
    """
    costs = np.empty((len(constants), len(designs), len(objectives)))
    feasible = np.empty((len(constants), len(designs)), dtype=bool)
    for place, design in enumerate(designs):
        array, lacking = design.point.design.array, design.point.excesses.get("must_fit", 0.0) > 0
        for draw, drawn in enumerate(constants):
            figures = {**design.point.figures, **drawn_figures(array, design.counts, drawn)}
            costs[draw, place] = [figures[name] for name in objectives]
            broken = dict(excesses(figures, lacking, array))
            broken["clock_mhz"] = array.clock_mhz / timing(array, drawn).highest_clock_mhz - 1
            feasible[draw, place] = all(excess <= 0 for excess in broken.values())
    feasible &= np.isfinite(costs).all(axis=2)
    shares = front_shares(costs, feasible)
    ever = feasible.any(axis=0)
    apart = _apart(designs, objectives, costs) | ~np.logical_and.outer(ever, ever)
    order = np.argsort(-shares, kind="stable").tolist()
    return [Standing(float(share), same) for share, same in zip(shares, standing_for(apart, order), strict=True)]


def drawn_figures(array: ArrayConfig, counts: Floats64, constants: Constants) -> dict[str, float]:
    """Return the DRAWN figures of a design under other constants.

    Parameters
    ----------
    array : ArrayConfig
        The array.
    counts : float64 [layers, counts]
        COUNTS of each layer, mean per input.
    constants : Constants
        The constants.
    """
    return {
        "energy_nj": float(energies_pj(array, counts, constants).sum()) / 1e3,
        "area_mm2": area_mm2(array, constants),
    }


def front_shares(costs: Floats64, feasible: npt.NDArray[np.bool_]) -> Floats64:
    """Return the share of draws in which each design is feasible and Pareto-optimal, [designs].

    Parameters
    ----------
    costs : float64 [draws, designs, objectives]
        Costs in each draw.
    feasible : bool [draws, designs]
        True if the design is feasible in the draw.
    """
    optimal = np.zeros_like(feasible)
    for of_draw, keeps, found in zip(costs, feasible, optimal, strict=True):
        found[keeps] = non_dominated(of_draw[keeps])
    shares: Floats64 = optimal.mean(axis=0)
    return shares


def _apart(designs: Sequence[VerifiedDesign], objectives: Sequence[str], costs: Floats64) -> npt.NDArray[np.bool_]:
    """Mark the pairs of designs that some objective tells apart, [designs, designs]."""
    apart = np.zeros((len(designs), len(designs)), dtype=bool)
    lower, upper = np.array([design.loss_interval for design in designs]).T
    overlapping = (lower[:, None] <= upper[None, :]) & (lower[None, :] <= upper[:, None])
    for number, name in enumerate(objectives):
        by_this = told_apart(costs[:, :, number] if name in DRAWN else costs[:1, :, number])
        apart |= by_this & ~overlapping if name in LOSSES else by_this
    return apart
