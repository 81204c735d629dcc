"""Vectors of 64 unsigned integers, for loops of kernels that a compiler does not turn into vector instructions itself.

The functions are for kernels alone (`traces.kernel_cache`). LLVM maps a vector to the registers that a processor has.
All operations are on integers, so the results are the same on every processor. A mask has a bit for each lane, the
lowest one for the first lane, uint64.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from traces.lazy_names import lazy_names

if TYPE_CHECKING:
    from traces.kernel_instructions import (
        add,
        choose,
        convert,
        count_ones,
        equal,
        interleave_high,
        interleave_low,
        larger,
        largest,
        leading_zeros,
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
    "leading_zeros",
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

COMPILES = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
"""False if kernels run as they are written, by the variable of Numba."""

# Numba is imported when a kernel is compiled, which a process seldom has to do.
__getattr__, __dir__ = lazy_names(
    __name__, {"traces.kernel_instructions" if COMPILES else "traces.kernel_model": __all__[1:]}
)
