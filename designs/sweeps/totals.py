"""What a whole network costs on each design of a sweep: its layers added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from designs.design import ARRAY_FIELDS, Design
from designs.pareto import non_dominated
from sim import ArrayConfig

Objective = Literal["latency_us", "energy_nj", "area_mm2", "energy_delay_nj_us"]


@dataclass(frozen=True)
class DesignPoint:
    """What a whole network costs on one design, a mean over inputs, its layers run one after the other.

    point   number of the design in its sample
    fits    whether every layer fits the SRAMs whole
    Figures are not numbers where the design does not run every layer.
    """

    point: int
    design: Design
    cycles: float
    latency_us: float
    utilisation: float
    energy_nj: float
    area_mm2: float
    fits: bool

    @property
    def num_pes(self) -> int:
        return self.design.array.num_pes

    @property
    def queue_slots(self) -> int:
        return self.design.array.queue_slots

    @property
    def line_bits(self) -> int:
        return self.design.array.line_bits

    @property
    def runs(self) -> bool:
        """Whether the design runs every layer."""
        return not np.isnan(self.cycles)

    @property
    def energy_delay_nj_us(self) -> float:
        """Energy-delay product."""
        return self.energy_nj * self.latency_us

    def cost(self, objective: Objective) -> float:
        """One of what a design point may be judged by."""
        return float(getattr(self, objective))

    @property
    def costs(self) -> tuple[float, float, float]:
        """What a design point is judged by, less is better: latency, energy, area."""
        return self.latency_us, self.energy_nj, self.area_mm2


def network_totals(table: pa.Table) -> list[DesignPoint]:
    """Add a sweep's layers up, design by design, in the order of the table.

    Utilisation is useful multiply-accumulates per PE and cycle, what a layer's result calls `efficiency`.
    """
    if not table.num_rows:
        return []
    sums = _Sums(table)
    return [sums.point(place) for place in range(len(sums.begin))]


def best_point(table: pa.Table) -> DesignPoint | None:
    """The design of the least energy-delay product among those that run every layer; None if there is none."""
    if not table.num_rows:
        return None
    sums = _Sums(table)
    products = sums.of["energy_pj"] * sums.of["latency_us"]
    return None if np.isnan(products).all() else sums.point(int(np.nanargmin(products)))


def front_of(points: Sequence[DesignPoint], objectives: Sequence[Objective]) -> list[DesignPoint]:
    """The points that no other one beats in these, from the least of the first objective on."""
    if not points:
        return []
    costs = np.array([[point.cost(name) for name in objectives] for point in points])
    kept = [point for point, best in zip(points, non_dominated(costs), strict=True) if best]
    return sorted(kept, key=lambda point: [point.cost(name) for name in objectives])


class _Sums:
    """Sums over the layers of each design, float64 [designs]; there are rows, and those of a design lie together."""

    def __init__(self, table: pa.Table) -> None:
        points = table["point"].to_numpy()
        self.begin: npt.NDArray[Any] = np.flatnonzero(np.diff(points, prepend=-1))
        names = ("cycles", "latency_us", "useful_macs", "energy_pj")
        self.of = {name: np.add.reduceat(table[name].to_numpy(), self.begin) for name in names}
        self.fits: npt.NDArray[np.bool_] = np.logical_and.reduceat(table["fits"].to_numpy(), self.begin)
        self.designs = table.select(["point", *ARRAY_FIELDS, "row_assignment", "area_mm2"])

    def point(self, place: int) -> DesignPoint:
        row = self.designs.slice(int(self.begin[place]), 1).to_pylist()[0]
        array = ArrayConfig(**{name: row[name] for name in ARRAY_FIELDS})
        cycles, macs = float(self.of["cycles"][place]), float(self.of["useful_macs"][place])
        return DesignPoint(
            point=row["point"],
            design=Design(array, row["row_assignment"]),
            cycles=cycles,
            latency_us=cycles / array.clock_mhz,
            utilisation=macs / (cycles * array.num_pes),
            energy_nj=float(self.of["energy_pj"][place]) / 1e3,
            area_mm2=row["area_mm2"],
            fits=bool(self.fits[place]),
        )
