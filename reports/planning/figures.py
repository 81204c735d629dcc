"""Figures that compare planned compression with other methods, from the experiment "planning"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.sweep import STYLES
from reports.planning.committee import draw_committee
from reports.planning.tables import DROPS, METHODS, NETWORKS
from reports.planning.thresholds import draw_thresholds

Row = dict[str, Any]
_COLUMNS = 3  # panels in a row


def draw_planning(results: Mapping[str, Sequence[Row]]) -> dict[str, Figure]:
    """Draw sizes against accuracy and loss, coverage, predictions, the black-box search, and the committee.

    Parameters
    ----------
    results : mapping of str to rows
        Rows by part, a key of PLANNING_COLUMNS; a part without rows has no figure.

    Returns
    -------
    dict of str to Figure
        Figures by file name, without suffix.
    """
    figures = {}
    labelled = [row for row in results["curves"] if row["accuracy_before"] >= 0]
    if labelled:
        figures["planned_sizes"] = _sizes_figure(labelled)
    draws = {"curves": _losses_figure, "predictions": _predictions_figure, "search": _search_figure}
    draws |= {"coverage": _coverage_figure, "committee": draw_committee, "thresholds": draw_thresholds}
    names = {"curves": "planned_losses"}
    for part, draw in draws.items():
        if results[part]:
            figures[names.get(part, f"planned_{part}")] = draw(results[part])
    return figures


def _panels(rows: Sequence[Row]) -> tuple[Figure, dict[str, Axes]]:
    networks = list(dict.fromkeys(row["network"] for row in rows))
    columns = min(_COLUMNS, len(networks))
    lines = -(-len(networks) // columns)
    figure = Figure(figsize=(5.4 * columns, 4.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(networks) :]:
        axes.set_visible(False)
    for network, axes in zip(networks, panels, strict=False):
        axes.set_title(NETWORKS[network], fontsize=11)
        axes.grid(alpha=0.3)
    return figure, dict(zip(networks, panels, strict=False))


def _losses_figure(curves: Sequence[Row]) -> Figure:
    figure, panels = _panels(curves)
    for network, axes in panels.items():
        for number, (method, label) in enumerate(METHODS.items()):
            own = [row for row in curves if row["network"] == network and row["method"] == method]
            points = sorted((row["size_bytes"] / 1000, row["unseen_loss"]) for row in own if row["unseen_loss"] > 0)
            if points:
                colour, marker = STYLES[number]
                axes.plot(
                    *zip(*points, strict=True), color=colour, marker=marker, markersize=4, linestyle="none", label=label
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("container, kB")
        axes.set_ylabel("loss on unseen inputs")
        axes.legend(fontsize=8)
    return figure


def _coverage_figure(coverage: Sequence[Row]) -> Figure:
    figure, panels = _panels(coverage)
    for network, axes in panels.items():
        rows = [row for row in coverage if row["network"] == network]
        ends = [0.0, 1.1 * max(max(row["limit"], row["unseen_loss"]) for row in rows)]
        for number, inputs in enumerate(dict.fromkeys(row["inputs"] for row in rows)):
            own = [row for row in rows if row["inputs"] == inputs]
            colour, marker = STYLES[number]
            points = ([row["limit"] for row in own], [row["unseen_loss"] for row in own])
            axes.plot(*points, color=colour, marker=marker, markersize=4, linestyle="none", label=f"pool: {inputs}")
        axes.plot(ends, ends, color="0.45", linestyle="--", label="unseen loss = stated limit")
        axes.set_xlim(0, ends[1])
        axes.set_ylim(0, ends[1])
        axes.set_xlabel("stated limit of the loss")
        axes.set_ylabel("loss on unseen inputs")
        axes.legend(fontsize=8)
    return figure


def _sizes_figure(curves: Sequence[Row]) -> Figure:
    figure, panels = _panels(curves)
    for network, axes in panels.items():
        for number, (method, label) in enumerate(METHODS.items()):
            points = sorted(
                (row["size_bytes"], 100 * (row["accuracy_before"] - row["accuracy"]))
                for row in curves
                if row["network"] == network and row["method"] == method
            )
            colour, marker = STYLES[number]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, linestyle="none")
            best = [point for place, point in enumerate(points) if all(point[1] < lost for _, lost in points[:place])]
            axes.plot(*zip(*best, strict=True), color=colour, label=label, marker=marker, markersize=4)
        for drop in DROPS:
            axes.axhline(100 * drop, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_ylim(-0.5, 6)
        _log_bytes(axes)
        axes.set_ylabel("accuracy lost, points")
        axes.legend(fontsize=8)
    return figure


def _log_bytes(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1000.0 * each for each in (15, 25, 40, 70, 100, 150, 250, 400)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    axes.set_xlabel("container, kB")


def _predictions_figure(predictions: Sequence[Row]) -> Figure:
    figure, panels = _panels(predictions)
    for network, axes in panels.items():
        rows = [row for row in predictions if row["network"] == network]
        predicted, measured = ([row[name] for row in rows] for name in ("predicted", "measured"))
        axes.plot(predicted, measured, color=STYLES[0][0], marker="o", markersize=3, linestyle="none")
        ends = [min(predicted), max(predicted)]
        axes.plot(ends, ends, color="0.45", linestyle="--", label="measured = predicted")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("predicted loss")
        axes.set_ylabel("measured loss on unseen inputs")
        axes.legend(fontsize=8)
    return figure


def _search_figure(search: Sequence[Row]) -> Figure:
    figure, panels = _panels(search)
    for network, axes in panels.items():
        rows = [row for row in search if row["network"] == network and row["size_bytes"] > 0]
        box = [(row["evaluations"], row["size_bytes"] / 1000) for row in rows if row["method"] == "black box"]
        plan = [(row["evaluations"], row["size_bytes"] / 1000) for row in rows if row["method"] == "planned"]
        axes.step(*zip(*box, strict=True), where="post", color=STYLES[1][0], label="black-box search (TPE)")
        axes.plot(*zip(*plan, strict=True), color=STYLES[0][0], marker="o", linestyle="none", label="plan")
        axes.set_xscale("log")
        axes.set_ylim(0)
        axes.set_xlabel("runs of the network over the pool")
        axes.set_ylabel("smallest container so far, kB")
        axes.legend(fontsize=8)
    return figure
