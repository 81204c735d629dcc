"""Table and figure of an array of PEs beside a dense array on the same silicon, from `python -m designs breakeven`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from designs.screens.breakeven import density_words, short_layer_names
from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
_PANELS = {"latency_density": "faster", "energy_density": "less energy"}
_LEAST = 1 / 1024  # drawn for "never"
_OUTLINED = "outlined: so at the\nlayer's own density"


def breakeven_markdown(rows: Sequence[Row]) -> str:
    """Show costs on both arrays, and the densities at which they are equal.

    Parameters
    ----------
    rows : sequence of dict
        Rows with BREAKEVEN_COLUMNS.
    """
    cells = [
        [
            row["layer"],
            f"{row['batch']:,}",
            f"{row['density']:.1%}",
            f"{row['latency_us']:,.1f}{_dram(row['from_dram'])}",
            f"{row['dense_bits']}",
            f"{row['dense_rows']:,} x {row['dense_columns']:,}, {row['dataflow']}",
            f"{row['dense_latency_us']:,.1f}{_dram(row['dense_from_dram'])}",
            f"{row['energy_nj'] / 1e3:,.2f}",
            f"{row['dense_energy_nj'] / 1e3:,.2f}",
            density_words(row["latency_density"]),
            density_words(row["energy_density"]),
        ]
        for row in rows
    ]
    headings = ["layer", "batch", "density", "us", "dense bits", "dense array", "dense us", "uJ", "dense uJ"]
    return markdown([*headings, "faster up to", "less energy up to"], cells)


def draw_breakeven(rows: Sequence[Row]) -> Figure:
    """Draw the break-even density against the batch: a row of panels for each width, a line for each layer.

    Parameters
    ----------
    rows : sequence of dict
        Rows with BREAKEVEN_COLUMNS.
    """
    widths = list(dict.fromkeys(row["dense_bits"] for row in rows))
    figure = Figure(figsize=(11, 4.2 * len(widths)), layout="constrained")
    panels = figure.subplots(len(widths), len(_PANELS), squeeze=False, sharex=True, sharey=True)
    for width, across in zip(widths, panels, strict=True):
        for (name, words), axes in zip(_PANELS.items(), across, strict=True):
            _draw(axes, [row for row in rows if row["dense_bits"] == width], name)
            axes.set_title(f"PEs: {words} than a dense array of {width} bits", fontsize=11)
    for axes in panels[-1]:
        axes.set_xlabel("batch, inputs")
    for axes in panels[:, 0]:
        axes.set_ylabel("up to this density of the weights")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="grey", marker="o", markersize=9, fillstyle="none", linestyle="none"))
    figure.legend(handles, [*labels, _OUTLINED], loc="outside right center", fontsize=9)
    return figure


def _draw(axes: Axes, rows: Sequence[Row], name: str) -> None:
    """Draw one panel; an outline marks a layer whose own density is not above the break-even."""
    layers = short_layer_names(rows)
    for place, (layer, short) in enumerate(layers.items()):
        own = [row for row in rows if row["layer"] == layer]
        colour, marker = STYLES[place % len(STYLES)]
        shift = 1 + 0.03 * (place - len(layers) / 2)  # lines that lie on each other
        batches = [row["batch"] * shift for row in own]
        densities = [max(row[name], _LEAST) for row in own]
        style = "-" if place < len(STYLES) else "--"
        axes.plot(batches, densities, style, color=colour, marker=marker, markersize=4, linewidth=0.9, label=short)
        wins = [(batch, at) for batch, at, row in zip(batches, densities, own, strict=True) if row["density"] <= at]
        if wins:
            axes.plot(*zip(*wins, strict=True), marker, color=colour, markersize=9, fillstyle="none", linestyle="none")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(_LEAST * 0.8, 1.3)
    axes.set_yticks([_LEAST, 0.01, 0.1, 1], ["never", "1 %", "10 %", "always"])
    axes.set_xticks(
        sorted({row["batch"] for row in rows}), [f"{batch:,}" for batch in sorted({r["batch"] for r in rows})]
    )
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _dram(loads: bool) -> str:
    return " (DRAM)" if loads else ""
