"""Search for compressions: which one to try next, with all arrays of the space.

The first ones come from many weightings of bytes and work (`designs.codesigns.proposals`). Then follow neighbours of
compressions on the front, which differ in one layer. A neighbour is tried on the arrays of its parent's designs first,
and on all arrays if some of these designs are new on the front.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Protocol

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.enumeration import Enumeration
from designs.codesigns.point import plain_choices
from designs.codesigns.proposals import Options
from designs.codesigns.trials import Front, StudyTrial
from traces.arrays import Integers64

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

Compression = Mapping[str, Choice]
_FIRST_SHARE = 0.6  # of the trials: weightings; then neighbours
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
        return next((each for key, each in self._compressions.items() if key not in self.tried and key not in begun), None)

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
    enumeration : Enumeration
        Arrays of its space.
    """
