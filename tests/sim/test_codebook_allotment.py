"""Allotment of PEs to codebooks: one codebook in each PE, or a refusal; switches write each codebook."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, pack, rows_balanced_by_activity, rows_balanced_by_entries, rows_found_by_search, simulate
from sim.network_schedule import LAYER_REGISTERS, ScheduledLayer, switch_cycles
from tests.layers import Case, cases
from traces import CompressedLayer, InputError


def layer_of(sizes: list[int], columns: int = 3, seed: int = 0) -> CompressedLayer:
    """Return a layer whose codebooks have these numbers of rows, in any order."""
    stream = np.random.default_rng(seed)
    numbers = stream.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.uint16)
    codebook = stream.normal(size=(len(sizes), 4)).astype(np.float32)
    codebook[:, 0] = 0
    codes = stream.integers(0, 4, (numbers.size, columns)).astype(np.uint8)
    return CompressedLayer("own", codes, codebook, row_codebooks=numbers)


def can_be_allotted(sizes: list[int], num_pes: int) -> bool:
    """Return True if some sharing of the PEs' places among codebooks gives each PE one codebook, tried one by one."""
    places = np.array([len(range(pe, sum(sizes), num_pes)) for pe in range(num_pes)])
    return any(
        all(places[np.array(owners) == number].sum() == size for number, size in enumerate(sizes))
        for owners in itertools.product(range(len(sizes)), repeat=num_pes)
    )


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=4), st.integers(1, 6), st.integers(0, 99))
def test_codebooks_are_allotted_exactly_where_they_can_be(sizes: list[int], num_pes: int, seed: int) -> None:
    layer, array = layer_of(sizes, seed=seed), ArrayConfig(num_pes=num_pes, weight_bits=2)
    if not can_be_allotted(sizes, num_pes):
        for find in (lambda: pack(layer, array), lambda: rows_balanced_by_entries(layer, num_pes)):
            with pytest.raises(InputError, match=f"num_pes={num_pes} must suit its codebooks.*codebooks='layer'"):
                find()
        return
    inputs = np.ones((2, layer.columns), dtype=np.float32)
    assert layer.row_codebooks is not None
    for order in (
        pack(layer, array).row_order,
        rows_balanced_by_entries(layer, num_pes),
        rows_balanced_by_activity(layer, inputs, num_pes),
        rows_found_by_search(layer, inputs, array, num_trials=50),
    ):
        rows = np.arange(layer.rows) if order is None else order
        assert sorted(rows.tolist()) == list(range(layer.rows))
        assert all(np.unique(layer.row_codebooks[rows[pe::num_pes]]).size <= 1 for pe in range(num_pes))
        packed = pack(layer, array, order)
        np.testing.assert_allclose(simulate(packed, inputs[0], array).output, layer.weights().sum(axis=1), atol=1e-5)
        for pe in range(min(num_pes, layer.rows)):
            np.testing.assert_array_equal(packed.codebooks[pe], layer.codebooks[layer.row_codebooks[rows[pe]]])


@settings(deadline=None, max_examples=50)
@given(cases(several_codebooks=True))
def test_a_codebook_looked_up_by_place_is_the_codebook_of_the_row(case: Case) -> None:
    layer, _, config = case
    packed = pack(layer, config)
    codes, bias = packed.places_in_codebooks()
    np.testing.assert_array_equal(packed.codebooks.ravel()[codes], layer.weights())
    if layer.bias is not None:
        np.testing.assert_array_equal(packed.codebooks.ravel()[bias], layer.bias_values())
    np.testing.assert_array_equal(packed.codes, packed.codes & (2**layer.weight_bits - 1))


def test_the_pes_of_a_codebook_share_its_work() -> None:
    codes = np.zeros((8, 8), dtype=np.uint8)
    codes[0] = codes[4] = 1  # both rows of codebook 0 with much work: in turn, they come to PE 0
    codes[2, 0] = codes[6, 0] = 1
    numbers = np.array([0, 1] * 4, dtype=np.uint16)
    codebook = np.array([[0, 1], [0, 2]], dtype=np.float32)
    layer = CompressedLayer("uneven", codes, codebook, row_codebooks=numbers)
    array = ArrayConfig(num_pes=4, weight_bits=1)
    assert pack(layer, array).row_order is None  # rows of each PE have one codebook as they are
    assert sorted(pack(layer, array).stored_per_pe.tolist()) == [0, 0, 2, 16]
    order = rows_balanced_by_entries(layer, 4)
    assert sorted(pack(layer, array, order).stored_per_pe.tolist()) == [0, 0, 9, 9]


def test_an_order_that_mixes_codebooks_in_a_pe_is_refused() -> None:
    layer = layer_of([2, 2])
    assert layer.row_codebooks is not None
    mixed = np.argsort(layer.row_codebooks, kind="stable")
    with pytest.raises(InputError, match=r"row_order must give each PE rows of one codebook.*leave row_order out"):
        pack(layer, ArrayConfig(num_pes=2, weight_bits=2), mixed)


def test_a_switch_writes_the_codebooks_of_all_groups_one_after_the_other() -> None:
    array = ArrayConfig(num_pes=8, weight_bits=2, port_bits=16)
    own = pack(layer_of([1, 1, 1, 2, 1]), ArrayConfig(num_pes=5, weight_bits=2))
    one = pack(layer_of([6]), array)
    few = pack(layer_of([3, 3]), array)
    assert switch_cycles(ScheduledLayer.of_groups("own", [own], array), array) == 5 * 4 + LAYER_REGISTERS
    assert switch_cycles(ScheduledLayer.of_groups("one", [one, one], array), array) == 2 * (4 + LAYER_REGISTERS)
    assert switch_cycles(ScheduledLayer.of_groups("few", [few, one], array), array) == 3 * 4 + 2 * LAYER_REGISTERS
