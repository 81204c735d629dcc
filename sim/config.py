"""What the hardware is: the parameters of one array, fixed and valid from birth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from traces import InputError

MemoryMode = Literal["unlimited", "resident", "passes", "streamed"]
BlockAxis = Literal["columns", "rows"]
Precision = Literal["float", "fixed-32", "fixed-16", "fixed-8"]


@dataclass(frozen=True)
class ArrayConfig:
    """One array of processing elements (PEs). The defaults are the design point of the EIE paper.

    Raises InputError if a value is out of its range or a line cannot hold one entry. Change a config with
    `dataclasses.replace`, which checks again.

    Source: Han et al., "EIE", ISCA 2016, section VI and Figs 8, 9 and 11; the paper has no DRAM behind the array.
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
    sparse_matrix_bytes: int = 128 * 1024
    """capacity of the sparse-matrix SRAM of one PE"""
    pointer_bytes: int = 32 * 1024
    """capacity of the pointer SRAM of one PE, both banks together"""
    activation_bytes: int = 2 * 1024
    """capacity of the activation SRAM of one PE, which holds its share of the layer's inputs and outputs"""
    pointer_bits: int = 16
    """width of a pointer; it counts the entries of one PE"""
    dram_gb_per_s: float = 12.8
    """bandwidth of the DRAM behind the array (10^9 bytes a second; 12.8 is one 64-bit channel of LPDDR3-1600)"""
    memory_mode: MemoryMode = "unlimited"
    """what becomes of a layer that does not fit: run as if it did, and say so; refused; run in passes, one block
    of it after the other; or, fitting or not, streamed from DRAM, a block being loaded while another one runs"""
    block_axis: BlockAxis = "columns"
    """whether a layer is cut into blocks of its columns or of its rows"""
    precision: Precision = "float"
    """arithmetic: floating point, or fixed point of so many bits, see `sim.fixed_point`"""

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
        self._check_number("clock_mhz", 1e-3, 1e6, "a frequency from 0.001 to 1,000,000 MHz")
        self._check_number("dram_gb_per_s", 1e-3, 1e6, "a bandwidth from 0.001 to 1,000,000 GB/s")
        self._check_int("pointer_bits", 1, 32, "a pointer counts the entries of a PE")
        for field in ("sparse_matrix_bytes", "pointer_bytes", "activation_bytes"):
            self._check_int(field, 1, 2**30, "an SRAM holds at least a byte and at most a GiB")
        for field, choices in (("memory_mode", MemoryMode), ("block_axis", BlockAxis), ("precision", Precision)):
            if getattr(self, field) not in get_args(choices):
                known = ", ".join(map(repr, get_args(choices)))
                raise InputError(f"{field} must be one of {known}; found {getattr(self, field)!r}")

    def _check_number(self, field: str, lowest: float, highest: float, what: str) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise InputError(f"{field} must be a number; found {value!r}")
        if not lowest <= value <= highest:
            raise InputError(f"{field} must be {what}; found {value}")
        object.__setattr__(self, field, float(value))

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

    @property
    def activation_bits(self) -> int:
        """Bits of an activation, of a shared weight and of an accumulator; the paper's 16 for floating point, too."""
        return 16 if self.precision == "float" else int(self.precision.removeprefix("fixed-"))
