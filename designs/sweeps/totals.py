"""Costs of a whole network on each design of a sweep: the sums over its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from designs.design import HARDWARE, Design
from designs.sweeps.evaluation import NETWORK_CYCLES
from sim import ArrayConfig
from sim.limits import BINDING, dram_cycles
from traces.pareto import non_dominated

Objective = Literal["latency_us", "energy_nj", "area_mm2", "energy_delay_nj_us"]


@dataclass(frozen=True)
class DesignPoint:
    """Costs of a whole network on one design, mean per input; its layers run one after the other.

    Figures are nan if the design does not run every layer.

    Attributes
    ----------
    point : int
        Number of the design in its sample.
    design : Design
        The design.
    cycles : float
        Cycles per input; those of a network include port, switches and loads.
    latency_us : float
        Latency per input, in us.
    efficiency : float
        Useful multiply-accumulates per PE and cycle.
    energy_nj : float
        Energy per input, in nJ.
    area_mm2 : float
        Area, in mm2.
    fits : bool
        True if every layer fits the SRAMs whole, and the layers of a network fit them together.
    limit_cycles, limit_energy_nj : float
        Least cycles and energy per input.
    limit_binds : str
        What sets the largest part of the least cycles, in words of `sim.limits.BINDING`; empty if not every layer runs.
    """

    point: int
    design: Design
    cycles: float
    latency_us: float
    efficiency: float
    energy_nj: float
    area_mm2: float
    fits: bool
    limit_cycles: float
    limit_energy_nj: float
    limit_binds: str

    @property
    def num_pes(self) -> int:
        """Number of PEs."""
        return self.design.array.num_pes

    @property
    def queue_slots(self) -> int:
        """Slots of the activation queue."""
        return self.design.array.queue_slots

    @property
    def line_bits(self) -> int:
        """Width of a line of the sparse-matrix SRAM, in bits."""
        return self.design.array.line_bits

    @property
    def runs(self) -> bool:
        """True if the design runs every layer."""
        return not np.isnan(self.cycles)

    @property
    def energy_delay_nj_us(self) -> float:
        """Energy-delay product, in nJ us."""
        return self.energy_nj * self.latency_us

    @property
    def limit_sentence(self) -> str:
        """Sentence about the least cycles and energy, if the design runs every layer."""
        return (
            f"At least {self.limit_cycles:,.0f} of its {self.cycles:,.0f} cycles are needed "
            f"({self.limit_cycles / self.cycles:.1%}, limited by: {self.limit_binds}), and at least "
            f"{self.limit_energy_nj:,.1f} of its {self.energy_nj:,.1f} nJ "
            f"({self.limit_energy_nj / self.energy_nj:.0%})."
        )

    def cost(self, objective: Objective) -> float:
        """Return the value of one objective."""
        return float(getattr(self, objective))

    @property
    def costs(self) -> tuple[float, float, float]:
        """Latency, energy and area; less is better."""
        return self.latency_us, self.energy_nj, self.area_mm2


def network_totals(table: pa.Table) -> list[DesignPoint]:
    """Add up the layers of each design of a sweep.

    Parameters
    ----------
    table : pyarrow.Table
        SWEEP_COLUMNS, from `sweep` or `read_sweep`.

    Returns
    -------
    list of DesignPoint
        The costs of the whole network on each design, in the order of the table.
    """
    if not table.num_rows:
        return []
    sums = _Sums(table)
    return [sums.point(place) for place in range(len(sums.begin))]


def best_point(table: pa.Table) -> DesignPoint | None:
    """Return the point of least energy-delay product among those that run every layer; None if there is none."""
    if not table.num_rows:
        return None
    sums = _Sums(table)
    products = sums.of["energy_pj"] * sums.of["latency_us"]
    return None if np.isnan(products).all() else sums.point(int(np.nanargmin(products)))


def best_of(one: DesignPoint | None, other: DesignPoint | None) -> DesignPoint | None:
    """Return the point of less energy-delay product, the first of two equal ones; None if there is none."""
    if one is None or other is None:
        return one or other
    return other if other.energy_delay_nj_us < one.energy_delay_nj_us else one


def front_of(points: Sequence[DesignPoint], objectives: Sequence[Objective]) -> list[DesignPoint]:
    """Return the Pareto-optimal points.

    Parameters
    ----------
    points : sequence of DesignPoint
        The points, such as those of `network_totals` that run every layer.
    objectives : sequence of str
        Objectives that are minimised: latency_us, energy_nj, area_mm2 or energy_delay_nj_us.

    Returns
    -------
    list of DesignPoint
        The points that no other point dominates, sorted by the first objective.
    """
    if not points:
        return []
    costs = np.array([[point.cost(name) for name in objectives] for point in points])
    front = [point for point, optimal in zip(points, non_dominated(costs), strict=True) if optimal]
    return sorted(front, key=lambda point: [point.cost(name) for name in objectives])


class SweepTotals:
    """Totals of a sweep whose rows are added piece by piece.

    Parameters
    ----------
    objectives : sequence of str
        Objectives of the front (`front_of`).
    fitting : bool
        Leave designs out whose SRAMs do not hold every layer.

    Attributes
    ----------
    points : int
        Number of designs.
    running : int
        Number of designs that run every layer, and hold every layer with `fitting`.
    lacking : str
        Capacities that the first layer that does not fit exceeds; empty if all fit.
    varied : list of str
        Hardware parameters that have several values.
    """

    def __init__(self, objectives: Sequence[Objective], fitting: bool = False) -> None:
        self.points = self.running = 0
        self.lacking = ""
        self._objectives, self._fitting = tuple(objectives), fitting
        self._first: dict[str, pa.Scalar] = {}
        self._varied: set[str] = set()
        self._front: list[DesignPoint] = []

    @property
    def varied(self) -> list[str]:
        """Hardware parameters that have several values, in the order of HARDWARE."""
        return [name for name in HARDWARE if name in self._varied]

    @property
    def front(self) -> list[DesignPoint]:
        """The Pareto-optimal designs, sorted by the first objective; equal ones by number."""
        return sorted(self._front, key=lambda point: (*(point.cost(name) for name in self._objectives), point.point))

    def add(self, table: pa.Table) -> None:
        """Add the rows of some points, SWEEP_COLUMNS; all layers of a point are together."""
        if not table.num_rows:
            return
        for name in HARDWARE:
            first = self._first.setdefault(name, table[name][0])
            if name not in self._varied and pc.any(pc.not_equal(table[name], first)).as_py():
                self._varied.add(name)
        if not self.lacking and not pc.all(table["fits"]).as_py():
            self.lacking = table["lacking"].filter(pc.not_equal(table["lacking"], ""))[0].as_py()
        sums = _Sums(table)
        runs = ~np.isnan(sums.cycles)
        if self._fitting:
            runs &= sums.fits
        self.points += len(runs)
        self.running += int(np.count_nonzero(runs))
        places = np.flatnonzero(runs)
        costs = np.stack([sums.costs(name)[places] for name in self._objectives], axis=1)
        before = np.array([[point.cost(name) for name in self._objectives] for point in self._front])
        known = len(self._front)
        optimal = non_dominated(np.concatenate([before.reshape(known, costs.shape[1]), costs]))
        kept = [point for point, stays in zip(self._front, optimal[:known], strict=True) if stays]
        self._front = kept + [sums.point(place) for place in places[optimal[known:]].tolist()]


class _Sums:
    """Sums over the layers of each design, float64 [designs], of a table in which the rows of a design are together."""

    def __init__(self, table: pa.Table) -> None:
        points = table["point"].to_numpy()
        self.begin: npt.NDArray[Any] = np.flatnonzero(np.diff(points, prepend=-1))
        names = (*NETWORK_CYCLES, "latency_us", "useful_macs", "energy_pj", "limit_energy_pj", "dram_bytes")
        self.of = {name: np.add.reduceat(table[name].to_numpy(), self.begin) for name in names}
        self.fits: npt.NDArray[np.bool_] = np.logical_and.reduceat(table["fits"].to_numpy(), self.begin)
        self._limits = table.select(["limit_cycles", "limit_binds"])
        self._end = np.append(self.begin, len(points))
        self.designs = table.select(["point", *HARDWARE, "area_mm2"])
        self.cycles = np.asarray(sum(self.of[name] for name in NETWORK_CYCLES))

    def costs(self, objective: Objective) -> npt.NDArray[np.float64]:
        """Return one objective of all designs: that of `DesignPoint`."""
        latency_us = self.cycles / self.designs["clock_mhz"].to_numpy()[self.begin]
        energy_nj = self.of["energy_pj"] / 1e3
        return np.asarray(
            {
                "latency_us": latency_us,
                "energy_nj": energy_nj,
                "area_mm2": self.designs["area_mm2"].to_numpy()[self.begin],
                "energy_delay_nj_us": energy_nj * latency_us,
            }[objective]
        )

    def point(self, place: int) -> DesignPoint:
        row = self.designs.slice(int(self.begin[place]), 1).to_pylist()[0]
        design = Design.from_hardware(row)
        array = design.array
        cycles = float(self.cycles[place])
        macs = float(self.of["useful_macs"][place])
        return DesignPoint(
            point=row["point"],
            design=design,
            cycles=cycles,
            latency_us=cycles / array.clock_mhz,
            efficiency=macs / (cycles * array.num_pes),
            energy_nj=float(self.of["energy_pj"][place]) / 1e3,
            area_mm2=row["area_mm2"],
            fits=bool(self.fits[place]),
            limit_energy_nj=float(self.of["limit_energy_pj"][place]) / 1e3,
            **self._limit(place, array),
        )

    def _limit(self, place: int, array: ArrayConfig) -> dict[str, Any]:
        """Return the least cycles of a design and what sets them; the DRAM loads a layer while another one runs."""
        begin, end = self._end[place : place + 2].tolist()
        parts: dict[str, float] = {}
        for row in self._limits.slice(begin, end - begin).to_pylist():
            parts[row["limit_binds"]] = parts.get(row["limit_binds"], 0.0) + row["limit_cycles"]
        cycles = sum(parts.values())
        loaded = float(dram_cycles(self.of["dram_bytes"][place], array))
        if loaded > cycles:
            return {"limit_cycles": loaded, "limit_binds": BINDING["dram"]}
        return {"limit_cycles": cycles, "limit_binds": max(parts, key=lambda name: parts[name])}
