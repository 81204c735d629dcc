"""The activation queue of one PE: a ring that decouples it from the broadcast."""

from __future__ import annotations

from sim.datapath.activation_scan import Broadcast


class ActivationQueue:
    """Ring of slots; equal positions mean empty, so one slot stays free."""

    def __init__(self, queue_slots: int) -> None:
        self.queue_slots = queue_slots
        self.slots: dict[int, Broadcast] = {}  # by position
        self.write_position = 0
        self.read_position = 0

    def _after(self, position: int) -> int:
        return (position + 1) % self.queue_slots

    @property
    def is_empty(self) -> bool:
        """True if no column waits."""
        return self.read_position == self.write_position

    @property
    def is_full(self) -> bool:
        """True if no other column fits."""
        return self._after(self.write_position) == self.read_position

    def push(self, broadcast: Broadcast) -> None:
        """Add a column; the queue must not be full."""
        assert not self.is_full
        self.slots[self.write_position] = broadcast
        self.write_position = self._after(self.write_position)

    def pop(self) -> Broadcast:
        """Take the oldest column; the queue must not be empty."""
        assert not self.is_empty
        broadcast = self.slots[self.read_position]
        self.read_position = self._after(self.read_position)
        return broadcast

    def waiting_columns(self) -> list[int]:
        """Return the columns in the queue, oldest first."""
        columns = []
        position = self.read_position
        while position != self.write_position:
            columns.append(self.slots[position].column)
            position = self._after(position)
        return columns
