"""Table of what users wait for, beside its limit and its goal: `python -m tests.bench`, after `make bench`.

`make bench` keeps each run in results/bench, in the storage of pytest-benchmark. The table shows the newest run and the
median of the runs before it; a line that got slower by more than a quarter is marked.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORAGE = Path("results/bench")
SLOWER = 1.25  # as long as before, and marked


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes
    ----------
    what : str
        What is measured, and the unit.
    measured : str
        Test whose time is taken, or whose figure `figure`.
    goal : float
        Largest value that is asked for; with `more`, the smallest.
    anchor : str, optional
        Test whose time it is divided by.
    figure : str, optional
        Figure of the test that is shown instead of its time.
    more : bool
        True if more is better.
    """

    what: str
    measured: str
    goal: float
    anchor: str = ""
    figure: str = ""
    more: bool = False

    def value(self, run: Mapping[str, Any]) -> float | None:
        """Return the value in one run of all tests, or None if it was not measured."""
        if self.measured not in run or (self.anchor and self.anchor not in run):
            return None
        found = run[self.measured]
        if self.figure:
            figure = found["extra_info"].get(self.figure)
            return None if figure is None else float(figure)
        value = float(found["stats"]["min"])
        return value / float(run[self.anchor]["stats"]["min"]) if self.anchor else value

    def row(self, runs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return what, value, goal, whether it is reached, and the value before; the newest run is the last one."""
        value = self.value(runs[-1])
        before = [each for each in map(self.value, runs[:-1]) if each is not None]
        usual = statistics.median(before) if before else None
        if value is None:
            return self.what, "not measured", _number(self.goal), "", _number(usual)
        reached = value >= self.goal if self.more else value <= self.goal
        slower = usual is not None and (usual / value if self.more else value / usual) > SLOWER
        verdict = ("reached" if reached else "not reached") + (", SLOWER" if slower else "")
        return self.what, _number(value), _number(self.goal), verdict, _number(usual)


LINES = (
    Line("sweep of 9,720 points over nine layers, one process, points/s", "test_sweep", 2000, figure="rate", more=True),
    Line(
        "row assignment by entries, 4,096 x 4,096 on 64 PEs: of the time of packing",
        "test_assigning_square_rows_by_entries",
        2,
        "test_packing_square_codes",
    ),
    Line(
        "row assignment by activity: of the time of packing",
        "test_assigning_square_rows_by_activity",
        2,
        "test_packing_square_codes",
    ),
    Line(
        "packing 4,096 x 4,096 on 64 PEs: of one pass over the codes",
        "test_packing_square_codes",
        2,
        "test_one_pass_over_square_codes",
    ),
    Line(
        "packing 4,096 x 25,088 on 1,024 PEs: of one pass over the codes",
        "test_packing_large_codes",
        2,
        "test_one_pass_over_large_codes",
    ),
    Line(
        "timing of Alex-8, broadcasts given: of plain C",
        "test_timing_of_given_broadcasts",
        1.2,
        "test_timing_in_plain_c",
    ),
    Line("timing of Alex-8 with the scan: of plain C without", "test_scan_and_timing", 1.5, "test_timing_in_plain_c"),
    Line(
        "simulation of Alex-8, output and energy: of SciPy's product",
        "test_simulate_with_output_counters_and_energy",
        0.5,
        "test_scipy_csc_matrix_times_vector",
    ),
    Line(
        "SqueezeNet, an image with all outputs: of PyTorch's forward pass",
        "test_squeezenet_simulated",
        5,
        "test_squeezenet_in_pytorch",
    ),
)


def main() -> None:
    """Print the table of the newest run."""
    files = sorted(STORAGE.rglob("*.json"), key=lambda path: path.name)
    if not files:
        raise SystemExit(f"{STORAGE} holds no run; `make bench` makes one")
    runs = [{test["name"]: test for test in json.loads(path.read_text())["benchmarks"]} for path in files]
    rows = [("what", "now", "goal", "", "before"), *(line.row(runs) for line in LINES)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"{files[-1]}; before: {len(runs) - 1} runs")
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
