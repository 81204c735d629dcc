"""Progress of a study: trials done, rate, the front so far, time left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from designs.pareto import non_dominated
from designs.progress import Progress


class StudyProgress(Progress):
    """Shows on standard error how far a study has come. Use as a context manager.

    objectives      that designs are judged by
    trials, done    of the whole study, and of them before this run
    """

    def __init__(self, objectives: Sequence[str], trials: int, done: int = 0) -> None:
        super().__init__("co-design", "trials", trials, done)
        self._objectives = tuple(objectives)
        self._front = np.empty((0, len(self._objectives)))
        self._fresh: list[Sequence[float]] = []

    def add(self, costs: Sequence[float]) -> None:
        """A design that keeps all bounds."""
        self._fresh.append(costs)

    def advance_to(self, done: int) -> None:
        """So many trials are finished, those of other processes, too."""
        self.advance(done - self.done)

    @property
    def best(self) -> str:
        """The front so far, in a few words."""
        if self._fresh:
            costs = np.unique(np.vstack([self._front, np.array(self._fresh)]), axis=0)
            self._front, self._fresh = costs[non_dominated(costs)], []
        if not len(self._front):
            return "no design keeps the bounds yet"
        least = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(self._objectives, self._front.min(axis=0), strict=True)
        )
        return f"front of {len(self._front):,}, each alone at best: {least}"
