"""Figure of a layer over time: busy PEs, queues and the broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from sim.observe.timeline_summary import TimelineSummary

MOST_BINS = 250  # so that a bin is a few pixels wide
# Okabe and Ito's colours, which colour-blind readers can distinguish: work, and delays
BLUE, ORANGE = "#0072B2", "#D55E00"
LIMIT: dict[str, Any] = {"color": "0.45", "linestyle": "--", "linewidth": 1}


def draw_timeline(summary: TimelineSummary) -> Figure:
    """Draw a layer over time, in cycles and us.

    The three panels show the busy PEs and the PEs with a full queue; the columns in the fullest queue and in the mean
    queue; and the shares of cycles in which the scan broadcasts and is blocked. A step is the mean of the cycles of one
    bin. All bins but the last have the same whole number of cycles.

    Parameters
    ----------
    summary : TimelineSummary
        Values of each cycle.
    """
    cycles = summary.cycles
    edges, bins = summary.bins(MOST_BINS)
    busy, full, mean, fullest, broadcast, blocked = (
        bins[name]
        for name in ("busy_pes", "full_queues", "queue_columns_mean", "queue_columns_max", "broadcast", "blocked")
    )
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    pe_axes, queue_axes, scan_axes = figure.subplots(3, 1, sharex=True)

    pe_axes.axhline(summary.num_pes, label="all", **LIMIT)
    pe_axes.stairs(busy, edges, fill=True, color=BLUE, alpha=0.3)
    pe_axes.stairs(busy, edges, color=BLUE, label="busy")
    pe_axes.stairs(full, edges, color=ORANGE, label="with a full queue")
    pe_axes.set_ylim(0, 1.08 * summary.num_pes)
    pe_axes.set_ylabel("PEs")

    queue_axes.axhline(summary.queue_depth, label="depth", **LIMIT)
    queue_axes.stairs(fullest, edges, color=ORANGE, label="fullest queue")
    queue_axes.stairs(mean, edges, color=BLUE, label="mean of all queues")
    queue_axes.set_ylim(0, 1.08 * summary.queue_depth)
    queue_axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    queue_axes.set_ylabel("columns in a queue")

    at_work = broadcast + blocked
    scan_axes.stairs(
        np.ones_like(at_work), edges, baseline=at_work, fill=True, color="0.92", label="changes rows, or has finished"
    )
    scan_axes.stairs(
        at_work,
        edges,
        baseline=broadcast,
        fill=True,
        color=ORANGE,
        alpha=0.5,
        label="waits for a full queue",
    )
    scan_axes.stairs(broadcast, edges, fill=True, color=BLUE, alpha=0.8, label="broadcasts a column")
    scan_axes.set_ylim(0, 1)
    scan_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    scan_axes.set_ylabel("cycles of the scan")

    for axes in (pe_axes, queue_axes, scan_axes):
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _label_time(pe_axes, scan_axes, summary)
    name = summary.name.replace("$", r"\$")  # which would begin a formula
    figure.suptitle(
        f"{name} on {summary.num_pes:,} PEs with queues of {summary.queue_depth:,} columns\n"
        f"{cycles:,} cycles, {summary.busy_pes.mean() / summary.num_pes:.1%} of PEs busy, broadcast blocked in "
        f"{summary.blocked.mean():.1%} of cycles",
        fontsize=11,
    )
    return figure


def _label_time(top: Axes, bottom: Axes, summary: TimelineSummary) -> None:
    """Label cycles below the last panel and microseconds above the first."""
    bottom.set_xlim(0, summary.cycles)
    bottom.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bottom.set_xlabel("cycles")
    clock_mhz = summary.clock_mhz

    def in_us(cycles: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(cycles, dtype=np.float64) / clock_mhz

    def in_cycles(us: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(us, dtype=np.float64) * clock_mhz

    time_axis = top.secondary_xaxis("top", functions=(in_us, in_cycles))
    time_axis.set_xlabel(f"us at {clock_mhz:,g} MHz")
