"""Loops of magnitude pruning, over the bits of floating-point weights."""

from __future__ import annotations

from traces.arrays import Integers
from traces.kernel_cache import kernel


@kernel
def count_magnitudes(bits: Integers, shift: int, counts: Integers) -> None:
    """Count magnitudes by the 16 bits below the sign, which ascend as magnitudes do.

    Parameters
    ----------
    bits : uint32 or uint64 [n]
        Floating-point numbers, as they lie in memory.
    shift : int
        Bits below those 16.
    counts : int64 [2**16]
        Raised.
    """
    for i in range(bits.shape[0]):
        counts[(bits[i] >> shift) & 0xFFFF] += 1


@kernel
def gather_magnitudes(bits: Integers, shift: int, chosen: Integers, gathered: Integers) -> None:
    """Gather the bits, sign included, of all numbers whose 16 bits below the sign are chosen.

    Parameters
    ----------
    bits, shift
        As `count_magnitudes` takes them.
    chosen : bool [2**16]
    gathered : type of `bits` [as many as are chosen]
        Filled.
    """
    place = 0
    for i in range(bits.shape[0]):
        if chosen[(bits[i] >> shift) & 0xFFFF]:
            gathered[place] = bits[i]
            place += 1
