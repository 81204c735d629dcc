"""Scaling of exhaustive co-designs: `python -m tests.bench.bench_exhaustive` measures two workers, and estimates 1,000.

About ten million designs of a network of three fully connected layers on scikit-learn's digits run on one process and
on two, from nothing to the finished front; both fronts must be equal. Measured separately: Dask's cost of a task, and
what one process does for each finished range (keep it, check it, read it, merge it). The time on a thousand cores is
estimated from these.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from compress.training.fine_tuning import train
from designs import Search, Space, TrainedNetwork
from designs.codesigns.compressions import analyse_compression
from designs.codesigns.exhaustive import (
    EXHAUSTIVE_FILE,
    CompressionRange,
    FinishedRange,
    RangeInputs,
    Ranges,
    _Parts,
    exhaustive_front,
    portable_problem,
)
from designs.codesigns.problem import CodesignProblem
from designs.sweeps.workers import Crew, Processes
from tests.bench.bench_sweep import machine_s_two_processors, processor_seconds, task_seconds
from traces.files.images import load_digits

SPACE = Space(
    {
        "num_pes": (1, 2, 4, 8, 16, 32, 64, 128, 256),
        "queue_slots": (2, 4, 8, 16),
        "line_bits": (32, 64, 128, 256),
        "weight_bits": (3, 4, 5),
        "index_bits": (3, 4, 5, 6),
        "clock_mhz": (400, 800),
    }
)
DENSITIES = tuple(round(0.85**step, 3) for step in range(1, 19))
CORES = 1000
NETWORK_BYTES_PER_SECOND = 1.25e8  # one gigabit a second, the least that a cluster has
CORES_PER_NODE = 32


def digits_problem() -> CodesignProblem:
    """Return the problem of a trained 64-300-100-10 network."""
    images = load_digits()
    torch.manual_seed(0)
    widths = (64, 300, 100, 10)
    module = torch.nn.Sequential()
    for number, (columns, rows) in enumerate(itertools.pairwise(widths)):
        module.add_module(f"fc{number + 1}", torch.nn.Linear(columns, rows))
        if rows != widths[-1]:
            module.add_module(f"relu{number + 1}", torch.nn.ReLU())
    train(module, images.train_images, images.train_labels, 8, 3e-3, 32)
    network = TrainedNetwork(
        "digits",
        module.eval(),
        images.train_images[-300:],
        images.train_labels[-300:],
        images.train_images[-600:-300],
        images.train_labels[-600:-300],
        densities=DENSITIES,
    )
    return CodesignProblem(analyse_compression(network), SPACE, Search())


@dataclass(frozen=True)
class Recorded(Processes):
    """Processes whose finished ranges are recorded."""

    finished: list[FinishedRange] = field(default_factory=list)

    @contextlib.contextmanager
    def start(self, inputs: Any) -> Iterator[Crew[Any, Any]]:
        outer = self
        with super().start(inputs) as crew:

            class Watched:
                workers, capacity = crew.workers, crew.capacity

                def submit(self, batch: CompressionRange) -> None:
                    crew.submit(batch)

                def next(self) -> list[tuple[CompressionRange, FinishedRange | None]]:
                    ended = crew.next()
                    outer.finished.extend(finished for _, finished in ended if finished is not None)
                    return ended

            yield Watched()


def main() -> None:
    torch.set_num_threads(1)
    problem = digits_problem()
    space, arrays = problem.compressions, len(problem.enumeration.grid)
    begin = time.perf_counter()
    portable = portable_problem(problem)
    counting = time.perf_counter() - begin
    sent = len(pickle.dumps(RangeInputs(portable, {})))
    print(f"{space.num_compressions:,} compressions, {arrays:,} arrays; counted in {counting:.1f} s, {sent:,} bytes")
    with tempfile.TemporaryDirectory() as temporary:
        files, finished, rates = [], [], []
        for workers in (1, 2):
            folder, recorded = Path(temporary) / str(workers), Recorded(workers)
            machine = machine_s_two_processors()
            begin, before = time.perf_counter(), processor_seconds()
            front = exhaustive_front(problem, folder, recorded)
            seconds, of_processors = time.perf_counter() - begin, processor_seconds() - before
            working = sum(each.seconds for each in recorded.finished)
            rates.append(front.designs / seconds)
            print(
                f"{workers} workers: {front.designs:,} designs ({front.members:,} members) in {seconds:.1f} s, "
                f"{rates[-1]:,.0f} designs/s; {working / (workers * seconds):.0%} of the workers' time in ranges, "
                f"{front.designs / of_processors:,.0f} designs per second of a processor, start and merging included; "
                f"{len(recorded.finished)} ranges; two loops on this machine now: {machine:.2f} times as fast as one",
                flush=True,
            )
            files.append((folder / EXHAUSTIVE_FILE).read_bytes())
            finished = recorded.finished
        assert files[0] == files[1]
        print(f"two workers {rates[1] / rates[0]:.2f} times as fast as one; the fronts are equal")
        compression_seconds = of_processors / front.compressions
        estimate(problem, finished, compression_seconds, sent, Path(temporary) / "estimate")


def estimate(
    problem: CodesignProblem, finished: list[FinishedRange], compression_seconds: float, sent: int, folder: Path
) -> None:
    """Print the time on a thousand cores: the work shared out, beside what one process does for each range."""
    parts = _Parts(folder, problem)
    begin = time.perf_counter()
    for each in finished:
        parts.keep(each)
    keeping = (time.perf_counter() - begin) / len(finished)
    begin = time.perf_counter()
    found = parts.finished()
    reading = (time.perf_counter() - begin) / len(finished)
    begin = time.perf_counter()
    parts.finish(found)
    merging = (time.perf_counter() - begin) / len(finished)  # reading once more included
    task = task_seconds(finished[-1])
    arrays = len(problem.enumeration.grid)
    print(
        f"one process, for each range: task {task * 1e3:.1f} ms, keeping {keeping * 1e3:.1f} ms, checking "
        f"{reading * 1e3:.1f} ms, reading and merging {merging * 1e3:.1f} ms; {1 / (task + keeping):,.0f} ranges/s "
        f"while workers run; a worker takes {compression_seconds * 1e3:.2f} ms of a processor for a compression"
    )
    for designs in (1e8, 1e9, 1e10):
        compressions = int(designs / arrays)
        ranges, number, longest = Ranges([(0, compressions)], CORES), 0, 0.0
        while ranges:
            batch = ranges.next()
            seconds = len(batch) * compression_seconds
            ranges.learn(FinishedRange(batch, b"", 0, seconds))
            number, longest = number + 1, max(longest, seconds)
        work = compressions * compression_seconds / CORES
        running = max(work, longest, number * (task + keeping))
        after = number * (reading + merging)
        copies = sent * -(-CORES // CORES_PER_NODE) * CORES_PER_NODE / NETWORK_BYTES_PER_SECOND
        print(
            f"{designs:.0e} designs on {CORES:,} cores: {number:,} ranges of up to {longest:.1f} s; work {work:,.1f} s "
            f"on all cores, at least {running:,.1f} s as ranges are handed out and kept one by one, {after:,.1f} s to "
            f"merge, {copies:,.1f} s to send the counts to each core; one core {work * CORES / 3600:,.2f} hours"
        )


if __name__ == "__main__":
    main()
