"""Correction of predicted figures by what was measured of some designs of the same front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from designs.codesigns.search import LOSSES
from traces.arrays import Floats64

_PRIOR = 1.0  # measured designs that no correction at all counts as
_NEAR = 0.5  # logarithm of the ratio of two losses at which the weight of a measured design falls to exp(-1/2)
_ENOUGH = 5  # measured designs; with fewer, the interval is the one that predictions come with


@dataclass(frozen=True, eq=False)
class Correction:
    """Ratio of measured to predicted values of one figure, as a function of the predicted value.

    Attributes
    ----------
    predicted, ratios : float64 [designs]
        Logarithms of the predicted values of measured designs, and of the ratios of measured to predicted values.
    damping : float
        Added to values before they are compared by ratio; a loss may be 0.
    near : float
        Logarithm of a ratio of predicted values over which the correction changes; infinite if it is one number.
    spread : float
        Largest logarithm of a ratio that is left when each design is corrected by the others.
    """

    predicted: Floats64
    ratios: Floats64
    damping: float
    near: float
    spread: float

    @classmethod
    def of(cls, figure: str, predicted: Floats64, measured: Floats64, damping: float) -> Correction:
        """Return the correction that follows from some designs, [designs]; none without any.

        Notes
        -----
        The correction is a mean of the logarithms of the ratios, in which near designs weigh more, and one design
        counts as correct besides. Its spread is conformal, as that of `LossPrediction`.
        """
        damping = damping if figure in LOSSES else 0.0
        near = _NEAR if figure in LOSSES else math.inf
        known = np.isfinite(measured) & (np.maximum(measured, 0) + damping > 0)
        places = np.log(np.maximum(predicted[known], 0) + damping)
        ratios = np.log(np.maximum(measured[known], 0) + damping) - places
        alone = [
            ratios[number]
            - _mean(places[number : number + 1], np.delete(places, number), np.delete(ratios, number), near)
            for number in range(len(ratios))
        ]
        spread = float(np.abs(np.concatenate(alone)).max()) if len(ratios) > 1 else math.inf
        return cls(places, ratios, damping, near, spread)

    def __call__(self, predicted: Floats64) -> Floats64:
        """Return the corrected values of predicted ones."""
        if not len(self.ratios):
            return predicted
        places = np.log(np.maximum(predicted, 0) + self.damping)
        shift = _mean(places, self.predicted, self.ratios, self.near)
        return np.maximum(np.exp(places + shift) - self.damping, 0.0)

    def interval(self, corrected: Floats64, factor: float) -> tuple[Floats64, Floats64]:
        """Return least and largest values to be expected; `factor` is the ratio that is expected without any design."""
        spread = self.spread if len(self.ratios) >= _ENOUGH else max(math.log(factor), 0.0)
        ratio = math.exp(min(spread, 700.0))
        raised = np.maximum(corrected, 0) + self.damping
        return np.maximum(raised / ratio - self.damping, 0.0), raised * ratio - self.damping


def _mean(places: Floats64, known: Floats64, ratios: Floats64, near: float) -> Floats64:
    """Return the weighted mean of the ratios at each place, [places]; 0 without any."""
    if not len(known):
        return np.zeros(len(places))
    weights = np.exp(-0.5 * np.square((places[:, None] - known[None, :]) / near))
    return np.asarray(weights @ ratios / (weights.sum(axis=1) + _PRIOR))
