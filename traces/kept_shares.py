"""Share of normal weights that pruning keeps, by the logarithm of their scale.

A weight of scale e to the x is kept if its magnitude is more than 1: `kept(x) = P(|N(0, 1)| > exp(-x))`. The
functions interpolate tables, so that they are the same on every processor.
"""

from __future__ import annotations

import math

import numpy as np

from traces.arrays import Floats64

LOGARITHMS = np.linspace(-5, 14, 4097)  # from no weight kept to all
_DENSITY = math.sqrt(2 / math.pi)  # of the magnitude of a normal number at 0


def _kept(logarithm: float) -> float:
    return math.erfc(math.exp(-logarithm) / math.sqrt(2))


def _slope(logarithm: float) -> float:
    threshold = math.exp(-logarithm)
    return _DENSITY * threshold * math.exp(-(threshold**2) / 2)


_KEPT = np.array([_kept(logarithm) for logarithm in LOGARITHMS.tolist()])
_SLOPES = np.array([_slope(logarithm) for logarithm in LOGARITHMS.tolist()])


def kept(logarithms: Floats64) -> Floats64:
    """Return the share of weights kept at each logarithm of a scale, relative to the threshold."""
    shares: Floats64 = np.interp(logarithms, LOGARITHMS, _KEPT)
    return shares


def slopes(logarithms: Floats64) -> Floats64:
    """Return the derivative of `kept`."""
    found: Floats64 = np.interp(logarithms, LOGARITHMS, _SLOPES)
    return found
