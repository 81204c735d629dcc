"""Waveform of a run of the tick machine: a Value Change Dump (IEEE 1364) for GTKWave, Surfer and the like."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy.typing as npt
from vcd import VCDWriter

from sim.array import count, prepare
from sim.config import ArrayConfig
from sim.datapath import Array, ProcessingElement
from sim.observe.timeline import check_runs_at_once
from sim.packing import PackedLayer
from sim.result import SimulationResult
from traces import CompressedLayer
from traces.files.atomic_file import atomic_file
from traces.shell.progress import progress_bar

UNDEFINED = "x"
REAL = 0  # bits of a signal that is a real number

Value = int | float | str | None  # None: unchanged
Blocks = dict[str, list["Signal"]]


@dataclass(frozen=True)
class Signal:
    """One variable of the dump.

    Attributes
    ----------
    name : str
        Name in the scope of its block.
    bits : int
        Width of a whole number, or REAL. A real number cannot be undefined in a dump: it keeps its last value (0.0 at
        first), and a strobe beside it tells whether it is valid.
    look : callable
        Returns the value after the last clock edge.
    """

    name: str
    bits: int
    look: Callable[[], Value]


def write_waveform(
    path: str | os.PathLike[str],
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig | None = None,
) -> SimulationResult:
    """Run the tick machine, and write the state of every block after each clock edge t = 0, 1, ..., cycles - 1.

    Parameters
    ----------
    path : str or os.PathLike
        `.vcd` file to write. It is complete or absent.
    layer : CompressedLayer or PackedLayer
        Layer to run.
    activations : array_like
        Input, float32 [columns], finite.
    config : ArrayConfig, optional
        Array. The default is the EIE paper's design point.

    Returns
    -------
    SimulationResult
        The result of `simulate`.

    Raises
    ------
    InputError
        As `simulate` does, if the layer runs in blocks, and if `path` cannot be written.

    Notes
    -----
    Edge t is at time t / clock. The unit of time is the coarsest of nanosecond, picosecond and femtosecond in which
    half a period is a whole number; otherwise times are rounded to femtoseconds. The scopes are the blocks of
    `sim.datapath`:

        array                     clock rises at each edge; edge is its number t
        array.activation_scan     broadcast: a column leaves the scan at this edge; its column and value. It enters
                                  all queues broadcast_cycles - 1 edges later.
                                  blocked, bubble: in the cycle that ends with this edge, the scan waited for a slot
                                  of a queue, or left a row. finished: the scan has no column left
        array.broadcast_wires     only if broadcast_cycles > 1. arrival: a column enters all queues at this edge; its
                                  column
        array.pe<k>.              k with leading zeros, so that every viewer sorts the PEs
          activation_queue        columns: number of waiting columns; full
          pointer_read            busy: it holds a column; its number, entries left, address of the next entry
          sparse_matrix_read      line_read: a line was fetched in the cycle that ends with this edge; the line held
          arithmetic              entry: one is there to be decoded; its code; whether it is padding.
                                  multiply: one is there to be multiplied; its row, numbered within the PE
          activation_write        write: in the cycle that ends with this edge; the row, numbered within the PE, and
                                  its new value

    Undefined values are x. Values are reals of 16 digits, in fixed point those of the codes. Equal runs give equal
    bytes. The file of an Alex-8 on 64 PEs has 40 MB and takes some seconds.
    """
    config = config or ArrayConfig()
    packed, numbers = prepare(layer, activations, config)
    check_runs_at_once(packed, config)
    counts = count(packed, activations, config)
    cycles = counts.cycles
    unit, half_period = _half_period(config.clock_mhz)
    array = Array(packed, numbers, config)
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as stream,
        VCDWriter(
            stream, timescale=f"1 {unit}", date="", version="eie-codesign", comment=_comment(packed, config)
        ) as dump,
        progress_bar("writing waveform", cycles) as advance,
    ):
        clock = dump.register_var("array", "clock", "wire", 1)
        looks: list[tuple[Any, Callable[[], Value]]] = []
        for scope, signals in _signals(array, cycles).items():
            for signal in signals:
                kind = "wire" if signal.bits else "real"
                looks.append((dump.register_var(scope, signal.name, kind, signal.bits or None), signal.look))

        def record(array: Array) -> None:
            if array.edge >= cycles:  # columns without entries are taken after the layer's last write
                return
            time = round(2 * array.edge * half_period)
            dump.change(clock, time, 1)
            for variable, look in looks:
                value = look()
                if value is not None:
                    dump.change(variable, time, value)
            dump.change(clock, round((2 * array.edge + 1) * half_period), 0)
            advance()

        record(array)
        result = array.run(observe=record)
        dump.close(round(2 * cycles * half_period))
    return replace(result, shortfalls=counts.shortfalls)


def _half_period(clock_mhz: float) -> tuple[str, Fraction]:
    """Return a unit of time, and half a clock period in it."""
    half_period = 500 / Fraction(repr(clock_mhz))  # the decimal number that the user wrote
    for unit in ("ns", "ps"):
        if half_period.denominator == 1:
            return unit, half_period
        half_period *= 1000
    return "fs", half_period


def _comment(packed: PackedLayer, config: ArrayConfig) -> str:
    return f"{packed.layer.name!a} on {config}".replace("$", r"\x24")  # a dollar begins a keyword


def _signals(array: Array, cycles: int) -> Blocks:
    """Return all signals of an array by scope."""
    packed, config = array.packed, array.config
    most_stored = int(packed.pointers[-1].max())
    bits = _Widths(
        column=_bits(len(packed.pointers) - 2),
        waiting=_bits(config.queue_depth),
        entries=_bits(packed.most_entries),
        address=_bits(most_stored - 1),
        line=_bits((most_stored - 1) // config.entries_per_line),
        code=config.weight_bits,
        row=_bits((packed.layer.rows - 1) // config.num_pes),
    )
    blocks: Blocks = {
        "array": [Signal("edge", _bits(cycles - 1), lambda: array.edge)],
        "array.activation_scan": _scan_signals(array, bits),
    }
    if config.broadcast_cycles > 1:
        blocks["array.broadcast_wires"] = [
            Signal("arrival", 1, lambda: array.broadcast is not None),
            Signal("column", bits.column, lambda: array.broadcast.column if array.broadcast else UNDEFINED),
        ]
    digits = len(str(config.num_pes - 1))
    for number, pe in enumerate(array.pes):
        for block, signals in _pe_signals(pe, bits).items():
            blocks[f"array.pe{number:0{digits}}.{block}"] = signals
    return blocks


def _bits(largest: int) -> int:
    """Return the bits that hold 0 to `largest`."""
    return max(1, largest.bit_length())


@dataclass(frozen=True)
class _Widths:
    """Bits of the values in the blocks, the same in all PEs."""

    column: int
    waiting: int
    entries: int
    address: int
    line: int
    code: int
    row: int


def _scan_signals(array: Array, bits: _Widths) -> list[Signal]:
    scan = array.scan
    return [
        Signal("broadcast", 1, lambda: array.sent is not None),
        Signal("column", bits.column, lambda: array.sent.column if array.sent else UNDEFINED),
        Signal("value", REAL, lambda: array.sent.value if array.sent else None),
        Signal("blocked", 1, _goes_up(lambda: scan.blocked_cycles)),
        Signal("bubble", 1, _goes_up(lambda: scan.bubble_cycles)),
        Signal("finished", 1, lambda: scan.finished),
    ]


def _pe_signals(pe: ProcessingElement, bits: _Widths) -> Blocks:
    queue, pointer_read, matrix = pe.queue, pe.pointer_read, pe.sparse_matrix_read
    arithmetic, write = pe.arithmetic, pe.activation_write
    return {
        "activation_queue": [
            Signal("columns", bits.waiting, lambda: (queue.write_position - queue.read_position) % queue.queue_slots),
            Signal("full", 1, lambda: queue.is_full),
        ],
        "pointer_read": [
            Signal("busy", 1, lambda: pointer_read.column is not None),
            Signal("column", bits.column, lambda: UNDEFINED if pointer_read.column is None else pointer_read.column),
            Signal("entries_left", bits.entries, lambda: pointer_read.entries_left),
            Signal(
                "next_address",
                bits.address,
                lambda: pointer_read.next_address if pointer_read.entries_left else UNDEFINED,
            ),
        ],
        "sparse_matrix_read": [
            Signal("line_read", 1, _goes_up(lambda: matrix.line_reads)),
            Signal("line", bits.line, lambda: UNDEFINED if matrix.held_line is None else matrix.held_line),
        ],
        "arithmetic": [
            Signal("entry", 1, lambda: arithmetic.entry is not None),
            Signal("code", bits.code, lambda: arithmetic.entry.code if arithmetic.entry else UNDEFINED),
            Signal("padding", 1, lambda: arithmetic.entry.code == 0 if arithmetic.entry else UNDEFINED),
            Signal("multiply", 1, lambda: arithmetic.operands is not None),
            Signal("row", bits.row, lambda: arithmetic.operands.row if arithmetic.operands else UNDEFINED),
        ],
        "activation_write": [
            Signal("write", 1, lambda: write.just_written is not None),
            Signal("row", bits.row, lambda: write.just_written.row if write.just_written else UNDEFINED),
            Signal("value", REAL, lambda: write.just_written.value if write.just_written else None),
        ],
    }


def _goes_up(counter: Callable[[], int]) -> Callable[[], Value]:
    """Return a function that tells whether a counter went up since its last call."""
    before = counter()

    def look() -> Value:
        nonlocal before
        now = counter()
        went_up, before = now > before, now
        return went_up

    return look
