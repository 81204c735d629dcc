"""Costs of designs: cycles, counters and energy of every layer. Outputs are left out; no design changes them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import DESIGN_COLUMNS, Design, Packing, design_columns
from designs.results import Column, schema_of
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload, WorkloadLayer
from sim import ArrayConfig, BatchRun, Energy, PackedLayer
from sim.batch import CountsPerInput
from sim.cost.constants import NOMINAL, Constants
from sim.cost.energy import block_energies
from sim.memory import blocks_of, shortfalls
from traces import InputError

ENERGIES = tuple(field.name for field in dataclasses.fields(Energy))
"""Names of the energies of the blocks."""
SWEEP_COLUMNS = [
    Column("point", pa.int64(), "", "number of the design in its sample"),
    *DESIGN_COLUMNS,
    Column("layer", pa.string(), "", "layer of the network"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("inputs", pa.int32(), "inputs", "inputs of the means below"),
    Column("fits", pa.bool_(), "", "true if the layer fits the SRAMs whole"),
    Column("lacking", pa.string(), "", "exceeded capacities, if it does not fit"),
    Column("stored_entries", pa.int64(), "entries", "in the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding in the packed matrix"),
    Column("fullest_pe_entries", pa.int64(), "entries", "of the PE that holds most, padding included"),
    Column("row_order_bits", pa.int64(), "bit", "table that restores the order of the outputs"),
    Column("broadcasts", pa.float64(), "columns/input", "non-zero activations and the bias, mean"),
    Column("cycles", pa.float64(), "cycles/input", "mean; nan if the design does not run the layer"),
    Column("blocked_cycles", pa.float64(), "cycles/input", "cycles in which a full queue blocks the broadcast, mean"),
    Column("waiting_cycles", pa.float64(), "cycles/input", "cycles in which no block ran, but one was moved, mean"),
    Column("processed_entries", pa.float64(), "entries/input", "entries processed, padding included, mean"),
    Column("useful_macs", pa.float64(), "MACs/input", "multiply-accumulates that are not padding, mean"),
    Column("pointer_reads", pa.float64(), "pairs/input", "begin and end of a column, mean"),
    Column("line_reads", pa.float64(), "lines/input", "lines of the sparse-matrix SRAM, mean"),
    Column("dram_bytes", pa.float64(), "bytes/input", "read from and written to DRAM, mean"),
    Column("latency_us", pa.float64(), "us/input", "cycles over the clock frequency, mean"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean"),
    *(Column(name, pa.float64(), "pJ/input", "energy of this block, mean") for name in ENERGIES),
]
COUNTS = (
    "broadcasts",
    "cycles",
    "blocked_cycles",
    "waiting_cycles",
    "processed_entries",
    "useful_macs",
    "pointer_reads",
    "line_reads",
    "dram_bytes",
)
_ENTRIES = "stored_entries", "padding_entries", "fullest_pe_entries", "row_order_bits"
_KEPT_PACKINGS = 2  # the current one and the one before
_PLACE = {name: number for number, name in enumerate(COUNTS)}


class Evaluation:
    """Evaluation of designs on one workload; it keeps the packed matrices used last, and the counts on them.

    Parameters
    ----------
    workload : Workload
        The layers and their activations.
    must_fit : bool
        A design on which some layer does not fit gets no figures.
    folder : Path, optional
        Folder of packed matrices that processes share. None: this process packs for itself.
    """

    def __init__(self, workload: Workload, must_fit: bool = False, folder: Path | None = None) -> None:
        self.workload = workload
        self.must_fit = must_fit
        self.folder = folder
        self._layers: OrderedDict[Packing, list[LayerRuns]] = OrderedDict()

    def prepare(self, packing: Packing, share: bool = False) -> list[LayerRuns]:
        """Return every layer packed; with `share`, other processes need the packed matrices, too."""
        if packing not in self._layers:
            packed = packed_images(self.workload, packing, self.folder, share)
            self._layers[packing] = [LayerRuns(*each) for each in zip(packed, self.workload.layers, strict=True)]
            while len(self._layers) > _KEPT_PACKINGS:
                self._layers.popitem(last=False)
        self._layers.move_to_end(packing)
        return self._layers[packing]

    def table(self, numbers: Sequence[int], designs: Sequence[Design]) -> pa.Table:
        """Return SWEEP_COLUMNS, one row per design and layer, for these designs of one packing and their numbers."""
        return _table(self.prepare(designs[0].packing), numbers, designs, self.must_fit)


def _table(layers: Sequence[LayerRuns], numbers: Sequence[int], designs: Sequence[Design], must_fit: bool) -> pa.Table:
    counts = np.full((len(designs), len(layers), len(COUNTS)), np.nan)
    energies = np.full((len(designs), len(layers), len(ENERGIES)), np.nan)
    lacking = [[layer.lacking(design.array) for layer in layers] for design in designs]
    for place, (design, lacks) in enumerate(zip(designs, lacking, strict=True)):
        if (must_fit or design.array.memory_mode == "resident") and any(lacks):
            continue
        for number, layer in enumerate(layers):
            try:
                counts[place, number] = layer.counts(design.array)
            except InputError as error:  # no blocks of the layer fit
                lacks[number] = str(error)
                counts[place] = np.nan
                break
        else:
            energies[place] = energies_pj(design.array, counts[place]).T
    per_design = {"point": list(numbers), **design_columns(designs)}
    columns: dict[str, Any] = {name: np.repeat(np.array(values), len(layers)) for name, values in per_design.items()}
    per_layer = {
        "layer": [layer.work.layer.name for layer in layers],
        "rows": [layer.work.layer.rows for layer in layers],
        "columns": [layer.work.layer.columns for layer in layers],
        "inputs": [layer.work.inputs for layer in layers],
        **{name: [getattr(layer, name) for layer in layers] for name in _ENTRIES},
    }
    columns |= {name: np.tile(np.array(values), len(designs)) for name, values in per_layer.items()}
    reasons = [reason for layer_reasons in lacking for reason in layer_reasons]
    columns |= {"lacking": reasons, "fits": [not reason for reason in reasons]}
    columns |= {name: counts[:, :, number].ravel() for number, name in enumerate(COUNTS)}
    columns |= {name: energies[:, :, number].ravel() for number, name in enumerate(ENERGIES)}
    columns["energy_pj"] = energies.sum(axis=2).ravel()
    columns["latency_us"] = columns["cycles"] / columns["clock_mhz"]
    schema = schema_of(SWEEP_COLUMNS)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def energies_pj(
    array: ArrayConfig, counts: npt.NDArray[np.float64], constants: Constants = NOMINAL
) -> npt.NDArray[np.float64]:
    """Return energies in pJ [blocks, layers] of one design from COUNTS [layers, counts]; both are means per input."""
    mean = {name: counts[:, number] for name, number in _PLACE.items()}
    energies = block_energies(
        array,
        mean["cycles"],
        mean["pointer_reads"],
        mean["line_reads"],
        mean["processed_entries"],
        mean["useful_macs"],
        mean["dram_bytes"],
        constants=constants,
    )
    return np.stack([energies[name] for name in ENERGIES])


_WITHOUT_CAPACITY = frozenset(  # fields that do not change whether a packed layer fits
    {"num_pes", "index_bits", "weight_bits", "queue_slots", "clock_mhz", "dram_gb_per_s", "memory_mode", "block_axis"}
)
_WITHOUT_COUNT = frozenset(  # fields that do not change the counts of a packed layer that runs from SRAMs in one block
    {"num_pes", "index_bits", "weight_bits", "line_bits", "clock_mhz", "dram_gb_per_s", "memory_mode", "block_axis"}
    | {"sparse_matrix_bytes", "pointer_bytes", "activation_bytes", "pointer_bits"}
)


class LayerRuns:
    """One packed layer with its recorded vectors, simulated on many arrays; equal work is done once.

    The matrix of each group is in the array alone: a layer fits if each of its groups does.

    Parameters
    ----------
    groups : sequence of PackedLayer
        Packed matrix of each group.
    work : WorkloadLayer
        The layer and its vectors.
    """

    def __init__(self, groups: Sequence[PackedLayer], work: WorkloadLayer) -> None:
        self.groups = list(groups)
        self.work = work
        self._runs: dict[str, list[BatchRun]] = {}
        self._counts: dict[Any, npt.NDArray[np.float64]] = {}
        self._lacking: dict[Any, str] = {}

    @property
    def stored_entries(self) -> int:
        """Entries of all groups, padding included."""
        return sum(group.stored_entries for group in self.groups)

    @property
    def padding_entries(self) -> int:
        """Padding entries of all groups."""
        return sum(group.padding_entries for group in self.groups)

    @property
    def fullest_pe_entries(self) -> int:
        """Entries of the PE that holds most of a group, padding included."""
        return max(int(group.stored_per_pe.max()) for group in self.groups)

    @property
    def row_order_bits(self) -> int:
        """Bits of the tables that restore the order of the outputs."""
        return sum(group.row_order_bits for group in self.groups)

    def lacking(self, array: ArrayConfig) -> str:
        """Return the capacities of the array that a group exceeds, the first such one; an empty text if all fit."""
        key = _key(array, _WITHOUT_CAPACITY)
        if key not in self._lacking:
            exceeded = (shortfalls(group, array) for group in self.groups)
            self._lacking[key] = "; ".join(map(str, next(filter(None, exceeded), ())))
        return self._lacking[key]

    def stays_on(self, array: ArrayConfig) -> bool:
        """Return True if each group runs from SRAMs in one block; raise InputError if the array cannot run it."""
        blocks = [blocks_of(group, array) for group in self.groups]
        return all(len(of_group) == 1 and not of_group[0].load_bytes for of_group in blocks)

    def runs(self, array: ArrayConfig) -> list[CountsPerInput]:
        """Return the counts of each vector, for each group; raise InputError if the array cannot run the layer."""
        if array.precision not in self._runs:
            self._runs[array.precision] = [
                BatchRun(packed, self.work.group_activations(group), array) for group, packed in enumerate(self.groups)
            ]
        return [run.counts(array) for run in self._runs[array.precision]]

    def counts(self, array: ArrayConfig) -> npt.NDArray[np.float64]:
        """Return COUNTS [counts], mean per input; raise InputError if the array cannot run the layer."""
        key = _key(array, _WITHOUT_COUNT) if self.stays_on(array) else array
        if key not in self._counts:
            self._counts[key] = _per_input(self.runs(array), self.work)
        return self._counts[key]


def _key(array: ArrayConfig, ignored: frozenset[str]) -> tuple[Any, ...]:
    """Return the values that tell arrays apart, but for the ignored fields; a field that is not named here counts."""
    return array.entries_per_line, *(value for name, value in vars(array).items() if name not in ignored)


def _per_input(counts: Sequence[CountsPerInput], work: WorkloadLayer) -> npt.NDArray[np.float64]:
    def total(name: str) -> int:
        return sum(int(getattr(of_group, name).sum()) for of_group in counts)

    sums = {name: total(name) for name in COUNTS if name != "dram_bytes"}
    sums["dram_bytes"] = total("dram_read_bytes") + total("dram_write_bytes")
    if work.vectors == work.inputs * work.vectors_per_input:
        return np.array([sums[name] / work.inputs for name in COUNTS])
    return np.array([sums[name] / work.vectors * work.vectors_per_input for name in COUNTS])
