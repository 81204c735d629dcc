"""Tables and figure of plans with activation thresholds, from the experiment "planning"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.sweep import STYLES
from reports.markdown import markdown
from reports.planning.tables import NETWORKS
from sim import ArrayConfig

Row = dict[str, Any]
CHOSEN = {"uniform": "one share of activations and one code width", "blocks": "shares by block and one code width"}
FASTEST, AS_SMALL, AS_FAST = "fastest", "fastest, as small", "smallest, as fast"
_LOSSES = {"kl": "divergence on unseen inputs, nats", "cosine": "1 - cosine on unseen inputs"}
_CLOCK_MHZ = ArrayConfig.clock_mhz  # of the default array, on which the experiment measures


def fronts_markdown(rows: Sequence[Row]) -> str:
    """Show the fastest plans of each bound; of language models per token.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the part "thresholds".
    """
    cells = [
        [
            NETWORKS[row["network"]],
            row["loss"],
            f"{row['bound']:g}",
            f"{row['unseen_loss']:.4f}",
            f"{row['bits_per_weight']:.2f}",
            f"{row['broadcast_share']:.0%}",
            f"{row['latency_us'] * _CLOCK_MHZ:,.0f}",
            f"{row['latency_us']:,.2f}",
            f"{row['energy_nj']:,.0f}",
            "" if row["same_answers"] < 0 else f"{row['same_answers']:.1%}",
            f"{1 - row['unseen_loss']:.4f}" if row["loss"] == "cosine" else "",
            "" if row["same_beginning"] < 0 else f"{row['same_beginning']:.1f}",
            "" if row["perplexity"] < 0 else f"{row['perplexity']:.3f} ({row['perplexity_before']:.3f})",
        ]
        for row in rows
        if row["method"] == FASTEST
    ]
    headings = ["network", "loss", "bound", "on unseen inputs", "bits per weight", "activations broadcast", "cycles"]
    headings += ["us", "nJ", "answers that stay", "cosine to the original's outputs"]
    return markdown([*headings, "tokens before the first that differs", "perplexity (before)"], cells)


def thresholds_markdown(rows: Sequence[Row]) -> str:
    """Show the fastest network of each code width without a plan within a bound on the pool, beside plans.

    Plans have the same bound, and the file or the latency of the uniform network.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the part "thresholds".
    """
    cells = []
    for row in rows:
        if row["method"] != AS_SMALL:
            continue
        of_width = [each for each in rows if (each["network"], each["bits"]) == (row["network"], row["bits"])]
        within = [each for each in of_width if each["method"] in CHOSEN and each["pool_loss"] <= row["bound"]]
        uniform, *blocks = (
            min(found, key=lambda each: float(each["latency_us"]))
            for method in CHOSEN
            if (found := [each for each in within if each["method"] == method])
        )
        small = next(each for each in of_width if (each["method"], each["bound"]) == (AS_FAST, row["bound"]))
        cells.append(
            [
                NETWORKS[row["network"]],
                f"{row['bound']:g}",
                str(row["bits"]),
                f"{uniform['level']:.0%}",
                f"{uniform['latency_us']:,.2f}",
                "" if not blocks else f"{blocks[0]['latency_us']:,.2f}",
                f"{row['latency_us']:,.2f} ({row['latency_us'] / uniform['latency_us'] - 1:+.0%})",
                f"{uniform['size_bytes']:,}",
                f"{small['size_bytes']:,} ({small['size_bytes'] / uniform['size_bytes'] - 1:+.0%})",
            ]
        )
    headings = ["network", "bound", "bits of codes", "cut everywhere", "uniform, us", "by block, us"]
    headings += ["planned, as small, us", "uniform, bytes", "planned, as fast, bytes"]
    return markdown(headings, cells)


def draw_thresholds(rows: Sequence[Row]) -> Figure:
    """Draw the loss against the latency, one panel for each network; of language models per token."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(5.4 * len(networks), 5.2), layout="constrained")
    for network, axes in zip(networks, figure.subplots(1, len(networks), squeeze=False)[0], strict=True):
        own = [row for row in rows if row["network"] == network and row["unseen_loss"] > 0]
        chosen = [(method, bits) for method in CHOSEN for bits in _widths(own, method)]
        for (method, bits), (colour, marker) in zip(chosen, STYLES, strict=False):
            label = f"{CHOSEN[method].split(' and ')[0]}, {bits} bits"
            _draw(axes, own, method, bits, label, color=colour, marker=marker, markersize=3.5, linewidth=0.8)
        plans = {"color": STYLES[-1][0], "marker": "*", "markersize": 11, "linewidth": 1.2, "zorder": 3}
        _draw(axes, own, FASTEST, -1, "fastest plan of each bound", **plans)
        axes.set_title(NETWORKS[network], fontsize=11)
        axes.set_yscale("log")
        axes.set_xlabel("latency per token, us" if own[0]["perplexity"] >= 0 else "latency per input, us")
        axes.set_ylabel(_LOSSES.get(own[0]["loss"], "loss on unseen inputs"))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    return figure


def _draw(axes: Axes, rows: Sequence[Row], method: str, bits: int, label: str, **style: Any) -> None:
    points = [row for row in rows if (row["method"], row["bits"]) == (method, bits)]
    axes.plot([row["latency_us"] for row in points], [row["unseen_loss"] for row in points], label=label, **style)


def _widths(rows: Sequence[Row], method: str) -> list[int]:
    """Return the two code widths of a method whose files are the largest, so that a panel stays readable."""
    return sorted({row["bits"] for row in rows if row["method"] == method})[-2:]
