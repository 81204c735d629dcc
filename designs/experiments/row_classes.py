"""Row classes of `compress.row_classes` beside exact methods: the Hungarian method, and a linear program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array, vstack

from compress.pruning import magnitude_mask
from compress.row_classes import LOAD_SLACK, class_sizes, row_classes
from compress.weight_sharing import optimal_centroids
from traces.arrays import Booleans, Floats64, Integers64, Numbers
from traces.shell.progress import progress_bar

Row = dict[str, Any]


def assignments(
    matrices: Mapping[str, Numbers], num_pes: int, numbers: Sequence[int], densities: Sequence[float], weight_bits: int
) -> list[Row]:
    """Compare the row classes of matrices with exact methods; of matrices of one shape, the first is taken.

    Parameters
    ----------
    matrices : mapping of str to array [rows, columns]
        Weights by layer.
    num_pes : int
        PEs of the array.
    numbers : sequence of int
        Numbers of codebooks; a matrix with no more rows than codebooks is left out.
    densities : sequence of float
        Shares of weights that pruning by magnitude keeps.
    weight_bits : int
        Bits of a code.

    Returns
    -------
    list of dict
        Squared errors of the found classes without and with a bound on loads; the least error of any classes with the
        codebooks of the former, and a lower bound of that with the codebooks of the latter; and the errors of
        interleaved rows and of a codebook for each row.
    """
    by_shape: dict[tuple[int, ...], str] = {}
    for name, matrix in matrices.items():
        by_shape.setdefault(matrix.shape, name)
    cases = [
        (name, number, density)
        for (rows, *_), name in by_shape.items()
        for number in numbers
        for density in densities
        if rows > number
    ]
    found = []
    with progress_bar("assignments of rows", len(cases)) as advance:
        for name, number, density in cases:
            matrix = np.asarray(matrices[name], dtype=np.float64)
            row: Row = {"layer": name, "rows": len(matrix), "columns": matrix.shape[1], "codebooks": number}
            row |= {"density": density, "weight_bits": weight_bits}
            kept = magnitude_mask(matrices[name], density)
            found.append(row | _errors(matrix, kept, num_pes, number, weight_bits))
            advance()
    return found


def _errors(matrix: Floats64, kept: Booleans, num_pes: int, number: int, weight_bits: int) -> Row:
    values = 2**weight_bits - 1
    rows = np.arange(len(matrix))
    sizes = class_sizes(len(matrix), num_pes, number)
    free = row_classes(matrix, kept, num_pes, number, weight_bits, slack=np.inf)
    bounded = row_classes(matrix, kept, num_pes, number, weight_bits)
    loads = np.count_nonzero(kept, axis=1)
    pes = np.bincount(np.arange(min(num_pes, len(matrix))) % number)  # of each class
    most = np.floor((1 + LOAD_SLACK) * loads.sum() / pes.sum() * pes)
    most = np.maximum(most, np.bincount(bounded, loads))  # what no swap brings below the bound raises it
    of_free, of_bounded = (class_errors(matrix, kept, classes, values) for classes in (free, bounded))
    interleaved = rows % num_pes % number
    own = class_errors(matrix, kept, rows, values, each=False)
    return {
        "free_error": float(of_free[rows, free].sum()),
        "least_error": least_error(of_free, sizes),
        "bounded_error": float(of_bounded[rows, bounded].sum()),
        "lower_bound": lower_bound(of_bounded, sizes, loads, most),
        "interleaved_error": float(class_errors(matrix, kept, interleaved, values, each=False).sum()),
        "own_error": float(own.sum()),
    }


def class_errors(matrix: Floats64, kept: Booleans, classes: Integers64, values: int, each: bool = True) -> Floats64:
    """Return the squared error of each row with the optimal codebook of each class.

    Parameters
    ----------
    matrix, kept : array [rows, columns]
        Weights, and those that are not pruned.
    classes : int64 [rows]
        Class of each row, from 0 on.
    values : int
        Values of a codebook.
    each : bool
        False for the error with the row's own class alone.

    Returns
    -------
    numpy.ndarray
        float64 [rows, classes], or [rows] if not `each`.
    """
    number = int(classes.max()) + 1
    errors = np.zeros((len(matrix), number if each else 1))
    for of_class in range(number):
        here = classes == of_class
        mass = np.ones((int(here.sum()), matrix.shape[1]))
        (codebook,) = optimal_centroids(matrix[here], kept[here], mass, 0.0, [values])
        rows = slice(None) if each else here
        nearest = codebook[np.searchsorted((codebook[1:] + codebook[:-1]) / 2, matrix[rows])]
        of_rows = np.sum(np.square(matrix[rows] - nearest), axis=1, where=kept[rows])
        errors[rows, of_class if each else 0] = of_rows
    return errors if each else errors[:, 0]


def least_error(errors: Floats64, sizes: Integers64) -> float:
    """Return the least error of rows in classes of these sizes, by the Hungarian method.

    Parameters
    ----------
    errors : float64 [rows, classes]
        Error of each row in each class.
    sizes : int64 [classes]
        Rows of each class.
    """
    places = errors[:, np.repeat(np.arange(sizes.size), sizes)]
    return float(places[linear_sum_assignment(places)].sum())


def lower_bound(errors: Floats64, sizes: Integers64, loads: Integers64, most: Floats64) -> float:
    """Return the least error if rows may be split between classes, by a linear program (HiGHS).

    Parameters
    ----------
    errors, sizes
        As in `least_error`.
    loads : int64 [rows]
        Kept weights of each row.
    most : float64 [classes]
        Bound on the kept weights of each class.
    """
    rows, number = errors.shape
    places = np.arange(errors.size)
    row, of_class = np.divmod(places, number)
    ones = np.ones(errors.size)
    of_row = coo_array((ones, (row, places)), shape=(rows, errors.size))
    in_class = coo_array((ones, (of_class, places)), shape=(number, errors.size))
    load = coo_array((loads[row].astype(np.float64), (of_class, places)), shape=(number, errors.size))
    scale = float(errors.mean()) or 1.0
    found = linprog(
        errors.ravel() / scale,
        A_ub=load.tocsr(),
        b_ub=most,
        A_eq=vstack([of_row, in_class]).tocsr(),
        b_eq=np.concatenate([np.ones(rows), sizes]),
        bounds=(0, 1),
        method="highs",
    )
    assert found.status == 0, found.message
    return float(found.fun) * scale
