"""Co-design of a network's compression and the array that runs it: the one place that knows both sides."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from designs.design import Design, LayerCompression
from designs.sampling import Sampling, sample
from designs.search import Search
from designs.space import Constraints, Range, Space
from designs.sweeps import read_sweep, sweep
from designs.totals import network_totals
from designs.workload import Workload

if TYPE_CHECKING:
    from designs.codesign_search import codesign
    from designs.compression_choices import TrainedNetwork
    from designs.fleets import fleet

__all__ = [
    "Constraints",
    "Design",
    "LayerCompression",
    "Range",
    "Sampling",
    "Search",
    "Space",
    "TrainedNetwork",
    "Workload",
    "codesign",
    "fleet",
    "network_totals",
    "read_sweep",
    "sample",
    "sweep",
]

_NEEDS_TORCH = {
    "TrainedNetwork": "designs.compression_choices",
    "codesign": "designs.codesign_search",
    "fleet": "designs.fleets",
}


def __getattr__(name: str) -> Any:
    """What needs PyTorch is imported when it is asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
