"""Reader of IDX files, the format of MNIST (LeCun, Cortes, Burges), plain or gzip."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from traces.arrays import Numbers
from traces.errors import InputError

# third byte of the magic number -> type of the values, big endian
_VALUE_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


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
        If the file is missing, is no IDX file, or has another length than its header states.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give the folder that holds the IDX files") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the gzip stream must be whole; it is cut off or damaged ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error

    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _VALUE_TYPES or not 1 <= content[3] <= 8:
        raise InputError(
            f"{path}: an IDX file starts with two zero bytes, a known type and 1 to 8 dimensions; "
            f"found {content[:4].hex(' ') or 'an empty file'}"
        )
    dtype = np.dtype(_VALUE_TYPES[content[2]])
    dimensions = content[3]
    header_bytes = 4 + 4 * dimensions
    if len(content) < header_bytes:
        raise InputError(f"{path}: the header must have {header_bytes} bytes; the file ends after {len(content)}")
    shape = struct.unpack(f">{dimensions}I", content[4:header_bytes])
    expected_bytes = header_bytes + math.prod(shape) * dtype.itemsize
    if len(content) != expected_bytes:
        raise InputError(
            f"{path}: the header states shape {shape}, so {expected_bytes:,} bytes; found {len(content):,}; "
            f"the file is cut off or damaged: fetch it again"
        )
    values = np.frombuffer(content, dtype=dtype, offset=header_bytes).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
