"""Compiled kernels: never stale, no reads out of range, and the same in plain Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.made_once import made_once

SMALL_RUN = """
import numpy
from sim import ArrayConfig, simulate
from traces.synthetic import draw_layer
from compress import CompressedModel
total = 0
for seed, (rows, columns, num_pes) in enumerate([(5, 9, 1), (30, 17, 4), (3, 20, 16)]):
    layer, activations = draw_layer("x", rows, columns, 0.4, 0.6, seed)
    for slots in (2, 8):
        array = ArrayConfig(num_pes=num_pes, queue_slots=slots, index_bits=2)
        fast, ticked = simulate(layer, activations, array), simulate(layer, activations, array, "reference")
        assert (fast.cycles, fast.line_reads) == (ticked.cycles, ticked.line_reads)
        assert (fast.output == ticked.output).all()
        total += fast.cycles
    model = CompressedModel([layer])
    assert (CompressedModel.from_bytes(model.to_bytes()).layers[0].codes == layer.codes).all()
print(total)
"""
ONE_SIMULATION = """
import numpy
from sim import simulate
from traces.synthetic import draw_layer
print(simulate(*draw_layer("x", 30, 17, 0.4, 0.6, 1)).cycles)
"""


def run_small(cache: Path, home: Path = PROJECT, script: str = SMALL_RUN, **flags: str) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(home), **flags}
    done = subprocess.run([sys.executable, "-c", script], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache() -> Path:
    """Return a cache that one process has filled, with what it printed; kernels take seconds to compile."""

    def fill(folder: Path) -> None:
        (folder / "printed").write_text(run_small(folder))

    return made_once("kernels", fill)


def test_kernels_read_nothing_out_of_range_and_are_plain_python(cache: Path, tmp_path: Path) -> None:
    compiled = (cache / "printed").read_text()
    assert run_small(tmp_path / "checked", NUMBA_BOUNDSCHECK="1", NUMBA_OPT="0") == compiled
    assert run_small(tmp_path / "python", NUMBA_DISABLE_JIT="1") == compiled


def test_an_edited_kernel_is_never_run_from_a_stale_cache(tmp_path: Path) -> None:
    home = tmp_path / "checkout"
    for package in ("traces", "compress", "sim"):
        shutil.copytree(PROJECT / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = int(run_small(tmp_path / "cache", home, ONE_SIMULATION))
    kernels = home / "sim" / "engine_kernels.py"
    stamp = kernels.stat()
    edited = kernels.read_text().replace("ready = broadcast + 1 +", "ready = broadcast + 9 +")
    assert edited != kernels.read_text()
    kernels.write_text(edited)
    os.utime(kernels, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # neither time nor length tell
    after = run_small(tmp_path / "cache", home, ONE_SIMULATION)
    assert after == run_small(tmp_path / "python", home, ONE_SIMULATION, NUMBA_DISABLE_JIT="1")
    assert int(after) > before


def test_kernels_run_where_no_folder_can_be_written(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run_small(tmp_path / "file", script=ONE_SIMULATION, NUMBA_OPT="0") == run_small(cache, script=ONE_SIMULATION)


def test_a_second_process_finds_the_compiled_kernels(cache: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(cache, tmp_path / "cache")
    files = {path: path.stat().st_mtime_ns for path in copied.rglob("*.nb*")}
    assert files
    assert run_small(copied) == (cache / "printed").read_text()
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*.nb*")} == files


@pytest.mark.parametrize("package", ["sim", "reports", "designs"])
def test_no_import_loads_torch_or_compiles(package: str) -> None:
    script = f"import sys, {package}; print([name for name in ('torch', 'numba') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
