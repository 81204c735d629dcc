"""Broadcast wires: registers between the scan and the queues, and the scan's credits for slots of the queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sim.datapath.activation_scan import Broadcast


class BroadcastWires:
    """Wires with `broadcast_cycles - 1` registers in each direction: columns to the PEs, pops to the scan.

    The scan has one credit for each column that a PE's queue can hold. A column that is sent takes a credit of every
    PE. The pop of the column in a PE gives that PE's credit back. So a column always finds a free slot.
    """

    def __init__(self, num_pes: int, queue_depth: int, broadcast_cycles: int) -> None:
        registers = broadcast_cycles - 1
        self.columns: deque[Broadcast | None] = deque([None] * registers)  # the next one to arrive is first
        self.pops: deque[Sequence[bool]] = deque([[False] * num_pes] * registers)
        self.credits = [queue_depth] * num_pes
        self.queue_depth = queue_depth

    @property
    def lack_credit(self) -> bool:
        """True if some PE's credits are all spent."""
        return not all(self.credits)

    @property
    def are_idle(self) -> bool:
        """True if all credits are back: every column that was sent has been taken, and the scan knows it."""
        return all(credits == self.queue_depth for credits in self.credits)

    def send(self, column: Broadcast | None) -> Broadcast | None:
        """Move the columns on by a cycle; return the one that enters the queues at its end."""
        if column is not None:
            self.credits = [credits - 1 for credits in self.credits]
        self.columns.append(column)
        return self.columns.popleft()

    def return_credits(self, pops: Sequence[bool]) -> None:
        """Move the pops on by a cycle; the scan knows those that arrive at its end."""
        self.pops.append(pops)
        self.credits = [credits + popped for credits, popped in zip(self.credits, self.pops.popleft(), strict=True)]
