"""Folders of files that are slow to make: the first process of a test session to ask makes them for all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

SHARED = "CODESIGN_TESTS_FOLDER"  # the session's folder, in the environment of workers and of commands under test


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return the session's folder `name`, in which `make` has written; nobody may change what it holds.

    Outside a test session the folder is made in every call.
    """
    folder = Path(os.environ.get(SHARED) or tempfile.mkdtemp()) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)  # left by one that failed
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder
