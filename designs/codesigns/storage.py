"""Storages of studies, which are Optuna's; a writer may have been killed."""

from __future__ import annotations

import os
from pathlib import Path

import filelock
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from traces import InputError

JOURNAL_FILE = "study.journal"


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
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), _JournalLock(path)))
    except InputError:
        raise
    except Exception as error:  # a database's driver may raise anything
        where = storage or folder / JOURNAL_FILE
        raise InputError(f"{where}: the study's storage cannot be opened: {' '.join(str(error).split())}") from error


class _JournalLock(JournalFileOpenLock):
    """Lock for one writer to a journal; the system releases it when the writer ends.

    An unfinished line, left by a killed writer or a full disk, is removed before the next one is written; otherwise no
    later line could be read.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._lock = filelock.FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        """Take the lock and remove an unfinished last line."""
        self._lock.acquire()
        with self._journal.open("r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(end - 1)
                if stream.read(1) != b"\n":
                    stream.seek(0)
                    stream.truncate(stream.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()
