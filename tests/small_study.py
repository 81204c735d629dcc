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
import pyarrow as pa

from compress.planning.plan import Choice
from designs.codesigns.columns import (
    DESIGNS_FILE,
    FRONT_COLUMNS,
    FRONT_FILE,
    TRIALS_FILE,
    verified_row,
)
from designs.codesigns.design_table import DesignTable
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE
from designs.codesigns.point import CodesignPoint
from designs.codesigns.search import FIGURES, LOSSES, Figure, Search
from designs.codesigns.storage import open_storage
from designs.codesigns.trials import ORIGIN, RECORD, FrontDesigns, StudyTrial, trial_record, trials_table
from designs.design import Design
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, FixedPoint
from traces.arrays import Floats64

BINS = 12
OF_TRIAL = 3
"""Designs of each compression on the predicted front."""
CORRECTED = {"latency_us": 1.02, "energy_nj": 1.04, "accuracy_loss": 1.1, "output_error": 1.1}
"""Ratio of corrected to predicted figures of designs that are not verified."""


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
    number: int, layers: Sequence[str], bounds: dict[str, float], loss: str = "accuracy_loss", cut: float = 0.0
) -> list[CodesignPoint]:
    """Return different designs with invented figures that trade off against each other, OF_TRIAL per compression.

    `cut` is the share of the activations of the first layer that a threshold cuts.
    """
    draw = np.random.default_rng(0)
    designs: list[CodesignPoint] = []
    for place in range(number):
        if place % OF_TRIAL == 0:
            trial = place // OF_TRIAL
            choices = {layer: Choice(round(float(draw.uniform(0.05, 0.5)), 3), 2 + trial % 4) for layer in layers}
            if cut:
                choices[layers[0]] = dataclasses.replace(
                    choices[layers[0]], activation_threshold=cut / 2, activation_cut=cut
                )
            lost, file_bytes = float(draw.uniform(0, min(bounds.values()))), float(draw.integers(1000, 9000))
        speed = float(draw.uniform(1, 100))
        figures = {
            loss: lost,
            "latency_us": 1000 / speed,
            "energy_nj": 50 * speed * float(draw.uniform(0.5, 1.5)),
            "area_mm2": 0.1 * speed,
            "file_bytes": file_bytes,
        }
        array = ArrayConfig(num_pes=2 ** (place % 7), queue_slots=2 + place, clock_mhz=400.0 + place / 3)
        designs.append(CodesignPoint(Design(array), choices, figures, {}))
    return designs


def trials_of(found: Sequence[CodesignPoint], refused: Sequence[str] = ()) -> list[StudyTrial]:
    """Return the trials that have these designs, OF_TRIAL each, then those whose compressions no array runs."""
    listed = []
    for number, place in enumerate(range(0, len(found), OF_TRIAL)):
        designs = DesignTable.of(found[place : place + OF_TRIAL])
        least = {name: float(values.min()) for name, values in designs.figures.items()}
        listed.append(StudyTrial(number, found[place].choices, designs, 24, least=least))
    for reason in refused:
        listed.append(StudyTrial(len(listed), {"conv": Choice(0.5, 9)}, DesignTable.empty(FIGURES), 0, reason))
    return listed


def write_study(
    folder: Path,
    designs: int = 30,
    verified: int = 6,
    name: str = "small",
    layers: Sequence[str] = ("conv", "fc1"),
    measured: dict[int, dict[str, float]] | None = None,
    refused: Sequence[str] = (),
    objectives: tuple[Figure, ...] = Search().objectives,
    same_as: Mapping[int, int] | None = None,
    number_formats: Mapping[str, FixedPoint] | None = None,
    quality: Mapping[str, Any] | None = None,
    of_layers: Mapping[str, Mapping[str, Any]] | None = None,
    cut: float = 0.0,
) -> list[CodesignPoint]:
    """Write the result files of a study; return the designs of its predicted front.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    designs, verified : int
        Number of designs of the predicted front, and of verified ones among them; those come first. If some are
        verified, latency, energy and loss of the others are corrected by CORRECTED.
    name : str
        Name of the network.
    layers : sequence of str
        Names of its layers.
    measured : dict, optional
        Measured figures of verified designs by number; others are 3 % above the prediction.
    refused : sequence of str
        Reasons of compressions that no array runs, which come last.
    objectives : tuple of str
        Objectives of the study.
    same_as : mapping of int to int, optional
        Verified designs that other ones stand for, by number: constants were drawn. None: no constants were drawn.
    number_formats : mapping of str to FixedPoint, optional
        Formats of the verified designs, which then overflow 7.5 times per input.
    quality : mapping, optional
        Quality of the front in the settings; none by default.
    of_layers : mapping of str to mapping, optional
        Values of LAYER_COLUMNS by layer; by default no threshold, and no row or column is left out.
    cut : float
        Share of the activations of the first layer that its threshold cuts, in the choices of the designs.
    """
    loss = "output_error" if "output_error" in objectives else "accuracy_loss"
    search = Search(objectives, {loss: 0.08}, max(designs, 1), verify=max(verified, 1))
    found = points(designs, layers, dict(search.bounds), loss, cut)
    uncertain = {"uncertain": 0 if same_as is None else 200}
    origin = provenance(settings(name, search) | uncertain | ({} if quality is None else {"quality": quality}))
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / TRIALS_FILE, trials_table(trials_of(found, refused), search.objectives), origin)
    if found:
        write_results(folder / DESIGNS_FILE, _designs_table(found, search, verified), origin)
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
        own = of_layers or {}
        rows = [
            {**_layer_row(row, layer, place), **own.get(layer, {})}
            for row in front
            for place, layer in enumerate(layers)
        ]
        write_results(folder / LAYERS_FILE, table_of(LAYER_COLUMNS, rows), origin)
    return found


def write_journal(folder: Path, trials: int) -> None:
    """Write the journal of a study that was killed after this number of trials, of OF_TRIAL designs each."""
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(("latency_us", "accuracy_loss"), {"accuracy_loss": 0.08})
    study = optuna.create_study(
        storage=open_storage(folder), study_name="mine", directions=["minimize"] * len(search.objectives)
    )
    origin = json.loads(json.dumps(settings("killed", search)))
    study.set_user_attr(ORIGIN, origin)
    for trial in trials_of(points(OF_TRIAL * trials, ("conv",), dict(search.bounds))):
        values = [trial.least[name] for name in search.objectives]
        study.add_trial(optuna.trial.create_trial(values=values, user_attrs={RECORD: trial_record(trial, origin)}))


def _designs_table(found: Sequence[CodesignPoint], search: Search, verified: int) -> pa.Table:
    """Return DESIGN_COLUMNS; the last designs are corrected if the first ones are verified."""
    table = DesignTable.of(found)
    by_number = {trial.number: trial for trial in trials_of(found)}
    front = FrontDesigns(by_number, np.arange(len(found)) // OF_TRIAL, table)
    if not verified:
        return front.table()
    corrected: dict[str, Floats64] = {
        name: table.figures[name] * CORRECTED.get(name, 1.0) for name in search.objectives
    }
    lost = next((corrected[name] for name in LOSSES if name in corrected), None)
    interval = None if lost is None else (0.5 * lost, 2 * lost)
    return front.table(corrected, interval, np.arange(len(found)) < verified)


LIMITS_OF_NETWORK = {
    "limit_cycles": 1234.0,
    "limit_share": 0.625,
    "limit_binds": "broadcasts",
    "limit_energy_nj": 1.5,
    "limit_bytes": 4321.0,
}
DENSE = {"dense": "4 x 8 MACs of 16 bits, output-stationary", "dense_latency_us": 0.001, "dense_energy_nj": 1e6}


def _front_row(
    number: int, point: CodesignPoint, measured: dict[str, float], formats: Mapping[str, FixedPoint]
) -> dict[str, Any]:
    figures = {name: value * 1.03 for name, value in point.figures.items()} | measured
    return {
        "trial": number // OF_TRIAL,
        "digest": point.digest,
        **verified_row(
            point,
            dataclasses.replace(point, figures=figures, number_formats=formats),
            {"predicted_loss": [0.005, 0.06], "measured_loss": [0.01, 0.04], "limits": LIMITS_OF_NETWORK}
            | {"dense": DENSE},
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
    draw = np.random.default_rng([row["num_pes"], place])
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
        **{"rows_left_out": 0, "columns_left_out": 0, "activation_threshold": 0.0, "broadcast_share": 0.5},
        **{"limit_share": 0.75, "limit_binds": "most loaded PE"},
        "timeline_cycles": ends,
    }
