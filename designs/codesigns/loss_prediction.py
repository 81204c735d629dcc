"""Prediction of the loss of a compression from its predicted change of the outputs; PyTorch is not needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.config import Precision
from traces.arrays import Floats64

_NO_LOSS = 1e-9  # smaller losses are none, so that they tell no designs apart


@dataclass(frozen=True, eq=False)
class LossPrediction:
    """Prediction of the loss from the predicted change of the outputs.

    Attributes
    ----------
    changes, losses : array [points]
        Logarithms of changes of the outputs, and the loss expected of random changes of that size. Neither decreases.
    predicted, corrections : array [plans]
        Logarithms of the predicted changes of measured plans, and of the ratio of measured to predicted change.
    loss_share : float
        Ratio of the measured loss of these plans to the loss of random changes of the same size. The ratio is not 1,
        because compression does not change outputs at random: it first makes a network less certain.
    damping : float
        Loss that is added to losses before they are compared by ratio.
    factor : float
        Largest ratio of a measured plan's loss to its prediction from the other plans, or of the prediction to the
        loss: with n plans, the interval of a further one has a confidence level of n / (n + 1).
    least : float
        Logarithm of the predicted change below which the loss falls no more: arithmetic in fixed point changes the
        outputs of a network that is hardly compressed, too.
    most : float
        Largest loss that is predicted: arithmetic in fixed point may lose far more than random changes of the same
        size, but not more than all answers.
    """

    changes: Floats64
    losses: Floats64
    predicted: Floats64
    corrections: Floats64
    loss_share: float
    damping: float
    factor: float = 1.0
    least: float = -math.inf
    most: float = math.inf

    @classmethod
    def of(
        cls,
        changes: Floats64,
        losses: Floats64,
        plans: Sequence[tuple[float, float, float]],
        damping: float,
        precision: Precision = "float",
    ) -> LossPrediction:
        """Return the prediction that follows from measured plans.

        Parameters
        ----------
        changes, losses, damping
            As the attributes of these names.
        plans : sequence of (float, float, float)
            For each plan the logarithms of its predicted and of its measured change, and its measured loss.
        precision : str
            Arithmetic in which the plans were measured.

        Notes
        -----
        The interval is conformal: each plan is predicted from the others (Barber, Candes, Ramdas, Tibshirani,
        "Predictive inference with the jackknife+", Annals of Statistics 2021).
        """
        predicted, corrected, lost = np.array(sorted(plans)).T
        expected = np.interp(corrected, changes, losses)
        share = (damping + np.maximum(lost, 0.0).sum()) / (damping + expected.sum())
        least = -math.inf if precision == "float" else float(predicted[0])
        fitted = cls(changes, losses, predicted, corrected - predicted, float(share), damping, least=least)
        if len(plans) < 2:
            return fitted
        ratios = []
        for number in range(len(lost)):
            others = np.delete(np.arange(len(lost)), number)
            rest = damping + np.maximum(lost[others], 0.0).sum()
            share = rest / (damping + expected[others].sum())
            least = -math.inf if precision == "float" else float(predicted[others[0]])
            corrections = (corrected - predicted)[others]
            alone = cls(changes, losses, predicted[others], corrections, float(share), damping, least=least)
            found = alone.loss(math.exp(predicted[number]))
            ratios.append(abs(math.log((max(lost[number], 0.0) + damping) / (found + damping))))
        return replace(fitted, factor=math.exp(max(ratios)))

    def interval(self, change: float) -> tuple[float, float]:
        """Return the least and the largest loss to be expected for a predicted squared change of the outputs."""
        loss = self.loss(change) + self.damping
        return max(0.0, loss / self.factor - self.damping), min(loss * self.factor - self.damping, self.most)

    def loss(self, change: float) -> float:
        """Return the predicted loss for a predicted squared change of the outputs."""
        return float(self.losses_of(np.array([change]))[0])

    def losses_of(self, changes: Floats64) -> Floats64:
        """Return the predicted losses for predicted squared changes of the outputs."""
        places = np.maximum(np.log(np.maximum(changes, 1e-300)), self.least)
        corrected = places + np.interp(places, self.predicted, self.corrections)
        losses = np.minimum(self.loss_share * np.interp(corrected, self.changes, self.losses), self.most)
        return np.where(losses >= _NO_LOSS, losses, 0.0)
