"""A sweep: every layer of a network, on every array of a grid, over many inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.results import Column, table_of
from sim import ArrayConfig, count_all, pack
from sim.area import area_mm2
from traces import CompressedLayer, InputError

DESIGN_COLUMNS = [
    Column("num_pes", pa.int32(), "PEs", "processing elements"),
    Column("queue_slots", pa.int32(), "slots", "slots of the activation queue, which holds one column less"),
    Column("line_bits", pa.int32(), "bit", "width of a line of the sparse-matrix SRAM"),
    Column("weight_bits", pa.int32(), "bit", "code, the index of a shared weight"),
    Column("index_bits", pa.int32(), "bit", "gap, the PE's rows skipped before an entry"),
    Column("clock_mhz", pa.float64(), "MHz", "clock frequency"),
    Column("area_mm2", pa.float64(), "mm2", "area at 45 nm"),
]
SWEEP_COLUMNS = [
    *DESIGN_COLUMNS,
    Column("layer", pa.string(), "", "layer of the network"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("inputs", pa.int32(), "inputs", "inputs that the means below are taken over"),
    Column("stored_entries", pa.int64(), "entries", "in the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding in the packed matrix"),
    Column("broadcasts", pa.float64(), "columns/input", "non-zero activations and the bias, mean"),
    Column("cycles", pa.float64(), "cycles/input", "mean"),
    Column("blocked_cycles", pa.float64(), "cycles/input", "cycles of a broadcast held up by a full queue, mean"),
    Column("useful_macs", pa.float64(), "MACs/input", "multiply-accumulates that are not padding, mean"),
    Column("pointer_reads", pa.float64(), "pairs/input", "begin and end of a column, mean"),
    Column("line_reads", pa.float64(), "lines/input", "lines of the sparse-matrix SRAM, mean"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy at 45 nm, mean"),
]
_MEANS = ["broadcasts", "cycles", "blocked_cycles", "useful_macs", "pointer_reads", "line_reads"]


def design_row(config: ArrayConfig) -> dict[str, Any]:
    """The columns that say which array a row is about."""
    row = {column.name: getattr(config, column.name) for column in DESIGN_COLUMNS[:-1]}
    return {**row, "area_mm2": area_mm2(config)}


def sweep(
    layers: Sequence[CompressedLayer],
    activations: Mapping[str, npt.NDArray[np.float32]],
    design_points: Sequence[ArrayConfig],
    after_layer: Callable[[], object] = lambda: None,
) -> pa.Table:
    """Simulate every layer on every array: one row for each, in the order of `design_points`.

    activations   float32 [inputs, columns] by layer name, what enters each layer
    after_layer   called after each layer of each design point

    Raises InputError if a layer has no activations, or they are not valid input for it.
    """
    if len(set(design_points)) < len(design_points):
        raise InputError("every design point must be there once; found one twice")
    designs = [design_row(config) for config in design_points]  # refuses what has no area, before any simulation
    for layer in layers:
        recorded = activations.get(layer.name)
        if recorded is None or recorded.ndim != 2 or not len(recorded):
            found = "none" if recorded is None else f"shape {list(recorded.shape)}"
            raise InputError(f"layer {layer.name!r}: activations must be [inputs, {layer.columns}]; found {found}")
    rows: dict[tuple[int, int], dict[str, Any]] = {}

    def images_of(place: int) -> tuple[int, int]:
        """What the SRAM images of a design point depend on."""
        return design_points[place].num_pes, design_points[place].index_bits

    for _, group in itertools.groupby(sorted(range(len(design_points)), key=images_of), key=images_of):
        places = list(group)
        for number, layer in enumerate(layers):
            packed = pack(layer, design_points[places[0]])  # serves all points that share its SRAM images
            configs = [design_points[place] for place in places]
            by_input = [count_all(packed, values, configs) for values in activations[layer.name]]
            for place, counts in zip(places, zip(*by_input, strict=True), strict=True):
                rows[place, number] = {
                    **designs[place],
                    "layer": layer.name,
                    "rows": layer.rows,
                    "columns": layer.columns,
                    "inputs": len(counts),
                    "stored_entries": packed.stored_entries,
                    "padding_entries": packed.padding_entries,
                    **{name: float(np.mean([getattr(c, name) for c in counts])) for name in _MEANS},
                    "energy_pj": float(np.mean([c.energy.total_pj for c in counts])),
                }
                after_layer()
    return table_of(SWEEP_COLUMNS, [rows[key] for key in sorted(rows)])


@dataclass(frozen=True)
class DesignPoint:
    """What a whole network costs on one array, a mean over inputs, its layers run one after the other."""

    num_pes: int
    queue_slots: int
    line_bits: int
    cycles: float
    latency_us: float
    utilisation: float
    energy_nj: float
    area_mm2: float

    @property
    def costs(self) -> tuple[float, float, float]:
        """What a design point is judged by, less is better: latency, energy, area."""
        return self.latency_us, self.energy_nj, self.area_mm2


def network_totals(table: pa.Table) -> list[DesignPoint]:
    """Add a sweep's layers up, design point by design point, in the order of the table.

    Utilisation is useful multiply-accumulates per PE and cycle, what a layer's result calls `efficiency`.
    """
    names = [column.name for column in DESIGN_COLUMNS]
    by_design: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_design.setdefault(tuple(row[name] for name in names), []).append(row)
    totals = []
    for layers in by_design.values():
        design = layers[0]
        cycles = sum(row["cycles"] for row in layers)
        totals.append(
            DesignPoint(
                num_pes=design["num_pes"],
                queue_slots=design["queue_slots"],
                line_bits=design["line_bits"],
                cycles=cycles,
                latency_us=cycles / design["clock_mhz"],
                utilisation=sum(row["useful_macs"] for row in layers) / (cycles * design["num_pes"]),
                energy_nj=sum(row["energy_pj"] for row in layers) / 1e3,
                area_mm2=design["area_mm2"],
            )
        )
    return totals
