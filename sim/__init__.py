"""A cycle-level simulator of an EIE-like array of processing elements (Han et al., ISCA 2016)."""

from sim.array import count, count_all, simulate
from sim.batch import BatchResult, BatchRun, simulate_batch
from sim.config import ArrayConfig
from sim.cost.energy import Energy
from sim.fixed_point import FixedPoint
from sim.memory import DoesNotFitWarning
from sim.network import simulate_network
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult

__all__ = [
    "ArrayConfig",
    "BatchResult",
    "BatchRun",
    "Counts",
    "DoesNotFitWarning",
    "Energy",
    "FixedPoint",
    "PackedLayer",
    "SimulationResult",
    "count",
    "count_all",
    "pack",
    "simulate",
    "simulate_batch",
    "simulate_network",
]
