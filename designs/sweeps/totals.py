"""Costs of a whole network on each design of a sweep: the sums over its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import HARDWARE, Design
from designs.sweeps.evaluation import NETWORK_CYCLES
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
    """

    point: int
    design: Design
    cycles: float
    latency_us: float
    efficiency: float
    energy_nj: float
    area_mm2: float
    fits: bool

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


class _Sums:
    """Sums over the layers of each design, float64 [designs], of a table with rows, sorted by design."""

    def __init__(self, table: pa.Table) -> None:
        points = table["point"].to_numpy()
        self.begin: npt.NDArray[Any] = np.flatnonzero(np.diff(points, prepend=-1))
        names = (*NETWORK_CYCLES, "latency_us", "useful_macs", "energy_pj")
        self.of = {name: np.add.reduceat(table[name].to_numpy(), self.begin) for name in names}
        self.fits: npt.NDArray[np.bool_] = np.logical_and.reduceat(table["fits"].to_numpy(), self.begin)
        self.designs = table.select(["point", *HARDWARE, "area_mm2"])

    def point(self, place: int) -> DesignPoint:
        row = self.designs.slice(int(self.begin[place]), 1).to_pylist()[0]
        design = Design.from_hardware(row)
        array = design.array
        cycles = float(sum(self.of[name][place] for name in NETWORK_CYCLES))
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
        )
