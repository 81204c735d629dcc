"""Results of a co-design as plain values for its page and its figures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from designs.codesigns.columns import DENSE_COLUMNS, LIMIT_COLUMNS, dense_verdict, loss_of
from designs.codesigns.folder import StudyResults
from designs.codesigns.search import FIGURES, LOSSES
from designs.design import HARDWARE
from designs.hypervolume import LOGARITHMIC, CostBox, spread_out
from traces.arrays import Floats64

Row = dict[str, Any]
LABELS = {
    "accuracy_loss": ("accuracy lost", "%"),
    "output_error": ("error of the outputs", "%"),
    "latency_us": ("latency", "us"),
    "energy_nj": ("energy", "nJ"),
    "area_mm2": ("area", "mm2"),
    "file_bytes": ("container", "bytes"),
}
FRONT, DOMINATED, INFEASIBLE = "front", "dominated", "infeasible"  # of verified designs, as measured
PREDICTED = "predicted front"
KINDS = (FRONT, DOMINATED, INFEASIBLE, PREDICTED)
MOST_SHOWN = 400
"""Most designs that page and figures show of those that are not verified."""
ENDS = ("lower", "upper")  # of intervals
LIMIT_NAMES = tuple(column.name for column in LIMIT_COLUMNS)
DENSE_NAMES = tuple(column.name for column in DENSE_COLUMNS)


@dataclass(frozen=True, eq=False)
class CodesignData:
    """Designs of a study, each once: verified designs in the order of their result file, then the predicted front.

    Attributes
    ----------
    study : StudyResults
        Result files of the study.
    figures : tuple of str
        Costs of every design, objectives first; of the losses, the one that is measured.
    varied : tuple of str
        Settings in which designs differ.
    fixed : dict
        Values of the other settings.
    designs : list of dict
        Each has id, trial, kind, predicted, corrected by what was measured of others (None: verified, or nothing was
        measured), measured (None: not verified), accuracy (None: not verified, or outputs are
        no answers), test_accuracy (None: no test images), front_share (None: no constants were drawn), same_as (its own
        id, or that of the design that stands for it), overflows and saturated_activations per input (None: not
        verified), limits and dense (LIMIT_COLUMNS and DENSE_COLUMNS by name; empty if not verified, or of an earlier
        version), settings, choices and number_formats. Costs are by figure, settings by name, `plain_choices` by layer,
        formats by product (none: floating point, or not verified).
    layers : dict of str to list of dict
        Rows of LAYER_COLUMNS by id of the design; empty if none are stored.
    refused : dict of str to int
        Number of compressions that no array runs, by reason.
    """

    study: StudyResults
    figures: tuple[str, ...]
    varied: tuple[str, ...]
    fixed: Row
    designs: list[Row]
    layers: dict[str, list[Row]]
    refused: dict[str, int]

    @property
    def draws(self) -> int:
        """Draws of the cost model's constants; 0 if none were drawn."""
        return int(self.study.origin["settings"].get("uncertain", 0))

    @property
    def opened(self) -> Row:
        """The design to show first: the one on the front with the smallest largest cost, as place in the cost box.

        The front is the measured one, if there is one; else the verified designs, else the predicted front.
        """
        fronts = [design for design in self.designs if design["kind"] == FRONT]
        front = fronts or [design for design in self.designs if design["measured"]] or self.designs
        costs = self._costs(front, self.study.objectives)
        finite = np.isfinite(costs).all(axis=1)
        if not finite.any():
            return front[0]
        places = CostBox.around(self.study.objectives, costs[finite]).places(costs[finite])
        return front[int(np.flatnonzero(finite)[places.max(axis=1).argmin()])]

    def shown(self, opened: Row) -> list[Row]:
        """Return the designs that page and figures show.

        These are the verified ones, `opened`, and of the others at most MOST_SHOWN, spread over all costs.
        """
        kept = {opened["id"]}
        others = [design for design in self.designs if not design["measured"]]
        if others:
            costs = self._costs(others, self.figures)
            places = CostBox.around(self.figures, costs).places(costs)
            kept |= {others[at]["id"] for at in spread_out(places, MOST_SHOWN).tolist()}
        return [design for design in self.designs if design["measured"] or design["id"] in kept]

    @staticmethod
    def _costs(designs: Sequence[Row], names: Sequence[str]) -> Floats64:
        return np.array([[costs_of(design)[name] for name in names] for design in designs], dtype=np.float64)


def standing(designs: Sequence[Row]) -> list[Row]:
    """Return the designs that stand for themselves: of those that cannot be told apart, one."""
    return [design for design in designs if design["same_as"] == design["id"]]


def costs_of(design: Row) -> Row:
    """Return the costs of a design by figure: as measured if it was verified, else corrected, else as predicted."""
    costs: Row = design["measured"] or design["corrected"] or design["predicted"]
    return costs


def codesign_data(study: StudyResults) -> CodesignData:
    """Collect everything that the report shows of a study."""
    designs = _verified(study)
    known = {design["id"] for design in designs}
    designs += [_predicted(row) for row in study.designs.to_pylist() if row["digest"] not in known]
    varied = tuple(name for name in HARDWARE if len({design["settings"][name] for design in designs}) > 1)
    layers: dict[str, list[Row]] = {}
    if study.layers is not None:
        for row in study.layers.to_pylist():
            layers.setdefault(row["digest"], []).append(row)
    return CodesignData(
        study,
        tuple(sorted(_figure_names(study), key=lambda name: (name not in study.objectives, FIGURES.index(name)))),
        varied,
        {name: designs[0]["settings"][name] for name in HARDWARE if name not in varied} if designs else {},
        designs,
        layers,
        dict(Counter(reason for reason in study.trials["refused"].to_pylist() if reason).most_common()),
    )


def _figure_names(study: StudyResults) -> list[str]:
    """Return the figures of a study: all but the loss that is not measured."""
    loss, _ = loss_of(study.origin["settings"])
    return [name for name in FIGURES if name not in LOSSES or name == loss]


def _figures(row: Row, beginning: str = "") -> Row:
    """Return the figures of a row; a loss that is not measured is null there."""
    return {name: row[beginning + name] for name in FIGURES if row[beginning + name] is not None}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _verified(study: StudyResults) -> list[Row]:
    if study.front is None:
        return []
    return [
        {
            "id": row["digest"],
            "trial": row["trial"],
            "kind": FRONT if row["on_front"] else DOMINATED if row["keeps_bounds"] else INFEASIBLE,
            "predicted": _figures(row, "predicted_"),
            "corrected": None,
            "measured": _figures(row, "measured_"),
            "loss_intervals": {
                "corrected": None,
                **{how: [row[f"{how}_loss_{end}"] for end in ENDS] for how in ("predicted", "measured")},
            },
            "accuracy": _number(row["accuracy"]),
            "test_accuracy": _number(row["test_accuracy"]),
            "front_share": row["front_share"],
            "same_as": row["same_as"] or row["digest"],
            "overflows": row["overflows"],
            "saturated_activations": row["saturated_activations"],
            "limits": {name: row[name] for name in LIMIT_NAMES if name in row},
            "dense": {name: row[name] for name in DENSE_NAMES if name in row},
            "settings": {name: row[name] for name in HARDWARE},
            "choices": json.loads(row["choices"]),
            "number_formats": json.loads(row["number_formats"]),
        }
        for row in study.front.to_pylist()
    ]


def _predicted(row: Row) -> Row:
    predicted, corrected = _figures(row), _figures(row, "corrected_")
    interval = [row[f"loss_{end}"] for end in ENDS]
    return {
        "id": row["digest"],
        "trial": row["trial"],
        "kind": PREDICTED,
        "predicted": predicted,
        "corrected": predicted | corrected if corrected else None,
        "measured": None,
        "loss_intervals": {
            "corrected": None if interval[0] is None else interval,
            "predicted": None,
            "measured": None,
        },
        "accuracy": None,
        "test_accuracy": None,
        "front_share": None,
        "same_as": row["digest"],
        "overflows": None,
        "saturated_activations": None,
        "limits": {},
        "dense": {},
        "settings": {name: row[name] for name in HARDWARE},
        "choices": json.loads(row["choices"]),
        "number_formats": {},
    }


def limit_words(design: Row) -> str:
    """Return a sentence about the limits of a verified design that the array runs; an empty text without any."""
    limits = design["limits"]
    if not limits.get("limit_binds"):
        return ""
    energy = limits["limit_energy_nj"] / design["measured"]["energy_nj"]
    return (
        f"at least {limits['limit_cycles']:,.0f} cycles per input ({limits['limit_share']:.1%} of all; limited by: "
        f"{limits['limit_binds']}), at least {limits['limit_energy_nj']:,.4g} nJ per input ({energy:.0%} of all), and "
        f"at least {limits['limit_bytes']:,.0f} bytes of weights in the SRAMs."
    )


def dense_words(design: Row) -> str:
    """Return a sentence that compares a verified design with a dense array; an empty text for other designs."""
    if not design["measured"]:
        return ""
    return dense_verdict(design["dense"] | {f"measured_{name}": value for name, value in design["measured"].items()})


def default_axes(data: CodesignData) -> tuple[str, str]:
    """Return the first axes of the chart, x and y: the first two objectives besides accuracy, if there are two."""
    hardware = [name for name in data.study.objectives if name not in LOSSES]
    return (hardware[0], hardware[1]) if len(hardware) > 1 else (data.figures[1], data.figures[0])


def bounds_of(data: CodesignData) -> dict[str, float]:
    """Return the bounds of the search by figure."""
    return dict(data.study.origin["settings"]["search"]["bounds"])


def flat_designs(designs: Sequence[Row]) -> list[Row]:
    """Return id, name, kind, front_share and figures of each design for charts; None stands for what is not finite."""
    return [
        {
            "id": design["id"],
            "name": design_name(design),
            "kind": design["kind"],
            "front_share": design["front_share"],
            **{name: value if math.isfinite(value) else None for name, value in costs_of(design).items()},
        }
        for design in designs
    ]


def short_id(design: Row) -> str:
    """Return the beginning of a design's digest, by which it is named."""
    return str(design["id"][:8])


def design_name(design: Row) -> str:
    """Return the name of a design: the beginning of its digest, its compression, and its array in short."""
    settings = design["settings"]
    bits = f"{settings['weight_bits']} + {settings['index_bits']} bits"
    array = f"{settings['num_pes']} PEs, {bits}, {settings['clock_mhz']:.4g} MHz"
    return f"{short_id(design)}: compression {design['trial']}, {array}"


def is_logarithmic(designs: Sequence[Row], figure: str) -> bool:
    """Return True if the axis of a figure is logarithmic: its costs span decades and are all positive."""
    values = [costs_of(design)[figure] for design in designs]
    return figure in LOGARITHMIC and all(value > 0 for value in values if math.isfinite(value))


def stairs(designs: Sequence[Row], x: str, y: str) -> list[Row]:
    """Return the corners of the staircase below which no design of the front lies, in two figures to minimise.

    The front is the measured one, or, if nothing is measured, the predicted one.
    """
    corners: list[Row] = []
    kind = FRONT if any(design["measured"] for design in designs) else PREDICTED
    points = [costs_of(design) for design in designs if design["kind"] == kind]
    points = [point for point in points if math.isfinite(point[x]) and math.isfinite(point[y])]
    for point in sorted(points, key=lambda point: (point[x], point[y])):
        if not corners or point[y] < corners[-1][y]:
            corners.append({x: point[x], y: point[y]})
    return corners


def timeline_columns(layer: Row) -> Row:
    """Return the stored timeline of a layer: `cycle`, the edges of the bins, and the mean values by name."""
    names = [name.removeprefix("timeline_") for name in layer if name.startswith("timeline_")]
    ends = layer["timeline_cycles"]
    means = {name: layer[f"timeline_{name}"] for name in names if name != "cycles"}
    return {"cycle": [0, *ends] if ends else [], **{name: [*values, *values[-1:]] for name, values in means.items()}}


def timeline_bins(layer: Row) -> list[Row]:
    """Return the stored timeline of a layer as rows."""
    columns = timeline_columns(layer)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def without_timeline(layer: Row) -> Row:
    """Return a row of LAYER_COLUMNS without the stored timeline."""
    return {name: value for name, value in layer.items() if not name.startswith("timeline_")}


def shown_layer(layer: Row) -> Row:
    """Return a row of LAYER_COLUMNS without the stored timeline, with energies in nJ instead of pJ."""
    shown = without_timeline(layer)
    nanojoules = {
        f"{name.removesuffix('_pj')}_nj": value / 1e3 for name, value in shown.items() if name.endswith("_pj")
    }
    return {name: value for name, value in shown.items() if not name.endswith("_pj")} | nanojoules


def plain(value: Any) -> Any:
    """Return the value with text instead of numbers that are not finite, which JSON lacks."""
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def volumes(study: StudyResults) -> list[Row]:
    """Return the hypervolume after each compression, as rows for a chart."""
    values = study.trials["hypervolume"].to_pylist()
    return [{"compressions": number, "hypervolume": value} for number, value in enumerate(values, 1)]
