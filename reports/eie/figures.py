"""Figures of EIE's Figs 6 to 13 and of Table IV, our results beside the paper's where it prints numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from reports.eie import published as paper
from reports.eie.tables import balance, by_layer, scaling, speedups, times_of, with_real
from reports.figures.sweep import STYLES
from reports.paper_table import PaperTable

Row = Mapping[str, Any]
_MASKS = {"random": "random masks", "uneven": "uneven masks"}


def draw_times(rows: Sequence[Row]) -> Figure:
    """Draw Table IV: the paper's actual times, and ours with random, uneven and real masks."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    series = {"paper, actual": {row["layer"]: row["paper_actual_us"] for row in rows}}
    for weights in ("random", "uneven", "real"):
        series[f"ours, {weights}"] = {layer: row["latency_us"] for layer, row in by_layer(rows, weights).items()}
    _bars(axes, paper.LAYERS, series, [STYLES[number][0] for number in (6, 0, 1, 2)])
    axes.set_ylabel("us")
    axes.set_title("EIE Table IV: times of the nine layers on 64 PEs", fontsize=11)
    return figure


def draw_speedups(rows: Sequence[Row]) -> Figure:
    """Draw Fig 6."""
    series: dict[str, dict[str, float]] = {"paper": dict(zip(paper.LAYERS, map(float, paper.SPEEDUPS), strict=True))}
    for weights, label in _MASKS.items():
        ours = speedups(times_of(with_real(rows, weights)))
        series[f"ours, {label}"] = dict(zip(paper.LAYERS, ours, strict=True))
    return _log_bars(series, "EIE Fig 6: speedup over the CPU, dense, without batching")


def draw_energy(table: PaperTable) -> Figure:
    """Draw Fig 7 from its table."""
    headings = [heading for heading, _ in table.columns]
    series = {
        heading: {row[0]: row[headings.index(heading)] for row in table.rows if row[0] in paper.LAYERS}
        for heading in ("paper", f"ours at {paper.FIG_7_WATT:.3f} W", "ours at our power")
    }
    return _log_bars(series, "EIE Fig 7: energy efficiency over the CPU, dense")


def draw_queues(queues: Mapping[str, Sequence[Row]], depths: Sequence[int]) -> Figure:
    """Draw Fig 8 for both kinds of masks; depths count the columns that a queue holds."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    all_axes = figure.subplots(2, 1)
    for axes, (weights, rows) in zip(all_axes, queues.items(), strict=True):
        series = {
            str(depth): {row["layer"]: balance(row) for row in rows if row["queue_slots"] == depth + 1}
            for depth in depths
        }
        _bars(axes, paper.LAYERS, series, _shades(len(depths)), "columns in a queue")
        _share(axes, "load balance", _MASKS[weights])
    figure.suptitle("EIE Fig 8: load balance against the depth of the queue", fontsize=11)
    return figure


def draw_scaling(scaled: Mapping[str, Sequence[Row]], figure_number: int) -> Figure:
    """Draw Fig 11, 12 or 13 for both kinds of masks."""
    titles = {
        11: ("speedup over one PE", "EIE Fig 11: speedup against PEs"),
        12: ("share of real work", "EIE Fig 12: more PEs need less padding"),
        13: ("load balance", "EIE Fig 13: load balance against PEs"),
    }
    label, title = titles[figure_number]
    figure = Figure(figsize=(11, 7), layout="constrained")
    all_axes = figure.subplots(2, 1)
    for axes, (weights, rows) in zip(all_axes, scaled.items(), strict=True):
        of_layer = {layer: scaling(rows, layer, figure_number) for layer in paper.LAYERS}
        counts = list(of_layer[paper.LAYERS[0]])
        series = {str(pes): {layer: of[pes] for layer, of in of_layer.items()} for pes in counts}
        _bars(axes, paper.LAYERS, series, _shades(len(counts)), "PEs")
        if figure_number == 11:
            axes.set_yscale("log")
            axes.set_ylabel(label)
            axes.set_title(_MASKS[weights], fontsize=10)
        else:
            _share(axes, label, _MASKS[weights])
    figure.suptitle(title, fontsize=11)
    return figure


def draw_widths(table: PaperTable) -> Figure:
    """Draw Fig 9 from its table: reads with the energy per read, and the total energy."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    reads, energy = figure.subplots(1, 2)
    one = reads.twinx()
    for number, rule in enumerate(dict.fromkeys(row[0] for row in table.rows)):
        of_rule = [row for row in table.rows if row[0] == rule]
        places = range(len(of_rule))
        colour, marker = STYLES[number]
        reads.plot(places, [row[2] / 1e3 for row in of_rule], color=colour, marker=marker, label=rule)
        energy.plot(places, [row[4] for row in of_rule], color=colour, marker=marker)
        best = min(places, key=[row[4] for row in of_rule].__getitem__)
        energy.plot(best, of_rule[best][4], "o", markersize=14, fillstyle="none", color=colour)
        if number == 0:
            one.plot(places, [row[3] for row in of_rule], color="0.45", linestyle="--")
            for axes in (reads, energy):
                axes.set_xticks(list(places), [f"{row[1]}" for row in of_rule])
    one.set_ylabel("pJ per read (dashed)")
    one.set_ylim(bottom=0)
    reads.set_ylabel("reads, thousands")
    energy.set_ylabel("nJ of all reads (o: minimum)")
    for axes in (reads, energy):
        axes.set_xlabel("bits of a line")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.legend(*reads.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(
        "EIE Fig 9: line reads of AlexNet's layers and their energy; the paper finds 64 bits best", fontsize=11
    )
    return figure


def draw_precision(rows: Sequence[Row]) -> Figure:
    """Draw Fig 10: the paper's AlexNet beside our networks."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row["precision"] for row in rows))
    series: dict[str, dict[str, float]] = {"AlexNet, top-5 (paper)": dict(paper.ACCURACIES)}
    for network in dict.fromkeys(row["network"] for row in rows):
        series[f"{network} (ours)"] = {row["precision"]: row["accuracy"] for row in rows if row["network"] == network}
    _bars(axes, names, series, [STYLES[number][0] for number in (6, 0, 1)])
    _share(axes, "accuracy", "EIE Fig 10: accuracy against the array's arithmetic")
    return figure


def _log_bars(series: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    _bars(axes, paper.LAYERS, series, [STYLES[number][0] for number in (6, 0, 1)])
    axes.set_yscale("log")
    axes.set_ylabel("ratio")
    axes.set_title(title, fontsize=11)
    return figure


def _bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Mapping[str, float]],
    colours: Sequence[Any],
    legend: str | None = None,
) -> None:
    """Draw bars side by side for each group; a series need not have all groups."""
    width = 0.84 / len(series)
    for number, ((label, values), colour) in enumerate(zip(series.items(), colours, strict=False)):
        present = [(place, values[group]) for place, group in enumerate(groups) if group in values]
        places = [place + (number - (len(series) - 1) / 2) * width for place, _ in present]
        axes.bar(
            places, [value for _, value in present], width, color=colour, label=label, edgecolor="white", linewidth=0.3
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(title=legend, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _share(axes: Axes, label: str, title: str) -> None:
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=10)


def _shades(number: int) -> list[Any]:
    """Return colours from dark to light, which remain distinct without hue."""
    colours = mpl.colormaps["viridis"]
    return [colours(0.95 * place / max(1, number - 1)) for place in range(number)]
