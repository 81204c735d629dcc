"""Files that are either whole or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import InputError

PARTIAL_SUFFIX = ".partial"  # of a file that is being written; left behind only by a writer that was killed


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block ends well, remove it if not.

    Missing folders are made and links followed. Raises InputError where `path` cannot be written: it is a
    folder or a device, a folder is closed to us, the disk is full.
    """
    target = Path(path).resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            raise OSError("it is a folder or a device, not a file")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PARTIAL_SUFFIX)
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"{os.fspath(path)} cannot be written: {error.strerror or error}; choose another place")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`: all of it, or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
