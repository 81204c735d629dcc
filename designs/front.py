"""The design points that no other one beats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def non_dominated(costs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True for each row of `costs` [points, objectives] that no other row beats; less is better.

    A row beats another if it is nowhere more and somewhere less. Of equal rows, all stay.
    """
    no_more = (costs[:, np.newaxis, :] <= costs[np.newaxis, :, :]).all(axis=2)
    less = (costs[:, np.newaxis, :] < costs[np.newaxis, :, :]).any(axis=2)
    beaten: npt.NDArray[np.bool_] = np.any(no_more & less, axis=0)
    return ~beaten
