"""Verification of a predicted front: members that cover it are measured, and what they show corrects the others.

Members of one compression share its containers' bytes and its loss, so that a member whose compression was measured
before costs little. A quarter of the measured members, at most, have compressions of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from designs.codesigns.columns import DESIGNS_FILE, FRONT_COLUMNS, FRONT_FILE, verified_row
from designs.codesigns.correction import Correction
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.problem import CodesignProblem
from designs.codesigns.search import LOSSES
from designs.codesigns.trials import Front, FrontDesigns, StudyTrial
from designs.codesigns.uncertainty import VerifiedDesign, standings
from designs.codesigns.verification import FRONT_FOLDER, FineTune, Verification
from designs.hypervolume import CostBox, dominated_share
from designs.results import provenance, table_of, write_results
from sim.cost.constants import drawn_constants
from traces import InputError
from traces.arrays import Booleans, Floats64
from traces.pareto import non_dominated
from traces.shell.progress import Progress

_OWN_COMPRESSIONS = 4  # of so many measured members, one has a compression that was not measured before
_CORRECTED = ("latency_us", "energy_nj", *LOSSES)
_NEAR, _NEAR_SHARES = 1.0, 0.4  # of similar designs: ratio of losses, as logarithm, and share of a layer's change
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
        self.predicted = front.costs
        self.front = FrontDesigns.of(trials, front)
        self.measured = np.full_like(self.predicted, np.nan)
        self.lower, self.upper, self.corrected = (self.predicted.copy() for _ in range(3))
        self.box = CostBox.around(self.objectives, self.predicted)
        self._corners = list(dict.fromkeys(self.predicted.argmin(axis=0).tolist()))
        precisions = self.front.designs.hardware["precision"].tolist()
        runs = list(zip(front.trials.tolist(), precisions, strict=True))
        numbers = {run: number for number, run in enumerate(dict.fromkeys(runs))}
        self.runs = np.array([numbers[run] for run in runs])  # designs of one compression and precision lose the same
        self._loss = next((number for number, name in enumerate(self.objectives) if name in LOSSES), None)
        self._similar = self._features()
        self._correct()

    def __len__(self) -> int:
        return len(self.predicted)

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
        known = np.unique(self.runs[done])
        own = np.isin(self.runs, known)
        choices = (own, ~own) if len(known) * _OWN_COMPRESSIONS > done.sum() else (~own, own)
        kept = self._keeps_bounds & ~done
        wanted = next(each for each in (kept & choices[0], kept & choices[1], ~done) if each.any())
        places = self.box.places(self.corrected)
        far = np.full(len(self), np.inf)
        for at in np.flatnonzero(done):
            far = np.minimum(far, np.abs(places - places[at]).sum(axis=1))
        width = (self.box.places(self.upper) - self.box.places(self.lower)).sum(axis=1)
        return int(np.where(wanted, far + width, -np.inf).argmax())

    def cheapest(self, name: str) -> int:
        """Return the unmeasured member with the least corrected value of an objective, within the bounds if any is."""
        left = ~self.done
        wanted = self._keeps_bounds & left
        values = self.corrected[:, self.objectives.index(name)]
        return int(np.where(wanted if wanted.any() else left, values, np.inf).argmin())

    @property
    def _keeps_bounds(self) -> Booleans:
        """Mark the members whose corrected costs keep the bounds on them."""
        bounds = np.array([self.problem.search.bounds.get(name, math.inf) for name in self.objectives])
        kept: Booleans = np.asarray((self.corrected <= bounds).all(axis=1))
        return kept

    def _features(self) -> dict[str, Floats64]:
        """Return what designs are similar by, for each corrected objective, [members, features].

        For a loss, these are its logarithm and the share of each layer in the predicted change of the outputs: a layer
        whose change was predicted wrongly misleads wherever it has a large share.
        """
        features: dict[str, Floats64] = {name: np.zeros((len(self), 0)) for name in _CORRECTED}
        loss = self._loss
        if loss is None:
            return features
        analysis, shares = self.problem.analysis, {}
        for number, trial in self.front.by_number.items():
            changes = [analysis.candidate(name, choice).change for name, choice in trial.choices.items()]
            shares[number] = np.array(changes) / max(sum(changes), 1e-300)
        of_members = np.array([shares[number] for number in self.front.trials.tolist()])
        losses = np.log(np.maximum(self.predicted[:, loss], 0) + self._damping)
        similar = np.concatenate([losses[:, np.newaxis] / _NEAR, of_members / _NEAR_SHARES], axis=1)
        return features | {self.objectives[loss]: similar}

    def _correct(self) -> None:
        """Correct the costs of all members that are not measured, and the intervals of all."""
        done = self.done
        for number, name in enumerate(self.objectives):
            predicted, measured = self.predicted[:, number], self.measured[:, number]
            known, first = measured, np.flatnonzero(done)
            if name in LOSSES:  # all designs of a run lose the same
                first = first[np.unique(self.runs[first], return_index=True)[1]]
                by_run = np.full(self.runs.max() + 1, np.nan)
                by_run[self.runs[first]] = measured[first]
                known = by_run[self.runs]
            if name in _CORRECTED:
                damping = self._damping if name in LOSSES else 0.0
                similar = self._similar[name]
                correction = Correction.of(similar[first], predicted[first], measured[first], damping)
                estimate = correction(similar, predicted)
                ends = correction.interval(estimate, self._factor(name))
            else:
                estimate, ends = predicted, (predicted, predicted)
            for column, values in ((self.corrected, estimate), (self.lower, ends[0]), (self.upper, ends[1])):
                column[:, number] = np.where(np.isfinite(known), known, values)

    @property
    def _damping(self) -> float:
        return self.problem.analysis.loss_predictions["float"].damping

    def _factor(self, name: str) -> float:
        if name not in LOSSES:
            return _SAMPLED
        return max(each.factor for each in self.problem.analysis.loss_predictions.values())

    def table(self) -> pa.Table:
        """Return DESIGN_COLUMNS of all members, by trial."""
        corrected = dict(zip(self.objectives, self.corrected.T, strict=True))
        ends = None if self._loss is None else (self.lower[:, self._loss], self.upper[:, self._loss])
        return self.front.table(corrected, ends, self.done)


def verified_front(
    problem: CodesignProblem,
    folder: Path,
    trials: Sequence[StudyTrial],
    fine_tune: FineTune | None = None,
    uncertain: int = 0,
    found: Mapping[str, Any] = MappingProxyType({}),
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
    found : mapping, optional
        What is known of the quality of the predicted front (`designs.codesigns.quality.quality`).

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
    verification = Verification(problem, folder / FRONT_FOLDER, fine_tune)
    rows: list[dict[str, Any]] = []
    layers_by_digest, designs = {}, {}
    most = min(search.verify, len(members))
    with Progress("verifying designs", "designs", most) as progress:
        while len(rows) < most and not (rows and search.settled and members.unsettled <= search.settled):
            place = members.next()
            number, point = members.front.point(place)
            record = verification(point)
            rows.append(_front_row(number, point, record))
            members.note(place, CodesignPoint.from_dict(record))
            designs[point.digest] = VerifiedDesign.of_record(record)
            key = {"trial": number, "digest": point.digest}
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
    settings: dict[str, Any] = {"fine_tuned": fine_tune is not None, "uncertain": uncertain}
    settings["quality"] = {**found, "unsettled": members.unsettled}
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
