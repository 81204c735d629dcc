"""Tables and a figure of the fronts of searches: places in the space, stops of each parameter, earlier fronts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
NAMES = {"lenet_5": "LeNet-5", "resnet_20": "ResNet-20", "resnet_8": "ResNet-8"}
GATHERED = 0.6  # share at one end above which a front needs a reason
_VERSIONS = ("earlier", "today")
_COLOURS = {"earlier": "0.72", "today": STYLES[0][0]}
_SHOWN_STOPS = 4


def shares_markdown(shares: Sequence[Row]) -> str:
    """Show the share of the fronts at the ends of each parameter: mean over the seeds, and the range of the seeds.

    Parameters
    ----------
    shares : sequence of dict
        Rows of the part "shares".

    Notes
    -----
    Shares above 60 % are in bold.
    """
    versions = [version for version in _VERSIONS if any(row["version"] == version for row in shares)]
    headings = ["network", "parameter"]
    headings += [f"at the {end}, {version}" for end in ("smallest", "largest") for version in versions]
    cells = []
    for network, parameter, smallest, largest in _keys(shares, "network", "parameter", "smallest", "largest"):
        own = [row for row in shares if row["network"] == network and row["parameter"] == parameter]
        ends = [
            _share([row[end] for row in own if row["version"] == version])
            for end in ("at_smallest", "at_largest")
            for version in versions
        ]
        cells.append([_name(network), f"{parameter}: {smallest} to {largest}", *ends])
    members = [
        f"{_name(network)}, {version}: "
        + ", ".join(
            str(row["members"])
            for row in shares
            if (row["network"], row["version"], row["parameter"]) == (network, version, shares[0]["parameter"])
        )
        for network in dict.fromkeys(row["network"] for row in shares)
        for version in versions
    ]
    return markdown(headings, cells) + f"\nMembers of the fronts, by seed: {'; '.join(members)}.\n"


def moves_markdown(moves: Sequence[Row]) -> str:
    """Show what stops a parameter, of all seeds: the share of the moved members, and by how much it worsens.

    Parameters
    ----------
    moves : sequence of dict
        Rows of the part "moves".
    """
    cells = []
    for network, parameter in _keys(moves, "network", "parameter"):
        own = [row for row in moves if row["network"] == network and row["parameter"] == parameter]
        ways = [_stops([row for row in own if row["direction"] == direction]) for direction in ("down", "up")]
        cells.append([_name(network), parameter, *ways])
    return markdown(["network", "parameter", "one value down is stopped by", "one value up is stopped by"], cells)


def earlier_markdown(earlier: Sequence[Row]) -> str:
    """Show what became of the members of earlier fronts.

    Ratios are those of the members that are feasible today: median, and the 5th and 95th percentile.

    Parameters
    ----------
    earlier : sequence of dict
        Rows of the part "earlier".
    """
    cells = []
    for (network,) in _keys(earlier, "network"):
        rows = [row for row in earlier if row["network"] == network]
        feasible = [row for row in rows if row["feasible"]]
        reasons = Counter(row["reason"] for row in rows if not row["feasible"])
        ratios = [
            _ratio([row[f"{name}_ratio"] for row in feasible]) for name in ("latency_us", "energy_nj", "area_mm2")
        ]
        cells.append(
            [
                _name(network),
                str(len(rows)),
                f"{len(feasible)} ({len(feasible) / len(rows):.0%})",
                f"{sum(row['optimal'] for row in rows)}",
                "; ".join(f"{reason} {count}" for reason, count in reasons.most_common()),
                *ratios,
            ]
        )
    headings = ["network", "earlier members", "feasible today", "Pareto-optimal among these", "others stopped by"]
    return markdown([*headings, "latency, today / earlier", "energy", "area"], cells)


def draw_shares(shares: Sequence[Row]) -> Figure:
    """Draw the shares at the smallest value to the left and at the largest to the right, for each network.

    Parameters
    ----------
    shares : sequence of dict
        Rows of the part "shares".
    """
    networks = list(dict.fromkeys(row["network"] for row in shares))
    parameters = list(dict.fromkeys(row["parameter"] for row in shares))
    versions = [version for version in _VERSIONS if any(row["version"] == version for row in shares)]
    figure = Figure(figsize=(4.6 * len(networks) + 1, 0.62 * len(parameters) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    height = 0.8 / len(versions)
    for network, axes in zip(networks, panels, strict=True):
        for number, version in enumerate(versions):
            for place, parameter in enumerate(parameters):
                own = [
                    row
                    for row in shares
                    if (row["network"], row["version"], row["parameter"]) == (network, version, parameter)
                ]
                if not own:
                    continue
                at = place - 0.4 + (number + 0.5) * height
                for end, sign in (("at_smallest", -1), ("at_largest", 1)):
                    values = [sign * row[end] for row in own]
                    axes.barh(at, float(np.mean(values)), 0.9 * height, color=_COLOURS[version])
                    axes.plot(values, [at] * len(values), "|", color="black", markersize=4, markeredgewidth=0.8)
        for sign in (-1, 1):
            axes.axvline(sign * GATHERED, color=STYLES[5][0], linestyle=":", linewidth=1)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-1.08, 1.08)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.0%}"))
        axes.set_title(_name(network), fontsize=11)
        axes.set_xlabel("share at the smallest | at the largest value")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(parameters)), [parameter.replace("_", " ") for parameter in parameters])
    panels[0].invert_yaxis()
    bars = [Patch(color=_COLOURS[version], label=version) for version in versions]
    figure.legend(handles=bars, loc="outside upper right", ncols=len(bars), fontsize=9)
    return figure


def _keys(rows: Sequence[Row], *names: str) -> list[tuple[Any, ...]]:
    """Return the different values of columns, in the order of the rows."""
    return list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))


def _name(network: str) -> str:
    return NAMES.get(network, network)


def _share(values: Sequence[float]) -> str:
    """Return mean and range of the shares of seeds."""
    if not values:
        return ""
    mean = float(np.mean(values))
    words = f"{mean:.0%} ({min(values):.0%} to {max(values):.0%})"
    return f"**{words}**" if mean > GATHERED else words


def _stops(rows: Sequence[Row]) -> str:
    """Return what stops moves of one parameter in one direction, the most frequent first."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["stops"]].append(row)
    total = sum(row["members"] for row in rows)
    order = sorted(found, key=lambda stops: -sum(row["members"] for row in found[stops]))
    words = []
    for stops in order[:_SHOWN_STOPS]:
        worsenings = [row["worsening"] for row in found[stops] if not np.isnan(row["worsening"])]
        by = f" (+{np.median(worsenings):.0%})" if worsenings else ""
        words.append(f"{stops} {sum(row['members'] for row in found[stops]) / total:.0%}{by}")
    return ", ".join(words)


def _ratio(values: Sequence[float]) -> str:
    if not values:
        return "none"
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
