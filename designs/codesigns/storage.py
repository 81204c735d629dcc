"""Storages of studies, which are Optuna's, and the processes that work on a study; some may have been killed."""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from designs.file_names import file_name
from designs.results_folder import unwritable
from traces import InputError

JOURNAL_FILE = "study.journal"
WORKER = "worker"
STALE_SECONDS = 600.0  # then a trial of another machine counts as abandoned; trials take seconds
_UNNAMED_SECONDS = 30.0
_MOST_WORKERS = 1000


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


class StudyWorker:
    """The calling process as one of those that work on a study. Use as a context manager.

    A file lock holds its number, so the number is free again as soon as the process ends, even if it is killed.

    Parameters
    ----------
    folder : Path
        Folder of the results.

    Attributes
    ----------
    number : int
        Number among the processes of the folder, from 0.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "workers"
        self.number = -1

    def __enter__(self) -> StudyWorker:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number in range(_MOST_WORKERS):
                lock = filelock.FileLock(self._path(self._name(number)))
                try:
                    lock.acquire(blocking=False)
                except filelock.Timeout:
                    continue
                self.number, self._lock = number, lock
                return self
        except OSError as error:
            raise unwritable(self._folder, error) from error
        raise InputError(f"{self._folder}: at most {_MOST_WORKERS:,} processes work on one study")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def name(self) -> str:
        """Name of this process in the trials that it works on."""
        return self._name(self.number)

    def _name(self, number: int) -> str:
        return f"{socket.gethostname()}-{number}"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def take_over(self, study: optuna.Study) -> int:
        """Mark the trials of ended processes as failed and enqueue their designs again; return their number."""
        taken = 0
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._lives(trial):
                continue
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            if trial.params:
                study.enqueue_trial(trial.params)
            taken += 1
        return taken

    def others_at_work(self, study: optuna.Study) -> bool:
        """Return True if another process works on a trial."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(self._lives(trial) for trial in running)

    def _lives(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Return True if the process of a trial may be alive; on another machine, as long as the trial is not stale."""
        name = trial.user_attrs.get(WORKER)
        if name == self.name:
            return False
        age_seconds = _seconds_since(trial.datetime_start)
        if name is None:  # a trial gets the name as soon as it begins
            return age_seconds < _UNNAMED_SECONDS
        file_name("the worker of a trial in the study's storage", name, "give fresh=True to begin the study anew")
        if not self._path(name).exists():
            return age_seconds < STALE_SECONDS
        lock = filelock.FileLock(self._path(name))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        lock.release()
        return False


def _seconds_since(moment: Any) -> float:
    return time.time() - moment.timestamp() if isinstance(moment, datetime) else 0.0
