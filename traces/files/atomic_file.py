"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL_SUFFIX = ".partial"  # of a file that is being written; only a killed writer leaves one behind
_RANDOM = "?" * 8  # characters that tell temporary files of one path apart


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` if the block succeeds, and removed otherwise.

    Missing folders are made and links are followed. What killed writers of this path left is removed. Raises
    InputError if `path` cannot be written: it is a folder or a device, a folder is read-only, or the disk is full.
    """
    try:
        target = Path(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            raise OSError("it is a folder or a device, not a file")
        prefix = f".{target.name[:64]}."
        _remove_left_behind(target.parent, prefix)
        descriptor, temporary = _temporary_file(target.parent, prefix)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: a null byte
        raise _unwritable(path, error) from error
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _temporary_file(folder: Path, prefix: str) -> tuple[int | None, Path]:
    """Make a temporary file; return its open descriptor, whose lock lasts as long as the writer lives, and its path."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=PARTIAL_SUFFIX)
        if fcntl is None:  # where an open file cannot be renamed
            os.close(descriptor)
            return None, Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept = os.fstat(descriptor).st_nlink > 0  # else another writer removed it before it was locked
        except BlockingIOError:  # another writer has locked it, and is about to remove it
            kept = False
        except OSError:  # the file system has no locks, so nobody removes it
            kept = True
        if kept:
            return descriptor, Path(name)
        os.close(descriptor)


def _remove_left_behind(folder: Path, prefix: str) -> None:
    """Remove the temporary files of writers that were killed: nobody holds their locks."""
    if fcntl is None:
        return
    for path in folder.glob(f"{glob.escape(prefix)}{_RANDOM}{PARTIAL_SUFFIX}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _unwritable(path: str | os.PathLike[str], error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{os.fspath(path)} cannot be written: {reason}; choose another place")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` completely, or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def copy_atomically(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Copy a file to `path` completely, or not at all."""
    with atomic_file(path) as temporary:
        shutil.copyfile(source, temporary)
