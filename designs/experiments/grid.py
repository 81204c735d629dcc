"""Arrays of the main job: every combination of PE counts, queue slots and line widths."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from designs.design import Design
from designs.space import DERIVED, Space
from designs.sweeps.sampling import sample
from sim import ArrayConfig
from traces import InputError


@dataclass(frozen=True)
class Grid:
    """Values of each parameter to combine.

    Raises
    ------
    InputError
        If a value is out of its parameter's range.
    """

    num_pes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """numbers of PEs to try"""
    queue_slots: tuple[int, ...] = (2, 4, 8, 16, 32)
    """numbers of slots of the activation queue to try"""
    line_bits: tuple[int, ...] = (32, 64, 128, 256)
    """widths of a sparse-matrix SRAM line to try"""

    def __post_init__(self) -> None:
        Space(vars(self))

    def designs(self, base: ArrayConfig) -> tuple[Design, ...]:
        """Return all combinations; other parameters are those of `base`, stages follow from the clock.

        Raises InputError if an array is invalid.
        """
        given = {name: value for name, value in dataclasses.asdict(base).items() if name not in DERIVED}
        combinations = sample(Space({**given, **vars(self)}))
        if combinations.left_out:
            reasons = "; ".join(f"{reason} ({count:,})" for reason, count in combinations.left_out.items())
            raise InputError(f"every combination of the grid must be a valid array; found {reasons}; omit such values")
        return tuple(combinations.designs)
