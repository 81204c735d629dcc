"""Tables and a figure of how far searches are from the true fronts of stated spaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
NAMES = {"digits": "digits, 64-300-100-10", "lenet_300_100": "LeNet-300-100", "lenet_5": "LeNet-5"}
NAMES |= {"resnet_20": "ResNet-20, five layers"}
SEARCHES = {
    "compressions": "compressions, all arrays",
    "tpe": "single designs, TPE",
    "random": "single designs, random",
}
ENOUGH = 0.995  # share of the true hypervolume
_LEAST_REGRET = 1e-5  # of the axis


def spaces_markdown(spaces: Sequence[Row]) -> str:
    """Show the sizes of the stated spaces and of their true fronts.

    Parameters
    ----------
    spaces : sequence of dict
        Rows of the part "space".
    """
    headings = ["network", "bound on the loss", "compressions", "arrays for each", "designs"]
    headings += ["members of the true front", "compressions of these", "processor time, s"]
    cells = [
        [
            _name(row["network"]),
            f"{row['most_loss']:.0%}",
            *(f"{row[name]:,}" for name in ("compressions", "arrays", "designs", "members", "member_compressions")),
            f"{row['processor_s']:.0f}",
        ]
        for row in spaces
    ]
    return markdown(headings, cells)


def searches_markdown(searches: Sequence[Row]) -> str:
    """Show how near each search comes to the true front: means of the seeds, and the worst seed in brackets.

    Parameters
    ----------
    searches : sequence of dict
        Rows of the part "searches".
    """
    headings = ["network", "search", "trials", "processor time, s", "share of the true hypervolume"]
    headings += ["members found", "within 5 % in all costs", "worst ratio"]
    cells = []
    for (network, search, trials), rows in _grouped(searches).items():
        values = {
            name: [row[name] for row in rows] for name in ("processor_s", "hypervolume", "found", "matched", "worst")
        }
        cells.append(
            [
                _name(network),
                SEARCHES[search],
                str(trials),
                f"{np.mean(values['processor_s']):.1f} ({max(values['processor_s']):.1f})",
                f"{np.mean(values['hypervolume']):.4f} ({min(values['hypervolume']):.4f})",
                f"{np.mean(values['found']):.1%} ({min(values['found']):.1%})",
                f"{np.mean(values['matched']):.4f} ({min(values['matched']):.4f})",
                f"{np.mean(values['worst']):.2f} ({max(values['worst']):.2f})",
            ]
        )
    return markdown(headings, cells)


def draw_regret(searches: Sequence[Row]) -> Figure:
    """Draw the missing share of the true hypervolume against trials and against processor time, for each network.

    Lines are means of the seeds; each seed has a mark.

    Parameters
    ----------
    searches : sequence of dict
        Rows of the part "searches".
    """
    networks = list(dict.fromkeys(row["network"] for row in searches))
    figure = Figure(figsize=(3.6 * len(networks) + 1, 6.4), layout="constrained")
    panels = figure.subplots(2, len(networks), sharex="row", sharey=True, squeeze=False)
    for column, network in enumerate(networks):
        own = [row for row in searches if row["network"] == network]
        for axes, effort in zip(panels[:, column], ("trials", "processor_s"), strict=True):
            _draw_searches(axes, own, effort)
        panels[0, column].set_title(_name(network), fontsize=11)
        panels[0, column].set_xlabel("trials")
        panels[1, column].set_xlabel("processor time, s")
    for axes in panels[:, 0]:
        axes.set_ylabel("missing share of the hypervolume")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=9)
    return figure


def _draw_searches(axes: Axes, rows: Sequence[Row], effort: str) -> None:
    """Draw the regret of all searches of one network."""
    for search, (colour, marker) in zip(SEARCHES, STYLES, strict=False):
        groups = [own for (_, name, _), own in _grouped(rows).items() if name == search]
        points = [(row[effort], _regret(row)) for own in groups for row in own]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=3, alpha=0.5)
        means = [np.mean([(row[effort], _regret(row)) for row in own], axis=0) for own in groups]
        axes.plot(*zip(*means, strict=True), color=colour, label=SEARCHES[search])
    axes.axhline(1 - ENOUGH, color="black", linestyle=":", linewidth=1, label=f"{ENOUGH:.1%} of the true hypervolume")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _regret(row: Row) -> float:
    return max(1 - float(row["hypervolume"]), _LEAST_REGRET)


def _grouped(searches: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Return rows by network, search and trials, in the order of the networks, of SEARCHES, and of the trials."""
    networks = list(dict.fromkeys(row["network"] for row in searches))
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in sorted(
        searches, key=lambda row: (networks.index(row["network"]), list(SEARCHES).index(row["search"]), row["trials"])
    ):
        groups[row["network"], row["search"], row["trials"]].append(row)
    return groups


def _name(network: str) -> str:
    return NAMES.get(network, network)
