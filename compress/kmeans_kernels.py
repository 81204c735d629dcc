"""Loops of one-dimensional k-means."""

from __future__ import annotations

import numpy as np

from traces.arrays import Floats, Integers
from traces.kernel_cache import kernel


@kernel
def fill_histogram(
    values: Floats, importances: Floats, kept: Integers, lowest: float, bins_per_unit: float, mass: Floats, sums: Floats
) -> None:
    """Add up importance, and importance times value, of the kept values in each bin of one width.

    Parameters
    ----------
    values : float [n]
    importances : float [n]
        Empty for 1 each.
    kept : bool [n]
        Empty to keep all values.
    lowest, bins_per_unit : float
        Lower end of the first bin, and the reciprocal of a bin's width.
    mass, sums : float64 [bins]
        Raised by what falls into each bin; a histogram of several parts begins with zeros.
    """
    last = mass.shape[0] - 1
    for i in range(values.shape[0]):
        if kept.shape[0] == 0 or kept[i]:
            value = np.float64(values[i])
            place = min(last, np.int64((value - lowest) * bins_per_unit))
            importance = 1.0 if importances.shape[0] == 0 else np.float64(importances[i])
            mass[place] += importance
            sums[place] += importance * value


@kernel
def fill_cuts(mass: Floats, sums: Floats, squares: Floats, cut: Integers) -> None:
    """Fill in where the last run begins if points are cut into runs with the least squared error to the runs' means.

    Parameters
    ----------
    mass, sums, squares : float64 [n + 1]
        Running totals over the points, from 0 on, of importance, importance times value, and importance times squared
        value.
    cut : int32 [k + 1, n + 1]
        Filled from row 2 on, row 1 must be 0: the last of c runs of the first j points begins at cut[c, j]. Rows of
        fewer runs do not depend on k.

    Notes
    -----
    D[c, j], the least error of the first j points in c runs, is min over i of D[c - 1, i] + error(i, j); the best i
    does not fall as j grows, nor as c does, so each c takes at most n log n steps. Source: Wu, "Optimal quantization by
    matrix searching", J. Algorithms 1991; divide and conquer in place of the matrix search.
    """
    num_points = mass.shape[0] - 1
    before = np.empty(num_points + 1)
    for j in range(num_points + 1):
        before[j] = squares[j] - (sums[j] * sums[j] / mass[j] if mass[j] > 0 else 0.0)
    after = np.empty(num_points + 1)
    stack = np.empty((64, 4), dtype=np.int64)
    for c in range(2, cut.shape[0]):
        depth = 1
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, num_points, 0, num_points
        while depth:
            depth -= 1
            low, high, first, last = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
            j = (low + high) // 2
            begin = max(first, np.int64(cut[c - 1, j]))
            end = min(last, j - 1) + 1
            least = np.inf
            best = begin
            mass_j, sum_j, square_j = mass[j], sums[j], squares[j]
            for i in range(begin, end):
                total = sum_j - sums[i]
                error = before[i] + (square_j - squares[i] - np.true_divide(total * total, mass_j - mass[i]))
                better = error < least  # two choices of values, no jump to predict
                best = i if better else best
                least = error if better else least
            if last >= j and before[j] < least:  # the last run is empty
                least, best = before[j], j
            after[j] = least
            cut[c, j] = best
            if low < j:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = low, j - 1, first, best
                depth += 1
            if j < high:
                stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = j + 1, high, best, last
                depth += 1
        before, after = after, before


@kernel
def nearest_codes(
    values: Floats,
    importances: Floats,
    kept: Integers,
    midpoints: Floats,
    lowest: float,
    bins_per_unit: float,
    code_of_bin: Integers,
    codes: Integers,
    mass: Floats,
    sums: Floats,
) -> None:
    """Fill in the code of the centroid nearest to each kept value, from 1 on; 0 for a value that is not kept.

    Parameters
    ----------
    values, importances, kept, lowest, bins_per_unit
        As `fill_histogram` takes them.
    midpoints : float64 [k - 1]
        Between ascending centroids.
    code_of_bin : int [bins]
        Lowest code of the values in a bin, from 0 on; the search goes up from there.
    codes : uint8 [n]
        Filled.
    mass, sums : float64 [k]
        Filled with importance, and importance times value, of each code's values.
    """
    last = code_of_bin.shape[0] - 1
    for i in range(values.shape[0]):
        if kept.shape[0] != 0 and not kept[i]:
            codes[i] = 0
            continue
        value = np.float64(values[i])
        code = np.int64(code_of_bin[min(last, max(0, np.int64((value - lowest) * bins_per_unit)))])
        while code < midpoints.shape[0] and value > midpoints[code]:
            code += 1
        importance = 1.0 if importances.shape[0] == 0 else np.float64(importances[i])
        mass[code] += importance
        sums[code] += importance * value
        codes[i] = code + 1
