"""Leading non-zero detection: picks one activation above the threshold per cycle, in the order of the index."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Broadcast:
    """One activation on its way to all PEs."""

    column: int
    value: float  # in fixed point the code, a whole number


@dataclass
class _Row:
    """One row of the activation registers, with the lanes whose value is broadcast, leftmost first."""

    last_lane: int
    kept: deque[tuple[int, Broadcast]]


class ActivationScan:
    """Scan of the inputs, which lie in rows with one lane per PE; lane k of row r is input r * num_pes + k.

    A value is picked if its magnitude is above `limit`, which is 0 or the layer's threshold. Leaving a row takes a
    bubble cycle, unless the last value picked was in the row's last lane. A row without such values takes one cycle.
    The bias column is the first lane of a row of its own, after all others, and always picked.
    """

    def __init__(
        self, activations: Sequence[float], num_pes: int, bias_activation: float | None, limit: float = 0
    ) -> None:
        self.rows: deque[_Row] = deque()
        for start in range(0, len(activations), num_pes):
            lanes = enumerate(activations[start : start + num_pes])
            kept = deque((lane, Broadcast(start + lane, value)) for lane, value in lanes if abs(value) > limit)
            self.rows.append(_Row(num_pes - 1, kept))
        if bias_activation is not None:
            self.rows.append(_Row(num_pes - 1, deque([(0, Broadcast(len(activations), bias_activation))])))
        self.bubble_cycles = 0
        self.blocked_cycles = 0

    @property
    def finished(self) -> bool:
        """True once every row has been left, or the last one has no value left."""
        return not self.rows

    def tick(self, a_queue_is_full: bool) -> Broadcast | None:
        """Run one cycle; return the activation that leaves for all queues at its end, or None."""
        if self.finished:
            return None
        row = self.rows[0]
        if not row.kept:
            self.bubble_cycles += 1
            self.rows.popleft()
            return None
        if a_queue_is_full:
            self.blocked_cycles += 1
            return None
        lane, picked = row.kept.popleft()
        is_last_value = len(self.rows) == 1 and not row.kept
        if lane == row.last_lane or is_last_value:
            self.rows.popleft()
        return picked
