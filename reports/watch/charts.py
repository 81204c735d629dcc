"""Charts of a watch in Vega-Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from compress.planning.confidence import interval
from compress.planning.drift import InputDrift
from compress.planning.watch_report import LEVEL, WatchReport
from reports.html_page import Spec, spec_of

_LINE, _OTHER = "#2589CC", "#D55E00"  # legible on a white and on a black ground
_WINDOWS = 60
_SHORTEST = 20  # inputs of a window
_SHARE = 12  # windows that would cover the inputs if they did not overlap


def interval_chart(report: WatchReport, label: str) -> Spec:
    """Draw the mean loss, its interval and the bound.

    Parameters
    ----------
    report : WatchReport
        Result of the watch.
    label : str
        Name and unit of the loss.
    """
    rows: list[dict[str, Any]] = [
        {"of": "these inputs", "mean": report.used.mean, "low": report.used.low, "high": report.used.high}
    ]
    if "measured" in report.planned:
        measured = report.planned["measured"]
        used = max(report.planned.get("used", measured), measured)
        rows.append({"of": "inputs of the plan", "mean": measured, "low": measured, "high": used})
    lows, highs = ([row[name] for row in rows] for name in ("low", "high"))
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("of:N", title=None, sort=None),
        tooltip=[alt.Tooltip("of:N", title="measured on"), *_numbers(("mean", "low", "high"))],
    )
    bound = alt.Chart(alt.InlineData(values=[{"bound": report.tolerance.bound}])).encode(
        x="bound:Q", tooltip=_numbers(("bound",))
    )
    layers = [
        base.mark_rule(strokeWidth=5, color=_LINE, opacity=0.45).encode(
            x=alt.X(
                "low:Q",
                title=label,
                axis=alt.Axis(format=",.10~g", tickCount=6),
                scale=alt.Scale(domain=[min(0.0, *lows), 1.08 * max(report.tolerance.bound, *highs)], nice=False),
            ),
            x2="high:Q",
        ),
        base.mark_point(size=110, filled=True, opacity=1, color=_LINE).encode(x="mean:Q"),
        bound.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=_OTHER),
        bound.mark_text(dy=-8, baseline="bottom", color=_OTHER, text="bound").encode(y=alt.value(0)),
    ]
    return spec_of(alt.layer(*layers).properties(height=46 * len(rows)))


def window_length(report: WatchReport) -> int:
    """Return the number of inputs of a window of the running mean."""
    return min(report.inputs, max(_SHORTEST, round(report.inputs / _SHARE)))


def running_means(report: WatchReport, shares: bool) -> list[dict[str, float]]:
    """Return means of windows of neighbouring inputs, each with its interval: last, mean, low and high.

    Parameters
    ----------
    report : WatchReport
        Result of the watch.
    shares : bool
        True if losses of 0 and 1 are those of a share.
    """
    length = window_length(report)
    rows = []
    for end in np.unique(np.linspace(length, report.inputs, _WINDOWS).round().astype(int)).tolist():
        mean = interval(report.losses[end - length : end], LEVEL, shares=shares)
        rows.append({"last": end, "mean": mean.mean, "low": mean.low, "high": mean.high})
    return rows


def time_chart(report: WatchReport, rows: Sequence[dict[str, float]], label: str) -> Spec:
    """Draw `running_means` against the place of the window's last input, with the bound.

    Parameters
    ----------
    report : WatchReport
        Result of the watch.
    rows : sequence of dict
        The means.
    label : str
        Name and unit of the loss.
    """
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=alt.X("last:Q", title="inputs so far", scale=alt.Scale(nice=False), axis=alt.Axis(format=",d", tickCount=6)),
        tooltip=[alt.Tooltip("last:Q", title="up to input", format=",d"), *_numbers(("mean", "low", "high"))],
    )
    # a single window is a point, which neither an area nor a line shows
    point = alt.OverlayMarkDef(size=30, filled=True, color=_LINE) if len(rows) == 1 else False
    bound = alt.Chart(alt.InlineData(values=[{"bound": report.tolerance.bound}])).encode(y="bound:Q")
    layers = [
        base.mark_area(opacity=0.2, color=_LINE).encode(y=_up(label, "low"), y2="high:Q"),
        base.mark_line(strokeWidth=2, color=_LINE, point=point).encode(y="mean:Q"),
        bound.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=_OTHER),
        bound.mark_text(align="left", dx=4, dy=-7, color=_OTHER, text="bound").encode(x=alt.value(0)),
    ]
    return spec_of(alt.layer(*layers).properties(height=260))


def drift_chart(drift: InputDrift, before: str) -> Spec:
    """Draw the cumulative distribution of a quantity of the inputs, before and now.

    Parameters
    ----------
    drift : InputDrift
        Comparison of the quantity.
    before : str
        Name of the inputs before.
    """
    names = [before, "these inputs" if before == "inputs of the plan" else "second half"]
    rows = [
        {"value": cut, "share": share, "of": name}
        for name, shares in zip(names, (drift.before, drift.now), strict=True)
        for cut, share in zip(drift.cuts, shares, strict=True)
    ]
    colours = alt.Scale(domain=names, range=[_LINE, _OTHER])
    dashes = alt.Scale(domain=names, range=[[1, 0], [5, 3]])
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("value:Q", title=drift.quantity, scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickCount=5)),
        y=alt.Y("share:Q", title="share of inputs below", axis=alt.Axis(format="%", tickCount=5)),
        color=alt.Color("of:N", title=None, scale=colours),
        strokeDash=alt.StrokeDash("of:N", title=None, scale=dashes),
        tooltip=[alt.Tooltip("of:N", title="of"), *_numbers(("value",)), alt.Tooltip("share:Q", format=".1%")],
    )
    return spec_of(chart.mark_line(strokeWidth=2).properties(height=170))


def _up(title: str, field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, axis=alt.Axis(format=",.10~g", tickCount=6))


def _numbers(names: Sequence[str]) -> list[Any]:
    return [alt.Tooltip(f"{name}:Q", format=",.4~g") for name in names]
