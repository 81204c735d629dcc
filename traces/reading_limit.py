"""Limit on what the content of a file may take in memory, so that a small file cannot ask for much work.

A compressed file may hold far more bytes than it has. A reader asks here before it makes room for what a file states.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from traces.errors import InputError
from traces.plain_values import bytes_of_variable, whole_number

FREE_BYTES = 2**26
"""Bytes that the content of any file may take."""
MOST_EXPANSION = 100
"""Bytes that the content of a larger file may take for each byte of the file."""
DECODED_BYTES_VARIABLE = "CODESIGN_MOST_DECODED_BYTES"
"""Environment variable with another limit in bytes, for command lines."""


class ReadingLimitError(InputError):
    """Error of a file whose content takes more bytes than it may."""


_given: ContextVar[int | None] = ContextVar("most_decoded_bytes", default=None)


@contextmanager
def reading_limit(most_decoded_bytes: int) -> Iterator[None]:
    """Set the limit on the content of each file that is read in this context.

    Parameters
    ----------
    most_decoded_bytes : int
        Bytes that the content of one file may take in memory, 1 or more, whatever the size of the file.

    Yields
    ------
    None

    Raises
    ------
    InputError
        If the limit is no whole number above 0.
    """
    token = _given.set(whole_number("most_decoded_bytes", most_decoded_bytes, 1, 2**63 - 1))
    try:
        yield
    finally:
        _given.reset(token)


def most_decoded_bytes(file_bytes: int) -> int:
    """Return the bytes that the content of a file of `file_bytes` bytes may take in memory.

    Raises InputError if the environment variable holds no limit.
    """
    given = _given.get()
    if given is not None:
        return given
    stated = bytes_of_variable(DECODED_BYTES_VARIABLE)
    return max(FREE_BYTES, MOST_EXPANSION * file_bytes) if stated is None else stated


def check_decoded_bytes(source: str | os.PathLike[str], decoded_bytes: int, file_bytes: int) -> None:
    """Raise ReadingLimitError, an InputError, if the content of a file would take more bytes than it may.

    Parameters
    ----------
    source : path
        Name of the file, for the error.
    decoded_bytes : int
        Bytes that its content takes.
    file_bytes : int
        Bytes of the file.
    """
    most = most_decoded_bytes(file_bytes)
    if decoded_bytes > most:
        raise ReadingLimitError(
            f"{os.fspath(source)}: the content of this file of {file_bytes:,} bytes may take at most {most:,} bytes in "
            f"memory; it takes {decoded_bytes:,}; if you trust the file, allow more with traces.reading_limit or "
            f"{DECODED_BYTES_VARIABLE}"
        )


def check_array_bytes(
    source: str | os.PathLike[str], shape: Sequence[int], bytes_per_value: int, file_bytes: int
) -> None:
    """Raise InputError if an array would take more bytes than the content of a file may.

    Parameters
    ----------
    source : path
        Name of the file, for the error.
    shape : sequence of int
        Shape that the file states, each length 0 or more. A length of 0 counts as 1: the other lengths of an empty
        array are bounded too.
    bytes_per_value : int
        Bytes of each value; 0 counts as 1.
    file_bytes : int
        Bytes of the file.
    """
    check_decoded_bytes(source, max(1, bytes_per_value) * math.prod(max(1, length) for length in shape), file_bytes)
