"""Pruning and sharing with error compensation: if a weight moves, those after it in its row move, too.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023, and Frantar et al., "GPTQ", ICLR 2023, after Hassibi and Stork,
"Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992. Here the levels are not evenly spaced:
they are the optimal shared weights of the weights after pruning. Rows are independent of one another, and are worked on
a block at a time, so that no copy of a large layer in 64 bits is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np

from compress.planning.kernels import sweep_rows
from compress.planning.moments import BlockMoment
from compress.weight_sharing import optimal_centroids
from traces import InputError
from traces.arrays import Booleans, Floats, Floats32, Floats64, Integers

#: For each diagonal block of a moment, how an error is made good by the weights after it (`error_spread`). With groups
#: of rows, the blocks of each group follow those of the group before it.
Spread = Sequence[Floats64]

_DAMPING = 0.01
_NO_WEIGHTS = np.zeros(0)
_NO_CODES = np.zeros(0, dtype=np.uint8)
_WEIGHTS_AT_ONCE = 2**19


def error_spread(moment: BlockMoment) -> list[Floats64]:
    """Return how the weights after a weight of a row compensate its error: one upper triangular matrix per block.

    Each is the factor U of the damped block's inverse U^T U. The fewer vectors the moment has, the stronger is the
    damping. The blocks are those of the moment, group by group.
    """
    spread = []
    for block in moment.means():
        columns = len(block)
        strength = max(_DAMPING, columns / (columns + moment.positions))
        damping = strength * max(float(np.trace(block)) / columns, 1e-30)
        inverse = np.linalg.inv(block + damping * np.eye(columns))
        spread.append(np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T))
    return spread


def pruned_weights(
    weights: Floats,
    kept: Booleans,
    spread: Spread | None,
    executor: Executor | None = None,
    groups: Integers | None = None,
) -> Floats32:
    """Return the weights [rows, columns] after pruning; kept ones have moved to compensate the loss.

    Parameters
    ----------
    weights, kept, spread, executor, groups
        As of `shared_codes`.
    """
    if weights.shape != kept.shape:
        raise InputError(f"weights and kept must have one shape; found {list(weights.shape)} and {list(kept.shape)}")
    pruned = np.empty(weights.shape, dtype=np.float32)

    def prune(rows: slice) -> None:
        if spread is None:
            np.multiply(weights[rows], kept[rows], out=pruned[rows], casting="same_kind")
        else:
            pruned[rows] = _swept(weights[rows], kept[rows], spread, None if groups is None else groups[rows])

    _over_rows(prune, weights, executor)
    return pruned


def codebooks(
    pruned: Floats32, kept: Booleans, curvatures: Floats, weight_bits: Sequence[int], classes: Integers | None = None
) -> list[Floats64]:
    """Return optimal shared weights for several numbers of bits, ascending, float64 [2**bits - 1] each.

    With classes, each class has shared weights of its own: float64 [classes, 2**bits - 1].

    Parameters
    ----------
    pruned : float32 [rows, columns]
        Of `pruned_weights`.
    kept : bool [rows, columns]
        False where a weight is pruned.
    curvatures : float [rows, columns]
        Weight of each squared error.
    weight_bits : sequence of int
        Bits of a code.
    classes : int [rows] or None
        Class of each row (`compress.row_classes`), from 0 on.
    """
    added, numbers = least_curvature(curvatures), [2**bits - 1 for bits in weight_bits]
    if classes is None:
        return optimal_centroids(pruned, kept, curvatures, added, numbers)
    of_classes = [
        optimal_centroids(pruned[rows], kept[rows], curvatures[rows], added, numbers) for rows in _rows_of(classes)
    ]
    return [np.stack(shared) for shared in zip(*of_classes, strict=True)]


def least_curvature(curvatures: Floats) -> float:
    """Return what is added to each curvature, so that a weight without any does not go anywhere."""
    return max(float(curvatures.mean(dtype=np.float64)), 1e-30) * 1e-3


def _rows_of(classes: Integers) -> list[Integers]:
    return [np.flatnonzero(classes == number) for number in range(int(classes.max()) + 1)]


def stored_codebook(shared: Floats64) -> Floats32:
    """Return the codebook of shared weights, exact in 16 bits, float32 [..., 2**weight_bits]; entry 0 is 0.0."""
    codebook: Floats32 = np.concatenate([np.zeros_like(shared[..., :1]), shared], axis=-1).astype(np.float32)
    return codebook.astype(np.float16).astype(np.float32)


def shared_codes(
    weights: Floats,
    kept: Booleans,
    spread: Spread | None,
    shared: Floats64,
    executor: Executor | None = None,
    groups: Integers | None = None,
    classes: Integers | None = None,
) -> Integers:
    """Return the codes of weights that are pruned and shared, uint8 [rows, columns], 0 for a pruned weight.

    Parameters
    ----------
    weights : float [rows, columns]
        Of the layer.
    kept : bool [rows, columns]
        False where a weight is pruned.
    spread : list of float64 [block, block], or None
        Of `error_spread`; None for no compensation.
    shared : float64
        Of `codebooks`.
    executor : Executor or None
        Works on blocks of rows at the same time.
    groups : int [rows] or None
        Group of each row, ascending (`BlockMoment.group_of_rows`); None if the spread has one group.
    classes : int [rows] or None
        Class of each row, which tells its shared weights.
    """
    codes = np.zeros(weights.shape, dtype=np.uint8)
    if classes is not None:
        for of_class, rows in zip(shared, _rows_of(classes), strict=True):
            of_rows = None if groups is None else groups[rows]
            codes[rows] = shared_codes(weights[rows], kept[rows], spread, of_class, executor, of_rows)
        return codes
    rounded = stored_codebook(shared)[1:].astype(np.float64)
    ascending, first = np.unique(rounded, return_index=True)
    codes_of = (1 + first).astype(np.uint8)
    midpoints = (shared[1:] + shared[:-1]) / 2

    def share(rows: slice) -> None:
        if spread is None:
            nearest = 1 + np.searchsorted(midpoints, weights[rows].astype(np.float64))
            codes[rows] = nearest * kept[rows]
        else:
            of_rows = None if groups is None else groups[rows]
            _swept(weights[rows], kept[rows], spread, of_rows, ascending, codes_of, codes[rows])

    _over_rows(share, weights, executor)
    return codes


def _swept(
    weights: Floats,
    kept: Booleans,
    spread: Spread,
    groups: Integers | None,
    shared: Floats64 = _NO_WEIGHTS,
    codes_of: Integers = _NO_CODES,
    codes: Integers | None = None,
) -> Floats64:
    """Return a block of rows after all blocks of columns were swept."""
    moved = weights.astype(np.float64, order="C")
    codes = np.zeros((0, 0), dtype=np.uint8) if codes is None else codes
    for rows, blocks in _row_ranges(len(weights), weights.shape[1], spread, groups):
        first = 0
        for block in blocks:
            sweep_rows(moved[rows], kept[rows], block, first, shared, codes_of, codes[rows])
            first += len(block)
    return moved


def _row_ranges(rows: int, columns: int, spread: Spread, groups: Integers | None) -> Iterator[tuple[slice, Spread]]:
    """Yield the rows of each group, with the blocks of its spread."""
    if groups is None:
        yield slice(0, rows), spread
        return
    number = sum(len(block) for block in spread) // columns
    blocks = len(spread) // number
    ends = [*(1 + np.flatnonzero(np.diff(groups))), rows]
    for begin, end in itertools.pairwise([0, *ends]):
        yield slice(begin, end), spread[blocks * groups[begin] : blocks * (groups[begin] + 1)]


def _over_rows(work: Callable[[slice], None], weights: Floats, executor: Executor | None) -> None:
    step = max(8, _WEIGHTS_AT_ONCE // weights.shape[1])
    rows: Iterable[slice] = [slice(begin, begin + step) for begin in range(0, len(weights), step)]
    for _ in map(work, rows) if executor is None else executor.map(work, rows):
        pass
