"""Inputs side by side: every sum, cycle and counter is that of each input alone, whatever decides between the two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, BatchResult, pack, simulate, simulate_batch
from sim.batch import PER_INPUT
from sim.batch_kernels import compare
from sim.config import Precision
from tests.layers import with_codebooks
from traces import CompressedLayer
from traces.arrays import Floats32


@contextmanager
def every_input(side_by_side: bool) -> Iterator[None]:
    """Let all inputs run side by side, or none."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("fixed_point", "batch_counts"):
            patch.setattr(f"sim.{module}._LEAST_INPUTS", 0 if side_by_side else 10**9)
        patch.setattr("sim.fixed_point._LEAST_DENSITY", 0.0)
        patch.setattr("sim.fixed_point._DENSITY_OF_INPUTS", 0.0)
        patch.setattr("sim.batch_counts._least_density", lambda _: 0.0)
        yield


def drawn(seed: int, rows: int, columns: int, inputs: int, bias: str, density: float) -> tuple[Any, Floats32]:
    """Return a layer with negative zeros in a free bias, and inputs of which some are equal and some are all zeros."""
    stream = np.random.default_rng(seed)
    kept = stream.random((rows, columns)) < stream.choice([0.05, 0.4, 1.0])
    codes = (stream.integers(1, 16, (rows, columns)) * kept).astype(np.uint8)
    codebook = np.append(np.float32(0), stream.normal(size=15).astype(np.float32))
    biases: dict[str, Any] = {}
    if bias == "codes":
        biases["bias"] = stream.integers(0, 16, rows).astype(np.uint8)
    elif bias != "none":
        biases["free_bias"] = stream.normal(size=rows).astype(np.float32)
        if bias == "negative zeros":
            biases["free_bias"][stream.random(rows) < 0.5] = -0.0
    values = stream.normal(size=(inputs, columns)) * (stream.random((inputs, columns)) < density)
    values[stream.random(inputs) < 0.2] = 0
    values = np.repeat(values, stream.integers(1, 4, inputs), axis=0)
    return CompressedLayer("layer", codes, codebook, **biases), values.astype(np.float32)


def assert_equal(first: BatchResult, second: BatchResult) -> None:
    for name in PER_INPUT:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
    assert first.output.tobytes() == second.output.tobytes()  # with the signs of zeros


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**16),
    st.integers(1, 70),
    st.integers(1, 50),
    st.sampled_from([1, 3, 70, 150]),
    st.sampled_from(["none", "codes", "values", "negative zeros"]),
    st.sampled_from([0.1, 0.7, 1.0]),
    st.sampled_from([1, 2, 7, 16, 64]),
    st.sampled_from([(2, 1), (3, 1), (8, 1), (64, 2), (2, 6), (8, 64)]),
    st.sampled_from([(4, 8), (1, 16), (2, 64), (4, 1024)]),
    st.sampled_from(["float", "fixed-8", "fixed-16", "fixed-32"]),
    st.sampled_from([1, 1, 3, 64]),
)
def test_inputs_side_by_side_give_what_inputs_one_by_one_do(
    seed: int,
    rows: int,
    columns: int,
    inputs: int,
    bias: str,
    density: float,
    num_pes: int,
    timing: tuple[int, int],
    bits: tuple[int, int],
    precision: Precision,
    codebooks: int,
) -> None:
    layer, values = drawn(seed, rows, columns, inputs, bias, density)
    layer = with_codebooks(layer, codebooks, num_pes, np.random.default_rng(seed))
    array = ArrayConfig(
        num_pes=num_pes,
        queue_slots=timing[0],
        broadcast_cycles=timing[1],
        index_bits=bits[0],
        line_bits=bits[1],
        precision=precision,
    )
    packed = pack(layer, array)
    results = []
    for side_by_side in (True, False):
        with every_input(side_by_side):
            results.append(simulate_batch(packed, values, array))
    assert_equal(*results)
    alone = simulate(packed, values[-1], array, number_format=results[0].number_format)
    assert results[0].cycles[-1] == alone.cycles
    assert results[0].line_reads[-1] == alone.line_reads
    assert results[0].output[-1].tobytes() == alone.output.tobytes()


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("precision", ["float", "fixed-16"])
@pytest.mark.parametrize("codebooks", [1, 4])
def test_blocks_of_a_layer_add_up_side_by_side(axis: Any, precision: Precision, codebooks: int) -> None:
    layer, values = drawn(5, 600, 90, 130, "codes", 0.6)  # more rows than have their sums in the cache at once
    layer = with_codebooks(layer, codebooks, 4, np.random.default_rng(6))
    array = ArrayConfig(
        num_pes=4, precision=precision, memory_mode="streamed", block_axis=axis, sparse_matrix_bytes=512
    )
    packed = pack(layer, array)
    results = []
    for side_by_side in (True, False):
        with every_input(side_by_side):
            results.append(simulate_batch(packed, values, array))
    assert results[0].blocks > 1
    assert_equal(*results)


@pytest.mark.parametrize("inputs", [1, 2, 64, 200])
def test_blocks_of_rows_in_another_order_add_up(inputs: int) -> None:
    layer, values = drawn(9, 64, 40, inputs, "codes", 0.9)
    array = ArrayConfig(num_pes=4, memory_mode="passes", block_axis="rows", sparse_matrix_bytes=256)
    packed = pack(layer, array, np.random.default_rng(0).permutation(64))
    found = simulate_batch(packed, values, array)
    assert found.blocks > 1
    assert found.output.any()
    assert found.output.tobytes() == simulate_batch(layer, values, ArrayConfig(num_pes=4)).output.tobytes()


def test_inputs_in_any_order_of_memory_are_the_same() -> None:
    layer, values = drawn(7, 20, 30, 100, "none", 0.5)
    array = ArrayConfig(num_pes=4)
    for side_by_side in (True, False):
        with every_input(side_by_side):
            assert_equal(simulate_batch(layer, np.asfortranarray(values), array), simulate_batch(layer, values, array))


def test_many_dense_inputs_run_side_by_side_and_sparse_ones_do_not() -> None:
    from sim.batch_counts import BlockCounts, _OneByOne, _SideBySide
    from sim.fixed_point import operands

    layer, _ = drawn(1, 16, 30, 1, "none", 1.0)
    packed, array = pack(layer, ArrayConfig()), ArrayConfig()
    for inputs, density, kind in ((1000, 0.9, _SideBySide), (1000, 0.02, _OneByOne), (20, 0.9, _OneByOne)):
        values = (np.random.default_rng(2).random((inputs, 30)) < density).astype(np.float32)
        numbers = operands(packed, values, array)
        assert type(BlockCounts(packed, slice(None), numbers)._counted) is kind
        assert numbers.side_by_side == (kind is _SideBySide)


def test_differences_are_found_wherever_they_are() -> None:
    expected = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    for place in (0, 255, 256, 999):
        values = expected.copy()
        values[place] += 3
        difference = abs(np.float64(values[place]) - np.float64(expected[place]))
        assert compare(values, expected) == (difference, np.float64(np.abs(expected).max()))
    values[5] = np.nan
    assert compare(values, expected)[0] == np.inf
    values[5] = expected[5] = np.inf
    assert compare(values, expected)[0] == difference
    assert np.isfinite(compare(values, expected)[1])
