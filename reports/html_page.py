"""HTML pages that work offline, with style, script and the charts' library inside, and the look of their charts."""

from __future__ import annotations

import importlib
from functools import cache
from importlib import resources
from typing import Any

from traces import InputError

Spec = dict[str, Any]
# After Okabe and Ito, which colour-blind readers can distinguish, on a white and on a black ground; then four of other
# lightness, so that no two parts of a bar have the same
COLOURS = (
    *("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2", "#999999"),
    *("#B39DDB", "#C5E17A", "#A97155", "#BFE8E4"),
)
_FONT = "system-ui, 'DejaVu Sans', sans-serif"


def theme(ink: str, faint: str, ground: str) -> Spec:
    """Return the configuration of all charts.

    Parameters
    ----------
    ink, faint, ground : str
        Colours of text, of grid lines, and of the gaps between parts of a bar.

    Notes
    -----
    Legends are above the chart, in four columns; the page reduces them where it is narrow.
    """
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 600}
    return {
        "background": None,
        "font": _FONT,
        "view": {"stroke": None},
        "axis": {**text, "gridColor": faint, "domainColor": faint, "tickColor": faint, "labelOverlap": "greedy"},
        "legend": {**text, "labelLimit": 260, "orient": "top", "symbolOpacity": 1, "columns": 4},
        "bar": {"stroke": ground, "strokeWidth": 1},
        "text": {"color": ink},
        "rule": {"color": ink},
        "range": {"category": list(COLOURS)},
    }


LIGHT = theme("#1b1f24", "#dfe3e8", "#ffffff")
DARK = theme("#e8eaed", "#3a4048", "#191c20")


def spec_of(chart: Any) -> Spec:
    """Return the specification of a chart that fills its container."""
    spec: Spec = chart.properties(width="container").to_dict()
    spec.pop("config", None)
    return spec


def check_packages(what: str) -> None:
    """Raise InputError if a package of the extra `report`, which this kind of page needs, is missing."""
    for name in ("altair", "vl_convert", "jinja2"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise InputError(
                f"{what} needs the package {name}; install the extra: pip install 'eie-codesign[report]'"
            ) from None


def render(package: str, name: str, **values: Any) -> str:
    """Return the page of a template, with the style of all pages, its own script and the charts' library.

    Parameters
    ----------
    package : str
        Package whose folder `page` has NAME.html.jinja and NAME.js.
    name : str
        Name of the template.
    **values
        Values of the template; those of `data` are the script's.
    """
    from jinja2 import DictLoader, Environment
    from markupsafe import Markup

    folder = resources.files(package) / "page"
    source = {file: (folder / file).read_text() for file in (f"{name}.html.jinja", f"{name}.js")}
    environment = Environment(loader=DictLoader(source), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(f"{name}.html.jinja").render(
        **values,
        style=Markup((resources.files("reports") / "page.css").read_text()),
        script=Markup(source[f"{name}.js"]),
        library=Markup(_library()),
    )


@cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed for a script element."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")
