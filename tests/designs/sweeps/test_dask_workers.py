"""Sweeps on Dask: real worker processes, one of them killed, and arrays sent to workers without common files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designs import Space, Workload, sweep
from designs.sweeps.batches import SweepInputs
from designs.sweeps.dask_workers import Cluster, _shared_inputs
from tests.designs.sweeps.test_folder import POINTS, SPACE, WORKLOAD
from traces import InputError
from traces.eie_benchmark import EIE_BENCHMARK

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
        assert _shared_inputs(client, inputs) == inputs
        client_run, client.run = client.run, lambda *_: {"somewhere else": None}
        sent = _shared_inputs(client, inputs)
        client.run = client_run
        assert isinstance(sent, distributed.Future)
        places = client.who_has([sent])
        assert all(len(workers) == 2 for workers in places.values())
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
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"a cluster needs Dask, .* pip install 'eie-codesign\[cluster\]'"):
        Cluster()
