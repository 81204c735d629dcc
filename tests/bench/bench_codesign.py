"""Processor time of co-designs from the trained network to verified designs, by stage, beside dense forward passes.

The trained networks and their inputs are those of CODESIGN_DATA: `make bench`. The bound is what verification and
analysis must run at the least: each verified compression on all evaluation and test inputs, the network itself on the
evaluation, and each measured plan on the pool, as dense passes of the frozen copy on one thread in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
import torch

from compress.planning.outputs import run_outputs
from designs.codesigns import loop
from designs.codesigns.array_cost import ArrayCost
from designs.codesigns.loop import codesign
from designs.codesigns.search import Search
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.verification import Verification
from designs.commands.networks import open_network
from designs.space import Space
from traces.shell.command_line import data_folder

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed

SPACE = Space(
    {
        "num_pes": (1, 2, 4, 8, 16, 32, 64, 128, 256),
        "queue_slots": (2, 4, 8, 16, 32, 64),
        "line_bits": (16, 32, 64, 128, 256, 512),
        "weight_bits": (2, 3, 4, 5, 6),
        "index_bits": (2, 3, 4, 5, 6, 8),
        "clock_mhz": (200, 400, 800, 1000, 1200, 1600),
        "row_assignment": ("interleaved", "entries"),
    }
)
SEARCHES = {
    "lenet_5": Search(bounds={"accuracy_loss": 0.02}, trials=100, verify=40, settled=0),
    "resnet_20": Search(bounds={"accuracy_loss": 0.1}, trials=100, verify=30, settled=0),
}
FOLDERS = {"lenet_5": "mnist", "resnet_20": "cifar10"}
PLANS = 10  # that the analysis runs over the pool
STAGES: dict[str, tuple[Any, str]] = {
    "analysis": (loop, "analysed"),
    "counts of layers": (ArrayCost, "layer_counts"),
    "enumeration and search": (loop, "run_study"),
    "quality": (loop, "quality"),
    "verification: networks on their inputs": (Verification, "_run"),
    "verification: simulation": (Verification, "_simulate"),
    "verification: all other": (loop, "verified_front"),
    "tables": (loop, "write_trials"),
}


@contextmanager
def stage_seconds() -> Iterator[dict[str, float]]:
    """Measure the processor seconds of each stage, without those of the stages inside it."""
    seconds = dict.fromkeys(STAGES, 0.0)
    inside: list[float] = []

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begin = time.process_time()
            inside.append(0.0)
            try:
                return function(*given, **named)
            finally:
                took = time.process_time() - begin
                seconds[stage] += took - inside.pop()
                if inside:
                    inside[-1] += took

        return call

    with ExitStack() as stack:
        for stage, (owner, name) in STAGES.items():
            stack.enter_context(mock.patch.object(owner, name, timed(stage, getattr(owner, name))))
        yield seconds


def dense_seconds(network: TrainedNetwork, compressions: int) -> float:
    """Return the processor seconds of the dense passes that so many verified compressions need at the least."""
    assert network.test is not None
    pool, evaluation, test = map(network.inputs, (network.pool, network.judged_on[0], network.test))
    begin = time.process_time()
    run_outputs(network.module, evaluation[:2000])
    of_input = (time.process_time() - begin) / 2000
    return of_input * (compressions * (len(evaluation) + len(test)) + len(evaluation) + PLANS * len(pool))


@pytest.mark.benchmark(group="co-design, from the trained network to verified designs")
@pytest.mark.parametrize("name", SEARCHES)
def test_codesign(benchmark: Benchmark, name: str, tmp_path: Path) -> None:
    folder = data_folder(None)
    if folder is None:
        pytest.skip("CODESIGN_DATA is not set")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    weights = folder / "models" / "resnet20_cifar10.npz" if name == "resnet_20" else None
    network, search = open_network(name, folder / FOLDERS[name], weights), SEARCHES[name]

    def whole() -> pa.Table:
        analysis = loop.analysed(network, search, SPACE, tmp_path / "analysis")
        return codesign(analysis, SPACE, search, tmp_path)

    begin = time.process_time()
    with stage_seconds() as seconds:
        table = benchmark.pedantic(whole, rounds=1)
    processor_s = time.process_time() - begin
    compressions = len(set(table["trial"].to_pylist()))
    dense_s = dense_seconds(network, compressions)
    torch.set_num_threads(threads)
    assert table.num_rows == search.verify
    benchmark.extra_info["dense_passes"] = processor_s / dense_s
    print(
        f"\n{name}, {table.num_rows} verified designs of {compressions} compressions: {processor_s:.1f} s of a "
        f"processor, {processor_s / dense_s:.2f} times its dense passes ({dense_s:.1f} s)"
    )
    for stage in STAGES:
        print(f"    {seconds[stage]:7.1f} s {stage}")
