"""The result files of a co-design: its trials, and its front, verified."""

from __future__ import annotations

import pyarrow as pa

from designs.codesigns.search import FIGURES
from designs.design import DESIGN_COLUMNS
from designs.results import Column

FRONT_FILE, TRIALS_FILE = "front.parquet", "trials.parquet"
_FIGURE_UNITS = {
    "accuracy_loss": ("1", "share of right answers that is lost; without labels, of answers that change"),
    "latency_us": ("us/input", "all layers one after the other, mean"),
    "energy_nj": ("nJ/input", "energy at 45 nm, of all blocks and layers, mean"),
    "area_mm2": ("mm2", "area at 45 nm"),
    "file_bytes": ("bytes", "of the container"),
}
FRONT_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial that found the design"),
    Column("digest", pa.string(), "", "of design and choices; the container is front/DIGEST.dc"),
    *DESIGN_COLUMNS[:-1],
    Column("choices", pa.string(), "", "density and bits of a code of each layer, as JSON"),
    *(Column(f"predicted_{name}", pa.float64(), *_FIGURE_UNITS[name]) for name in FIGURES),
    *(Column(f"measured_{name}", pa.float64(), *_FIGURE_UNITS[name]) for name in FIGURES),
    Column("accuracy", pa.float64(), "1", "share of right answers, measured; without labels, of answers as before"),
    Column("test_accuracy", pa.float64(), "1", "the same on test images, by which nothing was chosen; nan without any"),
    Column("keeps_bounds", pa.bool_(), "", "whether all bounds are kept, as measured"),
    Column("on_front", pa.bool_(), "", "whether no other verified design beats it, as measured"),
]
TRIAL_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial"),
    Column("digest", pa.string(), "", "of design and choices; empty where there is no such design"),
    Column("refused", pa.string(), "", "why there is no such design"),
    Column("feasible", pa.bool_(), "", "whether all bounds are kept, as predicted"),
    Column("repeats", pa.bool_(), "", "whether an earlier trial has the same design"),
    *(Column(name, pa.float64(), unit, f"predicted: {what}") for name, (unit, what) in _FIGURE_UNITS.items()),
    Column("design", pa.string(), "", "array, row assignment and choices as JSON; empty where there is no such design"),
    Column("hypervolume", pa.float64(), "1", "share of the box around all costs that is beaten so far"),
]
