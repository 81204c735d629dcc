"""Co-design of a network's compression and the array that runs it: the one place that knows both sides."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from designs.codesigns.search import Search
from designs.design import Design, LayerCompression
from designs.space import Constraints, Range, Space
from designs.sweeps.sampling import Sampling, sample
from designs.sweeps.sweep import read_sweep, sweep
from designs.sweeps.totals import network_totals
from designs.sweeps.workload import Workload

if TYPE_CHECKING:
    from designs.codesigns.compressions import TrainedNetwork
    from designs.codesigns.fleet import fleet
    from designs.codesigns.loop import codesign

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
    "TrainedNetwork": "designs.codesigns.compressions",
    "codesign": "designs.codesigns.loop",
    "fleet": "designs.codesigns.fleet",
}


def __getattr__(name: str) -> Any:
    """What needs PyTorch is imported when it is asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
