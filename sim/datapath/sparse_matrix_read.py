"""Sparse-matrix read: takes one entry per cycle out of a line that is fetched only when it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sim.config import SHORTEST_PIPELINE_CYCLES
from sim.datapath.pointer_read import EntryAddress


@dataclass(frozen=True)
class Entry:
    """One stored entry, code and gap, with the data that it carries along."""

    code: int
    gap: int
    starts_column: bool
    activation: float


class SparseMatrixRead:
    """Sparse-matrix SRAM of one PE, the register that keeps the last line read, and registers of a deeper pipeline."""

    def __init__(self, entries: Sequence[tuple[int, int]], entries_per_line: int, pipeline_cycles: int) -> None:
        self.lines = [entries[i : i + entries_per_line] for i in range(0, len(entries), entries_per_line)]
        self.entries_per_line = entries_per_line
        self.num_entries = len(entries)
        self.request: EntryAddress | None = None
        self.held_line: int | None = None
        self.line_register: Sequence[tuple[int, int]] = ()
        self.line_reads = 0
        self.on_the_way: deque[Entry | None] = deque([None] * (pipeline_cycles - SHORTEST_PIPELINE_CYCLES))

    def tick(self, arriving: EntryAddress | None) -> Entry | None:
        """Run one cycle; return the entry that leaves at its end, while the next request arrives."""
        request, self.request = self.request, arriving
        self.on_the_way.append(self._look_up(request))
        return self.on_the_way.popleft()

    def _look_up(self, request: EntryAddress | None) -> Entry | None:
        if request is None:
            return None
        line, place = divmod(request.address, self.entries_per_line)
        if line != self.held_line:
            self.held_line = line
            self.line_register = self.lines[line]
            self.line_reads += 1
        code, gap = self.line_register[place]
        return Entry(code, gap, request.starts_column, request.activation)
