"""The trials of a study: as Optuna keeps them, as designs, and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from designs.codesigns.columns import TRIAL_COLUMNS
from designs.codesigns.point import CodesignPoint
from designs.codesigns.search import FIGURES
from designs.hypervolume import CostBox, Hypervolume
from designs.results import table_of

POINT, REFUSED, ORIGIN = "point", "refused", "origin"
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class StudyTrial:
    """A finished trial: its number, its point or why there is none."""

    number: int
    point: CodesignPoint | None
    refused: str = ""


def read_trials(study: optuna.Study) -> list[StudyTrial]:
    """All finished trials of a study, in order."""
    return [read_trial(trial) for trial in study.get_trials(deepcopy=False, states=DONE)]


def read_trial(trial: FrozenTrial) -> StudyTrial:
    """A finished trial as it was told."""
    if trial.state != TrialState.COMPLETE:
        return StudyTrial(trial.number, None, trial.user_attrs.get(REFUSED, ""))
    return StudyTrial(trial.number, CodesignPoint.from_dict(trial.user_attrs[POINT]))


def feasible_points(trials: Sequence[StudyTrial]) -> dict[str, tuple[int, CodesignPoint]]:
    """The designs that keep all bounds as predicted, each once, with the number of its first trial, by digest."""
    found: dict[str, tuple[int, CodesignPoint]] = {}
    for trial in trials:
        if trial.point is not None and trial.point.feasible:
            found.setdefault(trial.point.digest, (trial.number, trial.point))
    return found


def costs_of(points: Sequence[CodesignPoint], objectives: Sequence[str]) -> npt.NDArray[np.float64]:
    """[points, objectives], as predicted."""
    costs = [[point.figures[name] for name in objectives] for point in points]
    return np.array(costs, dtype=np.float64).reshape(len(points), len(objectives))


def trials_table(trials: Sequence[StudyTrial], objectives: Sequence[str]) -> pa.Table:
    """All trials, with the hypervolume after each: TRIAL_COLUMNS."""
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
                **{name: float("nan") if point is None else point.figures[name] for name in FIGURES},
                "design": "" if point is None else json.dumps(_design_of(point)),
                "hypervolume": share,
            }
        )
        seen.add(digest)
    return table_of(TRIAL_COLUMNS, rows)


def _design_of(point: CodesignPoint) -> dict[str, Any]:
    return {name: value for name, value in point.to_dict().items() if name in ("array", "row_assignment", "choices")}
