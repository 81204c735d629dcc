"""Search for compressions: which one to try next, with all arrays of the space.

The proposals of `designs.codesigns.proposals` are tried in order. Neighbours of compressions on the front add less: in
the spaces of `designs.experiments.search_quality`, fewer trials of proposals alone reach the same hypervolume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Protocol

from compress.planning.plan import Choice
from designs.codesigns.point import plain_choices
from designs.codesigns.trials import Front, StudyTrial
from traces.arrays import Integers64

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

Compression = Mapping[str, Choice]


def compression_key(choices: Compression) -> str:
    """Return a text that tells compressions apart."""
    return json.dumps(plain_choices(choices))


class Chooser(Protocol):
    """Choice of the compression to try next."""

    front: Front
    tried: set[str]

    def next(self, begun: Set[str]) -> Compression | None:
        """Return a compression that was not tried, nor is among `begun` keys; None if there is none."""

    def add(self, trial: StudyTrial) -> Integers64:
        """Take in a finished trial; return the places of its designs that are new on the front."""


class Given:
    """Compressions that are given, in order.

    Parameters
    ----------
    compressions : sequence of mapping of str to Choice
        The compressions.
    objectives : sequence of str
        Figures to minimise.
    """

    def __init__(self, compressions: Sequence[Compression], objectives: Sequence[str]) -> None:
        self._compressions = {compression_key(each): each for each in compressions}
        self.front, self.tried = Front(objectives), set[str]()

    def next(self, begun: Set[str]) -> Compression | None:
        """Return the first one that was neither tried nor begun."""
        return next(
            (each for key, each in self._compressions.items() if key not in self.tried and key not in begun), None
        )

    def add(self, trial: StudyTrial) -> Integers64:
        """Take in a finished trial; return the places of its designs that are new on the front."""
        self.tried.add(compression_key(trial.choices))
        return self.front.add(trial.designs)


class CompressionSearch:
    """Choice of compressions by proposals, the most useful first.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    """

    def __init__(self, problem: CodesignProblem) -> None:
        self.front, self.tried = Front(problem.search.objectives), set[str]()
        self.trials: list[StudyTrial] = []
        space = problem.compressions
        rows = space.proposals(problem.search.trials, problem.search.seed)
        proposals = [space.choices(row) for row in rows]
        self._left = {compression_key(each): each for each in proposals}

    def add(self, trial: StudyTrial) -> Integers64:
        """Take in a finished trial; return the places of its designs that are new on the front."""
        key = compression_key(trial.choices)
        self.tried.add(key)
        self._left.pop(key, None)
        self.trials.append(trial)
        return self.front.add(trial.designs)

    def next(self, begun: Set[str]) -> Compression | None:
        """Return the first proposal that was not tried, nor is among `begun` keys; None if there is none."""
        return next((each for key, each in self._left.items() if key not in begun), None)
