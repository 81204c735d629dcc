"""Reader of IDX files, the format of MNIST (LeCun, Cortes, Burges), plain or gzip."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError
from traces.files.plain_or_gzip import open_plain_or_gzip
from traces.reading_limit import check_array_bytes

# third byte of the magic number -> type of the values, big endian
_VALUE_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE_BYTES = 2**20


def read_idx(path: str | os.PathLike[str]) -> Numbers:
    """Read one IDX file.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or gzip.

    Returns
    -------
    numpy.ndarray
        Array of the shape and type in the file's header, in native byte order.

    Raises
    ------
    InputError
        If the file is missing, is no IDX file, has another length than its header states, or would take more than its
        size allows (`traces.reading_limit`).
    """
    path = Path(path)
    with open_plain_or_gzip(path) as (stream, file_bytes):
        return _read(stream, path, file_bytes)


def _read(stream: BinaryIO, path: Path, file_bytes: int) -> Numbers:
    begin = stream.read(4)
    if len(begin) < 4 or begin[:2] != b"\0\0" or begin[2] not in _VALUE_TYPES or not 1 <= begin[3] <= 8:
        raise InputError(
            f"{path}: an IDX file starts with two zero bytes, a known type and 1 to 8 dimensions; "
            f"found {begin.hex(' ') or 'an empty file'}"
        )
    dtype = np.dtype(_VALUE_TYPES[begin[2]])
    dimensions = begin[3]
    lengths = stream.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise InputError(
            f"{path}: the header must have {4 + 4 * dimensions} bytes; the file ends after {4 + len(lengths)}"
        )
    shape = struct.unpack(f">{dimensions}I", lengths)
    check_array_bytes(path, shape, dtype.itemsize, file_bytes)
    content = bytearray(math.prod(shape) * dtype.itemsize)
    left = memoryview(content)
    while left and (taken := stream.readinto(left[:_PIECE_BYTES])):  # type: ignore[attr-defined]
        left = left[taken:]
    beyond = 0 if left else len(stream.read(1))  # at the end, the checksum of a gzip stream is compared
    if left or beyond:
        expected = 4 + 4 * dimensions + len(content)
        found = "more" if beyond else f"{expected - len(left):,}"
        raise InputError(
            f"{path}: the header states shape {shape}, so {expected:,} bytes; found {found}; the file is "
            f"cut off or damaged: fetch it again"
        )
    values = np.ndarray(shape, dtype, content)
    return values.byteswap(inplace=True).view(dtype.newbyteorder("=")) if dtype.itemsize > 1 else values
