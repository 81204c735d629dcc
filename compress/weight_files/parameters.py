"""Parameters of a network by name, with what their file says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from traces import InputError
from traces.arrangement import Arrangement
from traces.arrays import Numbers
from traces.layer import MOST_WEIGHTS

_MOST_WRAPPERS = 16  # around each other
WRAPPERS = ("module.", "_orig_mod.", "state_dict.")  # of DataParallel, torch.compile and archives of state dicts


@dataclass(frozen=True)
class Role:
    """Part of a parameter in a product.

    Attributes
    ----------
    arrangement : Arrangement
        Way from the parameter to the matrix of the product.
    bias : str or None
        Name of the bias parameter.
    kind : str
        Kind of layer, such as Linear or Conv2d; empty if it is unknown.
    groups : int
        Groups of the product, each of rows that follow one another; 1 if they are unknown.
    """

    arrangement: Arrangement
    bias: str | None
    kind: str = ""
    groups: int = 1


class NamedParameters(dict[str, Numbers]):
    """Parameters by name, as a file or a module holds them.

    Parameters
    ----------
    values : Mapping[str, array]
        Parameters by name; two names of one tied parameter share their memory.
    left_out : Mapping[str, str] or None
        For each name whose value is not among `values`, the reason.
    notes : sequence of str
        Sentences about choices that were made while reading.
    roles : Mapping[str, Role] or None
        Role of each parameter that is a weight, if a graph tells it; None if only names and shapes do.
    buffers : sequence of str
        Names that are known to be no parameters.

    Attributes
    ----------
    left_out, notes, roles, buffers
        As given.
    """

    def __init__(
        self,
        values: Mapping[str, Numbers],
        left_out: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        roles: Mapping[str, Role] | None = None,
        buffers: Sequence[str] = (),
    ) -> None:
        super().__init__(values)
        self.left_out = dict(left_out or {})
        self.notes = tuple(notes)
        self.roles = roles
        self.buffers = frozenset(buffers)


def is_matrix(values: Numbers) -> bool:
    """Return True if an array can be a weight: floating point, of two dimensions or more, not empty.

    Parameters
    ----------
    values : numpy.ndarray
        Array of any type.

    Returns
    -------
    bool
        False for integers, vectors and empty arrays.
    """
    return values.dtype.kind == "f" and values.ndim >= 2 and values.size > 0


def transposed_convolution(shape: Sequence[int], groups: int) -> Arrangement:
    """Return the arrangement of the weight of a transposed convolution.

    Parameters
    ----------
    shape : sequence of int
        Shape of the weight, [in, out / groups, *kernel].
    groups : int
        Groups of channels.

    Returns
    -------
    Arrangement
        Its rows are the outputs of one input position: groups, channels, places of the kernel.
    """
    inputs, outputs, *kernel = shape
    view = (groups, inputs // groups, outputs, *kernel)
    return Arrangement(view, (0, *range(2, len(view)), 1), len(view) - 1)


def unwrapped(parameters: NamedParameters, more: Sequence[str] = ()) -> NamedParameters:
    """Return the parameters without the wrappers' prefixes that all names carry.

    Parameters
    ----------
    parameters : NamedParameters
        The parameters.
    more : sequence of str
        Prefixes to take away beside those of known wrappers.

    Returns
    -------
    NamedParameters
        The parameters under shorter names, with a note that states the prefix.
    """
    prefix = _common_prefix([*parameters, *parameters.left_out], (*WRAPPERS, *more))
    if not prefix:
        return parameters
    note = f"The prefix {prefix!r}, which every name carries, is taken away."
    return NamedParameters(
        {name.removeprefix(prefix): values for name, values in parameters.items()},
        {name.removeprefix(prefix): reason for name, reason in parameters.left_out.items()},
        (*parameters.notes, note),
        parameters.roles,
        [name.removeprefix(prefix) for name in parameters.buffers],
    )


def plain_array(name: str, values: Numbers) -> Numbers | str:
    """Return an array of NumPy's own real numbers, or the reason why there is none.

    Parameters
    ----------
    name : str
        Name of the parameter, for errors.
    values : numpy.ndarray
        Array of any type.

    Returns
    -------
    numpy.ndarray or str
        The array, floating-point types that NumPy lacks (bfloat16, float8) as float32; or a reason.

    Raises
    ------
    InputError
        If the array holds more values than a file may.
    """
    if values.size > MOST_WEIGHTS:
        raise InputError(f"parameter {name!r} must hold at most {MOST_WEIGHTS:,} values; found {values.size:,}")
    if values.dtype.kind == "V" and values.dtype.name.startswith(("bfloat16", "float8")):
        return values.astype(np.float32)
    return values if values.dtype.kind in "fiub" else f"{values.dtype.name} values, which are no real numbers"


def _common_prefix(names: Sequence[str], parts: Sequence[str]) -> str:
    """Return the longest prefix of all names that consists of these parts."""
    prefix = ""
    for _ in range(_MOST_WRAPPERS if names else 0):
        longer = [prefix + part for part in parts if all(name.startswith(prefix + part) for name in names)]
        if not longer or longer[0] in names:
            break
        prefix = longer[0]
    return prefix
