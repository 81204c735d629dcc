"""A co-design as one HTML file that needs no network: template, style, script and charts' library are inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from reports.codesign import charts as charts
from reports.codesign.data import (
    BEST,
    FRONT,
    LABELS,
    OUTSIDE,
    TRIED,
    CodesignData,
    Row,
    bounds_of,
    default_axes,
    design_name,
    plain,
    timeline_columns,
    without_timeline,
    words,
)

_MOST_LISTED = 300  # designs of a table
_CAPTIONS = {
    "cycles": "Cycles by class: what a PE does, mean of all PEs",
    "energy": "Energy by block",
    "bytes": "Bytes in the container, by what they are",
}
_PLAN_HEADS = (
    *("layer", "rows x columns", "density, chosen", "density, in the file", "codebook bits"),
    *("gap bits, array", "gap bits, file"),
    *("bytes predicted", "measured", "off by", "cycles predicted", "measured", "off by"),
    *("pJ predicted", "measured", "off by"),
)


def codesign_html(data: CodesignData, opened: Row, beside: str) -> str:
    """The page.

    opened   the design that is looked at first
    beside   name of the folder that holds figures and tables
    """
    source = {name: (resources.files("reports.codesign") / "page" / name).read_text() for name in _FILES}
    environment = Environment(loader=DictLoader(source), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    template = environment.get_template("codesign.html.jinja")
    study = data.study
    listed = _listed(data, opened)
    return template.render(
        network=study.origin["settings"]["network"]["name"],
        summary=_summary(data),
        tiles=_tiles(data),
        front_note=_front_note(data),
        num_tried=f"{sum(each['measured'] is None for each in data.designs):,}",
        num_listed=len(listed),
        verified=study.front is not None,
        no_layers=_no_layers(data),
        parts=[{"name": name, "caption": caption} for name, caption in _CAPTIONS.items()],
        panels=list(charts.PANELS),
        volume_words=_volume_words(data),
        made=_made(data),
        beside=beside,
        data=plain(_values(data, opened, listed)),
        style=Markup(source["codesign.css"]),
        script=Markup(source["codesign.js"]),
        library=Markup(_library()),
    )


_FILES = ("codesign.html.jinja", "codesign.css", "codesign.js")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, for a script element."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _values(data: CodesignData, opened: Row, listed: Sequence[str]) -> Row:
    """What the script of the page works on."""
    layers = {digest: [_layer_values(row) for row in rows] for digest, rows in data.layers.items()}
    of_opened = data.layers.get(opened["id"], [])
    return {
        "opened": opened["id"],
        "listed": listed,
        "only_tried": [TRIED, OUTSIDE],
        "axes": default_axes(data),
        "layer": max(range(len(of_opened)), key=lambda place: _cycles(of_opened[place]), default=0),
        "figures": [
            {"name": name, "label": ", ".join(LABELS[name]), "kind": "share" if name == "accuracy_loss" else ""}
            for name in data.figures
        ],
        "settings": [words(name) for name in data.varied],
        "layer_names": list(opened["choices"]),
        "designs": [
            {
                **{name: each[name] for name in ("id", "trial", "kind", "accuracy", "test_accuracy")},
                "name": design_name(each),
                "predicted": [each["predicted"][name] for name in data.figures],
                "measured": each["measured"] and [each["measured"][name] for name in data.figures],
                "settings": [each["settings"][name] for name in data.varied],
                "choices": [each["choices"][name] for name in opened["choices"]],
            }
            for each in data.designs
        ],
        "layers": layers,
        "parts": {
            name: [{"name": f"{part}{ending}", "label": words(part)} for part in parts]
            for name, (_, ending, parts) in charts.PARTS.items()
        },
        "plan_heads": _PLAN_HEADS,
        "trials": data.study.trials.select(["trial", "hypervolume"]).to_pylist(),
        "charts": {
            "front": {
                f"{x} {y}": charts.front_chart(data.designs, bounds_of(data), x, y)
                for x in data.figures
                for y in data.figures
                if x != y
            },
            "parts": {name: [charts.parts_chart(name, shares) for shares in (False, True)] for name in charts.PARTS},
            "timeline": {panel: charts.timeline_chart(panel) for panel in charts.PANELS},
            "hypervolume": charts.hypervolume_chart(),
        },
        "bar_pixels": charts.BAR_PIXELS,
        "light": charts.LIGHT,
        "dark": charts.DARK,
    }


def _layer_values(row: Row) -> Row:
    """A row of LAYER_COLUMNS with its timeline as columns."""
    return without_timeline(row) | {"bins": timeline_columns(row)}


def _cycles(layer: Row) -> float:
    return float(layer["cycles"]) if layer["cycles"] == layer["cycles"] else 0.0  # not a number where it does not run


def _listed(data: CodesignData, opened: Row) -> list[str]:
    """The designs of the table: the verified ones; where there are none, the predicted front."""
    wanted = [each["id"] for each in data.designs if each["measured"] is not None or each["kind"] == BEST]
    return wanted[:_MOST_LISTED] or [opened["id"]]


def _count(data: CodesignData, *kinds: str) -> int:
    return sum(each["kind"] in kinds for each in data.designs)


def _summary(data: CodesignData) -> str:
    search = data.study.origin["settings"]["search"]
    aims = [LABELS[name][0] for name in search["objectives"]]
    listed = ", ".join(aims[:-1]) + f" and {aims[-1]}" if len(aims) > 1 else aims[0]
    verified = sum(each["measured"] is not None for each in data.designs)
    found = (
        f"{verified:,} of them were compressed, run and simulated for real; no other one beats {_count(data, FRONT):,}."
        if data.study.front is not None
        else "None is verified yet: every number here is a prediction. Go on with the same python -m designs codesign."
    )
    tried = f"{len(data.designs):,} designs of a compressed network and its array were tried"
    return f"{tried}, for the least {listed}. {found}"


def _tiles(data: CodesignData) -> list[Row]:
    """The best of the front in each objective."""
    kind = FRONT if data.study.front is not None else BEST
    best = [each for each in data.designs if each["kind"] == kind]
    tiles = []
    for name in data.study.objectives:
        values = [(each["measured"] or each["predicted"])[name] for each in best]
        values = [value for value in values if value == value]
        if values:
            label, unit = LABELS[name]
            lowest, highest = (_short(value, name) for value in (min(values), max(values)))
            tiles.append({"label": f"least {label}, {unit}", "value": lowest, "of": f"up to {highest} on the front"})
    return tiles


def _front_note(data: CodesignData) -> str:
    bounds = bounds_of(data)
    shown = [f"{LABELS[name][0]} {_short(bound, name)} {LABELS[name][1]}" for name, bound in bounds.items()]
    return f"Dashed lines are bounds: {', '.join(shown)} at most." if shown else ""


def _no_layers(data: CodesignData) -> str:
    if data.study.front is None:
        return "No design is verified yet, so that nothing is known layer by layer; only verified designs have layers."
    if not data.layers:
        return (
            "The folder holds no layers.parquet: it was made before verified designs kept it. Run the same python -m "
            "designs codesign again; trials are kept, and the front is measured anew."
        )
    return "This design was only tried; layers are known of verified designs. Pick one of them."


def _volume_words(data: CodesignData) -> str:
    trials = data.study.trials
    share = trials["hypervolume"].to_pylist()[-1]
    return (
        f"Hypervolume: of the box around the costs of all designs that keep the bounds, as predicted, {share:.1%} is "
        f"beaten by some design after {trials.num_rows:,} trials."
    )


def _made(data: CodesignData) -> list[Row]:
    """Tables of settings and versions; text as it is, anything else as JSON."""
    settings, origin = data.study.origin["settings"], data.study.origin
    blocks = [
        ("Search", settings["search"]),
        (
            "Space",
            {f"{table}.{name}": value for table, values in settings["space"].items() for name, value in _items(values)},
        ),
        ("Network", settings["network"]),
        ("Settings in which all designs agree", data.fixed),
        ("Versions", {**origin["versions"], **({"sources": origin["sources"]} if origin["sources"] else {})}),
        ("Trials that are no designs", {reason: f"{number:,}" for reason, number in data.refused.items()}),
    ]
    if "fine_tuned" in settings:
        blocks[0][1]["fine_tuned"] = settings["fine_tuned"]
    return [
        {"title": title, "rows": [(words(name), _text(value)) for name, value in values.items()]}
        for title, values in blocks
        if values
    ]


def _items(values: Any) -> Sequence[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, dict) else [("", values)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: float, figure: str) -> str:
    shown = 100 * value if figure == "accuracy_loss" else value
    return f"{shown:,.0f}" if abs(shown) >= 1000 else f"{shown:.3g}"
