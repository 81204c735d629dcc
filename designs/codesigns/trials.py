"""Trials of a study: as Optuna keeps them, as design points, and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from designs.codesigns.columns import TRIAL_COLUMNS
from designs.codesigns.point import CodesignPoint
from designs.codesigns.search import FIGURES, LOSSES
from designs.hypervolume import CostBox, Hypervolume
from designs.results import table_of
from traces.arrays import Floats64

POINT, REFUSED, ORIGIN = "point", "refused", "origin"
_NO_FIGURES: dict[str, Any] = {name: None if name in LOSSES else float("nan") for name in FIGURES}
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class StudyTrial:
    """Finished trial.

    Attributes
    ----------
    number : int
        Number of the trial.
    point : CodesignPoint, optional
        The design with its predicted figures. None: the design is invalid.
    refused : str
        The reason why it is invalid.
    """

    number: int
    point: CodesignPoint | None
    refused: str = ""


def read_trials(study: optuna.Study) -> list[StudyTrial]:
    """Return all finished trials of a study, in order."""
    return [read_trial(trial) for trial in study.get_trials(deepcopy=False, states=DONE)]


def read_trial(trial: FrozenTrial) -> StudyTrial:
    """Return a finished trial of Optuna's as ours."""
    if trial.state != TrialState.COMPLETE:
        return StudyTrial(trial.number, None, trial.user_attrs.get(REFUSED, ""))
    return StudyTrial(trial.number, CodesignPoint.from_dict(trial.user_attrs[POINT]))


def feasible_points(trials: Sequence[StudyTrial]) -> dict[str, tuple[int, CodesignPoint]]:
    """Return the feasible designs, as predicted, by digest, each with the number of its first trial."""
    points: dict[str, tuple[int, CodesignPoint]] = {}
    for trial in trials:
        if trial.point is not None and trial.point.feasible:
            points.setdefault(trial.point.digest, (trial.number, trial.point))
    return points


def costs_of(points: Sequence[CodesignPoint], objectives: Sequence[str]) -> Floats64:
    """Return the figures of points, [points, objectives]."""
    costs = [[point.figures[name] for name in objectives] for point in points]
    return np.array(costs, dtype=np.float64).reshape(len(points), len(objectives))


def trials_table(trials: Sequence[StudyTrial], objectives: Sequence[str]) -> pa.Table:
    """Return TRIAL_COLUMNS: all trials, with the hypervolume after each."""
    points = [point for _, point in feasible_points(trials).values()]
    volume = Hypervolume(CostBox.around(objectives, costs_of(points, objectives))) if points else None
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    share = 0.0
    for trial in trials:
        point = trial.point
        digest = "" if point is None else point.digest
        if point is not None and point.feasible and digest not in seen and volume is not None:
            share = volume.add([point.figures[name] for name in objectives])
        rows.append(
            {
                "trial": trial.number,
                "digest": digest,
                "refused": trial.refused,
                "feasible": point is not None and point.feasible,
                "repeats": bool(digest) and digest in seen,
                **(_NO_FIGURES if point is None else {name: point.figures.get(name) for name in FIGURES}),
                "design": "" if point is None else json.dumps(_design_of(point)),
                "hypervolume": share,
            }
        )
        seen.add(digest)
    return table_of(TRIAL_COLUMNS, rows)


def _design_of(point: CodesignPoint) -> dict[str, Any]:
    return {name: value for name, value in point.to_dict().items() if name in ("array", "row_assignment", "choices")}
