"""Relative index: entries of codes and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.relative_index import decode_relative, encode_relative
from tests.compress.twins import relative_entries, vector_of


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


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 7]), max_size=80), st.integers(1, 4))
def test_entries_equal_those_of_the_naive_twin(values: list[int], index_bits: int) -> None:
    codes = np.array(values, dtype=np.uint8)
    entry_codes, gaps = encode_relative(codes, index_bits)
    entries = relative_entries(values, index_bits)
    assert list(zip(entry_codes.tolist(), gaps.tolist(), strict=True)) == entries
    assert vector_of(entries, len(values)) == decode_relative(entry_codes, gaps, len(values)).tolist() == values
