"""Charts of a co-design in Vega-Lite, the same for the page and for the figures for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from designs.codesigns.layer_costs import BYTE_KINDS
from designs.codesigns.search import LOSSES
from designs.design import words
from designs.sweeps.evaluation import ENERGIES, NETWORK_CYCLES
from reports.codesign.data import (
    DOMINATED,
    FRONT,
    INFEASIBLE,
    KINDS,
    LABELS,
    PREDICTED,
    costs_of,
    is_logarithmic,
    stairs,
)
from reports.html_page import Spec, spec_of
from sim.observe.cycles import CYCLE_CLASSES

Row = dict[str, Any]
BAR_PIXELS = 24
FRONT_SHARE = "draws on the front, %"
_KINDS = {  # each kind differs in colour and in shape
    FRONT: ("#2589CC", "circle"),
    DOMINATED: ("#C98A00", "square"),
    INFEASIBLE: ("#D55E00", "triangle-up"),
    PREDICTED: ("#009E73", "diamond"),
}
PARTS: dict[str, tuple[str, str, Sequence[str]]] = {
    "cycles": (
        "cycles per input, mean of all PEs",
        "_cycles",
        [*CYCLE_CLASSES, *(name.removesuffix("_cycles") for name in NETWORK_CYCLES[1:])],
    ),
    "energy": ("energy per input, nJ", "_nj", [name.removesuffix("_pj") for name in ENERGIES]),
    "bytes": ("bytes in the container", "_bytes", BYTE_KINDS),
}
PANELS = {
    "pes": ("PEs", {"busy_pes": "busy", "full_queues": "with a full queue"}),
    "queues": (
        "columns in a queue",
        {"queue_columns_mean": "mean of all queues", "queue_columns_max": "fullest queue"},
    ),
    "scan": ("share of cycles", {"broadcast": "broadcasts", "blocked": "waits for a full queue"}),
}


def front_chart(designs: Sequence[Row], bounds: Mapping[str, float], x: str, y: str) -> Spec:
    """Draw designs by two figures.

    Parameters
    ----------
    designs : sequence of dict
        Designs of a CodesignData, for scales and legends.
    bounds : mapping of str to float
        Bounds by figure, drawn as dashed lines.
    x, y : str
        Figures of the axes.

    Notes
    -----
    The chart takes the data `designs`, from `flat_designs`, and `picked`, some of the same rows with a letter. The line
    is the staircase of the front. Verified designs lie on top.
    """
    base = alt.Chart(alt.NamedData("designs")).encode(
        x=alt.X(f"{x}:Q", **_axis(designs, x)),
        y=alt.Y(f"{y}:Q", **_axis(designs, y)),
        color=alt.Color("kind:N", title=None, scale=_kinds(designs, 0), legend=alt.Legend(symbolSize=90)),
        shape=alt.Shape("kind:N", title=None, scale=_kinds(designs, 1)),
        tooltip=[
            alt.Tooltip("name:N", title="design"),
            alt.Tooltip("kind:N"),
            *(alt.Tooltip(f"{name}:Q", title=_title(name), format=_format(name)) for name in _figures(designs)),
            *([alt.Tooltip("front_share:Q", title=FRONT_SHARE, format=".0%")] if _has_shares(designs) else []),
        ],
    )
    predicted = base.transform_filter(_one_of(PREDICTED))
    verified = base.transform_filter(_one_of(FRONT, DOMINATED, INFEASIBLE))
    picked = alt.Chart(alt.NamedData("picked")).encode(x=f"{x}:Q", y=f"{y}:Q")
    corners = alt.Chart(alt.InlineData(values=stairs(designs, x, y))).encode(x=f"{x}:Q", y=f"{y}:Q")
    layers = [
        predicted.mark_point(size=36, opacity=0.6, cursor="pointer", strokeWidth=1.2),
        corners.mark_line(interpolate="step-after", color=_KINDS[FRONT][0], strokeWidth=1.5, opacity=0.6),
        *(_bound(bounds[name], axis) for axis, name in (("x", x), ("y", y)) if name in bounds),
        verified.mark_point(size=95, filled=True, opacity=0.95, cursor="pointer"),
        picked.mark_point(size=420, strokeWidth=2.5, shape="circle", color=_KINDS[INFEASIBLE][0]),
        picked.mark_text(dy=-20, fontSize=14, fontWeight="bold").encode(text="letter:N"),
    ]
    return spec_of(alt.layer(*layers).properties(height=420))


def parts_chart(quantity: str, as_shares: bool) -> Spec:
    """Draw the cycles, energy or bytes of each layer as bars of parts.

    Parameters
    ----------
    quantity : str
        cycles, energy or bytes.
    as_shares : bool
        Draw shares of each layer instead of absolute values.

    Notes
    -----
    The chart takes the data `layers`: rows of LAYER_COLUMNS with the letter of their design. Each row needs BAR_PIXELS
    of height.
    """
    title, ending, parts = PARTS[quantity]
    names = {f"{part}{ending}": words(part) for part in parts}
    base = (
        alt.Chart(alt.NamedData("layers"))
        .transform_fold(list(names), as_=["part", "value"])
        .transform_calculate(
            part=f"{_literal(names)}[datum.part]", place=f"indexof({list(names.values())!r}, datum.part)"
        )
        .transform_joinaggregate(total="sum(value)", groupby=["layer", "letter"])
        .transform_joinaggregate(most="max(total)")
        .transform_calculate(
            share="datum.total > 0 ? datum.value / datum.total : 0",
            of_axis="datum.value / max(1e-300, " + ("datum.total" if as_shares else "datum.most") + ")",
        )
        .encode(
            x=alt.X(
                "value:Q",
                title=f"share of {title}" if as_shares else title,
                stack="normalize" if as_shares else "zero",
                axis=alt.Axis(format="%" if as_shares else ",.10~g", tickCount=5),
            ),
            y=alt.Y("layer:N", title=None, sort=None, axis=alt.Axis(labelLimit=120, labelPadding=18)),
            yOffset=alt.YOffset("letter:N", sort=None),
            order=alt.Order("place:Q"),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("letter:N", title="design"),
                alt.Tooltip("part:N", title=quantity),
                alt.Tooltip("value:Q", title=title, format=",.5~g"),
                alt.Tooltip("share:Q", title="share of the layer", format=".1%"),
            ],
        )
    )
    colour = alt.Color(
        "part:N",
        title=None,
        sort=list(names.values()),
        scale=alt.Scale(domain=list(names.values())),
    )
    # A part shows its name if it is wide enough for letters of about 6.5 pixels
    wide = "datum.of_axis * width > 6.5 * length(datum.part) + 6"
    label = base.transform_calculate(word=f"{wide} ? datum.part : ''").encode(
        text="word:N",
        x=alt.X("value:Q", stack="normalize" if as_shares else "zero", bandPosition=0.5),
        detail=alt.Detail("part:N"),
    )
    letters = base.transform_filter("datum.place == 0").encode(x=alt.XDatum(0), text="letter:N")
    return spec_of(
        alt.layer(
            base.mark_bar().encode(color=colour),
            label.mark_text(fontSize=11, color="#111"),
            letters.mark_text(fontSize=11, fontWeight="bold", align="right", dx=-4),
        )
    )


def timeline_chart(panel: str) -> Spec:
    """Draw the panel pes, queues or scan of a layer's timeline, from the data `bins` of `timeline_bins`."""
    title, names = PANELS[panel]
    shown = list(names.values())
    colours = [_KINDS[FRONT][0], _KINDS[INFEASIBLE][0]]
    chart = (
        alt.Chart(alt.NamedData("bins"))
        .transform_fold(list(names), as_=["series", "value"])
        .transform_calculate(series=f"{_literal(names)}[datum.series]")
        .encode(
            x=alt.X("cycle:Q", title="cycles", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=6)),
            y=alt.Y("value:Q", title=title, stack=None, axis=alt.Axis(tickCount=4)),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("cycle:Q", title="from cycle", format=",d"),
                alt.Tooltip("value:Q", title=title, format=".4~g"),
            ],
        )
    )
    filled = chart.transform_filter(f"datum.series == '{shown[0]}'")
    drawn = alt.layer(
        filled.mark_area(interpolate="step-after", opacity=0.22, color=colours[0]),
        chart.mark_line(interpolate="step-after", strokeWidth=1.8).encode(
            color=alt.Color("series:N", title=None, scale=alt.Scale(domain=shown, range=colours)),
            strokeDash=alt.StrokeDash("series:N", title=None, scale=alt.Scale(domain=shown, range=[[1, 0], [5, 3]])),
        ),
    )
    return spec_of(drawn.properties(height=130))


def hypervolume_chart() -> Spec:
    """Draw the hypervolume after each compression, from the data `volumes` of `reports.codesign.data.volumes`."""
    chart = alt.Chart(alt.NamedData("volumes")).encode(
        x=alt.X("compressions:Q", title="compressions, each with all arrays", scale=alt.Scale(nice=False)),
        y=alt.Y("hypervolume:Q", title="hypervolume", scale=alt.Scale(zero=False)),
        tooltip=[alt.Tooltip("compressions:Q"), alt.Tooltip("hypervolume:Q", format=".4f")],
    )
    return spec_of(
        chart.mark_line(interpolate="step-after", color=_KINDS[FRONT][0], strokeWidth=2).properties(height=220)
    )


def _axis(designs: Sequence[Row], figure: str) -> dict[str, Any]:
    """Return title, scale and number format of the axis of a figure."""
    logarithmic = is_logarithmic(designs, figure)
    kind: dict[str, Any] = {"type": "log"} if logarithmic else {"zero": False}
    return {
        "title": _title(figure),
        "scale": alt.Scale(**kind, nice=False, padding=24),
        "axis": alt.Axis(format=".1~%" if figure in LOSSES else ",.10~g", tickCount=6),
    }


def _bound(bound: float, axis: str) -> Any:
    encoding: dict[str, Any] = {axis: alt.XDatum(bound) if axis == "x" else alt.YDatum(bound)}
    return alt.Chart(alt.InlineData(values=[{}])).mark_rule(strokeDash=[6, 4], opacity=0.7).encode(**encoding)


def _kinds(designs: Sequence[Row], place: int) -> alt.Scale:
    """Return the colours (place 0) or shapes (place 1) of the kinds of these designs."""
    present = {design["kind"] for design in designs}
    shown = [kind for kind in KINDS if kind in present]
    return alt.Scale(domain=shown, range=[_KINDS[kind][place] for kind in shown])


def _one_of(*kinds: str) -> alt.FieldOneOfPredicate:
    return alt.FieldOneOfPredicate(field="kind", oneOf=list(kinds))


def _title(figure: str) -> str:
    return ", ".join(LABELS[figure])


def _format(figure: str) -> str:
    return ".2%" if figure in LOSSES else ",.4~g"


def _literal(names: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"'{name}': '{shown}'" for name, shown in names.items()) + "}"


def _figures(designs: Sequence[Row]) -> list[str]:
    """Return the figures that designs have."""
    return [name for name in LABELS if any(name in costs_of(design) for design in designs)]


def _has_shares(designs: Sequence[Row]) -> bool:
    return any(design["front_share"] is not None for design in designs)
