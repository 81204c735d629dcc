"""The points of a sweep in batches of about half a second: so long that handing one out costs little beside it."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from designs.design import Design, Packing
from designs.results import results_bytes
from designs.sweeps.evaluation import Evaluation
from designs.sweeps.totals import DesignPoint, best_point
from designs.sweeps.workload import Workload
from traces import InputError

BATCH_SECONDS = 0.5
_BATCHES_PER_BATCH_SECONDS = 50  # that one process can hand out and keep, with ease; more workers get longer batches
_FIRST_POINTS = 16  # of a batch, before anything is known of how long a point takes
_MOST_GROWTH = 8  # from one batch to the next


@dataclass(frozen=True)
class Batch:
    """Some points, those of one packing after the other.

    numbers   of the designs in the sample
    share     whether other batches have points of the same packings, so that packed matrices are to be shared
    """

    numbers: tuple[int, ...]
    designs: tuple[Design, ...]
    share: bool

    @property
    def by_packing(self) -> list[tuple[Packing, list[tuple[int, Design]]]]:
        """Numbers and designs of each packing."""
        points = zip(self.numbers, self.designs, strict=True)
        return [(key, list(group)) for key, group in itertools.groupby(points, key=lambda point: point[1].packing)]


@dataclass(frozen=True, eq=False)
class Finished:
    """A batch that is through.

    part      the bytes of a result file
    best      of its points that run every layer, the one of the least energy-delay product; None if there is none
    seconds   for the points;   preparing_seconds   for what they share, packed matrices above all
    """

    batch: Batch
    part: bytes
    best: DesignPoint | None
    seconds: float
    preparing_seconds: float


@dataclass(frozen=True)
class Source:
    """Where a worker finds what batches have in common.

    workload   a folder that it maps, or the workload itself where it sees no such folder
    packed     the folder of packed matrices, or None
    origin     of the result files
    """

    workload: Path | Workload
    packed: Path | None
    must_fit: bool
    origin: Mapping[str, Any]


def batch_seconds(workers: int) -> float:
    """How long batches are to take, for so many workers."""
    return BATCH_SECONDS * max(1.0, workers / _BATCHES_PER_BATCH_SECONDS)


class Batches:
    """The points still to do, in batches of about BATCH_SECONDS, longer for more than some dozens of workers.

    A batch has points of one packing, or all that are left of several. Several workers get the points of one packing
    only when no packing is left that nobody works on.
    """

    def __init__(self, designs: Sequence[Design], done: frozenset[int], workers: int) -> None:
        self._designs = designs
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
        """A batch of the packing whose turn was the longest ago; of a new one, if a worker has none of its own."""
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
        """Add packings that fit into the batch with all their points."""
        left = self._seconds - self._packing_seconds - len(taken) * self._point_seconds
        while self._waiting:
            points = self._waiting[0]
            left -= self._packing_seconds + len(points) * self._point_seconds
            if left < 0 or len(taken) + len(points) > self._most_points:
                return
            taken.extend(self._waiting.popleft())

    def learn(self, finished: Finished) -> list[Packing]:
        """Make batches longer or shorter, as this one took; the packings of which it was the last to be finished."""
        points = len(finished.batch.numbers)
        self._most_points = _MOST_GROWTH * max(points, self._most_points // _MOST_GROWTH**2)
        self._point_seconds = max(finished.seconds / points, 1e-6)
        prepared = finished.preparing_seconds / len(finished.batch.by_packing)
        if prepared > self._point_seconds:  # else it had been prepared before
            self._packing_seconds = prepared
        through = []
        for packing, group in finished.batch.by_packing:
            self._unfinished[packing] -= len(group)
            if not self._unfinished[packing]:
                through.append(packing)
        return through


def single_points(batch: Batch) -> list[Batch]:
    """The same points, one by one."""
    return [
        Batch((number,), (design,), share=True) for number, design in zip(batch.numbers, batch.designs, strict=True)
    ]


def run_batch(batch: Batch, source: Source) -> Finished:
    """What a worker does; what batches have in common, it keeps from one to the next."""
    begin = time.perf_counter()
    evaluation = _evaluation(source.workload, source.packed, source.must_fit)
    preparing = time.perf_counter() - begin
    tables = []
    for packing, points in batch.by_packing:
        before = time.perf_counter()
        evaluation.prepare(packing, batch.share)
        preparing += time.perf_counter() - before
        tables.append(evaluation.table([number for number, _ in points], [design for _, design in points]))
    table = pa.concat_tables(tables)
    part = results_bytes(table, source.origin)
    best = best_point(table)
    return Finished(batch, part, best, time.perf_counter() - begin - preparing, preparing)


@lru_cache(maxsize=1)
def _evaluation(workload: Path | Workload, packed: Path | None, must_fit: bool) -> Evaluation:
    if isinstance(workload, Path):
        try:
            workload = Workload.open(workload)
        except InputError as error:
            raise InputError(f"a worker does not see the sweep's arrays: {error}") from error
    return Evaluation(workload, must_fit, packed)


def forget() -> None:
    """Let go of what this process kept from batch to batch."""
    _evaluation.cache_clear()
