"""Classes of cycles: the activity of each PE in each cycle of a layer, and the PEs that block the broadcast."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sim.array import prepare
from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint, Operands
from sim.memory import blocks_of, schedule
from sim.packing import PackedLayer
from sim.result import summed
from traces import CompressedLayer
from traces.arrays import Integers64


@dataclass(frozen=True, eq=False)
class CycleBreakdown:
    """Cycles of each PE by class; the six classes of CYCLE_CLASSES add up to the layer's cycles.

    Attributes
    ----------
    cycles : int
        Cycles of the layer.
    computing : numpy.ndarray
        Cycles in which the pointer read sends out an entry that is not padding, int64 [num_pes] as all classes.
    padding : numpy.ndarray
        Cycles in which it sends out a padding entry.
    empty_columns : numpy.ndarray
        Cycles in which it holds a column without entries.
    starved : numpy.ndarray
        Cycles in which it holds nothing, and a column is still to come. The first cycle, which loads a row, is one.
    drained : numpy.ndarray
        Cycles in which it holds nothing, and no column comes any more; the last entry may still be in the pipeline.
    waiting : numpy.ndarray
        Cycles in which no block runs, since one is loaded from DRAM or outputs are stored.
    blocked_by : numpy.ndarray
        Cycles in which the broadcast waited for this PE's queue, int64 [num_pes]. If it waited for several queues, the
        one that made room last counts, or the first of them.
    bubble_cycles : int
        Cycles in which the scan left a row and broadcast nothing.
    """

    cycles: int
    computing: Integers64
    padding: Integers64
    empty_columns: Integers64
    starved: Integers64
    drained: Integers64
    waiting: Integers64
    blocked_by: Integers64
    bubble_cycles: int

    @property
    def blocked_cycles(self) -> int:
        """Cycles in which the broadcast waited for a slot of a queue."""
        return int(self.blocked_by.sum())


CYCLE_CLASSES = tuple(
    each.name for each in fields(CycleBreakdown) if each.name not in ("cycles", "blocked_by", "bubble_cycles")
)


def cycle_breakdown(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
    number_format: FixedPoint | None = None,
) -> CycleBreakdown:
    """Sort every cycle of every PE into a class, in closed form.

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
    CycleBreakdown
        Cycles by class and PE.

    Raises
    ------
    InputError
        As `simulate` does.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config, number_format)
    blocks = blocks_of(packed, config)
    parts = [_block_breakdown(block.packed, block.operands(numbers), config) for block in blocks]
    times = schedule(blocks, [part.cycles for part in parts], config)
    sums = summed(parts, [each.name for each in fields(CycleBreakdown)])
    waiting = np.full(config.num_pes, int(times.waiting_cycles))
    return CycleBreakdown(**sums | {"cycles": int(times.cycles), "waiting": waiting})


def _block_breakdown(packed: PackedLayer, numbers: Operands, config: ArrayConfig) -> CycleBreakdown:
    """Sort the cycles of one block."""
    from sim.engine import Run

    run = Run(packed, numbers)
    timing = run.timing(config)
    broadcast_edges, pop_edges = run.edges(timing)
    cycles, depth = timing.cycles(config), config.queue_depth
    entries = packed.entry_counts[run.columns].astype(np.int64)
    empty_columns = (entries == 0).sum(axis=0)
    held = np.maximum(entries, 1)
    busy = held.sum(axis=0)
    done = pop_edges[-1] + held[-1] if len(held) else np.zeros(config.num_pes, dtype=np.int64)
    # Columns without entries may be taken after the layer's end; those cycles are not the layer's.
    after_the_end = (pop_edges >= cycles - 1).sum(axis=0)
    done = np.minimum(done, cycles - 1)

    blocked_by = np.zeros(config.num_pes, dtype=np.int64)
    if len(held) > depth:
        ready = broadcast_edges[depth - 1 : -1] + 1 + run.bubbles[depth:]
        made_room_last = pop_edges[:-depth].argmax(axis=1)
        np.add.at(blocked_by, made_room_last, broadcast_edges[depth:] - ready)
    return CycleBreakdown(
        cycles=cycles,
        computing=run.entries - run.padding,
        padding=run.padding,
        empty_columns=empty_columns - after_the_end,
        starved=1 + done - (busy - after_the_end),
        drained=cycles - 1 - done,
        waiting=np.zeros(config.num_pes, dtype=np.int64),
        blocked_by=blocked_by,
        bubble_cycles=run.bubble_cycles,
    )
