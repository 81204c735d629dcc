"""Mutants of valid files: each is read in bounded time and memory, and refused with a sentence if it is invalid.

A reader is registered with valid files, and with mutations that know the structure of its files: they change fields
and mend checksums, so that what lies behind them is tried, too. Mutants run in child processes; each has an alarm, and
its peak of memory is measured by itself (Linux).
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from traces import InputError
from traces.shell.progress import Progress

MOST_SECONDS = 2.0
"""Processor time that a mutant of at most 1 MB may take; a larger one may take more in proportion."""
MOST_MIB = 384
"""Memory, likewise: several times `traces.reading_limit.FREE_BYTES`."""
_HUNG_SECONDS = 120
_UNSEEN_MIB = 16  # memory below the peak of an earlier mutant is not seen
_STATUS = Path("/proc/self/status")
_MEMORY = re.compile(rb"^(VmRSS|VmHWM):\s+(\d+)", re.MULTILINE)
HUGE_NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**64 - 1,
)
"""Values of whole numbers at which readers fail."""
BAD_TEXTS = (
    "", "-1", "0", "-0", "0.0", "2.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "true", "null", '"7"', "[]",
    "{}", "9" * 30, "9" * 5000, "[" * 3000, "1" + "0" * 400, "\u0660", "\ud7ff", "\x00", "..", "/etc/passwd", "=1+1",
)  # fmt: skip
"""Texts that take the place of a number or a name in a text file."""

Mutate = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader, and how its files are damaged.

    Attributes
    ----------
    name : str
        Name of the reader.
    suffix : str
        Suffix of its files.
    valid : callable
        Returns the contents of valid files, each below 1 MB.
    mutate : sequence of callable
        Mutations; each returns the bytes with one change. `changed_bytes` is one for all formats.
    read : callable
        Reads a file and uses all that was read.
    """

    name: str
    suffix: str
    valid: Callable[[], Sequence[bytes]]
    mutate: Sequence[Mutate]
    read: Callable[[Path], object]


@dataclass
class Ends:
    """Ends of many mutants: how many were read or refused, and what must not happen.

    Attributes
    ----------
    counts : Counter of str
        Mutants by their end: "read", "refused", "foreign", "slow", "large" or "hung".
    faults : list of str
        What happened to the last four kinds, and to refusals without a sentence; the number makes the mutant again.
    most_seconds, most_mib : float
        Largest processor time and memory of a mutant.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    most_seconds: float = 0.0
    most_mib: float = 0.0

    def add(self, other: Ends) -> None:
        """Add the ends of other mutants."""
        self.counts += other.counts
        self.faults = (self.faults + other.faults)[:50]
        self.most_seconds = max(self.most_seconds, other.most_seconds)
        self.most_mib = max(self.most_mib, other.most_mib)


class _AlarmError(BaseException):
    """The time of a mutant is over."""


def changed_bytes(content: bytes, stream: np.random.Generator) -> bytes:
    """Return the bytes with one change: a bit turned, cut, put in, taken out, a huge number, or moved."""
    place, length = int(stream.integers(0, len(content) + 1)), int(stream.integers(1, 9))
    way = stream.integers(0, 6)
    if way == 0 and place < len(content):
        return content[:place] + bytes([content[place] ^ 1 << int(stream.integers(8))]) + content[place + 1 :]
    if way == 1:
        return content[:place]
    if way == 2:
        return content[:place] + stream.bytes(length) + content[place:]
    if way == 3:
        return content[:place] + content[place + length :]
    if way == 4:
        return content[:place] + huge_number(stream) + content[place + length :]
    begin = int(stream.integers(0, len(content) + 1))
    return content[:place] + content[begin : begin + length] + content[place + length :]


def huge_number(stream: np.random.Generator) -> bytes:
    """Return the bytes of one of HUGE_NUMBERS, in one of several widths and both byte orders."""
    width, form = [(1, "B"), (2, "H"), (4, "I"), (8, "Q")][int(stream.integers(4))]
    number = HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))] % 2 ** (8 * width)
    return struct.pack(f"{'<>'[int(stream.integers(2))]}{form}", number)


def changed_text(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a text with one word, number or quoted value replaced by one of BAD_TEXTS, or as `changed_bytes` does."""
    words = [*re.finditer(rb"[\w.+-]+|\"[^\"]*\"", content)]
    if not words or stream.random() < 0.2:
        return changed_bytes(content, stream)
    word = words[int(stream.integers(len(words)))]
    bad = BAD_TEXTS[int(stream.integers(len(BAD_TEXTS)))].encode(errors="surrogatepass")
    if stream.random() < 0.3 and len(words) > 1:
        bad = words[int(stream.integers(len(words)))][0]
    return content[: word.start()] + bad + content[word.end() :]


def mutant(reader: Reader, valid: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return one mutant of a reader's files; seed and number make it again."""
    stream = np.random.default_rng([seed, number])
    content = valid[int(stream.integers(len(valid)))]
    for _ in range(stream.integers(1, 4)):
        content = reader.mutate[int(stream.integers(len(reader.mutate)))](content, stream)
    return content


def run_mutants(reader: Reader, mutants: int, seed: int = 0, keep: Callable[[Ends], object] = lambda _: None) -> Ends:
    """Read mutants in a child process, which is replaced if one hangs or kills it, and return their ends.

    Parameters
    ----------
    reader : Reader
        The reader.
    mutants : int
        Number of mutants.
    seed : int
        Seed of the mutations.
    keep : callable
        Is called with the ends so far, about once a second.
    """
    context = multiprocessing.get_context("fork")
    place: Any = context.Value("q", 0)
    ends = Ends()
    with Progress(f"mutants of {reader.name}", "mutants", mutants) as progress:
        while place.value < mutants:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(theirs, reader, seed, place, mutants))
            child.start()
            theirs.close()
            while (found := _received(ours, child)) is not None:
                ends.add(found)
                keep(ends)
                progress.advance(found.counts.total())
            child.join()
            if place.value < mutants:
                fault = f"{reader.name}: mutant {place.value} of seed {seed} hung or killed the process"
                ends.add(Ends(Counter(["hung"]), [fault]))
                place.value += 1
    return ends


def _received(pipe: Any, child: Any) -> Ends | None:
    """Return the ends of the next mutants; None at the end, or when the child hangs, which is killed, or has died."""
    try:
        if pipe.poll(_HUNG_SECONDS):
            found: Ends | str = pipe.recv()
            if isinstance(found, str):
                raise AssertionError(found)
            return found
        child.kill()
    except EOFError:
        pass
    return None


def _child(pipe: Any, reader: Reader, seed: int, place: Any, mutants: int) -> None:
    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    signal.signal(signal.SIGALRM, _raise)
    valid = list(reader.valid())
    ends, sent = Ends(), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / f"mutant{reader.suffix}"
        for content in valid:  # what is imported or compiled once does not count
            path.write_bytes(content)
            try:
                reader.read(path)
            except BaseException:
                pipe.send(f"{reader.name}: a valid file is not read: {traceback.format_exc()}")
                return
        for number in range(place.value, mutants):
            place.value = number
            path.write_bytes(mutant(reader, valid, seed, number))
            ends.add(_one(reader, path, f"{reader.name}: mutant {number} of seed {seed}"))
            if time.monotonic() - sent > 1:
                pipe.send(ends)
                ends, sent = Ends(), time.monotonic()
        pipe.send(ends)
        place.value = mutants
    pipe.close()


def _raise(*_: object) -> None:
    raise _AlarmError


def _one(reader: Reader, path: Path, name: str) -> Ends:
    """Read one mutant."""
    before, peak = _memory_mib()
    if peak - before > _UNSEEN_MIB:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak, which takes time where much memory is in use
        before, peak = _memory_mib()
    signal.setitimer(signal.ITIMER_REAL, 20 * MOST_SECONDS)
    begin = time.process_time()
    faults = []
    try:
        try:
            reader.read(path)
            end = "read"
        except InputError as error:
            end = "refused"
            if not str(error) or "Traceback" in str(error):
                faults.append(f"{name}: refused without a sentence: {error!r}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _AlarmError:
        end = "slow"
    except BaseException as error:  # whatever it is, it is no InputError
        end = "foreign"
        where = traceback.extract_tb(error.__traceback__)[-1]
        faults.append(f"{name}: {type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})")
    seconds, after = time.process_time() - begin, _memory_mib()[1]
    mib = after - before if after > peak else 0.0
    scale = max(1.0, path.stat().st_size / 1e6)
    if end != "foreign" and seconds > MOST_SECONDS * scale:
        end = "slow"
    if end in ("read", "refused") and mib > MOST_MIB * scale:
        end = "large"
    if end in ("slow", "large"):
        faults.append(f"{name}: {seconds:.1f} s, {mib:,.0f} MiB")
    return Ends(Counter([end]), faults, seconds, mib)


def _memory_mib() -> tuple[float, float]:
    """Return the memory that this process has in use, and the most that it had, MiB."""
    found = dict(_MEMORY.findall(_STATUS.read_bytes()))
    return int(found[b"VmRSS"]) / 1024, int(found[b"VmHWM"]) / 1024
