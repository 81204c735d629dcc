"""Verification of a predicted front: members that cover it are measured, and what they show corrects the others.

Members of one compression share its containers' bytes and its loss, so that a member whose compression was measured
before costs little. A third of the measured members, at most, have compressions of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.codesigns.columns import (
    DESIGN_COLUMNS,
    DESIGNS_FILE,
    FRONT_COLUMNS,
    FRONT_FILE,
    design_row,
    verified_row,
)
from designs.codesigns.compression_search import compression_key
from designs.codesigns.correction import Correction
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import LOSSES
from designs.codesigns.trials import Front, StudyTrial
from designs.codesigns.uncertainty import VerifiedDesign, standings
from designs.codesigns.verification import FineTune, Verification
from designs.hypervolume import CostBox, dominated_share
from designs.results import provenance, table_of, write_results
from sim.cost.constants import drawn_constants
from traces import InputError
from traces.arrays import Booleans
from traces.pareto import non_dominated
from traces.shell.progress import Progress

_OWN_COMPRESSIONS = 3  # of so many measured members, one has a compression that was not measured before
_CORRECTED = ("latency_us", "energy_nj", *LOSSES)
_SAMPLED = 1.05  # ratio to be expected of latency and energy, which are predicted on other inputs


class Members:
    """Members of a predicted front, with their costs as corrected by those that are measured.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    trials : sequence of StudyTrial
        All finished trials; at least one has a design.
    """

    def __init__(self, problem: CodesignProblem, trials: Sequence[StudyTrial]) -> None:
        self.problem, self.objectives = problem, problem.search.objectives
        front = Front.of(trials, self.objectives)
        self.trials = [trials[at] for at in front.trials]
        self.points = [trial.point(place) for trial, place in zip(self.trials, front.places.tolist(), strict=True)]
        self.keys = [compression_key(trial.choices) for trial in self.trials]
        self.predicted = front.costs
        self.measured = np.full_like(self.predicted, np.nan)
        self.lower, self.upper, self.corrected = (self.predicted.copy() for _ in range(3))
        self.box = CostBox.around(self.objectives, self.predicted)
        self._corners = list(dict.fromkeys(self.predicted.argmin(axis=0).tolist()))
        self._correct()

    def __len__(self) -> int:
        return len(self.points)

    @property
    def done(self) -> Booleans:
        """Mark the members that are measured, [members]."""
        done: Booleans = np.asarray(np.isfinite(self.measured).any(axis=1))
        return done

    def note(self, place: int, measured: CodesignPoint) -> None:
        """Take in the measured figures of a member, and correct all others."""
        self.measured[place] = [measured.figures[name] for name in self.objectives]
        self._correct()

    @property
    def unsettled(self) -> float:
        """Share of the hypervolume that hangs on intervals: of their lower ends, that of the upper ends lacks it."""
        best = dominated_share(self.box, self.lower)
        return 1 - dominated_share(self.box, self.upper) / best if best else 0.0

    def next(self) -> int:
        """Return the member to measure next: the best in a cost, then those far from measured ones, or unsure."""
        done = self.done
        corner: int | None = next((at for at in self._corners if not done[at]), None)
        if corner is not None:
            return corner
        known = {self.keys[at] for at in np.flatnonzero(done)}
        own = np.array([key in known for key in self.keys])
        wanted = ~done & (own if len(known) * _OWN_COMPRESSIONS > done.sum() else ~own)
        wanted = wanted if wanted.any() else ~done
        places = self.box.places(self.corrected)
        far = np.abs(places[:, None] - places[None, done]).sum(axis=2).min(axis=1)
        width = (self.box.places(self.upper) - self.box.places(self.lower)).sum(axis=1)
        return int(np.where(wanted, far + width, -np.inf).argmax())

    def _correct(self) -> None:
        """Correct the costs of all members that are not measured, and the intervals of all."""
        done = self.done
        loss_known: dict[tuple[str, str], float] = {}
        for number, name in enumerate(self.objectives):
            predicted, measured = self.predicted[:, number], self.measured[:, number]
            if name not in _CORRECTED:
                self.corrected[:, number] = np.where(done, measured, predicted)
                self.lower[:, number] = self.upper[:, number] = self.corrected[:, number]
                continue
            first = done.copy()
            if name in LOSSES:  # of one compression, one loss was measured
                first[done] = _first_of([self._loss_key(at) for at in np.flatnonzero(done).tolist()])
                loss_known = {self._loss_key(at): measured[at] for at in np.flatnonzero(done).tolist()}
            correction = Correction.of(name, predicted[first], measured[first], self._damping)
            corrected = correction(predicted)
            lower, upper = correction.interval(corrected, self._factor(name))
            if name in LOSSES and loss_known:
                values = np.array([loss_known.get(self._loss_key(at), math.nan) for at in range(len(self))])
                certain = np.isfinite(values)
            else:
                values, certain = measured, done
            for column, estimate in ((self.corrected, corrected), (self.lower, lower), (self.upper, upper)):
                column[:, number] = np.where(certain, values, estimate)

    def _loss_key(self, place: int) -> tuple[str, str]:
        return self.keys[place], self.points[place].design.array.precision

    @property
    def _damping(self) -> float:
        return self.problem.analysis.loss_predictions["float"].damping

    def _factor(self, name: str) -> float:
        if name not in LOSSES:
            return _SAMPLED
        return max(each.factor for each in self.problem.analysis.loss_predictions.values())

    def table(self) -> pa.Table:
        """Return DESIGN_COLUMNS of all members, by trial."""
        done, rows = self.done, []
        for place, (trial, point) in enumerate(zip(self.trials, self.points, strict=True)):
            corrected = dict(zip(self.objectives, self.corrected[place].tolist(), strict=True))
            loss = next((number for number, name in enumerate(self.objectives) if name in LOSSES), None)
            ends = [None, None] if loss is None else [float(each[place, loss]) for each in (self.lower, self.upper)]
            rows.append(design_row(trial.number, point, corrected, (ends[0], ends[1]), bool(done[place])))
        rows.sort(key=lambda row: row["trial"])
        return table_of(DESIGN_COLUMNS, rows)


def _first_of(keys: Sequence[Any]) -> list[bool]:
    """Mark the first of equal keys."""
    seen: set[Any] = set()
    return [not (key in seen or seen.add(key)) for key in keys]  # type: ignore[func-returns-value]


def verified_front(
    problem: CodesignProblem,
    folder: Path,
    trials: Sequence[StudyTrial],
    fine_tune: FineTune | None = None,
    uncertain: int = 0,
) -> pa.Table:
    """Compress and measure members of the predicted front, and write the results.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    folder : Path
        Folder of the results.
    trials : sequence of StudyTrial
        All finished trials.
    fine_tune : callable, optional
        As in `designs.codesigns.loop.codesign`.
    uncertain : int
        As in `designs.codesigns.loop.codesign`.

    Returns
    -------
    pyarrow.Table
        FRONT_COLUMNS, one row per verified design; designs on the measured front come first.

    Raises
    ------
    InputError
        If no design keeps all bounds.
    """
    search, objectives = problem.search, problem.search.objectives
    if not any(len(trial.designs) for trial in trials):
        raise InputError(
            f"no design of {len(trials):,} compressions keeps all bounds{_nearest(trials)}; relax the bounds, widen "
            f"the space or give more trials"
        )
    members = Members(problem, trials)
    verification = Verification(problem, folder / "front", fine_tune)
    rows: list[dict[str, Any]] = []
    layers_by_digest, designs = {}, {}
    most = min(search.verify, len(members))
    with Progress("verifying designs", "designs", most) as progress:
        while len(rows) < most and not (rows and members.unsettled <= search.settled):
            place = members.next()
            trial, point = members.trials[place], members.points[place]
            record = verification(point)
            rows.append(_front_row(trial.number, point, record))
            members.note(place, CodesignPoint.from_dict(record))
            designs[point.digest] = VerifiedDesign.of_record(record)
            key = {"trial": trial.number, "digest": point.digest}
            layers_by_digest[point.digest] = [key | layer for layer in record["layers"]]
            progress.advance()
    feasible = np.array([row["keeps_bounds"] for row in rows])
    measured = np.array([[row[f"measured_{name}"] for name in objectives] for row in rows])
    optimal = np.zeros(len(rows), dtype=bool)
    optimal[feasible] = non_dominated(measured[feasible])
    for row, on_measured_front in zip(rows, optimal, strict=True):
        row["on_front"] = bool(on_measured_front)
    rows.sort(key=lambda row: (not row["on_front"], row[f"measured_{objectives[0]}"]))
    if uncertain:
        ordered, constants = [designs[row["digest"]] for row in rows], list(drawn_constants(uncertain))
        for row, standing in zip(rows, standings(ordered, objectives, problem.excesses, constants), strict=True):
            row |= {"front_share": standing.front_share, "same_as": rows[standing.same_as]["digest"]}
    table = table_of(FRONT_COLUMNS, rows)
    settings = {"fine_tuned": fine_tune is not None, "uncertain": uncertain, "unsettled": members.unsettled}
    origin = provenance(problem.settings() | settings)
    layer_rows = [layer for row in rows for layer in layers_by_digest[row["digest"]]]
    write_results(folder / DESIGNS_FILE, members.table(), origin)
    write_results(folder / LAYERS_FILE, table_of(LAYER_COLUMNS, layer_rows), origin)
    write_results(folder / FRONT_FILE, table, origin)
    return table


def _nearest(trials: Sequence[StudyTrial]) -> str:
    """Describe the smallest violation of the bounds by any trial, as the end of an error sentence."""
    points = [trial.nearest for trial in trials if trial.nearest is not None]
    if not points:
        reasons = sorted({trial.refused for trial in trials} - {""})
        return f": {'; '.join(reasons[:3])}" if reasons else ""
    nearest = min(points, key=lambda point: max(point.excesses.values()))
    over = {name: excess for name, excess in nearest.excesses.items() if excess > 0}
    return "; the nearest exceeds " + " and ".join(f"{name} by {excess:.0%}" for name, excess in over.items())


def _front_row(number: int, point: CodesignPoint, record: Mapping[str, Any]) -> dict[str, Any]:
    measured = CodesignPoint.from_dict(record)
    return {
        "trial": number,
        "digest": point.digest,
        **verified_row(point, measured, record),
        "accuracy": record["accuracy"],
        "test_accuracy": record["test_accuracy"],
        "overflows": record["overflows"],
        "saturated_activations": record["saturated_activations"],
        "output_difference": record["output_difference"],
        "keeps_bounds": measured.feasible,
        "on_front": False,
        "front_share": None,
        "same_as": "",
    }
