"""Unevenness of the masks of pruned layers, measured on real ones (`mask_unevenness.csv`).

In the model, weights are normal with a scale for each row and each column, and the smallest weights of a layer are
pruned. The logarithms of the scales are normal; their standard deviations are the two parameters:

    weight[i, j] = exp(row_spread * r[i] + column_spread * c[j]) * w[i, j]          r, c, w from N(0, 1)

Scales, unlike densities, vary alike in layers that are pruned more and less. `python -m designs experiment unevenness`
measures the spreads of each layer and writes the file; the median of the fully connected layers is used. Larger layers
tend to be less uneven; six are too few to model that. The spreads are not fitted to any time of a paper.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from traces.errors import InputError

MEASURED_FILE = Path(__file__).with_name("mask_unevenness.csv")
FULLY_CONNECTED = "fully connected"
FIELDS = ("network", "layer", "kind", "rows", "columns", "density", "row_spread", "column_spread")


@dataclass(frozen=True)
class Unevenness:
    """Standard deviations of the logarithms of the weights' scales.

    Attributes
    ----------
    row_spread, column_spread : float
        Standard deviation over rows and over columns, 0 (even) to 3.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    row_spread: float
    column_spread: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 3:
                raise InputError(f"{name}={value} must be 0 (even) to 3, the deviation of a logarithm of scales")


def measured_unevenness(path: str | os.PathLike[str] = MEASURED_FILE) -> Unevenness:
    """Return the median of the measured fully connected layers.

    Parameters
    ----------
    path : str or os.PathLike
        Table of measured layers; by default the one of this package.

    Returns
    -------
    Unevenness
        The two spreads.

    Raises
    ------
    InputError
        If the file is missing, damaged or has no such layer.
    """
    rows = [row for row in read_measured(path) if row["kind"] == FULLY_CONNECTED]
    if not rows:
        raise InputError(
            f"{path}: lists no fully connected layer; make it again with python -m designs experiment unevenness"
        )
    return Unevenness(*(median(float(row[name]) for row in rows) for name in ("row_spread", "column_spread")))


def read_measured(path: str | os.PathLike[str] = MEASURED_FILE) -> list[dict[str, str]]:
    """Read the measured layers, with a value for each of FIELDS, or raise InputError."""
    try:
        with Path(path).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        wrong = not rows or any(tuple(row) != FIELDS or None in row.values() for row in rows)
        wrong = wrong or any(not float(row[name]) >= 0 for row in rows for name in FIELDS[-3:])
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: must be a table of measured layers; reading it failed: {error}; make it again with "
            f"python -m designs experiment unevenness"
        ) from error
    if wrong:
        raise InputError(
            f"{path}: must have the columns {', '.join(FIELDS)} and a value in each; make it again with "
            f"python -m designs experiment unevenness"
        )
    return rows
