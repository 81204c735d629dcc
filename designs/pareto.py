"""The design points that no other one beats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def non_dominated(costs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True for each row of `costs` [points, objectives] that no other row beats; less is better.

    A row beats another if it is nowhere more and somewhere less. Of equal rows, all stay. Takes points x front steps.
    """
    order = np.lexsort(costs.T[::-1])  # whatever beats a row comes before it
    kept = np.zeros(len(costs), dtype=bool)
    front = np.empty((0, costs.shape[1]))
    for place in order:
        beaten = ((front <= costs[place]).all(axis=1) & (front < costs[place]).any(axis=1)).any()
        if not beaten:
            kept[place] = True
            front = np.vstack([front, costs[place]])
    return kept
