"""Limits: no run takes fewer cycles, and the steps from useful work to the measured cycles leave nothing over."""

from __future__ import annotations

import gc
import itertools
import math
import pickle
import warnings
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import (
    ArrayConfig,
    Counts,
    DoesNotFitWarning,
    count,
    pack,
    simulate,
    simulate_batch,
    simulate_lstm,
    simulate_network,
)
from sim.array import Engine
from sim.array_table import ArrayTable
from sim.cost.energy import event_energies
from sim.entropy_limits import sum_of_byte_limits
from sim.limits import BINDING, STEPS, Limit, dram_cycles
from sim.memory import transfer_cycles
from sim.weight_entropy import WeightEntropy
from tests.layers import Case, cases, with_codebooks
from traces import CompressedLayer, InputError, draw_layer

LEAST_SRAM_BYTES = 1024  # of which the cost model has tables


def assert_holds(limit: Limit) -> None:
    """Assert that the limit is at most the measured cycles, is the largest bound, and that the steps add up."""
    assert limit.limit_cycles <= limit.cycles
    assert max(limit.bounds.values()) <= limit.limit_cycles
    assert set(limit.pe_cycles) == set(STEPS)
    assert min(limit.pe_cycles.values()) >= 0
    assert sum(limit.pe_cycles.values()) == limit.num_pes * limit.cycles
    assert sum(limit.shares.values()) == pytest.approx(1.0)


def assert_binds(limit: Limit) -> None:
    """Assert that the largest bound of one input binds."""
    assert limit.bounds[limit.binds] == max(limit.bounds[name] for name in BINDING)


def bits_of(layer: CompressedLayer) -> tuple[float, float]:
    """Return the bits of codes and of positions, from factorials and logarithms of whole numbers."""
    codes = layer.codes if layer.bias is None else np.hstack([layer.codes, layer.bias[:, np.newaxis]])
    kept = codes != 0
    books = np.zeros(len(codes)) if layer.row_codebooks is None else layer.row_codebooks
    code_bits = 0.0
    for book in np.unique(books):  # each has its own codes
        own = codes[books == book]
        used = [int(np.count_nonzero(own == code)) for code in np.unique(own[own != 0])]
        code_bits += sum(number * math.log2(sum(used) / number) for number in used)

    def placements(places: int, numbers: Any) -> float:
        return sum(math.log2(math.comb(places, int(number))) for number in numbers)

    of_columns, of_rows = placements(len(kept), kept.sum(axis=0)), placements(kept.shape[1], kept.sum(axis=1))
    return code_bits, min(of_columns, of_rows)


def assert_weights_hold(result: Counts, layer: CompressedLayer, sram_bytes: int) -> None:
    """Assert that no part of energy and stored bytes is negative, and that the parts add up to all of each."""
    code_bits, position_bits = bits_of(layer)
    assert result.entropy.code_bits == pytest.approx(code_bits, abs=1e-6)
    assert result.entropy.position_bits == pytest.approx(position_bits, abs=1e-6)
    assert result.entropy.weights == result.stored_entries - result.padding_entries
    stored, array = result.byte_limit, result.config
    assert min(stored.parts.values()) >= -1e-9
    assert stored.limit_bytes <= (code_bits + position_bits) / 8 + 1e-6
    all_bits = result.stored_lines * array.line_bits + result.stored_pointers * array.pointer_bits
    assert stored.stored_bytes == pytest.approx(all_bits / 8)
    assert 0 <= stored.share <= 1 + 1e-9
    if sram_bytes >= LEAST_SRAM_BYTES:
        energy = result.energy_limit
        assert min(energy.above_pj.values()) >= -1e-9 * energy.total_pj
        assert energy.total_pj == pytest.approx(result.energy.total_pj)
        assert 0 <= energy.limit_pj < energy.total_pj


def check(case: Case, mode: Any, axis: Any, sram_bytes: int, engine: Engine = "closed-form") -> int:
    """Check the limit of a layer, against sums over its weights if it is one block; return the number of blocks."""
    layer, activations, array = case
    array = replace(array, memory_mode=mode, block_axis=axis, sparse_matrix_bytes=sram_bytes)
    try:
        result = (
            simulate(layer, activations, array, engine) if engine == "reference" else count(layer, activations, array)
        )
    except InputError:  # no blocks fit
        return 0
    limit = result.limit
    assert_holds(limit)
    assert_binds(limit)
    assert limit.binds == ("dram" if limit.bounds["dram"] > result.array_limit_cycles else limit.binds)
    assert result.array_limit_cycles <= result.cycles - result.waiting_cycles
    assert_weights_hold(result, layer, sram_bytes)
    if result.blocks > 1:
        return result.blocks
    kept = layer.codes[:, layer.thresholded(activations) != 0] != 0
    useful = int(kept.sum()) + (0 if layer.bias is None else int((layer.bias != 0).sum()))
    order = pack(layer, array).row_order
    rows = kept.sum(axis=1) + (0 if layer.bias is None else layer.bias != 0)
    of_pes = [int((rows if order is None else rows[order])[pe :: array.num_pes].sum()) for pe in range(array.num_pes)]
    start = 1 + array.pipeline_cycles
    assert limit.pe_cycles["useful"] == useful
    assert limit.bounds["useful"] == start + -(-useful // array.num_pes)
    assert limit.bounds["pe"] >= start + max(of_pes)
    assert limit.bounds["scan"] >= start + kept.shape[1] + (layer.bias is not None)
    assert limit.pe_cycles["start"] == array.num_pes * start
    if not result.padding_per_pe.any():
        assert limit.bounds["pe"] == start + max(of_pes)
    return 1


def drawn(seed: int) -> tuple[Case, Any, Any, int]:
    """Draw what `check` takes: odd shapes, thresholds, codebooks of PEs, layers without weights or activations."""
    stream = np.random.default_rng(seed)

    def of(*choices: Any) -> Any:
        return choices[stream.integers(len(choices))]

    num_pes, index_bits = of(1, 2, 3, 4, 7, 16, 64), int(stream.integers(1, 6))
    rows, columns = (int(length) for length in stream.integers(1, of(4, 40, 90), size=2))
    codes = stream.integers(1, 16, size=(rows, columns)).astype(np.uint8)
    codes[stream.random((rows, columns)) >= of(0.0, 0.03, 0.2, 0.6, 1.0)] = 0
    codes[stream.random(rows) < of(0.0, 0.5)] = 0
    codebook = np.arange(16, dtype=np.float32)
    bias = of(None, stream.integers(0, 16, size=rows).astype(np.uint8))
    layer = CompressedLayer("drawn", codes, codebook, bias, activation_threshold=of(0.0, 0.0, 0.5, 9.0))
    activations = stream.normal(size=columns).astype(np.float32)
    activations[stream.random(columns) >= of(0.0, 0.1, 0.5, 1.0)] = 0
    array = ArrayConfig(
        num_pes=num_pes,
        queue_slots=of(2, 3, 8, 64),
        line_bits=64,
        index_bits=index_bits,
        pipeline_cycles=of(5, 6, 12),
        broadcast_cycles=of(1, 2, 5),
        dram_gb_per_s=of(0.5, 12.8, 200.0),
    )
    case = with_codebooks(layer, of(1, 1, 2, 16), num_pes, stream), activations, array
    return case, of("unlimited", "unlimited", "passes", "streamed"), of("columns", "rows"), of(24, 131_072)


@pytest.mark.filterwarnings("ignore::sim.DoesNotFitWarning")
@pytest.mark.parametrize("seeds", [range(1_500), pytest.param(range(1_500, 10_000), marks=pytest.mark.slow)])
def test_no_layer_takes_fewer_cycles_than_its_limit(seeds: range) -> None:
    blocks = [check(*drawn(seed)) for seed in seeds]
    found = np.array(blocks)
    for number in (0, 1, 2):  # refused, in one block, in several
        assert np.count_nonzero(np.minimum(found, 2) == number) > len(seeds) / 100


@settings(deadline=None, max_examples=100)
@given(
    cases(several_codebooks=True),
    st.sampled_from(["unlimited", "unlimited", "passes", "streamed"]),
    st.sampled_from(["columns", "rows"]),
    st.sampled_from([8, 40, 131_072]),
)
@pytest.mark.filterwarnings("ignore::sim.DoesNotFitWarning")
def test_the_tick_machine_takes_no_fewer_cycles_than_the_limit(
    case: Case, mode: Any, axis: Any, sram_bytes: int
) -> None:
    check(case, mode, axis, sram_bytes, "reference")


def ones(codes: Any, name: str = "planted") -> CompressedLayer:
    """Return a layer of these codes, whose weights are 0 and 1."""
    return CompressedLayer(name, np.asarray(codes, dtype=np.uint8), np.array([0, 1], dtype=np.float32))


def test_the_most_loaded_pe_binds_where_one_pe_has_the_weights() -> None:
    codes = np.zeros((4, 10))
    codes[1] = 1  # of PE 1
    codes[0, 0] = 1
    heavy = simulate(ones(np.vstack([codes] * 4)), np.ones(10), ArrayConfig(num_pes=2, queue_slots=64)).limit
    assert heavy.binds == "pe"
    assert heavy.bounds == {"pe": 46, "scan": 16, "port": 0, "dram": 0, "useful": 28, "entries": 28, "lines": 9}
    assert heavy.pe_cycles["imbalance"] == 2 * 40 - 44
    assert heavy.cycles == heavy.limit_cycles + 2  # the first column is on its way to the PE


def test_the_least_energy_is_that_of_arithmetic_and_of_weights_at_their_entropy() -> None:
    layer, activations = draw_layer("x", 64, 80, 0.3, 1.0, 1)
    array = ArrayConfig(num_pes=4, index_bits=2)  # some padding
    result, event = simulate(layer, activations, array), event_energies(array)
    parts = result.energy
    assert result.entropy.bits_per_weight == pytest.approx(sum(bits_of(layer)) / result.entropy.weights)
    bits = min(result.entropy.bits_per_weight, array.entry_bits)
    weights = result.useful_macs * bits * event.line_read_pj / array.line_bits
    arithmetic = parts.arithmetic_pj * result.useful_macs / result.processed_entries + parts.activation_write_pj
    limit = result.energy_limit
    assert limit.arithmetic_pj == pytest.approx(arithmetic)
    assert limit.weight_pj == pytest.approx(weights)
    assert limit.share == pytest.approx((arithmetic + weights) / parts.total_pj)
    assert limit.above_pj[limit.binds] == max(limit.above_pj.values())
    assert result.useful_macs < result.processed_entries
    batch = simulate_batch(layer, [activations, 0 * activations], array)
    assert 0 < batch.useful_macs[1] < batch.useful_macs[0] == result.useful_macs  # those of the bias
    expected = result.energy_limit.limit_pj * batch.useful_macs.sum() / result.useful_macs
    assert batch.energy_limit.limit_pj == pytest.approx(expected)
    assert batch.energy_limit.total_pj == pytest.approx(batch.energy_pj.sum())
    assert batch.byte_limit == result.byte_limit


def test_equal_weights_in_a_full_matrix_take_no_bits() -> None:
    full, empty = WeightEntropy([ones(np.ones((8, 9)))]), WeightEntropy([ones(np.zeros((8, 9)))])
    assert (full.weights, full.code_bits, full.position_bits) == (72, 0.0, 0.0)
    assert (empty.weights, empty.code_bits, empty.position_bits, empty.bits_per_weight) == (0, 0.0, 0.0, 0.0)
    for columns in (7_957, 28_599):  # whose logarithms differ in the last bit between Python and NumPy
        assert WeightEntropy([ones(np.ones((1, columns)))]).code_bits == 0.0


def test_codes_of_several_codebooks_are_different_codes() -> None:
    codes = np.array([[1] * 6, [2] * 6] * 4, dtype=np.uint8)
    books = np.array([0, 1] * 4, dtype=np.uint16)
    one = CompressedLayer("one", codes, np.array([0, 1, 2, 3], dtype=np.float32))
    two = replace(one, codebook=np.array([[0, 1, 2, 3], [0, 5, 6, 7]], dtype=np.float32), row_codebooks=books)
    assert WeightEntropy([one]).code_bits == pytest.approx(48)
    assert WeightEntropy([two]).code_bits == 0.0  # a PE has one codebook, and all its codes are equal
    assert WeightEntropy([one, two]).code_bits == pytest.approx(48)
    stored = simulate(two, np.ones(6), ArrayConfig(num_pes=2)).byte_limit
    assert (stored.parts["codes"], stored.parts["wider_codes"]) == (0.0, 48 * 4 / 8)


def test_counts_find_the_bits_of_weights_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError

    layer, activations = draw_layer("x", 300, 200, 0.3, 0.5, 1)
    array = ArrayConfig(num_pes=4, memory_mode="passes", sparse_matrix_bytes=2048)
    with monkeypatch.context() as patch:
        patch.setattr("sim.packing_kernels.count_kept", refused)
        results: list[Any] = [count(layer, activations, array), simulate_batch(layer, [activations], array)]
    assert count(layer, activations, array).blocks > 1
    before = WeightEntropy([layer])
    for result in results:
        copy = pickle.loads(pickle.dumps(result))
        assert len(pickle.dumps(result)) < layer.codes.nbytes / 4  # the weights are not among them
        assert (copy.byte_limit, copy.energy_limit) == (result.byte_limit, result.energy_limit)
        assert copy.entropy == before
        assert repr(copy.entropy) == repr(before)
    kept = weakref.ref(layer)
    del layer, before
    gc.collect()
    assert kept() is None  # no longer than that


def test_the_weights_of_one_of_two_columns_take_the_bits_of_one_column() -> None:
    codes = np.zeros((4, 2))
    codes[:2, 0] = 1, 2
    layer = CompressedLayer("two", codes.astype(np.uint8), np.array([0, 1, 2, 3], dtype=np.float32))
    entropy = WeightEntropy([layer])
    assert entropy.code_bits == pytest.approx(2.0)
    assert entropy.position_bits == pytest.approx(2.0)  # two rows with one of two columns; by columns, log2 6
    array = ArrayConfig(num_pes=2)
    stored = simulate(layer, np.ones(2), array).byte_limit
    assert stored.limit_bytes == pytest.approx(0.5)
    assert stored.parts["wider_codes"] == pytest.approx((2 * array.weight_bits - 2) / 8)
    gaps_and_pointers = 2 * array.index_bits + 2 * 3 * array.pointer_bits
    assert stored.parts["gaps_and_pointers"] == pytest.approx((gaps_and_pointers - 2) / 8)
    assert stored.parts["free"] == pytest.approx((2 * array.line_bits - 2 * array.entry_bits) / 8)
    assert sum_of_byte_limits([stored, stored]).stored_bytes == pytest.approx(2 * stored.stored_bytes)


def test_a_layer_without_weights_takes_exactly_as_long_as_its_scan() -> None:
    limit = simulate(ones(np.zeros((8, 9))), np.ones(9), ArrayConfig(num_pes=4)).limit
    assert (limit.binds, limit.cycles, limit.limit_cycles, limit.share) == ("scan", 15, 15, 1.0)
    assert {name for name, cycles in limit.pe_cycles.items() if cycles} == {"scan", "start"}


def test_the_dram_binds_where_it_is_slow() -> None:
    layer, activations = draw_layer("x", 60, 80, 0.3, 0.5, 1)
    array = ArrayConfig(num_pes=4, sparse_matrix_bytes=256, memory_mode="streamed", dram_gb_per_s=0.5)
    result = simulate(layer, activations, array)
    limit = result.limit
    assert_holds(limit)
    assert limit.binds == "dram"
    assert limit.limit_cycles == (result.dram_read_bytes + result.dram_write_bytes) * 800 // 500
    assert limit.share > 0.9
    fast = simulate(layer, activations, replace(array, dram_gb_per_s=100.0))
    assert fast.limit.binds == "pe"
    assert fast.limit.limit_cycles == fast.pe_limit_cycles < limit.limit_cycles


def test_the_dram_takes_no_fewer_cycles_than_its_limit_whatever_the_bandwidth() -> None:
    stream = np.random.default_rng(0)
    rates, clocks = stream.choice([0.05, 0.1, 0.3, 12.8, 200.0], 2_000), stream.choice([100.0, 333.0, 800.0], 2_000)
    num_bytes = stream.integers(0, 10**6, size=2_000)
    of_table = dram_cycles(num_bytes, ArrayTable(dram_gb_per_s=rates, clock_mhz=clocks))
    for rate, clock, transferred, found in zip(rates, clocks, num_bytes, of_table, strict=True):
        array = ArrayConfig(dram_gb_per_s=float(rate), clock_mhz=float(clock))
        measured = transfer_cycles(int(transferred), array)
        assert dram_cycles(int(transferred), array) == found  # a sweep states the limit of a simulation
        assert dram_cycles(float(transferred), array) == found
        assert measured - 1 <= found <= measured


def test_inputs_add_up() -> None:
    layer, _ = draw_layer("x", 40, 30, 0.3, 1.0, 1)
    inputs = np.random.default_rng(2).normal(size=(3, 30)) * (np.random.default_rng(3).random((3, 30)) < 0.5)
    array = ArrayConfig(num_pes=4)
    limits, together = (
        [simulate(layer, each, array).limit for each in inputs],
        simulate_batch(layer, inputs, array).limit,
    )
    assert_holds(together)
    assert together.limit_cycles == sum(limit.limit_cycles for limit in limits)
    assert together.pe_cycles == {name: sum(limit.pe_cycles[name] for limit in limits) for name in STEPS}
    assert all(together.bounds[name] == sum(limit.bounds[name] for limit in limits) for name in ("pe", "scan"))
    slow = ArrayConfig(num_pes=4, sparse_matrix_bytes=64, memory_mode="streamed", dram_gb_per_s=8.0)
    of_inputs = [simulate(layer, each, slow).limit for each in (inputs[0], 0 * inputs[0])]
    assert {limit.binds for limit in of_inputs} == {"pe", "dram"}  # some inputs are computed faster than loaded
    mixed = simulate_batch(layer, np.stack([inputs[0], 0 * inputs[0]]), slow).limit
    assert mixed.limit_cycles == sum(limit.limit_cycles for limit in of_inputs)
    assert mixed.limit_cycles > max(mixed.bounds[name] for name in BINDING)
    many = simulate_batch(layer, np.tile(inputs, (100, 1)), array)  # side by side
    np.testing.assert_array_equal(many.pe_limit_cycles[:3], [limit.bounds["pe"] for limit in limits])


@pytest.mark.parametrize("seed", range(40))
def test_no_network_takes_fewer_cycles_than_its_limit(seed: int) -> None:
    stream = np.random.default_rng(seed)
    lengths = [int(length) for length in stream.integers(4, 60, size=4)]
    layers = [
        draw_layer(f"layer {place}", rows, columns, float(stream.choice([0.1, 0.4])), 1.0, seed)[0]
        for place, (columns, rows) in enumerate(itertools.pairwise(lengths))
    ]
    array = ArrayConfig(
        num_pes=int(stream.choice([1, 4, 16])),
        sparse_matrix_bytes=int(stream.choice([512, 2048, 131_072])),
        memory_mode=stream.choice(["unlimited", "passes", "streamed"]).item(),
        port_bits=int(stream.choice([8, 64])),
        dram_gb_per_s=float(stream.choice([0.1, 12.8])),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoesNotFitWarning)
        result = simulate_network(layers, stream.normal(size=(3, lengths[0])), array)
    limit = result.limit
    assert limit.limit_cycles <= limit.cycles == int(result.cycles.sum())
    if array.sparse_matrix_bytes >= LEAST_SRAM_BYTES:
        energy = result.energy_limit
        assert energy.total_pj == pytest.approx(result.energy_pj.sum())
        assert min(energy.above_pj.values()) >= -1e-9 * energy.total_pj
        assert energy.limit_pj == pytest.approx(sum(layer.energy_limit.limit_pj for layer in result.layers))
    assert result.byte_limit.limit_bytes == pytest.approx(sum(map(least_bytes, layers)))
    assert sum(limit.pe_cycles.values()) == array.num_pes * limit.cycles
    assert limit.limit_cycles >= sum(layer.limit.limit_cycles for layer in result.layers)
    for layer in result.layers:
        assert_holds(layer.limit)
        assert layer.limit.cycles == int(layer.network_cycles.sum())


def least_bytes(layer: CompressedLayer) -> float:
    return sum(bits_of(layer)) / 8


def test_the_port_and_the_dram_bind_in_networks() -> None:
    layer, _ = draw_layer("wide", 64, 64, 0.05, 1.0, 1)
    inputs = np.ones((2, 64))
    port = simulate_network([layer], inputs, ArrayConfig(num_pes=16, port_bits=8)).limit
    assert port.binds == "port"
    assert port.bounds["port"] == 2 * (128 * 16 // 8) + port.pe_cycles["switches"] // 16
    array = ArrayConfig(num_pes=16, sparse_matrix_bytes=64, memory_mode="streamed", dram_gb_per_s=0.1)
    layers = [replace(layer, name=f"layer {number}") for number in range(5)]
    dram = simulate_network(layers, inputs, array).limit
    assert dram.binds == "dram"
    assert dram.limit_cycles == dram.bounds["dram"] > 0.8 * dram.cycles


def test_the_products_of_a_recurrent_layer_add_up() -> None:
    array = ArrayConfig(num_pes=4)
    of_input, of_hidden = (draw_layer(name, 32, columns, 0.3, 1.0, 1)[0] for name, columns in (("ih", 12), ("hh", 8)))
    result = simulate_lstm(of_input, of_hidden, np.random.default_rng(1).normal(size=(2, 3, 12)), array)
    assert result.limit.cycles == int(result.cycles.sum())
    assert_holds(result.limit)
    assert result.energy_limit.total_pj == pytest.approx(result.energy_pj.sum())
    assert result.byte_limit.limit_bytes == pytest.approx(least_bytes(of_input) + least_bytes(of_hidden))
