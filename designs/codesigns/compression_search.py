"""Search for compressions: which one to try next, with all arrays of the space.

The proposals of `designs.codesigns.proposals` are tried in order. Neighbours of compressions on the front add less: in
the spaces of `designs.experiments.search_quality`, fewer trials of proposals alone reach the same hypervolume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

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


class CompressionSearch:
    """Compressions to try in order, and the front of those that were tried.

    Parameters
    ----------
    compressions : sequence of mapping of str to Choice
        The compressions, the most useful first.
    objectives : sequence of str
        Figures to minimise.
    """

    def __init__(self, compressions: Sequence[Compression], objectives: Sequence[str]) -> None:
        self.front = Front(objectives)
        self._left = {compression_key(each): each for each in compressions}

    @classmethod
    def of(cls, problem: CodesignProblem) -> CompressionSearch:
        """Return the search of a problem's proposals."""
        space, search = problem.compressions, problem.search
        proposals = [space.choices(row) for row in space.proposals(search.trials, search.seed)]
        return cls(proposals, search.objectives)

    def add(self, trial: StudyTrial) -> Integers64:
        """Take in a finished trial; return the places of its designs that are new on the front."""
        self._left.pop(compression_key(trial.choices), None)
        return self.front.add(trial.designs)

    def next(self, begun: Set[str]) -> Compression | None:
        """Return the first compression that was not tried, nor is among `begun` keys; None if there is none."""
        return next((each for key, each in self._left.items() if key not in begun), None)
