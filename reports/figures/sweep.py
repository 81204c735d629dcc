"""Figure of a sweep: cycles and efficiency of a network against PEs and queue slots."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
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
_MOST_LABELS = 10  # of numbers of PEs on an axis
_MOST_NAMES = 60  # characters of the names of a workload


def draw_sweep(points: Sequence[DesignPoint], title: str) -> Figure:
    """Draw cycles per input and efficiency against the number of PEs, with a line for each queue.

    Of the designs with as many PEs and slots, the one of the fewest cycles is drawn. More queues than there are styles
    share one line.

    Parameters
    ----------
    points : sequence of DesignPoint
        Designs that run every layer, at least one.
    title : str
        Title of the figure, such as that of `sweep_title`.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    cycles_axes, efficiency_axes = figure.subplots(1, 2)
    all_pes = sorted({point.num_pes for point in points})
    queues = sorted({point.queue_slots for point in points})
    lines = {f"{slots}": {slots} for slots in queues}
    if len(queues) > len(STYLES):
        lines = {f"best of {queues[0]:,} to {queues[-1]:,}": set(queues)}
    for number, (label, slots) in enumerate(lines.items()):
        colour, marker = STYLES[number]
        size = 9 - 5 * number / len(lines) if len(all_pes) <= _MOST_LABELS else 4  # coinciding lines remain visible
        line = _fewest_cycles(point for point in points if point.queue_slots in slots)
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size, "label": label}
        pes = [point.num_pes for point in line]
        cycles_axes.plot(pes, [point.cycles for point in line], **style)
        efficiency_axes.plot(pes, [point.efficiency for point in line], **style)
    first = points[0]
    work = first.efficiency * first.cycles * first.num_pes
    busy: dict[str, Any] = {"color": "0.45", "linestyle": "--", "marker": "_" if len(all_pes) == 1 else None}
    cycles_axes.plot(all_pes, [work / num_pes for num_pes in all_pes], **busy, label="all PEs always busy")
    cycles_axes.set_yscale("log")
    cycles_axes.set_ylabel("cycles per input")
    efficiency_axes.set_ylim(0, 1)
    efficiency_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    efficiency_axes.set_ylabel("efficiency (useful MACs per PE and cycle)")
    for axes in (cycles_axes, efficiency_axes):
        _label_pes(axes, all_pes)
    cycles_axes.legend(title="queue slots")
    figure.suptitle(title, fontsize=11)
    return figure


def sweep_title(origin: Mapping[str, Any], designs: int) -> str:
    """Return the title of the figure of a sweep, from the origin of its result file and its number of designs."""
    network = origin.get("network")
    if network is None:
        workload = " ".join(part.rsplit("/", 1)[-1] for part in origin["settings"]["workload"]["name"].split(" "))
        workload = textwrap.shorten(workload, _MOST_NAMES, placeholder=" ...")
        return (
            f"{workload}: the fewest cycles for each number of PEs and queue; {designs:,} design{'s' * (designs > 1)}"
        )
    ratio = network["bytes_before"] / network["bytes_after"]
    return (
        f"{network['images']}: accuracy {network['accuracy_before']:.2%} before, {network['accuracy_after']:.2%} after "
        f"{ratio:.1f}x compression; mean of {network['inputs']} test images"
    )


def _fewest_cycles(points: Iterable[DesignPoint]) -> list[DesignPoint]:
    """Return the point of the fewest cycles for each number of PEs, in their order."""
    best: dict[int, DesignPoint] = {}
    for point in points:
        if point.num_pes not in best or point.cycles < best[point.num_pes].cycles:
            best[point.num_pes] = point
    return [best[num_pes] for num_pes in sorted(best)]


def _label_pes(axes: Axes, all_pes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    if len(all_pes) > _MOST_LABELS:
        all_pes = [2**power for power in range(all_pes[0].bit_length() - 1, (all_pes[-1] - 1).bit_length() + 1)]
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
