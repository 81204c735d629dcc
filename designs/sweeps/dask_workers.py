"""Workers of a Dask scheduler: on this machine, or wherever Dask's own deployments start them (extra `cluster`)."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designs.sweeps.batches import Batch, Finished, Source, run_batch
from designs.sweeps.workers import Crew
from designs.sweeps.workload import Workload
from traces import InputError

_BATCHES_PER_WORKER = 2  # one that runs and one that waits, so that no worker does
_PATIENCE_SECONDS = 60  # for a scheduler, and for the first worker

# What Dask's workers do beside their work takes a tenth of their time: they look at what they do a hundred times a
# second, at memory and clock often, and give freed memory back at once, only to ask for it again.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
}
_TRIM = "MALLOC_TRIM_THRESHOLD_"


@dataclass(frozen=True)
class Cluster:
    """The workers of a scheduler at `address`; without one, a LocalCluster of so many processes, started for a sweep.

    Raises InputError if Dask is not installed.
    """

    address: str | None = None
    number: int = 2
    apart: bool = True

    def __post_init__(self) -> None:
        try:
            importlib.import_module("distributed")
        except ModuleNotFoundError:
            raise InputError(
                "a cluster needs Dask, which is not installed; install the extra: pip install 'eie-codesign[cluster]'"
            ) from None
        if not 1 <= self.number <= 1024:
            raise InputError(f"workers must be 1 to 1,024 processes; found {self.number}")

    @contextlib.contextmanager
    def start(self, source: Source) -> Iterator[Crew]:
        distributed: Any = importlib.import_module("distributed")
        with contextlib.ExitStack() as stack:
            if self.address is None:
                dask: Any = importlib.import_module("dask")
                usual = dask.config.get("distributed.nanny.pre-spawn-environ")
                environ = {name: value for name, value in usual.items() if name != _TRIM}
                stack.enter_context(dask.config.set(_QUIET | {"distributed.nanny.pre-spawn-environ": environ}))
                where: Any = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=self.number, threads_per_worker=1, processes=True, dashboard_address=None
                    )
                )
            else:
                where = self.address
            try:
                client = stack.enter_context(distributed.Client(where, timeout=_PATIENCE_SECONDS))
                client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(
                    f"{self.address or 'the local cluster'}: there is no Dask scheduler with at least one worker: "
                    f"{error}; give its address, such as tcp://HOST:8786"
                ) from error
            yield _DaskCrew(client, source)


class _DaskCrew:
    def __init__(self, client: Any, source: Source) -> None:
        distributed: Any = importlib.import_module("distributed")
        self._client = client
        self._distributed = distributed
        self._source = _where_workers_see_it(client, source)
        self._batches: dict[Any, Batch] = {}
        self._completed = distributed.as_completed()

    @property
    def workers(self) -> int:
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def capacity(self) -> int:
        return _BATCHES_PER_WORKER * self.workers

    def submit(self, batch: Batch) -> None:
        # The workload is an argument of its own: where it is a future, Dask gives the worker its one copy.
        source = dataclasses.replace(self._source, workload=Path())
        future = self._client.submit(_run, batch, source, self._source.workload, pure=False)
        self._batches[future] = batch
        self._completed.add(future)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        through: list[tuple[Batch, Finished | None]] = []
        for future in [next(self._completed)]:
            batch = self._batches.pop(future)
            try:
                through.append((batch, future.result()))
            except self._distributed.KilledWorker:
                through.append((batch, None))
            except self._distributed.client.FutureCancelledError as error:
                raise InputError(
                    f"the scheduler has gone: {error}; finished points are kept: run the same command again to go on"
                ) from error
        return through


def _run(batch: Batch, source: Source, workload: Path | Workload) -> Finished:
    return run_batch(batch, dataclasses.replace(source, workload=workload))


def _where_workers_see_it(client: Any, source: Source) -> Source:
    """The source as it is if every worker sees its folder; else with the arrays sent to each worker, once."""
    assert isinstance(source.workload, Path)
    folder = source.workload.resolve()
    digest = Workload.digest_in(folder)
    found = client.run(Workload.digest_in, str(folder))
    if all(each == digest for each in found.values()):
        packed = None if source.packed is None else source.packed.resolve()
        return dataclasses.replace(source, workload=folder, packed=packed)
    workload = client.scatter(Workload.open(folder), broadcast=True)
    return dataclasses.replace(source, workload=workload, packed=None)
