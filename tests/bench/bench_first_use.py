"""Waits of a newcomer, from a fresh clone to the first figure.

    python -m tests.bench.bench_first_use

Clones the project into an empty folder, with no kernels compiled and no data, and does what the README says:
`make codesign`, which installs, then trains, compresses and simulates, runs the benchmark of the EIE paper, and draws.
After that the first things of one's own, and the same once more. What pip has in its cache counts as downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import PROJECT

STEPS: Sequence[tuple[str, Sequence[str]]] = (
    ("clone", ("git", "clone", "--quiet", str(PROJECT), "project")),
    ("install (`make` does it by itself)", ("make", ".venv/.installed")),
    ("train, compress, simulate a grid of arrays", (".venv/bin/python", "-m", "designs")),
    ("the layers of the EIE paper", (".venv/bin/python", "-m", "designs", "experiment", "benchmark")),
    ("figures and tables", (".venv/bin/python", "-m", "reports")),
    (
        "one screen about the network on an array",
        (".venv/bin/python", "-m", "designs", "simulate", "results/digits/compressed.dc"),
    ),
    ("the same again", (".venv/bin/python", "-m", "designs", "simulate", "results/digits/compressed.dc")),
    ("`make codesign` again", ("make", "codesign")),
    ("`python -m designs --help`", (".venv/bin/python", "-m", "designs", "--help")),
)
FIRST_FIGURE = "results/digits/sweep.svg"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        caches = {"NUMBA_CACHE_DIR": f"{home}/kernels", "XDG_CACHE_HOME": f"{home}/cache"}
        pip = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False)
        variables = {name: value for name, value in os.environ.items() if name not in ("CODESIGN_DATA", "PYTHONPATH")}
        variables |= caches | {"PIP_CACHE_DIR": pip.stdout.strip() or f"{home}/pip"}
        folder = Path(home)
        begin = time.perf_counter()
        figure_s = None
        print("| wait | seconds | since the start |\n| ---- | ------- | --------------- |", flush=True)
        for what, command in STEPS:
            since = time.perf_counter()
            subprocess.run(command, cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL)
            now = time.perf_counter()
            print(f"| {what} | {now - since:.1f} | {now - begin:.0f} |", flush=True)
            folder = Path(home) / "project"
            if figure_s is None and (folder / FIRST_FIGURE).exists():
                figure_s = now - begin
        print(f"\nFrom the clone to the first figure: {figure_s:.0f} s.")


if __name__ == "__main__":
    main()
