"""Storages of studies, which are Optuna's; a writer may have been killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import filelock
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from traces import InputError

JOURNAL_FILE = "study.journal"
_HEAD = b'{"op_code"'


def open_storage(folder: Path, storage: str | None = None) -> optuna.storages.BaseStorage:
    """Open the storage of a study.

    Parameters
    ----------
    folder : Path
        Folder of the results; by default it holds the journal file.
    storage : str, optional
        URL of a database (sqlite:///, postgresql://, ...), or path of a journal file.

    Raises
    ------
    InputError
        If the storage cannot be opened.
    """
    try:
        if storage is not None and "://" in storage:
            return optuna.storages.get_storage(storage)
        path = folder / JOURNAL_FILE if storage is None else Path(storage)
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_journal(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), _JournalLock(path)))
    except InputError:
        raise
    except Exception as error:  # a database's driver may raise anything
        raise unreadable(folder, storage, error) from error


def _check_journal(path: Path) -> None:
    """Raise ValueError if a file is not empty and no journal; its last line may be removed otherwise."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        head = stream.read(len(_HEAD))
    if head != _HEAD[: len(head)]:
        raise ValueError(f"it must be a journal of Optuna, whose lines begin with {_HEAD.decode()}")


def unreadable(folder: Path, storage: str | None, error: Exception) -> InputError:
    """Return the error that says why the storage of a study cannot be read."""
    where = storage or folder / JOURNAL_FILE
    reason = " ".join(f"{error}".split()) or type(error).__name__
    return InputError(
        f"{where}: the study's storage cannot be opened: {reason}; restore it, or give another folder or storage"
    )


class _JournalLock(JournalFileOpenLock):
    """Lock for one writer to a journal; the system releases it when the writer ends.

    An unfinished or unreadable last line, left by a killed writer or a full disk, is removed before the next one is
    written; otherwise no later line could be read.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._lock = filelock.FileLock(journal.with_name(f".{journal.name}.lock"))
        self._checked = False

    def acquire(self) -> bool:
        """Take the lock and remove an unfinished last line; the first time, also one that is no JSON."""
        self._lock.acquire()
        try:
            with self._journal.open("r+b") as stream:
                end = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, end - 1))
                if end and (stream.read(1) != b"\n" or not self._checked):
                    stream.seek(0)
                    content = stream.read()
                    stream.truncate(_readable_end(content))
                self._checked = True
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


def _readable_end(journal: bytes) -> int:
    """Return the end of the last line of a journal that is whole and is JSON, or is not the last one."""
    end = journal.rfind(b"\n") + 1
    begin = journal.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        json.loads(journal[begin:end])
    except (ValueError, RecursionError):
        return begin
    return end
