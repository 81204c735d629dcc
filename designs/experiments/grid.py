"""The main job's arrays: every combination of PE counts, queue slots and line widths."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from designs.design import Design
from designs.space import Space
from designs.sweeps.sampling import sample
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
        Space(vars(self))

    def designs(self, base: ArrayConfig) -> tuple[Design, ...]:
        """All combinations; what the grid does not vary is taken from `base`. Raises InputError if one is no array."""
        found = sample(Space({**dataclasses.asdict(base), **vars(self)}))
        if found.left_out:
            reasons = "; ".join(f"{reason} ({count:,})" for reason, count in found.left_out.items())
            raise InputError(f"every combination of the grid must be an array; found {reasons}; leave such values out")
        return found.designs
