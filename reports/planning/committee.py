"""Tables and figure of plans on few inputs, from the experiment "planning"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
HOWS = {"random": "at random", "strata": "by strata of answers", "committee": "by a committee"}


def committee_markdown(rows: Sequence[Row]) -> str:
    """Show, for plans on few inputs of each pool, how often the bound holds on unseen inputs, and their bytes.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the part "committee".
    """
    cells = []
    for pool in dict.fromkeys(row["pool"] for row in rows):
        for number in sorted({row["number"] for row in rows if row["pool"] == pool}):
            for how, words in HOWS.items():
                plans = [row for row in rows if (row["pool"], row["number"], row["how"]) == (pool, number, how)]
                if plans:
                    cells.append([pool, str(number), words, *_cells(plans)])
    headings = ["pool", "inputs", "chosen", "bound holds", "loss over bound, median (largest)"]
    return markdown([*headings, "rare class, median (largest)", "stated to hold", "bytes, median"], cells)


def _cells(plans: Sequence[Row]) -> list[str]:
    shares, rare = ([row[name] / row["bound"] for row in plans] for name in ("unseen_loss", "rare_loss"))
    return [
        f"{sum(share <= 1 for share in shares)} of {len(plans)}",
        f"{np.median(shares):.2f} ({max(shares):.2f})",
        f"{np.median(rare):.2f} ({max(rare):.2f})",
        f"{sum(row['feasible'] for row in plans)} of {len(plans)}",
        f"{int(np.median([row['size_bytes'] for row in plans])):,}",
    ]


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
            (row["number"], row["unseen_loss"] <= row["bound"])
            for row in rows
            if row["how"] == how and row["seed"] == seed
        )
        violated = [number for number, holds in own if not holds]
        later = [number for number, _ in own if not violated or number > max(violated)]
        needed.append(float(min(later)) if later else float("inf"))
    return float(np.median(needed))


def inputs_needed_markdown(rows: Sequence[Row]) -> str:
    """Show for each pool the number of inputs that `inputs_needed` gives for each choice of them."""
    cells = []
    for pool in dict.fromkeys(row["pool"] for row in rows):
        own = [row for row in rows if row["pool"] == pool]
        cells.append([pool, *(_needed(own, how) for how in HOWS)])
    return markdown(["inputs from which the bound holds", *HOWS.values()], cells)


def _needed(rows: Sequence[Row], how: str) -> str:
    if not any(row["how"] == how for row in rows):
        return "not run"
    number = inputs_needed(rows, how)
    return f"{number:g}" if np.isfinite(number) else f"more than {max(row['number'] for row in rows)}"


def draw_committee(rows: Sequence[Row]) -> Figure:
    """Draw the unseen loss over the bound against the number of inputs, one panel for each pool."""
    pools = list(dict.fromkeys(row["pool"] for row in rows))
    numbers = sorted({row["number"] for row in rows})
    figure = Figure(figsize=(5.2 * len(pools), 4.4), layout="constrained")
    for pool, axes in zip(pools, figure.subplots(1, len(pools), squeeze=False)[0], strict=True):
        for series, (how, words) in enumerate(HOWS.items()):
            colour, marker = STYLES[series]
            plans = [row for row in rows if row["how"] == how and row["pool"] == pool]
            axes.plot(
                [row["number"] * 1.08 ** (series - 1) for row in plans],
                [row["unseen_loss"] / row["bound"] for row in plans],
                color=colour,
                marker=marker,
                markersize=4,
                linestyle="none",
                label=f"inputs chosen {words}",
            )
        axes.axhline(1, color="0.45", linestyle="--", label="the bound")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([float(number) for number in numbers]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("inputs of the plan")
        axes.set_ylabel("loss on unseen inputs / bound")
        axes.set_title(pool, fontsize=11)
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure
