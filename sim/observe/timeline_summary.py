"""How busy the array is over time: a few numbers a cycle, whatever the number of PEs, and the file that keeps them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.array import prepare
from sim.config import ArrayConfig
from sim.observe.timeline import check_runs_at_once
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.files.npz import read_npz, write_npz

Edges = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class TimelineSummary:
    """What the array as a whole does over time; the arrays are [cycles], cycle t being the one that ends with edge t.

    name                what the layer is called
    num_pes, queue_depth, clock_mhz   of the array; `queue_depth` columns fill a queue

    busy_pes            int32, PEs whose pointer read holds, after edge t, a column with entries left to send out;
                        they add up to all entries gone through
    queue_columns_mean  float64, columns in a queue after edge t, mean of all PEs
    queue_columns_max   int32, columns in the fullest queue after edge t
    full_queues         int32, queues that are full after edge t
    broadcast           bool, a column enters all queues with edge t
    blocked             bool, in cycle t the scan has a column, and waits with it for a full queue; they add up to
                        the blocked cycles
    """

    name: str
    num_pes: int
    queue_depth: int
    clock_mhz: float
    busy_pes: npt.NDArray[np.int32]
    queue_columns_mean: npt.NDArray[np.float64]
    queue_columns_max: npt.NDArray[np.int32]
    full_queues: npt.NDArray[np.int32]
    broadcast: npt.NDArray[np.bool_]
    blocked: npt.NDArray[np.bool_]

    @property
    def cycles(self) -> int:
        """Cycles of the layer."""
        return len(self.busy_pes)

    @property
    def latency_us(self) -> float:
        return self.cycles / self.clock_mhz

    def bins(self, most: int) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float64]]]:
        """Edges of at most so many bins, int64 [bins + 1], and the mean of each bin, float64 [bins] by name of BINNED.

        Bin i is from edges[i] on, until edges[i + 1]; bins are whole cycles wide, all the same but the last one.
        """
        edges = np.append(np.arange(0, self.cycles, -(-self.cycles // most)), self.cycles)
        sums = {name: np.add.reduceat(getattr(self, name).astype(np.float64), edges[:-1]) for name in BINNED}
        return edges, {name: values / np.diff(edges) for name, values in sums.items()}


def timeline_summary(
    layer: CompressedLayer | PackedLayer, activations: npt.ArrayLike, config: ArrayConfig | None = None
) -> TimelineSummary:
    """What the array does over time, from the closed form.

    With b[j] and s[k, j], the edges at which column j enters the queues and PE k takes it out, n[k, j] its entries
    in PE k, g[j] the bubble cycles before it and D the depth of a queue:

        PE k is busy                                   from s[k, j] on, until s[k, j] + n[k, j]
        column j is in PE k's queue                    from b[j] on, until s[k, j]
        it is in some queue, the last one's            from b[j] on, until max_k s[k, j]
        PE k's queue is full, column j its oldest      from b[j+D-1] on, until s[k, j], if that is later
        the broadcast of column j is blocked           from b[j-1] + 1 + g[j] on, until b[j]

    so every array is a count of intervals, and takes memory for the cycles and, once, for every column and PE.
    Raises InputError as `simulate` does, and if the layer is run in blocks.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config)
    check_runs_at_once(packed, config)
    from sim.engine import Run

    run = Run(packed, numbers)
    timing = run.timing(config.queue_depth)
    broadcast_edges, pop_edges = run.edges(timing)
    cycles, num_pes, depth = timing.cycles, config.num_pes, config.queue_depth
    in_each_pe = np.broadcast_to(broadcast_edges[:, None], pop_edges.shape)
    filling = in_each_pe[depth - 1 :]
    ready = np.concatenate([[0], broadcast_edges[:-1]])[: run.columns.size] + 1 + run.bubbles
    return TimelineSummary(
        name=packed.layer.name,
        num_pes=num_pes,
        queue_depth=depth,
        clock_mhz=config.clock_mhz,
        busy_pes=_num_open(pop_edges, pop_edges + packed.entry_counts[run.columns], cycles).astype(np.int32),
        queue_columns_mean=_num_open(in_each_pe, pop_edges, cycles) / num_pes,
        queue_columns_max=_num_open(broadcast_edges, pop_edges.max(axis=1), cycles).astype(np.int32),
        full_queues=_num_open(filling, np.maximum(filling, pop_edges[: len(filling)]), cycles).astype(np.int32),
        broadcast=np.bincount(broadcast_edges, minlength=cycles).astype(np.bool_),
        blocked=_num_open(ready, broadcast_edges, cycles).astype(np.bool_),
    )


def _num_open(begin: Edges, end: Edges, cycles: int) -> npt.NDArray[np.int64]:
    """How many of the intervals, each from an edge on until another, are open after each edge, int64 [cycles].

    What lies beyond the layer's last edge does not count: columns without entries may be taken after it.
    """
    steps = np.zeros(cycles + 1, dtype=np.int64)
    for edges, sign in ((begin, 1), (end, -1)):
        steps += sign * np.bincount(np.minimum(edges, cycles).ravel(), minlength=cycles + 1)
    opened: npt.NDArray[np.int64] = np.cumsum(steps[:cycles])
    return opened


_SCALARS = {"name": "text", "num_pes": "a whole number", "queue_depth": "a whole number", "clock_mhz": "a number"}
_DTYPE_KINDS = {"text": "U", "a whole number": "i", "a number": "f"}
_ARRAYS = {
    "busy_pes": np.int32,
    "queue_columns_mean": np.float64,
    "queue_columns_max": np.int32,
    "full_queues": np.int32,
    "broadcast": np.bool_,
    "blocked": np.bool_,
}
BINNED = tuple(_ARRAYS)
_FIELDS = (*_SCALARS, *_ARRAYS)


def write_timeline(path: str | os.PathLike[str], summary: TimelineSummary) -> None:
    """Write an `.npz` file that `read_timeline` reads back: one array for each field. It is whole or absent."""
    write_npz(path, {field: np.asarray(getattr(summary, field)) for field in _FIELDS})


def read_timeline(path: str | os.PathLike[str]) -> TimelineSummary:
    """Read a file of `write_timeline`. Raises InputError if it is missing, damaged, or no timeline of an array."""
    found = read_npz(path)
    missing = [field for field in _FIELDS if field not in found]
    if missing:
        raise InputError(
            f"{path}: a timeline file must hold the arrays {', '.join(_FIELDS)}; {', '.join(missing)} missing; make "
            f"it with sim.observe.timeline_summary.write_timeline"
        )
    for field, what in _SCALARS.items():
        if found[field].shape != () or found[field].dtype.kind != _DTYPE_KINDS[what]:
            raise InputError(f"{path}: {field} must be {what}; found {_described(found[field])}")
    for field, dtype in _ARRAYS.items():
        cycles = found["busy_pes"].size
        if found[field].shape != (cycles,) or found[field].dtype != dtype or cycles == 0:
            raise InputError(
                f"{path}: {field} must be {np.dtype(dtype)} [cycles], as many as in busy_pes and at least one; "
                f"found {_described(found[field])}"
            )
    name, num_pes, queue_depth, clock_mhz = (found[field].item() for field in _SCALARS)
    if not name or not name.isprintable():
        raise InputError(f"{path}: name must be printable text, not empty; found {name!r}")
    ranges: dict[str, tuple[float, float]] = {
        "num_pes": (1, 65_536),  # as ArrayConfig has it
        "queue_depth": (1, 1_048_575),
        "clock_mhz": (0.001, 1_000_000),
        "busy_pes": (0, num_pes),
        "queue_columns_mean": (0, queue_depth),
        "queue_columns_max": (0, queue_depth),
        "full_queues": (0, num_pes),
    }
    for field, (lowest, highest) in ranges.items():
        low, high = found[field].min(), found[field].max()
        if not (lowest <= low and high <= highest):  # so that NaN is out of range, too
            raise InputError(f"{path}: {field} must be {lowest:,} to {highest:,}; found {low:,} to {high:,}")
    return TimelineSummary(name, num_pes, queue_depth, clock_mhz, **{field: found[field] for field in _ARRAYS})


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
