"""Build of the array in SystemVerilog into a program, with Verilator and a C++ compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import platformdirs

from sim.rtl.parameters import RtlParameters
from traces import InputError

BENCH = "bench.cpp"
TOP = "array.sv"

Sources = Mapping[str, str]  # text by file name

# A program that runs for seconds: short functions compile fast, and code that runs once is not optimised.
VERILATOR = "verilator --cc --exe -O3 --x-initial unique --prefix Model --output-split 20000 --output-split-cfuncs 200"
# Waveforms hold the row of activations of 256 PEs and the slots of a queue, but not the words of an SRAM.
WAVEFORMS = "--trace --trace-max-width 16384 --trace-max-array 256 -CFLAGS -DWAVEFORMS"
MAKE = "make -j 2 -f Model.mk OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"


@cache
def sources() -> Sources:
    """Return the SystemVerilog files and the bench of this package."""
    folder = resources.files("sim.rtl")
    return {
        file.name: file.read_text()
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sv") or file.name == BENCH
    }


def missing_program(*programs: str) -> str | None:
    """Return the first of `programs` that is not installed, or None."""
    return next((program for program in programs if shutil.which(program) is None), None)


def require(*programs: str) -> None:
    """Raise InputError if one of `programs` is not installed."""
    missing = missing_program(*programs)
    if missing is not None:
        raise InputError(
            f"the array in SystemVerilog needs {', '.join(programs)}; {missing} was not found; install it with your "
            f"system's packages, on Debian and Ubuntu with make rtl"
        )


def build(
    parameters: RtlParameters, files: Sources | None = None, synthesized: bool = False, waveforms: bool = False
) -> Path:
    """Build the program that runs the array with these parameters, or find it in the cache.

    The cache is in the user's cache folder, or in a temporary folder of this process if that cannot be written. The
    program's name is a hash of the files, the parameters and the versions of the tools.

    Parameters
    ----------
    parameters : RtlParameters
        Parameters of the array.
    files : mapping, optional
        Text by file name. The default is `sources()`.
    synthesized : bool
        True if the files come out of a synthesis with these parameters and have no others.
    waveforms : bool
        True if the program writes waveforms: its arguments are then a file and the scopes to write.

    Returns
    -------
    pathlib.Path
        The program.

    Raises
    ------
    InputError
        If Verilator, make or a C++ compiler is missing or fails.
    """
    require("verilator", "make", "g++")
    files = sources() if files is None else files
    verilator = f"{VERILATOR} {WAVEFORMS}" if waveforms else VERILATOR
    target = _folder() / f"rtl-{_digest(parameters, files, verilator)}"
    if not target.exists():
        if sys.stderr.isatty():
            print(f"building the array in SystemVerilog with {parameters.num_pes} PEs: once", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="rtl-") as name:
            folder = Path(name)
            for file, text in files.items():
                (folder / file).write_text(text)
            definitions = [f"-G{name}={value}" for name, value in parameters.definitions().items()]
            if synthesized:
                definitions = ["-Wno-lint", "-Wno-UNOPTFLAT"]  # single gates, bit by bit
            known = ("num_pes", "activation_bits", "position_bits")
            flags = [f"-D{name.upper()}={getattr(parameters, name)}" for name in known]
            command = [*verilator.split(), *definitions, "-CFLAGS", " ".join(["-std=c++17", *flags])]
            _run([*command, "--Mdir", "built", "--top-module", "array", "-o", "bench", TOP, BENCH], folder)
            _run(MAKE.split(), folder / "built")
            finished = target.with_suffix(f".{os.getpid()}")
            shutil.copy2(folder / "built" / "bench", finished)
            os.replace(finished, target)
    return target


def lint(parameters: RtlParameters, files: Sources | None = None) -> str:
    """Return the output of `verilator --lint-only -Wall`, which is empty for clean files."""
    require("verilator")
    with tempfile.TemporaryDirectory(prefix="rtl-") as name:
        folder = Path(name)
        for file, text in (sources() if files is None else files).items():
            (folder / file).write_text(text)
        definitions = [f"-G{name}={value}" for name, value in parameters.definitions().items()]
        command = ["verilator", "--lint-only", "-Wall", *definitions, "--top-module", "array", TOP]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return done.stdout + done.stderr


def _run(command: list[str], folder: Path) -> None:
    """Run a tool; raise InputError with its first error if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["nothing"]
        first = next((line for line in lines if line.startswith("%") or "error" in line), lines[-1])
        raise InputError(
            f"the array in SystemVerilog could not be built: {command[0]} ended with {done.returncode}: {first}"
        )


@cache
def _versions() -> str:
    commands = (("verilator", "--version"), ("g++", "--version"))
    return "".join(subprocess.run(command, capture_output=True, text=True).stdout for command in commands)


def _digest(parameters: RtlParameters, files: Sources, verilator: str) -> str:
    digest = hashlib.sha256(f"{parameters}\0{verilator}\0{MAKE}\0{_versions()}".encode())
    for name in sorted(files):
        digest.update(f"{name}\0{files[name]}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _folder() -> Path:
    folder = Path(platformdirs.user_cache_path("eie-codesign"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _temporary_folder()


def _temporary_folder() -> Path:
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="rtl-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
