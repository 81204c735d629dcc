"""Time and memory of a process that simulates one layer, the first after installation and a later one: `make bench`.

A later process cannot be faster than one that imports NumPy and llvmlite and does nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

Benchmark = Any  # pytest-benchmark's fixture: call it with what is to be timed
START = "a process that simulates one layer of 256 x 256"
SIMULATE = """
import numpy as np
import sim
from tests.bench.memory import peak_mib
from traces import CompressedLayer
size = {size}
before = peak_mib()
draw = np.random.default_rng(0)
codes = np.zeros((size, size), np.uint8)
for row in codes:
    row[draw.integers(0, size, size // 10)] = 3
activations = draw.random(size, dtype=np.float32)
layer = CompressedLayer("layer", codes, np.linspace(0, 1, 16, dtype=np.float32))
del codes, row
sim.simulate(layer, activations)
print(before, peak_mib())
"""


SMALL, LARGE = SIMULATE.format(size=256), SIMULATE.format(size=4096)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment whose folder of compiled kernels is empty at first."""
    return {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("kernels"))}


def run(script: str, environment: Mapping[str, str]) -> list[int]:
    """Run a script in a process; return the numbers that it prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    return list(map(int, done.stdout.split()))


@pytest.mark.benchmark(group=START)
def test_first_simulation(benchmark: Benchmark, tmp_path: Path) -> None:
    folders = iter([tmp_path / "first", tmp_path / "second", tmp_path / "third"])

    def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (SMALL, {**os.environ, "NUMBA_CACHE_DIR": str(next(folders))}), {}

    benchmark.pedantic(run, setup=fresh, rounds=3)


@pytest.mark.benchmark(group=START)
def test_later_simulation(benchmark: Benchmark, environment: dict[str, str]) -> None:
    benchmark.pedantic(run, args=(SMALL, environment), rounds=15, warmup_rounds=1)


@pytest.mark.benchmark(group=START)
def test_imports_alone(benchmark: Benchmark, environment: dict[str, str]) -> None:
    benchmark.pedantic(run, args=("import numpy, llvmlite.binding", environment), rounds=15, warmup_rounds=1)


@pytest.mark.benchmark(group="a process that simulates one layer of 4,096 x 4,096")
def test_memory_of_a_simulation(benchmark: Benchmark, environment: dict[str, str]) -> None:
    run(LARGE, environment)  # kernels for its types are compiled
    before_mib, peak_mib = benchmark.pedantic(run, args=(LARGE, environment), rounds=3)
    benchmark.extra_info |= {"before_mib": before_mib, "peak_mib": peak_mib}
