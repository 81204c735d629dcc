"""Huffman coding: code lengths, streams, damaged bytes."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.container import huffman
from tests.compress.twins import huffman_content, symbols_of
from traces.arrays import Integers64


def textbook_cost(counts: list[int]) -> int:
    """Return the bits that Huffman's own algorithm needs: the sum of all merged weights."""
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


def package_merge(counts: Integers64, max_length: int) -> list[int]:
    """Return the lengths by package-merge, the readable model of the kernel: of equal weights, leaves are first."""
    used = np.flatnonzero(counts)
    leaves = np.sort(counts[used])
    is_leaf = []
    packages = np.zeros(0, dtype=np.int64)
    for _ in range(max_length):
        merged = np.concatenate([leaves, packages])
        order = np.argsort(merged, kind="stable")
        merged = merged[order]
        is_leaf.append(order < leaves.size)
        pairs = merged[: merged.size // 2 * 2]
        packages = pairs[0::2] + pairs[1::2]
    taken = 2 * used.size - 2
    in_order = np.zeros(used.size, dtype=np.int64)
    for leaf in reversed(is_leaf):
        num_leaves = int(leaf[:taken].sum())
        in_order[:num_leaves] += 1
        taken = 2 * (taken - num_leaves)
    lengths = np.zeros(len(counts), dtype=np.int64)
    lengths[used[np.argsort(counts[used], kind="stable")]] = in_order
    return lengths.tolist()


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32 - 1), st.integers(2, 256), st.sampled_from([1, 4, 1000, 10**9]), st.integers(8, 12))
def test_lengths_are_those_of_the_readable_package_merge(seed: int, symbols: int, spread: int, limit: int) -> None:
    stream = np.random.default_rng(seed)
    counts = np.floor(spread ** stream.random(symbols)).astype(np.int64)  # with many equal ones
    counts[stream.random(symbols) < 0.3] = 0
    counts[:2] += 1
    assert huffman.code_lengths(counts, limit).tolist() == package_merge(counts, limit)


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
    """Return the least bits; try all non-increasing lengths for ascending counts that satisfy Kraft's inequality."""

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


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=200))
def test_streams_equal_those_of_the_naive_twin(values: list[int]) -> None:
    symbols = np.array(values, dtype=np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=21))
    content = huffman.encode(symbols, lengths)
    if len(set(values)) > 1:
        assert content == huffman_content(values, lengths.tolist())
        assert symbols_of(content, len(values), lengths.tolist()) == values


def test_several_streams_equal_those_of_the_naive_twin() -> None:
    symbols = np.random.default_rng(0).geometric(0.2, 3 * 2**14 + 5).clip(max=40).astype(np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=41))
    assert huffman.encode(symbols, lengths) == huffman_content(symbols.tolist(), lengths.tolist())


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6), st.integers(3, 6))
def test_limited_lengths_are_as_good_as_exhaustive_search(counts: list[int], limit: int) -> None:
    lengths = huffman.code_lengths(np.array(counts), limit)
    assert lengths.max() <= limit
    assert int((lengths * np.array(counts)).sum()) == best_limited_cost(tuple(sorted(counts)), limit)


@pytest.mark.parametrize("num_symbols", [16_383, 32_768, 49_152, 65_000, 114_700, 131_072, 200_003])
@pytest.mark.parametrize("skew", [0.02, 0.5, 3, 300])
def test_any_number_of_streams_is_read_back(num_symbols: int, skew: float) -> None:
    drawn = np.random.default_rng(0).exponential(skew, num_symbols).astype(np.int64)
    symbols = np.minimum(drawn, 255).astype(np.uint8)
    symbols[-1] = 3  # so that there are two symbols or more
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=256))
    content = huffman.encode(symbols, lengths)
    assert np.array_equal(huffman.decode(content, num_symbols, lengths), symbols)
