"""Pointer read: looks up begin and end of a column's entries, and sends out their addresses one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.datapath.activation_queue import ActivationQueue


@dataclass(frozen=True)
class EntryAddress:
    """Request for one entry of the sparse-matrix SRAM, with the data that it carries along."""

    address: int
    starts_column: bool
    activation: float


class PointerRead:
    """Stage that holds one column for max(1, entries) cycles and sends out the address of one entry in each.

    The pointers of even and of odd columns lie in two banks. So the begin of a column and its end, the begin of the
    next column, are read in the same cycle.
    """

    def __init__(self, pointers: Sequence[int]) -> None:
        self.even_bank = list(pointers[0::2])
        self.odd_bank = list(pointers[1::2])
        self.column: int | None = None
        self.activation = 0.0
        self.begin = self.next_address = self.end = 0
        self.popped = False  # in the last cycle
        self.pair_reads = 0
        self.last_entry_edge = 0

    def _pointer(self, column: int) -> int:
        bank = self.odd_bank if column % 2 else self.even_bank
        return bank[column // 2]

    @property
    def entries_left(self) -> int:
        """Entries of the column that have not been sent out."""
        return self.end - self.next_address

    def tick(self, queue: ActivationQueue, edge: int) -> EntryAddress | None:
        """Run one cycle; return the address that leaves at its end. A free stage takes the queue's oldest column."""
        leaving = None
        if self.column is not None and self.entries_left:
            leaving = EntryAddress(self.next_address, self.next_address == self.begin, self.activation)
            self.next_address += 1
            self.last_entry_edge = edge
        self.popped = not self.entries_left and not queue.is_empty
        if not self.entries_left:
            self.column = None
        if self.popped:
            self._take(queue)
        return leaving

    def _take(self, queue: ActivationQueue) -> None:
        broadcast = queue.pop()
        self.column, self.activation = broadcast.column, broadcast.value
        self.begin = self.next_address = self._pointer(self.column)
        self.end = self._pointer(self.column + 1)
        self.pair_reads += 1
