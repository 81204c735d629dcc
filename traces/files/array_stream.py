"""Arrays in NumPy's `.npy` format, read from a stream without evaluating its header as Python.

Source: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import math
import os
import re
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError
from traces.reading_limit import check_array_bytes

MAGIC = b"\x93NUMPY"
_LENGTH_FORMS = {1: "<H", 2: "<I", 3: "<I"}  # length of the header, by major version
_MOST_HEADER_BYTES = 10_000  # as NumPy itself reads
_MOST_DIMENSIONS = 64  # of NumPy
_PIECE_BYTES = 2**20
_STRING = r"""(?:'(\w+)'|"(\w+)")"""
_ENTRY = re.compile(
    rf"""\s*{_STRING}\s*:\s*
    (?:'(?P<type>[^']{{1,40}})'|"(?P<other>[^"]{{1,40}})"|(?P<flag>True|False)|\((?P<shape>[0-9L,\s]*)\))\s*(?:,|$)""",
    re.VERBOSE | re.ASCII,
)
_TYPE = re.compile(r"[<>=|]?(?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-z]{1,2}\])?|\?)", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}L?", re.ASCII)  # Python 2 wrote an L behind long numbers


class PythonObjectsError(InputError):
    """Error of an array that holds Python objects."""


def read_array(stream: BinaryIO, source: str | os.PathLike[str], content_bytes: int, file_bytes: int) -> Numbers:
    """Read the array of an `.npy` stream, which must be all that the stream holds.

    Parameters
    ----------
    stream : binary stream
        The stream, at its begin.
    source : path
        Name of the file, for errors.
    content_bytes : int
        Bytes that the stream states to hold.
    file_bytes : int
        Bytes of the file that the stream comes from; they limit what the array may take.

    Returns
    -------
    numpy.ndarray
        The array, in the byte order of the file.

    Raises
    ------
    InputError
        If the header is invalid or states Python objects or fields, the array would take more than it may, or the
        stream has more or fewer bytes than the header states.
    """
    header, header_bytes = _header(stream, source)
    dtype, fortran_order, shape = _described(header, source)
    check_array_bytes(source, shape, dtype.itemsize, file_bytes)
    array_bytes = math.prod(shape) * dtype.itemsize
    if content_bytes != header_bytes + array_bytes:
        raise InputError(
            f"{source}: an array of {dtype} {list(shape)} must have {array_bytes:,} bytes after its header; found "
            f"{max(0, content_bytes - header_bytes):,}; the file is cut off or damaged"
        )
    content = bytearray(array_bytes)
    left = memoryview(content)
    while left and (taken := stream.readinto(left[:_PIECE_BYTES])):  # type: ignore[attr-defined]
        left = left[taken:]
    if left or stream.read(1):
        raise InputError(f"{source}: the array must have {array_bytes:,} bytes; the file is cut off or damaged")
    _check_values(content, dtype, source)
    return np.ndarray(shape, dtype, content, order="F" if fortran_order else "C")


def _check_values(content: bytearray, dtype: np.dtype[Any], source: str | os.PathLike[str]) -> None:
    """Raise InputError if a boolean or a character of text has a value that NumPy takes for valid."""
    if dtype.kind == "b" and content and np.frombuffer(content, np.uint8).max() > 1:
        raise InputError(f"{source}: a byte of an array of booleans must be 0 or 1; found another; the file is damaged")
    if dtype.kind == "U" and content:
        characters = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if characters.max() > sys.maxunicode:
            raise InputError(f"{source}: text must be Unicode; found another character; the file is damaged")


def _header(stream: BinaryIO, source: str | os.PathLike[str]) -> tuple[str, int]:
    """Return the text of the header, and the bytes before the array."""
    begin = stream.read(len(MAGIC) + 2)
    form = _LENGTH_FORMS.get(begin[-2]) if len(begin) == len(MAGIC) + 2 and begin.startswith(MAGIC) else None
    if form is None:
        raise InputError(f"{source}: must be an .npy array of version 1 to 3; it is another kind of file or cut off")
    stated = stream.read(struct.calcsize(form))
    length = struct.unpack(form, stated)[0] if len(stated) == struct.calcsize(form) else _MOST_HEADER_BYTES + 1
    if length > _MOST_HEADER_BYTES:
        raise InputError(
            f"{source}: the header of an .npy array must have at most {_MOST_HEADER_BYTES:,} bytes; found "
            f"{length:,}; the file is damaged"
        )
    content = stream.read(length)
    if len(content) != length:
        raise InputError(f"{source}: the header of an .npy array must have {length:,} bytes; the file is cut off")
    return content.decode("latin1"), len(begin) + len(stated) + length


def _described(header: str, source: str | os.PathLike[str]) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Return the type, the order and the shape that a header states."""
    text = header.strip()
    if "'O'" in text or '"O"' in text or "|O" in text:
        raise PythonObjectsError(
            f"{source}: must be an array of plain numbers; found Python objects, which are not read"
        )
    found: dict[str, str] = {}
    place = 1
    while place < len(text) - 1 and text[place:-1].strip():
        entry = _ENTRY.match(text[:-1], place)
        if entry is None:
            break
        key = entry[1] or entry[2]
        value = next(
            part for part in (entry["type"], entry["other"], entry["flag"], entry["shape"]) if part is not None
        )
        kind = "shape" if entry["shape"] is not None else "fortran_order" if entry["flag"] else "descr"
        if key != kind or key in found:
            break
        found[key] = value
        place = entry.end()
    else:
        lengths = [part.strip() for part in found.get("shape", "-").rstrip(", \n\t").split(",")]
        lengths = [] if lengths == [""] else lengths
        whole = text[:1] + text[-1:] == "{}" and len(found) == 3
        if whole and _TYPE.fullmatch(found["descr"]) and all(_LENGTH.fullmatch(part) for part in lengths):
            shape = tuple(int(part.rstrip("L")) for part in lengths)
            dtype = _dtype(found["descr"])
            if dtype is not None and len(shape) <= _MOST_DIMENSIONS:
                return dtype, found["fortran_order"] == "True", shape
    raise InputError(
        f"{source}: the header of an .npy array must state descr (one type of numbers), fortran_order and shape; found "
        f"{text[:80]!r}; write it with numpy.save"
    )


def _dtype(text: str) -> np.dtype[Any] | None:
    try:
        return np.dtype(text)
    except (TypeError, ValueError, OverflowError):
        return None
