"""Who does a sweep's batches: this process, others beside it, or, in `designs.cluster`, those of a Dask scheduler.

A worker that is killed takes its batch with it, which is then done again by another one; if that happens twice, its
points are done one by one and alone, so that one which kills its worker each time is found.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from typing import Protocol

from designs.batches import Batch, Batches, Finished, Source, forget, run_batch, single_points
from traces import InputError

_OUTSTANDING_PER_WORKER = 2  # one that runs and one that waits, so that no worker does
_MOST_DEATHS = 3


class Crew(Protocol):
    """Workers that have been started."""

    @property
    def workers(self) -> int:
        """How many there are now."""

    def submit(self, batch: Batch) -> None:
        """Have a batch done."""

    def next(self) -> list[tuple[Batch, Finished | None]]:
        """Wait for batches that are through; None for one whose worker was killed.

        Raises what a batch raised.
        """


class Workers(Protocol):
    """Workers that can be started. A sweep needs to know how many there will be, about."""

    @property
    def number(self) -> int: ...

    @property
    def apart(self) -> bool:
        """Whether they are other processes than this one."""

    def start(self, source: Source) -> contextlib.AbstractContextManager[Crew]: ...


def finished_batches(batches: Batches, crew: Crew) -> Iterator[Finished]:
    """Have all batches done, in whatever order. Raises InputError if a point kills its worker again and again."""
    again: deque[Batch] = deque()
    alone: deque[Batch] = deque()  # single points that were in a batch whose worker was killed twice
    deaths: Counter[tuple[int, ...]] = Counter()
    outstanding = 0
    while batches or again or alone or outstanding:
        while (again or batches) and outstanding < _OUTSTANDING_PER_WORKER * max(1, crew.workers):
            crew.submit(again.popleft() if again else batches.next())
            outstanding += 1
        if alone and not outstanding:
            crew.submit(alone.popleft())
            outstanding += 1
        for batch, finished in crew.next():
            outstanding -= 1
            if finished is not None:
                batches.learn(finished)
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

    number: int = 1
    apart: bool = False

    @contextlib.contextmanager
    def start(self, source: Source) -> Iterator[Crew]:
        try:
            yield _HereCrew(source)
        finally:
            forget()  # the workload and its packed matrices


class _HereCrew:
    workers = 1

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
    def __init__(self, number: int, source: Source) -> None:
        self.workers = number
        self._source = source
        self._pool = self._new_pool()
        self._futures: dict[Future[Finished], Batch] = {}

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _leave_when_orphaned)

    def submit(self, batch: Batch) -> None:
        try:
            future = self._pool.submit(run_batch, batch, self._source)
        except BrokenProcessPool:
            future = Future()
            future.set_exception(BrokenProcessPool())
        self._futures[future] = batch

    def next(self) -> list[tuple[Batch, Finished | None]]:
        done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            done, _ = wait(self._futures)  # the pool is lost with all that it had; what came through before is kept
            self._pool.shutdown()
            self._pool = self._new_pool()
        through: list[tuple[Batch, Finished | None]] = []
        for future in done:
            batch = self._futures.pop(future)
            lost = isinstance(future.exception(), BrokenProcessPool)
            through.append((batch, None if lost else future.result()))
        return through

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _leave_when_orphaned() -> None:
    """In a worker: end with the process that started it, however that ends; an interrupt is its business alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
