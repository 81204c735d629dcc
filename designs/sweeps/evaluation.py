"""Costs of designs: cycles, counters and energy of every layer. Outputs are left out; no design changes them."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import ARRAY_FIELDS, DESIGN_COLUMNS, HARDWARE, Packing
from designs.results import Column, schema_of
from designs.sweeps.design_rows import DesignRows
from designs.sweeps.packings import packed_images, unsuited_layers
from designs.sweeps.workload import Workload, WorkloadLayer
from sim import ArrayConfig, BatchRun, Energy, PackedLayer
from sim.array_table import ArrayOrTable, ArrayTable
from sim.batch import CountsPerInput
from sim.cost.area import area_mm2
from sim.cost.constants import NOMINAL, Constants
from sim.cost.energy import Transfers, block_energies
from sim.entropy_limits import least_energies_pj, least_position_bits
from sim.limits import BINDING, array_limits, dram_cycles, layer_limits
from sim.memory import blocks_of, fits, shortfalls
from sim.network_schedule import (
    Call,
    Residency,
    ScheduledLayer,
    ScheduledNetwork,
    network_shortfalls,
    residencies,
    schedule_network,
)
from sim.weight_entropy import WeightEntropy
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers64
from traces.graph.description import Execution

ENERGIES = tuple(field.name for field in dataclasses.fields(Energy))
"""Names of the energies of the blocks."""
SWEEP_COLUMNS = [
    Column("point", pa.int64(), "", "number of the design in its sample"),
    *DESIGN_COLUMNS,
    Column("layer", pa.string(), "", "layer of the network"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("inputs", pa.int32(), "inputs", "inputs of the means below"),
    Column("fits", pa.bool_(), "", "true if the layer fits the SRAMs whole, or the whole network that it is of"),
    Column("lacking", pa.string(), "", "exceeded capacities, or unsuited PEs, if it does not fit"),
    Column("residency", pa.string(), "", "whether its weights stay in the SRAMs; empty if it is not run"),
    Column(
        "stored_entries",
        pa.int64(),
        "entries",
        "in the packed matrix, with padding; 0 if not packed",
    ),
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
    Column("line_writes", pa.float64(), "lines/input", "lines that loads write into the SRAMs, mean"),
    Column("pointer_writes", pa.float64(), "pointers/input", "pointers that loads write into the SRAMs, mean"),
    Column("activation_reads", pa.float64(), "words/input", "read from the activation SRAMs for port and DRAM, mean"),
    Column("activation_writes", pa.float64(), "words/input", "written to them from port and DRAM, mean"),
    Column("port_words", pa.float64(), "words/input", "activations of a network's layer that cross the port, mean"),
    Column("port_cycles", pa.float64(), "cycles/input", "that they take on the port, mean"),
    Column("port_wait_cycles", pa.float64(), "cycles/input", "in which the array waits for the port, mean"),
    Column("switch_cycles", pa.float64(), "cycles/input", "of switches to a network's layer, mean"),
    Column("dram_wait_cycles", pa.float64(), "cycles/input", "in which the array waits for DRAM between runs, mean"),
    Column("limit_cycles", pa.float64(), "cycles/input", "least of all cycles, mean (`sim.limits`)"),
    Column("limit_share", pa.float64(), "1", "least of all cycles over all cycles"),
    Column("limit_binds", pa.string(), "", "what sets the limit: most loaded PE, broadcasts, port or DRAM"),
    Column("latency_us", pa.float64(), "us/input", "all cycles over the clock frequency, mean"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean"),
    Column("limit_energy_pj", pa.float64(), "pJ/input", "least of all energy, mean (`sim.entropy_limits`)"),
    Column("limit_bytes", pa.float64(), "bytes", "least of the weights in the SRAMs (`sim.weight_entropy`)"),
    *(Column(name, pa.float64(), "pJ/input", "energy of this block, mean") for name in ENERGIES),
]
LIMITS = ("scan_limit_cycles", "pe_limit_cycles", "array_limit_cycles")
"""Counts from which the limit of a layer follows (`sim.limits`)."""
_OF_NETWORKS = ("port_words", "port_cycles", "port_wait_cycles", "switch_cycles", "dram_wait_cycles")
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
    "line_writes",
    "pointer_writes",
    "activation_reads",
    "activation_writes",
    *LIMITS,
    *_OF_NETWORKS,
)
NETWORK_CYCLES = ("cycles", "port_wait_cycles", "switch_cycles", "dram_wait_cycles")
"""Counts that add up to the cycles for which a layer occupies the array; all but the first are 0 without a network."""
_ENTRIES = "stored_entries", "padding_entries", "fullest_pe_entries", "row_order_bits"
_KEPT_PACKINGS = 2  # the current one and the one before
Objects = npt.NDArray[np.object_]
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
        self._unsuited: dict[int, list[str]] = {}

    def prepare(self, packing: Packing, share: bool = False) -> list[LayerRuns]:
        """Return every layer packed; with `share`, other processes need the packed matrices, too.

        Raises InputError if codebooks of a layer cannot be allotted to the PEs.
        """
        if packing not in self._layers:
            packed = packed_images(self.workload, packing, self.folder, share)
            self._layers[packing] = [LayerRuns(*each) for each in zip(packed, self.workload.layers, strict=True)]
            while len(self._layers) > _KEPT_PACKINGS:
                self._layers.popitem(last=False)
        self._layers.move_to_end(packing)
        return self._layers[packing]

    def unsuited(self, packing: Packing) -> list[str]:
        """Return for each layer why its codebooks do not suit the PEs, an empty text if they do."""
        if packing.num_pes not in self._unsuited:
            self._unsuited[packing.num_pes] = unsuited_layers(self.workload, packing.num_pes)
        return self._unsuited[packing.num_pes]

    def evaluate(self, packing: Packing, designs: DesignRows) -> Evaluated:
        """Return the counts of all layers on designs of one packing; nan on a design that does not run each layer."""
        unsuited = self.unsuited(packing)
        if any(unsuited):
            return self._not_packed(unsuited, len(designs))
        layers = self.prepare(packing)
        if self.workload.execution is None:
            return _independent(layers, designs, self.must_fit)
        found = [self._of_network(layers, design.array) for design in designs]
        counts = np.stack([each.counts for each in found]).transpose(2, 1, 0)
        texts = _texts(each.residency for each in found), _texts(each.lacking for each in found)
        return Evaluated(counts, *texts, _entries(layers))

    def _not_packed(self, unsuited: Sequence[str], num_designs: int) -> Evaluated:
        """Return what is known of designs for which no matrix is packed."""
        shape = len(unsuited), num_designs
        if self.workload.execution is not None:  # a network runs whole or not at all
            unsuited = [next(filter(None, unsuited))] * len(unsuited)
        lacking = _texts([unsuited] * num_designs)
        counts = np.full((len(COUNTS), *shape), np.nan)
        entries = np.zeros((len(_ENTRIES), len(unsuited)), dtype=np.int64)
        return Evaluated(counts, np.full(shape, "", dtype=object), lacking, entries)

    def _of_network(self, layers: Sequence[LayerRuns], array: ArrayConfig) -> _OnArray:
        """Return the counts of the layers of a network on one array."""
        assert self.workload.execution is not None
        named = dict(zip(self.workload.layer_names, layers, strict=True))
        network = network_of(self.workload.name, named, self.workload.execution, array)
        exceeded = "; ".join(map(str, network_shortfalls(network, array)))
        if not exceeded or not (self.must_fit or array.memory_mode == "resident"):
            try:
                counts, residency = network_counts(network, layers, array)
                return _OnArray(counts, residency, [exceeded] * len(layers))
            except InputError as error:  # a layer must be on the array whole, or no blocks of it fit
                exceeded = str(error)
        return _OnArray(np.full((len(layers), len(COUNTS)), np.nan), [""] * len(layers), [exceeded] * len(layers))

    def table(self, numbers: Integers64, designs: DesignRows, evaluated: Sequence[Evaluated]) -> pa.Table:
        """Return SWEEP_COLUMNS, one row per design and layer.

        Parameters
        ----------
        numbers : int64 [designs]
            Numbers of the designs.
        designs : DesignRows
            The designs, grouped by packing.
        evaluated : sequence of Evaluated
            Their counts from `evaluate`, one for each packing.

        Raises
        ------
        InputError
            If an SRAM of a design is outside the SRAM tables.
        """
        return _table(self.workload, numbers, designs, evaluated)


class _OnArray(NamedTuple):
    """COUNTS [layers, counts] of the layers of a network, residency of each, and the capacities that it exceeds."""

    counts: Floats64
    residency: Sequence[str]
    lacking: Sequence[str]


class _Fit(NamedTuple):
    """Residency of each layer on an array, empty if the array does not run each layer, and capacities it exceeds."""

    residency: list[str]
    lacking: list[str]
    runs: bool
    all_stay: bool


class Evaluated(NamedTuple):
    """Counts of all layers on designs of one packing.

    Attributes
    ----------
    counts : float64 [counts, layers, designs]
        COUNTS, mean per input; nan on a design that does not run each layer.
    residency, lacking : object [layers, designs]
        Residency of each layer, empty if it is not run, and the capacities that it exceeds.
    entries : int64 [4, layers]
        Stored entries, padding entries, entries of the fullest PE, and bits of the row order.
    """

    counts: Floats64
    residency: Objects
    lacking: Objects
    entries: Integers64


def _entries(layers: Sequence[LayerRuns]) -> Integers64:
    return np.array([[getattr(layer, name) for layer in layers] for name in _ENTRIES], dtype=np.int64)


def _texts(of_arrays: Iterable[Sequence[str]]) -> Objects:
    """Return texts of the layers on each array, object [layers, arrays]."""
    return np.array([list(each) for each in of_arrays], dtype=object).T


def _independent(layers: Sequence[LayerRuns], designs: DesignRows, must_fit: bool) -> Evaluated:
    """Return the counts of layers of which each has the array to itself; equal work is done once."""
    shape = len(layers), len(designs)
    lines = np.broadcast_to(designs.arrays.entries_per_line, len(designs))
    residency, lacking = np.full(shape, "resident", dtype=object), np.full(shape, "", dtype=object)
    runs = np.logical_and.reduce([layer.fit(designs.arrays) for layer in layers])
    runs = np.asarray(runs & (designs.column("memory_mode") != "streamed"))
    stays = runs.copy()  # in one block
    others = np.flatnonzero(~runs)
    if others.size:
        some = designs.take(others)
        first, kinds = some.kinds(_OF_CAPACITY, lines[others])
        found_fits = [_fit(layers, some[place].array, must_fit) for place in first.tolist()]
        residency[:, others] = _texts(each.residency for each in found_fits)[:, kinds]
        lacking[:, others] = _texts(each.lacking for each in found_fits)[:, kinds]
        runs[others] = np.array([each.runs for each in found_fits])[kinds]
        stays[others] = np.array([each.all_stay for each in found_fits])[kinds]
    counts = np.full((len(COUNTS), *shape), np.nan)
    places = np.flatnonzero(stays)
    if places.size:
        some = designs.take(places)
        first, kinds = some.kinds(_OF_COUNT, lines[places])
        different = some.take(first)
        counts[:, :, places] = np.stack([layer.whole_counts(different) for layer in layers], axis=1)[..., kinds]
    places = np.flatnonzero(runs & ~stays)
    if places.size:
        some = designs.take(places)
        first, kinds = some.kinds(ARRAY_FIELDS, lines[places])
        found = []
        for place in first.tolist():
            array = some[place].array
            found.append([_all_per_input(layer.runs(array), layer.work) for layer in layers])
        counts[:, :, places] = np.array(found).transpose(2, 1, 0)[..., kinds]
    return Evaluated(counts, residency, lacking, _entries(layers))


def _fit(layers: Sequence[LayerRuns], array: ArrayConfig, must_fit: bool) -> _Fit:
    """Return how layers fit an array of which each has all."""
    lacking = [layer.lacking(array) for layer in layers]
    if not ((must_fit or array.memory_mode == "resident") and any(lacking)):
        stay = []
        for number, layer in enumerate(layers):
            try:
                stay.append(layer.stays_on(array))
            except InputError as error:  # no blocks of the layer fit
                lacking[number] = str(error)
                break
        else:
            residency = [str("resident" if each else array.memory_mode) for each in stay]
            return _Fit(residency, lacking, runs=True, all_stay=all(stay))
    return _Fit([""] * len(layers), lacking, runs=False, all_stay=False)


class Counted(NamedTuple):
    """Counts of a layer of a network.

    Attributes
    ----------
    counts : numpy.ndarray
        COUNTS [counts], mean per input.
    call_cycles : list of numpy.ndarray
        Cycles of each call, [inputs]; [1], the mean, if the vectors are a sample or differ in number from input to
        input.
    """

    counts: npt.NDArray[np.float64]
    call_cycles: list[npt.NDArray[np.float64]]


class NetworkRuns(Protocol):
    """Runs of a layer of a network, counted on an array."""

    def scheduled(self, name: str, array: ArrayConfig) -> ScheduledLayer:
        """Return the layer as a schedule needs it."""

    def vectors_per_input(self) -> float:
        """Return the vectors of each group for one input, mean."""

    def counted(self, array: ArrayConfig, vectors: Sequence[float]) -> Counted:
        """Return the counts on an array, of calls of so many vectors."""


def network_of(
    name: str, runs: Mapping[str, NetworkRuns], execution: Execution, array: ArrayConfig
) -> ScheduledNetwork:
    """Return a network as its schedule on an array needs it; calls of layers that are not in `runs` are left out."""
    names = list(runs)
    layers = tuple(each.scheduled(layer, array) for layer, each in runs.items())
    called = [(layer, vectors) for layer, vectors in execution.calls if layer in runs]
    totals: Counter[str] = Counter()
    for layer, vectors in called:
        totals[layer] += vectors
    calls = tuple(
        Call(names.index(layer), vectors * runs[layer].vectors_per_input() / totals[layer]) for layer, vectors in called
    )
    fullest = names.index(execution.fullest_layer) if execution.fullest_layer in runs else 0
    return ScheduledNetwork(name, layers, calls, execution.live_words, fullest)


def network_counts(
    network: ScheduledNetwork, runs: Sequence[NetworkRuns], array: ArrayConfig
) -> tuple[npt.NDArray[np.float64], tuple[Residency, ...]]:
    """Return COUNTS [layers, counts], mean per input, of the layers of a network, and the residency of each.

    They are those of `sim.simulate_network` if the vectors are all there, in the order of the inputs, and each input
    has equally many. Otherwise port and loads overlap with the mean cycles of a call.

    Raises InputError if the array does not run the network.
    """
    residency = residencies(network, array)
    counts = np.zeros((len(runs), len(COUNTS)))
    cycles: list[npt.NDArray[np.float64]] = [np.zeros(1)] * len(network.calls)
    for number, (each, layer) in enumerate(zip(runs, network.layers, strict=True)):
        places = [place for place, call in enumerate(network.calls) if call.layer == number]
        vectors = [network.calls[place].vectors for place in places]
        counts[number], of_calls = each.counted(layer.running_array(array), vectors)
        for place, found in zip(places, of_calls, strict=True):
            cycles[place] = found
    added = schedule_network(network, cycles, array, residency).counts(network, array)
    for name in ("line_writes", "pointer_writes", "activation_reads", "activation_writes", *_OF_NETWORKS):
        counts[:, _PLACE[name]] += added[name].mean(axis=1)
    counts[:, _PLACE["dram_bytes"]] += (added["dram_read_bytes"] + added["dram_write_bytes"]).mean(axis=1)
    return counts, residency


def _table(workload: Workload, numbers: Integers64, designs: DesignRows, evaluated: Sequence[Evaluated]) -> pa.Table:
    work, arrays = workload.layers, designs.arrays
    layers = len(work)
    areas = area_mm2(arrays)
    for place in np.flatnonzero(np.isnan(areas))[:1].tolist():
        area_mm2(designs[place].array)  # raises InputError
    sizes = [each.counts.shape[2] for each in evaluated]
    counts = np.concatenate([each.counts for each in evaluated], axis=2)
    energies = energies_pj(arrays, np.moveaxis(counts, 0, -1))
    # the sum of the blocks has the same last bit, whatever the batch, in this order of the axes in memory
    energies = np.ascontiguousarray(energies.transpose(2, 0, 1)).transpose(0, 2, 1)  # [designs, layers, blocks]
    lacking = np.concatenate([each.lacking for each in evaluated], axis=1)
    of_layers = {
        "layer": [each.layer.name for each in work],
        "rows": [each.layer.rows for each in work],
        "columns": [each.layer.columns for each in work],
        "inputs": [each.inputs for each in work],
    }
    columns: dict[str, Any] = {name: np.repeat(designs.column(name), layers) for name in HARDWARE}
    columns |= {"point": np.repeat(numbers, layers), "area_mm2": np.repeat(areas, layers)}
    columns |= {name: np.tile(np.array(values, dtype=object), len(designs)) for name, values in of_layers.items()}
    for number, name in enumerate(_ENTRIES):
        of_packings = np.array([each.entries[number] for each in evaluated])
        columns[name] = np.repeat(of_packings, sizes, axis=0).ravel()
    columns |= {"lacking": _rows(lacking), "fits": _rows(lacking == "")}
    columns["residency"] = _rows(np.concatenate([each.residency for each in evaluated], axis=1))
    columns |= {name: _rows(counts[number]) for number, name in enumerate(COUNTS)}
    columns |= {name: energies[..., number].ravel() for number, name in enumerate(ENERGIES)}
    columns["energy_pj"] = energies.sum(axis=-1).ravel()
    entropies = [WeightEntropy(each.matrices) for each in work]
    bits = np.array([[each.bits_per_weight] for each in entropies])
    least = least_energies_pj(counts[_PLACE["useful_macs"]], bits, arrays)
    columns["limit_bytes"] = _rows(_least_bytes(work, entropies, arrays)) + 0 * columns["cycles"]  # nan if not run
    columns["limit_energy_pj"] = _rows(np.asarray(sum(least.values())))
    columns["latency_us"] = sum(columns[name] for name in NETWORK_CYCLES) / np.repeat(
        arrays.filled(arrays.clock_mhz), layers
    )
    limits = limits_of(counts, arrays, in_network=workload.execution is not None)
    columns |= {"limit_cycles": _rows(limits.cycles), "limit_share": _rows(limits.shares)}
    columns["limit_binds"] = pa.DictionaryArray.from_arrays(_rows(limits.binds), limits.words).cast(pa.string())
    schema = schema_of(SWEEP_COLUMNS)
    arrow = []
    for field in schema:
        values = columns[field.name]
        if isinstance(values, pa.Array):
            arrow.append(values)
        elif len(values) < layers * len(designs):  # one value for all
            arrow.append(pa.repeat(pa.scalar(values[0].item(), field.type), layers * len(designs)))
        else:
            arrow.append(pa.array(values, field.type))
    return pa.table(arrow, schema=schema)


def _least_bytes(work: Sequence[WorkloadLayer], entropies: Sequence[WeightEntropy], arrays: ArrayTable) -> Floats64:
    """Return the least bytes of the weights of each layer in the SRAMs, float64 [layers, arrays]."""
    codes, positions, weights = (
        np.array([[getattr(each, name)] for each in entropies]) for name in ("code_bits", "position_bits", "weights")
    )
    pointers = np.array([[each.groups * (each.layer.columns + (each.layer.bias is not None) + 1)] for each in work])
    least = codes + least_position_bits(positions, weights, pointers * arrays.num_pes, arrays)
    return np.broadcast_to(least / 8, (len(work), len(arrays)))


class Limits(NamedTuple):
    """Limits of layers on arrays, mean per input; nan on an array that does not run each layer.

    Attributes
    ----------
    cycles, shares : numpy.ndarray
        Least of all cycles, and their share in all cycles, [layers, arrays].
    binds : numpy.ndarray
        What sets the limit, the place in `words`, int8 [layers, arrays].
    words : list of str
        Words of `sim.limits.BINDING`, and an empty text for a layer that is not run.
    """

    cycles: Floats64
    shares: Floats64
    binds: Any
    words: list[str]


def limits_of(counts: Floats64, arrays: ArrayTable, in_network: bool) -> Limits:
    """Return the limits of layers from their means.

    They are those of `sim.limits` if one resource binds for all inputs. If port or DRAM bind for some inputs alone, the
    largest mean is less than the mean of the largest.

    Parameters
    ----------
    counts : float64 [counts, layers, arrays]
        COUNTS of the layers.
    arrays : ArrayTable
        The arrays.
    in_network : bool
        True for layers of a network, of which the DRAM may load one while another one runs: it is left out.
    """
    mean = {name: counts[number] for name, number in _PLACE.items()}
    loaded = np.zeros_like(mean["cycles"]) if in_network else dram_cycles(mean["dram_bytes"], arrays)
    scan, pe, in_blocks = (mean[name] for name in LIMITS)
    found = layer_limits(scan, pe, in_blocks, mean["switch_cycles"], mean["port_cycles"], loaded)
    all_cycles = np.asarray(sum(mean[name] for name in NETWORK_CYCLES))
    shares = np.divide(found.cycles, all_cycles, out=np.ones_like(all_cycles), where=all_cycles != 0)
    binds = found.binds.astype(np.int8)
    binds[np.isnan(found.cycles)] = len(BINDING)
    return Limits(found.cycles, shares, binds, [*BINDING.values(), ""])


def _rows(values: Any) -> Any:
    """Return values [layers, designs] in the order of the rows."""
    return values.T.ravel()


def energies_pj(array: ArrayOrTable, counts: Floats64, constants: Constants = NOMINAL) -> Floats64:
    """Return energies from counts; both are means per input.

    Parameters
    ----------
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays.
    counts : float64 [layers, counts], or [layers, arrays, counts]
        COUNTS of the layers on it, or on each of them.
    constants : Constants, optional
        Constants of the cost model.

    Returns
    -------
    float64 [blocks, layers], or [blocks, layers, arrays]
        ENERGIES in pJ.
    """
    mean = {name: counts[..., number] for name, number in _PLACE.items()}
    energies = block_energies(
        array,
        sum(mean[name] for name in NETWORK_CYCLES),
        mean["pointer_reads"],
        mean["line_reads"],
        mean["processed_entries"],
        mean["useful_macs"],
        mean["dram_bytes"],
        constants=constants,
        transfers=Transfers(*(mean[name] for name in Transfers._fields)),
    )
    return np.stack([energies[name] for name in ENERGIES])


_WITHOUT_CAPACITY = frozenset(  # fields that do not change whether a packed layer fits
    {"num_pes", "index_bits", "weight_bits", "queue_slots", "clock_mhz", "dram_gb_per_s", "memory_mode", "block_axis"}
    | {"pipeline_cycles", "broadcast_cycles", "port_bits"}
)
_WITHOUT_COUNT = frozenset(  # fields that do not change the counts of a packed layer that runs from SRAMs in one block
    {"num_pes", "index_bits", "weight_bits", "line_bits", "clock_mhz", "dram_gb_per_s", "memory_mode", "block_axis"}
    | {"sparse_matrix_bytes", "pointer_bytes", "activation_bytes", "pointer_bits", "port_bits"}
)
_OF_CAPACITY = tuple(
    name for name in ARRAY_FIELDS if name not in _WITHOUT_CAPACITY or name in ("memory_mode", "block_axis")
)
_OF_COUNT = tuple(name for name in ARRAY_FIELDS if name not in _WITHOUT_COUNT)


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
        self._counted: dict[Any, Counted] = {}
        self._lacking: dict[Any, str] = {}
        self._scheduled: dict[int, ScheduledLayer] = {}

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
        return max(group.fullest_pe_entries for group in self.groups)

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
        return [run.counts(array) for run in self.batch_runs(array)]

    def batch_runs(self, array: ArrayConfig) -> list[BatchRun]:
        """Return the run of each group in an array's precision."""
        if array.precision not in self._runs:
            self._runs[array.precision] = [
                BatchRun(packed, self.work.group_activations(group), array) for group, packed in enumerate(self.groups)
            ]
        return self._runs[array.precision]

    def fit(self, arrays: ArrayTable) -> Booleans:
        """Mark the arrays that hold each group whole, bool [arrays]: those on which `lacking` finds nothing."""
        return np.asarray(np.logical_and.reduce([arrays.filled(fits(group, arrays)) for group in self.groups]))

    def whole_counts(self, designs: DesignRows) -> Floats64:
        """Return COUNTS [counts, designs] on arrays that run each group from SRAMs in one block, mean per input."""
        arrays = designs.arrays
        precisions = arrays.filled(arrays.precision)
        sums = np.zeros((len(COUNTS), len(arrays)))
        for place in np.unique(precisions, return_index=True)[1].tolist():
            places = np.flatnonzero(precisions == precisions[place])
            some = arrays.take(places)
            queues, of_queue = _different(some, some.queue_slots, some.broadcast_cycles)
            lines, of_line = _different(some, some.entries_per_line)
            for run in self.batch_runs(designs[place].array):
                whole = run.whole([(slots, cycles) for slots, cycles in queues], [line for (line,) in lines])
                inputs = len(whole.broadcasts)
                limits = array_limits(whole.broadcasts, whole.bubble_cycles, whole.most_loaded_entries, 0)
                cycles = whole.cycles_without_pipeline.sum(axis=-1)[of_queue] + inputs * some.pipeline_cycles
                found = {
                    "broadcasts": whole.broadcasts.sum(),
                    "cycles": cycles,
                    "blocked_cycles": whole.blocked_cycles.sum(axis=-1)[of_queue],
                    "processed_entries": whole.processed_entries.sum(),
                    "useful_macs": (whole.processed_entries - whole.processed_padding).sum(),
                    "pointer_reads": whole.broadcasts.sum() * run.packed.num_pes,
                    "line_reads": whole.line_reads.sum(axis=-1)[of_line],
                    **{name: limits[name].sum() + inputs * some.pipeline_cycles for name in LIMITS},
                }
                for name, total in found.items():
                    sums[_PLACE[name], places] += total
        return np.asarray(per_input(sums, self.work))

    def scheduled(self, name: str, array: ArrayConfig) -> ScheduledLayer:
        """Return the layer as the schedule of a network needs it."""
        if array.entries_per_line not in self._scheduled:
            self._scheduled[array.entries_per_line] = ScheduledLayer.of_groups(name, self.groups, array)
        return self._scheduled[array.entries_per_line]

    def vectors_per_input(self) -> float:
        """Return the vectors of each group for one input, mean."""
        return self.work.vectors_per_input

    def counted(self, array: ArrayConfig, vectors: Sequence[float]) -> Counted:
        """Return the counts on an array, of calls of so many vectors."""
        key = _key(array, _WITHOUT_COUNT) if self.stays_on(array) else array
        if key not in self._counted:
            self._counted[key] = counted(self.runs(array), self.work, vectors, slice(None))
        return self._counted[key]


def _key(array: ArrayConfig, ignored: frozenset[str]) -> tuple[Any, ...]:
    """Return the values that tell arrays apart, but for the ignored fields; a field that is not named here counts."""
    return array.entries_per_line, *(value for name, value in vars(array).items() if name not in ignored)


def counted(runs: Sequence[CountsPerInput], work: WorkloadLayer, vectors: Sequence[float], in_order: Any) -> Counted:
    """Return the counts of calls of so many vectors; `in_order` puts those of the runs in the order of the inputs."""
    cycles: npt.NDArray[np.int64] = np.sum([each.cycles for each in runs], axis=0)[in_order]
    return Counted(_all_per_input(runs, work), call_cycles(cycles, work, vectors))


def call_cycles(
    cycles: npt.NDArray[np.int64], work: WorkloadLayer, vectors: Sequence[float]
) -> list[npt.NDArray[np.float64]]:
    """Return the cycles of calls of so many vectors.

    Parameters
    ----------
    cycles : array of int64 [..., vectors]
        Cycles of each vector of all groups, in the order of the inputs.
    work : WorkloadLayer
        The layer and its vectors.
    vectors : sequence of float
        Vectors of one group in each call.

    Returns
    -------
    list of numpy.ndarray
        Cycles of each call, [..., inputs]; [..., 1], the mean, if the vectors are a sample or differ in number from
        input to input.
    """
    if cycles.shape[-1] == work.inputs * sum(vectors) and all(number == int(number) for number in vectors):
        ends = np.cumsum(vectors).astype(np.int64)
        by_input = cycles.reshape(*cycles.shape[:-1], work.inputs, cycles.shape[-1] // work.inputs)
        return [
            by_input[..., end - int(number) : end].sum(axis=-1).astype(np.float64)
            for number, end in zip(vectors, ends, strict=True)
        ]
    return [cycles.mean(axis=-1, keepdims=True) * number for number in vectors]


def _different(arrays: ArrayTable, *values: Any) -> tuple[list[list[int]], Integers64]:
    """Return the different values of some parameters of a table, and the place of those of each array."""
    rows = np.stack([arrays.filled(each) for each in values], axis=1)
    different, places = np.unique(rows, axis=0, return_inverse=True)
    return different.tolist(), places.reshape(-1)


def per_input(total: Any, work: WorkloadLayer) -> Any:
    """Return the mean per input of a count, or of counts, whose sum over all recorded vectors is `total`."""
    if work.vectors == work.inputs * work.vectors_per_input:
        return total / work.inputs
    return total / work.vectors * work.vectors_per_input


def _all_per_input(counts: Sequence[CountsPerInput], work: WorkloadLayer) -> npt.NDArray[np.float64]:
    def total(name: str) -> int:
        return sum(int(getattr(of_group, name).sum()) for of_group in counts)

    sums = {name: total(name) for name in COUNTS if name != "dram_bytes" and name not in _OF_NETWORKS}
    sums |= dict.fromkeys(_OF_NETWORKS, 0)
    sums["dram_bytes"] = total("dram_read_bytes") + total("dram_write_bytes")
    return np.array([per_input(sums[name], work) for name in COUNTS])
