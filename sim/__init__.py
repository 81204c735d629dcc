"""A cycle-level simulator of an EIE-like array of processing elements (Han et al., ISCA 2016)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sim.array import count, count_all, simulate
from sim.batch import BatchResult, BatchRun, CountsPerInput, simulate_batch
from sim.config import ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.energy import ENERGY_PRESETS, Energy
from sim.fixed_point import FixedPoint
from sim.memory import DoesNotFitWarning
from sim.network import LayerCosts, NetworkResult, simulate_network
from sim.observe.cycles import CYCLE_CLASSES, CycleBreakdown, cycle_breakdown
from sim.observe.timeline import Timeline, timeline
from sim.observe.timeline_summary import TimelineSummary, read_timeline, timeline_summary, write_timeline
from sim.packing import PackedLayer, pack
from sim.result import Counts, SimulationResult
from sim.row_assignment import (
    RowAssignment,
    assign_rows,
    rows_balanced_by_activity,
    rows_balanced_by_entries,
    rows_found_by_search,
)

if TYPE_CHECKING:
    from sim.observe.waveform import write_waveform
    from sim.recurrent import RecurrentResult, simulate_gru, simulate_lstm
    from sim.rtl.bench import simulate_rtl

__all__ = [
    "CYCLE_CLASSES",
    "ENERGY_PRESETS",
    "ArrayConfig",
    "BatchResult",
    "BatchRun",
    "Counts",
    "CountsPerInput",
    "CycleBreakdown",
    "DoesNotFitWarning",
    "Energy",
    "FixedPoint",
    "LayerCosts",
    "NetworkResult",
    "PackedLayer",
    "RecurrentResult",
    "RowAssignment",
    "SimulationResult",
    "Timeline",
    "TimelineSummary",
    "area_mm2",
    "assign_rows",
    "count",
    "count_all",
    "cycle_breakdown",
    "pack",
    "read_timeline",
    "rows_balanced_by_activity",
    "rows_balanced_by_entries",
    "rows_found_by_search",
    "simulate",
    "simulate_batch",
    "simulate_gru",
    "simulate_lstm",
    "simulate_network",
    "simulate_rtl",
    "timeline",
    "timeline_summary",
    "write_timeline",
    "write_waveform",
]

_MODULE_OF = {  # SciPy, pyvcd and the tools of the SystemVerilog array are behind them
    "RecurrentResult": "sim.recurrent",
    "simulate_gru": "sim.recurrent",
    "simulate_lstm": "sim.recurrent",
    "simulate_rtl": "sim.rtl.bench",
    "write_waveform": "sim.observe.waveform",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
