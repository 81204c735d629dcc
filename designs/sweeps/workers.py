"""Workers of a sweep: this process, or other processes of this machine.

Those of a Dask scheduler are in `designs.sweeps.dask_workers`. The batch of a killed worker is run again by another
one. If it kills two workers, its points run one at a time, with no other batch beside them, to find the one at fault.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from designs.sweeps.batches import Batch, Batches, Finished, SweepInputs, forget, run_batch, single_points
from designs.sweeps.packings import remove_packed
from traces import InputError

_MOST_DEATHS = 3


class Crew(Protocol):
    """Workers that have been started."""

    @property
    def workers(self) -> int:
        """Number of workers at this time."""

    @property
    def capacity(self) -> int:
        """Number of batches that they take at once."""

    def submit(self, batch: Batch) -> None:
        """Hand out a batch."""

    def next(self) -> list[tuple[Batch, Finished | None]]:
        """Wait for at least one batch to end; return each with its result, None if its worker was killed.

        Raises the exception that a batch raised.
        """


class Workers(Protocol):
    """Workers that can be started."""

    @property
    def apart(self) -> bool:
        """True if they are other processes than this one."""

    def start(self, inputs: SweepInputs) -> contextlib.AbstractContextManager[Crew]:
        """Start them; the context manager stops them."""


def finished_batches(batches: Batches, crew: Crew, packed: Path | None = None) -> Iterator[Finished]:
    """Run all batches, and yield each result as it comes.

    Parameters
    ----------
    batches : Batches
        The points that are not done.
    crew : Crew
        The workers.
    packed : Path, optional
        Folder of the shared packed matrices; those that no further point needs are removed.

    Raises
    ------
    InputError
        If one point kills its worker three times.
    """
    again: deque[Batch] = deque()
    alone: deque[Batch] = deque()  # single points of a batch that killed two workers
    deaths: Counter[tuple[int, ...]] = Counter()
    outstanding = 0
    while batches or again or alone or outstanding:
        while (again or batches) and outstanding < max(1, crew.capacity):
            crew.submit(again.popleft() if again else batches.next())
            outstanding += 1
        if alone and not outstanding:
            crew.submit(alone.popleft())
            outstanding += 1
        for batch, finished in crew.next():
            outstanding -= 1
            if finished is not None:
                for packing in batches.learn(finished):
                    if packed is not None:
                        remove_packed(packed, packing)
                yield finished
                continue
            deaths[batch.numbers] += 1
            if deaths[batch.numbers] == 1:
                again.append(batch)
            elif len(batch.numbers) > 1:
                alone.extend(single_points(batch))
            elif deaths[batch.numbers] >= _MOST_DEATHS:
                raise InputError(
                    f"point {batch.numbers[0]} killed its worker {_MOST_DEATHS} times ({batch.designs[0]}): it may "
                    f"need more memory than there is; leave it out of the space; finished points are kept"
                )
            else:
                alone.append(batch)


@dataclass(frozen=True)
class Here:
    """The calling process as the only worker."""

    apart: bool = False

    @contextlib.contextmanager
    def start(self, inputs: SweepInputs) -> Iterator[Crew]:
        """Run batches in this process."""
        try:
            yield _HereCrew(inputs)
        finally:
            forget()


class _HereCrew:
    workers = capacity = 1

    def __init__(self, inputs: SweepInputs) -> None:
        self._inputs = inputs
        self._batches: deque[Batch] = deque()

    def submit(self, batch: Batch) -> None:
        self._batches.append(batch)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        batch = self._batches.popleft()
        return [(batch, run_batch(batch, self._inputs))]


@dataclass(frozen=True)
class Processes:
    """Processes on this machine as workers.

    Attributes
    ----------
    number : int
        Number of processes, 1 to 1,024.
    """

    number: int
    apart: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 1024:
            raise InputError(f"workers must be 1 to 1,024 processes; found {self.number}")

    @contextlib.contextmanager
    def start(self, inputs: SweepInputs) -> Iterator[Crew]:
        """Start the processes as batches come, and stop them at the end."""
        crew = _ProcessCrew(self.number, inputs)
        try:
            yield crew
        finally:
            crew.stop()


class _ProcessCrew:
    """Processes with one pipe each: a killed process is identified, and the others are not affected."""

    def __init__(self, number: int, inputs: SweepInputs) -> None:
        self.workers = self.capacity = number
        self._inputs = inputs
        self._idle: list[_Process] = []
        self._busy: dict[_Process, Batch] = {}

    def submit(self, batch: Batch) -> None:
        worker = self._idle.pop() if self._idle else _Process(self._inputs)
        self._busy[worker] = batch
        with contextlib.suppress(OSError):  # the process has been killed; `next` reports it
            worker.pipe.send(batch)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        ended: list[tuple[Batch, Finished | None]] = []
        pipes = {worker.pipe: worker for worker in self._busy}
        for pipe in wait(pipes):
            worker = pipes[pipe]  # type: ignore[index]
            batch = self._busy.pop(worker)
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                worker.end()
                ended.append((batch, None))
                continue
            self._idle.append(worker)
            if isinstance(answer, BaseException):
                raise answer
            ended.append((batch, answer))
        return ended

    def stop(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.end()


class _Process:
    """One process that runs batches until its pipe is closed or its parent process ends."""

    def __init__(self, inputs: SweepInputs) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, inputs), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe closes when the process ends

    def end(self) -> None:
        """Stop the process at once."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, inputs: SweepInputs) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles it
    with contextlib.suppress(EOFError, OSError):
        while True:
            batch = pipe.recv()
            try:
                answer: Finished | Exception = run_batch(batch, inputs)
            except Exception as error:
                answer = error
            pipe.send(answer)
