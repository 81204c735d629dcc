"""Files that are plain or compressed by gzip, told apart by content."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from traces.errors import InputError
from traces.reading_limit import check_decoded_bytes

_PIECE_BYTES = 2**20


@contextmanager
def open_plain_or_gzip(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading, decompressed if it is gzip.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or gzip.

    Yields
    ------
    stream : binary stream
        The content.
    file_bytes : int
        Bytes of the file; they limit what the content may take (`traces.reading_limit`).

    Raises
    ------
    InputError
        If the file is missing or cannot be read, or, while it is read, if the gzip stream is cut off or damaged.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield (gzip.GzipFile(fileobj=file) if is_gzip else file), file_bytes  # type: ignore[misc]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the gzip stream must be whole; it is cut off or damaged ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_plain_or_gzip(path: str | os.PathLike[str]) -> tuple[bytes, int]:
    """Return the content of a file, decompressed if it is gzip, and the bytes of the file.

    Parameters
    ----------
    path : str or os.PathLike
        The file, plain or gzip.

    Raises
    ------
    InputError
        As `open_plain_or_gzip` does, and if the content takes more than the size of the file allows.
    """
    content = bytearray()
    with open_plain_or_gzip(path) as (stream, file_bytes):
        while piece := stream.read(_PIECE_BYTES):
            content += piece
            check_decoded_bytes(path, len(content), file_bytes)
    return bytes(content), file_bytes
