"""Compiled kernels: never stale, no reads out of range, the same in plain Python, and never those of another user."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.conftest import PROJECT
from tests.made_once import made_once
from traces import kernel_cache, kernel_compiler

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
    files = {path: path.stat().st_mtime_ns for path in copied.rglob("*.kernel")}
    assert files
    assert run_small(copied) == (cache / "printed").read_text()
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*.kernel")} == files


@pytest.mark.parametrize("package", ["sim", "reports", "designs"])
def test_no_import_loads_torch_or_compiles(package: str) -> None:
    script = f"import sys, {package}; print([name for name in ('torch', 'numba') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_simulation_with_compiled_kernels_imports_no_library_but_numpy_and_llvmlite(cache: Path) -> None:
    script = f"{ONE_SIMULATION}\nimport sys; print(*sys.modules)"
    _, *modules = run_small(cache, script=script).split()
    assert "llvmlite" in modules
    heavy = {
        "numba",
        "scipy",
        "pyarrow",
        "matplotlib",
        "torch",
        "optuna",
        "sklearn",
        "rich",
        "tyro",
        "onnx",
        "compress",
    }
    assert not heavy & set(modules)


SMALL_PACKAGE = """
from traces.kernel_cache import kernel
@kernel
def add(first, second):
    return first + second
"""


class SmallKernel:
    """A package with one small kernel, and the folder of its compiled code."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "small"
        self.cache = folder / "cache"
        self.package.mkdir()
        (self.package / "__init__.py").write_text(SMALL_PACKAGE)

    def run(self) -> bool:
        """Import the package anew, run its kernel, and return whether its code came from the cache."""
        kernel_cache._cache_folder.cache_clear()
        kernel_cache._warn.cache_clear()
        spec = importlib.util.spec_from_file_location("small", self.package / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        sys.modules["small"] = module
        try:
            spec.loader.exec_module(module)
            with patch.object(
                kernel_compiler, "compile_kernel", side_effect=kernel_compiler.compile_kernel
            ) as compiled:
                assert module.add(2, 3) == 5
        finally:
            del sys.modules["small"]
        return not compiled.called

    @property
    def file(self) -> Path:
        (found,) = self.cache.rglob("*.kernel")
        return found


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallKernel]:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    made = SmallKernel(tmp_path)
    assert not made.run()
    assert made.run()
    yield made
    kernel_cache._cache_folder.cache_clear()


def test_a_folder_of_kernels_is_open_to_its_user_alone(small: SmallKernel) -> None:
    assert [path.stat().st_mode & 0o777 for path in (small.cache, small.file.parent, small.file)] == [
        0o700,
        0o700,
        0o600,
    ]


@pytest.mark.parametrize("place", [0, 1, 31, 32, 33, 1000, -1])
def test_a_cut_or_altered_file_is_compiled_again(
    small: SmallKernel, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = small.file.read_bytes()
    small.file.write_bytes(whole[:place])
    assert not small.run()
    assert small.run()
    flipped = bytearray(whole)
    flipped[place] ^= 1
    small.file.write_bytes(flipped)
    assert not small.run()
    assert small.run()
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_read_or_loaded_costs_a_compilation(small: SmallKernel) -> None:
    content = small.file.read_bytes()
    small.file.write_bytes(content + b"more")
    assert not small.run()
    path = small.file
    path.chmod(0)  # root reads it nevertheless
    assert small.run() in (True, False)
    path.unlink()
    path.mkdir()
    assert not small.run()
    path.rmdir()
    os.mkfifo(path)
    assert not small.run()


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0no object file", b"\1no object file"])
def test_a_file_with_a_right_checksum_that_llvm_cannot_load_is_compiled_again(
    small: SmallKernel, payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forge(small, payload, monkeypatch)
    assert not small.run()
    assert small.run()


def _forge(small: SmallKernel, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a payload with its right checksum to the file of the kernel."""
    path, keys = small.file, []
    read = kernel_cache._version_of_file

    def noted(key: bytes, path: Path) -> Any:
        keys.append(key)
        return read(key, path)

    with monkeypatch.context() as patched:
        patched.setattr(kernel_cache, "_version_of_file", noted)
        assert small.run()
    path.write_bytes(hashlib.sha256(keys[0] + payload).digest() + payload)


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def open_to_the_group(path: Path) -> None:
    path.chmod(0o770)


def a_link(path: Path) -> None:
    shutil.move(path, path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("opened", [open_to_all, open_to_the_group, a_link])
def test_a_file_that_others_can_write_is_not_read_but_replaced(
    small: SmallKernel, opened: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    opened(small.file)
    assert not small.run()
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "a file of compiled kernels must belong to this user and be writable by nobody else; it" in warning
    assert small.run()


@pytest.mark.parametrize("opened", [open_to_all, open_to_the_group, a_link])
def test_a_folder_that_others_can_write_is_not_used(
    small: SmallKernel, opened: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.file.parent
    opened(folder)
    assert not small.run()
    assert not small.run()
    assert f"warning: {folder}: a folder of compiled kernels must belong to this user" in capsys.readouterr().err


def test_a_cache_of_another_user_is_not_used(
    small: SmallKernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not small.run()
    assert (
        f"it belongs to the user with the number {user}; its kernels are compiled in memory" in capsys.readouterr().err
    )


def test_a_full_disk_costs_a_compilation_and_leaves_no_part_of_a_file(
    small: SmallKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.file.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for function in ("os.replace", "tempfile.mkstemp"):
        with monkeypatch.context() as patched:
            patched.setattr(function, full)
            assert not small.run()
        assert not [path for path in small.cache.rglob("*") if path.is_file()]
    assert not small.run()
    assert small.run()


def test_processes_that_compile_at_once_leave_whole_files(small: SmallKernel) -> None:
    small.file.unlink()
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{small.package.parent}"}
    command = [sys.executable, "-c", "from small import add; print(add(2, 3))"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in running] == ["5\n"] * 3
    assert small.run()
    assert [path.suffix for path in small.file.parent.iterdir()] == [".kernel"]
