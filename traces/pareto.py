"""Pareto-optimal points: designs, and choices for a layer of a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def non_dominated(costs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the Pareto-optimal rows; less is better in each objective.

    Parameters
    ----------
    costs : array [points, objectives]
        Cost of each point in each objective.

    Returns
    -------
    array of bool [points]
        True for each row that no other row dominates. A row dominates another one if it is nowhere larger and
        somewhere smaller; so all of several equal rows stay.

    Notes
    -----
    The run time grows with the points times the size of the front.
    """
    order = np.lexsort(costs.T[::-1])  # a row comes after all rows that dominate it
    optimal = np.zeros(len(costs), dtype=bool)
    front = np.empty((0, costs.shape[1]))
    for place in order:
        dominated = ((front <= costs[place]).all(axis=1) & (front < costs[place]).any(axis=1)).any()
        if not dominated:
            optimal[place] = True
            front = np.vstack([front, costs[place]])
    return optimal
