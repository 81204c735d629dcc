"""Tables and a figure of codebooks of PEs beside one for each layer, from the experiment "pe-codebooks"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.figures.sweep import STYLES
from reports.markdown import markdown

Row = dict[str, Any]
NAMES = {"stories": "stories260K", "resnet_20": "ResNet-20", "lenet_300_100": "LeNet-300-100"}
ONE, PES = "one codebook", "PEs"


def divergences_markdown(codebooks: Sequence[Row]) -> str:
    """Show divergence and bytes of planned networks, with one codebook at 4 and 5 bits, groups of PEs, and PEs.

    Parameters
    ----------
    codebooks : sequence of dict
        Rows of the part "codebooks".
    """
    planned = [row for row in codebooks if row["sharing"] == "planned" and row["weight_bits"] >= 4]
    cells = []
    settings = sorted(
        dict.fromkeys((row["codebooks"], row["weight_bits"]) for row in planned),
        key=lambda setting: (setting[1], setting[0] == PES),
    )
    for density in sorted({row["density"] for row in planned}, reverse=True):
        for network in _networks(planned):
            own = {
                (row["codebooks"], row["weight_bits"]): f"{_digits(row['loss'])}, {row['size_bytes']:,} B"
                for row in planned
                if row["network"] == network and row["density"] == density
            }
            cells.append([_case(network, density), *(own.get(setting, "") for setting in settings)])
    return markdown(["network", *(f"{ways}, {bits} bits" for ways, bits in settings)], cells)


def codebooks_markdown(codebooks: Sequence[Row]) -> str:
    """Show all ways of sharing: squared errors beside that with one codebook, losses, bytes and cycles.

    Parameters
    ----------
    codebooks : sequence of dict
        Rows of the part "codebooks".
    """
    alike = ("network", "sharing", "density", "weight_bits")
    one = {tuple(row[key] for key in alike): row for row in codebooks if row["codebooks"] == ONE}
    cells = [
        [
            _case(row["network"], row["density"]),
            row["sharing"],
            str(row["weight_bits"]),
            row["codebooks"],
            f"{row['squared_error'] / one[tuple(row[key] for key in alike)]['squared_error']:.2f}",
            _digits(row["loss"]),
            "-" if row["accuracy"] < 0 else f"{row['accuracy']:.2%}",
            *(f"{row[name]:,.0f}" for name in ("size_bytes", "codebook_bytes", "array_cycles", "switch_cycles")),
        ]
        for row in codebooks
    ]
    headings = ["network", "sharing", "bits", "codebooks", "squared error, of one codebook's", "divergence, nat"]
    return markdown([*headings, "accuracy", "bytes", "of codebooks", "cycles", "cycles of switches"], cells)


def assignments_markdown(assigned: Sequence[Row]) -> str:
    """Show how far the errors of row classes are from those of exact methods: least and largest of each network.

    Parameters
    ----------
    assigned : sequence of dict
        Rows of the part "assignments".
    """
    groups = {_name(network): [row for row in assigned if row["network"] == network] for network in _networks(assigned)}
    groups["all"] = list(assigned)
    cells = [
        [
            name,
            str(len({(row["network"], row["layer"]) for row in rows})),
            str(len(rows)),
            _range(row["free_error"] / row["least_error"] - 1 for row in rows),
            _range(row["bounded_error"] / row["lower_bound"] - 1 for row in rows),
            _times(row["bounded_error"] / row["own_error"] for row in rows),
            _times(row["interleaved_error"] / row["own_error"] for row in rows),
        ]
        for name, rows in groups.items()
    ]
    headings = ["network", "matrices", "assignments", "above the least error (Hungarian)"]
    headings += ["with the bound on loads, above the linear program", "of the error with a codebook for each row"]
    return markdown([*headings, "interleaved rows, of the same"], cells)


def draw_codebooks(codebooks: Sequence[Row]) -> Figure:
    """Draw divergence against bytes of planned networks, dense ones above, pruned ones below.

    Each way of sharing has its line, with the bits of a code at its points.

    Parameters
    ----------
    codebooks : sequence of dict
        Rows of the part "codebooks".
    """
    planned = [row for row in codebooks if row["sharing"] == "planned"]
    networks, ways = _networks(planned), list(dict.fromkeys(row["codebooks"] for row in planned))
    densities = sorted({row["density"] for row in planned}, reverse=True)
    figure = Figure(figsize=(4.2 * len(networks) + 0.6, 3.4 * len(densities) + 0.6), layout="constrained")
    panels = figure.subplots(len(densities), len(networks), squeeze=False)
    for line, density in zip(panels, densities, strict=True):
        for network, axes in zip(networks, line, strict=True):
            own = [row for row in planned if row["network"] == network and row["density"] == density]
            for way, (colour, marker) in zip(ways, STYLES, strict=False):
                points = sorted(
                    (row["size_bytes"] / 1000, row["loss"], row["weight_bits"])
                    for row in own
                    if row["codebooks"] == way
                )
                if not points:
                    continue
                kilobytes, losses, bits = zip(*points, strict=True)
                axes.plot(kilobytes, losses, color=colour, marker=marker, markersize=5, label=_label(way))
                for x, y, width in zip(kilobytes, losses, bits, strict=True):
                    axes.annotate(str(width), (x, y), (4, 4), textcoords="offset points", fontsize=8, color=colour)
            axes.set_title(_case(network, density), fontsize=11)
            _scale(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel("divergence, nat")
    for axes in panels[-1]:
        axes.set_xlabel("container, kB")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=9)
    figure.suptitle("Planned networks; numbers at the points are bits of a code", fontsize=11)
    return figure


def _scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _digits(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1, y=0.12)
    axes.grid(alpha=0.3)


def _networks(rows: Iterable[Row]) -> list[str]:
    """Return the networks of rows, those of NAMES first and in its order."""
    found = {row["network"] for row in rows}
    return [name for name in NAMES if name in found] + sorted(found - set(NAMES))


def _name(network: str) -> str:
    return NAMES.get(network, network)


def _case(network: str, density: float) -> str:
    return _name(network) if density == 1 else f"{_name(network)}, {density:.0%} kept"


def _label(way: str) -> str:
    return way if way == ONE else f"one for each {'PE' if way == PES else f'of {way}'}"


def _digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def _range(shares: Iterable[float]) -> str:
    values = [max(share, 0.0) for share in shares]
    return f"{min(values):.2%} to {max(values):.2%}"


def _times(ratios: Iterable[float]) -> str:
    values = list(ratios)
    return f"{min(values):.2f} to {max(values):.2f} times"
