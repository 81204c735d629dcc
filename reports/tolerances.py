"""Figure of how far each weight may move: one panel for each layer."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from compress.planning.weight_tolerances import QUANTILES, LayerTolerances, WeightTolerances
from reports.markdown import markdown

_FEW = 4  # panels in one row
_PANEL = 2.0  # inches
_LINE = "#D55E00"
_FAINTEST = 1e-3  # of the colours
_LONGEST = 24  # characters of a name


def tolerances_markdown(result: WeightTolerances) -> str:
    """Return a table of the layers: share of the weights that may be pruned, and tolerances relative to the weights."""
    shown = {"5 %": 0.05, "median": 0.5, "95 %": 0.95}
    heads = (
        "layer",
        "rows x columns",
        "reach zero",
        "widest allowed",
        *(f"tolerance / weight, {name}" for name in shown),
    )
    rows = [
        (
            layer.layer,
            f"{layer.rows:,} x {layer.columns:,}",
            f"{layer.reach_zero:.1%}",
            f"{layer.widest:.1%}",
            *(f"{layer.ratios[QUANTILES.index(each)]:.3g}" for each in shown.values()),
        )
        for layer in result.layers
    ]
    return markdown(heads, rows)


def draw_tolerances(result: WeightTolerances) -> Figure:
    """Draw the tolerances of all weights against their magnitudes, with a panel for each layer.

    Parameters
    ----------
    result : WeightTolerances
        The tolerances, by layer.
    """
    number = len(result.layers)
    across = number if number <= _FEW else math.ceil(number / math.ceil(number / math.ceil(math.sqrt(1.4 * number))))
    down = math.ceil(number / across)
    size = _PANEL if number > _FEW else 1.35 * _PANEL
    figure = Figure(figsize=(max(size * across, 2.2 * size) + 1.5, size * down + 1.3), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for layer, axes in zip(result.layers, panels, strict=False):
        drawn = _draw_layer(axes, result, layer)
    for place, axes in enumerate(panels):
        axes.set_visible(place < number)
        if place < number <= place + across:  # the last one of its column
            axes.tick_params(labelbottom=True)
    figure.supxlabel("magnitude of the weight", fontsize=10)
    figure.supylabel("tolerance of the weight", fontsize=10)
    bar = figure.colorbar(drawn, ax=panels.tolist(), shrink=min(1.0, 2.4 / down), aspect=25, pad=0.015)
    bar.set_label("weights in a bin / most in a bin of the layer", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bound = f"{result.tolerance.name} of at most {result.tolerance.bound:g}"
    figure.suptitle(
        f"How far each weight may move within {bound}, if all weights move at random\nWeights left of the dashed line "
        f"reach zero: alone, each may be pruned",
        fontsize=10.5,
    )
    return figure


def _draw_layer(axes: Axes, result: WeightTolerances, layer: LayerTolerances) -> QuadMesh:
    """Draw one panel and return its colours."""
    table = np.full((len(result.tolerance_edges) - 1, len(result.magnitude_edges) - 1), np.nan)
    most = max(count for *_, count in layer.counts)
    for x, y, count in layer.counts:
        table[y, x] = count / most
    axes.set_xscale("log")
    axes.set_yscale("log")
    drawn = axes.pcolormesh(
        *(result.magnitude_edges, result.tolerance_edges, table),
        norm=LogNorm(_FAINTEST, 1),
        cmap="viridis_r",
        rasterized=True,
    )
    low = min(result.magnitude_edges[0], result.tolerance_edges[0])
    high = max(result.magnitude_edges[-1], result.tolerance_edges[-1])
    axes.plot([low, high], [low, high], color=_LINE, linestyle="--", linewidth=1.2)
    axes.set_xlim(result.magnitude_edges[0], result.magnitude_edges[-1] * 1.3)
    axes.set_ylim(result.tolerance_edges[0], result.tolerance_edges[-1] * 1.3)
    axes.set_title(_shortened(layer.layer), fontsize=9, pad=3)
    axes.text(
        *(0.04, 0.05),
        f"{100 * layer.reach_zero:.3g} % reach zero",
        transform=axes.transAxes,
        fontsize=7.5,
        color="0.15",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2},
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=5))
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    return drawn


def _shortened(name: str) -> str:
    """Return the end of a long name."""
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
