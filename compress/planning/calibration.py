"""What the analysis says of each layer, corrected by what a few real perturbations of single layers did.

The same squared change of the outputs does not do the same in every layer: one only makes the network more or less sure
of the answers it gives anyway, another turns them. So each layer is compressed alone, once or a few times, and the
divergence it causes is set against the change that was predicted of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
_NO_CHANGE = 1e-30  # what is below it is none
_ALIKE = 2.0  # a change within this factor of one that was tried needs no trial of its own


class Calibration:
    """How much a predicted change counts in each layer, relative to the others: 1 each as long as nothing was tried."""

    def __init__(self, num_layers: int) -> None:
        self._tried: list[list[tuple[float, float, float]]] = [[] for _ in range(num_layers)]

    def knows(self, layer: int, change: float) -> bool:
        """Whether a change of about this size was tried in the layer; no change at all needs no trial."""
        return change < _NO_CHANGE or any(1 / _ALIKE <= change / each <= _ALIKE for each, _, _ in self._tried[layer])

    def add(self, layer: int, change: float, divergences: Floats) -> None:
        """Add what a layer did that was compressed alone.

        change        what it was predicted to change the outputs by, and `knows` did not know
        divergences   [inputs], that it caused
        """
        mean = max(float(divergences.mean()), 1e-9)
        variance = float(divergences.var()) / len(divergences) / mean**2  # of the logarithm of the mean
        self._tried[layer].append((change, float(np.log(mean / change)), variance))

    def scaled(self, layer: int, changes: Floats) -> npt.NDArray[np.float64]:
        """Predicted changes of one layer as they count beside those of the others.

        Between changes that were tried, logarithms are interpolated. They are drawn towards the mean of all layers as
        far as they may owe their differences to chance (James and Stein, "Estimation with quadratic loss", 1961).
        """
        known = [each for of_layer in self._tried for each in of_layer]
        if not known or not self._tried[layer]:
            return np.asarray(changes, dtype=np.float64)
        logarithms, variances = np.array(known)[:, 1], np.array(known)[:, 2]
        mean = float(logarithms.mean())
        real = max(float(logarithms.var() - variances.mean()), 0.0)
        points = np.array(sorted(self._tried[layer]))
        drawn = (points[:, 1] - mean) * real / np.maximum(real + points[:, 2], 1e-30)
        found = np.interp(np.log(np.maximum(changes, _NO_CHANGE)), np.log(points[:, 0]), drawn)
        return np.asarray(changes * np.exp(found), dtype=np.float64)
