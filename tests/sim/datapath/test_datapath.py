"""The rules of the machine, one by one, as timings: not yet at clock edge t - 1, exactly at t."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, SimulationResult, pack, simulate
from sim.array import Engine, prepare
from sim.datapath import Array
from sim.datapath.activation_queue import ActivationQueue
from sim.datapath.activation_scan import ActivationScan, Broadcast
from sim.datapath.broadcast_wires import BroadcastWires
from sim.observe.timeline import timeline
from tests.sim.test_machine import COUNTERS
from traces import CompressedLayer, draw_layer

ENGINES: list[Engine] = ["closed-form", "reference"]
CODEBOOK = np.array([0, 1, 2, -0.5], dtype=np.float32)


def layer_of(codes: Any, bias: Any = None) -> CompressedLayer:
    given = None if bias is None else np.array(bias, dtype=np.uint8)
    return CompressedLayer("small", np.array(codes, dtype=np.uint8), CODEBOOK, given)


def array_of(num_pes: int, queue_slots: int = 8, index_bits: int = 4) -> ArrayConfig:
    return ArrayConfig(
        num_pes=num_pes, queue_slots=queue_slots, weight_bits=2, index_bits=index_bits, line_bits=2 * (2 + index_bits)
    )


def run(codes: Any, activations: Any, config: ArrayConfig, engine: Engine, bias: Any = None) -> SimulationResult:
    return simulate(layer_of(codes, bias), np.array(activations, dtype=np.float32), config, engine)


def scan_all(activations: list[float], num_pes: int, has_bias: bool = False) -> list[int | None]:
    """Return the column that is broadcast in each cycle of an unblocked scan."""
    scan = ActivationScan(activations, num_pes, 1.0 if has_bias else None)
    picked = []
    while not scan.finished:
        broadcast = scan.tick(a_queue_is_full=False)
        picked.append(None if broadcast is None else broadcast.column)
    return picked


def test_the_scan_picks_one_non_zero_a_cycle_in_index_order() -> None:
    assert scan_all([0, 5, -3, 0], num_pes=4) == [1, 2]


def test_leaving_a_row_costs_a_bubble() -> None:
    assert scan_all([1, 0, 1, 0], num_pes=2) == [0, None, 2]


def test_leaving_a_row_from_its_last_lane_is_free() -> None:
    assert scan_all([0, 1, 1, 0], num_pes=2) == [1, 2]


def test_a_row_of_zeros_costs_one_cycle() -> None:
    assert scan_all([0, 0, 1, 0], num_pes=2) == [None, 2]
    assert scan_all([0, 1, 0, 0, 1, 0], num_pes=2) == [1, None, 4]


def test_the_bias_has_a_row_of_its_own_at_the_end() -> None:
    assert scan_all([1, 0, 0, 0], num_pes=2, has_bias=True) == [0, None, None, 4]
    assert scan_all([1, 1], num_pes=2, has_bias=True) == [0, 1, 2]


def test_trailing_zero_rows_are_scanned_but_a_last_row_is_not_left() -> None:
    assert scan_all([1, 0, 0, 0], num_pes=2) == [0, None, None]
    assert scan_all([0, 0, 1, 0], num_pes=2) == [None, 2]


def test_a_queue_holds_one_column_less_than_its_slots() -> None:
    queue = ActivationQueue(3)
    queue.push(Broadcast(7, 1.0))
    assert not queue.is_full
    queue.push(Broadcast(8, 1.0))
    assert queue.is_full
    assert queue.pop().column == 7
    queue.push(Broadcast(9, 1.0))
    assert queue.waiting_columns() == [8, 9]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_entry_takes_eight_cycles(engine: Engine) -> None:
    # broadcast at edge 1, taken at 2, out of the pointer read at 3, written at 8: cycles 0 to 8
    result = run([[1]], [1], array_of(1), engine)
    assert result.cycles == 3 + 6
    assert result.finish_edge_per_pe.tolist() == [3]


def test_an_entry_is_written_five_edges_after_it_left_the_pointer_read() -> None:
    seen: dict[int, float] = {}
    layer = layer_of([[2]])
    array = Array(*prepare(pack(layer, array_of(1)), [3.0], array_of(1)), array_of(1))
    array.run(observe=lambda state: seen.update({state.edge: state.pes[0].activation_write.accumulators[0]}))
    assert seen[7] == 0.0
    assert seen[8] == 6.0


@pytest.mark.parametrize("engine", ENGINES)
def test_an_all_zero_input_costs_its_scan(engine: Engine) -> None:
    result = run([[1, 1, 1]], [0, 0, 0], array_of(1), engine)
    assert (result.cycles, result.broadcasts, result.bubble_cycles) == (3 + 6, 0, 3)
    assert result.output.tolist() == [0.0]
    assert result.efficiency == 0.0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_that_ends_after_the_last_entry_stands_in_for_it(engine: Engine) -> None:
    codes = [[1] + [0] * 7]
    assert run(codes, [1] + [0] * 7, array_of(2), engine).cycles == 1 + 4 + 6  # broadcast, leave row, 3 zero rows
    assert run(codes, [1] * 8, array_of(8), engine).cycles == 8 + 6  # columns without entries


@pytest.mark.parametrize("engine", ENGINES)
def test_a_column_without_entries_keeps_the_pointer_read_for_a_cycle(engine: Engine) -> None:
    result = run([[0, 0, 1]], [1, 1, 1], array_of(1), engine)
    # broadcasts at 1, 2, 3; taken at 2, 3, 4; the entry leaves at 5
    assert result.finish_edge_per_pe.tolist() == [5]
    assert result.pointer_reads == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_queue_in_one_pe_stalls_the_broadcast_to_all(engine: Engine) -> None:
    # PE 0 has four entries in each column, PE 1 none; its queue holds one column.
    codes = [[1, 1, 1], [0, 0, 0]] * 4
    stalled = run(codes, [1, 1, 1], array_of(2, queue_slots=2), engine)
    # column 0: in at 1, out at 2; column 1: in at 3, out at 6; column 2: in at 7 (3 lanes: 2 rows, no bubble)
    assert stalled.blocked_cycles == 4
    states = timeline(layer_of(codes), np.ones(3, dtype=np.float32), array_of(2, queue_slots=2))
    assert np.flatnonzero(states.broadcast >= 0).tolist() == [1, 3, 7]
    free = run(codes, [1, 1, 1], array_of(2, queue_slots=8), engine)
    assert free.blocked_cycles == 0
    assert free.cycles == stalled.cycles  # PE 0 is the bottleneck either way


@pytest.mark.parametrize("engine", ENGINES)
def test_back_to_back_entries_on_one_accumulator_do_not_stall(engine: Engine) -> None:
    result = run([[1, 2, 3, 1, 1]], [1, 10, 100, 1000, 10000], array_of(1), engine)
    assert result.output.tolist() == [1 + 20 - 50 + 1000 + 10000]
    assert result.finish_edge_per_pe.tolist() == [2 + 5]


@pytest.mark.parametrize("engine", ENGINES)
def test_padding_takes_its_cycle_and_writes_nothing(engine: Engine) -> None:
    codes = [[0], [0], [0], [0], [0], [2]]
    result = run(codes, [4], array_of(1, index_bits=1), engine)  # a gap of 5 is two paddings of 2, and 1
    assert (result.stored_entries, result.padding_entries, result.useful_macs) == (3, 2, 1)
    assert result.finish_edge_per_pe.tolist() == [2 + 3]
    assert result.output.tolist() == [0, 0, 0, 0, 0, 8]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_line_register_lasts_from_column_to_column(engine: Engine) -> None:
    codes = [[1, 1, 1, 1]]  # four entries, two to a line
    assert run(codes, [1, 1, 1, 1], array_of(1), engine).line_reads == 2
    assert run(codes, [1, 0, 0, 1], array_of(1), engine).line_reads == 2
    assert run(codes, [1, 1, 0, 0], array_of(1), engine).line_reads == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_columns_left_in_a_queue_are_read_but_cost_no_cycles(engine: Engine) -> None:
    # PE 0 is held for 20 cycles by column 0; then 30 columns without entries wait in its queue.
    codes = np.zeros((20, 31), dtype=np.uint8)
    codes[:, 0] = 1
    result = run(codes, np.ones(31), array_of(1, queue_slots=64), engine)
    assert result.finish_edge_per_pe.tolist() == [2 + 20]
    assert result.cycles == 31 + 6  # the scan ends later
    assert result.pointer_reads == 31


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bias_is_a_column_with_activation_one(engine: Engine) -> None:
    result = run([[1, 2], [0, 1]], [3, 0], array_of(2), engine, bias=[3, 2])
    assert result.output.tolist() == [3 - 0.5, 2]
    assert result.broadcasts == 2


@pytest.mark.parametrize("pipeline_cycles", [5, 6, 9, 64])
def test_an_entry_is_written_as_many_edges_after_the_pointer_read_as_the_pipeline_has_cycles(
    pipeline_cycles: int,
) -> None:
    config = replace(array_of(1), pipeline_cycles=pipeline_cycles)
    seen: dict[int, float] = {}
    array = Array(*prepare(layer_of([[2]]), [3.0], config), config)
    result = array.run(observe=lambda state: seen.update({state.edge: state.pes[0].activation_write.accumulators[0]}))
    assert result.finish_edge_per_pe.tolist() == [3]
    assert seen[3 + pipeline_cycles - 1] == 0.0
    assert seen[3 + pipeline_cycles] == 6.0
    assert result.cycles == 3 + pipeline_cycles + 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_on_a_deeper_pipeline_takes_exactly_as_many_cycles_more(engine: Engine) -> None:
    layer, activations = draw_layer("drawn", 40, 30, 0.3, 0.6, seed=0)
    config = ArrayConfig(num_pes=4, queue_slots=3)
    shortest = simulate(layer, activations, config, engine)
    for more in (1, 3, 59):
        deeper = simulate(layer, activations, replace(config, pipeline_cycles=5 + more), engine)
        for name in COUNTERS:
            before, after = getattr(shortest, name), getattr(deeper, name)
            grows = name == "cycles" or name.endswith("limit_cycles")
            assert after == (before + more if grows else before), name
        assert deeper.finish_edge_per_pe.tolist() == shortest.finish_edge_per_pe.tolist()
        np.testing.assert_array_equal(deeper.output, shortest.output)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broadcast_that_no_queue_blocks_arrives_as_many_cycles_later_as_it_is_longer(engine: Engine) -> None:
    codes = [[1, 0, 2, 1, 1, 1]]
    once = run(codes, [1, 0, 1, 1, 0, 1], array_of(1, queue_slots=64), engine)
    for more in (1, 2, 20):
        config = replace(array_of(1, queue_slots=64), broadcast_cycles=1 + more)
        longer = run(codes, [1, 0, 1, 1, 0, 1], config, engine)
        assert longer.blocked_cycles == 0
        assert longer.bubble_cycles == once.bubble_cycles
        assert longer.finish_edge_per_pe.tolist() == [once.finish_edge_per_pe[0] + more]
        assert longer.cycles == once.cycles + more


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("depth", "broadcast_cycles"), [(1, 1), (1, 2), (2, 3), (3, 2), (5, 3), (7, 4)])
def test_a_queue_of_too_few_columns_passes_them_once_in_two_ways_of_a_broadcast(
    depth: int, broadcast_cycles: int, engine: Engine
) -> None:
    # A column of one entry: sent at edge x, popped W edges later, and the scan knows that W - 1 edges later.
    rounds = 5
    ones = np.ones((1, depth * rounds), dtype=np.uint8)
    config = replace(array_of(1, queue_slots=depth + 1), broadcast_cycles=broadcast_cycles)
    result = run(ones, ones[0], config, engine)
    assert result.blocked_cycles == (rounds - 1) * (2 * broadcast_cycles - depth)
    last_arrival = (rounds - 1) * 2 * broadcast_cycles + depth + broadcast_cycles - 1
    assert result.finish_edge_per_pe.tolist() == [last_arrival + 2]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("broadcast_cycles", [1, 2, 3, 7])
def test_a_queue_of_as_many_columns_as_two_ways_take_hides_the_way(broadcast_cycles: int, engine: Engine) -> None:
    ones = np.ones((1, 60), dtype=np.uint8)

    def blocked(depth: int) -> int:
        config = replace(array_of(1, queue_slots=depth + 1), broadcast_cycles=broadcast_cycles)
        return run(ones, ones[0], config, engine).blocked_cycles

    assert blocked(2 * broadcast_cycles) == 0
    assert blocked(2 * broadcast_cycles - 1) > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("broadcast_cycles", [1, 2, 30])
def test_a_scan_that_ends_last_stands_in_for_the_last_entry_however_long_its_columns_travel(
    broadcast_cycles: int, engine: Engine
) -> None:
    def cycles(codes: Any, activations: Any, num_pes: int) -> int:
        config = replace(array_of(num_pes, queue_slots=64), broadcast_cycles=broadcast_cycles)
        return run(codes, activations, config, engine).cycles

    assert cycles([[1, 1, 1]], [0, 0, 0], 1) == 3 + 6  # no column at all
    assert cycles([[0] * 9], [1] * 9, 1) == 9 + 6  # columns without entries do not count where they arrive
    first = 1 + (broadcast_cycles - 1) + 2  # edge at which an entry of the first column leaves the pointer read
    assert cycles([[1] + [0] * 79], [1] + [0] * 79, 2) == max(first, 1 + 1 + 39) + 6  # row left, 39 rows of zeros


@pytest.mark.parametrize("broadcast_cycles", [1, 2, 5])
def test_columns_and_credits_are_on_their_way_for_as_many_cycles_as_wires_have_registers(broadcast_cycles: int) -> None:
    wires = BroadcastWires(2, 1, broadcast_cycles)
    column = Broadcast(7, 1.0)
    arrivals = [wires.send(each) for each in [column] + [None] * broadcast_cycles]
    assert [number for number, arrived in enumerate(arrivals) if arrived is column] == [broadcast_cycles - 1]
    assert wires.lack_credit
    pops = [[True, False]] + [[False, False]] * (broadcast_cycles - 1)
    for popped in pops:
        assert wires.credits == [0, 0]
        wires.return_credits(popped)
    assert wires.credits == [1, 0]
    assert wires.lack_credit
    assert not wires.are_idle
    for popped in pops:
        wires.return_credits(popped[::-1])
    assert not wires.lack_credit
    assert wires.are_idle
