"""A grid of arrays: every combination of PE counts, queue slots and line widths."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

from sim import ArrayConfig
from traces import InputError


@dataclass(frozen=True)
class Grid:
    """Values of each parameter to combine; every design point is a valid array, or the grid is refused."""

    num_pes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """processing elements to try"""
    queue_slots: tuple[int, ...] = (2, 4, 8, 16, 32)
    """slots of the activation queue to try"""
    line_bits: tuple[int, ...] = (32, 64, 128, 256)
    """widths of a line of the sparse-matrix SRAM to try"""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{field.name} must be one or more different values; found {values}")
        self.design_points(ArrayConfig())

    def design_points(self, base: ArrayConfig) -> list[ArrayConfig]:
        """All combinations; what the grid does not vary is taken from `base`."""
        return [
            dataclasses.replace(base, num_pes=num_pes, queue_slots=queue_slots, line_bits=line_bits)
            for num_pes, queue_slots, line_bits in itertools.product(self.num_pes, self.queue_slots, self.line_bits)
        ]
