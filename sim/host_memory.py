"""Memory of the computer that simulations take, estimated before it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from traces import InputError
from traces.kernel_lanes import LANES
from traces.plain_values import bytes_of_variable

MEMORY_BYTES_VARIABLE = "CODESIGN_MOST_MEMORY_BYTES"
_LEAST_CHECKED_BYTES = 2**25  # less is not worth looking at the memory
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_MEMORY_FIGURES = Path("/proc/meminfo")


def counter_bytes(rows: int, num_pes: int) -> int:
    """Return the bytes of a counter of the entries that a column has in a PE: it holds the number of the PE's rows."""
    return int(np.min_scalar_type(-(-rows // num_pes)).itemsize)


def image_bytes(rows: int, columns: int, num_pes: int) -> int:
    """Return the bytes that pointers, counters and bits of packed weights take, the bias counting as a column."""
    counters = 2 * counter_bytes(rows, num_pes) * whole_vectors(columns) * whole_vectors(num_pes)
    return 4 * (columns + 1) * num_pes + counters + rows * whole_vectors(columns) // 8


def counting_bytes(rows: int, columns: int, num_pes: int) -> int:
    """Return the most bytes that counting many inputs takes beside the images: counters and lines of filled PEs."""
    return whole_vectors(min(num_pes, rows)) * columns * (counter_bytes(rows, num_pes) + 8)


def whole_vectors(number: int) -> int:
    """Return a number of PEs or columns, rounded up to whole vectors (`traces.kernel_lanes`)."""
    return LANES * -(-number // LANES)


def check_memory(what: str, needed_bytes: int, remedy: str) -> None:
    """Raise InputError if so many bytes are not available.

    Parameters
    ----------
    what : str
        What takes them, with the parameters that decide how many.
    needed_bytes : int
        Bytes that are about to be allocated.
    remedy : str
        How they become fewer.

    Raises
    ------
    InputError
        If they are more than `CODESIGN_MOST_MEMORY_BYTES` states, or than the memory that is available if the variable
        is not set.
    """
    if needed_bytes < _LEAST_CHECKED_BYTES and not os.environ.get(MEMORY_BYTES_VARIABLE):
        return
    most = most_memory_bytes()
    if most is not None and needed_bytes > most:
        raise InputError(
            f"{what} must fit into the memory of this computer; found {needed_bytes:,} bytes needed and {most:,} "
            f"available; {remedy}, or set {MEMORY_BYTES_VARIABLE} to allow more"
        )


def most_memory_bytes() -> int | None:
    """Return the bytes that may be allocated: those of the variable, or those available; None if they are unknown."""
    given = bytes_of_variable(MEMORY_BYTES_VARIABLE)
    if given is not None:
        return given
    known = [each for each in (_available_bytes(), _group_bytes()) if each is not None]
    return min(known) if known else None


def _available_bytes() -> int | None:
    """Return the bytes that the system can give without swapping; None if it does not say."""
    try:
        lines = _MEMORY_FIGURES.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _group_bytes() -> int | None:
    """Return the bytes that the limit of a control group leaves; None if there is none."""
    try:
        limit, used = ((_CONTROL_GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None
