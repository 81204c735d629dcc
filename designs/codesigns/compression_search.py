"""Search for compressions: which one to try next, with all arrays of the space.

The first ones come from many weightings of bytes and work (`designs.codesigns.proposals`). Then follow neighbours of
compressions on the front, which differ in one layer. A neighbour is tried on the arrays of its parent's designs first,
and on all arrays if some of these designs are new on the front.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.point import plain_choices
from designs.codesigns.trials import Front, StudyTrial
from traces.arrays import Integers64

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

Compression = Mapping[str, Choice]
_FIRST_SHARE = 0.5  # of the trials: weightings; then neighbours
_FEWEST_DRAWN = 24
_SCREENED = 24  # neighbours that are tried on some arrays, for each round
_TAKEN = 6  # of these are tried on all arrays


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
    """Choice of compressions by weightings, then by neighbours of the front.

    Parameters
    ----------
    problem : CodesignProblem
        The problem.
    """

    def __init__(self, problem: CodesignProblem) -> None:
        self.front, self.tried = Front(problem.search.objectives), set[str]()
        self._enumeration, self._space = problem.enumeration, problem.compressions
        self.trials: list[StudyTrial] = []
        self._drawn = max(_FEWEST_DRAWN, math.ceil(_FIRST_SHARE * problem.search.trials))
        self._proposals = self._rows(self._space.proposals(problem.search.trials, problem.search.seed))
        self._better: list[Compression] = []
        self._screened = set[str]()

    def add(self, trial: StudyTrial) -> Integers64:
        """Take in a finished trial; return the places of its designs that are new on the front."""
        self.tried.add(compression_key(trial.choices))
        self.trials.append(trial)
        return self.front.add(trial.designs)

    def next(self, begun: Set[str]) -> Compression | None:
        """Return a proposal or a neighbour of the front that was not tried, nor is among `begun` keys."""
        if len(self.trials) >= self._drawn:
            self._better = [each for each in self._better if self._is_new(each, begun)] or self._neighbours(begun)
            if self._better:
                return self._better.pop(0)
        return next((each for each in self._proposals if self._is_new(each, begun)), None)

    def _is_new(self, compression: Compression, begun: Set[str]) -> bool:
        key = compression_key(compression)
        return key not in self.tried and key not in begun

    def _rows(self, rows: Iterable[Any]) -> list[Compression]:
        return [self._space.choices(row) for row in rows]

    def _neighbours(self, begun: Set[str]) -> list[Compression]:
        """Return neighbours of the front with designs that are new on it, on their parent's arrays, the best first."""
        candidates: dict[str, tuple[Compression, int]] = {}
        numbers, members = np.unique(self.front.trials, return_counts=True)
        for number in numbers[np.argsort(-members, kind="stable")].tolist():
            row = self._space.row(self.trials[number].choices)
            for neighbour in self._rows(self._space.neighbours(row)):
                key = compression_key(neighbour)
                if key not in self._screened and self._is_new(neighbour, begun):
                    candidates.setdefault(key, (neighbour, number))
            if len(candidates) >= _SCREENED:
                break
        gains = []
        for key, (neighbour, number) in list(candidates.items())[:_SCREENED]:
            self._screened.add(key)
            places = self._enumeration.grid.places(self.trials[number].designs.hardware)
            found = self._enumeration(neighbour, np.unique(places))
            new = int(self.front.new(found.designs.costs(self.front.objectives)).sum())
            if new:
                gains.append((new, neighbour))
        gains.sort(key=lambda each: -each[0])
        better = [neighbour for _, neighbour in gains[:_TAKEN]]
        return better if better or not candidates else self._neighbours(begun)
