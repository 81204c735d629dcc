"""Batches of sweep points, about half a second each, so that handing out a batch costs little beside its run."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from designs.design import Design, Packing
from designs.results import results_bytes
from designs.sweeps.evaluation import Evaluation
from designs.sweeps.packings import remove_packed
from designs.sweeps.totals import DesignPoint, best_point
from designs.sweeps.workload import Workload
from traces import InputError

BATCH_SECONDS = 0.5
_BATCHES_PER_BATCH_SECONDS = 50  # one process hands out and keeps so many with ease; more workers: longer batches
_FIRST_POINTS = 16  # of a batch, before the time per point is known
_MOST_GROWTH = 8  # from one batch to the next


@dataclass(frozen=True)
class Batch:
    """Points that one worker simulates at once, grouped by packing.

    Attributes
    ----------
    numbers : tuple of int
        Numbers of the designs in the sample.
    designs : tuple of Design
        The designs, in the same order.
    share : bool
        True if other batches have points of the same packings, so that the packed matrices must be shared.
    """

    numbers: tuple[int, ...]
    designs: tuple[Design, ...]
    share: bool

    @property
    def by_packing(self) -> list[tuple[Packing, list[tuple[int, Design]]]]:
        """Numbers and designs by packing."""
        points = zip(self.numbers, self.designs, strict=True)
        return [(key, list(group)) for key, group in itertools.groupby(points, key=lambda point: point[1].packing)]

    def __len__(self) -> int:
        return len(self.numbers)

    def single(self) -> list[Batch]:
        """Return batches of one point each."""
        return [
            Batch((number,), (design,), share=True) for number, design in zip(self.numbers, self.designs, strict=True)
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
        tables = []
        for packing, points in batch.by_packing:
            before = time.perf_counter()
            evaluation.prepare(packing, batch.share)
            preparing += time.perf_counter() - before
            tables.append(evaluation.table([number for number, _ in points], [design for _, design in points]))
        table = pa.concat_tables(tables)
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
    designs : sequence of Design
        All designs of the sample.
    done : frozenset of int
        Numbers of the designs that are finished.
    workers : int
        Number of workers.
    packed : Path, optional
        Folder of the shared packed matrices; those that no further point needs are removed.
    """

    def __init__(
        self, designs: Sequence[Design], done: frozenset[int], workers: int, packed: Path | None = None
    ) -> None:
        self._designs, self._packed = designs, packed
        self._workers = workers
        self._seconds = batch_seconds(workers)
        by_packing: dict[Packing, deque[int]] = defaultdict(deque)
        for number, design in enumerate(designs):
            if number not in done:
                by_packing[design.packing].append(number)
        self._unfinished = Counter({packing: len(points) for packing, points in by_packing.items()})
        self._waiting = deque(by_packing[packing] for packing in sorted(by_packing))
        self._begun: deque[deque[int]] = deque()
        self._point_seconds = BATCH_SECONDS / _FIRST_POINTS
        self._packing_seconds = BATCH_SECONDS
        self._most_points = _FIRST_POINTS

    def __bool__(self) -> bool:
        return bool(self._waiting or self._begun)

    def next(self) -> Batch:
        """Return the next batch: of a new packing while there are fewer packings in work than workers, else in turn."""
        if self._waiting and len(self._begun) < self._workers:
            points, new = self._waiting.popleft(), True
        else:
            points, new = self._begun.popleft(), False
        taken = self._take(points, self._seconds)
        if points:
            self._begun.append(points)
        elif new:
            self._fill_up(taken)
        designs = tuple(self._designs[number] for number in taken)
        return Batch(tuple(taken), designs, share=bool(points) or not new)

    def _take(self, points: deque[int], seconds: float) -> list[int]:
        size = min(max(1, int(seconds / self._point_seconds)), self._most_points, len(points))
        return [points.popleft() for _ in range(size)]

    def _fill_up(self, taken: list[int]) -> None:
        """Add packings, each with all its points, as long as they fit into the batch."""
        left = self._seconds - self._packing_seconds - len(taken) * self._point_seconds
        while self._waiting:
            points = self._waiting[0]
            left -= self._packing_seconds + len(points) * self._point_seconds
            if left < 0 or len(taken) + len(points) > self._most_points:
                return
            taken.extend(self._waiting.popleft())

    def learn(self, finished: Finished) -> list[Packing]:
        """Adapt the batch size to this batch's run time; return the packings whose last points it had."""
        points = len(finished.batch.numbers)
        self._most_points = _MOST_GROWTH * max(points, self._most_points // _MOST_GROWTH**2)
        self._point_seconds = max(finished.seconds / points, 1e-6)
        prepared = finished.preparing_seconds / len(finished.batch.by_packing)
        if prepared > self._point_seconds:  # otherwise the packing was already prepared
            self._packing_seconds = prepared
        completed = []
        for packing, group in finished.batch.by_packing:
            self._unfinished[packing] -= len(group)
            if not self._unfinished[packing]:
                completed.append(packing)
                if self._packed is not None:
                    remove_packed(self._packed, packing)
        return completed


@lru_cache(maxsize=1)
def _evaluation(workload: Path | Workload, packed: Path | None, must_fit: bool) -> Evaluation:
    if isinstance(workload, Path):
        try:
            workload = Workload.open(workload)
        except InputError as error:
            raise InputError(f"a worker has no access to the sweep's arrays: {error}") from error
    return Evaluation(workload, must_fit, packed)
