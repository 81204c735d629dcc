"""Small jobs, and what may happen to them: kills, signals, full disks, a second run, a clock that is set back.

Each job is a command that ends within seconds. Afterwards the same command runs again, and its results must be those of
an undisturbed run, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.same_results import FLEET, MAKE_LAYER, NETWORK, SPACE, SWEPT
from tests.traces.shell.test_signals import take_signals
from traces.shell.progress import Progress

HERE = Path(__file__).parents[2]
_MOST_SECONDS = 300  # that a job of a few seconds may take beside others
_NO_RESULTS = (".journal", ".lock")
"""Suffixes of files whose bytes may differ: they hold the time, or nothing."""
INTERRUPTED = 130
"""Exit status of a command that a signal has stopped."""
RESULTS = "out"
"""Folder in which all jobs write."""

_GIVEN = "--network mine:network --weights weights.pt --inputs inputs.npy --loss kl"
_SMALL_SPACE = SPACE.replace("line_bits = [32, 64, 128]", "line_bits = [64]").replace("[4, 16, 64]", "[4, 16]")


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes
    ----------
    name : str
        Name of the job.
    words : tuple of str
        Arguments of Python.
    """

    name: str
    words: tuple[str, ...]


def _job(name: str, words: str) -> Job:
    return Job(name, tuple(words.split()))


_SWEEP = "-m designs sweep swept.toml --workload packed.dc --inputs inputs.npy --out out"
_CODESIGN = f"-m designs codesign {{}} {_GIVEN} --out out"
JOBS = (
    _job("pack", "-m compress pack weights.pt out/packed.dc"),
    _job("unpack", "-m compress unpack packed.dc out/weights.npz"),
    _job(
        "plan",
        "-m compress plan mine:network inputs.npy out/planned.dc --weights weights.pt --divergence 0.003 "
        "--analysis out/analysis",
    ),
    _job("sweep", _SWEEP),
    _job("sweep-workers", f"{_SWEEP} --workers 2"),
    _job("codesign", f"{_CODESIGN.format('space.toml')} --trials 12 --verify 3"),
    _job("codesign-exhaustive", f"{_CODESIGN.format('small.toml')} --trials 4 --verify 2 --exhaustive --workers 2"),
    _job("fleet", f"-m designs fleet fleet.toml small.toml {_GIVEN} --trials 6 --out out"),
)


@dataclass(frozen=True)
class Undisturbed:
    """Undisturbed run of a job: the digests of its results, its seconds, and the bytes that it leaves."""

    digests: Mapping[str, str]
    seconds: float
    num_bytes: int


@dataclass
class Outcome:
    """Ends of many disturbed runs, and the faults among them."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


Disturb = Callable[[Job, Path, Undisturbed, np.random.Generator, Outcome, str], None]
"""Disturbance of one job in its folder: what is expected, random moments, where to note what happens, and its name."""


def prepare(folder: Path) -> None:
    """Write the inputs of all jobs to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"space.toml": SPACE, "small.toml": _SMALL_SPACE, "swept.toml": SWEPT, "fleet.toml": FLEET}
    for name, text in (files | {"mine.py": NETWORK, "make.py": MAKE_LAYER}).items():
        (folder / name).write_text(text)
    for words in (("make.py",), ("-m", "compress", "pack", "weights.pt", "packed.dc")):
        ended = run(Job("make", words), folder)
        if ended.returncode:
            raise RuntimeError(f"the inputs of the jobs cannot be made: {ended.stderr}")


def run(job: Job, folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    with start(job, folder, environment) as process:
        try:
            printed, errors = process.communicate(timeout=_MOST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, errors = process.communicate()
            errors += f"\nTraceback: {job.name} did not end within {_MOST_SECONDS} s"
    return subprocess.CompletedProcess(job.words, process.returncode, printed, errors)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job: this checkout, one thread, no data folder, and some more variables."""
    inherited = {name: value for name, value in os.environ.items() if name != "CODESIGN_DATA"}
    return inherited | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "COLUMNS": "120"} | dict(more)


def start(job: Job, folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a job in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, *job.words],
        cwd=folder,
        env=_environment(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_signals,
    )


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each result of a job, by the name of its file."""
    paths = (path for path in (folder / RESULTS).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.suffix not in _NO_RESULTS and not path.name.endswith(_NO_RESULTS)
    }


def undisturbed(job: Job, inputs: Path, scratch: Path) -> Undisturbed:
    """Run a job twice without a disturbance; raise RuntimeError if it fails, or its two results differ."""
    found = []
    for _ in range(2):
        folder = copied(inputs, scratch)
        begin = time.monotonic()
        ended = run(job, folder)
        seconds = time.monotonic() - begin
        if ended.returncode:
            raise RuntimeError(f"{job.name} ended with {ended.returncode}: {ended.stderr}")
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(Undisturbed(digests(folder), seconds, num_bytes))
        shutil.rmtree(folder)
    different = differences(found[0].digests, found[1].digests)
    if different:
        raise RuntimeError(f"{job.name}: two undisturbed runs differ in {', '.join(different)}")
    return found[1]


def copied(inputs: Path, scratch: Path) -> Path:
    """Return a new folder in `scratch` with the inputs of all jobs."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    shutil.copytree(inputs, folder, dirs_exist_ok=True)
    return folder


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names of files that only one of two results has, or that differ."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def check_end(job: Job, folder: Path, expected: Undisturbed, outcome: Outcome, name: str) -> None:
    """Run a job again to its end, and note whether its results are those of an undisturbed run."""
    ended = run(job, folder)
    different = differences(expected.digests, digests(folder))
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    if ended.returncode or different or left:
        outcome.counts["other results"] += 1
        outcome.faults.append(
            f"{name}: the next run ended with {ended.returncode}; different: {', '.join(different) or 'none'}; left "
            f"behind: {', '.join(left) or 'nothing'}; {ended.stderr[-500:]}"
        )
    else:
        outcome.counts["same results"] += 1


def kill(
    job: Job, folder: Path, expected: Undisturbed, stream: np.random.Generator, outcome: Outcome, name: str
) -> None:
    """Stop a job one to three times at random moments by a random signal; then let it end."""
    for _ in range(stream.integers(1, 4)):
        chosen = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[int(stream.integers(5))]
        whole_group = bool(stream.integers(2))
        with start(job, folder) as process:
            time.sleep(float(stream.uniform(0, 1.1)) * expected.seconds)
            if process.poll() is None:
                (os.killpg if whole_group else os.kill)(process.pid, chosen)
                outcome.counts[f"stopped by {chosen.name}"] += 1
            try:
                _, errors = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                outcome.faults.append(f"{name}: {job.name} went on for 60 s after {chosen.name}")
                continue
        if "Traceback" in errors and chosen != signal.SIGKILL and process.returncode not in (0, -chosen):
            outcome.faults.append(f"{name}: {chosen.name} ended with a traceback: {errors[-800:]}")
        # an interrupt that passes through exec() ends Python by SIGINT, for which a shell says 130, too
        if process.returncode not in (0, INTERRUPTED, -chosen, -signal.SIGINT):
            outcome.faults.append(f"{name}: {chosen.name} ended with {process.returncode}: {errors[-500:]}")
        _check_no_orphans(process.pid, outcome, name)
    check_end(job, folder, expected, outcome, name)


def _check_no_orphans(group: int, outcome: Outcome, name: str) -> None:
    """Note processes of a group that do not end within ten seconds after its first one, and end them."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    outcome.faults.append(f"{name}: processes were left")
    os.killpg(group, signal.SIGKILL)


def two_runs(
    job: Job, folder: Path, expected: Undisturbed, stream: np.random.Generator, outcome: Outcome, name: str
) -> None:
    """Run a job twice at once in one folder: each run ends well, or names the other one."""
    with start(job, folder) as first:
        time.sleep(float(stream.uniform(0, 0.9)) * expected.seconds)
        second = run(job, folder)
        _, errors = first.communicate(timeout=_MOST_SECONDS)
    for code, text in ((first.returncode, errors), (second.returncode, second.stderr)):
        if code == 0:
            outcome.counts["ended well"] += 1
        elif code == 2 and "Traceback" not in text and "another run" in text:
            outcome.counts["refused"] += 1
        else:
            outcome.faults.append(f"{name}: one of two runs ended with {code}: {text[-800:]}")
    check_end(job, folder, expected, outcome, name)


def full_disk(
    job: Job, folder: Path, expected: Undisturbed, stream: np.random.Generator, outcome: Outcome, name: str
) -> None:
    """Run a job in a file system that has too little room, then give it room (Linux; `unshare` and `mount`)."""
    inputs_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    room = int(stream.uniform(0, max(4096, expected.num_bytes - inputs_bytes)))
    ended = _in_small_file_system(job, folder, inputs_bytes + 16 * 4096 + room)
    if ended is None:
        outcome.counts["no file system could be mounted"] += 1
        return
    code, errors, found = ended
    outcome.counts["ended well" if code == 0 else "refused"] += 1
    if code not in (0, 2) or "Traceback" in errors:
        outcome.faults.append(f"{name}: with {room:,} bytes of room it ended with {code}: {errors[-800:]}")
    lost = differences(expected.digests, found)
    outcome.counts["other results" if lost else "same results"] += 1
    if lost:
        outcome.faults.append(f"{name}: after {room:,} bytes of room these differ: {', '.join(lost)}")


_SMALL = """
set -e
mount -t tmpfs -o size=$1 tmpfs "$2"
cp -r "$3"/. "$2"/
cd "$2"
shift 3
set +e
"$@" > /dev/null 2> "$ERRORS"
echo $? > "$CODE"
mount -o remount,size=1g "$(pwd)"
"$@" > /dev/null 2> "$ERRORS.again"
cp -r . "$KEPT"/
"""


def _in_small_file_system(job: Job, folder: Path, num_bytes: int) -> tuple[int, str, dict[str, str]] | None:
    """Return how a job ends in a file system of so many bytes, what it prints, and its results once there is room."""
    with tempfile.TemporaryDirectory() as temporary:
        place, kept = Path(temporary) / "place", Path(temporary) / "kept"
        place.mkdir()
        kept.mkdir()
        errors, code = Path(temporary) / "errors", Path(temporary) / "code"
        words = [str(num_bytes), str(place), str(folder), sys.executable, *job.words]
        environment = _environment({"ERRORS": str(errors), "CODE": str(code), "KEPT": str(kept), "TMPDIR": temporary})
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SMALL, "sh", *words]
        subprocess.run(command, env=environment, check=False, capture_output=True, timeout=2 * _MOST_SECONDS)
        if not code.exists():
            return None
        return int(code.read_text()), errors.read_text(), digests(kept)


_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long set_back(void) {
    struct timespec now;
    static double begin = 0;
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &now);
    double seconds = now.tv_sec + 1e-9 * now.tv_nsec;
    if (begin == 0) begin = seconds;
    return seconds - begin < atof(getenv("CLOCK_AFTER")) ? 0 : atol(getenv("CLOCK_BACK"));
}
int clock_gettime(clockid_t clock, struct timespec *found) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int ended = real(clock, found);
    if (clock == CLOCK_REALTIME) found->tv_sec -= set_back();
    return ended;
}
time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def clock_library(folder: Path) -> Path:
    """Compile the clock that is set back while a process runs (Linux; a C compiler)."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def set_back(library: Path) -> Disturb:
    """Return a disturbance: the clock goes back by a day or by years while a job runs, or while it is killed."""

    def disturb(
        job: Job, folder: Path, expected: Undisturbed, stream: np.random.Generator, outcome: Outcome, name: str
    ) -> None:
        back = [86_400, -86_400, 20 * 365 * 86_400][int(stream.integers(3))]
        after = float(stream.uniform(0, 1)) * expected.seconds
        environment = {"LD_PRELOAD": str(library), "CLOCK_AFTER": str(after), "CLOCK_BACK": str(back)}
        if stream.integers(2):
            with start(job, folder, environment) as process:
                time.sleep(float(stream.uniform(0.3, 1)) * expected.seconds)
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            environment |= {"CLOCK_AFTER": "0", "CLOCK_BACK": str(back + 3600)}
        begin = time.monotonic()
        ended = run(job, folder, environment)
        if ended.returncode or time.monotonic() - begin > 4 * expected.seconds + 20:
            outcome.faults.append(
                f"{name}: ended with {ended.returncode} after {time.monotonic() - begin:.0f} s: {ended.stderr[-500:]}"
            )
        outcome.counts["clock set back"] += 1
        check_end(job, folder, expected, outcome, name)

    return disturb


def record(outcome: Outcome, path: Path) -> None:
    """Write an outcome as JSON."""
    path.write_text(json.dumps({"counts": dict(outcome.counts), "faults": outcome.faults}, indent=1))


_DISTURBANCES: dict[str, Disturb] = {"kills": kill, "two-runs": two_runs, "full-disk": full_disk}


def soak(disturbance: str, rounds: int, seed: int, chosen: Sequence[str], scratch: Path, kept: Path) -> Outcome:
    """Disturb jobs in turn.

    Parameters
    ----------
    disturbance : {"kills", "two-runs", "full-disk", "clock"}
        What happens to each job.
    rounds : int
        Number of disturbed jobs.
    seed : int
        Seed of moments and places.
    chosen : sequence of str
        Names of the jobs; all if empty.
    scratch : Path
        Folder for all runs.
    kept : Path
        File of what has happened so far, which grows.
    """
    inputs = scratch / "inputs"
    prepare(inputs)
    jobs = [job for job in JOBS if not chosen or job.name in chosen]
    expected = {job.name: undisturbed(job, inputs, scratch) for job in jobs}
    disturb: Disturb = set_back(clock_library(scratch)) if disturbance == "clock" else _DISTURBANCES[disturbance]
    outcome = Outcome()
    with Progress(disturbance, "jobs", rounds) as progress:
        for number in range(rounds):
            job = jobs[number % len(jobs)]
            folder = copied(inputs, scratch)
            stream = np.random.default_rng([seed, number])
            disturb(job, folder, expected[job.name], stream, outcome, f"{job.name}, number {number} of seed {seed}")
            shutil.rmtree(folder)
            progress.advance()
            record(outcome, kept)
    return outcome
