"""Relative index and Huffman coding."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.container import huffman
from compress.container.layer_coding import INDEX_BITS, CodingChoice, decode_matrix, encode_matrix
from compress.relative_index import SCAN_ORDERS, decode_relative, encode_relative, scanned, unscanned
from traces import CompressedLayer
from traces.arrays import Integers


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.sampled_from([0, 0.01, 0.2, 1]), st.integers(1, 8))
def test_relative_index_is_read_back(seed: int, length: int, density: float, index_bits: int) -> None:
    stream = np.random.default_rng(seed)
    codes = np.where(stream.random(length) < density, stream.integers(1, 16, length), 0).astype(np.uint8)
    entry_codes, gaps = encode_relative(codes, index_bits)
    assert not gaps.size or gaps.max() < 2**index_bits
    assert np.array_equal(decode_relative(entry_codes, gaps, length), codes)
    assert np.count_nonzero(entry_codes) == np.count_nonzero(codes)


def test_the_paper_s_example_of_a_filler_comes_out() -> None:
    # Deep Compression, Fig 2: weights at positions 1, 4 and 15 with a span of 8; the third gap needs a filler.
    codes = np.zeros(16, dtype=np.uint8)
    codes[[1, 4, 15]] = 1, 2, 3
    entry_codes, gaps = encode_relative(codes, 3)
    assert entry_codes.tolist() == [1, 2, 0, 3]
    assert (gaps + 1).tolist() == [2, 3, 8, 3]  # the paper counts the difference of positions, from -1


def test_an_entry_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="an entry lies at position 5 of 5"):
        decode_relative(np.array([1], dtype=np.uint8), np.array([5], dtype=np.uint8), 5)


def textbook_cost(counts: list[int]) -> int:
    """Bits that Huffman's own algorithm needs: the sum of all merged weights."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    return cost


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=64))
def test_code_lengths_are_optimal_and_make_a_complete_prefix_code(counts: list[int]) -> None:
    lengths = huffman.code_lengths(np.array(counts), 63)
    assert [length > 0 for length in lengths] == [count > 0 for count in counts]
    if sum(count > 0 for count in counts) > 1:
        assert int((lengths * np.array(counts)).sum()) == textbook_cost(counts)
        assert sum(2.0 ** -int(length) for length in lengths if length) == 1


def test_limited_lengths_are_the_best_within_the_limit() -> None:
    counts = np.array([1, 1, 2, 3, 5, 8, 13, 21])  # unlimited: 7 bits for the rarest
    assert huffman.code_lengths(counts).max() == 7
    for limit in (3, 4, 5, 6):
        lengths = huffman.code_lengths(counts, limit)
        assert lengths.max() <= limit
        assert int((lengths * counts).sum()) == best_limited_cost(tuple(counts.tolist()), limit)
    with pytest.raises(ValueError, match="8 symbols need code words of more than 2 bits"):
        huffman.code_lengths(counts, 2)


def test_the_longest_code_word_has_12_bits() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 32:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    counts = np.array(fibonacci)
    assert huffman.code_lengths(counts, 31).max() == 31
    lengths = huffman.code_lengths(counts)
    assert lengths.max() == 12
    symbols = np.arange(32, dtype=np.uint8)
    assert np.array_equal(huffman.decode(huffman.encode(symbols, lengths), 32, lengths), symbols)


def best_limited_cost(counts: tuple[int, ...], limit: int) -> int:
    """By trying all non-increasing lengths for ascending counts that satisfy Kraft's inequality."""

    def best(place: int, longest: int, room: int) -> float:
        if place == len(counts):
            return 0 if room >= 0 else float("inf")
        costs = [
            counts[place] * length + best(place + 1, length, room - 2 ** (limit - length))
            for length in range(longest, 0, -1)
            if room >= 2 ** (limit - length)
        ]
        return min(costs, default=float("inf"))

    return int(best(0, limit, 2**limit))


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=300))
def test_huffman_codes_are_read_back(values: list[int]) -> None:
    symbols = np.array(values, dtype=np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=41))
    content = huffman.encode(symbols, lengths)
    assert np.array_equal(huffman.decode(content, len(values), lengths), symbols)


def test_huffman_stays_within_a_bit_of_the_entropy() -> None:
    symbols = np.random.default_rng(0).geometric(0.3, size=100_000).clip(max=31).astype(np.uint8)
    counts = np.bincount(symbols, minlength=32)
    shares = counts[counts > 0] / counts.sum()
    entropy_bits = -(shares * np.log2(shares)).sum()
    coded_bits = len(huffman.encode(symbols, huffman.code_lengths(counts))) * 8 / symbols.size
    assert entropy_bits <= coded_bits < entropy_bits + 0.1


def test_one_symbol_alone_spends_no_bits() -> None:
    symbols = np.full(1000, 7, dtype=np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=16))
    assert huffman.encode(symbols, lengths) == b""
    assert np.array_equal(huffman.decode(b"", 1000, lengths), symbols)


@pytest.mark.parametrize("num_symbols", [2**14 - 1, 2**15, 2**15 + 1, 2**17 + 5, 300_001])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_several_streams_are_read_back(num_symbols: int, share: float) -> None:
    stream = np.random.default_rng(num_symbols)
    symbols = stream.choice(256, num_symbols, p=stream.dirichlet(np.full(256, share))).astype(np.uint8)
    symbols[: num_symbols // 2] = symbols[0]  # so that streams are of very different lengths
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=256))
    content = huffman.encode(symbols, lengths)
    assert np.array_equal(huffman.decode(content, num_symbols, lengths), symbols)
    for damaged in (content[:-1], content + b"x", content[: len(content) // 2], b""):
        with pytest.raises(ValueError, match=r"do not end where|do not hold|must follow|make no|no word"):
            huffman.decode(damaged, num_symbols, lengths)


def test_damaged_codes_are_refused() -> None:
    symbols = np.array([0, 1, 2, 1, 0, 0, 1, 1, 2, 0], dtype=np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=4))
    content = huffman.encode(symbols, lengths)
    with pytest.raises(ValueError, match=r"do not end where the|do not hold"):
        huffman.decode(content[:-1], symbols.size, lengths)
    with pytest.raises(ValueError, match=r"do not end where the|do not hold"):
        huffman.decode(content + b"\0", symbols.size, lengths)
    for impossible in ([1, 1, 1, 0], [1, 2, 0, 0], [13, 1, 2, 2]):
        with pytest.raises(ValueError, match="make no complete prefix code"):
            huffman.decode(content, symbols.size, np.array(impossible, dtype=np.uint8))
    with pytest.raises(ValueError, match="no word for the stored bits"):
        huffman.decode(b"", 3, np.zeros(4, dtype=np.uint8))


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
