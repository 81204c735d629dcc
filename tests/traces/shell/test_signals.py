"""Commands that signals stop: one sentence, the exit status 130, and no process left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands import environment_with
from tests.conftest import PROJECT

WAIT = """
import time
from traces.shell.command_line import if_interrupted, run
from traces.shell.progress import Progress

def command():
    with if_interrupted("the rest comes later"), Progress("waiting", "steps", 10):
        open(FILE, "w").close()
        time.sleep(SECONDS)
        print("went on")

run(command)
"""
WORK = """
import time
from pathlib import Path
from designs.sweeps.workers import Processes, finished_batches
from traces.shell.command_line import run

class Batches:
    def __init__(self):
        self.left = 4
    def __bool__(self):
        return self.left > 0
    def next(self):
        self.left -= 1
        return Batch(self.left)
    def learn(self, finished):
        pass

class Batch(int):
    item = "a batch"
    def __len__(self):
        return 1
    def single(self):
        return [self]

class Inputs:
    in_memory = True
    def run(self, batch):
        time.sleep(60)
    def forget(self):
        pass

def command():
    with Processes(2).start(Inputs()) as crew:
        for _ in finished_batches(Batches(), crew):
            pass

if __name__ == "__main__":
    run(command)
"""


def start(script: str, folder: Path, seconds: float = 60.0, **options: Any) -> subprocess.Popen[str]:
    """Start a script whose command makes a file when it begins to wait, and wait for that."""
    begun = folder / "begun"
    text = script.replace("FILE", repr(str(begun))).replace("SECONDS", str(seconds))
    given = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE} | options
    process = subprocess.Popen([sys.executable, "-c", text], cwd=PROJECT, env=environment_with(), text=True, **given)
    while not begun.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def take_signals() -> None:
    """Let a new process take the signals that one in the background, or under nohup, ignores."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_an_interrupt(number: signal.Signals, tmp_path: Path) -> None:
    process = start(WAIT, tmp_path, preexec_fn=take_signals)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted: the rest comes later"
    assert "Traceback" not in errors
    assert not printed


def test_an_interrupt_that_a_library_takes_for_a_failure_is_an_interrupt(tmp_path: Path) -> None:
    swallow = WAIT.replace("time.sleep(SECONDS)", "sleep(SECONDS)").replace(
        "def command",
        "def sleep(seconds):\n    try:\n        time.sleep(seconds)\n    except BaseException as error:\n"
        "        raise AttributeError('half imported') from error\n\ndef command",
    )
    process = start(swallow, tmp_path)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted: no file is half-written"
    assert "Traceback" not in errors


def test_a_command_under_nohup_goes_on_after_a_hangup(tmp_path: Path) -> None:
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    process = start(WAIT, tmp_path, seconds=0.5, **ignored)
    process.send_signal(signal.SIGHUP)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, "went on\n"), errors


def test_a_command_whose_terminal_is_closed_ends(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        take_signals()
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = start(WAIT, tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal)
    os.close(theirs)
    time.sleep(0.2)
    os.close(ours)
    assert process.wait(timeout=30) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 2.0])
def test_workers_end_with_the_command_and_print_nothing(number: signal.Signals, seconds: float, tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(WORK)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=PROJECT,
        env=environment_with(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_signals,
    )
    while len(_group(process.pid)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(process.pid, number)  # as a terminal does, and as a service manager does
    printed, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors == "interrupted: no file is half-written\n"
    assert not printed
    until = time.monotonic() + 10
    while _group(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _group(process.pid)


def _group(number: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == number and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found
