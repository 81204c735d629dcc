"""Co-design of a network's compression and the array that runs it: the one place that knows both sides."""

from designs.design import Design, LayerCompression
from designs.sampling import Sampling, sample
from designs.space import Constraints, Range, Space
from designs.sweeps import read_sweep, sweep
from designs.totals import network_totals
from designs.workload import Workload

__all__ = [
    "Constraints",
    "Design",
    "LayerCompression",
    "Range",
    "Sampling",
    "Space",
    "Workload",
    "network_totals",
    "read_sweep",
    "sample",
    "sweep",
]
