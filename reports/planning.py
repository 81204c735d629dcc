"""Planned compression beside other ways of choosing it: tables and figures of `designs.experiments.planning`'s results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.stats import spearmanr

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
DROPS = (0.005, 0.01, 0.03)
NETWORKS = {"lenet_5": "LeNet-5 on MNIST", "resnet_20": "ResNet-20 on CIFAR-10"}
METHODS = {
    "planned": "planned",
    "scan": "scan of each layer",
    "uniform": "one density and width",
    "tolerances": "tolerances of weights alone",
}


def sizes_markdown(curves: Sequence[Row]) -> str:
    """The smallest container of each method that loses at most so much accuracy on the test images, not retrained."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in curves):
        for drop in DROPS:
            smallest = {}
            for method in METHODS:
                kept = [
                    row
                    for row in curves
                    if row["network"] == network
                    and row["method"] == method
                    and row["accuracy"] >= row["accuracy_before"] - drop - 1e-9
                ]
                if kept:
                    smallest[method] = min(kept, key=lambda row: int(row["size_bytes"]))
            planned = smallest.get("planned", {}).get("size_bytes")
            own = []
            for method in METHODS:
                found = smallest.get(method)
                if found is None:
                    own.append("none")
                elif method == "planned" or planned is None:
                    own.append(f"{found['size_bytes']:,}")
                else:
                    own.append(f"{found['size_bytes']:,} (planned {planned / found['size_bytes'] - 1:+.0%})")
            cells.append([NETWORKS[network], f"{100 * drop:g} points", *own])
    return markdown(["network", "accuracy lost at most", *(f"{name}, bytes" for name in METHODS.values())], cells)


def search_markdown(search: Sequence[Row]) -> str:
    """A plan and the black-box search over the same choices, at the same divergence on the same pool."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in search):
        for method in ("planned", "black box"):
            last = [row for row in search if row["network"] == network and row["method"] == method][-1]
            size = "none" if last["size_bytes"] < 0 else f"{last['size_bytes']:,}"
            accuracy = "" if last["accuracy"] < 0 else f"{last['accuracy']:.2%}"
            cells.append([NETWORKS[network], method, f"{last['evaluations']:.1f}", size, accuracy])
    return markdown(["network", "how", "runs over the pool", "bytes", "accuracy on the test images"], cells)


def predictions_markdown(predictions: Sequence[Row]) -> str:
    """How well the analysis alone orders random plans."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in predictions):
        rows = [row for row in predictions if row["network"] == network]
        predicted, measured, changed = (
            [row[name] for row in rows] for name in ("predicted", "measured", "changed_answers")
        )
        correlations = [f"{spearmanr(predicted, each).statistic:.3f}" for each in (measured, changed)]
        cells.append([NETWORKS[network], str(len(rows)), *correlations])
    return markdown(["network", "random plans", "rank correlation, divergence", "with changed answers"], cells)


def committee_markdown(rows: Sequence[Row]) -> str:
    """Plans on few inputs: how many of them keep the bound on all test images, and what they take."""
    cells = []
    for number in sorted({row["number"] for row in rows}):
        own = [str(number)]
        for how in ("committee", "random"):
            found = [row for row in rows if row["number"] == number and row["how"] == how]
            shares = [row["divergence"] / row["bound"] for row in found]
            held = sum(share <= 1 for share in shares)
            size = int(np.median([row["size_bytes"] for row in found]))
            own += [f"{held} of {len(found)}", f"{np.median(shares):.2f} ({max(shares):.2f})", f"{size:,}"]
        cells.append(own)
    both = [
        f"{how}: {what}"
        for how in ("committee", "random")
        for what in ("bound kept", "divergence over bound, median (largest)", "bytes, median")
    ]
    return markdown(["inputs", *both], cells)


def inputs_needed(rows: Sequence[Row], how: str) -> float:
    """The number of inputs from which on the bound is kept, median over seeds; infinite if it never is for good."""
    needed = []
    for seed in {row["seed"] for row in rows}:
        own = sorted(
            (row["number"], row["divergence"] <= row["bound"])
            for row in rows
            if row["how"] == how and row["seed"] == seed
        )
        broken = [number for number, kept in own if not kept]
        later = [number for number, _ in own if not broken or number > max(broken)]
        needed.append(float(min(later)) if later else float("inf"))
    return float(np.median(needed))


def budgets_markdown(budgets: Sequence[Row]) -> str:
    """A first plan, and others from the same analysis."""
    cells = []
    for row in budgets:
        first = next(each["seconds"] for each in budgets if each["network"] == row["network"])
        confidence = "" if row["confidence"] < 0 else f"{row['confidence']:.0%}"
        kept = "yes" if row["feasible"] else f"no: {row['nearest'] or row['binding']}"
        cells.append(
            [
                NETWORKS[row["network"]],
                row["asked"],
                f"{row['seconds']:.2f} s (1/{first / row['seconds']:,.0f})",
                f"{row['measurements']:.1f}",
                f"{row['size_bytes']:,.0f}",
                f"{row['latency_us']:,.1f}",
                f"{row['energy_uj']:,.2f}",
                f"{row['used']:.4f} of {row['bound']:g}",
                confidence,
                row["binding"],
                kept,
            ]
        )
    headings = ["network", "asked", "time", "runs", "bytes", "us", "uJ", "divergence", "confidence", "binding", "kept"]
    return markdown(headings, cells)


def draw_planning(results: Mapping[str, Sequence[Row]]) -> dict[str, Figure]:
    """A figure by file name: accuracy against size, predictions, the black-box search, and the committee."""
    figures = {
        "planned_sizes": _sizes_figure(results["curves"]),
        "planned_predictions": _predictions_figure(results["predictions"]),
        "planned_search": _search_figure(results["search"]),
    }
    if results["committee"]:
        figures["planned_committee"] = _committee_figure(results["committee"])
    return figures


def _panels(rows: Sequence[Row]) -> tuple[Figure, dict[str, Axes]]:
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(5.4 * len(networks), 4.4), layout="constrained")
    panels = figure.subplots(1, len(networks), squeeze=False)[0]
    for network, axes in zip(networks, panels, strict=True):
        axes.set_title(NETWORKS[network], fontsize=11)
        axes.grid(alpha=0.3)
    return figure, dict(zip(networks, panels, strict=True))


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
        axes.plot(ends, ends, color="0.45", linestyle="--", label="measured as predicted")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("divergence that the analysis predicts, nats")
        axes.set_ylabel("divergence on test images, nats")
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


def _committee_figure(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    numbers = sorted({row["number"] for row in rows})
    for series, (how, shift) in enumerate((("committee", 0.93), ("random", 1.07))):
        colour, marker = STYLES[series]
        of_how = [row for row in rows if row["how"] == how]
        axes.plot(
            [row["number"] * shift for row in of_how],
            [row["divergence"] / row["bound"] for row in of_how],
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="none",
            label=f"inputs chosen {'by a committee' if how == 'committee' else 'at random'}",
        )
    axes.axhline(1, color="0.45", linestyle="--", label="the bound")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(number) for number in numbers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("inputs that the plan was made on")
    axes.set_ylabel("divergence on all test images over the bound")
    axes.set_title("LeNet-5 on MNIST, ten plans each", fontsize=11)
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
