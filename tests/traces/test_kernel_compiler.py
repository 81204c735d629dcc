"""Calls of compiled kernels: any array and number of the right kind, and no read of memory that is none of theirs."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import PROJECT
from traces import kernel_cache
from traces.kernel_cache import kernel


@kernel
def total(values: Any) -> Any:
    """Add up a vector."""
    result = values.dtype.type(0)
    for i in range(values.shape[0]):
        result += values[i]
    return result


@kernel
def fill(values: Any, number: Any) -> None:
    """Fill a matrix."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            values[row, column] = number + row * values.shape[1] + column


@kernel
def total_of_rows(values: Any, totals: Any) -> tuple[int, float, bool]:
    """Add up each row by another kernel."""
    for row in range(values.shape[0]):
        totals[row] = total(values[row])
    return values.shape[0], 0.5, values.shape[0] > 1


@kernel
def ratio(first: Any, second: Any) -> Any:
    """Divide."""
    return first / second


@kernel
def opposite(flag: Any) -> Any:
    """Negate."""
    return not flag


@kernel
def sum_of_scratch(length: int) -> float:
    """Add up memory that the kernel allocates."""
    scratch = np.ones(length)
    result = 0.0
    for i in range(length):
        result += scratch[i]
    return result


@kernel
def returned(values: Any) -> Any:
    """Return an array, which a kernel must not."""
    return values


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        kernel_cache._cache_folder.cache_clear()
        yield
    kernel_cache._cache_folder.cache_clear()


NUMBERS = np.arange(12)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_each_type_of_numbers_has_its_own_version(dtype: str) -> None:
    assert total(NUMBERS.astype(dtype)) == 66


def test_arrays_of_any_memory_are_read_right(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "values", np.int64, "w+", shape=12)
    mapped[:] = NUMBERS
    unaligned = np.zeros(97, np.uint8)[1:].view(np.int64)
    unaligned[:] = NUMBERS
    fixed = NUMBERS.copy()
    fixed.flags.writeable = False
    for values in (mapped, unaligned, fixed, NUMBERS[::-1], np.repeat(NUMBERS, 3)[1::3], NUMBERS.astype(np.longlong)):
        assert total(values) == 66
    assert total(NUMBERS[:0]) == 0
    assert total(np.broadcast_to(np.int64(3), (4,))) == 12


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_memory_are_filled(order: Any) -> None:
    values = np.zeros((3, 4), order=order)
    fill(values, 0)
    fill(values[::2, 1:], 100)
    assert values.tolist() == [[0, 100, 101, 102], [4, 5, 6, 7], [8, 103, 104, 105]]
    whole = np.zeros((3, 5), np.float32)
    unaligned = np.zeros(49, np.uint8)[1:].view(np.float32).reshape(3, 4)
    fill(unaligned, 7)
    fill(whole[:, :4], 7)
    assert (unaligned == whole[:, :4]).all()


def test_a_kernel_calls_another_one_and_returns_several_numbers() -> None:
    totals = np.zeros(3, np.int64)
    assert total_of_rows(NUMBERS.reshape(3, 4), totals) == (3, 0.5, True)
    assert totals.tolist() == [6, 22, 38]


@pytest.mark.parametrize(
    "number", [3, -1, np.int32(3), np.uint8(3), np.int64(-(2**63)), 2**63 - 1, 2.5, np.float32(2.5)]
)
def test_numbers_of_python_and_of_numpy_are_the_same(number: Any) -> None:
    values = np.zeros((1, 1), np.int64 if isinstance(number, int | np.integer) else np.float64)
    fill(values, number)
    assert values[0, 0] == number


def test_flags_are_no_numbers() -> None:
    assert opposite(True) is False
    assert opposite(np.bool(False)) is True


def test_a_division_by_zero_gives_what_the_processor_gives() -> None:
    assert ratio(1.0, 0.0) == math.inf
    assert math.isnan(ratio(0.0, 0.0))


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (([1, 2],), TypeError, "argument 0 of a kernel must be an array or a number; found list"),
        ((None,), TypeError, "argument 0 of a kernel must be an array or a number; found NoneType"),
        ((NUMBERS.astype(">i8"),), TypeError, "argument 0 of a kernel must be an array of native numbers; found >i8"),
        ((np.array(["a"]),), TypeError, "argument 0 of a kernel must be an array of native numbers; found <U1"),
        ((NUMBERS, 1), TypeError, "2 argument types given, but function takes 1"),
    ],
)
def test_other_arguments_are_refused(arguments: tuple[Any, ...], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        total(*arguments)


def test_a_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        fill(np.zeros((1, 1)), 2**63)


def test_a_kernel_returns_numbers_only() -> None:
    with pytest.raises(TypeError, match=r"kernel returned must return numbers, a tuple of them or None; found array"):
        returned(NUMBERS)


def test_a_kernel_may_allocate_and_says_so_if_there_is_no_memory() -> None:
    assert sum_of_scratch(1000) == 1000
    with pytest.raises(RuntimeError, match="kernel sum_of_scratch read out of range, or found no memory left"):
        sum_of_scratch(2**50)


def test_threads_call_one_kernel_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda length: total(np.ones(length, np.float32)) == length, range(100))) == {True}


def test_arguments_live_no_longer_for_being_passed() -> None:
    values = np.zeros((2, 2))
    before = sys.getrefcount(values), sys.getrefcount(None)
    for _ in range(1000):
        fill(values, 1)
    assert sys.getrefcount(values) == before[0]
    assert abs(sys.getrefcount(None) - before[1]) < 500


IN_A_LATER_PROCESS = """
import sys
import numpy as np
from tests.traces import test_kernel_compiler as kernels
assert kernels.total(np.arange(12)) == 66
print("numba" in sys.modules)
assert kernels.sum_of_scratch(10) == 10
print("numba" in sys.modules)
"""


def test_only_a_kernel_that_allocates_needs_numba_in_a_later_process() -> None:
    total(NUMBERS)
    sum_of_scratch(10)
    command = [sys.executable, "-c", IN_A_LATER_PROCESS]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
