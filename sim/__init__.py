"""A cycle-level simulator of an EIE-like array of processing elements (Han et al., ISCA 2016)."""

from sim.array import count, count_all, simulate
from sim.config import ArrayConfig
from sim.energy import Energy
from sim.network import simulate_network
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult

__all__ = [
    "ArrayConfig",
    "Counts",
    "Energy",
    "PackedLayer",
    "SimulationResult",
    "count",
    "count_all",
    "pack",
    "simulate",
    "simulate_network",
]
