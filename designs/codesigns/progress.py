"""Progress of a study: trials done, rate, the front so far, time left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from traces.arrays import Floats64
from traces.pareto import non_dominated
from traces.shell.progress import Progress


class StudyProgress(Progress):
    """Progress of a study, shown on standard error. Use as a context manager.

    Parameters
    ----------
    objectives : sequence of str
        Objectives of the study.
    trials : int
        Trials of the whole study.
    done : int
        Trials that were finished before this run.
    """

    def __init__(self, objectives: Sequence[str], trials: int, done: int = 0) -> None:
        super().__init__("co-design", "compressions", trials, done)
        self._objectives = tuple(objectives)
        self._front = np.empty((0, len(self._objectives)))
        self._added: list[Floats64] = []

    def add(self, costs: Floats64) -> None:
        """Add feasible designs by their costs [designs, objectives]."""
        self._added.append(costs)

    def advance_to(self, done: int) -> None:
        """Set the number of finished trials, of all processes."""
        self.advance(done - self.done)

    @property
    def best(self) -> str:
        """The front so far, in a few words."""
        if any(len(costs) for costs in self._added):
            costs = np.unique(np.vstack([self._front, *self._added]), axis=0)
            self._front, self._added = costs[non_dominated(costs)], []
        if not len(self._front):
            return "no design keeps the bounds yet"
        least = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(self._objectives, self._front.min(axis=0), strict=True)
        )
        return f"front of {len(self._front):,}; best of each objective: {least}"
