"""Dask cluster of processes on this machine that no other user can connect to; imported where Dask is installed.

Dask unpickles and runs what a client sends, and its ports are open to every user of a machine. So scheduler and workers
talk TLS and take only clients with the certificate of this run, which is in memory alone. The HTTP servers, which Dask
starts even without a dashboard and which name the scheduler, are left out.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from typing import Any

import distributed
from distributed.security import Security
from distributed.worker_memory import parse_memory_limit


class SchedulerWithoutHttp(distributed.Scheduler):
    """Scheduler without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start nothing."""


class WorkerWithoutHttp(distributed.Worker):
    """Worker without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start nothing."""


@contextlib.contextmanager
def local_cluster(number: int) -> Iterator[Any]:
    """Start a scheduler in this process and `number` worker processes of one thread each; yields the Dask cluster."""
    temporary: Any = Security.temporary
    started: Any = distributed.SpecCluster
    security = temporary()
    common = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
    with tempfile.TemporaryDirectory(prefix="codesign-workers-") as folder:  # of mode 700: spilled data are pickles
        nanny = common | {
            "nthreads": 1,
            "worker_class": WorkerWithoutHttp,
            "dashboard": False,
            "local_directory": folder,
            "memory_limit": parse_memory_limit("auto", 1, number, logger=logging.getLogger(__name__)),
            "silence_logs": logging.WARNING,
        }
        worker = {"cls": distributed.Nanny, "options": nanny}
        scheduler = {"cls": SchedulerWithoutHttp, "options": common | {"port": 0, "dashboard": False}}
        with started(
            scheduler=scheduler,
            workers=dict.fromkeys(range(number), worker),
            worker=worker,
            security=security,
            silence_logs=logging.WARNING,
        ) as cluster:
            yield cluster
