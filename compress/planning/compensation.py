"""Pruning and sharing that make good their own errors: where a weight moves, those after it in its row move, too.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023, and Frantar et al., "GPTQ", ICLR 2023, after Hassibi and Stork,
"Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992. Here shared weights are taken in place
of evenly spaced ones: they are the optimal ones of the weights after pruning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from compress.planning.kernels import sweep_rows
from compress.weight_sharing import share_weights
from traces import InputError

Floats = npt.NDArray[Any]
_DAMPING = 0.01
_NOTHING = np.zeros(0)


def error_spread(moment: Floats, positions: int) -> npt.NDArray[np.float64]:
    """Upper triangular [columns, columns]: how an error of one weight of a row is made good by those after it.

    moment      mean of x x^T over `positions` inputs x of the layer; the fewer they are, the less it is believed

    It is the factor U of the damped moment's inverse U^T U.
    """
    columns = len(moment)
    damping = max(_DAMPING, columns / (columns + positions)) * max(float(np.trace(moment)) / columns, 1e-30)
    inverse = np.linalg.inv(moment + damping * np.eye(columns))
    return np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)


def pruned_weights(weights: Floats, kept: npt.NDArray[np.bool_], spread: Floats | None) -> npt.NDArray[np.float64]:
    """Weights [rows, columns] after pruning; those that are kept have moved to make good what is lost."""
    if weights.shape != kept.shape:
        raise InputError(f"weights and kept must have one shape; found {list(weights.shape)} and {list(kept.shape)}")
    moved = weights.astype(np.float64)
    if spread is None:
        return moved * kept
    sweep_rows(moved, kept, spread, _NOTHING)
    return moved


def shared_weights(
    weights: Floats,
    kept: npt.NDArray[np.bool_],
    spread: Floats | None,
    weight_bits: int,
    curvatures: Floats,
    after_pruning: Floats | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Codes uint8 [rows, columns] and codebook float32, exact in 16 bits, of weights that are pruned and shared.

    spread          of `error_spread`; None: nothing is made good
    curvatures      what a weight's squared error counts in the choice of the shared weights; [rows, columns]
    after_pruning   of `pruned_weights`, where it is known
    """
    pruned = pruned_weights(weights, kept, spread) if after_pruning is None else after_pruning
    counts = curvatures + max(float(curvatures.mean()), 1e-30) * 1e-3
    codes, codebook, _ = share_weights(pruned.astype(np.float32), kept, weight_bits, importances=counts)
    codebook = codebook.astype(np.float16).astype(np.float32)
    if spread is None:
        return codes, codebook
    moved = weights.astype(np.float64)
    ascending = np.unique(codebook[1:]).astype(np.float64)
    sweep_rows(moved, kept, spread, ascending)
    places = 1 + np.searchsorted(codebook[1:], moved.astype(np.float32))
    return np.where(kept, places, 0).astype(np.uint8), codebook
