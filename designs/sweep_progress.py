"""Progress of a sweep: points done, rate, the best so far, time left; a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from designs.totals import DesignPoint

LINE_SECONDS = 10.0


class SweepProgress:
    """Shows on standard error how far a sweep has come. Use as a context manager.

    points   of the whole sweep;   done   of them, before this run
    best     among those
    """

    def __init__(self, points: int, done: int = 0, best: DesignPoint | None = None) -> None:
        self._points, self._before, self._done, self._best = points, done, done, best
        self._begin = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> SweepProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("sweeping"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:,.0f} points/s; {task.fields[best]};"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._points, completed=self._done, rate=0.0, best=self.best)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is not None and self._done < self._points:
            print(f"sweep stopped: {self.line()}", file=sys.stderr)

    def advance(self, points: int, best: DesignPoint | None) -> None:
        """So many points more are on the disk, this one the best of them."""
        self._done += points
        if best is not None and (self._best is None or best.energy_delay_nj_us < self._best.energy_delay_nj_us):
            self._best = best
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=self.points_per_second, best=self.best)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            print(f"sweep: {self.line()}", file=sys.stderr, flush=True)

    @property
    def points_per_second(self) -> float:
        """Of this run."""
        return (self._done - self._before) / max(time.monotonic() - self._begin, 1e-9)

    @property
    def best(self) -> str:
        """The best point so far, in a few words."""
        if self._best is None:
            return "none runs every layer yet"
        array = self._best.design.array
        return (
            f"best {self._best.energy_delay_nj_us:,.4g} nJ us: point {self._best.point}, {array.num_pes} PEs, "
            f"{array.queue_slots} slots, {array.line_bits}-bit lines"
        )

    def line(self) -> str:
        """All of it in one line."""
        rate = self.points_per_second
        left = f"{(self._points - self._done) / rate:,.0f} s left" if rate > 0 else "time left unknown"
        return f"{self._done:,} of {self._points:,} points, {rate:,.0f} a second; {self.best}; {left}"
