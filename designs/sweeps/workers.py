"""Who does a sweep's batches: this process, others beside it, or, in `designs.sweeps.dask_workers`, those of a Dask scheduler.

A worker that is killed takes its batch with it, which is then done again by another one; if that happens twice, its
points are done one by one and alone, so that one which kills its worker each time is found.
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

from designs.sweeps.batches import Batch, Batches, Finished, Source, forget, run_batch, single_points
from designs.sweeps.packings import remove_packed
from traces import InputError

_MOST_DEATHS = 3


class Crew(Protocol):
    """Workers that have been started."""

    @property
    def workers(self) -> int:
        """How many there are now."""

    @property
    def capacity(self) -> int:
        """How many batches they take at once."""

    def submit(self, batch: Batch) -> None:
        """Have a batch done."""

    def next(self) -> list[tuple[Batch, Finished | None]]:
        """Wait for batches that are through; None for one whose worker was killed.

        Raises what a batch raised.
        """


class Workers(Protocol):
    """Workers that can be started."""

    @property
    def apart(self) -> bool:
        """Whether they are other processes than this one."""

    def start(self, source: Source) -> contextlib.AbstractContextManager[Crew]: ...


def finished_batches(batches: Batches, crew: Crew, packed: Path | None = None) -> Iterator[Finished]:
    """Have all batches done, in whatever order.

    packed   where packed matrices are shared; those of which all points are finished are removed

    Raises InputError if a point kills its worker again and again.
    """
    again: deque[Batch] = deque()
    alone: deque[Batch] = deque()  # single points that were in a batch whose worker was killed twice
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
    """This process."""

    apart: bool = False

    @contextlib.contextmanager
    def start(self, source: Source) -> Iterator[Crew]:
        try:
            yield _HereCrew(source)
        finally:
            forget()  # the workload and its packed matrices


class _HereCrew:
    workers = capacity = 1

    def __init__(self, source: Source) -> None:
        self._source = source
        self._batches: deque[Batch] = deque()

    def submit(self, batch: Batch) -> None:
        self._batches.append(batch)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        batch = self._batches.popleft()
        return [(batch, run_batch(batch, self._source))]


@dataclass(frozen=True)
class Processes:
    """So many processes on this machine. Raises InputError if there is to be none."""

    number: int
    apart: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 1024:
            raise InputError(f"workers must be 1 to 1,024 processes; found {self.number}")

    @contextlib.contextmanager
    def start(self, source: Source) -> Iterator[Crew]:
        crew = _ProcessCrew(self.number, source)
        try:
            yield crew
        finally:
            crew.stop()


class _ProcessCrew:
    """Processes, each on a pipe of its own: the one that is killed is known, and no other one is the worse for it."""

    def __init__(self, number: int, source: Source) -> None:
        self.workers = self.capacity = number
        self._source = source
        self._idle: list[_Process] = []
        self._busy: dict[_Process, Batch] = {}

    def submit(self, batch: Batch) -> None:
        worker = self._idle.pop() if self._idle else _Process(self._source)
        self._busy[worker] = batch
        with contextlib.suppress(OSError):  # it has been killed meanwhile, which `next` finds
            worker.pipe.send(batch)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        through: list[tuple[Batch, Finished | None]] = []
        pipes = {worker.pipe: worker for worker in self._busy}
        for pipe in wait(pipes):
            worker = pipes[pipe]  # type: ignore[index]
            batch = self._busy.pop(worker)
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                worker.end()
                through.append((batch, None))
                continue
            self._idle.append(worker)
            if isinstance(answer, BaseException):
                raise answer
            through.append((batch, answer))
        return through

    def stop(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.end()


class _Process:
    """One process that does batches until its pipe is closed, or whoever started it has gone."""

    def __init__(self, source: Source) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, source), daemon=True)
        self._process.start()
        theirs.close()  # so that theirs is the only one, and closes when they go

    def end(self) -> None:
        """Whatever it is doing."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, source: Source) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the business of who started us
    with contextlib.suppress(EOFError, OSError):
        while True:
            batch = pipe.recv()
            try:
                answer: Finished | Exception = run_batch(batch, source)
            except Exception as error:
                answer = error
            pipe.send(answer)
