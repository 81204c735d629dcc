"""Load of the array over time: a few numbers per cycle for any number of PEs, and the file that holds them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.array import prepare
from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint
from sim.observe.timeline import check_runs_at_once
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.arrays import Booleans, Floats64, Integers, Integers32, Integers64, Numbers
from traces.files.npz import read_npz, write_npz


@dataclass(frozen=True, eq=False)
class TimelineSummary:
    """Load of the whole array over time; the arrays are [cycles], and cycle t ends with clock edge t.

    Attributes
    ----------
    name : str
        Name of the layer.
    num_pes, queue_depth : int
        PEs of the array, and columns that fill a queue.
    clock_mhz : float
        Clock frequency.
    busy_pes : numpy.ndarray
        PEs whose pointer read has entries left to send out after edge t, int32. The sum is the processed entries.
    queue_columns_mean : numpy.ndarray
        Columns in a queue after edge t, mean of all PEs, float64.
    queue_columns_max : numpy.ndarray
        Columns in the fullest queue after edge t, int32.
    full_queues : numpy.ndarray
        Queues that are full after edge t, int32.
    broadcast : numpy.ndarray
        True if a column enters all queues with edge t, bool.
    blocked : numpy.ndarray
        True if the scan waits for a slot of a queue in cycle t, bool. The sum is the blocked cycles.
    """

    name: str
    num_pes: int
    queue_depth: int
    clock_mhz: float
    busy_pes: Integers32
    queue_columns_mean: Floats64
    queue_columns_max: Integers32
    full_queues: Integers32
    broadcast: Booleans
    blocked: Booleans

    @property
    def cycles(self) -> int:
        """Cycles of the layer."""
        return len(self.busy_pes)

    @property
    def latency_us(self) -> float:
        """Latency in microseconds."""
        return self.cycles / self.clock_mhz

    def bins(self, most: int) -> tuple[Integers64, dict[str, Floats64]]:
        """Return the edges of at most `most` bins, int64 [bins + 1], and the means of the arrays, float64 [bins].

        The means are by the names in BINNED. Bin i begins at edges[i] and ends before edges[i + 1]. All bins but the
        last one have the same whole number of cycles.
        """
        edges = np.append(np.arange(0, self.cycles, -(-self.cycles // most)), self.cycles)
        sums = {name: np.add.reduceat(getattr(self, name).astype(np.float64), edges[:-1]) for name in BINNED}
        return edges, {name: values / np.diff(edges) for name, values in sums.items()}


def timeline_summary(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> TimelineSummary:
    """Compute the load of the array over time, in closed form.

    Parameters
    ----------
    layer : CompressedLayer or PackedLayer
        Layer to run.
    activations : array_like
        Input, float32 [columns], finite.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.
    number_format : FixedPoint, optional
        Format of an array in fixed point. By default it is fitted to this layer and this input.

    Returns
    -------
    TimelineSummary
        Load in each cycle.

    Raises
    ------
    InputError
        As `simulate` does, and if the layer runs in blocks.

    Notes
    -----
    With b[j] and s[k, j], the edges at which column j enters the queues and PE k takes it out, n[k, j] its entries
    in PE k, g[j] the bubble cycles before it, D the depth of a queue and R = broadcast_cycles - 1:

        PE k is busy                                       from s[k, j] to s[k, j] + n[k, j]
        column j is in PE k's queue                        from b[j] to s[k, j]
        column j is in some queue                          from b[j] to max_k s[k, j]
        PE k's queue is full, and column j is the oldest   from b[j+D-1] to s[k, j], if that is later
        the broadcast of column j is blocked               from b[j-1] + 1 + g[j] - R to b[j] - R

    So every array counts open intervals. This takes memory for the cycles, and once for every column and PE.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config, number_format)
    check_runs_at_once(packed, config)
    from sim.engine import Run

    run = Run(packed, numbers)
    timing = run.timing(config)
    broadcast_edges, pop_edges = run.edges(timing)
    cycles, num_pes, depth = timing.cycles(config), config.num_pes, config.queue_depth
    in_each_pe = np.broadcast_to(broadcast_edges[:, None], pop_edges.shape)
    filling = in_each_pe[depth - 1 :]
    sent_edges = broadcast_edges - timing.wire_registers
    ready = np.concatenate([[0], sent_edges[:-1]])[: run.columns.size] + 1 + run.bubbles
    return TimelineSummary(
        name=packed.layer.name,
        num_pes=num_pes,
        queue_depth=depth,
        clock_mhz=config.clock_mhz,
        busy_pes=_num_open(pop_edges, pop_edges + packed.entry_counts[run.columns], cycles).astype(np.int32),
        queue_columns_mean=_num_open(in_each_pe, pop_edges, cycles) / num_pes,
        queue_columns_max=_num_open(broadcast_edges, pop_edges.max(axis=1), cycles).astype(np.int32),
        full_queues=_num_open(filling, np.maximum(filling, pop_edges[: len(filling)]), cycles).astype(np.int32),
        broadcast=np.bincount(broadcast_edges, minlength=cycles)[:cycles].astype(np.bool_),
        blocked=_num_open(ready, sent_edges, cycles).astype(np.bool_),
    )


def _num_open(begin: Integers, end: Integers, cycles: int) -> Integers64:
    """Count the intervals, from `begin` to before `end`, that are open after each edge, int64 [cycles].

    Edges beyond the layer's last one do not count; columns without entries may arrive and be taken there.
    """
    steps = np.zeros(cycles + 1, dtype=np.int64)
    for edges, sign in ((begin, 1), (end, -1)):
        steps += sign * np.bincount(np.minimum(edges, cycles).ravel(), minlength=cycles + 1)
    opened: Integers64 = np.cumsum(steps[:cycles])
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
    """Write a file that `read_timeline` reads; it is complete or absent.

    Parameters
    ----------
    path : str or os.PathLike
        `.npz` file to write: one array for each field.
    summary : TimelineSummary
        Load in each cycle.
    """
    write_npz(path, {field: np.asarray(getattr(summary, field)) for field in _FIELDS})


def read_timeline(path: str | os.PathLike[str]) -> TimelineSummary:
    """Read a file that `write_timeline` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        `.npz` file.

    Returns
    -------
    TimelineSummary
        Load in each cycle.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds no timeline of an array.
    """
    arrays = read_npz(path)
    missing = [field for field in _FIELDS if field not in arrays]
    if missing:
        raise InputError(
            f"{path}: a timeline file must hold the arrays {', '.join(_FIELDS)}; {', '.join(missing)} missing; write "
            f"it with sim.write_timeline"
        )
    for field, kind in _SCALARS.items():
        if arrays[field].shape != () or arrays[field].dtype.kind != _DTYPE_KINDS[kind]:
            raise InputError(f"{path}: {field} must be {kind}; found {_described(arrays[field])}")
    for field, dtype in _ARRAYS.items():
        cycles = arrays["busy_pes"].size
        if arrays[field].shape != (cycles,) or arrays[field].dtype != dtype or cycles == 0:
            raise InputError(
                f"{path}: {field} must be {np.dtype(dtype)} [cycles], as many as in busy_pes and at least one; "
                f"found {_described(arrays[field])}"
            )
    name, num_pes, queue_depth, clock_mhz = (arrays[field].item() for field in _SCALARS)
    if not name or not name.isprintable():
        raise InputError(f"{path}: name must be printable text, not empty; found {name!r}")
    ranges: dict[str, tuple[float, float]] = {
        "num_pes": (1, 65_536),  # as in ArrayConfig
        "queue_depth": (1, 1_048_575),
        "clock_mhz": (0.001, 1_000_000),
        "busy_pes": (0, num_pes),
        "queue_columns_mean": (0, queue_depth),
        "queue_columns_max": (0, queue_depth),
        "full_queues": (0, num_pes),
    }
    for field, (lowest, highest) in ranges.items():
        low, high = arrays[field].min(), arrays[field].max()
        if not (lowest <= low and high <= highest):  # NaN is out of range, too
            raise InputError(f"{path}: {field} must be {lowest:,} to {highest:,}; found {low:,} to {high:,}")
    return TimelineSummary(name, num_pes, queue_depth, clock_mhz, **{field: arrays[field] for field in _ARRAYS})


def _described(array: Numbers) -> str:
    return f"{array.dtype} {list(array.shape)}"
