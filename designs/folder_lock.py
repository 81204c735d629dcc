"""One writer to a results folder."""

from __future__ import annotations

from pathlib import Path

import filelock

from traces import InputError
from traces.files.atomic_file import PARTIAL_SUFFIX


def lock_folder(folder: Path) -> filelock.BaseFileLock:
    """Make a folder and take it for this run; what a killed run has left half-written is removed.

    The caller releases the lock. Raises InputError if another run has it, or the folder cannot be written.
    """
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        for left_behind in folder.glob(f".*{PARTIAL_SUFFIX}"):
            left_behind.unlink(missing_ok=True)
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another run is writing to this folder; wait for it or choose another with --out"
        ) from None
    except OSError as error:
        raise InputError(
            f"{folder}: results cannot be written there: {error.strerror or error}; choose another folder with --out"
        ) from error
    return lock
