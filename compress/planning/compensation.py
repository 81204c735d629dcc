"""Pruning and sharing with error compensation: if a weight moves, those after it in its row move, too.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023, and Frantar et al., "GPTQ", ICLR 2023, after Hassibi and Stork,
"Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992. Here the levels are not evenly spaced:
they are the optimal shared weights of the weights after pruning.
"""

from __future__ import annotations

import numpy as np

from compress.planning.kernels import sweep_rows
from compress.weight_sharing import share_weights
from traces import InputError
from traces.arrays import Booleans, Floats, Floats32, Floats64, Integers

_DAMPING = 0.01
_NOTHING = np.zeros(0)


def error_spread(moment: Floats, positions: int) -> Floats64:
    """Return how the weights after a weight of a row compensate its error, upper triangular [columns, columns].

    It is the factor U of the damped moment's inverse U^T U.

    Parameters
    ----------
    moment : float64 [columns, columns]
        Mean of x x^T over inputs x of the layer.
    positions : int
        Number of these inputs; the fewer they are, the stronger is the damping.
    """
    columns = len(moment)
    damping = max(_DAMPING, columns / (columns + positions)) * max(float(np.trace(moment)) / columns, 1e-30)
    inverse = np.linalg.inv(moment + damping * np.eye(columns))
    return np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)


def pruned_weights(weights: Floats, kept: Booleans, spread: Floats | None) -> Floats64:
    """Return the weights [rows, columns] after pruning; kept ones have moved to compensate the loss."""
    if weights.shape != kept.shape:
        raise InputError(f"weights and kept must have one shape; found {list(weights.shape)} and {list(kept.shape)}")
    moved = weights.astype(np.float64)
    if spread is None:
        return moved * kept
    sweep_rows(moved, kept, spread, _NOTHING)
    return moved


def shared_weights(
    weights: Floats,
    kept: Booleans,
    spread: Floats | None,
    weight_bits: int,
    curvatures: Floats,
    after_pruning: Floats | None = None,
) -> tuple[Integers, Floats32]:
    """Return codes and codebook, exact in 16 bits, of weights that are pruned and shared.

    Parameters
    ----------
    weights : float [rows, columns]
        Of the layer.
    kept : bool [rows, columns]
        False where a weight is pruned.
    spread : float64 [columns, columns] or None
        Of `error_spread`; None for no compensation.
    weight_bits : int
        Bits of a code.
    curvatures : float [rows, columns]
        Weight of each squared error in the choice of the shared weights.
    after_pruning : float64 [rows, columns] or None
        Of `pruned_weights`, if it is known.

    Returns
    -------
    codes : uint8 [rows, columns]
        0 for a pruned weight.
    codebook : float32 [2**weight_bits]
        Entry 0 is 0.0.
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
