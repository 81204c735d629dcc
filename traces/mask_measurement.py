"""Measurement of the unevenness of a layer's mask, in the model of `traces.unevenness`.

The scales of rows and columns are solved for, so that the expected number of weights of each row and column is the one
counted. Their variances, without what chance adds to them, are the squares of the spreads. Rows are split into blocks
of the size that makes their scales most likely (analysis of variance with a random effect of blocks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from traces.arrays import Booleans, Floats64, Integers64
from traces.errors import InputError
from traces.kept_shares import kept, slopes
from traces.layer import CompressedLayer
from traces.unevenness import LARGEST_KURTOSIS, LARGEST_SPREAD, Unevenness, fullest_classes

BLOCKS = (16, 32, 64, 128)  # sizes tried; there must be LEAST_BLOCKS of them
LEAST_BLOCKS = 4
LEAST_GAIN = 2.0  # in log-likelihood, of blocks over none: Akaike's criterion with two parameters
_ITERATIONS, _TOLERANCE = 30, 1e-4
_NEWTON_STEPS, _LARGEST_STEP = 50, 0.7


@dataclass(frozen=True)
class _Lines:
    """Rows, or columns, that have weights.

    Attributes
    ----------
    logarithms : float64 [lines]
        Logarithms of the scales.
    noise : float
        Variance that chance adds to them.
    chance_empties : float
        Number of empty lines beside these that chance explains.
    """

    logarithms: Floats64
    noise: float
    chance_empties: float

    def dead_share(self, lines: int) -> float:
        """Return the share of dead ones of so many lines."""
        return max(0.0, lines - len(self.logarithms) - self.chance_empties) / lines


@dataclass(frozen=True)
class _Blocks:
    """Rows of a block, variances between blocks and inside, deviations from the blocks' means, log-likelihood."""

    rows: int
    between: float
    within: float
    deviations: Floats64
    likelihood: float


def unevenness_of(layer: CompressedLayer) -> Unevenness:
    """Return the unevenness of one layer's mask.

    Parameters
    ----------
    layer : CompressedLayer
        Pruned layer.

    Returns
    -------
    Unevenness
        All parameters, with which `draw_uneven_layer` draws masks like this one. A parameter that chance explains is 0.

    Raises
    ------
    InputError
        If `layer` is no CompressedLayer.

    Notes
    -----
    The empty rows and columns that chance explains at the fitted scales are not counted as dead. A layer without pruned
    weights, or without others, is even: its fullest classes are those of rows with as many weights each.
    """
    if not isinstance(layer, CompressedLayer):
        raise InputError(
            f"layer must be a CompressedLayer; found {type(layer).__name__}; layer_from_matrix makes one of an array"
        )
    mask = layer.codes != 0
    row_counts, column_counts = np.count_nonzero(mask, axis=1), np.count_nonzero(mask, axis=0)
    if not 0 < row_counts.sum() < mask.size:
        return Unevenness(fullest_classes=fullest_classes(np.ones(layer.rows, dtype=np.int64)))
    rows, columns = _scales(row_counts[row_counts > 0], column_counts[column_counts > 0])
    live = row_counts > 0
    blocks = _blocks(rows.logarithms, live)
    inside = blocks.within - rows.noise
    dead_rows = rows.dead_share(layer.rows)
    clustering = _clustering(live, blocks.rows) if dead_rows else 0.0
    return Unevenness(
        row_spread=_spread(inside),
        column_spread=_spread(_variance(columns.logarithms) - columns.noise),
        block_rows=blocks.rows,
        block_spread=_spread(blocks.between),
        row_kurtosis=_kurtosis(blocks.deviations, inside),
        dead_rows=dead_rows,
        dead_columns=columns.dead_share(layer.columns),
        dead_clustering=clustering,
        fullest_classes=fullest_classes(row_counts),
    )


def _scales(row_counts: Integers64, column_counts: Integers64) -> tuple[_Lines, _Lines]:
    """Find the scales of rows and columns whose expected numbers of weights are these, all of them 1 or more."""
    (row_values, of_row, rows), (column_values, of_column, columns) = (
        np.unique(counts, return_inverse=True, return_counts=True) for counts in (row_counts, column_counts)
    )  # lines with as many weights have the same scale
    row_scales, column_scales = np.zeros(len(row_values)), np.zeros(len(column_values))
    for _ in range(_ITERATIONS):
        row_scales = _solve(np.minimum(row_values, len(column_counts) - 0.5), column_scales, columns, row_scales)
        before = column_scales
        column_scales = _solve(np.minimum(column_values, len(row_counts) - 0.5), row_scales, rows, column_scales)
        if np.abs(column_scales - before).max() < _TOLERANCE:
            break
    sums = np.add.outer(row_scales, column_scales)
    shares, gradients = kept(sums), slopes(sums)
    found = []
    for scales, of_line, lines, others, axis in (
        (row_scales, of_row, rows, columns, 0),
        (column_scales, of_column, columns, rows, 1),
    ):
        share, gradient = (np.swapaxes(array, 0, axis) for array in (shares, gradients))
        noise = (share * (1 - share)) @ others / np.maximum(gradient @ others, 1e-9) ** 2
        empty = np.exp(np.log1p(-np.minimum(share, 1 - 1e-9)) @ others)
        empties = float(lines @ (empty / (1 - np.minimum(empty, 0.999))))
        found.append(_Lines(scales[of_line], float(noise @ lines / lines.sum()), empties))
    return found[0], found[1]


def _solve(counts: Floats64, others: Floats64, numbers: Integers64, start: Floats64) -> Floats64:
    """Return the logarithms of the scales that give the expected counts, if so many others have these logarithms."""
    logarithms = start
    for _ in range(_NEWTON_STEPS):
        sums = np.add.outer(logarithms, others)
        steps = (kept(sums) @ numbers - counts) / np.maximum(slopes(sums) @ numbers, 1e-9)
        steps = np.clip(steps, -_LARGEST_STEP, _LARGEST_STEP)
        logarithms = logarithms - steps
        if np.abs(steps).max() < _TOLERANCE / 100:
            break
    return logarithms


def _blocks(logarithms: Floats64, live: Booleans) -> _Blocks:
    """Return the most likely blocks of the live rows, of whose scales these are the logarithms."""
    number = len(logarithms)
    deviations = logarithms - logarithms.mean()
    total = _variance(logarithms)
    best = _Blocks(0, 0.0, total, deviations, LEAST_GAIN - (number - 1) / 2 * math.log(max(total, 1e-9)))
    for rows in BLOCKS:
        block_of = (np.arange(len(live)) // rows)[live]
        members = np.bincount(block_of)
        members, block_of = members[members > 0], np.unique(block_of, return_inverse=True)[1]
        if len(live) < rows * LEAST_BLOCKS or not 2 <= len(members) < number:
            continue
        means = np.bincount(block_of, logarithms) / members
        inside = logarithms - means[block_of]
        freedom, between_freedom = number - len(members), len(members) - 1
        within = float(inside @ inside) / freedom
        between = float(members @ (means - logarithms.mean()) ** 2) / between_freedom  # of means, times members
        mean_members = (number - float(members @ members) / number) / between_freedom
        if between <= within:
            continue
        likelihood = -(freedom * math.log(max(within, 1e-9)) + between_freedom * math.log(between)) / 2
        if likelihood > best.likelihood:
            best = _Blocks(rows, (between - within) / mean_members, within, inside, likelihood)
    return best


def _clustering(live: Booleans, block_rows: int) -> float:
    """Return the correlation of two rows of a block in being dead, 0 if rows have no blocks."""
    if not block_rows:
        return 0.0
    dead = np.add.reduceat(~live, np.arange(0, len(live), block_rows), dtype=np.float64)
    shares = dead / np.diff(np.append(np.arange(0, len(live), block_rows), len(live)))
    mean = float(shares.mean())
    chance = mean * (1 - mean)
    excess = float(shares.var(ddof=1)) - chance / block_rows
    return min(0.99, max(0.0, excess / chance / (1 - 1 / block_rows))) if chance else 0.0


def _variance(values: Floats64) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _spread(variance: float) -> float:
    return min(LARGEST_SPREAD, math.sqrt(max(0.0, variance)))


def _kurtosis(deviations: Floats64, inside: float) -> float:
    """Return the excess kurtosis of the logarithms inside blocks, whose variance without chance is `inside`.

    Chance adds variance, but hardly any fourth cumulant.
    """
    if inside <= 0:
        return 0.0
    fourth = float((deviations**4).mean()) - 3 * float((deviations**2).mean()) ** 2
    return min(LARGEST_KURTOSIS, max(0.0, fourth / inside**2))
