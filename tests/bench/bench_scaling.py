"""Growth of the simulator's run time and memory: `make bench` prints these tables after the ratios.

Each row is a process of its own, so that its peak memory is its own. "ns a column and PE" is the time of the whole run,
without the output, over broadcast columns x PEs: flat where the cost grows with these, whatever the cycles do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

MEASURED = """
import json, sys, time
import numpy as np
from sim import ArrayConfig, DoesNotFitWarning, pack, simulate
from sim.array import prepare
from sim.engine import Run
from traces.synthetic import draw_layer
import warnings
warnings.simplefilter("ignore", DoesNotFitWarning)
def peak_mib():  # of this process alone; getrusage would count what it was forked from
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
rows, columns, num_pes, density, activity, checked = json.loads(sys.argv[1])
array = ArrayConfig(num_pes=num_pes)
simulate(*draw_layer("warm", 64, 64, 0.1, 0.5, 0), ArrayConfig(num_pes=4))
imported = peak_mib()
layer, activations = draw_layer("x", rows, columns, density, activity, 0)
begin = time.perf_counter()
packed = pack(layer, array)
pack_ms = (time.perf_counter() - begin) * 1e3
def best(work):
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
def count():
    return Run(*prepare(packed, activations, array)).counts(array)
count()
count_ms = best(count) * 1e3
result = count()
error = 0.0
if checked:
    begin = time.perf_counter()
    result = simulate(packed, activations, array)
    for row in range(0, rows, 64):  # block by block, so that checking takes no more memory than simulating
        weights = layer.codebook[layer.codes[row : row + 64]].astype(np.float64)
        expected = weights @ activations + layer.bias_values()[row : row + 64]
        error = max(error, float(np.abs(result.output[row : row + 64] - expected).max()))
    assert error < 1e-4, error
work = result.broadcasts * num_pes
print(json.dumps([result.cycles, pack_ms, count_ms, count_ms * 1e6 / work, imported, peak_mib()]))
"""


def measure(rows: int, columns: int, num_pes: int, density: float, activity: float, checked: bool) -> list[float]:
    """Measure cycles, ms of packing and counting, ns per column and PE, MiB after the imports and at the peak."""
    what = json.dumps([rows, columns, num_pes, density, activity, checked])
    done = subprocess.run([sys.executable, "-c", MEASURED, what], capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.table import Table

    from traces.shell.command_line import console

    shown = Table(title=title, title_justify="left")
    for heading in headings:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(*map(str, row))
    console().print(shown)


def scaling() -> None:
    cases = [(4096, 4096, 64, density, 0.35, False) for density in (0.01, 0.05, 0.1, 0.25, 0.5)]
    cases += [(4096, 4096, 64, 0.1, activity, False) for activity in (0.1, 0.7, 1.0)]
    cases += [(4096, 4096, num_pes, 0.1, 0.35, False) for num_pes in (1, 16, 256, 1024)]
    cases += [(1000, 4096, 64, 0.1, 0.35, False), (4096, 9216, 64, 0.1, 0.35, False)]
    cases += [(4096, 25_088, num_pes, 0.04, 0.183, False) for num_pes in (64, 1024)]
    cases += [(4096, 4096, 64, 0.09, 0.35, True)]
    rows = []
    for case in cases:
        cycles, pack_ms, count_ms, ns, imported, peak = measure(*case)
        layer_rows, columns, num_pes, density, activity, checked = case
        rows.append(
            (
                f"{layer_rows:,} x {columns:,}" + (" *" if checked else ""),
                num_pes,
                f"{density:.0%}",
                f"{activity:.0%}",
                f"{cycles:,.0f}",
                f"{pack_ms:.1f}",
                f"{count_ms:.3f}",
                f"{ns:.2f}",
                f"{peak:.0f} ({imported:.0f} before the layer)",
            )
        )
    table(
        "Cost against density, size and PEs (* with the output, checked against the exact product)",
        ["layer", "PEs", "weights", "activations", "cycles", "pack ms", "count ms", "ns a column and PE", "peak MiB"],
        rows,
    )


def design_points() -> None:
    """Simulate 63 points of 9 PE counts and 7 queues on Alex-8, from the unpacked layer."""
    import dataclasses

    from sim import ArrayConfig, Counts, count_all, pack
    from traces.eie_benchmark import benchmark_layer

    layer, activations = benchmark_layer("Alex-8").draw()

    def sweep() -> list[Counts]:
        counts = []
        for num_pes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            array = ArrayConfig(num_pes=num_pes)
            arrays = [dataclasses.replace(array, queue_slots=slots) for slots in (2, 4, 8, 16, 32, 64, 128)]
            counts += count_all(pack(layer, array), activations, arrays)
        return counts

    counts = sweep()
    assert len(counts) == 63
    assert next(each.cycles for each in counts if (each.config.num_pes, each.config.queue_slots) == (64, 8)) == 6399
    milliseconds = best_of(sweep, 5) * 1e3
    print(
        f"63 design points of Alex-8 (9 PE counts x 7 queues), packing included: {milliseconds:.1f} ms; one process of "
        f"40 ms a point takes {63 * 40:,} ms, {63 * 40 / milliseconds:.0f} times as long.\n"
    )


def start() -> None:
    """Measure the waits of a new process."""
    import tempfile

    script = (
        "import time; begin = time.perf_counter(); import sim; imported = time.perf_counter() - begin;"
        "from traces.synthetic import draw_layer; layer = draw_layer('x', 64, 64, 0.1, 0.5, 0);"
        "begin = time.perf_counter(); sim.simulate(*layer); print(imported, time.perf_counter() - begin)"
    )
    import os

    with tempfile.TemporaryDirectory() as cache:
        rows = []
        for name in ("first process after an installation", "second process"):
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
                capture_output=True,
                text=True,
                check=True,
            )
            rows.append((name, *(f"{float(seconds):.2f}" for seconds in done.stdout.split())))
    table("Seconds until the first result", ["", "import sim", "first simulate()"], rows)


def best_of(work: Callable[[], object], rounds: int) -> float:
    """Return the seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    start()
    design_points()
    scaling()
