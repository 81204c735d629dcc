"""What an array's time is lost to, and what one change of it would gain: each change is simulated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import Design, RowAssignment
from designs.sweeps.fitting import fitted
from designs.sweeps.network_run import NetworkRun
from designs.sweeps.sweep import sweep
from designs.sweeps.totals import DesignPoint, network_totals
from designs.sweeps.workload import Workload
from sim.cost.area import area_mm2
from sim.observe.cycles import CYCLE_CLASSES, cycle_breakdown
from traces import InputError
from traces.shell.progress import progress_bar

NEARLY_THE_AREA = 1.01  # what a change may enlarge the array by and still be free: a deeper queue takes 0.4 %

Shares = dict[str, float]


@dataclass(frozen=True)
class Change:
    """One change of a design, as simulated.

    parameter     the field of `ArrayConfig` that differs, or `row_assignment`, `srams` or `together`
    what          the change in words
    point         what the network costs then
    speedup       latency before, over that after
    energy_gain   energy before, over that after
    area_ratio    area after, over that before
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
    """Where the cycles of all PEs go, and what to try next.

    layers          share of the PEs' cycles in each of CYCLE_CLASSES, by layer
    total           the same of the whole network
    blocked_share   share of all cycles in which a full queue holds the broadcast up
    area_mm2        of the array as it is
    changes         the largest gain in energy x delay first; `together` is the last
    """

    layers: dict[str, Shares]
    total: Shares
    blocked_share: float
    area_mm2: float
    changes: tuple[Change, ...]

    @property
    def bottleneck(self) -> str:
        """The class that takes most cycles from computing."""
        return max(CYCLE_CLASSES[1:], key=lambda name: self.total[name])


def advise(run: NetworkRun) -> Advice:
    """Sort the cycles of a simulated network, and simulate it again with each of a few changes of its array.

    Changes that the array's parameters do not allow, or on which a layer cannot run, are left out.
    """
    array = run.result.config
    pe_cycles = _cycles_by_class(run)
    begin = Design(array, run.row_assignment)
    before, found, table = _simulated(run.workload, begin, list(_single_changes(begin)))
    smallest = fitted(begin, table)
    if smallest != begin:
        found += _simulated(run.workload, begin, [("srams", "SRAMs as small as the layers allow", smallest)])[1]
    gaining = [each for name in dict.fromkeys(x.parameter for x in found) if (each := _best_of(found, name))]
    if len(gaining) > 1:
        together = begin
        for change in gaining:
            if change.parameter != "srams":
                together = _with(together, change.point.design, change.parameter)
        if any(change.parameter == "srams" for change in gaining):
            together = fitted(together, sweep(run.workload, [together]))
        words = "together: " + ", ".join(change.what for change in gaining)
        found += _simulated(run.workload, begin, [("together", words, together)])[1]
    found.sort(key=lambda change: (change.parameter == "together", -change.energy_delay_gain))
    layers = run.result.layers
    return Advice(
        layers={name: _shares(values) for name, values in pe_cycles.items()},
        total=_shares(sum(pe_cycles.values())),
        blocked_share=sum(int(x.blocked_cycles.sum()) for x in layers) / sum(int(x.cycles.sum()) for x in layers),
        area_mm2=before.area_mm2,
        changes=tuple(found),
    )


def _simulated(
    workload: Workload, begin: Design, listed: Sequence[tuple[str, str, Design]]
) -> tuple[DesignPoint, list[Change], pa.Table]:
    """What the network costs at the beginning, the changes as simulated, and the sweep's table."""
    table = sweep(workload, [begin, *(design for _, _, design in listed)])
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
        for (parameter, what, _), point in zip(listed, after, strict=True)
        if point.runs
    ]
    return before, changes, table


def _cycles_by_class(run: NetworkRun) -> dict[str, npt.NDArray[np.int64]]:
    """Cycles of all PEs in each of CYCLE_CLASSES, int64 [classes] by layer."""
    found: dict[str, npt.NDArray[np.int64]] = {}
    with progress_bar("sorting cycles", sum(len(each.activations) for each in run.workload.layers)) as advance:
        for each, packed in zip(run.workload.layers, run.packed, strict=True):
            found[each.layer.name] = np.zeros(len(CYCLE_CLASSES), dtype=np.int64)
            for vector in each.activations:
                breakdown = cycle_breakdown(packed, vector, run.result.config)
                found[each.layer.name] += [int(getattr(breakdown, name).sum()) for name in CYCLE_CLASSES]
                advance()
    return found


def _shares(pe_cycles: Any) -> Shares:
    return dict(zip(CYCLE_CLASSES, (pe_cycles / pe_cycles.sum()).tolist(), strict=True))


def _single_changes(design: Design) -> Iterator[tuple[str, str, Design]]:
    """Parameter, words and design of each change that the array allows."""
    array = design.array
    candidates: list[tuple[str, Sequence[Any], str]] = [
        ("queue_slots", (4 * array.queue_slots,), "{} queue slots"),
        ("index_bits", (array.index_bits + 1, array.index_bits + 2), "gaps of {} bits"),
        ("line_bits", (array.line_bits // 2, 2 * array.line_bits, 4 * array.line_bits), "lines of {} bits"),
        ("num_pes", (array.num_pes // 2, 2 * array.num_pes), "{} PEs"),
    ]
    if array.memory_mode in ("passes", "streamed"):
        candidates.append(("dram_gb_per_s", (2 * array.dram_gb_per_s,), "DRAM of {:g} GB/s"))
    for parameter, values, words in candidates:
        for value in values:
            try:
                changed = dataclasses.replace(array, **{parameter: value})
                area_mm2(changed)  # its SRAMs must be ones that are known
            except InputError:
                continue
            yield parameter, words.format(value), dataclasses.replace(design, array=changed)
    words_of = {"entries": "rows balanced by stored entries", "activity": "rows balanced by these inputs"}
    for rows in get_args(RowAssignment):
        if rows in words_of and rows != design.row_assignment:
            yield "row_assignment", words_of[rows], dataclasses.replace(design, row_assignment=rows)


def _best_of(changes: Sequence[Change], parameter: str) -> Change | None:
    """Of the changes of one parameter the one that gains most for nearly the same area; None if none gains."""
    gaining = [
        change
        for change in changes
        if change.parameter == parameter and change.energy_delay_gain > 1 and change.area_ratio <= NEARLY_THE_AREA
    ]
    return max(gaining, key=lambda change: change.energy_delay_gain, default=None)


def _with(design: Design, other: Design, parameter: str) -> Design:
    """A design with one parameter of another."""
    if parameter == "row_assignment":
        return dataclasses.replace(design, row_assignment=other.row_assignment)
    value = getattr(other.array, parameter)
    return dataclasses.replace(design, array=dataclasses.replace(design.array, **{parameter: value}))
