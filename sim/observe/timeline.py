"""The state of the array after each cycle, from the closed form."""

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


@dataclass(frozen=True, eq=False)
class Timeline:
    """What every block holds after clock edge t = 0, 1, ..., cycles - 1.

    broadcast        int64 [cycles], place in broadcast order of the column that entered the queues, or -1
    columns          int32 [broadcasts], which column that is; the bias is column `layer.columns`
    queue_columns    int64 [cycles, num_pes], columns in each queue
    pointer_read     int64 [cycles, num_pes], place in broadcast order of the column in the stage, or -1
    entries_sent     int64 [cycles, num_pes], entries that have left the pointer read so far
    entries_written  int64 [cycles, num_pes], entries that have gone through the activation write so far
                     (padding, which writes nothing, included)
    """

    columns: npt.NDArray[np.int32]
    broadcast: npt.NDArray[np.int64]
    queue_columns: npt.NDArray[np.int64]
    pointer_read: npt.NDArray[np.int64]
    entries_sent: npt.NDArray[np.int64]
    entries_written: npt.NDArray[np.int64]


def timeline(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> Timeline:
    """The state of the array after each cycle, of what `simulate` runs. Takes 32 bytes a cycle and PE.

    Raises InputError as `simulate` does, and if the layer is run in blocks: each of them has a timeline of its own.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config, number_format)
    check_runs_at_once(packed, config)
    from sim.engine import PIPELINE_CYCLES, Run

    run = Run(packed, numbers)
    timing = run.timing(config.queue_depth)
    broadcast_edges, pop_edges = run.edges(timing)
    cycles, num_pes = timing.cycles, config.num_pes
    edges = np.arange(cycles)
    entered = np.searchsorted(broadcast_edges, edges, side="right")
    broadcast = np.full(cycles, -1)
    broadcast[broadcast_edges] = np.arange(run.columns.size)

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
    entries_written[PIPELINE_CYCLES:] = entries_sent[:-PIPELINE_CYCLES]
    return Timeline(run.columns, broadcast, queue_columns, pointer_read, entries_sent, entries_written)


def check_runs_at_once(packed: PackedLayer, config: ArrayConfig) -> None:
    """Raise InputError if the layer is run in blocks, or waits for DRAM."""
    blocks = blocks_of(packed, config)
    if len(blocks) > 1 or blocks[0].load_bytes:
        raise InputError(
            f"layer {packed.layer.name!r} runs in {len(blocks)} block(s) loaded from DRAM; what happens in "
            f"each cycle can be shown of a layer that stays on the array; look at it with memory_mode='unlimited'"
        )
