"""Calibration of the analysis by runs in which single layers are compressed alone.

The same squared change of the outputs has different effects in different layers: one only makes the network more or
less sure of its answers, another changes them. Each layer is therefore compressed alone, once or a few times, and the
divergence that it causes is compared with the predicted change.
"""

from __future__ import annotations

import numpy as np

from traces.arrays import Floats, Floats64

_NO_CHANGE = 1e-30  # a smaller change counts as none
_ALIKE = 2.0  # a change within this factor of one that was tried needs no trial


class Calibration:
    """Weights of predicted changes in each layer relative to the others; 1 until something was tried."""

    def __init__(self, num_layers: int) -> None:
        self._tried: list[list[tuple[float, float, float]]] = [[] for _ in range(num_layers)]

    def knows(self, layer: int, change: float) -> bool:
        """Return True if a change of about this size was tried in the layer; no change at all needs no trial."""
        return change < _NO_CHANGE or any(1 / _ALIKE <= change / tried <= _ALIKE for tried, _, _ in self._tried[layer])

    def add(self, layer: int, change: float, divergences: Floats) -> None:
        """Add the run of a layer that was compressed alone.

        Parameters
        ----------
        layer : int
            Number of the layer.
        change : float
            Predicted change of the outputs; not known yet (`knows`).
        divergences : float [inputs]
            Measured divergences.
        """
        mean = max(float(divergences.mean()), 1e-9)
        variance = float(divergences.var()) / len(divergences) / mean**2  # of the logarithm of the mean
        self._tried[layer].append((change, float(np.log(mean / change)), variance))

    def scaled(self, layer: int, changes: Floats) -> Floats64:
        """Return predicted changes of one layer, scaled so that all layers' changes compare.

        Logarithms are interpolated between the changes that were tried. They are shrunk towards the mean of all layers
        as far as chance explains their differences (James and Stein, "Estimation with quadratic loss", 1961).
        """
        known = [trial for of_layer in self._tried for trial in of_layer]
        if not known or not self._tried[layer]:
            return np.asarray(changes, dtype=np.float64)
        logarithms, variances = np.array(known)[:, 1], np.array(known)[:, 2]
        mean = float(logarithms.mean())
        real = max(float(logarithms.var() - variances.mean()), 0.0)
        points = np.array(sorted(self._tried[layer]))
        shrunk = (points[:, 1] - mean) * real / np.maximum(real + points[:, 2], 1e-30)
        factors = np.interp(np.log(np.maximum(changes, _NO_CHANGE)), np.log(points[:, 0]), shrunk)
        return np.asarray(changes * np.exp(factors), dtype=np.float64)
