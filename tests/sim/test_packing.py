"""Packing against a naive twin in plain lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from sim import ArrayConfig, PackedLayer, pack, simulate
from tests.layers import Case, cases
from traces import CompressedLayer, InputError


def packed_by_hand(layer: CompressedLayer, num_pes: int, index_bits: int) -> list[list[list[tuple[int, int]]]]:
    """Return the entries (code, gap) by PE, then by column, the bias last."""
    columns = [list(layer.codes[:, j]) for j in range(layer.columns)]
    if layer.bias is not None:
        columns.append(list(layer.bias))
    array = []
    for pe in range(num_pes):
        stored = []
        for column in columns:
            entries = []
            zeros = 0
            for code in column[pe::num_pes]:
                if code == 0:
                    zeros += 1
                    continue
                while zeros >= 2**index_bits:
                    entries.append((0, 2**index_bits - 1))
                    zeros -= 2**index_bits
                entries.append((int(code), zeros))
                zeros = 0
            stored.append(entries)
        array.append(stored)
    return array


def unpacked(packed: PackedLayer) -> list[list[list[tuple[int, int]]]]:
    array = []
    for pe in range(packed.num_pes):
        stored = []
        codes, gaps = packed.sparse_matrix_image(pe)
        for begin, end in zip(packed.pointers[:-1, pe], packed.pointers[1:, pe], strict=True):
            stored.append(list(zip(codes[begin:end].tolist(), gaps[begin:end].tolist(), strict=True)))
        array.append(stored)
    return array


@settings(deadline=None, max_examples=200)
@given(cases())
def test_packing_equals_its_naive_twin(case: Case) -> None:
    layer, _, config = case
    packed = pack(layer, config)
    expected = packed_by_hand(layer, config.num_pes, config.index_bits)
    assert unpacked(packed) == expected
    assert packed.entry_counts.T.tolist() == [[len(column) for column in pe] for pe in expected]
    rows = [
        pe + config.num_pes * row
        for column in range(packed.pointers.shape[0] - 1)
        for pe in range(config.num_pes)
        for row in np.cumsum([gap + 1 for _, gap in expected[pe][column]], dtype=int) - 1
    ]
    assert packed.output_rows.tolist() == rows
    padding = [[sum(code == 0 for code, _ in column) for column in pe] for pe in expected]
    assert packed.padding_counts.T.tolist() == padding
    assert packed.stored_entries == sum(len(column) for pe in expected for column in pe)
    assert packed.padding_entries == sum(sum(pe) for pe in padding)


def test_a_gap_of_exactly_max_gap_needs_one_padding_entry() -> None:
    for gap, padding in ((3, 0), (4, 1), (7, 1), (8, 2)):
        codes = np.zeros((gap + 1, 1), dtype=np.uint8)
        codes[gap] = 1
        layer = CompressedLayer("gap", codes, np.array([0, 1], dtype=np.float32))
        packed = pack(layer, ArrayConfig(num_pes=1, index_bits=2))
        assert packed.padding_entries == padding, gap
        assert packed.gaps[-1] == gap % 4, gap
        assert packed.output_rows[-1] == gap


def test_an_image_of_another_array_is_refused() -> None:
    layer = CompressedLayer("small", np.ones((4, 4), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    packed = pack(layer, ArrayConfig(num_pes=2))
    with pytest.raises(InputError, match="was packed for num_pes=2, index_bits=4; the array has num_pes=4"):
        simulate(packed, np.ones(4), ArrayConfig(num_pes=4))


def test_codes_wider_than_the_array_reads_are_refused() -> None:
    layer = CompressedLayer("wide", np.ones((4, 4), dtype=np.uint8), np.zeros(32, dtype=np.float32))
    with pytest.raises(InputError, match="codes of 5 bits and the array reads weight_bits=4; give the array"):
        pack(layer, ArrayConfig())
    assert pack(layer, ArrayConfig(weight_bits=5)).stored_entries == 16
