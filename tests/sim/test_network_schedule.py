"""Schedule of a network: against a model that ticks the clock, and by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig
from sim.memory import Image, transfer_cycles
from sim.network_schedule import (
    LAYER_REGISTERS,
    Call,
    NetworkSchedule,
    ScheduledLayer,
    ScheduledNetwork,
    loads,
    network_shortfalls,
    residencies,
    schedule_network,
)
from traces import InputError
from traces.arrays import Numbers

ARRAY = ArrayConfig(
    num_pes=2,
    line_bits=64,
    sparse_matrix_bytes=10 * 8,
    pointer_bytes=400,
    activation_bytes=100,
    dram_gb_per_s=0.8,  # a byte in each cycle
    memory_mode="passes",
)


def layer(name: str, lines: int, columns: int = 4, rows: int = 6, groups: int = 1) -> ScheduledLayer:
    """Return a layer whose two PEs hold equally many lines."""
    pointers = 2 * (columns // 2) + 2
    return ScheduledLayer(name, rows, columns, groups, Image(lines, pointers, 8 * lines, 2 * lines, 2 * pointers))


def network(sizes: list[int], order: list[int] | None = None, live_words: int = 10) -> ScheduledNetwork:
    """Return a network of layers of some lines, called in an order with one vector each."""
    layers = tuple(layer(f"layer {number}", lines) for number, lines in enumerate(sizes))
    calls = tuple(Call(number, 1) for number in (range(len(sizes)) if order is None else order))
    return ScheduledNetwork("drawn", layers, calls, live_words, 0)


class Ticked:
    """Port, DRAM channel and region of a network for one input, clock tick by clock tick; the twin of the schedule."""

    def __init__(self, made: ScheduledNetwork, run_cycles: list[int], array: ArrayConfig, kept: set[int]) -> None:
        self.made, self.array = made, array
        loaded = [call.layer for call in made.calls if call.layer not in kept]
        self.visits = [number for number, _ in itertools.groupby(loaded)]
        self.ended = [False] * len(self.visits)
        self.there = [False] * len(self.visits)
        self.next_load, self.load_left = 0, 0.0  # visit of the load that is moving or next, and its bytes
        self.moving = False
        self.visit = -1
        self.clock = self.waited = 0
        before: int | None = None
        for number, (call, cycles) in enumerate(zip(made.calls, run_cycles, strict=True)):
            if call.layer not in kept:
                self.enter(call.layer)
                while not self.there[self.visit]:
                    self.waited += 1
                    self.tick(idle=True)
            for busy, bits in self.jobs(call, cycles, call.layer != before):
                while busy > 0 or bits > 0:
                    busy, bits = busy - 1, bits - array.port_bits
                    self.tick(idle=False)
            before = call.layer
            following = [each.layer for each in made.calls[number + 1 :] if each.layer not in kept]
            if call.layer not in kept and (not following or following[0] != call.layer):
                self.ended[self.visit] = True

    def enter(self, layer: int) -> None:
        """Begin a visit, unless it is going on."""
        if self.visit < 0 or self.ended[self.visit]:
            self.visit += 1
            assert self.visits[self.visit] == layer

    def jobs(self, call: Call, cycles: int, switches: bool) -> list[tuple[int, int]]:
        """Return cycles of the array and bits of the port that go on together, one job after the other."""
        layer, word = self.made.layers[call.layer], self.array.activation_bits
        found = []
        if switches:
            found += [(0, 2**self.array.weight_bits * word), (LAYER_REGISTERS, 0)] * layer.groups
        vectors = int(call.vectors) * layer.groups
        found.append((0, min(self.array.num_pes, layer.columns) * word))
        found.append((cycles, vectors * (layer.columns + layer.rows) * word))
        found.append((0, layer.rows * word))
        return found

    def tick(self, idle: bool) -> None:
        """Let a cycle pass on the DRAM channel, which takes the visits in order."""
        while self.next_load < len(self.visits) and not self.moving:
            visit, number = self.next_load, self.visits[self.next_load]
            open_visits = [place for place in range(visit) if not self.ended[place]]
            others = [self.visits[place] for place in open_visits]
            if self.array.memory_mode == "passes":
                may = idle and visit == self.visit
            else:
                may = len(others) <= 1 and (not others or fit(self.made, [*others, number]))
                held = (
                    visit >= 2
                    and self.visits[visit - 2] == number
                    and fit(self.made, [number, others[0]] if others else [number, self.visits[visit - 1]])
                )
                if may and held:
                    self.there[visit] = True
                    self.next_load += 1
                    continue
            if not may:
                break
            self.moving = True
            self.load_left = self.made.layers[number].image.num_bytes(self.array)
        self.clock += 1
        if self.moving:
            self.load_left -= 1e3 * self.array.dram_gb_per_s / self.array.clock_mhz
            if self.load_left <= 1e-9:
                self.there[self.next_load] = True
                self.moving = False
                self.next_load += 1


def fit(made: ScheduledNetwork, numbers: list[int]) -> bool:
    """Return True if some layers fit the SRAMs of `ARRAY` together: 10 lines, 100 pointers, 65,535 entries."""
    images = [made.layers[number].image for number in numbers]
    return bool(sum(each.lines for each in images) <= 10 and sum(each.pointers for each in images) <= 100)


def cycles_of(schedule: NetworkSchedule, made: ScheduledNetwork, run_cycles: list[Numbers]) -> Numbers:
    """Return the cycles of each input by a schedule."""
    waits = schedule.port_wait_cycles + schedule.switch_cycles + schedule.dram_wait_cycles
    total: Numbers = waits.sum(axis=0) + sum(run_cycles)
    return total


@pytest.mark.parametrize("mode", ["passes", "streamed"])
@pytest.mark.parametrize("seed", range(60))
def test_the_schedule_is_that_of_a_machine_that_ticks(mode: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 8, draw.integers(2, 6)).tolist()
    order = draw.integers(0, len(sizes), draw.integers(2, 9)).tolist()
    shapes = [[int(each) for each in draw.integers(1, (9, 9, 3))] for _ in sizes]  # columns, rows, groups
    layers = tuple(
        layer(f"layer {number}", lines, columns, rows, groups)
        for number, (lines, (columns, rows, groups)) in enumerate(zip(sizes, shapes, strict=True))
    )
    made = ScheduledNetwork("drawn", layers, tuple(Call(each, int(draw.integers(1, 4))) for each in order), 10, 0)
    array = replace(ARRAY, memory_mode=mode, port_bits=int(draw.choice([8, 24, 64])), weight_bits=2)
    kinds = residencies(made, array)
    run_cycles = [draw.integers(1, 60, 3) for _ in order]
    found = schedule_network(made, run_cycles, array, kinds)
    kept = {number for number, kind in enumerate(kinds) if kind == "resident"}
    for place in range(3):
        machine = Ticked(made, [int(cycles[place]) for cycles in run_cycles], array, kept)
        assert cycles_of(found, made, run_cycles)[place] == machine.clock
        assert found.dram_wait_cycles[:, place].sum() == machine.waited


@pytest.mark.parametrize("mode", ["passes", "streamed"])
@pytest.mark.parametrize("seed", range(40))
def test_what_stays_leaves_room_for_what_is_loaded_and_is_chosen_well(mode: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    made = network(draw.integers(1, 8, draw.integers(2, 7)).tolist())
    array = replace(ARRAY, memory_mode=mode)
    kinds = residencies(made, array)

    def reloaded_bytes(kept: set[int]) -> float | None:
        others = [number for number in range(len(made.layers)) if number not in kept]
        width = 1 if mode == "passes" else 2
        windows = [others[place : place + width] for place in range(max(1, len(others) - width + 1))]
        fits = all(
            fit(made, [*kept, *window]) or (not kept and len(window) == 2 and not fit(made, window))
            for window in windows
        )
        return sum(made.layers[number].image.num_bytes(array) for number in others) if fits else None

    chosen = {number for number, kind in enumerate(kinds) if kind == "resident"}
    assert set(kinds) <= {"resident", mode}
    found = reloaded_bytes(chosen)
    assert found is not None
    assert found == loads(made, kinds, array) @ [each.image.num_bytes(array) for each in made.layers]
    every = [
        reloaded_bytes({number for number, bit in enumerate(bits) if bit})
        for bits in itertools.product((0, 1), repeat=len(made.layers))
    ]
    assert found <= 1.6 * min(each for each in every if each is not None)


def test_a_network_that_fits_is_resident_in_every_mode() -> None:
    made = network([4, 3, 2])
    run_cycles = [np.array([10])] * 3
    totals = set()
    for mode in ("unlimited", "resident", "passes", "streamed"):
        array = replace(ARRAY, memory_mode=mode)
        assert network_shortfalls(made, array) == ()
        assert residencies(made, array) == ("resident",) * 3
        found = schedule_network(made, run_cycles, array, residencies(made, array))
        assert not found.dram_wait_cycles.any()
        assert not found.loads.any()
        totals.add(int(cycles_of(found, made, run_cycles)[0]))
    assert len(totals) == 1


def test_a_network_that_does_not_fit_is_refused_reloaded_or_reported() -> None:
    made = network([6, 5, 3])
    assert str(network_shortfalls(made, ARRAY)[0]) == (
        "sparse-matrix SRAM of a PE: 14 lines needed, 10 available, 4 (40%) too many"
    )
    assert residencies(made, replace(ARRAY, memory_mode="unlimited")) == ("resident",) * 3
    sentence = "network 'drawn' does not fit whole: sparse-matrix SRAM of a PE: 14 lines .*memory_mode='passes' or"
    with pytest.raises(InputError, match=sentence):
        residencies(made, replace(ARRAY, memory_mode="resident"))
    assert residencies(made, ARRAY) == ("passes", "passes", "resident")  # 3 lines beside a region of 6
    found = schedule_network(made, [np.array([50])] * 3, ARRAY, residencies(made, ARRAY))
    # 6 lines of 8 bytes and 6 pointers of 2 bytes in each of 2 PEs, at a byte in each cycle
    assert found.dram_wait_cycles[:, 0].tolist() == [2 * (48 + 12), 2 * (40 + 12), 0]
    assert residencies(made, replace(ARRAY, memory_mode="streamed")) == ("streamed",) * 3
    pointers = replace(ARRAY, pointer_bytes=40)
    assert [each.memory for each in network_shortfalls(network([1] * 4), pointers)] == ["pointer SRAM of a PE"]
    ranges = replace(ARRAY, pointer_bits=6)
    assert [each.memory for each in network_shortfalls(network([2] * 4), ranges)] == ["range of a pointer"]


def test_a_load_overlaps_the_run_before_only_if_both_layers_fit() -> None:
    streamed = replace(ARRAY, memory_mode="streamed")
    together, apart = network([5, 5, 5]), network([6, 6, 6])
    for made, waits in ((together, (104, 4, 4)), (apart, (120, 120, 120))):
        kinds = residencies(made, streamed)
        runs = [np.array([cycles]) for cycles in (100, 100, 100)]
        plain = schedule_network(made, runs, streamed, kinds)
        busy = 100 + (plain.port_wait_cycles + plain.switch_cycles)[0, 0]
        expected = [waits[0], *(max(0, 104 - busy) if waits[1] == 4 else wait for wait in waits[1:])]
        assert plain.dram_wait_cycles[:, 0].tolist() == expected


def test_one_layer_of_one_vector_by_hand() -> None:
    made = ScheduledNetwork("one", (layer("fc", 2, columns=20, rows=6),), (Call(0, 1),), 26, 0)
    found = schedule_network(made, [np.array([5, 90])], ARRAY, ("resident",))
    # 26 words of 16 bits take 7 cycles of 64 bits; 2 words fill; 6 words drain
    assert found.port_cycles.tolist() == [[7, 7]]
    assert found.port_wait_cycles.tolist() == [[7 - 5 + 1 + 2, 1 + 2]]
    assert found.switch_cycles[0, 0] == 4 + LAYER_REGISTERS  # 16 values of 16 bits
    assert (found.input_words[0, 0], found.output_words[0, 0]) == (20, 6)


def test_feature_maps_that_do_not_fit_are_spilled_once() -> None:
    made = network([2, 2], live_words=130)  # two SRAMs of 50 words each
    assert str(network_shortfalls(made, ARRAY)[0]).startswith(
        "activation SRAM of a PE: 65 activations alive at once needed, 50 available"
    )
    with pytest.raises(InputError, match="activation SRAM of a PE: 65 activations alive at once"):
        residencies(made, replace(ARRAY, memory_mode="resident"))
    found = schedule_network(made, [np.array([9]), np.array([9])], ARRAY, residencies(made, ARRAY))
    assert found.spilled_words[:, 0].tolist() == [30, 0]
    assert found.dram_wait_cycles[:, 0].tolist() == [2 * transfer_cycles(60, ARRAY), 0]
    unlimited = replace(ARRAY, memory_mode="unlimited")
    assert not schedule_network(made, [np.array([9])] * 2, unlimited, ("resident",) * 2).spilled_words.any()


def test_a_layer_that_does_not_fit_alone_runs_in_blocks_and_nothing_stays() -> None:
    made = network([11, 2, 3])
    assert residencies(made, ARRAY) == ("passes",) * 3
    found = schedule_network(made, [np.array([9])] * 3, ARRAY, residencies(made, ARRAY))
    assert found.loads[:, 0].tolist() == [0, 1, 1]
    assert found.dram_wait_cycles[0, 0] == 0  # its blocks are loaded within its cycles
    array = made.layers[0].running_array(ARRAY)
    assert (array.memory_mode, made.layers[1].running_array(ARRAY).memory_mode) == ("passes", "unlimited")
    several = replace(made, calls=(Call(0, 2), Call(1, 1)))
    with pytest.raises(
        InputError, match=r"layer 'layer 0' does not fit: sparse-matrix SRAM .* 11 lines .* several vect"
    ):
        residencies(several, ARRAY)
