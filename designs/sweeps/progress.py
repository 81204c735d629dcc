"""Progress of a sweep: points done, rate, best point, time left."""

from __future__ import annotations

from designs.sweeps.totals import DesignPoint, best_of
from traces.shell.progress import Progress


class SweepProgress(Progress):
    """Progress of a sweep.

    Parameters
    ----------
    points : int
        Points of the whole sweep.
    done : int
        Points that were finished before this run.
    best : DesignPoint, optional
        Point of least energy-delay product among those.
    """

    def __init__(self, points: int, done: int = 0, best: DesignPoint | None = None) -> None:
        super().__init__("sweep", "points", points, done)
        self._best = best

    def add(self, points: int, best: DesignPoint | None) -> None:
        """Count `points` more as done; `best` is the best of them."""
        self._best = best_of(self._best, best)
        self.advance(points)

    @property
    def best(self) -> str:
        """The best point so far, in a few words."""
        if self._best is None:
            return "no point runs every layer yet"
        array = self._best.design.array
        return (
            f"best {self._best.energy_delay_nj_us:,.4g} nJ us: point {self._best.point}, {array.num_pes} PEs, "
            f"{array.queue_slots} slots, {array.line_bits}-bit lines"
        )
