"""Workers of a Dask scheduler, on this machine or elsewhere (extra `cluster`)."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from designs.sweeps.batches import Batch, Finished, SweepInputs, run_batch
from designs.sweeps.workers import Crew
from designs.sweeps.workload import Workload
from traces import InputError

_BATCHES_PER_WORKER = 2  # one runs while the other one waits, so that no worker is idle
_PATIENCE_SECONDS = 60  # to find a scheduler, and then its first worker

# By default Dask's workers profile themselves a hundred times a second, poll memory and clock often, and return freed
# memory at once only to request it again: 10 % overhead.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
}
_TRIM = "MALLOC_TRIM_THRESHOLD_"


@dataclass(frozen=True)
class Cluster:
    """Workers of a Dask scheduler.

    Attributes
    ----------
    address : str, optional
        Address of the scheduler, such as tcp://HOST:8786. None: a LocalCluster is started for the sweep.
    number : int
        Processes of the LocalCluster, 1 to 1,024.
    apart : bool
        True: the workers are other processes than this one.

    Raises
    ------
    InputError
        If Dask is not installed.
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
    def start(self, inputs: SweepInputs) -> Iterator[Crew]:
        """Connect to the scheduler; raise InputError if it has no worker."""
        distributed: Any = importlib.import_module("distributed")
        with contextlib.ExitStack() as stack:
            if self.address is None:
                dask: Any = importlib.import_module("dask")
                usual = dask.config.get("distributed.nanny.pre-spawn-environ")
                environ = {name: value for name, value in usual.items() if name != _TRIM}
                stack.enter_context(dask.config.set(_QUIET | {"distributed.nanny.pre-spawn-environ": environ}))
                scheduler: Any = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=self.number, threads_per_worker=1, processes=True, dashboard_address=None
                    )
                )
            else:
                scheduler = self.address
            try:
                client = stack.enter_context(distributed.Client(scheduler, timeout=_PATIENCE_SECONDS))
                client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(
                    f"{self.address or 'the local cluster'}: there must be a Dask scheduler with at least one worker: "
                    f"{error}; give its address, such as tcp://HOST:8786"
                ) from error
            yield _DaskCrew(client, inputs)


class _DaskCrew:
    def __init__(self, client: Any, inputs: SweepInputs) -> None:
        distributed: Any = importlib.import_module("distributed")
        self._client = client
        self._distributed = distributed
        self._inputs = _accessible_inputs(client, inputs)
        self._batches: dict[Any, Batch] = {}
        self._completed = distributed.as_completed()

    @property
    def workers(self) -> int:
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def capacity(self) -> int:
        return _BATCHES_PER_WORKER * self.workers

    def submit(self, batch: Batch) -> None:
        # The workload is an argument of its own: if it is a future, Dask gives the worker its one copy.
        inputs = dataclasses.replace(self._inputs, workload=Path())
        future = self._client.submit(_run, batch, inputs, self._inputs.workload, pure=False)
        self._batches[future] = batch
        self._completed.add(future)

    def next(self) -> list[tuple[Batch, Finished | None]]:
        ended: list[tuple[Batch, Finished | None]] = []
        for future in [next(self._completed)]:
            batch = self._batches.pop(future)
            try:
                ended.append((batch, future.result()))
            except self._distributed.KilledWorker:
                ended.append((batch, None))
            except self._distributed.client.FutureCancelledError as error:
                raise InputError(
                    f"the scheduler has gone: {error}; finished points are kept; run the same sweep again to continue"
                ) from error
        return ended


def _run(batch: Batch, inputs: SweepInputs, workload: Path | Workload) -> Finished:
    return run_batch(batch, dataclasses.replace(inputs, workload=workload))


def _accessible_inputs(client: Any, inputs: SweepInputs) -> SweepInputs:
    """Return the inputs unchanged if every worker can read the folder; otherwise send each worker the arrays, once."""
    assert isinstance(inputs.workload, Path)
    folder = inputs.workload.resolve()
    digest = Workload.digest_in(folder)
    digests = client.run(Workload.digest_in, str(folder))
    if all(each == digest for each in digests.values()):
        packed = None if inputs.packed is None else inputs.packed.resolve()
        return dataclasses.replace(inputs, workload=folder, packed=packed)
    workload = client.scatter(Workload.open(folder), broadcast=True)
    return dataclasses.replace(inputs, workload=workload, packed=None)
