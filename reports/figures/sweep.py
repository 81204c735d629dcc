"""Figure of a sweep: cycles and efficiency of a network against PEs and queue slots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from designs.sweeps.totals import DesignPoint
from traces.files.atomic_file import atomic_file

# Okabe and Ito's colours, which colour-blind readers can distinguish; each with its own marker
STYLES = [
    ("#0072B2", "o"),
    ("#E69F00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#56B4E9", "v"),
    ("#D55E00", "P"),
    ("#000000", "X"),
]


def draw_sweep(points: Sequence[DesignPoint], network: dict[str, Any]) -> Figure:
    """Draw cycles per input and efficiency against the number of PEs, with a line for each queue.

    Parameters
    ----------
    points : sequence of DesignPoint
        Designs. The line width changes neither cycles nor efficiency, so the first width is drawn.
    network : dict
        Summary of the network in the sweep's result file.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    cycles_axes, efficiency_axes = figure.subplots(1, 2)
    width = points[0].line_bits
    all_pes = sorted({point.num_pes for point in points})
    queues = sorted({point.queue_slots for point in points})
    for number, slots in enumerate(queues):
        colour, marker = STYLES[number % len(STYLES)]
        size = 9 - 5 * number / len(queues)  # decreasing, so that coinciding lines remain visible
        line = sorted((p for p in points if p.line_bits == width and p.queue_slots == slots), key=lambda p: p.num_pes)
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size, "label": f"{slots}"}
        pes = [point.num_pes for point in line]
        cycles_axes.plot(pes, [point.cycles for point in line], **style)
        efficiency_axes.plot(pes, [point.efficiency for point in line], **style)
    first = min(points, key=lambda point: point.num_pes)
    work = first.efficiency * first.cycles * first.num_pes
    cycles_axes.plot(
        all_pes, [work / num_pes for num_pes in all_pes], color="0.45", linestyle="--", label="all PEs always busy"
    )
    cycles_axes.set_yscale("log")
    cycles_axes.set_ylabel("cycles per input")
    efficiency_axes.set_ylim(0, 1)
    efficiency_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    efficiency_axes.set_ylabel("efficiency (useful MACs per PE and cycle)")
    for axes in (cycles_axes, efficiency_axes):
        _label_pes(axes, all_pes)
    cycles_axes.legend(title="queue slots")
    ratio = network["bytes_before"] / network["bytes_after"]
    figure.suptitle(
        f"{network['images']}: accuracy {network['accuracy_before']:.2%} before, {network['accuracy_after']:.2%} after "
        f"{ratio:.1f}x compression; mean of {network['inputs']} test images",
        fontsize=11,
    )
    return figure


def _label_pes(axes: Axes, all_pes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(num_pes) for num_pes in all_pes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(num_pes) for num_pes in all_pes])
    axes.set_xlabel("processing elements")
    axes.grid(alpha=0.3)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG (the same bytes for the same data) and as PNG; return the two paths."""
    written = []
    with mpl.rc_context({"svg.hashsalt": "eie-codesign", "svg.fonttype": "none"}):
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {})):
            path = stem.with_name(stem.name + suffix)
            with atomic_file(path) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=150, metadata=metadata)
            written.append(path)
    return written
