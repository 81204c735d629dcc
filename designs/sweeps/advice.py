"""Advice on an array: the classes of its cycles, and the simulated gain of single changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from designs.design import Design
from designs.sweeps.evaluation import Evaluation, network_of
from designs.sweeps.fitting import fitted_network
from designs.sweeps.network_run import NetworkRun
from designs.sweeps.packings import unsuited_layers
from designs.sweeps.sweep import sweep
from designs.sweeps.totals import DesignPoint, network_totals
from designs.sweeps.workload import Workload
from sim import LayerCosts
from sim.cost.area import area_mm2
from sim.observe.cycles import CYCLE_CLASSES, cycle_breakdown
from sim.row_assignment import RowAssignment
from traces import InputError
from traces.arrays import Floats64, Integers64
from traces.shell.progress import progress_bar

CLASSIFIED_VECTORS = 2**13  # at most, of all layers and groups, but at least one of each
NEARLY_THE_AREA = 1.01  # a change may enlarge the array by 1 %: a deeper queue takes 0.4 %

Shares = dict[str, float]


@dataclass(frozen=True)
class Change:
    """One change of a design, as simulated.

    Attributes
    ----------
    parameter : str
        The field of `ArrayConfig` that differs, or row_assignment, srams or together.
    what : str
        The change in words.
    point : DesignPoint
        Costs of the network after the change.
    speedup : float
        Latency before over latency after.
    energy_gain : float
        Energy before over energy after.
    area_ratio : float
        Area after over area before.
    """

    parameter: str
    what: str
    point: DesignPoint
    speedup: float
    energy_gain: float
    area_ratio: float

    @property
    def energy_delay_gain(self) -> float:
        """Energy-delay product before, over that after."""
        return self.speedup * self.energy_gain


@dataclass(frozen=True, eq=False)
class Advice:
    """Shares of the PEs' cycles by class, and changes of the array to try next.

    Attributes
    ----------
    layers : dict of str to dict
        Share of the PEs' cycles in each of CYCLE_CLASSES, by layer.
    total : dict
        The same shares for the whole network.
    blocked_share : float
        Share of all cycles in which a full queue blocks the broadcast.
    area_mm2 : float
        Area of the array before any change, in mm2.
    changes : tuple of Change
        Changes by decreasing gain in energy x delay; the combined change comes last.
    classified_vectors : int
        Vectors of all layers and groups whose cycles are classified one by one.
    """

    layers: dict[str, Shares]
    total: Shares
    blocked_share: float
    area_mm2: float
    changes: tuple[Change, ...]
    classified_vectors: int

    @property
    def bottleneck(self) -> str:
        """The class with most cycles, except computing."""
        return max(CYCLE_CLASSES[1:], key=lambda name: self.total[name])


def advise(run: NetworkRun) -> Advice:
    """Classify the cycles of a simulated network, and simulate it with each of several changes of its array.

    Parameters
    ----------
    run : NetworkRun
        A simulation, from `run_container`.

    Returns
    -------
    Advice
        Shares of the cycles and the changes. A change that the parameters do not allow, or with which some layer does
        not run, is left out.
    """
    array = run.result.config
    pe_cycles, classified = _cycles_by_class(run)
    begin = Design(array, run.row_assignment)
    single = [each for each in _single_changes(begin) if not any(unsuited_layers(run.workload, each[2].array.num_pes))]
    before, changes = _simulated(run.workload, begin, single)
    smallest = _fitted(run.workload, begin)
    if smallest != begin:
        changes += _simulated(run.workload, begin, [("srams", "SRAMs as small as the network allows", smallest)])[1]
    parameters = dict.fromkeys(change.parameter for change in changes)
    gaining = [best for name in parameters if (best := _best_of(changes, name))]
    if len(gaining) > 1:
        together = begin
        for change in gaining:
            if change.parameter != "srams":
                together = _with(together, change.point.design, change.parameter)
        if any(change.parameter == "srams" for change in gaining):
            together = _fitted(run.workload, together)
        words = "together: " + ", ".join(change.what for change in gaining)
        changes += _simulated(run.workload, begin, [("together", words, together)])[1]
    changes.sort(key=lambda change: (change.parameter == "together", -change.energy_delay_gain))
    layers = run.result.layers
    return Advice(
        layers={name: _shares(values) for name, values in pe_cycles.items()},
        total=_shares(sum(pe_cycles.values())),
        blocked_share=sum(int(x.blocked_cycles.sum()) for x in layers) / sum(int(x.cycles.sum()) for x in layers),
        area_mm2=before.area_mm2,
        changes=tuple(changes),
        classified_vectors=classified,
    )


def _simulated(
    workload: Workload, begin: Design, changed: Sequence[tuple[str, str, Design]]
) -> tuple[DesignPoint, list[Change]]:
    """Return the costs of the first design, and the simulated changes."""
    table = sweep(workload, [begin, *(design for _, _, design in changed)])
    before, *after = network_totals(table)
    changes = [
        Change(
            parameter,
            what,
            point,
            speedup=before.latency_us / point.latency_us,
            energy_gain=before.energy_nj / point.energy_nj,
            area_ratio=point.area_mm2 / before.area_mm2,
        )
        for (parameter, what, _), point in zip(changed, after, strict=True)
        if point.runs
    ]
    return before, changes


def _fitted(workload: Workload, design: Design) -> Design:
    """Return the design with the smallest SRAMs that hold the network of a workload."""
    layers = dict(zip(workload.layer_names, Evaluation(workload).prepare(design.packing), strict=True))
    assert workload.execution is not None
    return fitted_network(design, network_of(workload.name, layers, workload.execution, design.array))


def _cycles_by_class(run: NetworkRun) -> tuple[dict[str, Floats64], int]:
    """Return the cycles of all PEs in each of CYCLE_CLASSES by layer, and the number of classified vectors.

    Computing, padding and waiting are counted in the simulation; a sample of vectors divides the rest.
    """
    of_layer = {layer.name: layer for layer in run.result.layers}
    groups = sum(each.groups for each in run.workload.layers)
    every = sum(len(each.activations) for each in run.workload.layers)
    most = max(1, CLASSIFIED_VECTORS // groups) if every > CLASSIFIED_VECTORS else every
    chosen = [_spaced(each.vectors, most) for each in run.workload.layers]
    number = sum(len(places) * each.groups for places, each in zip(chosen, run.workload.layers, strict=True))
    cycles: dict[str, Floats64] = {}
    with progress_bar("classifying cycles", number) as advance:
        for each, packed, places in zip(run.workload.layers, run.packed, chosen, strict=True):
            sums = np.zeros(len(CYCLE_CLASSES))
            for group, matrix in enumerate(packed):
                for vector in each.group_activations(group)[places]:
                    breakdown = cycle_breakdown(matrix, vector, run.result.config)
                    sums += [float(getattr(breakdown, name).sum()) for name in CYCLE_CLASSES]
                    advance()
            cycles[each.layer.name] = _completed(sums, of_layer[each.layer.name])
    return cycles, number


def _spaced(vectors: int, most: int) -> Integers64:
    """Return at most so many places of vectors, evenly spaced."""
    size = min(vectors, most)
    return ((np.arange(size) + 0.5) * vectors / size).astype(np.int64)


def _completed(sampled: Floats64, layer: LayerCosts) -> Floats64:
    """Return a layer's cycles by class, with the counted classes as counted and the rest as in the sample."""
    pes = layer.config.num_pes
    counted = {
        "computing": int(layer.useful_macs.sum()),
        "padding": int(layer.processed_padding.sum()),
        "waiting": int(layer.waiting_cycles.sum()) * pes,
    }
    is_counted = np.array([name in counted for name in CYCLE_CLASSES])
    rest = int(layer.cycles.sum()) * pes - sum(counted.values())
    others = float(sampled[~is_counted].sum())
    scaled = sampled * (rest / others if others else 0.0)
    exact = np.array([counted.get(name, 0) for name in CYCLE_CLASSES], dtype=np.float64)
    return np.asarray(np.where(is_counted, exact, scaled), dtype=np.float64)


def _shares(pe_cycles: Any) -> Shares:
    total = pe_cycles.sum()
    return dict(zip(CYCLE_CLASSES, (pe_cycles / (total or 1)).tolist(), strict=True))


def _single_changes(design: Design) -> Iterator[tuple[str, str, Design]]:
    """Yield parameter, words and design of each change that the array allows."""
    array = design.array
    candidates: list[tuple[str, Sequence[Any], str]] = [
        ("queue_slots", (4 * array.queue_slots,), "{} queue slots"),
        ("index_bits", (array.index_bits + 1, array.index_bits + 2), "gaps of {} bits"),
        ("line_bits", (array.line_bits // 2, 2 * array.line_bits, 4 * array.line_bits), "lines of {} bits"),
        ("num_pes", (array.num_pes // 2, 2 * array.num_pes), "{} PEs"),
        ("port_bits", (2 * array.port_bits,), "a port of {} bits"),
    ]
    if array.memory_mode in ("passes", "streamed"):
        candidates.append(("dram_gb_per_s", (2 * array.dram_gb_per_s,), "DRAM of {:g} GB/s"))
    for parameter, values, words in candidates:
        for value in values:
            try:
                changed = dataclasses.replace(array, **{parameter: value})
                area_mm2(changed)  # raises InputError if an SRAM is outside the tables
            except InputError:
                continue
            yield parameter, words.format(value), dataclasses.replace(design, array=changed)
    balanced: dict[RowAssignment, str] = {
        "entries": "rows balanced by stored entries",
        "activity": "rows balanced by these inputs",
    }
    for rows, words in balanced.items():
        if rows != design.row_assignment:
            yield "row_assignment", words, dataclasses.replace(design, row_assignment=rows)


def _best_of(changes: Sequence[Change], parameter: str) -> Change | None:
    """Return the change of one parameter that gains most at nearly the same area; None if none gains."""
    gaining = [
        change
        for change in changes
        if change.parameter == parameter and change.energy_delay_gain > 1 and change.area_ratio <= NEARLY_THE_AREA
    ]
    return max(gaining, key=lambda change: change.energy_delay_gain, default=None)


def _with(design: Design, other: Design, parameter: str) -> Design:
    """Return a design with one parameter taken from another design."""
    if parameter == "row_assignment":
        return dataclasses.replace(design, row_assignment=other.row_assignment)
    value = getattr(other.array, parameter)
    return dataclasses.replace(design, array=dataclasses.replace(design.array, **{parameter: value}))
