"""A waveform, read back change by change, shows what the closed form says, what was counted, and what came out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from vcd.reader import TokenKind, tokenize

from sim import ArrayConfig, SimulationResult, pack, simulate
from sim.datapath.activation_write import ActivationWrite
from sim.observe.timeline import timeline
from sim.observe.waveform import write_waveform
from tests.layers import Case, cases
from traces import CompressedLayer, InputError

PERIOD_PS = 1250  # of the default clock, 800 MHz
CHANGES = {TokenKind.CHANGE_SCALAR, TokenKind.CHANGE_VECTOR, TokenKind.CHANGE_REAL}


class Waveform:
    """Replayed dump: the value of every signal after each rising edge of the clock.

    Whole numbers are ints, undefined ones "x", real numbers floats.
    """

    def __init__(self, path: Path) -> None:
        self.timescale = ""
        self.widths: dict[str, int] = {}  # by full name
        self.rising_times: list[int] = []
        self.last_time = -1
        self.history: dict[str, list[Any]] = {}
        names: dict[str, str] = {}
        now: dict[str, Any] = {}
        scope: list[str] = []
        rises = False
        with path.open("rb") as stream:
            for token in tokenize(stream):
                if token.kind is TokenKind.TIMESCALE:
                    self.timescale = f"{token.timescale.magnitude} {token.timescale.unit.value}"
                elif token.kind is TokenKind.SCOPE:
                    scope.append(token.scope.ident)
                elif token.kind is TokenKind.UPSCOPE:
                    scope.pop()
                elif token.kind is TokenKind.VAR:
                    name = ".".join([*scope, token.var.reference])
                    names[token.var.id_code], self.widths[name] = name, token.var.size
                elif token.kind is TokenKind.CHANGE_TIME:
                    if rises:
                        self._keep(now)
                    rises, self.last_time = False, token.time_change
                elif token.kind in CHANGES:
                    change: Any = token.data
                    name, value = names[change.id_code], change.value
                    now[name] = int(value) if value in ("0", "1") else value
                    rises |= name == "array.clock" and value == "1"
        assert not rises
        assert not scope

    def _keep(self, now: dict[str, Any]) -> None:
        self.rising_times.append(self.last_time)
        for name, value in now.items():
            self.history.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[Any]:
        return self.history[f"array.{name}"]

    def while_set(self, strobe: str, name: str) -> list[Any]:
        """Return the values of a signal after those edges after which another one is 1."""
        return [value for value, is_set in zip(self[name], self[strobe], strict=True) if is_set == 1]

    def defined(self, name: str) -> list[Any]:
        """Return the values of a signal without those that are undefined."""
        return [value for value in self[name] if value != "x"]


def written(layer: CompressedLayer, activations: Any, config: ArrayConfig) -> tuple[Waveform, SimulationResult, bytes]:
    """Return a waveform, read back, with the result of its run and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.vcd"
        result = write_waveform(path, layer, activations, config)
        return Waveform(path), result, path.read_bytes()


def scopes(config: ArrayConfig) -> list[str]:
    """Return the scope of each PE."""
    digits = len(str(config.num_pes - 1))
    return [f"pe{pe:0{digits}}" for pe in range(config.num_pes)]


@settings(deadline=None, max_examples=100)
@given(cases(several_codebooks=True))
def test_the_waveform_shows_the_timeline(case: Case) -> None:
    layer, activations, config = case
    wave, result, _ = written(layer, activations, config)
    states = timeline(layer, activations, config)
    assert wave["edge"] == list(range(result.cycles))
    assert wave.rising_times == [PERIOD_PS * edge for edge in range(result.cycles)]
    assert wave.last_time == PERIOD_PS * result.cycles == round(result.latency_us * 1e6)

    def columns(places: Any) -> list[Any]:
        return ["x" if place < 0 else int(states.columns[place]) for place in places]

    registers = min(config.broadcast_cycles - 1, result.cycles)
    sent = wave["activation_scan.column"][: result.cycles - registers]
    assert sent == columns(states.broadcast[registers:])
    assert ["x"] * registers == columns(states.broadcast[:registers])
    assert wave["activation_scan.broadcast"] == [column != "x" for column in wave["activation_scan.column"]]
    if registers:
        assert wave["broadcast_wires.column"] == columns(states.broadcast)
        assert wave["broadcast_wires.arrival"] == (states.broadcast >= 0).tolist()
    for pe, scope in enumerate(scopes(config)):
        waiting, held = states.queue_columns[:, pe], states.pointer_read[:, pe]
        assert wave[f"{scope}.activation_queue.columns"] == waiting.tolist()
        assert wave[f"{scope}.activation_queue.full"] == (waiting == config.queue_depth).tolist()
        assert wave[f"{scope}.pointer_read.busy"] == (held >= 0).tolist()
        assert wave[f"{scope}.pointer_read.column"] == columns(held)


@settings(deadline=None, max_examples=100)
@given(cases(several_codebooks=True))
def test_the_waveform_adds_up_to_every_counter_and_the_output(case: Case) -> None:
    layer, activations, config = case
    wave, result, _ = written(layer, activations, config)
    packed = pack(layer, config)
    bias = [] if layer.bias is None else [layer.columns]
    order = [*np.flatnonzero(layer.thresholded(activations)), *bias]
    values = np.append(activations, 1)[order]
    places = np.arange(layer.rows) if packed.row_order is None else packed.row_order
    np.testing.assert_allclose(wave.while_set("activation_scan.broadcast", "activation_scan.value"), values)
    assert sum(wave["activation_scan.blocked"]) == result.blocked_cycles
    assert sum(wave["activation_scan.bubble"]) == result.bubble_cycles
    for pe, scope in enumerate(scopes(config)):
        pointers = packed.pointers[:, pe]
        addresses = [address for column in order for address in range(pointers[column], pointers[column + 1])]
        assert wave.defined(f"{scope}.pointer_read.next_address") == addresses
        assert np.count_nonzero(wave[f"{scope}.pointer_read.entries_left"]) == len(addresses)
        lines = wave.while_set(f"{scope}.sparse_matrix_read.line_read", f"{scope}.sparse_matrix_read.line")
        assert len(lines) == result.line_reads_per_pe[pe]
        assert set(lines) == {address // config.entries_per_line for address in addresses}
        codes = packed.sparse_matrix_image(pe)[0][addresses].tolist() if addresses else []
        assert wave.while_set(f"{scope}.arithmetic.entry", f"{scope}.arithmetic.code") == codes
        assert wave.defined(f"{scope}.arithmetic.code") == codes
        assert wave.defined(f"{scope}.arithmetic.padding") == [code == 0 for code in codes]
        assert sum(wave[f"{scope}.arithmetic.multiply"]) == len(codes) - result.padding_per_pe[pe]
        # multiplied in one cycle, added in the next, written in the one after it
        assert wave[f"{scope}.activation_write.row"] == ["x"] * 3 + wave[f"{scope}.arithmetic.row"][:-3]
        sums = np.zeros(len(range(pe, layer.rows, config.num_pes)))
        strobe = f"{scope}.activation_write.write"
        for row, value in zip(
            wave.while_set(strobe, f"{scope}.activation_write.row"),
            wave.while_set(strobe, f"{scope}.activation_write.value"),
            strict=True,
        ):
            sums[row] = value
        np.testing.assert_allclose(sums, result.output[places[pe :: config.num_pes]], rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(cases(several_codebooks=True))
def test_equal_runs_give_equal_bytes_and_the_result_of_simulate(case: Case) -> None:
    layer, activations, config = case
    _, result, content = written(layer, activations, config)
    same = replace(layer, codes=layer.codes.copy())
    _, _, again = written(same, activations, config)
    assert content == again
    expected = simulate(layer, activations, config)
    for field in fields(SimulationResult):
        np.testing.assert_array_equal(getattr(result, field.name), getattr(expected, field.name), err_msg=field.name)


def small_layer(name: str = "small") -> CompressedLayer:
    """Return a layer that gives PE 0 two entries in each of nine columns, and PE 1 none."""
    codes = np.zeros((4, 9), dtype=np.uint8)
    codes[0], codes[2] = 1, 3
    return CompressedLayer(name, codes, np.array([0, 1, -2, 0.5], dtype=np.float32))


SMALL_ARRAY = ArrayConfig(num_pes=2, queue_slots=3, line_bits=16)


def test_a_stall_is_seen_from_the_full_queue_of_one_pe_to_the_blocked_broadcast() -> None:
    wave, result, content = written(small_layer(), np.arange(1, 10), SMALL_ARRAY)
    full, blocked = wave["pe0.activation_queue.full"], wave["activation_scan.blocked"]
    assert sum(blocked) == result.blocked_cycles > 0
    assert not any(wave["pe1.activation_queue.full"])
    assert all(full[edge - 1] for edge in range(result.cycles) if blocked[edge])
    assert wave["pe0.pointer_read.entries_left"][2:8] == [2, 1, 2, 1, 2, 1]
    assert wave["pe0.activation_write.row"][8:12] == [0, 1, 0, 1]
    assert wave["pe0.activation_write.value"][8:12] == [1, 0.5, 3, 1.5]
    assert wave["pe1.activation_write.value"] == [0] * result.cycles
    assert b"$date" not in content


def test_every_signal_is_as_wide_as_what_it_holds() -> None:
    wave, _, _ = written(small_layer(), np.arange(1, 10), SMALL_ARRAY)
    assert wave.widths == {
        "array.clock": 1,
        "array.edge": 5,
        "array.activation_scan.broadcast": 1,
        "array.activation_scan.column": 4,
        "array.activation_scan.value": 64,
        "array.activation_scan.blocked": 1,
        "array.activation_scan.bubble": 1,
        "array.activation_scan.finished": 1,
    } | {
        f"array.pe{pe}.{name}": width
        for pe in range(2)
        for name, width in {
            "activation_queue.columns": 2,
            "activation_queue.full": 1,
            "pointer_read.busy": 1,
            "pointer_read.column": 4,
            "pointer_read.entries_left": 2,
            "pointer_read.next_address": 5,
            "sparse_matrix_read.line_read": 1,
            "sparse_matrix_read.line": 4,
            "arithmetic.entry": 1,
            "arithmetic.code": 4,
            "arithmetic.padding": 1,
            "arithmetic.multiply": 1,
            "arithmetic.row": 1,
            "activation_write.write": 1,
            "activation_write.row": 1,
            "activation_write.value": 64,
        }.items()
    }


@pytest.mark.parametrize(
    ("clock_mhz", "timescale", "first_edges"),
    [
        (500, "1 ns", [0, 2, 4]),
        (1000, "1 ps", [0, 1000, 2000]),
        (0.001, "1 ns", [0, 1_000_000, 2_000_000]),
        (1e6, "1 fs", [0, 1000, 2000]),
        (300, "1 fs", [0, 3_333_333, 6_666_667, 10_000_000]),
    ],
)
def test_the_clock_is_exact_where_it_can_be(clock_mhz: float, timescale: str, first_edges: list[int]) -> None:
    wave, _, _ = written(small_layer(), np.arange(9), replace(SMALL_ARRAY, clock_mhz=clock_mhz))
    assert wave.timescale == timescale
    assert wave.rising_times[: len(first_edges)] == first_edges


def test_fixed_point_values_are_the_codes() -> None:
    wave, result, _ = written(small_layer(), np.arange(1, 10), replace(SMALL_ARRAY, precision="fixed-16"))
    assert result.output_codes is not None
    last = wave.while_set("pe0.activation_write.write", "pe0.activation_write.value")[-2:]
    assert last == result.output_codes[[0, 2]].tolist()


@pytest.mark.parametrize("name", ["a $end $var", "Schicht 8 µ", "\\"])
def test_any_name_of_a_layer_leaves_the_dump_whole(name: str) -> None:
    wave, result, content = written(small_layer(name), np.ones(9), SMALL_ARRAY)
    assert len(wave["edge"]) == result.cycles
    assert content.isascii()


def failing_tick(after: int) -> Callable[[ActivationWrite], None]:
    """Return a cycle of the activation write that breaks off after `after` ticks."""
    tick, ticks = ActivationWrite.tick, 0

    def fails(self: ActivationWrite) -> None:
        nonlocal ticks
        ticks += 1
        if ticks > after:
            raise KeyboardInterrupt
        tick(self)

    return fails


@pytest.mark.parametrize("before", [None, "an earlier one"])
def test_a_run_that_is_cut_off_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    path = tmp_path / "cut.vcd"
    if before is not None:
        path.write_text(before)
    monkeypatch.setattr(ActivationWrite, "tick", failing_tick(after=20))
    with pytest.raises(KeyboardInterrupt):
        write_waveform(path, small_layer(), np.ones(9), SMALL_ARRAY)
    assert list(tmp_path.iterdir()) == ([] if before is None else [path])
    assert before is None or path.read_text() == before


def test_what_cannot_be_run_or_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.vcd"
    with pytest.raises(InputError, match="activations must be \\[9\\]; found shape \\[8\\]"):
        write_waveform(path, small_layer(), np.ones(8))
    streamed = replace(SMALL_ARRAY, memory_mode="streamed")
    with pytest.raises(InputError, match="loaded from DRAM"):
        write_waveform(path, small_layer(), np.ones(9), streamed)
    with pytest.raises(InputError, match="cannot be written: it is a folder or a device"):
        write_waveform(tmp_path, small_layer(), np.ones(9))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("vcd2fst") is None, reason="needs vcd2fst and fst2vcd (apt-get install gtkwave)")
def test_gtkwave_reads_the_same_signals(tmp_path: Path) -> None:
    first, packed, second = (tmp_path / name for name in ("first.vcd", "packed.fst", "second.vcd"))
    write_waveform(first, small_layer(), np.arange(1, 10), SMALL_ARRAY)
    subprocess.run(["vcd2fst", first, packed], check=True, capture_output=True)
    subprocess.run(["fst2vcd", "-f", packed, "-o", second], check=True, capture_output=True)
    ours, theirs = Waveform(first), Waveform(second)

    def shown(wave: Waveform) -> dict[str, list[Any]]:
        return {name: [str(value).strip("x") for value in values] for name, values in wave.history.items()}

    assert shown(ours) == shown(theirs)
    assert ours.rising_times == theirs.rising_times
