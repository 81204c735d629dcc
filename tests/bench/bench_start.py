"""Time and memory of a process that simulates one layer: first after installation, and later.

    python -m tests.bench.bench_start

The limit of a later process is one that imports NumPy and llvmlite and does nothing.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from tests.conftest import PROJECT

REPEATS = 7
LIMIT = "import numpy, llvmlite.binding"
SIMULATE = """
import resource
import numpy as np
import sim
from traces import CompressedLayer
size = {size}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
draw = np.random.default_rng(0)
codes = np.zeros((size, size), np.uint8)
for row in codes:
    row[draw.integers(0, size, size // 10)] = 3
activations = draw.random(size, dtype=np.float32)
layer = CompressedLayer("layer", codes, np.linspace(0, 1, 16, dtype=np.float32))
del codes, row
sim.simulate(layer, activations)
print(before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def run(script: str, environment: Mapping[str, str]) -> tuple[float, float, Sequence[str]]:
    """Run a script in a process; return its seconds, those of the processor, and what it printed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    wall_s = time.perf_counter() - begin
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, done.stdout.split()


def main() -> None:
    with tempfile.TemporaryDirectory() as kernels:
        environment = {**os.environ, "NUMBA_CACHE_DIR": kernels}
        small, large = SIMULATE.format(size=256), SIMULATE.format(size=4096)
        first_wall_s, first_s, _ = run(small, environment)
        run(large, environment)  # its numbers have other types
        later = [run(small, environment) for _ in range(REPEATS)]
        limits = [run(LIMIT, environment) for _ in range(REPEATS)]
        before_mib, peak_mib = run(large, environment)[2]
    later_s, limit_s = (min(row[1] for row in rows) for rows in (later, limits))
    print("| what | measured | limit |\n| ---- | -------- | ----- |")
    print(f"| first simulation, all kernels compiled | {first_s:.2f} s ({first_wall_s:.2f} s of wall time) | |")
    print(f"| simulation in a later process | {later_s:.2f} s | {limit_s:.2f} s: NumPy and llvmlite are imported |")
    print(f"| peak memory, layer of 4,096 x 4,096 | {peak_mib} MiB, {before_mib} MiB before | |")


if __name__ == "__main__":
    main()
