"""A cycle-level simulator of an EIE-like array of processing elements (Han et al., ISCA 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.lazy_names import lazy_names

if TYPE_CHECKING:
    from sim.array import count, count_all, simulate
    from sim.array_table import ArrayTable
    from sim.batch import BatchResult, BatchRun, CountsPerInput, simulate_batch
    from sim.config import ArrayConfig
    from sim.cost.area import area_mm2
    from sim.cost.constants import CONSTANTS, Constant, Constants, drawn_constants
    from sim.cost.energy import ENERGY_PRESETS, Energy
    from sim.cost.timing import ClockWarning, Timing, timed, timing
    from sim.decoding import Decoding, SequenceCosts
    from sim.dense_array import DenseArray, DenseRun, ProductShape, dense_area_mm2, run_dense
    from sim.dense_comparison import DenseComparison, DenseMatch, compare_with_dense, dense_match
    from sim.fixed_point import FixedPoint
    from sim.memory import DoesNotFitWarning
    from sim.network import LayerCosts, NetworkOutputs, NetworkResult, StateCosts, compute_network, simulate_network
    from sim.network_session import NetworkSession
    from sim.number_formats import fit_formats
    from sim.observe.cycles import CYCLE_CLASSES, CycleBreakdown, cycle_breakdown
    from sim.observe.timeline import Timeline, timeline
    from sim.observe.timeline_summary import TimelineSummary, read_timeline, timeline_summary, write_timeline
    from sim.observe.waveform import write_waveform
    from sim.packing import PackedLayer, pack
    from sim.recurrent import RecurrentResult, simulate_gru, simulate_lstm
    from sim.result import Counts, SimulationResult
    from sim.row_assignment import (
        RowAssignment,
        assign_rows,
        rows_balanced_by_activity,
        rows_balanced_by_entries,
        rows_found_by_search,
    )
    from sim.rtl.bench import simulate_rtl

__all__ = [
    "CONSTANTS",
    "CYCLE_CLASSES",
    "ENERGY_PRESETS",
    "ArrayConfig",
    "ArrayTable",
    "BatchResult",
    "BatchRun",
    "ClockWarning",
    "Constant",
    "Constants",
    "Counts",
    "CountsPerInput",
    "CycleBreakdown",
    "Decoding",
    "DenseArray",
    "DenseComparison",
    "DenseMatch",
    "DenseRun",
    "DoesNotFitWarning",
    "Energy",
    "FixedPoint",
    "LayerCosts",
    "NetworkOutputs",
    "NetworkResult",
    "NetworkSession",
    "PackedLayer",
    "ProductShape",
    "RecurrentResult",
    "RowAssignment",
    "SequenceCosts",
    "SimulationResult",
    "StateCosts",
    "Timeline",
    "TimelineSummary",
    "Timing",
    "area_mm2",
    "assign_rows",
    "compare_with_dense",
    "compute_network",
    "count",
    "count_all",
    "cycle_breakdown",
    "dense_area_mm2",
    "dense_match",
    "drawn_constants",
    "fit_formats",
    "pack",
    "read_timeline",
    "rows_balanced_by_activity",
    "rows_balanced_by_entries",
    "rows_found_by_search",
    "run_dense",
    "simulate",
    "simulate_batch",
    "simulate_gru",
    "simulate_lstm",
    "simulate_network",
    "simulate_rtl",
    "timed",
    "timeline",
    "timeline_summary",
    "timing",
    "write_timeline",
    "write_waveform",
]

_NAMES = {
    "sim.array": ("count", "count_all", "simulate"),
    "sim.array_table": ("ArrayTable",),
    "sim.batch": ("BatchResult", "BatchRun", "CountsPerInput", "simulate_batch"),
    "sim.config": ("ArrayConfig",),
    "sim.cost.area": ("area_mm2",),
    "sim.cost.constants": ("CONSTANTS", "Constant", "Constants", "drawn_constants"),
    "sim.cost.energy": ("ENERGY_PRESETS", "Energy"),
    "sim.cost.timing": ("ClockWarning", "Timing", "timed", "timing"),
    "sim.decoding": ("Decoding", "SequenceCosts"),
    "sim.dense_array": ("DenseArray", "DenseRun", "ProductShape", "dense_area_mm2", "run_dense"),
    "sim.dense_comparison": ("DenseComparison", "DenseMatch", "compare_with_dense", "dense_match"),
    "sim.fixed_point": ("FixedPoint",),
    "sim.memory": ("DoesNotFitWarning",),
    "sim.network": (
        "LayerCosts",
        "NetworkOutputs",
        "NetworkResult",
        "StateCosts",
        "compute_network",
        "simulate_network",
    ),
    "sim.network_session": ("NetworkSession",),
    "sim.number_formats": ("fit_formats",),
    "sim.observe.cycles": ("CYCLE_CLASSES", "CycleBreakdown", "cycle_breakdown"),
    "sim.observe.timeline": ("Timeline", "timeline"),
    "sim.observe.timeline_summary": ("TimelineSummary", "read_timeline", "timeline_summary", "write_timeline"),
    "sim.observe.waveform": ("write_waveform",),
    "sim.packing": ("PackedLayer", "pack"),
    "sim.recurrent": ("RecurrentResult", "simulate_gru", "simulate_lstm"),
    "sim.result": ("Counts", "SimulationResult"),
    "sim.row_assignment": (
        "RowAssignment",
        "assign_rows",
        "rows_balanced_by_activity",
        "rows_balanced_by_entries",
        "rows_found_by_search",
    ),
    "sim.rtl.bench": ("simulate_rtl",),
}
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
