"""Random masks as uneven as those of pruned layers, in the model of `traces.unevenness`.

The number of weights of each row is drawn first: the scales of the rows give the expected numbers, to which chance is
added. If the fullest classes of interleaved rows are known, the best of CANDIDATES draws is taken. Then each row keeps
its largest weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from traces.arrays import Booleans, Floats64, Integers64
from traces.errors import InputError
from traces.kept_shares import LOGARITHMS, kept
from traces.unevenness import Unevenness, fullest_classes

CANDIDATES = 128
_COLUMN_SAMPLE = 64  # columns that stand for all of them in expected numbers
_BISECTIONS, _LARGEST_SHIFT = 26, 25.0
_LEAST_KURTOSIS = 1e-300  # below, the degrees of freedom of Student's t would be infinite: it is normal


def draw_mask(
    stream: np.random.RandomState, rows: int, columns: int, kept_weights: int, unevenness: Unevenness
) -> Iterator[tuple[int, Integers64]]:
    """Draw a mask with exactly so many weights.

    Parameters
    ----------
    stream : numpy.random.RandomState
        Random stream.
    rows, columns : int
        Shape of the layer, at least 1 x 1.
    kept_weights : int
        Number of weights kept.
    unevenness : Unevenness
        Parameters of the mask.

    Yields
    ------
    row : int
        Number of a row that has weights.
    columns : int64 [weights of the row]
        Columns of its weights, in no order.

    Raises
    ------
    InputError
        If the live rows and columns have fewer weights.

    Notes
    -----
    The draws are in this order: dead columns; logarithms of the scales of the live columns; for each candidate the
    scales of blocks and rows, dead rows and numbers of weights; the weights of each row.
    """
    live_columns = np.sort(stream.permutation(columns)[round(unevenness.dead_columns * columns) :])
    dead_rows = round(unevenness.dead_rows * rows)
    most = (rows - dead_rows) * len(live_columns)
    if kept_weights > most:
        raise InputError(
            f"a mask with dead_rows={unevenness.dead_rows} and dead_columns={unevenness.dead_columns} must have at "
            f"most {most:,} of {rows * columns:,} weights; found {kept_weights:,}; lower the weight density, or "
            f"give fewer dead rows or columns"
        )
    if kept_weights == 0:
        return
    logarithms = unevenness.column_spread * stream.standard_normal(len(live_columns))
    counts = _row_counts(stream, rows, dead_rows, logarithms, kept_weights, unevenness)
    scales = np.array([math.exp(value) for value in logarithms.tolist()])  # NumPy's differ between processors
    for row in np.flatnonzero(counts).tolist():
        magnitudes = np.abs(stream.standard_normal(len(live_columns))) * scales
        first = len(live_columns) - int(counts[row])
        yield row, live_columns[np.argpartition(magnitudes, first)[first:]] if first else live_columns


def _row_counts(
    stream: np.random.RandomState, rows: int, dead_rows: int, columns: Floats64, total: int, unevenness: Unevenness
) -> Integers64:
    """Draw the weights of each row, `total` in all: of some candidates those with the wanted fullest classes."""
    places = np.arange(2 * _COLUMN_SAMPLE + 1)[1::2] * len(columns) // (2 * _COLUMN_SAMPLE)
    shares = kept(np.add.outer(LOGARITHMS, np.sort(columns)[places])).mean(axis=1)  # by the logarithm of a row's scale
    candidates = []
    for _ in range(CANDIDATES if unevenness.fullest_classes else 1):
        logarithms, live = _draw_rows(stream, rows, dead_rows, unevenness)
        expected = np.zeros(rows)
        expected[live] = _shares_with_sum(shares, logarithms[live], total / len(columns))
        drawn = stream.binomial(len(columns), expected)
        candidates.append(_with_sum(stream, drawn, live, len(columns), total))
    return candidates[_nearest(candidates, unevenness) if unevenness.fullest_classes else 0]


def _nearest(candidates: Sequence[Integers64], unevenness: Unevenness) -> int:
    """Return the candidate whose fullest classes are nearest the wanted ones, in their standard deviations."""
    found = np.array([fullest_classes(counts) for counts in candidates])
    deviations = np.maximum(found.std(axis=0), 1e-9)
    return int(np.argmin((np.abs(found - unevenness.fullest_classes) / deviations).sum(axis=1)))


def _draw_rows(
    stream: np.random.RandomState, rows: int, dead_rows: int, unevenness: Unevenness
) -> tuple[Floats64, Booleans]:
    """Draw the logarithms of the rows' scales, and the rows that are not dead."""
    if unevenness.row_kurtosis > _LEAST_KURTOSIS:  # Student's t has the excess kurtosis 6 / (freedom - 4)
        freedom = 4 + 6 / unevenness.row_kurtosis
        inside = stream.standard_t(freedom, rows) * math.sqrt((freedom - 2) / freedom)
    else:
        inside = stream.standard_normal(rows)
    logarithms = unevenness.row_spread * inside
    hazards = np.ones(rows)
    if unevenness.block_rows:
        blocks = -(-rows // unevenness.block_rows)
        block_of = np.arange(rows) // unevenness.block_rows
        logarithms += (unevenness.block_spread * stream.standard_normal(blocks))[block_of]
        hazards = _hazards(stream, blocks, unevenness)[block_of]
    live = np.ones(rows, dtype=np.bool_)
    live[np.argsort(stream.standard_exponential(rows) / hazards, kind="stable")[:dead_rows]] = False
    return logarithms, live


def _hazards(stream: np.random.RandomState, blocks: int, unevenness: Unevenness) -> Floats64:
    """Draw the rates at which the rows of each block die: by time 1, the shares of dead rows are beta-distributed."""
    if not unevenness.dead_clustering or not 0 < unevenness.dead_rows < 1:
        return np.ones(blocks)
    size = 1 / unevenness.dead_clustering - 1
    live = 1 - stream.beta(unevenness.dead_rows * size, (1 - unevenness.dead_rows) * size, blocks)
    return np.array([max(1e-9, -math.log(max(1e-9, share))) for share in live.tolist()])


def _shares_with_sum(shares: Floats64, logarithms: Floats64, wanted: float) -> Floats64:
    """Return the share kept of each row, the threshold being such that their sum is the wanted one."""
    low, high = -_LARGEST_SHIFT, _LARGEST_SHIFT
    for _ in range(_BISECTIONS):
        shift = (low + high) / 2
        enough = float(np.interp(logarithms + shift, LOGARITHMS, shares).sum()) >= wanted
        low, high = (low, shift) if enough else (shift, high)
    return np.clip(np.interp(logarithms + high, LOGARITHMS, shares), 0, 1)


def _with_sum(stream: np.random.RandomState, counts: Integers64, live: Booleans, most: int, total: int) -> Integers64:
    """Add weights to random live rows, or remove some, one from each at a time, until there are `total` in all."""
    missing = total - int(counts.sum())
    while missing:
        step = 1 if missing > 0 else -1
        free = np.flatnonzero(live & (counts < most if step > 0 else counts > 0))
        counts[stream.permutation(free)[: abs(missing)]] += step
        missing = total - int(counts.sum())
    return counts
