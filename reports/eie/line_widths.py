"""Line reads, energy per read and total energy against the line width, as in EIE's Fig 9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]

RULES = {
    "reads_kept": "the last line is kept (the machine)",
    "reads_anew": "each column reads its lines anew",
    "reads_own_lines": "each column begins a line of its own",
}
PAPER_BEST_BITS = 64  # Fig 9


def draw_line_widths(rows: Sequence[Row]) -> Figure:
    """Draw line reads under each rule with the energy per read, and the total energy, of Alex-7 and Alex-8.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the result file, with LINE_WIDTH_COLUMNS; the real Alex-8 is drawn if it is available.
    """
    figure = Figure(figsize=(10.5, 7.2), layout="constrained")
    axes = figure.subplots(2, 2)
    for number, layer in enumerate(("Alex-7", "Alex-8")):
        real = any(row["layer"] == layer and row["weights"] == "real" for row in rows)
        of_layer = [row for row in rows if row["layer"] == layer and (row["weights"] == "real") == real]
        of_layer.sort(key=lambda row: row["line_bits"])
        _draw_layer(axes[number, 0], axes[number, 1], of_layer, f"{layer}, {of_layer[0]['weights']} weights")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle("Width of a sparse-matrix line on 64 PEs (o: least energy); EIE's Fig 9 finds 64 bits best")
    return figure


def _draw_layer(reads: Axes, energy: Axes, rows: Sequence[Row], title: str) -> None:
    widths = [row["line_bits"] for row in rows]
    for (rule, label), (colour, marker) in zip(RULES.items(), STYLES, strict=False):
        counts = [row[rule] for row in rows]
        total_nj = [row[rule] * row["read_pj"] / 1e3 for row in rows]
        reads.plot(widths, [count / 1e3 for count in counts], color=colour, marker=marker, markersize=5, label=label)
        energy.plot(widths, total_nj, color=colour, marker=marker, markersize=5)
        best = min(range(len(rows)), key=total_nj.__getitem__)
        energy.plot(widths[best], total_nj[best], "o", markersize=15, fillstyle="none", color=colour)
    one = reads.twinx()
    one.plot(widths, [row["read_pj"] for row in rows], color="0.45", linestyle="--", label="energy per read (right)")
    one.set_ylabel("pJ per read (dashed)")
    one.set_ylim(bottom=0)
    reads.set_ylabel("line reads, thousands")
    energy.set_ylabel("energy of all line reads, nJ")
    energy.axvline(PAPER_BEST_BITS, color="0.45", linestyle=":", linewidth=1)
    for axes in (reads, energy):
        axes.set_title(title, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([float(width) for width in widths]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(width) for width in widths])
        axes.set_xlabel("bits of a line")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def line_width_markdown(rows: Sequence[Row]) -> str:
    """Show, for each layer, rule and preset, the width of least energy, and the excess energy at 64 bits."""
    cells = []
    layers = dict.fromkeys((row["layer"], row["weights"]) for row in rows)
    for layer, weights in layers:
        of_layer = [row for row in rows if (row["layer"], row["weights"]) == (layer, weights)]
        at_64 = next(row for row in of_layer if row["line_bits"] == PAPER_BEST_BITS)
        row_cells = [layer, weights, f"{at_64['entries'] / at_64['reads_kept']:.1f}"]
        for energy in ("read_pj", "read_horowitz_pj"):
            for rule in RULES:
                best = min(of_layer, key=lambda row: row[rule] * row[energy])
                excess = at_64[rule] * at_64[energy] / (best[rule] * best[energy]) - 1
                row_cells.append(f"{best['line_bits']} ({excess:+.0%})")
        cells.append(row_cells)
    rules = ("kept", "anew", "own lines")
    headings = ["layer", "weights", "entries per read, 64 bits"]
    headings += [f"{preset}: {rule}" for preset in ("CACTI", "Horowitz") for rule in rules]
    return markdown(headings, cells)
