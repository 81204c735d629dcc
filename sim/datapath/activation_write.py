"""Activation write: the destination registers, with one accumulator for each output row of the PE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sum:
    """New value of one accumulator."""

    row: int
    value: float


class ActivationWrite:
    """Destination register file of one PE; a value written in a cycle can be read in that cycle."""

    def __init__(self, accumulators: Sequence[float]) -> None:
        self.accumulators = list(accumulators)
        self.pending: Sum | None = None
        self.just_written: Sum | None = None

    def tick(self) -> None:
        """Run one cycle: write the sum that arrived at its beginning."""
        self.just_written = self.pending
        if self.pending is not None:
            self.accumulators[self.pending.row] = self.pending.value

    def accept(self, arriving: Sum | None) -> None:
        """Take the sum that arrives at the end of the cycle."""
        self.pending = arriving
