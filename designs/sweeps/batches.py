"""Batches of sweep points, about half a second each, so that handing out a batch costs little beside its run."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from designs.design import Packing
from designs.results import results_bytes
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.evaluation import Evaluation
from designs.sweeps.packings import remove_packed
from designs.sweeps.totals import DesignPoint, best_point
from designs.sweeps.workload import Workload
from traces import InputError
from traces.arrays import Booleans, Integers, Integers64

BATCH_SECONDS = 0.5
_BATCHES_PER_BATCH_SECONDS = 50  # one process hands out and keeps so many with ease; more workers: longer batches
_FIRST_POINTS = 16  # of a batch, before the time per point is known
_MOST_GROWTH = 8  # from one batch to the next
MOST_ROWS = 2**16  # of a batch, so that its table takes little memory


@dataclass(frozen=True, eq=False)
class Batch:
    """Points that one worker simulates at once, grouped by packing.

    Attributes
    ----------
    numbers : int64 [points]
        Numbers of the designs in the sample.
    designs : DesignRows
        The designs, in the same order.
    share : bool
        True if other batches have points of the same packings, so that the packed matrices must be shared.
    """

    numbers: Integers64
    designs: DesignRows
    share: bool

    @cached_property
    def by_packing(self) -> list[tuple[Packing, slice]]:
        """Packings, and the places of their points in the batch."""
        packings, places = self.designs.packings()
        begins = np.flatnonzero(np.diff(places.astype(np.int64), prepend=-1)).tolist()
        return [
            (packings[int(places[begin])], slice(begin, end))
            for begin, end in zip(begins, [*begins[1:], len(places)], strict=True)
        ]

    def __len__(self) -> int:
        return len(self.numbers)

    def single(self) -> list[Batch]:
        """Return batches of one point each."""
        return [
            Batch(self.numbers[place : place + 1], self.designs[place : place + 1], share=True)
            for place in range(len(self))
        ]

    @property
    def item(self) -> str:
        """Name of the first point, with its design."""
        return f"point {self.numbers[0]} ({self.designs[0]})"


@dataclass(frozen=True, eq=False)
class Finished:
    """Result of one batch.

    Attributes
    ----------
    batch : Batch
        The batch.
    part : bytes
        Content of a result file with the rows of the batch.
    best : DesignPoint, optional
        The point of least energy-delay product among those that run every layer. None: no point does.
    seconds : float
        Time for the points.
    preparing_seconds : float
        Time for what the points share, mainly the packed matrices.
    """

    batch: Batch
    part: bytes
    best: DesignPoint | None
    seconds: float
    preparing_seconds: float


@dataclass(frozen=True)
class SweepInputs:
    """Data that all batches of a sweep share.

    Attributes
    ----------
    workload : Path or Workload
        Folder that a worker maps; or the workload itself for a worker without access to the folder.
    packed : Path, optional
        Folder of the shared packed matrices.
    must_fit : bool
        A design on which some layer does not fit gets no figures.
    origin : mapping
        Origin of the sweep, for its result files.
    """

    workload: Path | Workload
    packed: Path | None
    must_fit: bool
    origin: Mapping[str, Any]

    @property
    def in_memory(self) -> bool:
        """True if the workload itself is here."""
        return isinstance(self.workload, Workload)

    def run(self, batch: Batch) -> Finished:
        """Simulate a batch; the process keeps the shared data for the next batch."""
        begin = time.perf_counter()
        evaluation = _evaluation(self.workload, self.packed, self.must_fit)
        preparing = time.perf_counter() - begin
        evaluated = []
        for packing, places in batch.by_packing:
            before = time.perf_counter()
            if not any(evaluation.unsuited(packing)):
                evaluation.prepare(packing, batch.share)
            preparing += time.perf_counter() - before
            evaluated.append(evaluation.evaluate(packing, batch.designs[places]))
        table = evaluation.table(batch.numbers, batch.designs, evaluated)
        part = results_bytes(table, self.origin)
        best = best_point(table)
        return Finished(batch, part, best, time.perf_counter() - begin - preparing, preparing)

    def forget(self) -> None:
        """Free the shared data that `run` keeps."""
        _evaluation.cache_clear()

    def accessible(self, ask: Callable[..., Sequence[Any]]) -> SweepInputs:
        """Return inputs for all workers of a cluster: the folder if each can read it, otherwise the arrays."""
        if isinstance(self.workload, Workload):
            return self
        folder = self.workload.resolve()
        digest = Workload.digest_in(folder)
        if all(each == digest for each in ask(Workload.digest_in, str(folder))):
            packed = None if self.packed is None else self.packed.resolve()
            return dataclasses.replace(self, workload=folder, packed=packed)
        return dataclasses.replace(self, workload=Workload.open(folder), packed=None)


def batch_seconds(workers: int) -> float:
    """Return the run time to aim at for a batch, given the number of workers."""
    return BATCH_SECONDS * max(1.0, workers / _BATCHES_PER_BATCH_SECONDS)


class Batches:
    """Batches of the points that are not done, about BATCH_SECONDS long; longer for more than 50 workers.

    A batch has points of one packing, or all remaining points of several packings. Workers share a packing only when
    each packing has a worker.

    Parameters
    ----------
    designs : DesignRows
        All designs of the sample.
    done : bool [designs]
        True for each design that is finished.
    workers : int
        Number of workers.
    packed : Path, optional
        Folder of the shared packed matrices; those that no further point needs are removed.
    layers : int
        Layers of the workload; a point has as many rows.
    """

    def __init__(
        self, designs: DesignRows, done: Booleans, workers: int, packed: Path | None = None, layers: int = 1
    ) -> None:
        self._designs, self._packed = designs, packed
        self._workers = workers
        self._seconds = batch_seconds(workers)
        packings, places = designs.packings()
        left = np.flatnonzero(~done).astype(np.min_scalar_type(len(designs)))
        places = places[left]
        self._numbers: Integers = left[np.argsort(places, kind="stable")]  # of the points that are left, by packing
        sizes = np.bincount(places, minlength=len(packings)).tolist()
        self._unfinished = Counter({packing: size for packing, size in zip(packings, sizes, strict=True) if size})
        ends = np.cumsum(sizes).tolist()
        self._waiting = deque(_Left(end - size, end) for size, end in zip(sizes, ends, strict=True) if size)
        self._begun: deque[_Left] = deque()
        self._point_seconds = BATCH_SECONDS / _FIRST_POINTS
        self._packing_seconds = BATCH_SECONDS
        self._most_points = _FIRST_POINTS
        self._most_of_any = max(1, MOST_ROWS // layers)

    def __bool__(self) -> bool:
        return bool(self._waiting or self._begun)

    def next(self) -> Batch:
        """Return the next batch: of a new packing while there are fewer packings in work than workers, else in turn."""
        if self._waiting and len(self._begun) < self._workers:
            points, new = self._waiting.popleft(), True
        else:
            points, new = self._begun.popleft(), False
        taken = [points.take(min(max(1, int(self._seconds / self._point_seconds)), self._most_points))]
        if len(points):
            self._begun.append(points)
        elif new:
            self._fill_up(taken)
        numbers = np.concatenate([self._numbers[each] for each in taken]).astype(np.int64)
        return Batch(numbers, self._designs.take(numbers), share=bool(len(points)) or not new)

    def _fill_up(self, taken: list[slice]) -> None:
        """Add packings, each with all its points, as long as they fit into the batch."""
        points = taken[0].stop - taken[0].start
        left = self._seconds - self._packing_seconds - points * self._point_seconds
        while self._waiting:
            further = len(self._waiting[0])
            left -= self._packing_seconds + further * self._point_seconds
            if left < 0 or points + further > self._most_points:
                return
            points += further
            taken.append(self._waiting.popleft().take(further))

    def learn(self, finished: Finished) -> list[Packing]:
        """Adapt the batch size to this batch's run time; return the packings whose last points it had."""
        points = len(finished.batch)
        grown = _MOST_GROWTH * max(points, self._most_points // _MOST_GROWTH**2)
        self._most_points = min(grown, self._most_of_any)
        self._point_seconds = max(finished.seconds / points, 1e-6)
        prepared = finished.preparing_seconds / len(finished.batch.by_packing)
        if prepared > self._point_seconds:  # otherwise the packing was already prepared
            self._packing_seconds = prepared
        completed = []
        for packing, places in finished.batch.by_packing:
            self._unfinished[packing] -= places.stop - places.start
            if not self._unfinished[packing]:
                completed.append(packing)
                if self._packed is not None:
                    remove_packed(self._packed, packing)
        return completed


class _Left:
    """Points of one packing that are left: a range of places."""

    def __init__(self, begin: int, end: int) -> None:
        self._begin, self._end = begin, end

    def __len__(self) -> int:
        return self._end - self._begin

    def take(self, points: int) -> slice:
        """Return the places of the next points, at most so many; they are no longer left."""
        begin = self._begin
        self._begin = min(begin + points, self._end)
        return slice(begin, self._begin)


@lru_cache(maxsize=1)
def _evaluation(workload: Path | Workload, packed: Path | None, must_fit: bool) -> Evaluation:
    if isinstance(workload, Path):
        try:
            workload = Workload.open(workload)
        except InputError as error:
            raise InputError(f"a worker has no access to the sweep's arrays: {error}") from error
    return Evaluation(workload, must_fit, packed)
