"""Layer coding: a matrix of codes in its scan order, gap width and coder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import CompressedModel
from compress.container.layer_coding import (
    INDEX_BITS,
    CodingChoice,
    ScannedGaps,
    decode_matrix,
    encode_matrix,
    matrix_bytes,
)
from compress.relative_index import SCAN_ORDERS, encode_relative, scanned, unscanned
from traces import CompressedLayer
from traces.arrays import Integers


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Integers, int]:
    rows, columns, weight_bits = draw(st.integers(1, 50)), draw(st.integers(1, 50)), draw(st.integers(1, 10))
    stream = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = stream.integers(0, 2**weight_bits, (rows, columns)).astype(np.uint8 if weight_bits <= 8 else np.uint16)
    codes[stream.random((rows, columns)) > draw(st.sampled_from([0, 0.02, 0.3, 1]))] = 0
    codes[:, stream.random(columns) > draw(st.sampled_from([0.3, 1]))] = 0
    return codes, weight_bits


@settings(deadline=None, max_examples=200)
@given(
    matrices(),
    st.sampled_from([None, *INDEX_BITS]),
    st.sampled_from([None, *SCAN_ORDERS]),
    st.integers(1, 9),
    st.sampled_from(["huffman", "huffman", "range"]),
)
def test_a_matrix_is_read_back_in_every_order_and_width(
    drawn: tuple[Integers, int], index_bits: Any, scan_order: Any, num_pes: int, coder: Any
) -> None:
    if coder == "range":
        pytest.importorskip("constriction", reason="needs the extra 'range'")
        index_bits = scan_order = None
    codes, weight_bits = drawn
    coded = encode_matrix(codes, weight_bits, CodingChoice(index_bits, scan_order, num_pes, coder))
    found, _ = decode_matrix(coded.content, len(codes), len(codes[0]), weight_bits, codes.dtype)
    np.testing.assert_array_equal(found, codes)
    parts = coded.codes + coded.gaps + coded.fillers + coded.code_tables + coded.overhead
    assert parts == len(coded.content)
    if coder == "huffman":
        assert coded.scan_order == scan_order or scan_order is None
        assert coded.index_bits == index_bits or index_bits is None


@settings(deadline=None, max_examples=200)
@given(matrices())
def test_the_bytes_of_a_matrix_are_known_before_it_is_written(drawn: tuple[Integers, int]) -> None:
    codes, weight_bits = drawn
    written = len(encode_matrix(codes, weight_bits, CodingChoice()).content)
    assert matrix_bytes(codes, weight_bits) == written
    of_mask = ScannedGaps.of(codes != 0, CodingChoice())
    assert matrix_bytes(codes, weight_bits, of_mask) == written


@settings(deadline=None, max_examples=200)
@given(matrices(), st.integers(1, 60))
def test_gaps_are_counted_as_in_the_scanned_vector(drawn: tuple[Integers, int], num_pes: int) -> None:
    codes, _ = drawn
    found = ScannedGaps.of(codes, CodingChoice(num_pes=num_pes))
    for way, (order, width) in enumerate(found.ways):
        entry_codes, gaps = encode_relative(scanned(codes, order, num_pes), width)
        assert np.array_equal(found.counts[way], np.bincount(gaps, minlength=256))
        assert found.fillers[way] == np.count_nonzero(entry_codes == 0)


@pytest.mark.parametrize(("density", "weight_bits"), [(0.9, 4), (0.4, 2), (0.03, 5), (0.5, 12), (0.001, 9)])
def test_the_bytes_of_several_streams_are_known_before_they_are_written(density: float, weight_bits: int) -> None:
    stream = np.random.default_rng(0)
    codes = 1 + np.floor((2**weight_bits - 1) * stream.random((500, 700)) ** 3)
    codes[stream.random(codes.shape) > density] = 0
    codes[:, :300] *= stream.random((500, 300)) < 0.1
    codes = codes.astype(np.uint8 if weight_bits <= 8 else np.uint16)
    assert matrix_bytes(codes, weight_bits) == len(encode_matrix(codes, weight_bits, CodingChoice()).content)


def test_the_chosen_order_and_width_take_the_fewest_bytes() -> None:
    stream = np.random.default_rng(0)
    codes = (stream.integers(1, 16, (64, 96)) * (stream.random((64, 96)) < 0.1)).astype(np.uint8)
    codes[:, 30:60] = 0
    sizes = {
        (order, width): len(encode_matrix(codes, 4, CodingChoice(width, order, 8)).content)
        for order in SCAN_ORDERS
        for width in INDEX_BITS
    }
    chosen = encode_matrix(codes, 4, CodingChoice(num_pes=8))
    assert len(chosen.content) <= min(sizes.values()) + 2  # bits are compared, and a stream ends on a byte
    assert len(set(sizes.values())) > 10


def test_the_order_of_an_array_is_that_of_its_srams() -> None:
    from sim import ArrayConfig, pack

    codes = (np.arange(35).reshape(7, 5) % 6).astype(np.uint8)
    packed = pack(CompressedLayer("drawn", codes, np.arange(8, dtype=np.float32)), ArrayConfig(num_pes=3))
    kept = scanned(codes, "interleaved", 3)
    images = np.concatenate([packed.sparse_matrix_image(pe)[0] for pe in range(3)])
    assert kept[kept > 0].tolist() == images.tolist()
    np.testing.assert_array_equal(unscanned(kept, 7, 5, "interleaved", 3), codes)


def test_columns_that_are_empty_and_rows_that_are_full_cost_the_range_coder_little() -> None:
    pytest.importorskip("constriction", reason="needs the extra 'range'")
    stream = np.random.default_rng(0)
    codes = (stream.integers(1, 16, (300, 400)) * (stream.random((300, 400)) < 0.1)).astype(np.uint8)
    codes[:, stream.random(400) < 0.5] = 0
    sizes = [len(encode_matrix(codes, 4, CodingChoice(coder=coder)).content) for coder in ("huffman", "range")]
    assert sizes[1] < 0.95 * sizes[0]


def test_empty_rows_and_columns_are_left_out_where_that_takes_fewer_bytes(tmp_path: Path) -> None:
    codes = np.full((64, 96), 1, dtype=np.uint8)
    codes[::4], codes[:, 5] = 0, 0
    layer = CompressedLayer("units", codes, np.array([0, 1, 2, 3], dtype=np.float32))
    whole, compact = (CompressedModel([layer], coding=CodingChoice(leaves_out_empty=each)) for each in (False, True))
    assert whole.to_bytes()[8] == 2
    assert compact.to_bytes()[8] == 4
    assert whole.size_bytes - compact.size_bytes > 48 * 95 / 8 - 100  # a bit for each gap
    assert compact.size_bytes == sum(each.total for each in compact.size_report.layers) + compact.size_report.header
    compact.save(tmp_path / "compact.dc")
    read = CompressedModel.load(tmp_path / "compact.dc")
    np.testing.assert_array_equal(read.layers[0].codes, codes)
    assert read.to_bytes() == compact.to_bytes()
    full = CompressedLayer("full", np.ones((4, 5), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    sparse = CompressedLayer("none", np.zeros((4, 5), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    for each in (full, sparse):
        same = [CompressedModel([each], coding=CodingChoice(leaves_out_empty=out)).to_bytes() for out in (False, True)]
        assert same[0] == same[1]


@settings(deadline=None, max_examples=200)
@given(matrices(), st.integers(1, 9))
def test_no_huffman_code_takes_less_than_the_entropy_of_its_symbols(drawn: tuple[Integers, int], num_pes: int) -> None:
    coded = encode_matrix(*drawn, CodingChoice(num_pes=num_pes))
    assert coded.codes + coded.gaps + coded.fillers >= coded.entropy_bytes * (1 - 1e-12)
