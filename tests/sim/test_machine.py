"""The closed form and the tick machine are one machine: on output, cycles, every counter, and every cycle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, FixedPoint, SimulationResult, count, pack, simulate, simulate_batch
from sim.batch import PER_INPUT
from sim.datapath import Array
from sim.fixed_point import operands
from sim.observe.cycles import cycle_breakdown
from sim.observe.timeline import timeline
from tests.layers import Case, cases
from traces import CompressedLayer, InputError
from traces.synthetic import draw_layer

COUNTERS = [
    "stored_entries",
    "padding_entries",
    "broadcasts",
    "cycles",
    "bubble_cycles",
    "blocked_cycles",
    "useful_macs",
    "pointer_reads",
    "line_reads",
    "scan_limit_cycles",
    "pe_limit_cycles",
    "array_limit_cycles",
    "blocks",
    "waiting_cycles",
    "dram_read_bytes",
    "dram_write_bytes",
    "shortfalls",
]
ENGINES = ["closed-form", "reference"]
PER_PE = ["entries_per_pe", "padding_per_pe", "line_reads_per_pe", "finish_edge_per_pe"]


def assert_same(fast: SimulationResult, ticked: SimulationResult) -> None:
    """Assert equality of every counter, in the array and in each PE, and of the output, bit for bit."""
    assert {name: getattr(fast, name) for name in COUNTERS} == {name: getattr(ticked, name) for name in COUNTERS}
    for name in PER_PE:
        np.testing.assert_array_equal(getattr(fast, name), getattr(ticked, name), err_msg=name)
    np.testing.assert_array_equal(fast.output, ticked.output)


@settings(deadline=None, max_examples=400)
@given(cases(several_codebooks=True))
def test_both_engines_agree_on_output_cycles_and_every_counter_per_pe(case: Case) -> None:
    layer, activations, config = case
    fast = simulate(layer, activations, config)
    ticked = simulate(layer, activations, config, engine="reference")
    assert_same(fast, ticked)
    assert fast.energy == ticked.energy
    expected = layer.weights().astype(np.float64) @ layer.thresholded(activations) + layer.bias_values()
    np.testing.assert_allclose(fast.output, expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=200)
@given(cases(), st.sampled_from([0.0, 1e-40, 0.4, 1.0, 3e38]), st.sampled_from(ENGINES), st.booleans())
def test_a_threshold_is_zeros_in_place_of_the_activations_up_to_it(
    case: Case, threshold: float, engine: Any, streamed: bool
) -> None:
    layer, activations, config = case
    config = replace(config, memory_mode="streamed" if streamed else "unlimited")
    layer = replace(layer, activation_threshold=threshold)
    kept = np.where(np.abs(activations) > np.float32(threshold), activations, np.float32(0))
    plain = simulate(replace(layer, activation_threshold=0.0), kept, config)
    assert_same(simulate(layer, activations, config, engine), plain)
    assert count(layer, activations, config).cycles == plain.cycles
    assert plain.broadcasts == int(np.count_nonzero(kept)) + (layer.bias is not None)


@pytest.mark.parametrize("precision", ["float", "fixed-16"])
@pytest.mark.parametrize("num_inputs", [3, 300])  # one by one, and side by side
def test_a_batch_has_the_threshold_of_its_layer(num_inputs: int, precision: Any) -> None:
    layer, _ = draw_layer("x", 40, 30, 0.3, 1.0, 1)
    inputs = np.random.default_rng(2).normal(size=(num_inputs, 30)).astype(np.float32)
    kept = np.where(np.abs(inputs) > 0.5, inputs, 0)
    config = ArrayConfig(num_pes=4, precision=precision)
    number = None if precision == "float" else FixedPoint(16, 10, 10, 9)
    found = simulate_batch(replace(layer, activation_threshold=0.5), inputs, config, number)
    if number is not None:  # compared as codes
        codes = number.codes(inputs, 10)
        kept = np.where(np.abs(codes) > 512, inputs, 0)
    plain = simulate_batch(layer, kept, config, number)
    for name in ("output", *PER_INPUT):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name), err_msg=name)
    assert 0.4 < found.broadcasts.mean() / 30 < 0.8


def test_a_threshold_beyond_all_activations_leaves_the_scan_of_the_rows() -> None:
    layer, activations = draw_layer("x", 8, 10, 1.0, 1.0, 1)
    layer, config = replace(layer, bias=None), ArrayConfig(num_pes=4)
    nothing = simulate(replace(layer, activation_threshold=1e9), activations, config)
    assert (nothing.broadcasts, nothing.useful_macs, nothing.bubble_cycles) == (0, 0, 3)
    assert nothing.cycles == 1 + 3 + config.pipeline_cycles
    assert not nothing.output.any()
    bias = simulate(replace(layer, activation_threshold=1e9, bias=layer.codes[:, 0]), activations, config)
    assert bias.broadcasts == 1  # of activation 1, which the threshold does not concern
    np.testing.assert_array_equal(bias.output, layer.weights()[:, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_of_every_type_are_compared_as_float32(engine: Any) -> None:
    codes, codebook = np.ones((1, 4), dtype=np.uint8), np.array([0, 1], dtype=np.float32)
    config = ArrayConfig(num_pes=1, weight_bits=1)

    def broadcasts(threshold: float, values: Any) -> int:
        layer = CompressedLayer("ones", codes, codebook, activation_threshold=threshold)
        return simulate(layer, values, config, engine).broadcasts

    assert broadcasts(0.0, [0.0, -0.0, 1e-45, -1e-45]) == 2
    assert broadcasts(1e-45, [1e-45, -1e-45, 3e-45, -3e-45]) == 2  # subnormal numbers
    assert broadcasts(2.0, np.array([-128, -2, 2, 3], dtype=np.int8)) == 2
    assert broadcasts(0.1, np.array([0.1, 0.1001, -0.1, 0.0], dtype=np.float16)) == 1  # 0.1 is 0.09998
    assert broadcasts(0.1, np.array([0.1, 0.1 + 1e-12, 0.1 + 1e-7, -0.2])) == 2  # the second is 0.1 in float32
    assert broadcasts(0.5, [True, False, True, True]) == 3
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="every activation must be a finite float32"):
            broadcasts(0.5, [1, 2, 3, bad])


@settings(deadline=None, max_examples=200)
@given(
    cases(several_codebooks=True), st.integers(1, 4), st.sampled_from(["float", "fixed-16", "fixed-8"]), st.booleans()
)
def test_a_batch_is_its_inputs_one_by_one(case: Case, num_inputs: int, precision: Any, streamed: bool) -> None:
    layer, activations, config = case
    config = replace(config, precision=precision, memory_mode="streamed" if streamed else "unlimited")
    stream = np.random.default_rng(num_inputs)
    inputs = np.stack([activations, *(stream.permutation(activations) * 2 for _ in range(num_inputs - 1))])
    batch = simulate_batch(layer, inputs, config)
    names = "cycles broadcasts bubble_cycles blocked_cycles waiting_cycles useful_macs pointer_reads line_reads "
    names += "dram_read_bytes dram_write_bytes overflows saturated_activations "
    names += "scan_limit_cycles pe_limit_cycles array_limit_cycles"
    for number, values in enumerate(inputs):
        alone = simulate(layer, values, config, number_format=batch.number_format)
        for name in names.split():
            assert getattr(batch, name)[number] == getattr(alone, name), name
        for name in ("stored_entries", "padding_entries", "blocks"):
            assert getattr(batch, name) == getattr(alone, name), name
        np.testing.assert_array_equal(batch.output[number], alone.output)
        assert batch.energy_pj[number] == pytest.approx(alone.energy.total_pj)
        assert batch.latency_us[number] == alone.latency_us
    assert batch.mean_energy.total_pj == pytest.approx(batch.energy_pj.mean())


@settings(deadline=None, max_examples=200)
@given(cases(several_codebooks=True))
def test_both_engines_agree_on_the_state_after_every_cycle(case: Case) -> None:
    layer, activations, config = case
    packed = pack(layer, config)
    states = timeline(packed, activations, config)
    cycles = len(states.broadcast)
    place = {int(column): j for j, column in enumerate(states.columns)}
    writes = [_accumulators_entry_by_entry(packed, pe, states.columns, activations) for pe in range(config.num_pes)]

    def compare(array: Array) -> None:
        edge = array.edge
        if edge >= cycles:  # columns without entries, taken after the layer's last write
            return
        column = -1 if array.broadcast is None else place[array.broadcast.column]
        assert states.broadcast[edge] == column, f"broadcast at edge {edge}"
        for number, pe in enumerate(array.pes):
            where = f"PE {number} at edge {edge}"
            in_read = pe.pointer_read.column
            waiting = [place[column] for column in pe.queue.waiting_columns()]
            newest = int((states.broadcast[: edge + 1] >= 0).sum())
            assert waiting == list(range(newest - states.queue_columns[edge, number], newest)), where
            assert states.pointer_read[edge, number] == (-1 if in_read is None else place[in_read]), where
            sent = states.entries_sent[edge, number]
            first = packed.pointers[:, number]
            if in_read is not None:
                done_before = sum(int(first[c + 1] - first[c]) for c in states.columns[: place[in_read]])
                assert done_before + pe.pointer_read.next_address - first[in_read] == sent, where
            written = writes[number][states.entries_written[edge, number]]
            assert pe.activation_write.accumulators == written, where

    Array(packed, operands(packed, activations, config), config).run(observe=compare)


def _accumulators_entry_by_entry(packed: Any, pe: int, columns: Any, activations: Any) -> list[list[float]]:
    """Return the PE's accumulators before the first entry and after each one, in the order of the broadcasts."""
    layer = packed.layer
    now = [0.0] * len(range(pe, layer.rows, packed.num_pes))
    history = [list(now)]
    codes, gaps = packed.sparse_matrix_image(pe)
    first_row = pe if packed.row_order is None or not now else packed.row_order[pe]
    codebook = layer.codebooks[0 if layer.row_codebooks is None or not now else layer.row_codebooks[first_row]]
    for column in columns:
        value = 1.0 if column == layer.columns else float(activations[column])
        row = -1
        for entry in range(packed.pointers[column, pe], packed.pointers[column + 1, pe]):
            row += int(gaps[entry]) + 1
            code = codes[entry]
            if code:
                now[row] += float(codebook[code]) * value
            history.append(list(now))
    return history


def test_both_engines_agree_where_counts_outgrow_a_byte() -> None:
    stream = np.random.default_rng(1)
    codebook = np.linspace(0, 1, 16, dtype=np.float32)

    def agree(rows: int, columns: int, density: float, activity: float, **array: Any) -> Any:
        codes = (stream.integers(1, 16, (rows, columns)) * (stream.random((rows, columns)) < density)).astype(np.uint8)
        codes[-1, :] = 1
        layer = CompressedLayer("long", codes, codebook)
        activations = (stream.random(columns) < activity).astype(np.float32)
        activations[[0, -1]] = 1
        config = ArrayConfig(**array)
        fast, ticked = simulate(layer, activations, config), simulate(layer, activations, config, "reference")
        assert_same(fast, ticked)
        np.testing.assert_allclose(fast.output, layer.weights().astype(np.float64) @ activations, rtol=1e-6)
        return fast

    assert agree(700, 5, 0.002, 1, num_pes=1, index_bits=8).padding_entries > 0  # gaps of 256 and more
    assert agree(400, 3, 0.9, 1, num_pes=1).entries_per_pe[0] > 3 * 255  # entries of a column
    assert agree(600, 40, 0.9, 1, num_pes=2, queue_slots=2).blocked_cycles > 255
    assert agree(4, 2000, 0.5, 0, num_pes=4).bubble_cycles > 255
    assert agree(100, 300, 0.9, 1, num_pes=1, queue_slots=64).blocked_cycles > 255
    assert agree(9, 300, 0.9, 1, num_pes=1, queue_slots=2, broadcast_cycles=64).blocked_cycles > 300 * 100
    assert agree(30, 300, 0.9, 1, num_pes=1, queue_slots=9, broadcast_cycles=40).blocked_cycles > 255


@settings(deadline=None, max_examples=200)
@given(cases())
def test_every_cycle_of_every_pe_has_the_class_that_the_tick_machine_shows(case: Case) -> None:
    layer, activations, config = case
    packed = pack(layer, config)
    found = cycle_breakdown(packed, activations, config)
    images = [packed.sparse_matrix_image(pe)[0] for pe in range(config.num_pes)]
    # what each pointer read holds after each edge is what it works on in the cycle that ends with the next one
    doing: list[list[str]] = [["idle", "idle"] for _ in range(config.num_pes)]
    blocked: list[tuple[bool, list[bool]]] = []
    was_blocked = [0]
    no_credit_before = [[False] * config.num_pes]

    def look(array: Array) -> None:
        for number, pe in enumerate(array.pes):
            read = pe.pointer_read
            if read.column is None:
                doing[number].append("idle")
            elif read.entries_left == 0:
                doing[number].append("empty_columns")
            else:
                doing[number].append("computing" if images[number][read.next_address] else "padding")
        blocked.append((array.scan.blocked_cycles > was_blocked[0], no_credit_before[0]))
        was_blocked[0] = array.scan.blocked_cycles
        no_credit_before[0] = [credits == 0 for credits in array.wires.credits]

    result = Array(packed, operands(packed, activations, config), config).run(observe=look)
    assert found.cycles == result.cycles
    for number, history in enumerate(doing):
        whole = history[: result.cycles]
        last_column = max((edge for edge, what in enumerate(history) if what != "idle"), default=0)
        counted = {name: sum(what == name for what in whole) for name in ("computing", "padding", "empty_columns")}
        counted["starved"] = sum(what == "idle" for what in whole[: last_column + 1])
        counted["drained"] = sum(what == "idle" for what in whole[last_column + 1 :])
        assert {name: int(getattr(found, name)[number]) for name in counted} == counted, f"PE {number}"
        assert sum(counted.values()) == result.cycles
    assert found.blocked_by.tolist() == _blamed(blocked, config.num_pes)
    assert (found.blocked_cycles, found.bubble_cycles) == (result.blocked_cycles, result.bubble_cycles)


def _blamed(blocked: list[tuple[bool, list[bool]]], num_pes: int) -> list[int]:
    """Give each run of blocked cycles to the first PE without credit in its last cycle."""
    blame = [0] * num_pes
    waiting = 0
    for (is_blocked, no_credit), (next_is_blocked, _) in zip(blocked, [*blocked[1:], (False, [])], strict=True):
        if is_blocked:
            waiting += 1
            if not next_is_blocked:
                blame[no_credit.index(True)] += waiting
                waiting = 0
    return blame
