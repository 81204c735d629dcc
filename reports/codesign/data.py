"""A co-design's results as the plain values that its page and its figures are made of."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from designs.codesigns.folder import StudyResults
from designs.codesigns.search import FIGURES
from designs.design import ARRAY_FIELDS
from designs.hypervolume import LOGARITHMIC, CostBox
from designs.pareto import non_dominated

Row = dict[str, Any]
SETTINGS = (*ARRAY_FIELDS, "row_assignment")
LABELS = {
    "accuracy_loss": ("accuracy lost", "%"),
    "latency_us": ("latency", "us"),
    "energy_nj": ("energy", "nJ"),
    "area_mm2": ("area", "mm2"),
    "file_bytes": ("container", "bytes"),
}
_SPELT = {"pes": "PEs", "mhz": "MHz", "dram": "DRAM", "srams": "SRAMs", "eie-codesign": "this project"}
# What becomes of a design: of verified ones as measured, of the others as predicted
FRONT, BEATEN, BREAKS = "front", "beaten", "breaks a bound"
BEST, TRIED, OUTSIDE = "front, predicted", "tried", "tried, breaks a bound"
KINDS = (FRONT, BEATEN, BREAKS, BEST, TRIED, OUTSIDE)


@dataclass(frozen=True, eq=False)
class CodesignData:
    """Designs of a study, each once: the verified ones first, in the order of their result file, then those tried.

    figures    of every design, objectives first
    varied     settings in which designs differ; `fixed` are those in which they all agree
    designs    id, trial, kind, predicted, measured, accuracy (both None: not verified), test_accuracy (None: nor any
               test images), settings and choices; predicted and measured by figure, settings by name, choices
               [density, bits] by layer
    layers     rows of LAYER_COLUMNS by id of the design; empty where none are stored
    refused    trials that are no designs, by the reason
    """

    study: StudyResults
    figures: tuple[str, ...]
    varied: tuple[str, ...]
    fixed: Row
    designs: list[Row]
    layers: dict[str, list[Row]]
    refused: dict[str, int]

    @property
    def opened(self) -> Row:
        """The design that is looked at first: of the front, the one whose worst cost is the least bad."""
        best = [each for each in self.designs if each["kind"] in (FRONT, BEST)] or self.designs
        costs = np.array([[costs_of(each)[name] for name in self.study.objectives] for each in best], dtype=np.float64)
        finite = np.isfinite(costs).all(axis=1)
        if not finite.any():
            return best[0]
        places = CostBox.around(self.study.objectives, costs[finite]).places(costs[finite])
        return best[int(np.flatnonzero(finite)[places.max(axis=1).argmin()])]


def costs_of(design: Row) -> Row:
    """By figure: as measured, where the design was verified, else as predicted."""
    found: Row = design["measured"] or design["predicted"]
    return found


def codesign_data(study: StudyResults) -> CodesignData:
    """Everything that is shown of a study."""
    designs = _verified(study)
    known = {each["id"] for each in designs}
    for row in study.trials.to_pylist():
        if row["digest"] and row["digest"] not in known:
            known.add(row["digest"])
            designs.append(_tried(row))
    if study.front is None:
        _mark_best(designs, study.objectives)
    varied = tuple(name for name in SETTINGS if len({each["settings"][name] for each in designs}) > 1)
    layers: dict[str, list[Row]] = {}
    if study.layers is not None:
        for row in study.layers.to_pylist():
            layers.setdefault(row["digest"], []).append(row)
    return CodesignData(
        study,
        tuple(sorted(FIGURES, key=lambda name: (name not in study.objectives, FIGURES.index(name)))),
        varied,
        {name: designs[0]["settings"][name] for name in SETTINGS if name not in varied} if designs else {},
        designs,
        layers,
        dict(Counter(reason for reason in study.trials["refused"].to_pylist() if reason).most_common()),
    )


def _verified(study: StudyResults) -> list[Row]:
    if study.front is None:
        return []
    return [
        {
            "id": row["digest"],
            "trial": row["trial"],
            "kind": FRONT if row["on_front"] else BEATEN if row["keeps_bounds"] else BREAKS,
            "predicted": {name: row[f"predicted_{name}"] for name in FIGURES},
            "measured": {name: row[f"measured_{name}"] for name in FIGURES},
            "accuracy": row["accuracy"],
            "test_accuracy": None if math.isnan(row["test_accuracy"]) else row["test_accuracy"],
            "settings": {name: row[name] for name in SETTINGS},
            "choices": json.loads(row["choices"]),
        }
        for row in study.front.to_pylist()
    ]


def _tried(row: Row) -> Row:
    design = json.loads(row["design"])
    return {
        "id": row["digest"],
        "trial": row["trial"],
        "kind": TRIED if row["feasible"] else OUTSIDE,
        "predicted": {name: row[name] for name in FIGURES},
        "measured": None,
        "accuracy": None,
        "test_accuracy": None,
        "settings": {
            **{name: design["array"][name] for name in ARRAY_FIELDS},
            "row_assignment": design["row_assignment"],
        },
        "choices": design["choices"],
    }


def _mark_best(designs: Sequence[Row], objectives: Sequence[str]) -> None:
    kept = [each for each in designs if each["kind"] == TRIED]
    costs = np.array([[each["predicted"][name] for name in objectives] for each in kept], dtype=np.float64)
    for each, best in zip(kept, non_dominated(costs.reshape(len(kept), len(objectives))), strict=True):
        if best:
            each["kind"] = BEST


def default_axes(data: CodesignData) -> tuple[str, str]:
    """What is shown across and up at first: the two first objectives besides accuracy, if there are two."""
    hardware = [name for name in data.study.objectives if name != "accuracy_loss"]
    return (hardware[0], hardware[1]) if len(hardware) > 1 else (data.figures[1], data.figures[0])


def bounds_of(data: CodesignData) -> dict[str, float]:
    """The bounds of the search, by figure."""
    return dict(data.study.origin["settings"]["search"]["bounds"])


def flat_designs(designs: Sequence[Row]) -> list[Row]:
    """What charts of designs are drawn from: id, name, kind, and the figures; None for what is no finite number."""
    return [
        {
            "id": each["id"],
            "name": design_name(each),
            "kind": each["kind"],
            **{name: value if math.isfinite(value) else None for name, value in costs_of(each).items()},
        }
        for each in designs
    ]


def design_name(design: Row) -> str:
    """What a design is called: the trial that found it, and its array in short."""
    settings = design["settings"]
    bits = f"{settings['weight_bits']} + {settings['index_bits']} bits"
    return f"trial {design['trial']}: {settings['num_pes']} PEs, {bits}, {settings['clock_mhz']:.4g} MHz"


def is_logarithmic(designs: Sequence[Row], figure: str) -> bool:
    """Whether an axis of this figure is logarithmic: one that spans decades, and is positive for every design."""
    values = [costs_of(each)[figure] for each in designs]
    return figure in LOGARITHMIC and all(value > 0 for value in values if math.isfinite(value))


def stairs(designs: Sequence[Row], x: str, y: str) -> list[Row]:
    """Corners of the line that no design of the front is beyond, in two figures: less is better in both."""
    best: list[Row] = []
    points = [costs_of(each) for each in designs if each["kind"] in (FRONT, BEST)]
    points = [each for each in points if math.isfinite(each[x]) and math.isfinite(each[y])]
    for point in sorted(points, key=lambda each: (each[x], each[y])):
        if not best or point[y] < best[-1][y]:
            best.append({x: point[x], y: point[y]})
    return best


def timeline_columns(layer: Row) -> Row:
    """The stored timeline of a layer: `cycle`, where each bin begins and the last one ends, and the means by name."""
    names = [name.removeprefix("timeline_") for name in layer if name.startswith("timeline_")]
    ends = layer["timeline_cycles"]
    means = {name: layer[f"timeline_{name}"] for name in names if name != "cycles"}
    return {"cycle": [0, *ends] if ends else [], **{name: [*values, *values[-1:]] for name, values in means.items()}}


def timeline_bins(layer: Row) -> list[Row]:
    """The same as rows."""
    columns = timeline_columns(layer)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def without_timeline(layer: Row) -> Row:
    """A row of LAYER_COLUMNS without the stored timeline."""
    return {name: value for name, value in layer.items() if not name.startswith("timeline_")}


def words(name: str) -> str:
    """A field's name for a reader."""
    return " ".join(_SPELT.get(each, each) for each in name.replace("gb_per_s", "GB/s").split("_"))


def plain(value: Any) -> Any:
    """The same with text for numbers that are not finite, which JSON does not have."""
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
