"""Readable twin of `traces.kernel_instructions` in NumPy, for kernels that run as they are written.

A vector is an array of `LANES` unsigned integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.arrays import Integers
from traces.kernel_lanes import LANES


def load(array: Integers, place: Any) -> Integers:
    """Return 64 numbers of a contiguous array, from a place on that counts all of its numbers."""
    return array.reshape(-1)[int(place) : int(place) + LANES].copy()


def store(array: Integers, place: Any, vector: Integers) -> None:
    """Store a vector into a contiguous array, from a place on that counts all of its numbers."""
    array.reshape(-1)[int(place) : int(place) + LANES] = vector


def spread(number: Any) -> Integers:
    """Return a vector that has a number in each lane."""
    return np.full(LANES, number)


def convert(vector: Integers, number: Any) -> Integers:
    """Return a vector with lanes of the type of a number; what does not fit a narrower type loses its highest bits."""
    return vector.astype(number.dtype)


def add(left: Integers, right: Integers) -> Integers:
    """Add two vectors; a sum that does not fit its type wraps around."""
    return left + right


def subtract(left: Integers, right: Integers) -> Integers:
    """Subtract two vectors; a negative difference wraps around."""
    return left - right


def subtract_to_zero(left: Integers, right: Integers) -> Integers:
    """Subtract two vectors; a negative difference is 0."""
    return np.maximum(left, right) - right


def larger(left: Integers, right: Integers) -> Integers:
    """Return the larger number of each lane."""
    return np.maximum(left, right)


def multiply(vector: Integers, number: Any) -> Integers:
    """Multiply each lane by a number."""
    return np.asarray(vector * number)


def shift_right(vector: Integers, number: Any) -> Integers:
    """Shift each lane to the right by a number of bits, which is smaller than the bits of a lane."""
    return np.asarray(vector >> number)


def largest(vector: Integers) -> Any:
    """Return the largest number of a vector."""
    return vector.max()


def total(vector: Integers) -> Any:
    """Return the sum of all lanes; one that does not fit their type wraps around."""
    return vector.sum(dtype=vector.dtype)


def equal(left: Integers, right: Integers) -> Any:
    """Return the mask of the lanes in which two vectors are equal."""
    return np.packbits(left == right, bitorder="little").view(np.uint64)[0]


def choose(mask: Any, chosen: Integers, other: Integers) -> Integers:
    """Return the lanes of one vector where a mask has ones, and of another one elsewhere."""
    bits = np.unpackbits(np.array([mask], dtype=np.uint64).view(np.uint8), bitorder="little")
    return np.where(bits, chosen, other)


def lowest(mask: Any) -> Any:
    """Return the place of the lowest bit that is set in a mask; one must be."""
    return np.uint64((int(mask) & -int(mask)).bit_length() - 1)


def count_ones(mask: Any) -> Any:
    """Return the number of bits that are set in a mask."""
    return np.uint64(int(mask).bit_count())


def leading_zeros(mask: Any) -> Any:
    """Return the number of zeros above the highest bit that is set in a mask; one must be."""
    return np.uint64(64 - int(mask).bit_length())


def interleave_low(left: Integers, right: Integers) -> Integers:
    """Return the lower halves of two vectors, lane by lane in turn."""
    return np.stack([left, right], axis=1).reshape(-1)[:LANES]


def interleave_high(left: Integers, right: Integers) -> Integers:
    """Return the upper halves of two vectors, lane by lane in turn."""
    return np.stack([left, right], axis=1).reshape(-1)[LANES:]
