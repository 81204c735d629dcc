"""Runs of packed layers on the array in SystemVerilog: the host's side of `bench.cpp`.

Both talk in words of 32 bits, least significant byte first. To the bench:

    LOAD  memory, PE (or ALL_PES), count, words each, then the words; the memories are CODEBOOK to DESTINATION
    RUN   columns, input rows, 1 if there is a bias, its activation, limit, shift, most edges, 1 to trace
    SWAP  source and destination registers
    READ  rows of the source registers

The answer to RUN is: 1 if the layer ended, cycles, edges, microseconds, broadcasts, bubble and blocked cycles; seven
counts for each PE (pointer reads, entries, padding, line reads, overflows, writes, finish edge); and, with a trace, for
each edge the broadcast column and a word for each PE. The answer to READ is the activations.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.array import prepare
from sim.config import ArrayConfig
from sim.fixed_point import FixedPoint, Operands
from sim.limits import array_limits
from sim.memory import stored_counts
from sim.packing import PackedLayer
from sim.result import SimulationResult
from sim.rtl.model import build
from sim.rtl.parameters import RtlParameters
from traces import CompressedLayer, InputError
from traces.arrays import Booleans, Integers64, Numbers

LOAD, RUN, SWAP, READ = 1, 2, 3, 4
CODEBOOK, EVEN_POINTERS, ODD_POINTERS, LINES, SOURCE, DESTINATION = range(6)
ALL_PES = 2**32 - 1

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Trace:
    """States and events at each clock edge t = 0, 1, ... until no column is on its way.

    Attributes
    ----------
    broadcast : numpy.ndarray
        Column that enters the queues, or -1, int64 [edges].
    queue_columns : numpy.ndarray
        Columns in each queue after the edge, int64 [edges, num_pes].
    is_busy : numpy.ndarray
        True if the pointer read holds a column after the edge, bool [edges, num_pes].
    pops, sends, line_reads, entries, padding, writes, overflows : numpy.ndarray
        True if, in the cycle that ends with the edge, pointers were read, an entry left the pointer read, a line was
        read, an entry was decoded, it was padding, an accumulator was written, or a sum left its range; bool
        [edges, num_pes].
    """

    broadcast: Integers64
    queue_columns: Integers64
    is_busy: Booleans
    pops: Booleans
    sends: Booleans
    line_reads: Booleans
    entries: Booleans
    padding: Booleans
    writes: Booleans
    overflows: Booleans


FLAGS = ("pops", "sends", "line_reads", "entries", "padding", "writes", "overflows", "is_busy")  # from bit 0 on


@dataclass(frozen=True, eq=False)
class RtlRun:
    """One layer with one input on the array in SystemVerilog.

    Attributes
    ----------
    result : SimulationResult
        Result as of `simulate`; stored and padding entries are those of the packed layer.
    pointer_reads_per_pe : numpy.ndarray
        Pointer pairs that each PE read, int64 [num_pes].
    writes_per_pe : numpy.ndarray
        Accumulators that each PE wrote, int64 [num_pes].
    edges : int
        Clock edges after edge 0, until no column was on its way.
    seconds : float
        Time of the run, without loading.
    trace : Trace or None
        Trace, if one was requested.
    """

    result: SimulationResult
    pointer_reads_per_pe: Integers64
    writes_per_pe: Integers64
    edges: int
    seconds: float
    trace: Trace | None


class NeverEndsError(RuntimeError):
    """Error of a layer that had not ended after more cycles than any layer takes."""


@dataclass(frozen=True, eq=False)
class Job:
    """Packed layer and its operands; a `chained` job takes the outputs of the job before from the registers."""

    packed: PackedLayer
    operands: Operands
    chained: bool = False


def simulate_rtl(
    layer: CompressedLayer | PackedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig,
    number_format: FixedPoint | None = None,
) -> SimulationResult:
    """Run one layer with one input on the array in SystemVerilog, which is built on first use.

    Parameters
    ----------
    layer : CompressedLayer or PackedLayer
        Layer to run. It must fit the memories.
    activations : array_like
        Input, float32 [columns], finite.
    config : ArrayConfig
        Array in fixed point.
    number_format : FixedPoint, optional
        Fixed-point format. By default it is fitted to this layer and this input.

    Returns
    -------
    SimulationResult
        The result of `simulate`.

    Raises
    ------
    InputError
        As `simulate` does, if a program is missing, if the layer does not fit, or if `config` is in floating point.
    """
    RtlParameters.of(config)  # checks the array first
    (run,) = run_jobs([Job(*prepare(layer, activations, config, number_format))], config)
    return run.result


def run_jobs(
    jobs: Sequence[Job], config: ArrayConfig, traced: bool = False, program: Path | None = None
) -> list[RtlRun]:
    """Run layers one after the other on one array, which is not reset between them.

    By default `build` makes the `program` from `config`. Raises NeverEndsError if a layer does not end, and InputError
    as `simulate_rtl` does.
    """
    parameters = RtlParameters.of(config)
    for job in jobs:
        job.packed.check_fits(config)
        parameters.check_holds(job.packed, config)
    program = build(parameters) if program is None else program
    words = np.concatenate([part for job in jobs for part in commands(job, parameters, config, traced)])
    done = subprocess.run([program], input=words.astype("<u4").tobytes(), capture_output=True)
    if done.returncode:
        raise InputError(
            f"{program} failed with exit status {done.returncode}: {done.stderr.decode(errors='replace').strip()!r}; "
            f"remove it to build it again"
        )
    answer = _Answer(np.frombuffer(done.stdout, dtype="<u4"))
    return [_run_of(job, answer, parameters, config, traced) for job in jobs]


def most_edges(job: Job, config: ArrayConfig) -> int:
    """Return a number of clock edges that no correct array needs: all entries and all columns, one by one."""
    packed = job.packed
    a_column = 2 + 2 * config.broadcast_cycles  # it is sent, its pop comes back, and the scan leaves its row
    columns = packed.layer.columns + len(packed.pointers)
    return int(packed.stored_entries + a_column * columns + config.pipeline_cycles + 2 * config.broadcast_cycles + 57)


def line_image(packed: PackedLayer, pe: int, config: ArrayConfig) -> Words:
    """Return the sparse-matrix SRAM of one PE, uint32 [lines, words of a line]; the first entry is lowest."""
    codes, gaps = packed.sparse_matrix_image(pe)
    per_line, entry_bits = config.entries_per_line, config.entry_bits
    lines = -(-codes.size // per_line)
    entries = np.zeros(lines * per_line, dtype="<u4")
    entries[: codes.size] = codes | gaps.astype(np.uint32) << config.weight_bits
    bits = np.unpackbits(entries.view(np.uint8).reshape(-1, 4), axis=1, count=entry_bits, bitorder="little")
    image = np.zeros((lines, _words(config.line_bits) * 32), dtype=np.uint8)
    image[:, : per_line * entry_bits] = bits.reshape(lines, per_line * entry_bits)
    return np.packbits(image, axis=1, bitorder="little").view("<u4")


def _words(bits: int) -> int:
    return -(-bits // 32)


def _load(memory: int, pe: int, words: Numbers) -> Words:
    """Return a command that fills a memory from address 0 on with words [count] or [count, words each]."""
    table = words if words.ndim == 2 else words[:, np.newaxis]
    head = np.array([LOAD, memory, pe, *table.shape], dtype=np.uint32)
    return np.concatenate([head, table.ravel().astype(np.uint32)])


def commands(job: Job, parameters: RtlParameters, config: ArrayConfig, traced: bool) -> Iterator[Words]:
    """Yield the commands that run one layer."""
    packed, operands, num_pes = job.packed, job.operands, parameters.num_pes
    layer = packed.layer
    input_rows = -(-layer.columns // num_pes)
    output_rows = -(-layer.rows // num_pes)
    codebooks = operands.codebook.reshape(len(packed.codebooks), -1)
    for pe, codebook in enumerate(codebooks):
        yield _load(CODEBOOK, ALL_PES if len(codebooks) == 1 else pe, codebook)
    if not job.chained:
        in_rows = np.zeros(input_rows * num_pes, dtype=np.int64)
        in_rows[: layer.columns] = operands.entering
        for pe in range(num_pes):
            yield _load(SOURCE, pe, in_rows[pe::num_pes])
    if operands.free_bias is None:
        yield _load(DESTINATION, ALL_PES, np.zeros(output_rows))
    else:
        out_rows = np.zeros(output_rows * num_pes, dtype=np.int64)
        order = slice(None) if packed.row_order is None else packed.row_order
        out_rows[: layer.rows] = operands.free_bias[order]
        for pe in range(num_pes):
            yield _load(DESTINATION, pe, out_rows[pe::num_pes])
    for pe in range(num_pes):
        yield _load(EVEN_POINTERS, pe, packed.pointers[0::2, pe])
        yield _load(ODD_POINTERS, pe, packed.pointers[1::2, pe])
        yield _load(LINES, pe, line_image(packed, pe, config))
    number_format = operands.number_format
    assert number_format is not None
    settings = [layer.columns, input_rows, layer.bias is not None, operands.one, operands.limit, number_format.shift]
    yield np.array([RUN, *settings, most_edges(job, config), traced]).astype(np.uint32)
    yield np.array([SWAP, READ, output_rows], dtype=np.uint32)


class _Answer:
    """Words that the bench wrote, taken one after the other."""

    def __init__(self, words: npt.NDArray[np.uint32]) -> None:
        self.words = words
        self.place = 0

    def take(self, *shape: int) -> Integers64:
        """Return the next words as int64 of this shape."""
        count = int(np.prod(shape))
        words = self.words[self.place : self.place + count].reshape(shape).astype(np.int64)
        self.place += count
        return words


def _run_of(job: Job, answer: _Answer, parameters: RtlParameters, config: ArrayConfig, traced: bool) -> RtlRun:
    """Read the answer to one job."""
    packed, operands, num_pes = job.packed, job.operands, parameters.num_pes
    has_ended, cycles, edges, microseconds, broadcasts, bubbles, blocked = answer.take(7).tolist()
    pops, entries, padding, line_reads, overflows, writes, finish_edges = answer.take(7, num_pes)
    if not has_ended:
        raise NeverEndsError(f"layer {packed.layer.name!r} had not ended after {edges:,} clock edges")
    trace = _trace_of(answer.take(edges, 1 + num_pes)) if traced else None
    in_rows = answer.take(-(-packed.layer.rows // num_pes), num_pes).ravel()[: packed.layer.rows]
    sign = 1 << (parameters.activation_bits - 1)
    codes = (in_rows ^ sign) - sign
    if packed.row_order is not None:
        codes[packed.row_order] = codes.copy()
    result = SimulationResult(
        config=config,
        **stored_counts(packed, config),
        broadcasts=broadcasts,
        cycles=cycles,
        bubble_cycles=bubbles,
        blocked_cycles=blocked,
        entries_per_pe=entries,
        padding_per_pe=padding,
        line_reads_per_pe=line_reads,
        finish_edge_per_pe=finish_edges,
        **array_limits(broadcasts, bubbles, int(entries.max()), config.pipeline_cycles),
        output=operands.values(codes),
        number_format=operands.number_format,
        output_codes=codes,
        overflows=int(overflows.sum()),
        saturated_activations=int(operands.saturated_activations),
    )
    return RtlRun(result, pops, writes, edges - 1, microseconds * 1e-6, trace)


def _trace_of(words: Integers64) -> Trace:
    """Return the trace from the words of edges 1, 2, ...; the last edge only ended the layer."""
    seen = np.zeros((len(words), words.shape[1]), dtype=np.int64)
    seen[1:] = words[:-1]
    columns, states = seen[:, 0], seen[:, 1:]
    columns[0] = -1
    columns[columns == 2**32 - 1] = -1
    flags: dict[str, Any] = {name: (states >> bit & 1).astype(bool) for bit, name in enumerate(FLAGS)}
    return Trace(broadcast=columns, queue_columns=states >> len(FLAGS), **flags)
