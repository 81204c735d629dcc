"""Scaling of sweeps: `python -m tests.bench.bench_sweep` prints ratios of one run, then an estimate for a cluster.

One sweep of 10,080 points over the nine layers of the EIE benchmark runs in one process, and in turns in two processes
and on two workers of a local Dask cluster, each from nothing to the finished table. All tables must be equal. Measured
separately: Dask's cost of a task, the cost of keeping a finished batch, and the bytes sent in both directions. The time
of a million points on a thousand cores is estimated from these.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import pickle
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs import Design, Space, Workload, sample, sweep
from designs.results import ResultFile, provenance, read_results_bytes, results_bytes
from designs.sweeps.batches import MOST_ROWS, Batch, SweepInputs, batch_seconds
from designs.sweeps.dask_workers import Cluster
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.evaluation import SWEEP_COLUMNS
from designs.sweeps.folder import SweepFolder
from designs.sweeps.sampling import Sample
from designs.sweeps.workers import Processes, Workers
from designs.sweeps.workload_source import EIE, open_workload

SPACE = Space(
    {
        "num_pes": (16, 32, 48, 64, 96, 128, 192, 256),
        "index_bits": (4, 5, 6),
        "row_assignment": ("interleaved", "entries", "activity"),
        "queue_slots": (4, 8, 16, 32, 64),
        "line_bits": (64, 128, 256, 512),
        "clock_mhz": (200, 300, 400, 500, 600, 700, 800),
    }
)
CORES, POINTS = 1000, 1_000_000
NETWORK_BYTES_PER_SECOND = 1.25e8  # one gigabit a second, the least that a cluster has
CORES_PER_NODE = 32
ROUNDS = 3
LOOP = 20_000_000


@dataclass(frozen=True)
class Costs:
    """Measurements of sweeps of one kind."""

    point_seconds: float  # of a worker, packed matrices and all
    points_per_batch: float
    task_seconds: float  # of the scheduler and the client
    keeping_seconds: float  # of a batch's part, written and later put together, by the point
    sent_bytes: float  # by the point
    received_bytes: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the estimate, line by line."""
        tasks = POINTS / self.points_per_batch
        work = POINTS * self.point_seconds / CORES
        scheduling = tasks * self.task_seconds
        keeping = POINTS * self.keeping_seconds
        moved = POINTS * (self.sent_bytes + self.received_bytes)
        network = moved / NETWORK_BYTES_PER_SECOND
        longest = max(work, scheduling + keeping, network)
        return [
            ("points a batch", f"{self.points_per_batch:,.0f}"),
            ("a worker's time for a point", f"{self.point_seconds * 1e3:.2f} ms"),
            ("work, on all cores at once", f"{work:,.0f} s"),
            ("scheduler and client, tasks one by one", f"{scheduling:,.0f} s ({tasks:,.0f} tasks)"),
            ("keeping the results, one by one", f"{keeping:,.0f} s"),
            ("bytes to and from the workers", f"{moved / 1e9:.1f} GB, {network:,.0f} s at 1 Gbit/s"),
            ("all of it, at least", f"{longest:,.0f} s"),
            ("cores that are kept busy", f"{min(1.0, work / longest):.0%}"),
        ]


def timed(workload: Workload, chosen: Sample, workers: Workers, folder: Path) -> tuple[float, float, pa.Table]:
    """Return seconds by the clock, seconds of all processors, and the table."""
    begin, before = time.perf_counter(), processor_seconds()
    table = sweep(workload, chosen, folder=folder, workers=workers, fresh=True)
    return time.perf_counter() - begin, processor_seconds() - before, table


def processor_seconds() -> float:
    """Return the processor seconds of this process and of its ended child processes."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def ratios(each: Sequence[float], form: str) -> str:
    """Return the median and the range in words."""
    return f"{statistics.median(each):{form}} ({min(each):{form}} to {max(each):{form}})"


def count_up(number: int) -> float:
    """Return the seconds of a loop that needs only a processor."""
    begin = time.perf_counter()
    for _ in range(number):
        pass
    return time.perf_counter() - begin


def machine_s_two_processors() -> float:
    """Return the speedup of two processes over one on two loops now: 2 on an otherwise idle machine."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(count_up, [1, 1], chunksize=1)
        alone = pool.apply(count_up, (LOOP,))
        return 2 * alone / max(pool.map(count_up, [LOOP, LOOP], chunksize=1))


def main() -> None:
    workload, chosen = open_workload([EIE]), sample(SPACE)
    print(f"{len(chosen.designs):,} points, {len({d.packing for d in chosen.designs})} packings, nine layers")
    one, two, dask = "one process", "two processes", "Dask, two workers"
    crews: dict[str, Workers] = {one: Processes(1), two: Processes(2), dask: Cluster()}
    with tempfile.TemporaryDirectory() as folder:
        clock: dict[str, list[float]] = {name: [] for name in crews}
        processors: dict[str, list[float]] = {name: [] for name in crews}
        machine = [machine_s_two_processors()]
        first = None
        for name in (one, *(two, dask) * ROUNDS):
            seconds, of_processors, table = timed(workload, chosen, crews[name], Path(folder) / "sweep")
            clock[name].append(seconds)
            processors[name].append(of_processors)
            machine.append(machine_s_two_processors())
            first = table if first is None else first
            assert table.equals(first), name
            rate = len(chosen.designs) / seconds
            print(f"  {name}: {seconds:.1f} s, {rate:,.0f} points/s; processors {of_processors:.1f} s", flush=True)
        times_as_fast = [clock[one][0] / seconds for seconds in clock[two]]
        print(
            f"two processes {ratios(times_as_fast, '.2f')} times as fast as one, where two loops are "
            f"{min(machine):.2f} to {max(machine):.2f} times as fast as one"
        )
        for what, seconds_of in (("by the clock", clock), ("in processor time", processors)):
            more = [after / before - 1 for before, after in zip(seconds_of[two], seconds_of[dask], strict=True)]
            print(f"Dask {ratios(more, '+.1%')} {what} beside two processes", flush=True)
        for title, costs in (
            ("points that share packed matrices, as above", shared_costs(workload, chosen.designs, Path(folder))),
            ("points of which each has packed matrices of its own", single_costs(workload, Path(folder))),
        ):
            print(f"\n{POINTS:,} points on {CORES:,} cores; {title}")
            for what, figure in costs.rows():
                print(f"  {what:42} {figure}")
        arrays = sum(path.stat().st_size for path in (Path(folder) / "workload").iterdir())
        nodes = -(-CORES // CORES_PER_NODE)
        print(
            f"\nThe workload's arrays, once: {arrays / 1e6:.0f} MB to each of {nodes} nodes of {CORES_PER_NODE} cores "
            f"that map the same file, {arrays * nodes / 1e9:.0f} GB; to each of {CORES:,} workers, where they "
            f"must be sent, {arrays * CORES / 1e9:.0f} GB"
        )


def shared_costs(workload: Workload, designs: Sequence[Design], folder: Path) -> Costs:
    """Measure batches of one packing each, whose matrices are packed once."""
    by_packing: dict[Any, list[Design]] = {}
    for design in designs:
        by_packing.setdefault(design.packing, []).append(design)
    return _costs(workload, list(by_packing.values())[::5], folder)  # some of each kind


def single_costs(workload: Workload, folder: Path) -> Costs:
    """Measure batches of four packings with one point each."""
    points = sample(Space({"num_pes": (24, 40, 80, 160), "index_bits": (4, 5)})).designs
    return _costs(workload, [points[0::2], points[1::2]], folder)


def _costs(workload: Workload, batches: Sequence[Sequence[Design]], folder: Path) -> Costs:
    if not (folder / "workload").exists():
        workload.write(folder / "workload")
    origin = provenance({"benchmark": "sweep"})
    inputs = SweepInputs(folder / "workload", None, False, origin)
    inputs.run(_batch(batches[0][:1]))  # kernels are loaded, and the workload is mapped
    inputs.forget()
    finished = [inputs.run(_batch(batch)) for batch in batches]
    inputs.forget()
    points = sum(map(len, batches))
    point_seconds = sum(each.seconds + each.preparing_seconds for each in finished) / points
    longer = round(batch_seconds(CORES) / point_seconds / len(batches[0]))  # a thousand cores get longer batches
    longer = max(1, min(longer, MOST_ROWS // (len(workload.layers) * len(batches[0]))))
    part = results_bytes(pa.concat_tables([read_results_bytes(finished[0].part)] * longer), origin)
    as_long = dataclasses.replace(finished[0], part=part)
    points_per_batch = longer * len(batches[0])
    return Costs(
        point_seconds=point_seconds,
        points_per_batch=points_per_batch,
        task_seconds=task_seconds(as_long),
        keeping_seconds=_keeping_seconds(part, folder) / points_per_batch,
        sent_bytes=sum(len(pickle.dumps((each.batch, inputs))) for each in finished) / points,
        received_bytes=len(part) / points_per_batch,
    )


def _batch(designs: Sequence[Design]) -> Batch:
    return Batch(np.arange(len(designs)), DesignRows.of(designs), share=False)


def _keeping_seconds(part: bytes, folder: Path, parts: int = 20) -> float:
    """Return the seconds to write one part and read it."""
    with tempfile.TemporaryDirectory(dir=folder) as place, SweepFolder(Path(place), {}) as kept:
        begin = time.perf_counter()
        for number in range(parts):
            kept.keep(number, part)
        for path in kept.parts.iterdir():
            ResultFile(path, SWEEP_COLUMNS).table()
        return (time.perf_counter() - begin) / parts


def task_seconds(finished: Any) -> float:
    """Return Dask's seconds per task without work, on two workers: the median of three rounds."""
    distributed: Any = importlib.import_module("distributed")
    rounds = []
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for _ in range(3):
            begin = time.perf_counter()
            futures = [client.submit(_give_back, finished, number, pure=False) for number in range(200)]
            for _, _result in distributed.as_completed(futures, with_results=True):
                pass
            rounds.append((time.perf_counter() - begin) / len(futures))
    return statistics.median(rounds)


def _give_back(finished: Any, number: int) -> Any:
    return finished


if __name__ == "__main__":
    main()
