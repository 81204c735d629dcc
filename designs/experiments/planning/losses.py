"""Loss of a user, as `compress.plan` takes it by its name."""

from __future__ import annotations

import numpy as np

from traces.arrays import Floats, Floats64


def score_change(original: Floats, changed: Floats) -> Floats64:
    """Return by what share the anomaly score of each input changes, float64 [inputs].

    Parameters
    ----------
    original, changed : float [inputs, values]
        Errors of an autoencoder: its output minus its input. The score is the mean of their squares.
    """
    before, after = (np.square(each.astype(np.float64)).mean(axis=1) for each in (original, changed))
    return np.asarray(np.abs(after - before) / before)
