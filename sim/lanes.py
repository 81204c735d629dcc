"""Vectors of 64 unsigned integers, for loops of kernels that a compiler does not turn into vector instructions itself.

The functions can be called only in kernels (`traces.kernel_cache`). LLVM maps a vector to the registers that a
processor has. All operations are on integers, so the results are the same on every processor. A mask has a bit for each
lane, the lowest one for the first lane, uint64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traces.lazy_names import lazy_names

if TYPE_CHECKING:
    from sim.lane_instructions import (
        add,
        choose,
        convert,
        count_ones,
        equal,
        interleave_high,
        interleave_low,
        larger,
        largest,
        load,
        lowest,
        multiply,
        shift_right,
        spread,
        store,
        subtract,
        subtract_to_zero,
        total,
    )

LANES = 64
"""Numbers in a vector."""

__all__ = [
    "LANES",
    "add",
    "choose",
    "convert",
    "count_ones",
    "equal",
    "interleave_high",
    "interleave_low",
    "larger",
    "largest",
    "load",
    "lowest",
    "multiply",
    "shift_right",
    "spread",
    "store",
    "subtract",
    "subtract_to_zero",
    "total",
]

# Numba is imported when a kernel is compiled, which a process seldom has to do.
__getattr__, __dir__ = lazy_names(__name__, {"sim.lane_instructions": __all__[1:]})
