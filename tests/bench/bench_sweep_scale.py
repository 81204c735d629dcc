"""Growth of a sweep's time and memory with its points: `python -m tests.bench.bench_sweep_scale --points 100000`.

Designs are drawn at random from a space of 46 million, run on one small layer in one process, and read again for their
Pareto-optimal ones. Each number of points is a process of its own, so that its peak memory is its own. Times are of the
processors, of all threads together, so that other programs on the machine hardly change them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from designs import Range, Sampling, Space, Workload, run_sweep, sample
from designs.sweeps.folder import SweepReader
from designs.sweeps.totals import SweepTotals
from traces.synthetic import draw_layer

LAYER, INPUT = draw_layer("layer", 200, 150, 0.2, 0.5, seed=1)
WORKLOAD = Workload.of_layers("one layer", [LAYER], {"layer": INPUT[np.newaxis]})
SPACE = Space(
    {
        "num_pes": (1, 2, 4, 8, 16, 32, 64, 128),
        "index_bits": (4, 5),
        "queue_slots": Range(2, 64, factor=2),
        "line_bits": (32, 64, 96, 128, 192, 256, 320, 512),
        "clock_mhz": Range(200.0, 700.0, step=5.0),
        "pointer_bytes": (8192, 12288, 16384, 24576, 32768),
        "sparse_matrix_bytes": Range(16384, 131072, step=8192),
        "activation_bytes": Range(1024, 8192, step=1024),
    }
)
WARM_POINTS = 2000


def peak_gb() -> float:
    """Return the peak memory of this process alone; getrusage would count what it was forked from."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e9


def measured(points: int, folder: Path) -> dict[str, Any]:
    """Return processor seconds of each step, bytes of the result and peak memory of a sweep of so many points."""
    run_sweep(WORKLOAD, SPACE, Sampling("random", WARM_POINTS), folder / "warm")
    imported = peak_gb()
    times = [time.process_time()]
    chosen = sample(SPACE, Sampling("random", points, seed=1))
    times.append(time.process_time())
    file = run_sweep(WORKLOAD, chosen, None, folder / "sweep")
    times.append(time.process_time())
    totals = SweepTotals(("latency_us", "energy_nj", "area_mm2"))
    for table in SweepReader(file).tables():
        totals.add(table)
    times.append(time.process_time())
    assert totals.points == points
    return {
        "seconds": np.diff(times).tolist(),
        "bytes": file.stat().st_size,
        "imported_gb": imported,
        "peak_gb": peak_gb(),
        "front": len(totals.front),
    }


def main(points: tuple[int, ...] = (100_000, 1_000_000), one: Path | None = None) -> None:
    """Print time and memory of sweeps.

    Args:
        points: numbers of points
        one: folder for a single measurement, of which the figures are printed as JSON
    """
    if one is not None:
        print(json.dumps(measured(points[0], one)))
        return
    for number in points:
        folder = Path(tempfile.mkdtemp())
        command = [sys.executable, "-m", "tests.bench.bench_sweep_scale", "--points", str(number), "--one", str(folder)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            shutil.rmtree(folder)
        found = json.loads(done.stdout.splitlines()[-1])
        drawing, running, reading = found["seconds"]
        print(
            f"{number:,} points: {sum(found['seconds']) / number * 1e6:.1f} us a point ({drawing:.1f} s to draw, "
            f"{running:.1f} s to run, {reading:.1f} s for the front of {found['front']:,}), peak memory "
            f"{found['peak_gb']:.2f} GB ({found['imported_gb']:.2f} GB before), result {found['bytes'] / 1e6:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
