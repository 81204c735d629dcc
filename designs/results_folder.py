"""Folders of results: one writer at a time, and results of one origin."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from traces import InputError
from traces.files.atomic_file import PARTIAL_SUFFIX

LOCK_FILE = ".lock"


def lock_folder(folder: Path) -> filelock.BaseFileLock:
    """Make a folder, lock it for this run, and remove the unfinished files of a killed run.

    Returns
    -------
    filelock.BaseFileLock
        The lock; the caller releases it.

    Raises
    ------
    InputError
        If another run holds the lock, the folder cannot be written, or the lock is a link that leads out of it.
    """
    check_links(folder, [LOCK_FILE])
    lock = filelock.FileLock(folder / LOCK_FILE)
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


def check_links(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError if a file or folder of these names, or a file in one, is a link that leads out of a folder.

    Parameters
    ----------
    folder : Path
        Folder of results, which may be missing, or a link itself.
    names : sequence of str
        Names of the files and folders in it that a run writes or removes.
    """
    home = folder.resolve()
    for name in names:
        path = folder / name
        within = path.iterdir() if path.is_dir() and not path.is_symlink() else ()
        for each in (path, *within):
            if each.is_symlink() and not each.resolve().is_relative_to(home):
                raise InputError(
                    f"{each}: a file of the results must lie in their folder; found a link to {os.readlink(each)}; "
                    f"remove the link, or give another folder"
                )


def remove_files(folder: Path, pattern: re.Pattern[str]) -> None:
    """Remove the files of a folder whose whole names match, files left by killed writers, and the folder if empty.

    Links are removed and not followed; a folder that is a link stays as it is.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        partial = path.name.startswith(".") and path.name.endswith(PARTIAL_SUFFIX)
        if (partial or pattern.fullmatch(path.name)) and (path.is_symlink() or path.is_file()):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds files of others
        folder.rmdir()


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
