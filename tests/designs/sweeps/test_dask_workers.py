"""Sweeps on Dask: real worker processes, one of them killed, arrays sent without common files, and no strangers."""

from __future__ import annotations

import copy
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designs import Space, Workload, sweep
from designs.sweeps.batches import SweepInputs
from designs.sweeps.dask_workers import Cluster, _shared_inputs
from tests.bad_values import NO_TEXTS, NO_WHOLE_NUMBERS
from tests.designs.sweeps.test_folder import POINTS, SPACE, WORKLOAD
from traces import InputError
from traces.eie_benchmark import EIE_BENCHMARK

psutil = pytest.importorskip("psutil", reason="comes with Dask: install the extra 'cluster'")
dask = pytest.importorskip("dask", reason="needs Dask: install the extra 'cluster'")
distributed = pytest.importorskip("distributed", reason="needs Dask: install the extra 'cluster'")


@pytest.fixture(scope="module")
def cluster() -> Any:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as started:
        yield started


def test_a_cluster_gives_the_table_of_one_process(cluster: Any, tmp_path: Path) -> None:
    table = sweep(WORKLOAD, SPACE, folder=tmp_path, workers=Cluster(cluster.scheduler_address))
    assert table.equals(sweep(WORKLOAD, SPACE))


def test_a_worker_of_a_cluster_that_is_killed_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    layer, values = EIE_BENCHMARK["NT-LSTM"].draw()
    workload = Workload.of_layers("NT-LSTM", [layer], {"NT-LSTM": values[None]})
    space = Space({"num_pes": list(range(1, 25)), "queue_slots": [2, 4, 8, 16], "row_assignment": "activity"})
    killed = []
    finished = threading.Event()

    def kill_one_that_works() -> None:
        while len(list((tmp_path / "parts").glob("[0-9]*.parquet"))) < 2:
            if finished.wait(0.01):
                return
        with distributed.Client(cluster.scheduler_address, asynchronous=False) as client:
            killed.append(next(iter(client.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one_that_works)
    killer.start()
    table = sweep(workload, space, folder=tmp_path, workers=Cluster(cluster.scheduler_address))
    finished.set()
    killer.join()
    assert killed
    assert table["point"].to_pylist() == list(range(96))
    assert table.equals(sweep(workload, space))


def test_arrays_are_sent_once_where_workers_do_not_see_the_folder(cluster: Any, tmp_path: Path) -> None:
    WORKLOAD.write(tmp_path)
    inputs = SweepInputs(tmp_path, tmp_path / "packed", False, {})
    with distributed.Client(cluster.scheduler_address) as client:
        client.wait_for_workers(2, timeout=60)  # the successor of a worker that was killed may be still starting
        assert _shared_inputs(client, inputs) == inputs
        client_run, client.run = client.run, lambda *_: {"somewhere else": None}
        sent = _shared_inputs(client, inputs)
        client.run = client_run
        assert isinstance(sent, distributed.Future)
        assert all(len(workers) == 2 for workers in client.who_has([sent]).values())
        found = client.submit(lambda inputs: (inputs.workload.digest, inputs.packed), sent).result()
        assert found == (WORKLOAD.digest, None)


def test_a_worker_that_does_not_see_the_arrays_says_so(tmp_path: Path) -> None:
    from designs.sweeps.batches import Batches
    from designs.sweeps.sampling import sample

    batch = Batches(sample(SPACE).designs, np.zeros(POINTS, dtype=np.bool_), 1).next()
    with pytest.raises(InputError, match=r"a worker has no access to the sweep's arrays: .* a complete workload"):
        SweepInputs(tmp_path, None, False, {}).run(batch)


def test_a_cluster_that_is_not_there_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("designs.sweeps.dask_workers._PATIENCE_SECONDS", 1)
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9: there must be a Dask scheduler with at least one"):
        sweep(WORKLOAD, SPACE, folder=tmp_path, workers=Cluster("tcp://127.0.0.1:9"))
    for missing in ("cryptography", "distributed"):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(InputError, match=r"a cluster needs Dask and .* pip install 'eie-codesign\[cluster\]'"):
            Cluster()


@pytest.mark.parametrize(
    "address",
    [
        "tcp://",
        "host",
        "tcp://host",
        "foo://host:1",
        "file:///etc:1",
        "a b:1",
        "tcp://host:1\n",
        *(value for value in ("", *NO_TEXTS.values()) if value is not None),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_starts(address: Any) -> None:
    with pytest.raises(InputError, match="a scheduler's address must be"):
        Cluster(address)


@pytest.mark.parametrize("number", [0, 1025, *NO_WHOLE_NUMBERS.values()])
def test_a_number_of_workers_is_whole(number: Any) -> None:
    with pytest.raises(InputError, match="workers must be a whole number from 1 to 1,024"):
        Cluster(number=number)


def listening_ports() -> set[tuple[str, int]]:
    """Return the addresses at which this process and its children listen."""
    this = psutil.Process()
    processes = [this, *this.children(recursive=True)]
    found = [connection for process in processes for connection in process.net_connections(kind="all")]
    return {tuple(each.laddr) for each in found if each.status == psutil.CONN_LISTEN}


def test_a_local_cluster_takes_no_client_but_its_own(tmp_path: Path) -> None:
    before = listening_ports()
    stranger = distributed.security.Security.temporary()
    with Cluster(number=1).start(SweepInputs(tmp_path, None, False, {})) as crew:
        assert crew.workers == 1
        ports = listening_ports() - before
        assert len(ports) == 3  # scheduler, nanny, worker: no HTTP
        for host, port in ports:
            assert host == "127.0.0.1"
            assert not _answers_http(host, port)
            assert not _answers_tls(host, port)
            for scheme, security in (("tcp", None), ("tls", stranger)):
                with pytest.raises((OSError, TimeoutError)):
                    _connect(f"{scheme}://{host}:{port}", security)


def _answers_http(host: str, port: int) -> bool:
    """Return whether a port answers plain HTTP with more than the alert of TLS."""
    try:
        with socket.create_connection((host, port), timeout=5) as stream:
            stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return stream.recv(100)[:1] not in (b"", b"\x15")
    except ConnectionError:
        return False


def _answers_tls(host: str, port: int) -> bool:
    """Return whether a port answers a client without a certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=5) as plain, context.wrap_socket(plain) as stream:
            stream.sendall(b"hello")
            return bool(stream.recv(100))
    except OSError:
        return False


def _connect(address: str, security: Any) -> None:
    """Open one connection to a server of Dask, as every client does first; raises OSError if it is refused."""
    import asyncio

    from distributed.comm import core

    connect: Any = core.connect

    async def attempt() -> None:
        arguments = (security or distributed.security.Security()).get_connection_args("client")
        comm = await connect(address, timeout=2, **arguments)
        await comm.close()

    asyncio.run(attempt())


@pytest.fixture
def certificates(tmp_path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Start a cluster that talks TLS; yield it with the environment of a client that has its certificates."""
    made = distributed.security.Security.temporary()
    files = {}
    for name, content in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_text(content)
    variable = "DASK_DISTRIBUTED__COMM__TLS__"
    environment = {
        f"{variable}CA_FILE": str(files["ca"]),
        f"{variable}CLIENT__CERT": str(files["cert"]),
        f"{variable}CLIENT__KEY": str(files["key"]),
    }
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, security=made) as started:
        yield started, environment


def started_with(environment: dict[str, str]) -> Any:
    """Return a context with the configuration of Dask in a process with this environment."""
    usual = copy.deepcopy(dask.config.config)
    return dask.config.set(dask.config.update(usual, dask.config.collect(paths=[], env=environment)))


def test_a_scheduler_with_tls_takes_the_certificates_of_dasks_configuration(
    certificates: tuple[Any, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, environment = certificates
    address = cluster.scheduler_address
    assert address.startswith("tls://")
    with pytest.raises(InputError, match=r"tls://127.*: TLS needs the certificates of this client; set ca-file"):
        sweep(WORKLOAD, SPACE, folder=tmp_path / "none", workers=Cluster(address))
    with started_with(environment):
        table = sweep(WORKLOAD, SPACE, folder=tmp_path / "one", workers=Cluster(address))
        assert table.equals(sweep(WORKLOAD, SPACE))
        monkeypatch.setattr("designs.sweeps.dask_workers._PATIENCE_SECONDS", 1)
        with pytest.raises(InputError, match="check the certificates of both sides"):
            sweep(WORKLOAD, SPACE, folder=tmp_path / "two", workers=Cluster(address.replace("tls", "tcp")))
    missing = environment | {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(tmp_path / "missing")}
    with (
        started_with(missing),
        pytest.raises(InputError, match=r"the certificates that distributed\.comm\.tls names must be readable"),
    ):
        sweep(WORKLOAD, SPACE, folder=tmp_path / "three", workers=Cluster(address))
