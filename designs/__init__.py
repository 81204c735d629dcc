"""Co-design of a network's compression and its array: sweeps, searches, fleets and advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.lazy_names import lazy_names

if TYPE_CHECKING:
    from designs.breakeven import Breakeven, breakeven_rows, compare_at_density
    from designs.codesigns.array_cost import ArrayCost
    from designs.codesigns.comparison import compare
    from designs.codesigns.compressions import CompressionAnalysis, analyse_compression
    from designs.codesigns.fleet import Target, fleet, read_fleet
    from designs.codesigns.folder import read_study
    from designs.codesigns.layer_counts import CountsGrid, LayerCounts, LayerCountsStore
    from designs.codesigns.loop import codesign
    from designs.codesigns.search import Search
    from designs.codesigns.trained_network import TrainedNetwork
    from designs.codesigns.verification import Distillation
    from designs.design import Design
    from designs.space import Constraints, Range, Space
    from designs.sweeps.advice import Advice, advise
    from designs.sweeps.dask_workers import Cluster
    from designs.sweeps.folder import SweepReader
    from designs.sweeps.network_run import NetworkRun, run_container
    from designs.sweeps.sampling import Sample, Sampling, sample
    from designs.sweeps.sweep import read_sweep, run_sweep, sweep
    from designs.sweeps.totals import DesignPoint, front_of, network_totals
    from designs.sweeps.workload import Workload, WorkloadLayer
    from designs.sweeps.workload_source import open_workload

__all__ = [
    "Advice",
    "ArrayCost",
    "Breakeven",
    "Cluster",
    "CompressionAnalysis",
    "Constraints",
    "CountsGrid",
    "Design",
    "DesignPoint",
    "Distillation",
    "LayerCounts",
    "LayerCountsStore",
    "NetworkRun",
    "Range",
    "Sample",
    "Sampling",
    "Search",
    "Space",
    "SweepReader",
    "Target",
    "TrainedNetwork",
    "Workload",
    "WorkloadLayer",
    "advise",
    "analyse_compression",
    "breakeven_rows",
    "codesign",
    "compare",
    "compare_at_density",
    "fleet",
    "front_of",
    "network_totals",
    "open_workload",
    "read_fleet",
    "read_study",
    "read_sweep",
    "run_container",
    "run_sweep",
    "sample",
    "sweep",
]

_NAMES = {
    "designs.breakeven": ("Breakeven", "breakeven_rows", "compare_at_density"),
    "designs.codesigns.array_cost": ("ArrayCost",),
    "designs.codesigns.comparison": ("compare",),
    "designs.codesigns.compressions": ("CompressionAnalysis", "analyse_compression"),
    "designs.codesigns.fleet": ("Target", "fleet", "read_fleet"),
    "designs.codesigns.folder": ("read_study",),
    "designs.codesigns.layer_counts": ("CountsGrid", "LayerCounts", "LayerCountsStore"),
    "designs.codesigns.loop": ("codesign",),
    "designs.codesigns.search": ("Search",),
    "designs.codesigns.trained_network": ("TrainedNetwork",),
    "designs.codesigns.verification": ("Distillation",),
    "designs.design": ("Design",),
    "designs.space": ("Constraints", "Range", "Space"),
    "designs.sweeps.advice": ("Advice", "advise"),
    "designs.sweeps.dask_workers": ("Cluster",),
    "designs.sweeps.folder": ("SweepReader",),
    "designs.sweeps.network_run": ("NetworkRun", "run_container"),
    "designs.sweeps.sampling": ("Sample", "Sampling", "sample"),
    "designs.sweeps.sweep": ("read_sweep", "run_sweep", "sweep"),
    "designs.sweeps.totals": ("DesignPoint", "front_of", "network_totals"),
    "designs.sweeps.workload": ("Workload", "WorkloadLayer"),
    "designs.sweeps.workload_source": ("open_workload",),
}
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
