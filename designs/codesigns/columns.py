"""Columns of the result files of a co-design: its trials, and its verified front."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from designs.codesigns.point import CodesignPoint, plain_choices
from designs.codesigns.search import FIGURES, LOSSES
from designs.design import HARDWARE_COLUMNS
from designs.results import Column
from sim import ArrayConfig, ProductShape
from sim.dense_comparison import screen_match, verdict
from sim.number_formats import plain_formats

CHOICES = "density and bits of a code of each layer, and its activation threshold and cut if it has one, as JSON"
FRONT_FILE, TRIALS_FILE, DESIGNS_FILE = "front.parquet", "trials.parquet", "designs.parquet"
_FIGURE_UNITS = {
    "accuracy_loss": (
        "1",
        "share of right answers that is lost; without labels, of answers that change; null if answers are not measured",
    ),
    "output_error": ("1", "relative error of the outputs, or 1 - cosine, as the settings say; null for answers"),
    "latency_us": ("us/input", "all layers one after the other, mean"),
    "energy_nj": ("nJ/input", "energy of all blocks and layers, mean"),
    "area_mm2": ("mm2", "area"),
    "file_bytes": ("bytes", "size of the container"),
}
LIMIT_COLUMNS = [
    Column("limit_cycles", pa.float64(), "cycles/input", "least of the network, mean (`sim.limits`)", newer=True),
    Column("limit_share", pa.float64(), "1", "limit of the cycles over the measured ones", newer=True),
    Column("limit_binds", pa.string(), "", "what sets the largest part of this limit; empty if not run", newer=True),
    Column(
        "limit_energy_nj", pa.float64(), "nJ/input", "least of the network, mean (`sim.entropy_limits`)", newer=True
    ),
    Column("limit_bytes", pa.float64(), "bytes", "least of its weights in SRAMs (`sim.weight_entropy`)", newer=True),
]
"""Limits of a verified design, as `MeasuredCosts.network_limits` has them."""
DENSE_COLUMNS = [
    Column("dense", pa.string(), "", "best dense array on the same silicon; or why it is not compared", newer=True),
    *(
        Column(f"dense_{name}", pa.float64(), _FIGURE_UNITS[name][0], f"{what} of the network there", True, True)
        for name, what in (("latency_us", "latency"), ("energy_nj", "energy"))
    ),
]
"""A verified design beside a dense array, which runs the network as it is before compression."""
VERIFIED_COLUMNS = [
    *HARDWARE_COLUMNS,
    Column("choices", pa.string(), "", CHOICES),
    Column("number_formats", pa.string(), "", "fixed-point format of each product, as JSON; {} for floating point"),
    *(Column(f"predicted_{name}", pa.float64(), *_FIGURE_UNITS[name], name in LOSSES) for name in FIGURES),
    *(Column(f"measured_{name}", pa.float64(), *_FIGURE_UNITS[name], name in LOSSES) for name in FIGURES),
    *(
        Column(f"{how}_loss_{end}", pa.float64(), "1", f"{end} end of the interval of the loss, {level}")
        for how, level in (
            ("predicted", "by predictions of measured plans from one another"),
            ("measured", "of inputs that were not analysed, for inputs to come at a confidence level of 90 %"),
        )
        for end in ("lower", "upper")
    ),
    *LIMIT_COLUMNS,
    *DENSE_COLUMNS,
]
"""Columns of every verified design; `verified_row` gives their values."""
FRONT_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial that found the design"),
    Column("digest", pa.string(), "", "hash of design and choices; the container is front/DIGEST.dc"),
    *VERIFIED_COLUMNS,
    Column("accuracy", pa.float64(), "1", "share of right answers, measured; without labels, of unchanged; else nan"),
    Column("test_accuracy", pa.float64(), "1", "the same on test images, which no choice depends on; nan without any"),
    Column("overflows", pa.float64(), "1/input", "additions that overflowed, mean of the evaluation inputs"),
    Column("saturated_activations", pa.float64(), "1/input", "activations too large for their format, likewise"),
    Column("output_difference", pa.float64(), "1", "of the array's outputs from the same network's in floating point"),
    Column("keeps_bounds", pa.bool_(), "", "true if all bounds are kept, as measured"),
    Column("on_front", pa.bool_(), "", "true if no other verified design dominates it, as measured"),
    Column(
        "front_share",
        pa.float64(),
        "1",
        "share of draws of the cost model's constants in which the design keeps all bounds and no other verified "
        "design dominates it; null if none are drawn",
        True,
    ),
    Column(
        "same_as",
        pa.string(),
        "",
        "digest of the design that stands for it, from which no objective tells it apart in the draws; its own if it "
        "stands for itself, empty if none are drawn",
    ),
]
TRIAL_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial, which is one compression with all arrays of the space"),
    Column("choices", pa.string(), "", CHOICES),
    Column("refused", pa.string(), "", "the reason why no array runs the compression; empty if one does"),
    Column("arrays", pa.int64(), "arrays", "that were costed"),
    Column("members", pa.int64(), "designs", "that no design of this trial or an earlier one dominates, as predicted"),
    *(
        Column(f"least_{name}", pa.float64(), unit, f"predicted, least of its designs that were kept: {what}", True)
        for name, (unit, what) in _FIGURE_UNITS.items()
    ),
    Column("hypervolume", pa.float64(), "1", "share of the box around the predicted front that is dominated so far"),
]
FIGURE_COLUMNS = [
    Column(name, pa.float64(), unit, f"predicted: {what}", name in LOSSES)
    for name, (unit, what) in _FIGURE_UNITS.items()
]
DESIGN_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial, which is one compression"),
    Column("digest", pa.string(), "", "hash of design and choices"),
    *HARDWARE_COLUMNS,
    Column("choices", pa.string(), "", CHOICES),
    *FIGURE_COLUMNS,
    *(
        Column(f"corrected_{name}", pa.float64(), unit, f"corrected by what was measured of others: {what}", True)
        for name, (unit, what) in _FIGURE_UNITS.items()
    ),
    *(
        Column(f"loss_{end}", pa.float64(), "1", f"{end} end of the interval of the corrected loss", True)
        for end in ("lower", "upper")
    ),
    Column("verified", pa.bool_(), "", "true if the design was measured"),
]
"""Columns of the predicted front: designs that no design of any trial dominates."""


def verified_row(predicted: CodesignPoint, measured: CodesignPoint, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of VERIFIED_COLUMNS for a design as predicted and as measured.

    Parameters
    ----------
    predicted, measured : CodesignPoint
        The design.
    record : mapping
        Intervals of the loss, predicted_loss and measured_loss; limits and dense, the values of LIMIT_COLUMNS and
        DENSE_COLUMNS.
    """
    return {
        **measured.design.hardware,
        "choices": json.dumps(plain_choices(predicted.choices)),
        "number_formats": json.dumps(plain_formats(measured.number_formats)),
        **{f"predicted_{name}": predicted.figures.get(name) for name in FIGURES},
        **{f"measured_{name}": measured.figures.get(name) for name in FIGURES},
        **{
            f"{how}_loss_{end}": record[f"{how}_loss"][place]
            for how in ("predicted", "measured")
            for place, end in enumerate(("lower", "upper"))
        },
        **record["limits"],
        **record["dense"],
    }


def dense_values(shapes: Sequence[ProductShape], array: ArrayConfig, fits: bool) -> dict[str, Any]:
    """Return the values of DENSE_COLUMNS: see `sim.dense_comparison.screen_match`."""
    dense = screen_match(shapes, array, fits)
    if isinstance(dense, str):
        return {"dense": dense, "dense_latency_us": None, "dense_energy_nj": None}
    return {"dense": str(dense), "dense_latency_us": dense.run.latency_us, "dense_energy_nj": dense.run.energy_nj}


def dense_verdict(row: Mapping[str, Any]) -> str:
    """Return a sentence that compares a verified design with a dense array.

    Parameters
    ----------
    row : mapping
        Row with VERIFIED_COLUMNS; of an earlier version, it lacks DENSE_COLUMNS.
    """
    if not row.get("dense"):
        return "not compared: results of an earlier version lack the dense array; run the co-design again"
    times, nanojoules = row["dense_latency_us"], row["dense_energy_nj"]
    latency_us, energy_nj = row["measured_latency_us"], row["measured_energy_nj"]
    if times is None:
        return f"not compared: {row['dense']}"
    if not (latency_us > 0 and energy_nj > 0):
        return "not compared: the array does not run the network"
    return verdict(row["dense"], times, nanojoules, times / latency_us, nanojoules / energy_nj)


def loss_of(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return the figure that is the loss in the settings of a study, and its description."""
    network = settings["network"]
    return next((name, network[name]) for name in LOSSES if name in network)
