"""Workers: this process, or other processes of this machine, that run batches of independent items.

The items are the points of a sweep, or the compressions of a co-design. Those of a Dask scheduler are in
`designs.sweeps.dask_workers`. The batch of a killed worker is run again by another one. If it kills two workers, its
items run one at a time, with no other batch beside them, to find the one at fault.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from traces import InputError
from traces.plain_values import whole_number

_MOST_DEATHS = 3
_Work = TypeVar("_Work", bound="Work")
_Result = TypeVar("_Result")
_WorkIn = TypeVar("_WorkIn", bound="Work", contravariant=True)
_WorkOut = TypeVar("_WorkOut", bound="Work", covariant=True)
_ResultIn = TypeVar("_ResultIn", contravariant=True)
_ResultOut = TypeVar("_ResultOut", covariant=True)


class Work(Protocol):
    """Batch of items that one worker runs at once; equal batches have the same items."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __hash__(self) -> int: ...

    def single(self) -> Sequence[Self]:
        """Return batches of one item each."""

    @property
    def item(self) -> str:
        """Name of the first item, in words."""


class WorkInputs(Protocol[_WorkIn, _ResultOut]):
    """Data that all batches share, and their run."""

    @property
    def in_memory(self) -> bool:
        """True if the data are large and in memory; a cluster then sends them to each worker once."""

    def run(self, batch: _WorkIn) -> _ResultOut:
        """Run a batch; the process may keep data for the next one."""

    def forget(self) -> None:
        """Free what `run` keeps."""

    def accessible(self, ask: Callable[..., Sequence[Any]]) -> Self:
        """Return inputs that all workers of a cluster can use; `ask(function, *arguments)` has each worker's answer."""


class WorkQueue(Protocol[_WorkOut, _ResultIn]):
    """Batches to hand out; True while there are any."""

    def __bool__(self) -> bool: ...

    def next(self) -> _WorkOut:
        """Return the next batch."""

    def learn(self, finished: _ResultIn) -> object:
        """Adapt further batches to the run time of this one."""


class Crew(Protocol[_Work, _Result]):
    """Workers that have been started."""

    @property
    def workers(self) -> int:
        """Number of workers at this time."""

    @property
    def capacity(self) -> int:
        """Number of batches that they take at once."""

    def submit(self, batch: _Work) -> None:
        """Hand out a batch."""

    def next(self) -> list[tuple[_Work, _Result | None]]:
        """Wait for at least one batch to end; return each with its result, None if its worker was killed.

        Raises the exception that a batch raised.
        """


class Workers(Protocol):
    """Workers that can be started."""

    @property
    def apart(self) -> bool:
        """True if they are other processes than this one."""

    def start(self, inputs: WorkInputs[_Work, _Result]) -> contextlib.AbstractContextManager[Crew[_Work, _Result]]:
        """Start them; the context manager stops them."""


def finished_batches(batches: WorkQueue[_Work, _Result], crew: Crew[_Work, _Result]) -> Iterator[_Result]:
    """Run all batches, and yield each result as it comes.

    Parameters
    ----------
    batches : WorkQueue
        The items that are not done.
    crew : Crew
        The workers.

    Raises
    ------
    InputError
        If one item kills its worker three times.
    """
    again: deque[_Work] = deque()
    alone: deque[_Work] = deque()  # single items of a batch that killed two workers
    deaths: Counter[_Work] = Counter()
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
                batches.learn(finished)
                yield finished
                continue
            deaths[batch] += 1
            if deaths[batch] == 1:
                again.append(batch)
            elif len(batch) > 1:
                alone.extend(batch.single())
            elif deaths[batch] >= _MOST_DEATHS:
                raise InputError(
                    f"{batch.item} killed its worker {_MOST_DEATHS} times: it may need more memory than there is; "
                    f"leave it out of the space; finished batches are kept"
                )
            else:
                alone.append(batch)


@dataclass(frozen=True)
class Here:
    """The calling process as the only worker."""

    apart: bool = False

    @contextlib.contextmanager
    def start(self, inputs: WorkInputs[_Work, _Result]) -> Iterator[Crew[_Work, _Result]]:
        """Run batches in this process."""
        try:
            yield _HereCrew(inputs)
        finally:
            inputs.forget()


class _HereCrew(Generic[_Work, _Result]):
    workers = capacity = 1

    def __init__(self, inputs: WorkInputs[_Work, _Result]) -> None:
        self._inputs = inputs
        self._batches: deque[_Work] = deque()

    def submit(self, batch: _Work) -> None:
        self._batches.append(batch)

    def next(self) -> list[tuple[_Work, _Result | None]]:
        batch = self._batches.popleft()
        return [(batch, self._inputs.run(batch))]


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
        object.__setattr__(self, "number", number_of_workers(self.number))

    @contextlib.contextmanager
    def start(self, inputs: WorkInputs[_Work, _Result]) -> Iterator[Crew[_Work, _Result]]:
        """Start the processes as batches come, and stop them at the end."""
        crew = _ProcessCrew(self.number, inputs)
        try:
            yield crew
        finally:
            crew.stop()


def number_of_workers(workers: object) -> int:
    """Return a number of processes. Raises InputError unless it is a whole number from 1 to 1,024."""
    return whole_number("workers", workers, 1, 1024)


def chosen_workers(workers: int | Workers) -> Workers:
    """Return workers, of which a number is that of processes: this one, or others of this machine.

    Raises InputError if it is neither workers nor such a number.
    """
    if callable(getattr(workers, "start", None)):
        return cast(Workers, workers)
    number = number_of_workers(workers)
    return Here() if number == 1 else Processes(number)


class _ProcessCrew(Generic[_Work, _Result]):
    """Processes with one pipe each: a killed process is identified, and the others are not affected."""

    def __init__(self, number: int, inputs: WorkInputs[_Work, _Result]) -> None:
        self.workers = self.capacity = number
        self._inputs = inputs
        self._idle: list[_Process] = []
        self._busy: dict[_Process, _Work] = {}

    def submit(self, batch: _Work) -> None:
        worker = self._idle.pop() if self._idle else _Process(self._inputs)
        self._busy[worker] = batch
        with contextlib.suppress(OSError):  # the process has been killed; `next` reports it
            worker.pipe.send(batch)

    def next(self) -> list[tuple[_Work, _Result | None]]:
        ended: list[tuple[_Work, _Result | None]] = []
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

    def __init__(self, inputs: WorkInputs[Any, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, inputs), daemon=True)
        resource_tracker.ensure_running()  # its start lets signals through
        # The process inherits what is blocked; this one handles the interrupt.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the pipe closes when the process ends

    def end(self) -> None:
        """Stop the process at once."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, inputs: WorkInputs[Any, Any]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            batch = pipe.recv()
            try:
                answer: Any = inputs.run(batch)
            except Exception as error:
                answer = error
            pipe.send(answer)
