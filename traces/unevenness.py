"""Unevenness of the masks of pruned layers, measured on real ones (`mask_unevenness.csv`).

In the model, weights are normal with a scale for each row and each column, and the smallest weights of a layer are
pruned. Rows lie in blocks, such as the heads of an attention layer, which are alike inside:

    weight[i, j] = exp(block_spread * b[i // block_rows] + row_spread * r[i] + column_spread * c[j]) * w[i, j]

b, c and w come from N(0, 1), r from a distribution of variance 1 with heavy tails. Some rows and columns are dead: they
have no weights at all; dead rows gather in blocks. The order of the rows decides how even the load of interleaved rows
is, so the load of the fullest class of interleaved rows is a parameter, too.

The spreads of the scales are alike in layers that are pruned more and less; those of densities are not. `unevenness_of`
measures a layer, `draw_uneven_layer` draws one. `python -m designs experiment unevenness` measures each layer and
writes the file. No parameter is fitted to any time of a paper.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from traces.arrays import Integers64
from traces.errors import InputError
from traces.plain_values import number, shown, whole_number

MEASURED_FILE = Path(__file__).with_name("mask_unevenness.csv")
FULLY_CONNECTED = "fully connected"
CLASS_NUMBERS = (16, 64, 256)  # numbers of classes whose fullest one is measured, such as numbers of PEs
LARGEST_SPREAD, LARGEST_KURTOSIS, MOST_BLOCK_ROWS = 10.0, 60.0, 2**31 - 1
_LIMITS = {
    "row_spread": LARGEST_SPREAD,
    "column_spread": LARGEST_SPREAD,
    "block_spread": LARGEST_SPREAD,
    "row_kurtosis": LARGEST_KURTOSIS,
    "dead_rows": 1.0,
    "dead_columns": 1.0,
    "dead_clustering": 0.99,
}
_FULLEST = tuple(f"fullest_of_{classes}" for classes in CLASS_NUMBERS)
_CLASSES = ", ".join(map(str, CLASS_NUMBERS))
_REMEDY = "unevenness_of measures it on a layer"
PARAMETERS = ("block_rows", *_LIMITS, *_FULLEST)
FIELDS = ("network", "pruning", "layer", "kind", "rows", "columns", "density", *PARAMETERS)


@dataclass(frozen=True)
class Unevenness:
    """Parameters of the mask of a pruned layer; the default is a mask that is even but for chance.

    Attributes
    ----------
    row_spread, column_spread : float
        Standard deviation of the logarithms of the weights' scales over the rows of a block and over columns, 0 to 10.
    block_rows : int
        Rows of a block, such as an attention head; 0 if rows have no blocks.
    block_spread : float
        Standard deviation of the mean logarithm of the scales over blocks, 0 to 10.
    row_kurtosis : float
        Excess kurtosis of the logarithms inside blocks, 0 (normal) to 60 (a few rows are far denser).
    dead_rows, dead_columns : float
        Shares of rows and columns without any weight, beyond those that chance leaves empty.
    dead_clustering : float
        Correlation of two rows of a block in being dead, 0 to 0.99.
    fullest_classes : tuple of float
        Weights in the fullest of 16, 64 and 256 classes of interleaved rows, relative to the mean of the classes; row i
        is in class i mod 16, and so on. Empty if unknown.

    Raises
    ------
    InputError
        If a value has another type or is out of range.
    """

    row_spread: float = 0.0
    column_spread: float = 0.0
    block_rows: int = 0
    block_spread: float = 0.0
    row_kurtosis: float = 0.0
    dead_rows: float = 0.0
    dead_columns: float = 0.0
    dead_clustering: float = 0.0
    fullest_classes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        given = self.fullest_classes
        if not isinstance(given, tuple) or len(given) not in (0, len(CLASS_NUMBERS)):
            raise InputError(
                f"fullest_classes must be a tuple with a value for each of {_CLASSES} classes, or an empty one; found "
                f"{shown(given)}; {_REMEDY}"
            )
        try:
            for name, most in _LIMITS.items():
                number(name, getattr(self, name), 0, most)
            whole_number("block_rows", self.block_rows, 0, MOST_BLOCK_ROWS)
            for place, (value, classes) in enumerate(zip(given, CLASS_NUMBERS, strict=False)):
                number(f"fullest_classes[{place}]", value, 1, classes)
        except InputError as error:
            raise InputError(f"{error}; {_REMEDY}") from None
        if not self.block_rows and (self.block_spread or self.dead_clustering):
            raise InputError(
                f"block_rows must be 1 or more for block_spread={self.block_spread} and dead_clustering="
                f"{self.dead_clustering}; found {self.block_rows}; give block_rows, or leave the others at 0"
            )

    @classmethod
    def of_row(cls, row: Mapping[str, str]) -> Unevenness:
        """Return the unevenness in a row of the table of measured layers; raise InputError if a value is no number."""
        try:
            values = {name: float(row[name]) for name in _LIMITS}
            block_rows, fullest = int(row["block_rows"]), tuple(float(row[name]) for name in _FULLEST)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a row of measured layers must have a number for each of {', '.join(PARAMETERS)}; reading it failed: "
                f"{error}; take the texts that Unevenness.row gives"
            ) from None
        return cls(**values, block_rows=block_rows, fullest_classes=fullest)

    def row(self) -> dict[str, str]:
        """Return the parameters as texts by PARAMETERS, as in the table; raise InputError without fullest classes."""
        if not self.fullest_classes:
            raise InputError(
                f"fullest_classes must have a value for each of {_CLASSES} classes in a row of the table; found (); "
                f"{_REMEDY}"
            )
        texts = {name: f"{getattr(self, name):.4f}" for name in _LIMITS}
        fullest = zip(_FULLEST, self.fullest_classes, strict=True)
        return {"block_rows": str(self.block_rows)} | texts | {name: f"{value:.4f}" for name, value in fullest}


def fullest_classes(counts: Integers64) -> tuple[float, ...]:
    """Return the weights in the fullest class of interleaved rows relative to the mean, for each of CLASS_NUMBERS.

    Parameters
    ----------
    counts : int64 [rows]
        Kept weights of each row; at least one is not 0.
    """
    total = int(counts.sum())
    return tuple(
        float(max(counts[first::classes].sum() for first in range(min(classes, len(counts)))) * classes / total)
        for classes in CLASS_NUMBERS
    )


def typical_unevenness(rows: Iterable[Mapping[str, str]]) -> Unevenness:
    """Return the median over groups of the median in each group, of each parameter.

    A group is a network and the way it was pruned. The fullest classes, which go with the size of a layer, are left
    open.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of the table of measured layers, at least one.

    Raises
    ------
    InputError
        If there is no row, or a value of one is no number or out of range.
    """
    groups: dict[tuple[str, str], list[Unevenness]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["pruning"]), []).append(Unevenness.of_row(row))
    if not groups:
        raise InputError(
            "rows must be those of at least one measured layer; found none; read_measured() returns all of them"
        )
    return _medians([_medians(group) for group in groups.values()])


def _medians(layers: Sequence[Unevenness]) -> Unevenness:
    """Return the median of each parameter; rows have blocks if those of most layers do, of the median size."""
    medians = {name: median(getattr(layer, name) for layer in layers) for name in _LIMITS}
    blocks = sorted(layer.block_rows for layer in layers if layer.block_rows)
    if 2 * len(blocks) <= len(layers):
        return Unevenness(**medians | {"block_spread": 0.0, "dead_clustering": 0.0})
    return Unevenness(**medians, block_rows=blocks[len(blocks) // 2])


def measured_unevenness(path: str | os.PathLike[str] = MEASURED_FILE) -> Unevenness:
    """Return what is typical of the measured fully connected layers: the median over groups of the groups' medians.

    Parameters
    ----------
    path : str or os.PathLike
        Table of measured layers; by default the one of this package.

    Returns
    -------
    Unevenness
        The parameters, without fullest classes.

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
    return typical_unevenness(rows)


def read_measured(path: str | os.PathLike[str] = MEASURED_FILE) -> list[dict[str, str]]:
    """Read the measured layers, with a value for each of FIELDS, or raise InputError."""
    try:
        with Path(path).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        wrong = not rows or any(tuple(row) != FIELDS or None in row.values() for row in rows)
        if not wrong:
            for row in rows:
                Unevenness.of_row(row)
    except (OSError, ValueError, csv.Error) as error:
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
