"""Counts of one block of a layer with many inputs, for several queues and lines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.engine import lag_type, line_division
from sim.fixed_point import Operands
from sim.host_memory import check_memory, counting_bytes, whole_vectors
from sim.packing import PackedLayer
from traces.arrays import Integers, Integers32, Integers64
from traces.kernel_lanes import LANES

CountsByName = dict[str, Integers64]
_LEAST_INPUTS = 192  # that are counted side by side (`sim.batch_kernels`)
_INPUTS_AT_ONCE = 1024  # whose entries are summed in each PE
_COLUMNS_AT_ONCE = 8  # that are compared with those of the input before
_NAMES = ("broadcasts", "bubble_cycles", "processed_entries", "processed_padding", "most_loaded_entries")


class BlockCounts:
    """Counts of one block with many inputs; each timing and each line is counted once.

    Parameters
    ----------
    packed : PackedLayer
        The block.
    columns : slice
        Activations that enter it.
    numbers : Operands
        Operands of the whole layer.

    Attributes
    ----------
    counts : dict
        Counts that depend neither on the queue nor on the line, int64 [inputs]; empty before the first `count`.
    line_reads : dict
        Line reads by the entries of a line, int64 [inputs].
    """

    def __init__(self, packed: PackedLayer, columns: slice, numbers: Operands) -> None:
        self._packed = packed
        self.counts: CountsByName = {}
        self.line_reads: dict[int, Integers64] = {}
        self._by_timing: dict[tuple[int, int], CountsByName] = {}
        layer, num_columns = packed.layer, packed.num_columns
        check_memory(
            f"layer {layer.name!r}: counters of num_pes={packed.num_pes:,} times {num_columns:,} columns",
            counting_bytes(layer.rows, num_columns, packed.num_pes),
            "use fewer PEs or split the layer",
        )
        self._counted = (
            _SideBySide(packed, numbers.nonzero[columns])
            if len(numbers.activations) >= _LEAST_INPUTS and numbers.density >= _least_density(packed)
            else _OneByOne(packed, numbers.activations[:, columns])
        )

    def timing(self, queue_depth: int, broadcast_cycles: int) -> CountsByName:
        """Return last_active_edge and blocked_cycles of a timing that was counted, int64 [inputs]."""
        return self._by_timing[self._key(queue_depth, broadcast_cycles)]

    def count(self, timings: Sequence[tuple[int, int]], lines: Sequence[int]) -> None:
        """Count what was not counted yet; `timings` are queue depth and broadcast cycles, `lines` entries of a line."""
        timings = [key for key in dict.fromkeys(self._key(*each) for each in timings) if key not in self._by_timing]
        lines = [each for each in dict.fromkeys(lines) if each not in self.line_reads]
        if not timings and not lines and self.counts:
            return
        counts, edges, line_reads = self._counted.count(timings, lines)
        self.counts = dict(zip(_NAMES, counts, strict=True))
        self._by_timing |= {
            key: dict(zip(("last_active_edge", "blocked_cycles"), of_key, strict=True))
            for key, of_key in zip(timings, edges, strict=True)
        }
        self.line_reads |= dict(zip(lines, line_reads, strict=True))

    def _key(self, queue_depth: int, broadcast_cycles: int) -> tuple[int, int]:
        """Return the timing; a longer queue than there are columns is never full."""
        return min(queue_depth, self._packed.num_columns), broadcast_cycles


class _OneByOne:
    """Counting of inputs one after the other, by their broadcasts."""

    def __init__(self, packed: PackedLayer, activations: npt.NDArray[Any]) -> None:
        self._packed, self._activations = packed, np.ascontiguousarray(activations)
        lanes = whole_vectors(min(packed.num_pes, packed.layer.rows))  # other PEs hold no entries
        self._entry_lanes = np.ascontiguousarray(packed.entry_lanes[:, :lanes])

    def count(
        self, timings: Sequence[tuple[int, int]], lines: Sequence[int]
    ) -> tuple[Integers64, list[Integers64], Integers64]:
        """Return counts [5, inputs], edges [2, inputs] of each timing, and reads of each line [lines, inputs]."""
        from sim.batch_kernels import count_inputs

        by_type: dict[type[np.unsignedinteger[Any]], list[int]] = {}
        for place, (depth, _) in enumerate(timings):
            by_type.setdefault(lag_type(depth, self._packed.most_entries), []).append(place)
        packed = self._packed
        inputs = len(self._activations)
        divisions = [line_division(each, packed.fullest_pe_entries + each) for each in lines]
        rows = [(each, *of_line[:2]) for each, of_line in zip(lines, divisions, strict=True)]
        by_line = np.array(rows, dtype=np.int64).reshape(-1, 3)
        wide = any(number == np.uint64 for _, _, number in divisions)
        room = np.empty(LANES, dtype=np.uint64 if wide else np.uint32)
        all_edges = [np.zeros(0, dtype=np.int64)] * len(timings)
        all_reads = np.empty((len(lines), inputs), dtype=np.int64)
        counts = np.empty((inputs, len(_NAMES)), dtype=np.int64)
        for lags, places in (by_type or {np.uint8: []}).items():
            edges = np.empty((len(places), 2, inputs), dtype=np.int64)
            line_reads = np.empty((len(lines), inputs), dtype=np.int64)
            count_inputs(
                self._activations,
                packed.num_pes,
                packed.layer.bias is not None,
                self._entry_lanes,
                packed.stored_per_pe,
                packed.entries_per_column,
                packed.padding_per_column,
                np.array([(timings[each][0], timings[each][1] - 1) for each in places], dtype=np.int64).reshape(-1, 2),
                np.empty(self._entry_lanes.shape[1], dtype=lags),
                by_line,
                room,
                *self._line_numbers(),
                counts,
                edges,
                line_reads,
            )
            for place, of_timing in zip(places, edges, strict=True):
                all_edges[place] = of_timing
            if lines:
                all_reads, lines, by_line = line_reads, [], by_line[:0]
        return np.ascontiguousarray(counts.T), all_edges, all_reads

    def _line_numbers(self) -> tuple[Integers, Integers]:
        """Return room for the first and the last line of each column, of the narrowest type."""
        shape = self._entry_lanes.shape
        number = np.uint16 if self._packed.fullest_pe_entries + 1 < 2**16 else np.uint32
        return np.empty(shape, dtype=number), np.empty(shape, dtype=number)


class _SideBySide:
    """Counting of inputs side by side; an input with the zeros of the one before it has the same counts."""

    def __init__(self, packed: PackedLayer, nonzero: npt.NDArray[np.uint8]) -> None:
        self._packed = packed
        self._has_bias = packed.layer.bias is not None
        differs = _differs_from_previous(nonzero)
        repeats = np.count_nonzero(differs) < 0.9 * differs.size  # else copying costs more than it saves
        self._places = np.cumsum(differs) - 1 if repeats else None
        if repeats:
            nonzero = nonzero[:, differs]
        if self._has_bias:
            nonzero = np.concatenate([nonzero, np.ones((1, nonzero.shape[1]), dtype=np.uint8)])
        self._nonzero = np.ascontiguousarray(nonzero)

    def count(
        self, timings: Sequence[tuple[int, int]], lines: Sequence[int]
    ) -> tuple[Integers64, list[Integers64], Integers64]:
        """Return counts [5, inputs], edges [2, inputs] of each timing, and reads of each line [lines, inputs]."""
        from sim import batch_kernels as kernels

        packed, inputs = self._packed, self._nonzero.shape[1]
        shared = (self._nonzero, packed.num_pes, self._has_bias)
        counts = np.empty((len(_NAMES), inputs), dtype=np.int64)
        counts[-1] = self._most_loaded
        kernels.count_scans(
            *shared,
            packed.entries_per_column.astype(np.int32),
            packed.padding_per_column.astype(np.int32),
            counts[:-1],
        )
        edges = np.empty((len(timings), 2, inputs), dtype=np.int64)
        entry_counts, in_other_pes = self._entry_counts
        for (depth, cycles), of_timing in zip(timings, edges, strict=True):
            there_and_back = 2 * cycles  # edges from a broadcast to the one that its column allows if taken at once
            full = self._most_waiting > depth - there_and_back
            longest = self._most_waiting + packed.most_entries
            longest = min(longest, (depth + 1) * max(1, packed.most_entries)) if full else longest
            number = np.min_scalar_type(longest + there_and_back)
            lags = _aligned(entry_counts.shape[1] * kernels.GROUP, number)
            kernels.count_edges(*shared, entry_counts, in_other_pes, depth if full else 0, cycles - 1, lags, of_timing)
        line_reads = np.empty((len(lines), inputs), dtype=np.int64)
        for entries_per_line, of_line in zip(lines, line_reads, strict=True):
            kernels.count_lines(self._nonzero, *self._columns_of_lines(entries_per_line), of_line)
        if self._places is not None:
            counts, edges, line_reads = (each[..., self._places] for each in (counts, edges, line_reads))
        return counts, list(edges), line_reads

    @cached_property
    def _entry_counts(self) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Entries in PEs that have several in a column, and whether a column has entries in others."""
        counts = self._packed.entry_counts
        several = counts.max(axis=0) > 1
        in_others: npt.NDArray[np.bool_] = np.any(counts[:, ~several], axis=1)
        padded = np.zeros((len(counts), -(-np.count_nonzero(several) // 8) * 8), dtype=counts.dtype)
        padded[:, : np.count_nonzero(several)] = counts[:, several]
        return padded, in_others

    @cached_property
    def _most_loaded(self) -> Integers64:
        """Entries of the PE that goes through most, int64 [inputs]; sums in float32 are exact up to 2^24."""
        packed, inputs = self._packed, self._nonzero.shape[1]
        number: type[np.floating[Any]] = np.float32 if packed.fullest_pe_entries < 2**24 else np.float64
        lanes = min(packed.num_pes, packed.layer.rows)  # other PEs hold no entries
        entries = packed.entry_lanes[:, :lanes].T.astype(number)
        most = np.empty(inputs, dtype=np.int64)
        for begin in range(0, inputs, _INPUTS_AT_ONCE):
            sent = self._nonzero[:, begin : begin + _INPUTS_AT_ONCE].astype(number)
            most[begin : begin + _INPUTS_AT_ONCE] = np.matmul(entries, sent).max(axis=0)
        return most

    @cached_property
    def _most_waiting(self) -> int:
        """Bound of the cycles for which a column waits for a PE: a column adds to it all but one of its entries."""
        added = np.maximum(self._entry_counts[0], 1).sum(axis=0, dtype=np.int64) - len(self._entry_counts[0])
        return int(added.max(initial=0))

    def _columns_of_lines(self, entries_per_line: int) -> tuple[Integers32, Integers32]:
        from sim.batch_kernels import list_lines

        packed = self._packed
        lines = int((-(-packed.stored_per_pe // entries_per_line)).sum())
        begins = np.empty(lines + 1, dtype=np.int32)
        line_columns = np.empty(np.count_nonzero(packed.entry_counts) + lines + 1, dtype=np.int32)
        list_lines(packed.pointers, entries_per_line, begins, line_columns)
        return begins, line_columns


def _least_density(packed: PackedLayer) -> float:
    """Return the density of activations from which counting side by side takes less time than one by one.

    The times are nanoseconds measured for an input and a column. Side by side, it is counted whether it is sent or not.
    """
    waiting = np.count_nonzero(packed.entry_counts.max(axis=0) > 1)  # PEs that make columns wait
    lines = packed.stored_entries / packed.num_columns / 8
    return float((1.5 + 0.05 * waiting + 0.12 * lines) / (9 * max(1.0, packed.num_pes / 64)))


def _aligned(size: int, number: npt.DTypeLike) -> Integers:
    """Return room for so many numbers, from a multiple of 64 bytes on: no vector lies in two cache lines."""
    room = np.empty(size + 64, dtype=number)
    begin = -room.ctypes.data % 64 // room.itemsize
    return room[begin : begin + size]


def _differs_from_previous(nonzero: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return True for inputs whose zeros are not those of the input before, bool [inputs]."""
    differs = np.zeros(nonzero.shape[1], dtype=np.bool_)
    differs[0] = True
    for begin in range(0, len(nonzero), _COLUMNS_AT_ONCE):
        some = nonzero[begin : begin + _COLUMNS_AT_ONCE]
        differs[1:] |= (some[:, 1:] != some[:, :-1]).any(axis=0)
        if differs.all():
            break
    return differs
