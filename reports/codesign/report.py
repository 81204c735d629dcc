"""Report of a co-design: a page, and the same content as figures and tables for papers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from designs.codesigns.folder import read_study
from designs.codesigns.search import FIGURES
from reports.codesign.data import (
    DENSE_NAMES,
    ENDS,
    LIMIT_NAMES,
    CodesignData,
    Row,
    bounds_of,
    codesign_data,
    default_axes,
    flat_designs,
    plain,
    shown_layer,
    standing,
    timeline_bins,
    volumes,
    without_timeline,
)
from reports.html_page import LIGHT, Spec, check_packages
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.files.csv_file import write_csv
from traces.shell.progress import progress_bar

PAGE_FILE = "report.html"
_WIDTH, _PNG_SCALE = 640, 2.5


def write_codesign_report(folder: Path, out: Path | None = None, design: str | None = None) -> list[Path]:
    """Write the page, and figures (SVG, PNG, PDF) and tables (CSV) into a folder of the same name beside it.

    Parameters
    ----------
    folder : Path
        Folder of a co-design, finished or not.
    out : Path, optional
        The page; default: report.html in that folder.
    design : str, optional
        Beginning of the digest of the design that page and figures show first; default: the design of the front whose
        largest cost is smallest.

    Returns
    -------
    list of Path
        The files, the page first.

    Raises
    ------
    InputError
        If there is nothing to report, the design is unknown, a file cannot be written, or a package of the extra
        `report` is missing.
    """
    page = out or folder / PAGE_FILE
    if page.suffix != ".html" or not page.stem.strip("."):
        raise InputError(
            f"the page's name must end in .html, because its figures go into a folder without it; found {page}"
        )
    check_packages("the report of a co-design")
    from reports.codesign.page import codesign_html

    data = codesign_data(read_study(folder))
    if not data.designs:
        reasons = "; ".join(list(data.refused)[:3])
        raise InputError(
            f"{folder}: no design of {data.study.trials.num_rows:,} compressions keeps all bounds"
            f"{f': {reasons}' if reasons else ''}; relax the bounds, or widen the space"
        )
    opened = data.opened if design is None else _chosen(data, design)
    beside = page.with_suffix("")
    write_atomically(page, codesign_html(data, opened, beside.name).encode())
    return [page, *_write_tables(data, beside), *_write_figures(data, opened, beside)]


def _chosen(data: CodesignData, beginning: str) -> Row:
    matching = [design for design in data.designs if beginning and design["id"].startswith(beginning)]
    if len(matching) != 1:
        few = ", ".join(design["id"] for design in (matching or data.designs)[:4])
        raise InputError(
            f"design must be the beginning of the digest of one design; found {beginning!r}, with which "
            f"{len(matching) or 'none'} of {len(data.designs):,} begin; choose one such as {few}"
        )
    return matching[0]


def _write_tables(data: CodesignData, beside: Path) -> list[Path]:
    """Write designs.csv, layers.csv and trials.csv with the names and exact numbers of the result files.

    designs.csv has all designs, and not those alone that the page shows.
    """
    designs = [
        {
            **{name: design[name] for name in ("trial", "id", "kind")},
            **{f"predicted_{name}": design["predicted"][name] for name in FIGURES if name in data.figures},
            **{
                f"{how}_{name}": (design[how] or {}).get(name, "")
                for how in ("corrected", "measured")
                for name in FIGURES
                if name in data.figures
            },
            **{
                f"{how}_loss_{end}": "" if interval is None else interval[place]
                for how, interval in design["loss_intervals"].items()
                for place, end in enumerate(ENDS)
            },
            **{name: "" if design[name] is None else design[name] for name in ("accuracy", "test_accuracy")},
            **{name: design["limits"].get(name, "") for name in LIMIT_NAMES},
            **{name: "" if (value := design["dense"].get(name)) is None else value for name in DENSE_NAMES},
            **{name: design[name] if data.draws and design["measured"] else "" for name in ("front_share", "same_as")},
            **design["settings"],
            "choices": json.dumps(design["choices"]),
            "number_formats": json.dumps(design["number_formats"]),
        }
        for design in data.designs
    ]
    layers = [without_timeline(row) for rows in data.layers.values() for row in rows]
    trials = data.study.trials.to_pylist()
    tables = {"designs": designs, "layers": layers, "trials": trials}
    written = []
    for name, rows in tables.items():
        if rows:
            written.append(beside / f"{name}.csv")
            write_csv(written[-1], list(rows[0]), [[row[name] for name in rows[0]] for row in rows])
    return written


def _write_figures(data: CodesignData, opened: Row, beside: Path) -> list[Path]:
    import vl_convert

    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"  # figures look the same on every machine
    vl_convert.register_font_directory(str(fonts))
    config = {**LIGHT, "background": "white", "font": "DejaVu Sans"}
    charts = _charts(data, opened)
    written = []
    with progress_bar("drawing figures", len(charts)) as advance:
        for name, (spec, datasets) in charts.items():
            together = {**spec.get("datasets", {}), **datasets}
            whole = plain({**spec, "width": _WIDTH, "datasets": together, "config": config})
            images = {
                ".svg": vl_convert.vegalite_to_svg(whole).encode(),
                ".png": vl_convert.vegalite_to_png(whole, scale=_PNG_SCALE),
                ".pdf": vl_convert.vegalite_to_pdf(whole),
            }
            for suffix, content in images.items():
                written.append(beside / f"{name}{suffix}")
                write_atomically(written[-1], content)
            advance()
    return written


def _charts(data: CodesignData, opened: Row) -> dict[str, tuple[Spec, Mapping[str, Any]]]:
    """Return the charts by name, each with its data.

    They show the front for each pair of objectives, the search, the layers of one design, and the slowest of these over
    time. Designs that cannot be told apart are one point.
    """
    from reports.codesign import charts

    flat = flat_designs(standing(data.shown(opened)))
    picked = [row | {"letter": "A"} for row in flat_designs([opened])]
    aims = data.study.objectives
    pairs = [(x, y) for number, y in enumerate(aims) for x in aims[number + 1 :]] or [default_axes(data)]
    named: dict[str, tuple[Spec, Mapping[str, Any]]] = {
        f"front_{y}_{x}": (charts.front_chart(data.designs, bounds_of(data), x, y), {"designs": flat, "picked": picked})
        for x, y in pairs
    }
    named["hypervolume"] = charts.hypervolume_chart(), {"volumes": volumes(data.study)}
    layers = data.layers.get(opened["id"], [])
    if layers:
        rows = [shown_layer(row) | {"letter": "A"} for row in layers]
        height = {"height": charts.BAR_PIXELS * len(rows)}
        for quantity in charts.PARTS:
            named[f"layers_{quantity}"] = {**charts.parts_chart(quantity, False), **height}, {"layers": rows}
    timed = [row for row in layers if row["timeline_cycles"]]
    if timed:
        bins = timeline_bins(max(timed, key=lambda row: row["cycles"]))
        for panel in charts.PANELS:
            named[f"timeline_{panel}"] = charts.timeline_chart(panel), {"bins": bins}
    return named
