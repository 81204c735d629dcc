"""Page of a watch: one HTML file that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.planning.confidence import interval
from compress.planning.drift import InputDrift
from compress.planning.losses import MEANINGS
from compress.planning.watch_report import LEVEL, SUFFIX, WatchReport
from reports.html_page import DARK, LIGHT, check_packages, render
from traces import InputError
from traces.files.atomic_file import write_atomically

Row = dict[str, Any]
_WORST, _DRAWN, _LISTED = 10, 2, 6
_FEWEST_OF_A_HALF = 4  # inputs, of which half have an interval
_LABELS = {  # of the axes
    "accuracy": "right answers lost",
    "answers": "answers changed",
    "kl": "divergence, nats",
    "cosine": "1 - cosine",
    "relative-error": "relative error",
}
_VERDICTS = {"kept": "The bound is kept.", "broken": "The bound is broken.", "undecided": "The bound is undecided."}


def write_watch_page(source: Path, out: Path | None = None) -> list[Path]:
    """Write the page of each report of a watch in a file or a folder.

    Parameters
    ----------
    source : Path
        Report that `python -m compress watch --out` wrote, or a folder that holds some.
    out : Path, optional
        The page; default: beside the report, with .html instead of .json.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    InputError
        If there is no report, one page is to hold several, or a package of the extra `report` is missing.
    """
    check_packages("the page of a watch")
    files = sorted(source.glob(f"*{SUFFIX}")) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{source}: holds no *{SUFFIX}; make one with python -m compress watch --out {source}/NAME")
    if out is not None and len(files) > 1:
        raise InputError(
            f"one page has one report; found {len(files)} in {source}; give one of them, or leave out away"
        )
    pages = []
    for file in files:
        page = out or file.with_suffix(".html")
        write_atomically(page, watch_html(WatchReport.load(file)).encode())
        pages.append(page)
    return pages


def watch_html(report: WatchReport) -> str:
    """Return the page."""
    from reports.watch import charts

    name = report.tolerance.name
    loss, label = MEANINGS.get(name, f"mean of {name}"), _LABELS.get(name, "loss")
    shares = name in ("answers", "accuracy")
    rows = charts.running_means(report, shares)
    specs = {"interval": charts.interval_chart(report, label), "time": charts.time_chart(report, rows, label)}
    comparisons = []
    for number, (before, drifts) in enumerate(
        (("inputs of the plan", report.from_plan), ("first half", report.from_first_half))
    ):
        if not drifts:
            continue
        drawn = [each for each in drifts if each.drifting][:_DRAWN]
        names = [f"drift-{number}-{place}" for place in range(len(drawn))]
        specs |= {name: charts.drift_chart(each, before) for name, each in zip(names, drawn, strict=True)}
        comparisons.append(
            {
                "title": "From the inputs of the plan" if number == 0 else "From the first half to the second",
                "words": _drift_words(drifts),
                "charts": [
                    {"name": name, "caption": _named(each, drifts)} for name, each in zip(names, drawn, strict=True)
                ],
                "rows": [_drift_row(each, drifts) for each in drifts[:_LISTED]],
            }
        )
    return render(
        "reports.watch",
        "watch",
        container=report.container or "A container",
        network=report.network,
        verdict=report.verdict,
        headline=_VERDICTS[report.verdict],
        summary=_summary(report, loss),
        second_half=_second_half(report, shares),
        tiles=_tiles(report, label),
        level=f"{LEVEL:.0%}".replace("%", " %"),
        loss=loss,
        reason=report.reason,
        of_plan="measured" in report.planned,
        window=charts.window_length(report),
        outputs=[
            {"name": name, "errors": f"{errors:+.1f}", "drifts": name in report.drifting}
            for name, errors in report.drift.items()
        ],
        comparisons=comparisons,
        has_summary=bool(report.from_plan),
        worst=[_worst_row(report, place) for place in report.worst(_WORST)],
        layers=_layer_table(report),
        data={"charts": specs, "light": LIGHT, "dark": DARK},
    )


def _summary(report: WatchReport, loss: str) -> str:
    used, bound = report.used, report.tolerance.bound
    between = f"between {_short(used.low)} and {_short(used.high)} for inputs like these at a confidence level of 95 %"
    said = {
        "kept": f"The mean is {_short(used.mean)}, {between}: at most the bound of {_short(bound)}.",
        "broken": f"The mean is {_short(used.mean)}, {between}: above the bound of {_short(bound)}.",
        "undecided": (
            f"The mean is {_short(used.mean)}, {between}: the bound of {_short(bound)} lies in between, so that more "
            f"inputs are needed."
        ),
    }[report.verdict]
    inputs, outputs = bool(report.drifting_inputs), bool(report.drifting)
    if not inputs and not outputs:
        drift = "Neither the inputs nor the outputs drift more than chance explains."
    else:
        what = (
            "Inputs and outputs drift" if inputs and outputs else "The inputs drift" if inputs else "The outputs drift"
        )
        drift = f"{what} more than chance explains."
    return f"Measured on {report.inputs:,} inputs: {loss}. {said} {drift}"


def _second_half(report: WatchReport, shares: bool) -> str:
    """Return a sentence if the second half of the inputs breaks a bound that all of them do not break."""
    if report.inputs < _FEWEST_OF_A_HALF:
        return ""
    half = interval(report.losses[report.inputs // 2 :], LEVEL, shares=shares)
    if report.verdict == "broken" or not half.low > report.tolerance.bound:
        return ""
    f"{_short(half.low)} to {_short(half.high)}"
    return f"The second half of the inputs alone breaks the bound: its mean is {_short(half.mean)} ({interval})."


def _tiles(report: WatchReport, label: str) -> list[Row]:
    tiles = [
        {
            "label": f"{label}, mean",
            "value": _short(report.used.mean),
            "of": f"{_short(report.used.low)} to {_short(report.used.high)}",
        },
        {"label": "bound", "value": _short(report.tolerance.bound), "of": _of_bound(report)},
    ]
    for name, mean in report.others.items():
        tiles.append(
            {
                "label": _LABELS[name],
                "value": _short(mean.mean),
                "of": f"{_short(mean.low)} to {_short(mean.high)}",
            }
        )
    tiles.append({"label": "inputs", "value": f"{report.inputs:,}", "of": "in the order in which they came"})
    return tiles


def _of_bound(report: WatchReport) -> str:
    return f"{report.used.mean / report.tolerance.bound:.0%} used".replace("%", " %")


def _drift_words(drifts: tuple[InputDrift, ...]) -> str:
    drifting = [each for each in drifts if each.drifting]
    if not drifting:
        return f"None of {len(drifts)} quantities changed more than chance explains."
    before, now = _medians(drifting[0])
    return (
        f"{len(drifting)} of {len(drifts)} quantities changed more than chance explains. Most of all: "
        f"{_named(drifting[0], drifts)}, whose median went from {before} to {now}."
    )


def _named(drift: InputDrift, drifts: tuple[InputDrift, ...]) -> str:
    """Return the name of a quantity; with its array, if there are several."""
    alone = len({each.array for each in drifts}) == 1
    return drift.quantity if alone else f"{drift.quantity} of {drift.array}"


def _drift_row(drift: InputDrift, drifts: tuple[InputDrift, ...]) -> Row:
    before, now = _medians(drift)
    return {
        "name": _named(drift, drifts),
        "before": before,
        "now": now,
        "difference": f"{drift.difference:.0%}".replace("%", " %"),
        "probability": "below 0.0001" if drift.probability < 1e-4 else f"{drift.probability:.2g}",
        "drifts": drift.drifting,
    }


def _medians(drift: InputDrift) -> tuple[str, str]:
    """Return the medians before and now; one beyond all cuts is only known to be over or under the last of them."""
    before, now = map(_short, drift.medians)
    return before, f"over {now}" if drift.now[-1] < 0.5 else f"under {now}" if drift.now[0] > 0.5 else now


def _worst_row(report: WatchReport, place: int) -> Row:
    loss = float(report.losses[place])
    times = f"{loss / report.used.mean:.1f} times" if report.used.mean > 0 else ""
    return {"place": f"{place:,}", "loss": _short(loss), "times": times}


def _layer_table(report: WatchReport) -> Row:
    if not report.layers:
        return {}
    heads = list(report.layers[0])
    return {
        "heads": [head.replace("_", " ") for head in heads],
        "rows": [[_cell(row[head]) for head in heads] for row in report.layers],
    }


def _cell(value: Any) -> str:
    return _short(value) if isinstance(value, int | float) else str(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
