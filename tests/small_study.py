"""Folders of co-designs with invented names and numbers; nothing is trained or simulated."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from compress.planning.plan import Choice
from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIALS_FILE, verified_row
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.search import Figure, Search
from designs.codesigns.storage import open_storage
from designs.codesigns.trials import ORIGIN, POINT, StudyTrial, trials_table
from designs.design import Design
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, FixedPoint

BINS = 12


def settings(name: str, search: Search) -> dict[str, Any]:
    """Return the settings of a study."""
    figure, measure = (
        ("output_error", "relative_error") if "output_error" in search.objectives else ("accuracy_loss", "answers")
    )
    network = {
        **{"name": name, "digest": "0" * 16, "densities": [0.5], "weight_bits": [4], "measure": measure},
        **{figure: "measure of this test", "layers": {"conv": ["Conv2d", 64.0]}, "off_array": {"Relu": [1, 640, 0]}},
    }
    return {"space": {"hardware": {"num_pes": [1, 2, 4]}}, "search": dataclasses.asdict(search), "network": network}


def points(
    number: int, layers: Sequence[str], bounds: dict[str, float], loss: str = "accuracy_loss"
) -> list[CodesignPoint]:
    """Return different designs with invented figures that trade off against each other."""
    draw = np.random.default_rng(0)
    designs = []
    for place in range(number):
        speed = float(draw.uniform(1, 100))
        figures = {
            loss: float(draw.uniform(0, 0.1)),
            "latency_us": 1000 / speed,
            "energy_nj": 50 * speed * float(draw.uniform(0.5, 1.5)),
            "area_mm2": 0.1 * speed,
            "file_bytes": float(draw.integers(1000, 9000)),
        }
        array = ArrayConfig(num_pes=2 ** (place % 7), queue_slots=2 + place, clock_mhz=400.0 + place / 3)
        choices = {layer: Choice(round(float(draw.uniform(0.05, 0.5)), 3), 2 + place % 4) for layer in layers}
        excesses = {figure: figures[figure] / bound - 1 for figure, bound in bounds.items()}
        designs.append(CodesignPoint(Design(array), choices, figures, excesses))
    return designs


def write_study(
    folder: Path,
    trials: int = 30,
    verified: int = 6,
    name: str = "small",
    layers: Sequence[str] = ("conv", "fc1"),
    measured: dict[int, dict[str, float]] | None = None,
    refused: Sequence[str] = (),
    objectives: tuple[Figure, ...] = Search().objectives,
    same_as: Mapping[int, int] | None = None,
    number_formats: Mapping[str, FixedPoint] | None = None,
) -> list[CodesignPoint]:
    """Write the result files of a study; return the points of its trials.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    trials, verified : int
        Number of trials, and of verified ones among them; those come first.
    name : str
        Name of the network.
    layers : sequence of str
        Names of its layers.
    measured : dict, optional
        Measured figures of verified designs by number; others are 3 % above the prediction.
    refused : sequence of str
        Reasons of invalid trials, which come last.
    objectives : tuple of str
        Objectives of the study.
    same_as : mapping of int to int, optional
        Verified designs that other ones stand for, by number: constants were drawn. None: no constants were drawn.
    number_formats : mapping of str to FixedPoint, optional
        Formats of the verified designs, which then overflow 7.5 times per input.
    """
    loss = "output_error" if "output_error" in objectives else "accuracy_loss"
    search = Search(objectives, {loss: 0.08}, max(trials, 1), verify=max(verified, 1))
    found = points(trials, layers, dict(search.bounds), loss)
    listed = [StudyTrial(number, point) for number, point in enumerate(found)]
    listed += [StudyTrial(trials + number, None, reason) for number, reason in enumerate(refused)]
    origin = provenance(settings(name, search) | {"uncertain": 0 if same_as is None else 200})
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / TRIALS_FILE, trials_table(listed, search.objectives), origin)
    if verified:
        of_design = measured or {}
        front = [
            _front_row(number, found[number], of_design.get(number, {}), number_formats or {})
            for number in range(verified)
        ]
        for number, row in enumerate(front if same_as is not None else []):
            standing = (same_as or {}).get(number, number)
            row |= {"front_share": 1 / (1 + number), "same_as": front[standing]["digest"]}
        write_results(folder / FRONT_FILE, table_of(FRONT_COLUMNS, front), origin)
        rows = [_layer_row(row, layer, place) for row in front for place, layer in enumerate(layers)]
        write_results(folder / LAYERS_FILE, table_of(LAYER_COLUMNS, rows), origin)
    return found


def write_journal(folder: Path, trials: int) -> None:
    """Write the journal of a study that was killed after this number of trials."""
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(("latency_us", "accuracy_loss"), {"accuracy_loss": 0.08})
    study = optuna.create_study(
        storage=open_storage(folder), study_name="mine", directions=["minimize"] * len(search.objectives)
    )
    study.set_user_attr(ORIGIN, json.loads(json.dumps(settings("killed", search))))
    for point in points(trials, ("conv",), dict(search.bounds)):
        values = [point.figures[name] for name in search.objectives]
        study.add_trial(optuna.trial.create_trial(values=values, user_attrs={POINT: point.to_dict()}))


def _front_row(
    number: int, point: CodesignPoint, measured: dict[str, float], formats: Mapping[str, FixedPoint]
) -> dict[str, Any]:
    figures = {name: value * 1.03 for name, value in point.figures.items()} | measured
    return {
        "trial": number,
        "digest": point.digest,
        **verified_row(
            point,
            dataclasses.replace(point, figures=figures, number_formats=formats),
            {"predicted_loss": [0.005, 0.06], "measured_loss": [0.01, 0.04]},
        ),
        "accuracy": 0.95 - figures.get("accuracy_loss", math.nan),
        "test_accuracy": math.nan,
        "overflows": 7.5 if formats else 0.0,
        "saturated_activations": 0.0,
        "output_difference": 1e-7,
        "keeps_bounds": number % 3 != 2,
        "on_front": number % 3 == 0,
        "front_share": None,
        "same_as": "",
    }


def _layer_row(row: dict[str, Any], layer: str, place: int) -> dict[str, Any]:
    draw = np.random.default_rng([row["trial"], place])
    found: dict[str, Any] = {}
    for column in LAYER_COLUMNS:
        kind = str(column.type)
        if kind.startswith("list"):
            found[column.name] = draw.uniform(0, 1, BINS).round(4).tolist()
        else:
            found[column.name] = int(draw.integers(1, 500)) if kind == "int64" else float(draw.uniform(0, 500))
    ends = list(range(5, 5 * BINS + 1, 5))
    return found | {
        **{name: row[name] for name in ("trial", "digest")},
        **{"layer": layer, "kind": "Linear", "scan_order": "rows", "residency": "resident"},
        "timeline_cycles": ends,
    }
