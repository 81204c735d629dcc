"""Enumeration of all arrays of a space for one compression, in closed form; `ArrayCost.figures` is the readable twin.

What a kernel must count depends on a compressed layer, the packing, the queue, the length of a broadcast and the
entries of a line (`designs.codesigns.layer_counts`). The rest follows for all arrays at once: SRAMs, pipeline, clock,
port, switches, energy and area. Arrays that load weights or spill feature maps (`memory_mode` "passes" and "streamed")
are costed one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.array_grid import ArrayBlock, ArrayGrid, hardware_rows
from designs.codesigns.design_table import DesignTable
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.point import CodesignPoint
from designs.design import ARRAY_FIELDS
from designs.sweeps.fitting import fitted_srams
from sim.array_table import ArrayTable
from sim.config import Precision
from sim.cost.area import area_mm2
from sim.cost.energy import Transfers, block_energies
from sim.cost.timing import timed, timing
from sim.memory import Image, activation_words_per_pe, exceeds_weights
from sim.network_schedule import LAYER_REGISTERS
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers64, Numbers
from traces.pareto import non_dominated

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

_LOADING = ("passes", "streamed")
_MOST_STAGES = 64  # of pipeline and broadcast (`ArrayConfig`)
_Costing = Callable[..., tuple[DesignTable, Floats64, Booleans]]


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
        costs = self.designs.costs(objectives)
        _, first = np.unique(costs, axis=0, return_index=True)
        kept = np.sort(first)
        kept = kept[non_dominated(costs[kept])]
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
    problem : CodesignProblem
        The problem.

    Raises
    ------
    InputError
        If the space has too many arrays.
    """

    def __init__(self, problem: CodesignProblem) -> None:
        self.problem = problem
        self.grid = ArrayGrid(problem.space)
        self._cost = problem.analysis.array_cost
        calls = self._cost.calls
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
        self._kept: dict[tuple[str, Choice, Precision, int], LayerCounts] = {}

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
        for block in self.grid.blocks:
            some = np.arange(len(block))
            if places is not None:
                some = places[(places >= block.first) & (places < block.first + len(block))] - block.first
            if not len(some):
                continue
            table, excess, at = self._costed(block, some, choices, width)
            tried += len(some)
            feasible = excess <= 0
            tables.append(table.take(feasible))
            kept.append(at[feasible] + block.first)
            if nearest is None or (len(excess) and excess.min() < nearest[0]):
                nearest = self._nearest(table, excess) or nearest
        designs = DesignTable.joined(tables) if tables else DesignTable.empty(figures)
        refused = "" if nearest is not None else "no array of the space can be built, or runs the network"
        point = None
        if not len(designs) and nearest is not None:
            point = self._named(nearest[1], choices)
        return Enumerated(designs, np.concatenate(kept or [np.zeros(0, np.int64)]), tried, point, refused)

    def _named(self, table: DesignTable, choices: Mapping[str, Choice]) -> CodesignPoint:
        """Return the only design of a table, with its violations by name."""
        design = table.design(0)
        figures = {name: float(values[0]) for name, values in table.figures.items()}
        costs = self.problem.analysis.array_cost.figures(self.problem.analysis.layers(choices), design, False)
        excesses = self.problem.excesses(figures, bool(costs.lacking), design.array)
        return table.point(0, choices, {name: float(excess) for name, excess in excesses.items()})

    def _nearest(self, table: DesignTable, excess: Floats64) -> tuple[float, DesignTable] | None:
        finite = np.isfinite(excess)
        if not finite.any():
            return None
        place = int(np.where(finite, excess, np.inf).argmin())
        return float(excess[place]), table.take(np.array([place]))

    def _costed(
        self, block: ArrayBlock, some: Integers64, choices: Mapping[str, Choice], width: int
    ) -> tuple[DesignTable, Floats64, Integers64]:
        """Return designs of a block, the largest violation of a bound by each, and the place of each in the block."""
        columns = {name: values[some] for name, values in block.columns.items()}
        holds = columns["line_bits"] >= width + columns["index_bits"]
        loading = np.isin(columns["memory_mode"], _LOADING)
        groups: list[tuple[Booleans, _Costing]] = [(holds & loading, self._one_by_one)]
        for precision in self.grid.values["precision"]:
            of_group = holds & ~loading & (columns["precision"] == precision)
            groups.append((of_group, functools.partial(self._in_closed_form, precision=precision)))
        parts = []
        for rows, costed in groups:
            if rows.any():
                chosen = {name: values[rows] for name, values in columns.items()}
                table, excess, built = costed(block, chosen, choices, width)
                parts.append((table, excess, some[rows][built]))
        if not parts:
            return DesignTable.empty(self.problem.figure_names), np.zeros(0), np.zeros(0, np.int64)
        tables, excesses, places = zip(*parts, strict=True)
        return DesignTable.joined(tables), np.concatenate(excesses), np.concatenate(places)

    def _one_by_one(
        self, block: ArrayBlock, columns: dict[str, Numbers], choices: Mapping[str, Choice], width: int
    ) -> tuple[DesignTable, Floats64, Booleans]:
        """Return designs of a block, the largest violation of a bound by each, and a mark of the arrays that can be."""
        problem, points = self.problem, []
        whole = columns | {"num_pes": block.num_pes, "weight_bits": width}
        built = np.zeros(len(columns["queue_slots"]), dtype=np.bool_)
        for place, values in enumerate(hardware_rows(whole, np.arange(len(built)))):
            try:
                points.append(problem.predict(problem.design_of(values), choices))
                built[place] = True
            except InputError:  # there is no such array, or it does not run the network
                continue
        table = DesignTable.of(points) if points else DesignTable.empty(problem.figure_names)
        return table, np.array([max(point.excesses.values()) for point in points]), built

    def _in_closed_form(
        self,
        block: ArrayBlock,
        columns: dict[str, Numbers],
        choices: Mapping[str, Choice],
        width: int,
        precision: Precision,
    ) -> tuple[DesignTable, Floats64, Booleans]:
        """Return designs of a block, the largest violation of a bound by each, and a mark of the arrays that can be."""
        problem = self.problem
        fields = {name: columns[name] for name in ARRAY_FIELDS if name in columns}
        arrays = ArrayTable(**fields | {"num_pes": block.num_pes, "weight_bits": width, "precision": precision})
        packings = block.packing_places(columns)
        counts = [self._counts(name, choices[name], precision, block, (1,)) for name in self._layers]
        image = _whole_image(counts, packings, arrays.entries_per_line)
        activations = -(-self._cost.live_words // block.num_pes)
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
        arrays, packings, lacking = arrays.take(built), packings[built], lacking[built]
        figures = self._figures(block, arrays, packings, choices, width, precision)
        hardware = {name: arrays.filled(getattr(arrays, name)) for name in ARRAY_FIELDS}
        table = DesignTable(hardware | {"row_assignment": columns["row_assignment"][built]}, figures)
        return table, np.max(np.broadcast_arrays(*problem.excesses(figures, lacking, arrays).values()), axis=0), built

    def _figures(
        self,
        block: ArrayBlock,
        arrays: ArrayTable,
        packings: Integers64,
        choices: Mapping[str, Choice],
        width: int,
        precision: Precision,
    ) -> dict[str, Floats64]:
        """Return the figures of arrays of one block, whose packings are at these places."""
        broadcasts = np.unique(arrays.filled(arrays.broadcast_cycles)).tolist()
        counts = [self._counts(name, choices[name], precision, block, broadcasts) for name in self._layers]
        cycles = self._cycles(counts, arrays, packings, width)
        entries = arrays.filled(arrays.entries_per_line)
        line_reads = sum(each.line_reads[packings, _index(each.grid.entries_per_line, entries)] for each in counts)
        energies = block_energies(
            arrays,
            cycles,
            sum(each.pointer_reads[packings] for each in counts),
            line_reads,
            sum(each.processed_entries[packings] for each in counts),
            sum(each.useful_macs[packings] for each in counts),
            0,
            transfers=Transfers(0, 0, self._reads, self._writes),
        )
        compressed = self.problem.analysis.predict(choices, precision)
        same = np.ones(len(arrays))
        return {
            self.problem.loss_figure: compressed.loss * same,
            "latency_us": cycles / arrays.clock_mhz,
            "energy_nj": sum(energies.values()) / 1e3,
            "area_mm2": area_mm2(arrays),
            "file_bytes": compressed.file_bytes * same,
        }

    def _cycles(self, counts: Sequence[LayerCounts], arrays: ArrayTable, packings: Integers64, width: int) -> Floats64:
        """Return the cycles of one input with waits for the port and switches, mean, [arrays]."""
        names = ("queue_slots", "broadcast_cycles", "pipeline_cycles", "port_bits")
        kinds = np.stack([packings, *(arrays.filled(getattr(arrays, name)) for name in names)])
        different, kind = np.unique(kinds, axis=1, return_inverse=True)
        packing, queue_slots, broadcast, pipeline, port_bits = different
        total = np.zeros(different.shape[1])
        for of_layer in counts:
            queues, broadcasts = (
                _index(getattr(of_layer.grid, name), values)
                for name, values in (("queue_slots", queue_slots), ("broadcast_cycles", broadcast))
            )
            cycles = of_layer.base_cycles[packing, queues, broadcasts]
            cycles = cycles + (pipeline[:, np.newaxis] * of_layer.pipelined)[:, :, np.newaxis]
            words = self._calls.words[np.searchsorted(self._calls.places, of_layer.call_places)]
            on_port = np.ceil(words * arrays.activation_bits / port_bits[:, np.newaxis])
            total += (cycles + np.maximum(on_port[:, :, np.newaxis] - cycles, 0)).mean(axis=2).sum(axis=1)
        first = np.minimum(arrays.num_pes, self._calls.edges[0])
        for words in (first, self._calls.edges[1]):
            total += np.ceil(words * arrays.activation_bits / port_bits[:, np.newaxis]).sum(axis=1)
        codebook = np.ceil(2**width * arrays.activation_bits / port_bits)
        total += self._calls.switches.sum() * (codebook + LAYER_REGISTERS)
        return total[kind]

    def _counts(
        self, name: str, choice: Choice, precision: Precision, block: ArrayBlock, broadcasts: Sequence[int]
    ) -> LayerCounts:
        """Return the counts of a compressed layer on all packings of a block, in their order."""
        key = name, choice, precision, block.num_pes
        known = self._kept.get(key)
        wanted = broadcasts if known is None else set(broadcasts) - set(known.grid.broadcast_cycles)
        if wanted:
            lengths = tuple(sorted({*wanted, *(() if known is None else known.grid.broadcast_cycles)}))
            grid = CountsGrid(
                block.packings, self.grid.values["queue_slots"], lengths, self.grid.entries_per_line, precision
            )
            chosen = self.problem.analysis.layers({name: choice})[name]
            self._kept[key] = self._cost.layer_counts(name, chosen, grid)
        return self._kept[key]


def _index(values: Sequence[int], wanted: Integers64) -> Integers64:
    """Return the place of each wanted value among values."""
    order = np.argsort(values)
    return order[np.searchsorted(np.array(values)[order], wanted)]


def _whole_image(counts: Sequence[LayerCounts], packings: Integers64, entries_per_line: Integers64) -> Image:
    """Return the room that all weights take in the fullest PE; the fields are [arrays]."""
    single = sum(each.entries.shape[1] for each in counts) == 1
    lines = entries = pointers = 0
    for each in counts:
        at = _index(each.grid.entries_per_line, entries_per_line)
        lines = lines + each.lines[packings, at].sum(axis=1)
        entries = entries + each.entries[packings].sum(axis=1)
        own = each.pointers[packings]
        pointers = pointers + (own if single else own + own % 2).sum(axis=1)
    return Image(lines, pointers, entries, 0, 0)
