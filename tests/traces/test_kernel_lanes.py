"""Vectors of kernels: each instruction equals its readable twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from traces import kernel_lanes as lanes
from traces import kernel_model
from traces.arrays import Integers
from traces.kernel_cache import kernel

TYPES = (np.uint8, np.uint16, np.uint32, np.uint64)
OF_TWO = ("add", "subtract", "subtract_to_zero", "larger", "interleave_low", "interleave_high")


@kernel
def of_vectors(left: Integers, right: Integers, number: Integers, results: Integers) -> None:
    """Fill rows of `results` with what operations of two vectors, or of one and a number, give."""
    size = np.uint64(lanes.LANES)
    one, other = lanes.load(left, np.uint64(0)), lanes.load(right, np.uint64(0))
    lanes.store(results, np.uint64(0) * size, lanes.add(one, other))
    lanes.store(results, np.uint64(1) * size, lanes.subtract(one, other))
    lanes.store(results, np.uint64(2) * size, lanes.subtract_to_zero(one, other))
    lanes.store(results, np.uint64(3) * size, lanes.larger(one, other))
    lanes.store(results, np.uint64(4) * size, lanes.interleave_low(one, other))
    lanes.store(results, np.uint64(5) * size, lanes.interleave_high(one, other))
    lanes.store(results, np.uint64(6) * size, lanes.multiply(one, number[0]))
    lanes.store(results, np.uint64(7) * size, lanes.shift_right(one, number[1]))
    lanes.store(results, np.uint64(8) * size, lanes.spread(number[0]))
    lanes.store(results, np.uint64(9) * size, lanes.choose(lanes.equal(one, other), one, lanes.spread(number[0])))


@kernel
def converted(vector: Integers, result: Integers) -> None:
    """Store a vector in the type of `result`."""
    lanes.store(result, np.uint64(0), lanes.convert(lanes.load(vector, np.uint64(0)), result.dtype.type(0)))


@kernel
def of_masks(left: Integers, right: Integers, masks: Integers, results: Integers) -> None:
    """Fill `results`, uint64, with what operations that give a number return."""
    one, other = lanes.load(left, np.uint64(0)), lanes.load(right, np.uint64(0))
    results[0] = lanes.largest(one)
    results[1] = lanes.total(one)
    results[2] = lanes.equal(one, other)
    results[3] = lanes.lowest(masks[0])
    results[4] = lanes.count_ones(masks[0])
    results[5] = lanes.leading_zeros(masks[0])


def drawn(number: Any, seed: int) -> tuple[Integers, Integers]:
    """Return two vectors, many of whose lanes are equal."""
    draw = np.random.default_rng(seed)
    left, right = draw.integers(0, np.iinfo(number).max, (2, lanes.LANES), dtype=number, endpoint=True)
    right[::3] = left[::3]
    return left, right


@pytest.mark.parametrize("number", TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_instructions_equal_their_twins(number: Any, seed: int) -> None:
    left, right = drawn(number, seed)
    numbers = np.array([200 - seed, seed + 1], dtype=number)
    results = np.empty((10, lanes.LANES), dtype=number)
    of_vectors(left, right, numbers, results)
    expected = [getattr(kernel_model, name)(left, right) for name in OF_TWO]
    expected += [kernel_model.multiply(left, numbers[0]), kernel_model.shift_right(left, numbers[1])]
    expected.append(kernel_model.spread(numbers[0]))
    expected.append(kernel_model.choose(kernel_model.equal(left, right), left, expected[-1]))
    assert np.array_equal(results, np.stack(expected))
    masks = np.random.default_rng(seed).integers(1, 2**63, 1, dtype=np.uint64) << np.uint64(seed)
    found = np.empty(6, dtype=np.uint64)
    of_masks(left, right, masks, found)
    twins: list[Any] = [kernel_model.largest(left), kernel_model.total(left), kernel_model.equal(left, right)]
    twins += [getattr(kernel_model, name)(masks[0]) for name in ("lowest", "count_ones", "leading_zeros")]
    assert found.tolist() == [int(each) for each in twins]


@pytest.mark.parametrize("number", TYPES)
@pytest.mark.parametrize("to", TYPES)
def test_lanes_are_widened_and_narrowed(number: Any, to: Any) -> None:
    vector, _ = drawn(number, 0)
    result = np.empty(lanes.LANES, dtype=to)
    converted(vector, result)
    assert np.array_equal(result, kernel_model.convert(vector, to(0)))


def test_each_instruction_has_a_twin() -> None:
    assert set(lanes.__all__) - {"LANES"} == {
        name for name, each in vars(kernel_model).items() if getattr(each, "__module__", "") == kernel_model.__name__
    }


def test_a_vector_of_an_array_in_pieces_is_refused() -> None:
    from numba.core.errors import TypingError

    with pytest.raises(TypingError, match="stored into contiguous arrays"):
        converted(np.zeros(2 * lanes.LANES, dtype=np.uint8)[::2], np.empty(lanes.LANES, dtype=np.uint8))
