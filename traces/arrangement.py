"""Arrangement of a parameter as the matrix of a product, with outputs as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError

MOST_AXES = 16


@dataclass(frozen=True)
class Arrangement:
    """Way from a parameter of any shape to a matrix [rows, columns] whose rows are outputs, and back.

    Attributes
    ----------
    view : tuple of int
        Shape that the parameter is first given, without moving its values.
    axes : tuple of int
        Order of the axes of `view` in the matrix.
    row_axes : int
        Number of axes, of those in order, that make the rows; the others make the columns.

    Raises
    ------
    InputError
        If a length is not positive, the axes are no order of those of `view`, or no axis makes rows.

    Notes
    -----
    The matrix is `parameter.reshape(view).transpose(axes).reshape(rows, columns)`. A weight [in, out] has the axes
    (1, 0). A transposed convolution [in, out / groups, *kernel] has the view (groups, in / groups, out / groups,
    *kernel), the axes of groups, outputs and kernel before that of inputs, and all of those as rows.
    """

    view: tuple[int, ...]
    axes: tuple[int, ...]
    row_axes: int

    def __post_init__(self) -> None:
        for field in ("view", "axes"):
            values = getattr(self, field)
            if not isinstance(values, Sequence | np.ndarray) or not all(map(_is_whole, values)):
                raise InputError(f"{field} must be whole numbers, one for each axis; found {values!r}")
            object.__setattr__(self, field, tuple(map(int, values)))
        if not _is_whole(self.row_axes):
            raise InputError(f"row_axes must be a whole number; found {self.row_axes!r}")
        object.__setattr__(self, "row_axes", int(self.row_axes))
        if not 1 <= len(self.view) <= MOST_AXES or min(self.view) < 1:
            raise InputError(f"view must have 1 to {MOST_AXES} axes, each of 1 or more values; found {self.view}")
        if sorted(self.axes) != list(range(len(self.view))):
            raise InputError(
                f"axes must name each of the {len(self.view)} axes of view once, from 0 on; found {self.axes}"
            )
        if not 1 <= self.row_axes <= len(self.axes):
            raise InputError(f"row_axes must be 1 to {len(self.axes)}, the number of axes; found {self.row_axes}")

    @classmethod
    def identity(cls, shape: Sequence[int]) -> Arrangement:
        """Return the arrangement whose rows are the first axis of `shape`.

        Parameters
        ----------
        shape : sequence of int
            Shape of the parameter.

        Returns
        -------
        Arrangement
            Its matrix is `parameter.reshape(shape[0], -1)`.
        """
        return cls(tuple(shape), tuple(range(len(shape))), 1)

    @property
    def rows(self) -> int:
        """Rows of the matrix: outputs."""
        return math.prod(self.view[axis] for axis in self.axes[: self.row_axes])

    @property
    def columns(self) -> int:
        """Columns of the matrix: inputs of each output."""
        return math.prod(self.view[axis] for axis in self.axes[self.row_axes :])

    def is_identity(self, shape: Sequence[int]) -> bool:
        """Return True if a parameter of `shape` has the same matrix as with `identity(shape)`.

        Parameters
        ----------
        shape : sequence of int
            Shape of the parameter.

        Returns
        -------
        bool
            False also if the matrix is not one of this shape.
        """
        moved = [axis for axis in self.axes if self.view[axis] > 1]
        same = bool(shape) and (self.rows, self.columns) == (shape[0], math.prod(shape[1:]))
        return same and moved == sorted(moved)

    def matrix(self, parameter: Numbers) -> Numbers:
        """Return the matrix of a parameter.

        Parameters
        ----------
        parameter : numpy.ndarray
            Values of any type, as many as `view` holds.

        Returns
        -------
        numpy.ndarray
            The same values [rows, columns]; a view of the parameter where NumPy can give one.

        Raises
        ------
        InputError
            If the parameter has another number of values.
        """
        if parameter.size != math.prod(self.view):
            raise InputError(
                f"the parameter must hold {math.prod(self.view):,} values for the view {list(self.view)}; "
                f"found {parameter.size:,}, of shape {list(parameter.shape)}"
            )
        return parameter.reshape(self.view).transpose(self.axes).reshape(self.rows, self.columns)

    def parameter(self, matrix: Numbers, shape: Sequence[int]) -> Numbers:
        """Return the parameter of a matrix.

        Parameters
        ----------
        matrix : numpy.ndarray
            Values of any type [rows, columns].
        shape : sequence of int
            Shape of the parameter.

        Returns
        -------
        numpy.ndarray
            The same values in `shape`, such that `matrix` gives the matrix again.

        Raises
        ------
        InputError
            If the matrix has another shape, or `shape` another number of values.
        """
        if matrix.shape != (self.rows, self.columns) or math.prod(shape) != matrix.size:
            raise InputError(
                f"the matrix must be [{self.rows}, {self.columns}] and the parameter's shape must hold as many "
                f"values; found {list(matrix.shape)} and {list(shape)}"
            )
        ordered = matrix.reshape([self.view[axis] for axis in self.axes])
        return ordered.transpose(np.argsort(self.axes)).reshape(tuple(shape))


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
