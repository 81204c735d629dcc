"""Correction of predicted figures by what was measured of some designs of the same front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from traces.arrays import Floats64

_PRIOR = 1.0  # measured designs that no correction at all counts as
_ENOUGH = 5  # measured designs; with fewer, the interval is the one that predictions come with


@dataclass(frozen=True, eq=False)
class Correction:
    """Ratios of measured to predicted values of one figure, which correct the predictions of similar designs.

    Attributes
    ----------
    places : float64 [designs, features]
        What measured designs are similar by: the weight of one falls to exp(-1/2) at a distance of 1.
    ratios : float64 [designs]
        Logarithms of their ratios of measured to predicted values.
    damping : float
        Added to values before they are compared by ratio; a loss may be 0.
    spread : float
        Largest logarithm of a ratio that is left when each design is corrected by the others.
    """

    places: Floats64
    ratios: Floats64
    damping: float
    spread: float

    @classmethod
    def of(cls, places: Floats64, predicted: Floats64, measured: Floats64, damping: float = 0.0) -> Correction:
        """Return the correction that follows from some designs, [designs] each; none without any.

        Notes
        -----
        The correction is a mean of the logarithms of the ratios, in which similar designs weigh more, and one design
        counts as correct besides. Its spread is conformal, as that of `LossPrediction`.
        """
        known = np.isfinite(measured) & (np.maximum(measured, 0) + damping > 0)
        places = places[known]
        ratios = np.log((np.maximum(measured[known], 0) + damping) / (np.maximum(predicted[known], 0) + damping))
        left = []
        for number in range(len(ratios)):
            others = np.delete(np.arange(len(ratios)), number)
            left.append(ratios[number] - _mean(places[number : number + 1], places[others], ratios[others]))
        return cls(places, ratios, damping, float(np.abs(left).max()) if left else math.inf)

    def __call__(self, places: Floats64, predicted: Floats64) -> Floats64:
        """Return the corrected values of predicted ones, [designs]."""
        if not len(self.ratios):
            return predicted
        ratios = np.exp(_mean(places, self.places, self.ratios))
        return np.maximum((np.maximum(predicted, 0) + self.damping) * ratios - self.damping, 0.0)

    def interval(self, corrected: Floats64, factor: float) -> tuple[Floats64, Floats64]:
        """Return least and largest values to be expected; `factor` is the ratio that is expected without any design."""
        spread = self.spread if len(self.ratios) >= _ENOUGH else max(math.log(factor), 0.0)
        ratio = math.exp(min(spread, 700.0))
        raised = np.maximum(corrected, 0) + self.damping
        return np.maximum(raised / ratio - self.damping, 0.0), raised * ratio - self.damping


def _mean(places: Floats64, known: Floats64, ratios: Floats64) -> Floats64:
    """Return the weighted mean of the ratios at each place, [places]; 0 without any."""
    if not len(known):
        return np.zeros(len(places))
    distances = np.square(places[:, np.newaxis] - known[np.newaxis]).sum(axis=2)
    weights = np.exp(-0.5 * distances)
    return np.asarray(weights @ ratios / (weights.sum(axis=1) + _PRIOR))
