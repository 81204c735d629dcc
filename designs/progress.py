"""Progress of sweeps and studies: number done, rate, best so far, time left; a bar on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

LINE_SECONDS = 10.0


class Progress:
    """Progress of a long search, shown on standard error. Use as a context manager.

    Parameters
    ----------
    title : str
        Name of the search.
    unit : str
        Plural noun for what is counted, such as "points".
    points : int
        Points of the whole search.
    done : int
        Points that were finished before this run.
    """

    def __init__(self, title: str, unit: str, points: int, done: int = 0) -> None:
        self._title, self._unit = title, unit
        self._points, self._before, self.done = points, done, done
        self._begin = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn(self._title),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:,.0f} " + self._unit + "/s; {task.fields[best]};"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._points, completed=self.done, rate=0.0, best=self.best)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is not None and self.done < self._points:
            print(f"{self._title} stopped: {self.line()}", file=sys.stderr)

    def advance(self, points: int) -> None:
        """Count `points` more as done."""
        self.done += points
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self.points_per_second, best=self.best)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            print(f"{self._title}: {self.line()}", file=sys.stderr, flush=True)

    @property
    def points_per_second(self) -> float:
        """Rate of this run."""
        return (self.done - self._before) / max(time.monotonic() - self._begin, 1e-9)

    @property
    def best(self) -> str:
        """The best so far, in a few words."""
        raise NotImplementedError

    def line(self) -> str:
        """Return the progress in one line."""
        rate = self.points_per_second
        left = f"{max(self._points - self.done, 0) / rate:,.0f} s left" if rate > 0 else "time left unknown"
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{self.done:,} of {self._points:,} {self._unit}, {shown} a second; {self.best}; {left}"
