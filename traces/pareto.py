"""Pareto-optimal points: designs, and choices for a layer of a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.errors import InputError


def non_dominated(costs: npt.NDArray[Any], keep_equal: bool = True) -> npt.NDArray[np.bool_]:
    """Mark the Pareto-optimal rows; less is better in each objective.

    Parameters
    ----------
    costs : array [points, objectives]
        Cost of each point in each objective, compared as float64. It may be infinite.
    keep_equal : bool
        True marks all of several equal Pareto-optimal rows, False the first one.

    Returns
    -------
    array of bool [points]
        True for each row that no other row dominates. A row dominates another one if it is nowhere larger and
        somewhere smaller.

    Raises
    ------
    InputError
        If a cost is nan, which compares with nothing, or there is no objective.

    Notes
    -----
    Source: the dimension sweep of Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", Journal of
    the ACM, 1975, in the library moocore. The run time grows with n log(n) for up to three objectives.
    """
    values = np.asarray(costs, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(
            f"costs must be [points, objectives] with at least one objective; found shape {list(values.shape)}"
        )
    if np.isnan(values).any():
        raise InputError(
            f"costs must not be nan; found nan in {int(np.isnan(values).any(axis=1).sum())} of {len(values)} points; "
            f"leave out points without a known cost"
        )
    from moocore import is_nondominated  # takes as long to import as the rest of this package

    optimal: npt.NDArray[np.bool_] = is_nondominated(values, keep_weakly=keep_equal)
    return optimal
