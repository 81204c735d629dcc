"""Row orders: fair, bit-exact, never worse for having been searched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import (
    ArrayConfig,
    RowAssignment,
    assign_rows,
    pack,
    rows_balanced_by_activity,
    rows_balanced_by_entries,
    rows_found_by_search,
    simulate,
)
from tests.conftest import real_file
from tests.layers import Case, cases
from traces import CompressedLayer, InputError, draw_layer, read_layer_and_input

CODEBOOK = np.array([0, 1], dtype=np.float32)


@settings(deadline=None, max_examples=150)
@given(cases(), st.integers(0, 2**32 - 1))
def test_any_row_order_gives_the_same_output_on_both_engines(case: Case, seed: int) -> None:
    layer, activations, config = case
    order = np.random.default_rng(seed).permutation(layer.rows)
    packed = pack(layer, config, order)
    fast, ticked = simulate(packed, activations, config), simulate(packed, activations, config, "reference")
    np.testing.assert_array_equal(fast.output, simulate(layer, activations, config).output)
    np.testing.assert_array_equal(fast.output, ticked.output)
    assert (fast.cycles, fast.line_reads, fast.padding_entries) == (
        ticked.cycles,
        ticked.line_reads,
        ticked.padding_entries,
    )
    np.testing.assert_array_equal(fast.entries_per_pe, ticked.entries_per_pe)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_every_order_holds_every_row_once_and_no_search_makes_it_slower(case: Case) -> None:
    layer, activations, config = case
    by_entries = rows_balanced_by_entries(layer, config.num_pes)
    by_activity = rows_balanced_by_activity(layer, activations, config.num_pes)
    searched = rows_found_by_search(layer, np.stack([activations, activations]), config, num_trials=50)
    for order in (by_entries, by_activity, searched):
        assert sorted(order) == list(range(layer.rows))
    before, after = (
        simulate(pack(layer, config, order), activations, config).cycles for order in (by_activity, searched)
    )
    assert after <= before


def dealt(work: list[int], num_pes: int) -> list[int]:
    """Return the balanced order, naively: the row with most work goes to the PE with the least that has room."""
    places = [len(range(pe, len(work), num_pes)) for pe in range(num_pes)]
    owned: list[list[int]] = [[] for _ in range(num_pes)]
    for row in sorted(range(len(work)), key=lambda row: (-work[row], row)):
        open_pes = [pe for pe in range(num_pes) if len(owned[pe]) < places[pe]]
        owned[min(open_pes, key=lambda pe: (sum(work[own] for own in owned[pe]), pe))].append(row)
    return [sorted(owned[place % num_pes])[place // num_pes] for place in range(len(work))]


def improved(layer: CompressedLayer, inputs: np.ndarray, config: ArrayConfig, num_trials: int) -> list[int]:
    """Return the searched order, naively: the whole layer is packed and simulated again for each exchange."""

    def cycles(order: np.ndarray) -> int:
        packed = pack(layer, config, order)
        return sum(simulate(packed, values, config).cycles for values in inputs)

    order = rows_balanced_by_activity(layer, inputs, config.num_pes)
    least = cycles(order)
    for pair in np.random.default_rng(0).integers(0, layer.rows, (num_trials, 2)):
        changed = order.copy()
        changed[pair] = order[pair[::-1]]
        if pair[0] % config.num_pes != pair[1] % config.num_pes and cycles(changed) <= least:
            order, least = changed, cycles(changed)
    return [int(row) for row in order]


@settings(deadline=None)
@given(cases())
def test_balanced_orders_equal_those_of_the_naive_twin(case: Case) -> None:
    layer, activations, config = case
    kept = (layer.codes != 0).astype(int)
    used = kept[:, np.flatnonzero(layer.thresholded(activations))].sum(axis=1)
    if layer.bias is not None:
        kept, used = np.column_stack([kept, layer.bias != 0]), used + (layer.bias != 0)
    by_entries = rows_balanced_by_entries(layer, config.num_pes)
    assert by_entries.tolist() == dealt(kept.sum(axis=1).tolist(), config.num_pes)
    by_activity = rows_balanced_by_activity(layer, activations, config.num_pes)
    assert by_activity.tolist() == dealt(used.tolist(), config.num_pes)


@settings(deadline=None, max_examples=30)
@given(cases())
def test_the_searched_order_equals_that_of_the_naive_twin(case: Case) -> None:
    layer, activations, config = case
    config = dataclasses.replace(config, index_bits=8, line_bits=64)  # no padding, which the search does not count
    inputs = np.stack([activations, activations[::-1]])
    found = rows_found_by_search(layer, inputs, config, num_trials=12)
    assert found.tolist() == improved(layer, inputs, config, 12)


def test_a_heavy_row_gets_a_pe_with_light_ones() -> None:
    codes = np.zeros((4, 8), dtype=np.uint8)
    codes[0] = codes[2] = 1  # interleaved, both heavy rows belong to PE 0
    codes[1, 0] = codes[3, 0] = 1
    layer = CompressedLayer("uneven", codes, CODEBOOK)
    order = rows_balanced_by_entries(layer, 2)
    assert sorted(order[0::2].tolist()) in ([0, 1], [0, 3])
    array = ArrayConfig(num_pes=2)
    assert pack(layer, array).entry_counts.sum(axis=0).tolist() == [16, 2]
    assert pack(layer, array, order).entry_counts.sum(axis=0).tolist() == [9, 9]


def test_activity_counts_only_columns_that_are_broadcast() -> None:
    codes = np.zeros((4, 4), dtype=np.uint8)
    codes[0:2, 0:3] = 1  # much stored, never used
    codes[2:4, 3] = 1
    layer = CompressedLayer("idle", codes, CODEBOOK)
    order = rows_balanced_by_activity(layer, [0, 0, 0, 1], 2)
    assert sorted(row // 2 for row in order[0::2]) == [0, 1]


def test_the_table_that_puts_outputs_back_is_counted() -> None:
    layer = CompressedLayer("x", np.ones((1000, 2), dtype=np.uint8), CODEBOOK)
    assert pack(layer, ArrayConfig()).row_order_bits == 0
    assert pack(layer, ArrayConfig(), np.arange(1000)).row_order_bits == 1000 * 10


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0.0, 1.0, 2.0], [1, 2, 3], [[0, 1, 2]], [[0], [1, 2]]])
def test_what_is_no_order_of_the_rows_is_refused(order: list[int]) -> None:
    layer = CompressedLayer("x", np.ones((3, 2), dtype=np.uint8), CODEBOOK)
    with pytest.raises(InputError, match="row_order must hold each of the rows 0 to 2 once; found"):
        pack(layer, ArrayConfig(), order)


def test_inputs_that_do_not_fit_are_refused() -> None:
    layer = CompressedLayer("x", np.ones((3, 2), dtype=np.uint8), CODEBOOK)
    with pytest.raises(InputError, match=r"real numbers \[inputs, 2\], at least one input; found float64 \[0, 2\]"):
        rows_balanced_by_activity(layer, np.ones((0, 2)), 2)
    with pytest.raises(InputError, match=r"real numbers \[inputs, 2\], at least one input; found float64 \[1, 3\]"):
        rows_found_by_search(layer, np.ones((1, 3)), ArrayConfig())
    with pytest.raises(InputError, match="all inputs must be of one length; they are ragged"):
        rows_balanced_by_activity(layer, [[1, 1], [1]], 2)
    with pytest.raises(InputError, match="num_pes must be 1 to 65,536"):
        rows_balanced_by_entries(layer, 0)
    with pytest.raises(InputError, match="num_trials must be a whole number from 0 to 1,000,000,000; found -1"):
        rows_found_by_search(layer, np.ones(2), ArrayConfig(), num_trials=-1)


def test_an_assignment_is_chosen_by_its_name() -> None:
    layer, activations = draw_layer("x", 40, 12, 0.5, 0.5, 0)
    array = ArrayConfig(num_pes=4)
    orders = {
        "entries": rows_balanced_by_entries(layer, 4),
        "activity": rows_balanced_by_activity(layer, activations, 4),
        "search": rows_found_by_search(layer, activations, array),
    }
    for name in get_args(RowAssignment):
        np.testing.assert_array_equal(assign_rows(layer, name, array, activations), orders.get(name))
    with pytest.raises(InputError, match="row_assignment='search' needs recorded inputs; give activations"):
        assign_rows(layer, "search", array)
    with pytest.raises(InputError, match=r"row_assignment must be one of 'interleaved', .*; found 'best'"):
        assign_rows(layer, "best", array)  # type: ignore[arg-type]


def test_the_real_alex8_needs_at_most_7400_cycles(data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    array = ArrayConfig()
    plain = simulate(layer, activations, array)
    cycles = {}
    for name, order in (
        ("entries", rows_balanced_by_entries(layer, 64)),
        ("activity", rows_balanced_by_activity(layer, activations, 64)),
        ("search", rows_found_by_search(layer, activations, array)),
    ):
        result = simulate(pack(layer, array, order), activations, array)
        np.testing.assert_array_equal(result.output, plain.output)
        cycles[name] = result.cycles
    assert plain.cycles == 7926
    assert cycles["search"] <= 7400 < cycles["activity"] < cycles["entries"] < plain.cycles
