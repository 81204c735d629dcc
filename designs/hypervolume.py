"""How much of a box of costs a set of designs beats: the measure that multi-objective searches are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

LOGARITHMIC = ("latency_us", "energy_nj", "area_mm2", "file_bytes")
_SAMPLES = 2**14


def scaled(objectives: Sequence[str], costs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`costs` [designs, objectives] as they are compared: decimal logarithms of those that span decades."""
    found = np.array(costs, dtype=np.float64)
    for number, name in enumerate(objectives):
        if name in LOGARITHMIC:
            found[:, number] = np.log10(np.maximum(found[:, number], 1e-12))
    return found


class CostBox:
    """Costs of a few objectives, from the best that is looked at to the worst.

    best, worst   by objective; those that span decades (all but accuracy_loss) are taken by their logarithms
    """

    def __init__(self, objectives: Sequence[str], best: Sequence[float], worst: Sequence[float]) -> None:
        self.objectives = tuple(objectives)
        self._low = scaled(objectives, [best])[0]
        spans = scaled(objectives, [worst])[0] - self._low
        self._spans = np.where(spans > 0, spans, 1.0)

    @classmethod
    def around(cls, objectives: Sequence[str], costs: npt.NDArray[Any]) -> CostBox:
        """The smallest box that holds `costs` [designs, objectives]."""
        return cls(objectives, costs.min(axis=0), costs.max(axis=0))

    def places(self, costs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """[designs, objectives]: 0 where a cost is the best, 1 where it is the worst, of the box."""
        found: npt.NDArray[np.float64] = (scaled(self.objectives, costs) - self._low) / self._spans
        return found


class Hypervolume:
    """The share of a box that designs beat, added one after the other.

    It is the share of 16,384 evenly spread points (a Sobol sequence, the same for every set) that some design is
    nowhere worse than: within about 0.003 of the exact share. Of two sets, one of which beats whatever the other
    does, it never says the opposite.
    """

    def __init__(self, box: CostBox) -> None:
        self._box = box
        draw = qmc.Sobol(len(box.objectives), scramble=True, rng=0)
        self._open = draw.random(_SAMPLES)

    def add(self, costs: Sequence[float]) -> float:
        """One more design; the share that is beaten now."""
        place = self._box.places(np.array([costs], dtype=np.float64))[0]
        self._open = self._open[~(place <= self._open).all(axis=1)]
        return self.share

    @property
    def share(self) -> float:
        """What is beaten so far."""
        return 1 - len(self._open) / _SAMPLES
