"""Command lines of the five programs, run in this process, which has PyTorch and the kernels loaded already."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from traces.shell.command_line import run

SILENT_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # as Python has it


def environment_with(data: Path | None = None) -> dict[str, str]:
    """Return the environment of a command that finds this project, and real data only in `data`."""
    environment = {name: value for name, value in os.environ.items() if name != "CODESIGN_DATA"}
    environment["PYTHONPATH"] = str(PROJECT)
    return environment if data is None else environment | {"CODESIGN_DATA": str(data)}


def start_command(*arguments: object, folder: Path, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these arguments in a process of its own; slow, since it imports everything again."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder,
        env=environment_with(data),
        capture_output=True,
        text=True,
        check=False,
    )


def run_command(
    program: str, *arguments: object, folder: Path, data: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program's command line in this process as `start_command` does in another.

    Modules in `folder` can be imported meanwhile, as they can by `python -m`.
    """
    command = [program, *map(str, arguments)]
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, _state_kept(folder), warnings.catch_warnings(record=True) as caught:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "dont_write_bytecode", True)  # of modules in `folder`
        patch.delenv("CODESIGN_DATA", raising=False)
        if data is not None:
            patch.setenv("CODESIGN_DATA", str(data))
        main = importlib.import_module(f"{program}.__main__").main
        status: object = 0
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                run(main)
            except SystemExit as ended:
                status = ended.code
    if isinstance(status, str):
        errors.write(f"{status}\n")
        status = 1
    for warning in caught:
        if not issubclass(warning.category, SILENT_WARNINGS):
            errors.write(warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno))
    assert status is None or isinstance(status, int)
    return subprocess.CompletedProcess(command, status or 0, output.getvalue(), errors.getvalue())


def words_of(finished: subprocess.CompletedProcess[str]) -> str:
    """Return all that a command printed, without the frames and line breaks of a terminal."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", finished.stdout + finished.stderr).split())


def check_refusal(sentence: str, *command: object, folder: Path) -> None:
    """Make sure that a command exits with 2 and this sentence, without a traceback, and writes nothing."""
    before = sorted(folder.rglob("*"))
    finished = run_command(*map(str, command), folder=folder)
    printed = words_of(finished)
    assert finished.returncode == 2, printed
    assert sentence in printed
    assert "Traceback" not in printed
    assert sorted(folder.rglob("*")) == before


@contextlib.contextmanager
def _state_kept(folder: Path) -> Iterator[None]:
    """Restore the state that a process of its own would not have changed here."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 0
    state = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if torch is not None:
            torch.set_num_threads(threads)
            torch.set_rng_state(state)
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
