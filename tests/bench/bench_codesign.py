"""Processor time of co-designs from the trained network to verified designs, by stage, beside dense forward passes.

    python -m tests.bench.bench_codesign --data DIR --networks lenet_5 resnet_20

The bound is what verification and analysis must run at the least: each verified compression on all evaluation and test
inputs, the network itself on the evaluation, and each measured plan on the pool, as dense passes of the frozen copy on
one thread in the same run. The first run compiles kernels, too; the second does not. PyTorch needed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import tyro

from compress.planning.outputs import run_outputs
from designs.codesigns import loop
from designs.codesigns.array_cost import ArrayCost
from designs.codesigns.loop import codesign
from designs.codesigns.search import Search
from designs.codesigns.trained_network import TrainedNetwork
from designs.codesigns.verification import Verification
from designs.commands.networks import open_network
from designs.space import Space
from traces.shell.command_line import data_folder, run

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


def show(name: str, network: TrainedNetwork, search: Search) -> None:
    """Print the processor seconds of one co-design, and those of its dense passes."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        with stage_seconds() as seconds:
            analysis = loop.analysed(network, search, SPACE, Path(folder) / "analysis")
            table = codesign(analysis, SPACE, search, folder)
        whole = time.process_time() - begin
    compressions = len(set(table["trial"].to_pylist()))
    dense = dense_seconds(network, compressions)
    print(
        f"{name}, {table.num_rows} verified designs of {compressions} compressions: {whole:.1f} s of a processor, "
        f"{whole / dense:.2f} times its dense passes ({dense:.1f} s)"
    )
    for stage in STAGES:
        print(f"    {seconds[stage]:7.1f} s {stage}")


def main(data: Path | None = None, networks: tuple[str, ...] = ("lenet_5",)) -> None:
    """Measure the co-designs of LeNet-5 (MNIST) and ResNet-20 (CIFAR-10).

    Args:
        data: folder that holds mnist, cifar10 and models; default: $CODESIGN_DATA
        networks: lenet_5, resnet_20
    """
    torch.set_num_threads(1)
    folder = data_folder(data) or Path("absent")
    for name in networks:
        weights = folder / "models" / "resnet20_cifar10.npz" if name == "resnet_20" else None
        network = open_network(name, folder / FOLDERS[name], weights)
        show(name, network, SEARCHES[name])


if __name__ == "__main__":
    run(lambda: tyro.cli(main))
