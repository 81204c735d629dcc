"""Contents that state their own checksum, so that results which were edited, cut or swapped are not used again.

A checksum covers the content and what it belongs to, such as the origin of a study. It shows damage and changes by
hand; it does not protect from someone who computes it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError
from traces.files.atomic_file import write_atomically
from traces.plain_values import parsed_json, read_text

CHECKSUM = "sha256"
"""Name of the checksum among the values or arrays of a content."""


def file_checksum(path: str | os.PathLike[str]) -> str:
    """Return the checksum of a file, 64 hexadecimal digits; raise OSError if it cannot be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def values_checksum(values: Any, belongs_to: Any = None) -> str:
    """Return the checksum of plain values, as JSON holds them, and of what they belong to."""
    return hashlib.sha256(json.dumps([values, belongs_to], sort_keys=True).encode()).hexdigest()


def arrays_checksum(arrays: Mapping[str, Numbers], belongs_to: Any = None) -> str:
    """Return the checksum of the names, types, shapes and values of arrays, and of what they belong to."""
    digest = hashlib.sha256(json.dumps(belongs_to, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name} {array.dtype.str} {arrays[name].shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def with_checksum(values: Mapping[str, Any], belongs_to: Any = None) -> dict[str, Any]:
    """Return plain values with their checksum.

    Parameters
    ----------
    values : mapping of str to plain values
        The content, as JSON can hold it.
    belongs_to : plain values, optional
        What the content belongs to; it is no part of the result, and whoever reads the content must know it.
    """
    return {**values, CHECKSUM: values_checksum(dict(values), belongs_to)}


def checked_values(content: Any, belongs_to: Any = None) -> dict[str, Any] | None:
    """Return what `with_checksum` was given; None if the content is not what it returned."""
    if not isinstance(content, Mapping) or CHECKSUM not in content:
        return None
    values = {name: value for name, value in content.items() if name != CHECKSUM}
    return values if content[CHECKSUM] == values_checksum(values, belongs_to) else None


def write_checked(path: str | os.PathLike[str], values: Mapping[str, Any], belongs_to: Any = None) -> None:
    """Write plain values with their checksum as JSON, whole or not at all; raise InputError if that fails."""
    write_atomically(path, json.dumps(with_checksum(values, belongs_to), indent=1).encode())


def read_checked(path: str | os.PathLike[str], belongs_to: Any = None) -> dict[str, Any] | None:
    """Return what `write_checked` wrote; None if the file is missing, damaged or changed, or belongs to another."""
    try:
        return checked_values(parsed_json(path, read_text(path), infinite=True), belongs_to)
    except InputError:
        return None


def arrays_with_checksum(arrays: Mapping[str, Numbers], belongs_to: Any = None) -> dict[str, Numbers]:
    """Return arrays by name with their checksum, as `with_checksum` does for plain values."""
    return {**arrays, CHECKSUM: np.array(arrays_checksum(arrays, belongs_to))}


def checked_arrays(content: Mapping[str, Numbers], belongs_to: Any = None) -> dict[str, Numbers] | None:
    """Return what `arrays_with_checksum` was given; None if the content is not what it returned."""
    arrays = {name: values for name, values in content.items() if name != CHECKSUM}
    return arrays if str(content.get(CHECKSUM)) == arrays_checksum(arrays, belongs_to) else None
