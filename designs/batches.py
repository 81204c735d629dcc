"""The points of a sweep in batches: each of one packing, and of as many points as take about half a second."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from designs.design import Design, Packing
from designs.evaluation import Evaluation
from designs.results import results_bytes
from designs.totals import DesignPoint, best_point
from designs.workload import Workload
from traces import InputError

BATCH_SECONDS = 0.5
_FIRST_POINTS = 16  # of a batch, before anything is known of how long a point takes
_MOST_GROWTH = 8


@dataclass(frozen=True)
class Batch:
    """Some points of one packing.

    numbers   of the designs in the sample
    share     whether other batches are of the same packing, so that the packed matrices are to be shared
    """

    numbers: tuple[int, ...]
    designs: tuple[Design, ...]
    share: bool


@dataclass(frozen=True, eq=False)
class Finished:
    """A batch that is through.

    part      the bytes of a result file
    best      of its points that run every layer, the one of the least energy-delay product; None if there is none
    seconds   for the points; preparing_seconds   for what they share, packed matrices above all
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


class Batches:
    """The points still to do. A packing is given to one worker after the other only when no new one is left."""

    def __init__(self, designs: Sequence[Design], done: frozenset[int], workers: int) -> None:
        self._designs = designs
        self._workers = workers
        by_packing: dict[Packing, deque[int]] = defaultdict(deque)
        for number, design in enumerate(designs):
            if number not in done:
                by_packing[design.packing].append(number)
        self._waiting = deque(sorted(by_packing.items()))
        self._begun: list[tuple[Packing, deque[int]]] = []
        self._points_per_batch: dict[Packing, int] = {}
        self._usual = _FIRST_POINTS

    def __bool__(self) -> bool:
        return bool(self._waiting or self._begun)

    def next(self) -> Batch:
        """A batch of the packing that has been looked at least, a new one if there is any."""
        if self._waiting and len(self._begun) < self._workers:
            self._begun.append(self._waiting.popleft())
        else:
            self._begun.append(self._begun.pop(0))
        packing, numbers = self._begun[-1]
        size = min(self._points_per_batch.get(packing, self._usual), len(numbers))
        share = size < len(numbers) or packing in self._points_per_batch
        taken = tuple(numbers.popleft() for _ in range(size))
        self._points_per_batch.setdefault(packing, self._usual)
        if not numbers:
            self._begun.pop()
        return Batch(taken, tuple(self._designs[number] for number in taken), share)

    def learn(self, finished: Finished) -> None:
        """Make batches longer or shorter, as this one took."""
        points = len(finished.batch.numbers)
        wanted = int(points * BATCH_SECONDS / max(finished.seconds, 1e-6))
        size = max(1, min(wanted, _MOST_GROWTH * points))
        self._points_per_batch[finished.batch.designs[0].packing] = self._usual = size


def single_points(batch: Batch) -> list[Batch]:
    """The same points, one by one."""
    return [
        Batch((number,), (design,), share=True) for number, design in zip(batch.numbers, batch.designs, strict=True)
    ]


def run_batch(batch: Batch, source: Source) -> Finished:
    """What a worker does; what batches have in common, it keeps from one to the next."""
    begin = time.perf_counter()
    evaluation = _evaluation(source.workload, source.packed, source.must_fit)
    evaluation.prepare(batch.designs[0].packing, batch.share)
    prepared = time.perf_counter()
    table = evaluation.table(batch.numbers, batch.designs)
    part = results_bytes(table, source.origin)
    best = best_point(table)
    return Finished(batch, part, best, time.perf_counter() - prepared, prepared - begin)


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
