"""Trials of a study: one compression each, with all arrays of the space; as Optuna keeps them, and as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from optuna.trial import TrialState

from compress.planning.plan import Choice
from designs.codesigns.columns import DESIGN_COLUMNS, TRIAL_COLUMNS
from designs.codesigns.design_table import DesignTable
from designs.codesigns.enumeration import Enumerated
from designs.codesigns.point import CodesignPoint, choices_of, hardware_digest, plain_choices
from designs.codesigns.search import FIGURES
from designs.hypervolume import CostBox, dominated_share
from designs.results import schema_of, table_of
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers64
from traces.files.checksums import checked_values, values_checksum, with_checksum
from traces.pareto import non_dominated

RECORD, ORIGIN, WORKER = "compression", "origin", "worker"
BEGUN = "begun by "
"""Beginning of the names under which each process states the compression that it works on."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class StudyTrial:
    """Finished trial: one compression with all arrays of the space.

    Attributes
    ----------
    number : int
        Number of the trial.
    choices : mapping of str to Choice
        The compression.
    designs : DesignTable
        Designs of this compression that keep all bounds, and that no design of it or of an earlier trial dominates.
    tried : int
        Arrays that were costed.
    refused : str
        Reason why no array runs the compression; empty if one does.
    least : mapping of str to float
        Least value of each figure of designs of this compression that keep all bounds; empty if none does.
    nearest : CodesignPoint, optional
        Design that comes nearest to keeping all bounds, if none keeps them.
    """

    number: int
    choices: Mapping[str, Choice]
    designs: DesignTable
    tried: int
    refused: str = ""
    least: Mapping[str, float] = field(default_factory=dict)
    nearest: CodesignPoint | None = None

    @classmethod
    def of(
        cls, number: int, choices: Mapping[str, Choice], found: Enumerated, front: Front, objectives: Sequence[str]
    ) -> StudyTrial:
        """Return the trial of one compression, with the designs that are new on a front."""
        own = found.front(objectives)
        least = {name: float(values.min()) for name, values in own.designs.figures.items() if len(values)}
        new = own.designs.take(front.new(own.designs.costs(objectives)))
        return cls(number, choices, new, found.tried, found.refused, least, found.nearest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes the same trial but for its number."""
        return {
            "choices": plain_choices(self.choices),
            "designs": self.designs.to_dict(),
            "tried": self.tried,
            "refused": self.refused,
            "least": dict(self.least),
            "nearest": None if self.nearest is None else self.nearest.to_dict(),
        }

    @classmethod
    def from_dict(cls, number: int, values: Mapping[str, Any]) -> StudyTrial:
        """Return the trial of plain values."""
        nearest = values["nearest"]
        return cls(
            number,
            choices_of(values["choices"]),
            DesignTable.from_dict(values["designs"]),
            values["tried"],
            values["refused"],
            values["least"],
            None if nearest is None else CodesignPoint.from_dict(nearest),
        )

    def point(self, place: int) -> CodesignPoint:
        """Return one of the designs; all of its bounds are kept."""
        return self.designs.point(place, self.choices, {})


def trial_record(trial: StudyTrial, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial of the study of this origin as Optuna keeps it: plain values with their checksum."""
    return with_checksum(trial.to_dict(), values_checksum(dict(origin)))


class StudyReader:
    """Reader of a study's finished trials, each compression once, in order.

    Parameters
    ----------
    study : optuna.Study
        The study.

    Notes
    -----
    Processes that work at once may try one compression twice; its first trial counts.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._done = 0
        self._known: set[str] = set()

    def new(self) -> list[StudyTrial]:
        """Return the finished trials since the last call; raise InputError if one is not what was written."""
        finished = self._study.get_trials(deepcopy=False, states=DONE)
        of_study = values_checksum(self._study.user_attrs.get(ORIGIN))
        trials = []
        for found in finished[self._done :]:
            record = checked_values(found.user_attrs.get(RECORD), of_study)
            if record is None:
                raise InputError(
                    f"trial {found.number} of study {self._study.study_name} must be as it was written; its checksum "
                    f"differs: it was changed, belongs to another study, or is of an earlier version; restore the "
                    f"storage, or give fresh=True to begin anew"
                )
            key = json.dumps(record["choices"])
            if key not in self._known:
                self._known.add(key)
                trials.append(StudyTrial.from_dict(found.number, record))
        self._done = len(finished)
        return trials


def read_trials(study: optuna.Study) -> list[StudyTrial]:
    """Return the finished trials of a study in order; raise InputError if one is not what was written."""
    return StudyReader(study).new()


class Front:
    """Pareto-optimal designs of the trials so far, in the order of the trials.

    Parameters
    ----------
    objectives : sequence of str
        Figures to minimise.

    Attributes
    ----------
    costs : float64 [designs, objectives]
        Costs of each design.
    trials, places : int64 [designs]
        Place of its trial among those that were added, and its own place there.
    """

    def __init__(self, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)
        self.costs: Floats64 = np.zeros((0, len(self.objectives)))
        self.trials: Integers64 = np.zeros(0, dtype=np.int64)
        self.places: Integers64 = np.zeros(0, dtype=np.int64)
        self._added = 0

    def __len__(self) -> int:
        return len(self.costs)

    @classmethod
    def of(cls, trials: Sequence[StudyTrial], objectives: Sequence[str]) -> Front:
        """Return the front of some trials."""
        front = cls(objectives)
        front._added = len(trials)
        held = [(number, trial.designs) for number, trial in enumerate(trials) if len(trial.designs)]
        if held:
            costs = np.concatenate([designs.costs(objectives) for _, designs in held])
            kept = non_dominated(costs, keep_equal=False)
            front.costs = costs[kept]
            front.trials = np.concatenate([np.full(len(designs), number) for number, designs in held])[kept]
            front.places = np.concatenate([np.arange(len(designs)) for _, designs in held])[kept]
        return front

    def add(self, designs: DesignTable) -> Integers64:
        """Add the designs of a trial; return the places of those that are on the front now."""
        number = self._added
        self._added += 1
        if not len(designs):
            return np.zeros(0, dtype=np.int64)
        costs = designs.costs(self.objectives)
        together = np.concatenate([self.costs, costs])
        kept = non_dominated(together, keep_equal=False)
        new = np.flatnonzero(kept[len(self) :])
        self.costs = together[kept]
        self.trials = np.concatenate([self.trials, np.full(len(costs), number)])[kept]
        self.places = np.concatenate([self.places, np.arange(len(costs))])[kept]
        return new

    def new(self, costs: Floats64) -> Booleans:
        """Mark the rows of costs that no design of the front, nor another row, dominates or equals before it."""
        together = np.concatenate([self.costs, costs])
        return non_dominated(together, keep_equal=False)[len(self.costs) :]


def trials_table(trials: Sequence[StudyTrial], objectives: Sequence[str]) -> pa.Table:
    """Return TRIAL_COLUMNS: all trials, with the hypervolume after each."""
    whole = Front.of(trials, objectives)
    box = CostBox.around(objectives, whole.costs) if len(whole) else None
    front, share = Front(objectives), 0.0
    rows: list[dict[str, Any]] = []
    for trial in trials:
        members = front.add(trial.designs)
        if box is not None and len(members):
            share = dominated_share(box, front.costs)
        rows.append(
            {
                "trial": trial.number,
                "choices": json.dumps(plain_choices(trial.choices)),
                "refused": trial.refused,
                "arrays": trial.tried,
                "members": len(members),
                **{f"least_{name}": trial.least.get(name) for name in FIGURES},
                "hypervolume": share,
            }
        )
    return table_of(TRIAL_COLUMNS, rows)


@dataclass(frozen=True, eq=False)
class FrontDesigns:
    """Designs of a front with their compressions.

    Attributes
    ----------
    by_number : dict of int to StudyTrial
        Trials of the designs, by number.
    trials : int64 [designs]
        Number of the trial of each design.
    designs : DesignTable
        The designs.
    """

    by_number: Mapping[int, StudyTrial]
    trials: Integers64
    designs: DesignTable

    @classmethod
    def of(cls, trials: Sequence[StudyTrial], front: Front) -> FrontDesigns:
        """Return the designs of a front of these trials, in its order."""
        tables, of_designs, by_number = [], [], {}
        for at in np.unique(front.trials).tolist():
            own = front.places[front.trials == at]
            tables.append(trials[at].designs.take(own))
            of_designs.append(np.full(len(own), trials[at].number))
            by_number[trials[at].number] = trials[at]
        return cls(by_number, np.concatenate(of_designs), DesignTable.joined(tables))

    def point(self, place: int) -> tuple[int, CodesignPoint]:
        """Return the number of the trial of a design, and the design."""
        number = int(self.trials[place])
        return number, self.designs.point(place, self.by_number[number].choices, {})

    def table(
        self,
        corrected: Mapping[str, Floats64] = MappingProxyType({}),
        interval: tuple[Floats64, Floats64] | None = None,
        verified: Booleans | None = None,
    ) -> pa.Table:
        """Return DESIGN_COLUMNS.

        Parameters
        ----------
        corrected : mapping of str to float64 [designs]
            Corrected figures.
        interval : (float64, float64), optional
            Ends of the interval of the corrected loss, [designs].
        verified : bool [designs], optional
            Marks of the designs that were measured; by default none was.
        """
        none = [None] * len(self.trials)
        numbers = self.trials.tolist()
        choices = {number: json.dumps(plain_choices(trial.choices)) for number, trial in self.by_number.items()}
        hardware = {name: values.tolist() for name, values in self.designs.hardware.items()}
        rows = (dict(zip(hardware, row, strict=True)) for row in zip(*hardware.values(), strict=True))
        digests = [
            hardware_digest(row, self.by_number[number].choices) for number, row in zip(numbers, rows, strict=True)
        ]
        lower, upper = (none, none) if interval is None else interval
        columns: dict[str, Any] = {
            "trial": numbers,
            "digest": digests,
            **hardware,
            "choices": [choices[number] for number in numbers],
            **{name: self.designs.figures.get(name, none) for name in FIGURES},
            **{f"corrected_{name}": corrected.get(name, none) for name in FIGURES},
            "loss_lower": lower,
            "loss_upper": upper,
            "verified": np.zeros(len(numbers), dtype=np.bool_) if verified is None else verified,
        }
        schema = schema_of(DESIGN_COLUMNS)
        return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def designs_table(trials: Sequence[StudyTrial], objectives: Sequence[str]) -> pa.Table:
    """Return DESIGN_COLUMNS: the predicted front of all trials, by trial; nothing is measured."""
    front = Front.of(trials, objectives)
    if not len(front):
        return schema_of(DESIGN_COLUMNS).empty_table()
    return FrontDesigns.of(trials, front).table()
