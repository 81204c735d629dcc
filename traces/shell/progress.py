"""Progress of long steps on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from traces.shell.printable import printable, raw_stream

LINE_SECONDS = 10.0


class Progress:
    """Progress of a long step. Use as a context manager; an interrupted step prints a last line.

    Parameters
    ----------
    title : str
        Name of the step.
    unit : str
        Plural noun for what is counted, such as "points".
    total : int
        Number of units of the whole step.
    done : int
        Units that were finished before this run.
    """

    def __init__(self, title: str, unit: str, total: int, done: int = 0) -> None:
        self._title, self._unit = title, unit
        self._total, self._before, self.done = total, done, done
        self._begin = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is not None and self.done < self._total:
            print(f"{self._title} stopped: {self.line()}", file=sys.stderr)

    def start(self) -> None:
        """Show the bar if standard error is a terminal; elsewhere make sure that a line comes every ten seconds."""
        if not sys.stderr.isatty():
            threading.Thread(target=self._report_waiting, daemon=True).start()
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=Console(file=raw_stream(sys.stderr)),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            printable(self._title), total=self._total, completed=self.done, note=printable(self._note)
        )

    def stop(self) -> None:
        """Remove the bar; print no more lines."""
        self._stopped.set()
        if self._bar is not None:
            self._bar.stop()

    def advance(self, number: int = 1) -> None:
        """Count `number` more units as done."""
        self.done += number
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=printable(self._note))
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._print(self.line())

    def _print(self, line: str) -> None:
        """Print a line and note when."""
        self._last_line = time.monotonic()
        print(f"{self._title}: {line}", file=sys.stderr, flush=True)

    def _report_waiting(self) -> None:
        """Print a line where a single unit takes longer than ten seconds; runs in a thread of its own."""
        while not self._stopped.wait(LINE_SECONDS / 10):
            if time.monotonic() - self._last_line >= LINE_SECONDS:
                running = time.monotonic() - self._begin
                self._print(f"{self.done:,} of {self._total:,} {self._unit} after {running:,.0f} s")

    @property
    def per_second(self) -> float:
        """Rate of this run."""
        return (self.done - self._before) / max(time.monotonic() - self._begin, 1e-9)

    @property
    def best(self) -> str:
        """The best result so far, in a few words; empty where there is no such thing."""
        return ""

    @property
    def _note(self) -> str:
        return f"{self.per_second:,.0f} {self._unit}/s; {self.best};" if self.best else ""

    def line(self) -> str:
        """Return the progress in one line: number done, rate, best result, time left."""
        rate = self.per_second
        left = f"{max(self._total - self.done, 0) / rate:,.0f} s left" if rate > 0 else "time left unknown"
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        parts = [f"{self.done:,} of {self._total:,} {self._unit}, {shown} per second", self.best, left]
        return "; ".join(part for part in parts if part)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show the progress of `total` steps; yields a function to call after each step."""
    progress = Progress(description, "steps", total)
    progress.start()
    try:
        yield progress.advance
    finally:
        progress.stop()


def say(line: str) -> None:
    """Print a line about a long step on standard error."""
    print(line, file=sys.stderr, flush=True)
