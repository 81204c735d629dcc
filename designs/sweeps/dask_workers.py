"""Workers of a Dask scheduler, on this machine or elsewhere (extra `cluster`).

Whoever can connect to a scheduler can run code in its workers, and its workers can send code to this process. So the
scheduler of this machine takes this process alone, and one elsewhere should talk TLS, with certificates that Dask's own
configuration names (`distributed.comm.tls`).
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from designs.sweeps.workers import Crew, Work, WorkInputs, number_of_workers
from traces import InputError
from traces.plain_values import shown, text

_Work = TypeVar("_Work", bound=Work)
_Result = TypeVar("_Result")

_BATCHES_PER_WORKER = 2  # one runs while the other one waits, so that no worker is idle
_PATIENCE_SECONDS = 60  # to find a scheduler, and then its first worker
_ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?([\w.-]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}")

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
        Address of the scheduler, such as tls://HOST:8786. None: a cluster of this machine is started for the run, which
        takes no other client.
    number : int
        Processes of the cluster of this machine, 1 to 1,024.
    apart : bool
        True: the workers are other processes than this one.

    Raises
    ------
    InputError
        If Dask is not installed, or a value is invalid.

    Notes
    -----
    The certificates for an address with tls:// are those of Dask's configuration, `distributed.comm.tls`.
    """

    address: str | None = None
    number: int = 2
    apart: bool = True

    def __post_init__(self) -> None:
        if self.address is not None and not _ADDRESS.fullmatch(text("a scheduler's address", self.address)):
            raise InputError(
                f"a scheduler's address must be like tls://HOST:8786 or tcp://HOST:8786; found {shown(self.address)}"
            )
        object.__setattr__(self, "number", number_of_workers(self.number))
        for module in ("distributed",) if self.address else ("distributed", "cryptography"):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                raise InputError(
                    "a cluster needs Dask and cryptography, which are not both installed; install the extra: "
                    "pip install 'eie-codesign[cluster]'"
                ) from None

    @contextlib.contextmanager
    def start(self, inputs: WorkInputs[_Work, _Result]) -> Iterator[Crew[_Work, _Result]]:
        """Connect to the scheduler; raise InputError if it has no worker."""
        distributed: Any = importlib.import_module("distributed")
        with contextlib.ExitStack() as stack:
            if self.address is None:
                dask: Any = importlib.import_module("dask")
                usual = dask.config.get("distributed.nanny.pre-spawn-environ")
                environ = {name: value for name, value in usual.items() if name != _TRIM}
                stack.enter_context(dask.config.set(_QUIET | {"distributed.nanny.pre-spawn-environ": environ}))
                local: Any = importlib.import_module("designs.sweeps.local_cluster")
                scheduler: Any = stack.enter_context(local.local_cluster(self.number))
            else:
                scheduler = self.address
                _check_certificates(self.address)
            try:
                client = stack.enter_context(distributed.Client(scheduler, timeout=_PATIENCE_SECONDS))
                client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(
                    f"{self.address or 'the local cluster'}: there must be a Dask scheduler with at least one worker: "
                    f"{error}; give its address, such as tls://HOST:8786, and check the certificates of both sides"
                ) from error
            yield _DaskCrew(client, inputs)


def _check_certificates(address: str) -> None:
    """Raise InputError if the address asks for TLS and Dask's configuration names no usable certificates."""
    if not address.startswith(("tls://", "wss://")):
        return
    security: Any = importlib.import_module("distributed.security").Security()
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except (OSError, TypeError, ValueError) as error:  # OSError: a file that is missing, or holds no certificate
        raise InputError(
            f"{address}: the certificates that distributed.comm.tls names must be readable: {error}"
        ) from None
    if context is None:
        raise InputError(
            f"{address}: TLS needs the certificates of this client; set ca-file, client.cert and client.key of "
            f"distributed.comm.tls in Dask's configuration, or DASK_DISTRIBUTED__COMM__TLS__CA_FILE and its like"
        )


class _DaskCrew(Generic[_Work, _Result]):
    def __init__(self, client: Any, inputs: WorkInputs[_Work, _Result]) -> None:
        distributed: Any = importlib.import_module("distributed")
        self._client = client
        self._distributed = distributed
        self._inputs = _shared_inputs(client, inputs)
        self._batches: dict[Any, _Work] = {}
        self._completed = distributed.as_completed()

    @property
    def workers(self) -> int:
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def capacity(self) -> int:
        return _BATCHES_PER_WORKER * self.workers

    def submit(self, batch: _Work) -> None:
        # if the inputs are a future, Dask gives the worker its one copy
        future = self._client.submit(_run, batch, self._inputs, pure=False)
        self._batches[future] = batch
        self._completed.add(future)

    def next(self) -> list[tuple[_Work, _Result | None]]:
        ended: list[tuple[_Work, _Result | None]] = []
        for future in [next(self._completed)]:
            batch = self._batches.pop(future)
            try:
                ended.append((batch, future.result()))
            except self._distributed.KilledWorker:
                ended.append((batch, None))
            except self._distributed.client.FutureCancelledError as error:
                raise InputError(
                    f"the scheduler has gone: {error}; finished batches are kept; run the same again to continue"
                ) from error
        return ended


def _run(batch: _Work, inputs: WorkInputs[_Work, _Result]) -> _Result:
    return inputs.run(batch)


def _shared_inputs(client: Any, inputs: WorkInputs[_Work, _Result]) -> Any:
    """Return inputs that every worker can use; if they are large, a future of a copy that each worker has."""
    usable = inputs.accessible(lambda function, *arguments: [*client.run(function, *arguments).values()])
    return client.scatter(usable, broadcast=True) if usable.in_memory else usable
