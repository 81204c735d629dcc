"""Enumeration of all arrays of a space for one compression, in closed form (`ArrayCost.figures` is the readable twin).

What a kernel must count depends on a compressed layer, the packing, the queue, the length of a broadcast and the entries
of a line (`designs.codesigns.layer_counts`). The rest follows for all arrays at once: SRAMs, pipeline, clock, port,
switches, energy and area. Arrays that load weights or spill feature maps (`memory_mode` "passes" and "streamed") are
costed one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.array_grid import ArrayBlock, ArrayGrid, hardware_rows
from designs.codesigns.design_table import DesignTable
from designs.codesigns.layer_counts import CountsGrid, LayerCounts
from designs.codesigns.point import CodesignPoint
from designs.design import ARRAY_FIELDS, HARDWARE, Design
from designs.space import DERIVED
from designs.sweeps.fitting import fitted_srams
from sim.config import Precision
from sim.array_table import ArrayTable
from sim.cost.area import area_mm2
from sim.cost.energy import Transfers, block_energies
from sim.cost.timing import timed, timing
from sim.memory import activation_words_per_pe, weight_capacity
from sim.network_schedule import LAYER_REGISTERS
from traces import InputError
from traces.arrays import Booleans, Floats64, Integers64, Numbers
from traces.pareto import non_dominated

if TYPE_CHECKING:
    from designs.codesigns.problem import CodesignProblem

_LOADING = ("passes", "streamed")


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
    layers : tuple of str
        Compressed layer of each call.
    entering, leaving : float64
        Activations that cross the port before and after.
    columns, rows : int64
        Length of one input and of one output vector of a group.
    switches : int64
        Groups whose codebooks are written, because another product ran before; 0 without a switch.
    """

    layers: tuple[str, ...]
    entering: Floats64
    leaving: Floats64
    columns: Integers64
    rows: Integers64
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
        cost = problem.analysis.array_cost
        calls = cost.calls()
        before = [None, *(call.product for call in calls[:-1])]
        self._calls = _Calls(
            tuple(call.layer for call in calls),
            np.array([call.vectors * call.groups * call.columns for call in calls], dtype=np.float64),
            np.array([call.vectors * call.groups * call.rows for call in calls], dtype=np.float64),
            np.array([call.columns for call in calls]),
            np.array([call.rows for call in calls]),
            np.array([0 if call.product == last else call.groups for call, last in zip(calls, before, strict=True)]),
        )

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
            point = problem.with_excesses(nearest[1], choices)
        return Enumerated(designs, np.concatenate(kept or [np.zeros(0, np.int64)]), tried, point, refused)

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
                parts.append((*costed(block, chosen, choices, width), some[rows]))
        if not parts:
            return DesignTable.empty(self.problem.figure_names), np.zeros(0), np.zeros(0, np.int64)
        tables, excesses, places = zip(*parts, strict=True)
        return DesignTable.joined(tables), np.concatenate(excesses), np.concatenate(places)

    def _one_by_one(
        self, block: ArrayBlock, columns: dict[str, Numbers], choices: Mapping[str, Choice], width: int
    ) -> tuple[DesignTable, Floats64]:
        problem, found = self.problem, []
        whole = columns | {"num_pes": block.num_pes, "weight_bits": width}
        excesses = np.full(len(columns["queue_slots"]), np.inf)
        for place, values in enumerate(hardware_rows(whole, np.arange(len(excesses)))):
            try:
                point = problem.predict(problem.design_of(values), choices)
                excesses[place] = max(point.excesses.values(), default=-1.0)
            except InputError:  # there is no such array, or it does not run the network
                nothing = dict.fromkeys(problem.figure_names, np.nan)
                point = CodesignPoint(Design.from_hardware(values), choices, nothing, {})
            found.append(point)
        return DesignTable.of(found), excesses

    def _in_closed_form(
        self,
        block: ArrayBlock,
        columns: dict[str, Numbers],
        choices: Mapping[str, Choice],
        width: int,
        precision: Precision,
    ) -> tuple[DesignTable, Floats64]:
        problem = self.problem
        fields = {name: columns[name] for name in ARRAY_FIELDS if name in columns}
        arrays = ArrayTable(**fields | {"num_pes": block.num_pes, "weight_bits": width, "precision": precision})
        packings = block.packing_places(columns)
        image = _whole_image(self._counts(block, choices, width, precision, ()), packings, arrays.entries_per_line)
        activations = -(-problem.analysis.array_cost.live_words // block.num_pes)
        if problem.search.fit_srams:
            arrays = arrays.replace(**fitted_srams(arrays, image.lines, image.entries, image.pointers, activations))
        if problem.search.fit_srams or not problem.space.states_stages:
            arrays = timed(arrays)
        clock = timing(arrays)
        lacking = lacks_weights(image, arrays) | (activations > activation_words_per_pe(arrays))
        built = arrays.clock_mhz <= clock.highest_clock_mhz  # nowhere if there is no such SRAM
        built &= arrays.pipeline_cycles >= clock.pipeline_cycles
        built &= arrays.broadcast_cycles >= clock.broadcast_cycles
        built &= ~lacking | (arrays.memory_mode != "resident")
        arrays, packings, lacking = arrays.take(built), packings[built], lacking[built]
        figures = self._figures(block, arrays, packings, choices, width, precision)
        names = {name: np.broadcast_to(getattr(arrays, name), len(lacking)) for name in ARRAY_FIELDS}
        table = DesignTable(names | {"row_assignment": columns["row_assignment"][built]}, figures)
        excesses = problem.excesses(figures, lacking, arrays)
        return table, np.max(np.broadcast_arrays(*excesses.values()), axis=0)

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
        analysis = self.problem.analysis
        broadcasts = tuple(np.unique(arrays.broadcast_cycles).tolist())
        counts = self._counts(block, choices, width, precision, broadcasts)
        cycles = self._cycles(counts, arrays, packings, width)
        lines = np.searchsorted(counts[0].grid.lines, arrays.entries_per_line)
        reads, writes = float(self._calls.entering.sum()), float(self._calls.leaving.sum())
        energies = block_energies(
            arrays,
            cycles,
            sum(each.pointer_reads for each in counts)[packings],
            sum(each.line_reads for each in counts)[packings, lines],
            sum(each.processed_entries for each in counts)[packings],
            sum(each.useful_macs for each in counts)[packings],
            0.0,
            transfers=Transfers(0, 0, reads, writes),
        )
        compressed = analysis.predict(choices, precision)
        same = np.ones(len(cycles))
        return {
            self.problem.loss_figure: compressed.loss * same,
            "latency_us": cycles / arrays.clock_mhz,
            "energy_nj": sum(energies.values()) / 1e3,
            "area_mm2": area_mm2(arrays),
            "file_bytes": compressed.file_bytes * same,
        }

    def _cycles(
        self, counts: Sequence[LayerCounts], arrays: ArrayTable, packings: Integers64, width: int
    ) -> Floats64:
        """Return the cycles of one input with waits for the port and switches, mean, [arrays]."""
        grid = counts[0].grid
        queues = np.searchsorted(grid.queue_slots, arrays.queue_slots)
        lengths = np.searchsorted(grid.broadcast_cycles, arrays.broadcast_cycles)
        kinds = np.stack(
            np.broadcast_arrays(packings, queues, lengths, arrays.pipeline_cycles, arrays.port_bits), axis=1
        )
        different, kind = unique_rows(kinds)
        packing, queue, length, pipeline, port_bits = different.T[:, :, np.newaxis, np.newaxis]
        word_bits = arrays.activation_bits
        total = np.zeros(len(different))
        for of_layer, calls in zip(counts, self._places, strict=True):
            cycles = of_layer.base_cycles[packing[:, 0, 0], queue[:, 0, 0], length[:, 0, 0]]
            cycles = cycles + pipeline * of_layer.pipelined[:, np.newaxis]
            words = (self._calls.entering + self._calls.leaving)[calls, np.newaxis]
            waits = np.maximum(np.ceil(words * word_bits / port_bits) - cycles, 0)
            total += (cycles + waits).mean(axis=2).sum(axis=1)
        port_bits = port_bits[:, 0]
        edges = np.ceil(np.minimum(arrays.num_pes, self._calls.columns) * word_bits / port_bits)
        edges += np.ceil(self._calls.rows * word_bits / port_bits)
        codebooks = np.ceil(2**width * word_bits / port_bits) + LAYER_REGISTERS
        total += (edges + self._calls.switches * codebooks).sum(axis=1)
        return total[kind]

    def _counts(
        self,
        block: ArrayBlock,
        choices: Mapping[str, Choice],
        width: int,
        precision: Precision,
        broadcasts: Sequence[int],
    ) -> list[LayerCounts]:
        """Return the counts of the layers that run on the array, on all packings of a block."""
        analysis = self.problem.analysis
        grid = CountsGrid(block.packings, self._queues, broadcasts, self._lines, precision)
        layers = analysis.layers(choices)
        return [self.store.counts(name, layers[name], grid) for name in self._layers]


def _whole_image(counts: Sequence[LayerCounts], packings: Integers64, entries_per_line: Integers64) -> Image:
    """Return the room that all weights take in the fullest PE; its fields are [arrays]."""
