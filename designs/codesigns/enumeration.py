"""Enumeration of all arrays of a space for one compression, in closed form; `ArrayCost.figures` is the readable twin.

What a kernel must count depends on a compressed layer, the packing, the queue, the length of a broadcast and the
entries of a line (`designs.codesigns.layer_counts`). The rest follows for all arrays at once: SRAMs, pipeline, clock,
port, switches, energy and area. Arrays that load weights or spill feature maps (`memory_mode` "passes" and "streamed")
are costed one by one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.array_grid import LOADING, ArrayBlock, ArrayGrid, hardware_rows
from designs.codesigns.array_problem import ArrayProblem
from designs.codesigns.design_table import DesignTable
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.point import CodesignPoint
from designs.design import ARRAY_FIELDS, Design, Packing
from designs.sweeps.fitting import fitted_srams
from sim.array_table import ArrayTable
from sim.config import SHORTEST_PIPELINE_CYCLES, Precision
from sim.cost.area import area_mm2
from sim.cost.energy import Transfers, block_energies
from sim.cost.timing import timed, timing
from sim.memory import Image, activation_words_per_pe, exceeds_weights
from sim.network_schedule import LAYER_REGISTERS
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers64, Numbers
from traces.pareto import non_dominated

_MOST_STAGES = 64  # of pipeline and broadcast (`ArrayConfig`)
_Excesses = Mapping[str, Floats64]  # relative violation of each bound by each array, by name
_Costing = Callable[[ArrayBlock, Mapping[str, Choice], int], tuple[DesignTable, _Excesses, Integers64]]


@dataclass(frozen=True, eq=False)
class Enumerated:
    """Arrays of a space for one compression.

    Attributes
    ----------
    designs : DesignTable
        Designs that keep all bounds.
    places : int64 [designs]
        Place of the array of each design in the grid.
    tried : int
        Arrays that were costed.
    nearest : CodesignPoint or None
        Design that comes nearest to keeping all bounds, if none keeps them.
    refused : str
        Reason why no array runs the compression; empty if one does.
    """

    designs: DesignTable
    places: Integers64
    tried: int
    nearest: CodesignPoint | None = None
    refused: str = ""

    def front(self, objectives: Sequence[str]) -> Enumerated:
        """Return the designs that no other one of this compression dominates, each costs once."""
        if not len(self.designs):
            return self
        kept = np.flatnonzero(non_dominated(self.designs.costs(objectives), keep_equal=False))
        return Enumerated(self.designs.take(kept), self.places[kept], self.tried)


@dataclass(frozen=True)
class _Calls:
    """Calls of the products of a network for one input, in order; arrays are [calls].

    Attributes
    ----------
    places : int64
        Places among all calls of the network.
    words : float64
        Activations that cross the port before and after.
    edges : int64 [2, calls]
        Length of the input and of the output vector of a group.
    switches : int64
        Groups whose codebooks are written, because another product ran before; 0 without a switch.
    """

    places: Integers64
    words: Floats64
    edges: Integers64
    switches: Integers64


class Enumeration:
    """All arrays of a problem's space, for any compression of its network.

    Parameters
    ----------
    problem : ArrayProblem
        The problem.

    Raises
    ------
    InputError
        If the space has too many arrays.
    """

    def __init__(self, problem: ArrayProblem) -> None:
        self.problem = problem
        self.grid = ArrayGrid(problem.space)
        calls = problem.calls
        before = [None, *(call.product for call in calls[:-1])]
        self._layers = tuple(dict.fromkeys(call.layer for call in calls))
        moved = [call.vectors * call.groups for call in calls]
        self._reads = np.array(sum(words * call.columns for words, call in zip(moved, calls, strict=True)))
        self._writes = np.array(sum(words * call.rows for words, call in zip(moved, calls, strict=True)))
        self._calls = _Calls(
            np.array([call.place for call in calls]),
            np.array([call.vectors * call.groups * (call.columns + call.rows) for call in calls]),
            np.array([[call.columns for call in calls], [call.rows for call in calls]]),
            np.array([0 if call.product == last else call.groups for call, last in zip(calls, before, strict=True)]),
        )
        self._kept: dict[tuple[str, Choice, int, Precision], LayerCounts] = {}
        self._wanted: dict[int, set[int]] = {}  # packings of arrays with broadcasts of several cycles, by the cycles

    @property
    def long_broadcasts(self) -> Mapping[int, Set[int]]:
        """Places of packings in the grid, by cycles of the broadcasts of several cycles that arrays had so far."""
        return self._wanted

    def __call__(self, choices: Mapping[str, Choice], places: Integers64 | None = None) -> Enumerated:
        """Return the designs of one compression that keep all bounds.

        Parameters
        ----------
        choices : mapping of str to Choice
            The choice for each layer.
        places : int64, optional
            Places of the arrays in the grid, in increasing order; by default all.
        """
        problem = self.problem
        widest = max(each.weight_bits for each in choices.values())
        width = self.grid.width(widest)
        figures = problem.figure_names
        if width is None:
            reason = f"codes of {widest} bits are wider than any array's"
            return Enumerated(DesignTable.empty(figures), np.zeros(0, np.int64), 0, refused=reason)
        tables, kept, tried, nearest = [], [], 0, None
        for block in self.grid.blocks(places):
            table, excesses, at = self._costed(block, choices, width)
            tried += len(block)
            excess = np.max([*excesses.values()], axis=0) if excesses else np.zeros(0)
            feasible = excess <= 0
            tables.append(table.take(feasible))
            kept.append(at[feasible])
            if nearest is None or (len(excess) and excess.min() < nearest[0]):
                nearest = _nearest(table, excess, excesses) or nearest
        designs = DesignTable.joined(tables) if tables else DesignTable.empty(figures)
        refused = "" if nearest is not None else "no array of the space can be built, or runs the network"
        point = None
        if not len(designs) and nearest is not None:
            point = nearest[1].point(0, choices, nearest[2])
        return Enumerated(designs, np.concatenate(kept or [np.zeros(0, np.int64)]), tried, point, refused)

    def _costed(
        self, block: ArrayBlock, choices: Mapping[str, Choice], width: int
    ) -> tuple[DesignTable, _Excesses, Integers64]:
        """Return designs of a block, the violation of each bound by each, and the place of each in the grid."""
        holds = block.columns["line_bits"] >= width + block.columns["index_bits"]
        loading = np.isin(block.columns["memory_mode"], LOADING)
        groups: list[tuple[Booleans, _Costing]] = [(holds & loading, self._one_by_one)]
        for precision in self.grid.values["precision"]:
            of_group = holds & ~loading & (block.columns["precision"] == precision)
            groups.append((of_group, functools.partial(self._in_closed_form, precision=precision)))
        parts = [costed(block.take(rows), choices, width) for rows, costed in groups if rows.any()]
        parts = [part for part in parts if len(part[2])]
        if not parts:
            return DesignTable.empty(self.problem.figure_names), {}, np.zeros(0, np.int64)
        tables, excesses, places = zip(*parts, strict=True)
        joined = {name: np.concatenate([each[name] for each in excesses]) for name in excesses[0]}
        return DesignTable.joined(tables), joined, np.concatenate(places)

    def _one_by_one(
        self, block: ArrayBlock, choices: Mapping[str, Choice], width: int
    ) -> tuple[DesignTable, _Excesses, Integers64]:
        problem, points, places = self.problem, [], []
        for place, values in zip(
            block.places, hardware_rows(block.columns | {"weight_bits": width}, np.arange(len(block))), strict=True
        ):
            try:
                points.append(problem.loading_point(values, choices))
                places.append(place)
            except InputError:  # there is no such array, or it does not run the network
                continue
        table = DesignTable.of(points) if points else DesignTable.empty(problem.figure_names)
        names = points[0].excesses if points else ()
        excesses = {name: np.array([point.excesses[name] for point in points]) for name in names}
        return table, excesses, np.array(places, dtype=np.int64)

    def _in_closed_form(
        self, block: ArrayBlock, choices: Mapping[str, Choice], width: int, precision: Precision
    ) -> tuple[DesignTable, _Excesses, Integers64]:
        problem = self.problem
        fields = {name: block.columns[name] for name in ARRAY_FIELDS if name in block.columns}
        arrays = ArrayTable(**fields | {"weight_bits": width, "precision": precision})
        counts = [self._counts(name, choices[name], width, precision) for name in self._layers]
        image = _whole_image(counts, block.packings, self._lines(arrays))
        activations = -(-problem.live_words // arrays.num_pes)
        if problem.search.fit_srams:
            arrays = arrays.replace(**fitted_srams(arrays, image.lines, image.entries, image.pointers, activations))
        if problem.search.fit_srams or not problem.space.states_stages:
            arrays = timed(arrays)
        clock = timing(arrays)
        lacking = exceeds_weights(image, arrays) | (activations > activation_words_per_pe(arrays))
        built = arrays.clock_mhz <= clock.highest_clock_mhz  # nowhere if there is no such SRAM
        built &= arrays.pipeline_cycles >= clock.pipeline_cycles
        built &= arrays.broadcast_cycles >= clock.broadcast_cycles
        built &= np.maximum(arrays.pipeline_cycles, arrays.broadcast_cycles) <= _MOST_STAGES
        built &= ~lacking | (arrays.memory_mode != "resident")
        arrays, block, lacking = arrays.take(built), block.take(built), lacking[built]
        figures = self._figures(arrays, block.packings, choices, width, precision)
        hardware = {name: arrays.filled(getattr(arrays, name)) for name in ARRAY_FIELDS}
        table = DesignTable(hardware | {"row_assignment": block.columns["row_assignment"]}, figures)
        excesses = problem.excesses(figures, lacking, arrays)
        return table, {name: excess + np.zeros(len(arrays)) for name, excess in excesses.items()}, block.places

    def _lines(self, arrays: ArrayTable) -> Integers64:
        """Return the place of the entries of a line of each array among those of the grid."""
        return np.asarray(np.searchsorted(self.grid.entries_per_line, arrays.filled(arrays.entries_per_line)))

    def _figures(
        self,
        arrays: ArrayTable,
        packings: Integers64,
        choices: Mapping[str, Choice],
        width: int,
        precision: Precision,
    ) -> dict[str, Floats64]:
        """Return the figures of arrays whose packings are at these places."""
        self._count_broadcasts(arrays, packings, choices, width, precision)
        counts = [self._counts(name, choices[name], width, precision) for name in self._layers]
        cycles = self._cycles(counts, arrays, packings, width)
        energies = block_energies(
            arrays,
            cycles,
            _sum(each.pointer_reads for each in counts)[packings],
            _sum(each.line_reads for each in counts)[packings, self._lines(arrays)],
            _sum(each.processed_entries for each in counts)[packings],
            _sum(each.useful_macs for each in counts)[packings],
            0,
            transfers=Transfers(0, 0, self._reads, self._writes),
        )
        loss, file_bytes = self.problem.compressed(choices, precision)
        same = np.ones(len(arrays))
        return {
            self.problem.loss_figure: loss * same,
            "latency_us": cycles / arrays.clock_mhz,
            "energy_nj": sum(energies.values()) / 1e3,
            "area_mm2": area_mm2(arrays),
            "file_bytes": file_bytes * same,
        }

    def _cycles(self, counts: Sequence[LayerCounts], arrays: ArrayTable, packings: Integers64, width: int) -> Floats64:
        """Return the cycles of one input with waits for the port and switches, mean, [arrays]."""
        slots, ports = self.grid.values["queue_slots"], self.grid.values["port_bits"]
        sizes = (len(self.grid.packings), len(slots), _MOST_STAGES + 1, _MOST_STAGES + 1, len(ports))
        axes = (
            packings,
            _places(slots, arrays.queue_slots),
            arrays.filled(arrays.broadcast_cycles),
            arrays.filled(arrays.pipeline_cycles),
            _places(ports, arrays.filled(arrays.port_bits)),
        )
        different, kind = np.unique(np.ravel_multi_index(axes, sizes), return_inverse=True)
        packing, queue, broadcast, pipeline, port = np.unravel_index(different, sizes)
        port_bits = np.array(ports)[port][:, np.newaxis]
        num_pes = np.array([each.num_pes for each in self.grid.packings])[packing][:, np.newaxis]
        word_bits = arrays.activation_bits
        total = np.zeros(len(different))
        for of_layer in counts:
            cycles = of_layer.base_cycles[packing, queue, broadcast - 1]
            cycles = cycles + (pipeline[:, np.newaxis] * of_layer.pipelined)[:, :, np.newaxis]
            words = self._calls.words[np.searchsorted(self._calls.places, of_layer.call_places)]
            on_port = np.ceil(words * word_bits / port_bits)
            total += np.maximum(on_port[:, :, np.newaxis], cycles).mean(axis=2).sum(axis=1)
        for words in (np.minimum(num_pes, self._calls.edges[0]), self._calls.edges[1]):
            total += np.ceil(words * word_bits / port_bits).sum(axis=1)
        total += self._calls.switches.sum() * (np.ceil(2**width * word_bits / port_bits[:, 0]) + LAYER_REGISTERS)
        return np.asarray(total[kind])

    def least_cycles(self, design: Design, name: str, choice: Choice) -> float:
        """Return the cycles of a layer on an array of the grid at least, mean: with the shallowest stages.

        Cycles that do not depend on the choices are left out (`fixed_cycles`).
        """
        if name not in self._layers:
            return 0.0
        array, packing = design.array, design.packing
        counts = self._kept.get((name, choice, array.weight_bits, array.precision))
        if counts is None:
            grid = self._grid((packing,), (1,), (), array.precision)
            counts = self.problem.layer_counts(name, choice, replace(grid, queue_slots=(array.queue_slots,)))
        place = counts.grid.packings.index(packing)
        queue = counts.grid.queue_slots.index(array.queue_slots)
        cycles = counts.base_cycles[place, queue, 0] + SHORTEST_PIPELINE_CYCLES * counts.pipelined[:, np.newaxis]
        words = self._calls.words[np.searchsorted(self._calls.places, counts.call_places)]
        on_port = np.ceil(words * array.activation_bits / array.port_bits)
        return float(np.maximum(on_port[:, np.newaxis], cycles).mean(axis=1).sum())

    def fixed_cycles(self, design: Design) -> float:
        """Return the cycles of one input on an array that do not depend on the choices, at its width of the codes."""
        array = design.array
        first = np.minimum(array.num_pes, self._calls.edges[0])
        words = np.concatenate([first, self._calls.edges[1]])
        edges = np.ceil(words * array.activation_bits / array.port_bits).sum()
        codebook = math.ceil(2**array.weight_bits * array.activation_bits / array.port_bits)
        return float(edges + self._calls.switches.sum() * (codebook + LAYER_REGISTERS))

    def _counts(self, name: str, choice: Choice, width: int, precision: Precision) -> LayerCounts:
        """Return the counts of a compressed layer on all packings of the grid, of arrays of this width of the codes.

        Broadcasts are 1, 2, ... cycles. Line reads are nan for lines that no such array has.
        """
        key = name, choice, width, precision
        if key not in self._kept:
            whole = self._grid(self.grid.packings, (1,), self.grid.entries_per_line, precision)
            parts = []
            for gap in self.grid.values["index_bits"]:
                packings = tuple(each for each in whole.packings if each.index_bits == gap)
                entries = sorted({line // (width + gap) for line in self.grid.values["line_bits"]} - {0})
                parts.append(self._grid(packings, (1,), tuple(entries), precision))
            counts = self.problem.layer_counts(name, choice, *parts)
            self._kept[key] = counts.joined(whole).part(whole)
        return self._kept[key]

    def _count_broadcasts(
        self, arrays: ArrayTable, packings: Integers64, choices: Mapping[str, Choice], width: int, precision: Precision
    ) -> None:
        """Count the lengths of broadcasts that these arrays have; the lines that are read do not depend on them."""
        lengths = arrays.filled(arrays.broadcast_cycles)
        longer = np.flatnonzero(lengths > 1)
        size = len(self.grid.packings)
        for pair in np.unique(lengths[longer] * size + packings[longer]).tolist():
            length, packing = divmod(pair, size)
            self._wanted.setdefault(length, set()).add(packing)
        for length, wanted in sorted(self._wanted.items()):
            places = sorted(wanted)
            for name in self._layers:
                key = name, choices[name], width, precision
                known = self._kept[key]
                most = known.base_cycles.shape[2]
                if length <= most and not np.isnan(known.base_cycles[places, 0, length - 1]).any():
                    continue
                some = tuple(self.grid.packings[place] for place in places)
                part = self.problem.layer_counts(name, choices[name], self._grid(some, (length,), (), precision))
                cycles, more = known.base_cycles, max(0, length - most)
                cycles = np.pad(cycles, [(0, 0), (0, 0), (0, more), (0, 0), (0, 0)], constant_values=np.nan)
                cycles[places, :, length - 1] = part.base_cycles[:, :, 0]
                self._kept[key] = replace(known, base_cycles=cycles)

    def _grid(
        self,
        packings: tuple[Packing, ...],
        broadcasts: tuple[int, ...],
        entries_per_line: tuple[int, ...],
        precision: Precision,
    ) -> CountsGrid:
        """Return the arrays of some packings, lengths of a broadcast and lines, with all queues of the space."""
        return CountsGrid(packings, self.grid.values["queue_slots"], broadcasts, entries_per_line, precision)


def _nearest(
    table: DesignTable, excess: Floats64, excesses: _Excesses
) -> tuple[float, DesignTable, dict[str, float]] | None:
    """Return the design with the smallest of its largest violations, with that and all by name; None without any."""
    finite = np.isfinite(excess)
    if not finite.any():
        return None
    place = int(np.where(finite, excess, np.inf).argmin())
    return float(excess[place]), table.take(np.array([place])), {n: float(each[place]) for n, each in excesses.items()}


def _sum(of_layers: Iterable[Numbers]) -> Numbers:
    """Return the sum of arrays of all layers; at least one layer."""
    return functools.reduce(np.add, of_layers)


def _places(values: Sequence[Any], wanted: Numbers) -> Integers64:
    """Return the place of each wanted value among values."""
    order = np.argsort(values)
    return np.asarray(order[np.searchsorted(np.array(values)[order], wanted)])


def _whole_image(counts: Sequence[LayerCounts], packings: Integers64, lines: Integers64) -> Image:
    """Return the room that all weights take in the fullest PE; the fields are [arrays].

    Packings and lines of the arrays are places in the grid.
    """
    single = sum(each.entries.shape[1] for each in counts) == 1
    pointers = _sum((each.pointers if single else each.pointers + each.pointers % 2).sum(axis=1) for each in counts)
    entries = _sum(each.entries.sum(axis=1) for each in counts)
    of_lines = _sum(each.lines.sum(axis=2) for each in counts)
    return Image(of_lines[packings, lines], pointers[packings], entries[packings], 0, 0)
