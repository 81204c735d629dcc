"""Folders of results: one writer at a time, and results of one origin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from traces import InputError
from traces.files.atomic_file import PARTIAL_SUFFIX


def lock_folder(folder: Path) -> filelock.BaseFileLock:
    """Make a folder, lock it for this run, and remove the unfinished files of a killed run.

    Returns
    -------
    filelock.BaseFileLock
        The lock; the caller releases it.

    Raises
    ------
    InputError
        If another run holds the lock, or the folder cannot be written.
    """
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        for left_behind in folder.glob(f".*{PARTIAL_SUFFIX}"):
            left_behind.unlink(missing_ok=True)
    except filelock.Timeout:
        raise InputError(f"{folder}: another run writes to this folder; wait for it, or give another folder") from None
    except OSError as error:
        raise unwritable(folder, error) from error
    return lock


def unwritable(folder: Path, error: OSError) -> InputError:
    """Return the error that says why a folder cannot be written."""
    return InputError(f"{folder}: cannot be written: {error.strerror or error}; give another folder")


def check_origin(folder: Path, kind: str, previous: Any, wanted: Mapping[str, Any]) -> None:
    """Raise InputError unless a folder's record of its origin is the wanted one.

    Parameters
    ----------
    folder : Path
        The folder, for the error.
    kind : str
        What it holds, such as "sweep".
    previous : Any
        The record; anything but a dict is no record.
    wanted : mapping
        The origin of this run.
    """
    if previous == wanted:
        return
    keys = {*previous, *wanted} if isinstance(previous, dict) else ()
    different = sorted(key for key in keys if previous.get(key) != wanted.get(key))
    words = f", of which {' and '.join(different)} differ" if different else ""
    raise InputError(f"{folder} holds another {kind}{words}; give another folder, or fresh=True to begin anew")
