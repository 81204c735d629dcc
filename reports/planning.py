"""Tables and figures that compare planned compression with other methods, from the experiment "planning"."""

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
    """Show the smallest container of each method for each loss of test accuracy in DROPS, without retraining.

    Parameters
    ----------
    curves : sequence of dict
        Rows of the part "curves".
    """
    cells = []
    for network in dict.fromkeys(row["network"] for row in curves):
        for drop in DROPS:
            smallest = {}
            for method in METHODS:
                accurate = [
                    row
                    for row in curves
                    if row["network"] == network
                    and row["method"] == method
                    and row["accuracy"] >= row["accuracy_before"] - drop - 1e-9
                ]
                if accurate:
                    smallest[method] = min(accurate, key=lambda row: int(row["size_bytes"]))
            planned = smallest.get("planned", {}).get("size_bytes")
            sizes = []
            for method in METHODS:
                row = smallest.get(method)
                if row is None:
                    sizes.append("none")
                elif method == "planned" or planned is None:
                    sizes.append(f"{row['size_bytes']:,}")
                else:
                    sizes.append(f"{row['size_bytes']:,} (planned {planned / row['size_bytes'] - 1:+.0%})")
            cells.append([NETWORKS[network], f"{100 * drop:g} points", *sizes])
    return markdown(["network", "largest accuracy loss", *(f"{name}, bytes" for name in METHODS.values())], cells)


def search_markdown(search: Sequence[Row]) -> str:
    """Show a plan and the black-box search over the same choices, at the same divergence on the same pool."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in search):
        for method in ("planned", "black box"):
            last = [row for row in search if row["network"] == network and row["method"] == method][-1]
            size = "none" if last["size_bytes"] < 0 else f"{last['size_bytes']:,}"
            accuracy = "" if last["accuracy"] < 0 else f"{last['accuracy']:.2%}"
            cells.append([NETWORKS[network], method, f"{last['evaluations']:.1f}", size, accuracy])
    return markdown(["network", "method", "runs over the pool", "bytes", "test accuracy"], cells)


def predictions_markdown(predictions: Sequence[Row]) -> str:
    """Show the rank correlation between the analysis' predictions for random plans and the measurements."""
    cells = []
    for network in dict.fromkeys(row["network"] for row in predictions):
        rows = [row for row in predictions if row["network"] == network]
        predicted, measured, changed = (
            [row[name] for row in rows] for name in ("predicted", "measured", "changed_answers")
        )
        correlations = [f"{spearmanr(predicted, values).statistic:.3f}" for values in (measured, changed)]
        cells.append([NETWORKS[network], str(len(rows)), *correlations])
    return markdown(["network", "random plans", "rank correlation with divergence", "with changed answers"], cells)


def committee_markdown(rows: Sequence[Row]) -> str:
    """Show, for plans on few inputs, the number that keeps the bound on all test images, and their sizes."""
    cells = []
    for number in sorted({row["number"] for row in rows}):
        own = [str(number)]
        for how in ("committee", "random"):
            plans = [row for row in rows if row["number"] == number and row["how"] == how]
            shares = [row["divergence"] / row["bound"] for row in plans]
            holding = sum(share <= 1 for share in shares)
            size = int(np.median([row["size_bytes"] for row in plans]))
            own += [f"{holding} of {len(plans)}", f"{np.median(shares):.2f} ({max(shares):.2f})", f"{size:,}"]
        cells.append(own)
    headings = [
        f"{how}: {quantity}"
        for how in ("committee", "random")
        for quantity in ("bound holds", "divergence over bound, median (largest)", "bytes, median")
    ]
    return markdown(["inputs", *headings], cells)


def inputs_needed(rows: Sequence[Row], how: str) -> float:
    """Return the number of inputs from which the bound always holds, median over seeds.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the committee's result files.
    how : str
        Choice of the inputs, committee or random.

    Returns
    -------
    float
        Number of inputs; infinite if the bound does not hold for the largest number.
    """
    needed = []
    for seed in {row["seed"] for row in rows}:
        own = sorted(
            (row["number"], row["divergence"] <= row["bound"])
            for row in rows
            if row["how"] == how and row["seed"] == seed
        )
        violated = [number for number, holds in own if not holds]
        later = [number for number, _ in own if not violated or number > max(violated)]
        needed.append(float(min(later)) if later else float("inf"))
    return float(np.median(needed))


def inputs_needed_sentence(rows: Sequence[Row]) -> str:
    """Return a sentence with the numbers of inputs that `inputs_needed` gives."""
    return (
        f"The bound holds from {inputs_needed(rows, 'committee'):g} inputs chosen by the committee, and from "
        f"{inputs_needed(rows, 'random'):g} inputs chosen at random (median over the seeds).\n"
    )


def budgets_markdown(budgets: Sequence[Row]) -> str:
    """Show a first plan, and plans for other budgets from the same analysis."""
    cells = []
    for row in budgets:
        first = next(other["seconds"] for other in budgets if other["network"] == row["network"])
        confidence = "" if row["confidence"] < 0 else f"{row['confidence']:.0%}"
        feasible = "yes" if row["feasible"] else f"no: {row['nearest'] or row['binding']}"
        cells.append(
            [
                NETWORKS[row["network"]],
                row["asked"],
                f"{row['seconds']:.2f} s (1/{first / row['seconds']:,.0f})",
                f"{row['measurements']:.1f}",
                f"{row['size_bytes']:,.0f}",
                f"{row['latency_us']:,.1f}",
                f"{row['energy_nj']:,.0f}",
                f"{row['used']:.4f} of {row['bound']:g}",
                confidence,
                row["binding"],
                feasible,
            ]
        )
    headings = ["network", "budget", "time", "runs", "bytes", "us", "nJ", "divergence", "confidence level", "binding"]
    return markdown([*headings, "feasible"], cells)


def draw_planning(results: Mapping[str, Sequence[Row]]) -> dict[str, Figure]:
    """Draw accuracy against size, the predictions, the black-box search, and the committee.

    Parameters
    ----------
    results : mapping of str to rows
        Rows by part, a key of PLANNING_COLUMNS or "committee".

    Returns
    -------
    dict of str to Figure
        Figures by file name, without suffix.
    """
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
        axes.plot(ends, ends, color="0.45", linestyle="--", label="measured = predicted")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("predicted divergence, nats")
        axes.set_ylabel("measured divergence on test images, nats")
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
        plans = [row for row in rows if row["how"] == how]
        axes.plot(
            [row["number"] * shift for row in plans],
            [row["divergence"] / row["bound"] for row in plans],
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
    axes.set_xlabel("inputs of the plan")
    axes.set_ylabel("divergence on all test images / bound")
    axes.set_title("LeNet-5 on MNIST, ten plans per number of inputs", fontsize=11)
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
