"""Page of a co-design: one HTML file that works offline, with style, script and the charts' library inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from designs.codesigns.columns import loss_of
from designs.codesigns.search import LOSSES
from designs.codesigns.sentences import quality_sentences
from designs.design import words
from designs.near_ties import CERTAINTY, TOLERANCE
from reports.codesign import charts as charts
from reports.codesign.data import (
    FRONT,
    LABELS,
    PREDICTED,
    CodesignData,
    Row,
    bounds_of,
    default_axes,
    dense_words,
    design_name,
    limit_words,
    plain,
    shown_layer,
    standing,
    timeline_columns,
    volumes,
)
from reports.html_page import DARK, LIGHT, render

_OWN_TABLES = "layers", "off_array"  # of what a study says of its network
_CAPTIONS = {
    "cycles": "Cycles by class, mean of all PEs, and waits of the array for port, switches and DRAM",
    "energy": "Energy by block",
    "bytes": "Bytes in the container by content",
}


def codesign_html(data: CodesignData, opened: Row, beside: str) -> str:
    """Return the page.

    Parameters
    ----------
    data : CodesignData
        Designs of the study.
    opened : dict
        Design to show first.
    beside : str
        Name of the folder of figures and tables.
    """
    study = data.study
    shown = data.shown(opened)
    alone = standing(shown)
    others = [design for design in shown if not design["measured"]]
    verified = study.front is not None
    return render(
        "reports.codesign",
        "codesign",
        network=study.origin["settings"]["network"]["name"],
        summary=_summary(data),
        tiles=_tiles(data),
        front_note=_front_note(data),
        spread_note=_spread_note(data, others),
        num_listed=len(alone) - (len(others) if verified else 0),
        num_same=len(shown) - len(alone),
        uncertainty=_uncertainty(data),
        verified=verified,
        has_others=bool(others),
        others_as=_others_as(data),
        no_layers=_no_layers(data),
        parts=[{"name": name, "caption": caption} for name, caption in _CAPTIONS.items()],
        panels=list(charts.PANELS),
        volume_words=_volume_words(data),
        quality=" ".join(quality_sentences(study.origin["settings"])),
        made=_made(data),
        beside=beside,
        data=plain(_values(data, opened, shown)),
    )


def _values(data: CodesignData, opened: Row, shown: Sequence[Row]) -> Row:
    """Return the data of the page's script."""
    layers = {digest: [_layer_values(row) for row in rows] for digest, rows in data.layers.items()}
    opened_layers = data.layers.get(opened["id"], [])
    limits, least = _any_layer_has(data, ("limit_binds",)), _any_layer_has(data, ("sram_bytes",))
    left_out = _any_layer_has(data, ("rows_left_out", "columns_left_out"))
    thresholds = _any_layer_has(data, ("activation_threshold",)) or any(
        len(choice) > 2 for design in shown for choice in design["choices"].values()
    )
    return {
        "opened": opened["id"],
        "verified": data.study.front is not None,
        "front_share": charts.FRONT_SHARE if data.draws else "",
        "axes": default_axes(data),
        "layer": max(range(len(opened_layers)), key=lambda place: _cycles(opened_layers[place]), default=0),
        "figures": [
            {"name": name, "label": ", ".join(LABELS[name]), "kind": "share" if name in LOSSES else ""}
            for name in data.figures
        ],
        "settings": [words(name) for name in data.varied],
        "layer_names": list(opened["choices"]),
        "designs": [
            {
                **{name: design[name] for name in ("id", "trial", "kind", "accuracy", "test_accuracy")},
                **{name: design[name] for name in ("front_share", "same_as")},
                **{name: design[name] for name in ("overflows", "saturated_activations")},
                "name": design_name(design),
                "limits": limit_words(design),
                "dense": dense_words(design),
                "predicted": [design["predicted"][name] for name in data.figures],
                **{
                    how: design[how] and [design[how][name] for name in data.figures]
                    for how in ("corrected", "measured")
                },
                "loss_intervals": design["loss_intervals"],
                "settings": [design["settings"][name] for name in data.varied],
                "choices": [design["choices"][name] for name in opened["choices"]],
                "number_formats": [[name, *each.values()] for name, each in design["number_formats"].items()],
            }
            for design in shown
        ],
        "layers": layers,
        "parts": {
            name: [{"name": f"{part}{ending}", "label": words(part)} for part in parts]
            for name, (_, ending, parts) in charts.PARTS.items()
        },
        "plan_heads": _plan_heads(left_out, thresholds, limits, least),
        "left_out": left_out,
        "thresholds": thresholds,
        "limits": limits,
        "least": least,
        "volumes": volumes(data.study),
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
        "light": LIGHT,
        "dark": DARK,
    }


def _any_layer_has(data: CodesignData, names: Sequence[str]) -> bool:
    """Return True if one of these columns is not 0 in some layer; files of earlier versions lack them."""
    return any(row.get(name) for rows in data.layers.values() for row in rows for name in names)


def _plan_heads(left_out: bool, thresholds: bool, limits: bool, least: bool) -> list[str]:
    """Return the headings of the plan of a design whose layers are stored."""
    return [
        *("layer", "kind", "rows x columns", *(["left out"] if left_out else []), "vectors per input"),
        *(["threshold", "broadcast"] if thresholds else []),
        *("density, chosen", "density, in the file", "codebook bits"),
        *("gap bits, array", "gap bits, file", "weights stay, or loaded in", "bytes loaded"),
        *("bytes predicted", "measured", "off by", "cycles predicted", "measured", "off by"),
        *("nJ predicted", "measured", "off by"),
        *(["limit, cycles", "of all cycles", "limited by"] if limits else []),
        *(["limit, nJ", "limit, bytes in the SRAMs", "of all these bytes"] if least else []),
    ]


def _layer_values(row: Row) -> Row:
    """Return a row of LAYER_COLUMNS with its timeline as columns."""
    return shown_layer(row) | {"bins": timeline_columns(row)}


def _cycles(layer: Row) -> float:
    return float(layer["cycles"]) if layer["cycles"] == layer["cycles"] else 0.0  # nan if the layer does not run


def _count(data: CodesignData, *kinds: str) -> int:
    return sum(design["kind"] in kinds for design in data.designs)


def _summary(data: CodesignData) -> str:
    search = data.study.origin["settings"]["search"]
    aims = [LABELS[name][0] for name in search["objectives"]]
    listed = ", ".join(aims[:-1]) + f" and {aims[-1]}" if len(aims) > 1 else aims[0]
    verified = sum(design["measured"] is not None for design in data.designs)
    outcome = (
        f"{verified:,} of them were compressed, run and simulated; {_count(data, FRONT):,} of these are Pareto-optimal."
        if data.study.front is not None
        else "None is verified yet: every number here is a prediction. The same python -m designs codesign continues."
    )
    trials = data.study.trials
    tried = (
        f"{trials.num_rows:,} compressions of the network, each with all arrays of the space, were tried to minimise "
        f"{listed}: {sum(trials['arrays'].to_pylist()):,} designs. The predicted front has {len(data.designs):,}"
    )
    figure, lost = loss_of(data.study.origin["settings"])
    return f"{tried}. {outcome} {LABELS[figure][0].capitalize()}: {lost}."


def _spread_note(data: CodesignData, others: Sequence[Row]) -> str:
    """Return a sentence about the designs that are not shown; an empty text if all are."""
    number = sum(design["measured"] is None for design in data.designs)
    if len(others) == number:
        return ""
    kind = "that are not verified " if data.study.front is not None else ""
    return (
        f"Of {number:,} designs of the predicted front {kind}the page shows {len(others):,}, spread over all costs; "
        f"designs.csv beside it has all of them."
    )


def _others_as(data: CodesignData) -> str:
    corrected = any(design["corrected"] for design in data.designs)
    return "as corrected by what was measured of others" if corrected else "as predicted"


def _uncertainty(data: CodesignData) -> str:
    """Return a sentence about the draws of the constants; an empty text if there are none."""
    if not data.draws:
        return ""
    front = {design["same_as"] for design in data.designs if design["kind"] == FRONT}
    return (
        f"In {data.draws:,} draws of the constants of energy, area and clock, each by its uncertainty, "
        f"{len(front):,} of {_count(data, FRONT):,} designs of the front can be told apart. An objective tells two "
        f"designs apart if it differs by more than {TOLERANCE:.0%} in at least {CERTAINTY:.0%} of the draws; a loss "
        f"does so only if its measured intervals do not overlap, too. Of designs that cannot be told apart, the one "
        f"that is most often on the front stands for the others."
    )


def _tiles(data: CodesignData) -> list[Row]:
    """Return the smallest and the largest value on the front for each objective."""
    kind = FRONT if data.study.front is not None else PREDICTED
    front = [design for design in data.designs if design["kind"] == kind]
    tiles = []
    for name in data.study.objectives:
        values = [(design["measured"] or design["predicted"])[name] for design in front]
        values = [value for value in values if value == value]
        if values:
            label, unit = LABELS[name]
            lowest, highest = (_short(value, name) for value in (min(values), max(values)))
            tiles.append({"label": f"smallest {label}, {unit}", "value": lowest, "of": f"up to {highest} on the front"})
    return tiles


def _front_note(data: CodesignData) -> str:
    bounds = bounds_of(data)
    shown = [f"{LABELS[name][0]} {_short(bound, name)} {LABELS[name][1]}" for name, bound in bounds.items()]
    return f"Dashed lines are upper bounds: {', '.join(shown)}." if shown else ""


def _no_layers(data: CodesignData) -> str:
    if data.study.front is None:
        return "No design is verified yet. Only verified designs have layers."
    if not data.layers:
        return "The folder holds no layers.parquet. Run the same python -m designs codesign again, which writes it."
    return "This design was not measured. Only verified designs have layers: pick one of them."


def _volume_words(data: CodesignData) -> str:
    last = volumes(data.study)[-1]
    return (
        f"Hypervolume: {last['hypervolume']:.1%} of the box around the predicted front is dominated by some design "
        f"after {last['compressions']:,} compressions."
    )


def _made(data: CodesignData) -> list[Row]:
    """Return the tables of settings and versions."""
    settings, origin = data.study.origin["settings"], data.study.origin
    blocks = [
        ("Search", settings["search"]),
        (
            "Space",
            {f"{table}.{name}": value for table, values in settings["space"].items() for name, value in _items(values)},
        ),
        ("Network", {name: value for name, value in settings["network"].items() if name not in _OWN_TABLES}),
        ("Arithmetic in fixed point", settings.get("fixed_point", {})),
        ("Settings that all designs share", data.fixed),
        ("Versions", {**origin["versions"], **({"sources": origin["sources"]} if origin["sources"] else {})}),
        ("Compressions that no array runs", {reason: f"{number:,}" for reason, number in data.refused.items()}),
    ]
    blocks[0][1].update({name: settings[name] for name in ("fine_tuned", "uncertain") if name in settings})
    tables = [
        {"title": title, "rows": [(words(name), _text(value)) for name, value in values.items()]}
        for title, values in blocks
    ]
    layers, off_array = (settings["network"][name] for name in _OWN_TABLES)
    tables.append(
        {
            "title": "Layers of the network",
            "rows": [(name, f"{kind}, {vectors:,.4g} vectors per input") for name, (kind, vectors) in layers.items()],
        }
    )
    tables.append(
        {
            "title": "Computed off the array, per input",
            "rows": [
                (operator, f"{count:,} operations, {elements:,} values, {macs:,} multiply-accumulates")
                for operator, (count, elements, macs) in off_array.items()
            ],
        }
    )
    return [table for table in tables if table["rows"]]


def _items(values: Any) -> Sequence[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, dict) else [("", values)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: float, figure: str) -> str:
    shown = 100 * value if figure in LOSSES else value
    return f"{shown:,.0f}" if abs(shown) >= 1000 else f"{shown:.3g}"
