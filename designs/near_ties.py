"""Near-ties: designs whose costs differ by too little, or too uncertainly, to tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from traces.arrays import Floats64

TOLERANCE = 0.02
"""Largest relative difference of two costs that are near-ties."""
CERTAINTY = 0.95
"""Smallest share of draws in which the cost of the same design must be smaller, by more than TOLERANCE."""


def told_apart(costs: Floats64) -> npt.NDArray[np.bool_]:
    """Mark the pairs of designs that one cost tells apart.

    Parameters
    ----------
    costs : float64 [draws, designs]
        The cost of each design, once for each draw of what it depends on; one draw if it is known exactly.

    Returns
    -------
    bool [designs, designs]
        True if one design's cost is smaller than the other's by more than TOLERANCE in a share of CERTAINTY of all
        draws. A cost of nan tells no design apart.
    """
    draws, designs = costs.shape
    smaller = np.zeros((designs, designs), dtype=np.int64)
    for of_draw in costs:
        one, other = of_draw[:, None], of_draw[None, :]
        with np.errstate(invalid="ignore"):
            smaller += other - one > TOLERANCE * np.minimum(np.abs(one), np.abs(other))
    certain = smaller >= CERTAINTY * draws
    apart: npt.NDArray[np.bool_] = certain | certain.T
    return apart


def standing_for(apart: npt.NDArray[np.bool_], order: Sequence[int]) -> list[int]:
    """Choose the design that stands for each design: itself, or the first one that it is not told apart from.

    Parameters
    ----------
    apart : bool [designs, designs]
        True for pairs of designs that some cost tells apart.
    order : sequence of int [designs]
        All designs; earlier ones stand for later ones. A design that another one stands for stands for none.

    Returns
    -------
    list of int [designs]
        The design that stands for each design.
    """
    standing = list(range(len(apart)))
    chosen: list[int] = []
    for design in order:
        standing[design] = next((each for each in chosen if not apart[design, each]), design)
        if standing[design] == design:
            chosen.append(design)
    return standing
