"""State of the array after each cycle, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.array import prepare
from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint
from sim.memory import blocks_of
from sim.packing import PackedLayer
from traces import CompressedLayer, InputError
from traces.arrays import Integers32, Integers64


@dataclass(frozen=True, eq=False)
class Timeline:
    """State of every block after clock edge t = 0, 1, ..., cycles - 1.

    Attributes
    ----------
    columns : numpy.ndarray
        Columns in broadcast order, int32 [broadcasts]; the bias is column `layer.columns`.
    broadcast : numpy.ndarray
        Place in `columns` of the column that entered the queues, or -1, int64 [cycles].
    queue_columns : numpy.ndarray
        Columns in each queue, int64 [cycles, num_pes].
    pointer_read : numpy.ndarray
        Place in `columns` of the column in each pointer read, or -1, int64 [cycles, num_pes].
    entries_sent : numpy.ndarray
        Entries that have left each pointer read so far, int64 [cycles, num_pes].
    entries_written : numpy.ndarray
        Entries that have passed each activation write so far, int64 [cycles, num_pes]; padding counts, though it
        writes nothing.
    """

    columns: Integers32
    broadcast: Integers64
    queue_columns: Integers64
    pointer_read: Integers64
    entries_sent: Integers64
    entries_written: Integers64


def timeline(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> Timeline:
    """Compute the state of the array after each cycle; it takes 32 bytes per cycle and PE.

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
    Timeline
        State after each cycle.

    Raises
    ------
    InputError
        As `simulate` does, and if the layer runs in blocks.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config, number_format)
    check_runs_at_once(packed, config)
    from sim.engine import Run

    run = Run(packed, numbers)
    timing = run.timing(config)
    broadcast_edges, pop_edges = run.edges(timing)
    cycles, num_pes = timing.cycles(config), config.num_pes
    edges = np.arange(cycles)
    entered = np.searchsorted(broadcast_edges, edges, side="right")
    broadcast = np.full(cycles, -1)
    in_time = broadcast_edges[broadcast_edges < cycles]  # columns without entries may arrive after the layer's end
    broadcast[in_time] = np.arange(in_time.size)

    queue_columns = np.empty((cycles, num_pes), dtype=np.int64)
    pointer_read = np.full((cycles, num_pes), -1)
    entries_sent = np.zeros((cycles, num_pes), dtype=np.int64)
    for pe in range(num_pes):
        pops = pop_edges[:, pe]
        entries = packed.entry_counts[run.columns, pe].astype(np.int64)
        taken = np.searchsorted(pops, edges, side="right")
        queue_columns[:, pe] = entered - taken
        started = taken > 0
        current = taken[started] - 1
        age = edges[started] - pops[current]
        pointer_read[started, pe] = np.where(age < np.maximum(entries[current], 1), current, -1)
        before = np.concatenate([[0], np.cumsum(entries)])
        entries_sent[started, pe] = before[current] + np.minimum(age, entries[current])
    entries_written = np.zeros_like(entries_sent)
    entries_written[config.pipeline_cycles :] = entries_sent[: -config.pipeline_cycles]
    return Timeline(run.columns, broadcast, queue_columns, pointer_read, entries_sent, entries_written)


def check_runs_at_once(packed: PackedLayer, config: ArrayConfig) -> None:
    """Raise InputError if the layer is run in blocks, or waits for DRAM."""
    blocks = blocks_of(packed, config)
    if len(blocks) > 1 or blocks[0].load_bytes:
        raise InputError(
            f"layer {packed.layer.name!r} runs in {len(blocks)} block(s) loaded from DRAM; the state in each cycle is "
            f"known for a layer that stays on the array; use memory_mode='unlimited'"
        )
