"""What the hardware is: the parameters of one array, fixed and valid from birth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traces import InputError


@dataclass(frozen=True)
class ArrayConfig:
    """One array of processing elements (PEs). The defaults are the design point of the EIE paper.

    Raises InputError if a value is out of its range or a line cannot hold one entry. Change a config with
    `dataclasses.replace`, which checks again.

    Source: Han et al., "EIE", ISCA 2016, section VI and Figs 8, 9 and 11.
    """

    num_pes: int = 64
    """processing elements"""
    queue_slots: int = 8
    """slots of the activation queue, a ring that holds one column less (the paper's FIFO depth)"""
    line_bits: int = 64
    """width of a line of the sparse-matrix SRAM"""
    weight_bits: int = 4
    """bits of a code, the index of a shared weight"""
    index_bits: int = 4
    """bits of a gap, the number of the PE's rows skipped before an entry"""
    clock_mhz: float = 800.0
    """clock frequency"""

    def __post_init__(self) -> None:
        self._check_int("num_pes", 1, 65_536, "an array has at least one PE")
        self._check_int(
            "queue_slots",
            2,
            1_048_576,
            "one slot of the ring stays free to tell full from empty, so one slot holds nothing",
        )
        self._check_int("weight_bits", 1, 16, "a code must tell a pruned weight from a kept one")
        self._check_int("index_bits", 1, 8, "a gap must be able to skip a row, and is stored in at most a byte")
        self._check_int("line_bits", 1, 65_536, "a line holds at least one entry")
        if self.line_bits < self.entry_bits:
            raise InputError(
                f"line_bits={self.line_bits} must be at least weight_bits + index_bits = {self.entry_bits}, "
                f"so that a line holds a whole entry; widen the line or narrow the entry"
            )
        clock = self.clock_mhz
        if isinstance(clock, bool) or not isinstance(clock, int | float | np.integer | np.floating):
            raise InputError(f"clock_mhz must be a number; found {clock!r}")
        if not 1e-3 <= clock <= 1e6:
            raise InputError(f"clock_mhz must be a frequency from 0.001 to 1,000,000 MHz; found {clock}")
        object.__setattr__(self, "clock_mhz", float(clock))

    def _check_int(self, field: str, lowest: int, highest: int, reason: str) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{field} must be a whole number; found {value!r}")
        if not lowest <= value <= highest:
            raise InputError(f"{field} must be {lowest:,} to {highest:,}: {reason}; found {value}")
        object.__setattr__(self, field, int(value))

    @property
    def entry_bits(self) -> int:
        """Bits of one stored entry: a code and a gap."""
        return self.weight_bits + self.index_bits

    @property
    def entries_per_line(self) -> int:
        """Whole entries in a line of the sparse-matrix SRAM; what is left over is unused."""
        return self.line_bits // self.entry_bits

    @property
    def max_gap(self) -> int:
        """One more than the longest gap an entry can state; a padding entry advances the row by it."""
        return int(2**self.index_bits)

    @property
    def queue_depth(self) -> int:
        """Columns that an activation queue holds."""
        return self.queue_slots - 1
