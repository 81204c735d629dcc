"""Classes of rows that share a codebook, one class for each PE of an array or for each group of its PEs.

Similar rows share a codebook with less error. An array has two more demands: every PE holds as many rows as with
interleaving, and all PEs hold about the same number of weights, since the fullest one decides the cycles. Codebooks and
classes are improved in turn, as in Lloyd's iterations: first the codebooks of the classes, then the class of each row.
Two rows are swapped as long as a swap lowers the error and keeps the bound on the weights of a PE. In a layer with many
rows, the rows of two classes at a time are split anew instead. Each round of iterations begins with optimal codebooks.
The first round begins with rows in the order of their mean square. If there are few rows, the search is repeated from
interleaved rows, and the better result is taken. Nothing is drawn at random, so the classes are the same everywhere.

Without the bound on the weights of a PE, this is an assignment problem for given codebooks (Kuhn, "The Hungarian method
for the assignment problem", 1955), and balanced clustering for free ones (Bradley, Bennett, Demiriz, "Constrained
k-means clustering", 2000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.weight_sharing import optimal_centroids
from traces import InputError
from traces.arrays import Booleans, Floats, Floats64, Integers, Integers64, Numbers

LOAD_SLACK = 0.1
_MOST_ROUNDS, _MOST_ITERATIONS = 8, 30
_MOST_PRICES = 30
_MOST_SWAPPED = 512  # rows; of more, the rows of pairs of classes are split
_LEAST_ROUND_GAIN, _LEAST_GAIN = 2e-3, 1e-3  # of a round or an iteration, relative to the error
_MOST_SAMPLED = 2**22  # weights that decide the classes; of more, every second, third, ... column is taken


def class_sizes(rows: int, num_pes: int, number: int) -> Integers64:
    """Return the rows of each class, int64 [classes], where PE p belongs to class p mod `number`.

    Classes without rows are left out, so there may be fewer than `number`.
    """
    sizes: Integers64 = np.bincount(np.arange(rows) % num_pes % number)
    return sizes


def row_classes(
    weights: Numbers,
    kept: Booleans,
    num_pes: int,
    number: int,
    weight_bits: int,
    importances: Floats | None = None,
    slack: float = LOAD_SLACK,
    groups: Integers | None = None,
) -> Integers64:
    """Assign the rows of a matrix to classes, each of which has a codebook.

    Parameters
    ----------
    weights : float [rows, columns]
        Weights of the layer.
    kept : bool [rows, columns]
        False where a weight is pruned.
    num_pes : int
        PEs of the array.
    number : int
        Classes, up to `num_pes`: PE p holds rows of class p mod `number`.
    weight_bits : int
        Bits of a code: each codebook has 2**weight_bits - 1 values besides 0.
    importances : float [rows, columns], optional
        Weight of each squared error, not negative; 1 each by default.
    slack : float
        The kept weights of a PE, of the mean over the PEs of a class, exceed the mean over all PEs by at most this
        share; by more only if no swap of two rows of a balanced start brings them below. inf for no bound.
    groups : int [rows], optional
        Group of each row in a grouped product, whose groups are packed one by one: classes are balanced in each of
        them, unless every row has a PE of its own. Classes of several groups are matched by their mean squares.

    Returns
    -------
    numpy.ndarray
        Class of each row, int64 [rows], from 0 on; each class of `class_sizes` has its size, in each group if these
        are balanced.

    Raises
    ------
    InputError
        If the number of classes is not 1 to `num_pes`, or the slack is negative.
    """
    if not 1 <= number <= num_pes:
        raise InputError(f"codebooks must be 1 to num_pes={num_pes:,}; found {number:,}")
    if not slack >= 0:
        raise InputError(f"slack must be at least 0; found {slack}")
    if groups is not None and np.bincount(groups).max() > num_pes:
        classes = np.empty(len(weights), dtype=np.int64)
        for group in np.unique(groups).tolist():
            here = np.flatnonzero(groups == group)
            of_group = None if importances is None else importances[here]
            found = row_classes(weights[here], kept[here], num_pes, number, weight_bits, of_group, slack)
            classes[here] = _in_order_of_scale(found, weights[here], kept[here])
        return classes
    rows = len(weights)
    sizes = class_sizes(rows, num_pes, number)
    if sizes.size == 1 or sizes.size == rows:
        return np.arange(rows) % num_pes % number
    loads = np.count_nonzero(kept, axis=1)
    step = -(-int(loads.sum()) // _MOST_SAMPLED) or 1
    sampled = slice(None, None, step)
    sorted_rows = _SortedRows.of(
        weights[:, sampled], kept[:, sampled], None if importances is None else importances[:, sampled]
    )
    pes = np.bincount(np.arange(min(num_pes, rows)) % number)  # PEs of each class
    dealt, most = _balanced(loads, sizes, pes, slack)
    by_scale = np.empty(rows, dtype=np.int64)
    by_scale[np.argsort(sorted_rows.scales, kind="stable")] = np.repeat(np.arange(sizes.size), sizes)
    interleaved = np.arange(rows) % num_pes % number
    starts = [by_scale] if rows > _MOST_SWAPPED else [by_scale, interleaved]
    ends = [sorted_rows.improved(start, loads, most, 2**weight_bits - 1) for start in starts]
    if all(excess for (excess, _), _ in ends):
        ends.append(sorted_rows.improved(dealt, loads, most, 2**weight_bits - 1))
    _, classes = min(ends, key=lambda end: end[0])
    return _in_order(classes, sizes)


def priced_assignment(errors: Floats64, loads: Integers64, most: Integers64, classes: Integers64) -> Integers64:
    """Return better classes of the rows for given errors, within the bounds on the loads of classes if these are.

    Where a bound binds, single swaps get stuck. So a weight in a class that exceeds its bound gets a price, rows are
    swapped by errors and prices without bounds, and then by errors within them; the best end of several prices is
    taken. The prices are Lagrange multipliers, moved along the subgradient (Held, Wolfe, Crowder, "Validation of
    subgradient optimization", 1974).

    Parameters
    ----------
    errors : float64 [rows, classes]
        Error of each row in each class.
    loads : int64 [rows]
        Kept weights of each row.
    most : int64 [classes]
        Bound on the kept weights of each class.
    classes : int64 [rows]
        Classes to begin with.
    """
    from compress import row_classes_kernels as kernels

    rows, unbounded = np.arange(loads.size), np.full(most.size, loads.sum())
    best, free, prices = classes.copy(), classes.copy(), np.zeros(most.size)
    least = kernels.swap_rows(errors, loads, most, best), float(errors[rows, best].sum())
    for _ in range(_MOST_PRICES):
        priced = errors + loads[:, np.newaxis] * prices
        kernels.swap_rows(priced, loads, unbounded, free)
        found = free.copy()
        end = kernels.swap_rows(errors, loads, most, found), float(errors[rows, found].sum())
        if end < least:
            best, least = found, end
        exceeded = np.bincount(free, loads, most.size) - most
        if not prices.any() and (exceeded <= 0).all():
            break
        gap = least[1] - float(priced[rows, free].sum() - prices @ most)
        prices = np.maximum(0.0, prices + max(gap, 0.0) / max(float(exceeded @ exceeded), 1.0) * exceeded)
    return best


def _balanced(loads: Integers64, sizes: Integers64, pes: Integers64, slack: float) -> tuple[Integers64, Integers64]:
    """Return classes [rows] with about equal loads for each of their PEs, and the bound on the load of each class.

    Rows are dealt, the one with most weights first, to the class with fewest per PE that has places left. Then rows are
    swapped as long as that lowers what classes exceed the bound by; what is left raises the bound.
    """
    from compress import row_classes_kernels as kernels

    owner, held, room = np.empty(loads.size, dtype=np.int64), np.zeros(sizes.size), sizes.copy()
    for row in np.argsort(-loads, kind="stable"):
        number = int(np.argmin(np.where(room > 0, held / pes, np.inf)))
        owner[row] = number
        held[number] += loads[row]
        room[number] -= 1
    most = np.floor(np.minimum((1 + slack) * loads.sum() / pes.sum() * pes, loads.sum())).astype(np.int64)
    kernels.swap_rows(np.zeros((loads.size, sizes.size)), loads, most, owner)
    return owner, np.maximum(most, np.bincount(owner, loads).astype(np.int64))


def _in_order(classes: Integers64, sizes: Integers64) -> Integers64:
    """Rename classes of one size by their first rows, so that interleaved rows have interleaved classes."""
    first = np.full(sizes.size, classes.size)
    np.minimum.at(first, classes, np.arange(classes.size))
    return _renamed(classes, sizes, first)


def _in_order_of_scale(classes: Integers64, weights: Numbers, kept: Booleans) -> Integers64:
    """Rename classes of one size by the mean square of their weights, ascending."""
    squares = np.bincount(classes, np.sum(np.square(weights, dtype=np.float64), axis=1, where=kept))
    means = squares / np.maximum(1, np.bincount(classes, np.count_nonzero(kept, axis=1)))
    return _renamed(classes, np.bincount(classes), means)


def _renamed(classes: Integers64, sizes: Integers64, order: Numbers) -> Integers64:
    """Rename classes of one size in this order, [classes]."""
    places = np.lexsort((order, -sizes))
    renamed = np.empty(sizes.size, dtype=np.int64)
    renamed[places] = np.argsort(-sizes, kind="stable")
    return renamed[classes]


def group_of_rows(rows: int, groups: int) -> Integers64:
    """Return the group of each row of a grouped product, int64 [rows]; the rows of a group follow one another."""
    return np.arange(rows) * groups // rows


@dataclass(frozen=True, eq=False)
class _SortedRows:
    """Kept weights row by row, ascending within each, with running totals from 0 on within the whole matrix.

    Attributes
    ----------
    begins : int64 [rows + 1]
        First weight of each row.
    values : float64 [weights]
        The weights.
    totals : float64 [weights + rows, 3]
        Before each weight of a row and after its last one: importance, importance times value, importance times squared
        value of those before it in the row.
    """

    begins: Integers64
    values: Floats64
    totals: Floats64

    @classmethod
    def of(cls, weights: Numbers, kept: Booleans, importances: Floats | None) -> _SortedRows:
        rows = len(weights)
        begins = np.zeros(rows + 1, dtype=np.int64)
        np.cumsum(np.count_nonzero(kept, axis=1), out=begins[1:])
        values = np.empty(begins[-1], dtype=np.float64)
        totals = np.zeros((begins[-1] + rows, 3), dtype=np.float64)
        for row in range(rows):
            here = slice(begins[row], begins[row + 1])
            of_row = weights[row, kept[row]].astype(np.float64)
            order = np.argsort(of_row, kind="stable")
            values[here] = of_row[order]
            mass = np.ones(of_row.size) if importances is None else importances[row, kept[row]][order]
            terms = np.stack([mass, mass * values[here], mass * values[here] ** 2], axis=1)
            np.cumsum(terms, axis=0, out=totals[begins[row] + row + 1 : begins[row + 1] + row + 1])
        return cls(begins, values, totals)

    @property
    def scales(self) -> Floats64:
        """Mean square of the weights of each row, 0 without weights, float64 [rows]."""
        after = self.totals[self.begins[1:] + np.arange(len(self.begins) - 1)]
        means: Floats64 = np.divide(after[:, 2], after[:, 0], out=np.zeros(len(after)), where=after[:, 0] > 0)
        return means

    def improved(
        self, classes: Integers64, loads: Integers64, most: Integers64, centroids: int
    ) -> tuple[tuple[int, float], Integers64]:
        """Improve classes [rows]; return by how much they exceed the bounds, their error, and the classes."""
        from compress import row_classes_kernels as kernels

        number = most.size
        classes = classes.copy()
        errors = np.empty((classes.size, number))
        excess, error, before_round = 0, np.inf, np.inf
        for _ in range(_MOST_ROUNDS):
            shared = np.stack([self._optimal(classes == each, centroids) for each in range(number)])
            for iteration in range(_MOST_ITERATIONS):
                before = error
                kernels.fill_errors(self.begins, self.values, self.totals, shared, errors)
                if classes.size > _MOST_SWAPPED:
                    excess = kernels.split_pairs(errors, loads, most, classes)
                else:
                    if iteration == 0:
                        classes = priced_assignment(errors, loads, most, classes)
                    excess = kernels.swap_rows(errors, loads, most, classes)
                error = float(errors[np.arange(classes.size), classes].sum())
                if error > before * (1 - _LEAST_GAIN):
                    break
                kernels.move_centroids(self.begins, self.values, self.totals, classes, shared)
            if error > before_round * (1 - _LEAST_ROUND_GAIN):
                break
            before_round = error
        return (excess, error), classes

    def _optimal(self, of_class: Booleans, centroids: int) -> Floats64:
        """Return the optimal shared weights of some rows, ascending."""
        places = np.repeat(of_class, np.diff(self.begins))
        mass = np.diff(self.totals[:, 0])  # of each weight, and what belongs to none between rows
        of_weights = np.delete(mass, self.begins[1:-1] + np.arange(len(self.begins) - 2))
        values = self.values[places][np.newaxis]
        kept = np.ones(values.shape, dtype=np.bool_)
        return optimal_centroids(values, kept, of_weights[places][np.newaxis], 0.0, [centroids])[0]
