"""The array in SystemVerilog beside the tick machine and the closed form: what they disagree on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim.array import prepare, simulate
from sim.config import ArrayConfig
from sim.datapath import Array
from sim.fixed_point import Operands
from sim.observe.timeline import timeline
from sim.packing import PackedLayer
from sim.result import SimulationResult
from sim.rtl.bench import FLAGS, Job, NeverEndsError, RtlRun, Trace, run_jobs
from sim.rtl.cases import Case

# What is compared, in the order in which a disagreement is told: the counts of a result by their names there
TOTALS = ("cycles", "broadcasts", "bubble_cycles", "blocked_cycles", "pointer_reads", "overflows")
PER_PE = ("line_reads_per_pe", "entries_per_pe", "padding_per_pe", "finish_edge_per_pe")


def disagreements(
    cases: Sequence[Case], config: ArrayConfig, program: Path | None = None, ticked: bool = True
) -> dict[str, list[str]]:
    """Run cases, all of one array; by the name of each case, on what the machines disagree: nothing, if all is well.

    program   the array in SystemVerilog, if it is not the one that `build` makes of `config`
    ticked    compare with the tick machine, too, which takes most of the time
    """
    prepared = [prepare(case.layer, case.activations, config, case.number_format) for case in cases]
    jobs = [Job(packed, operands) for packed, operands in prepared]
    try:
        runs: list[RtlRun | None] = list(run_jobs(jobs, config, traced=True, program=program))
    except NeverEndsError:  # which of them it was, one by one
        runs = [_run_alone(job, config, program) for job in jobs]
    found = {}
    for case, (packed, operands), run in zip(cases, prepared, runs, strict=True):
        found[case.name] = (
            ["end of the layer"] if run is None else _compare(case, packed, operands, config, run, ticked)
        )
    return found


def _run_alone(job: Job, config: ArrayConfig, program: Path | None) -> RtlRun | None:
    try:
        return run_jobs([job], config, traced=True, program=program)[0]
    except NeverEndsError:
        return None


def _compare(
    case: Case, packed: PackedLayer, operands: Operands, config: ArrayConfig, run: RtlRun, ticked: bool
) -> list[str]:
    closed = simulate(packed, case.activations, config, number_format=operands.number_format)
    found = _different_results(run, closed, "closed form")
    found += _different_from_timeline(case, packed, config, run)
    if ticked:
        result, trace = traced_tick_machine(packed, operands, config)
        found += _different_results(run, result, "tick machine")
        found += _different_traces(run, trace)
    return found


def _different_results(run: RtlRun, expected: SimulationResult, engine: str) -> list[str]:
    """Outputs and counts that differ."""
    found = []
    result = run.result
    if not np.array_equal(result.output_codes, expected.output_codes):  # type: ignore[arg-type]
        found.append("output")
    found += [name for name in TOTALS if getattr(result, name) != getattr(expected, name)]
    if (run.pointer_reads_per_pe != expected.broadcasts).any():
        found.append("pointer_reads_per_pe")
    found += [name for name in PER_PE if not np.array_equal(getattr(result, name), getattr(expected, name))]
    if not np.array_equal(run.writes_per_pe, expected.entries_per_pe - expected.padding_per_pe):
        found.append("writes_per_pe")
    return [f"{name} ({engine})" for name in found]


def _different_from_timeline(case: Case, packed: PackedLayer, config: ArrayConfig, run: RtlRun) -> list[str]:
    """What differs in some cycle from the closed form."""
    states = timeline(packed, case.activations, config, case.number_format)
    cycles, trace = len(states.broadcast), run.trace
    assert trace is not None
    if len(trace.broadcast) < cycles:
        return ["number of cycles (timeline)"]
    columns = np.append(states.columns, -1)[states.broadcast]
    taken = np.cumsum(trace.pops, axis=0)
    seen = {
        "broadcast": (trace.broadcast, columns),
        "queue_columns": (trace.queue_columns, states.queue_columns),
        "pointer_read": (np.where(trace.is_busy, taken - 1, -1), states.pointer_read),
        "entries_sent": (np.cumsum(trace.sends, axis=0), states.entries_sent),
    }
    return [f"{name} (timeline)" for name, (ours, theirs) in seen.items() if not np.array_equal(ours[:cycles], theirs)]


def _different_traces(run: RtlRun, expected: Trace) -> list[str]:
    """What differs in some cycle from the tick machine, until no column is on its way any more."""
    trace = run.trace
    assert trace is not None
    if run.edges + 1 != len(expected.broadcast):
        return ["number of edges (tick by tick)"]
    names = ("broadcast", "queue_columns", *FLAGS)
    return [
        f"{name} (tick by tick)" for name in names if not np.array_equal(getattr(trace, name), getattr(expected, name))
    ]


def traced_tick_machine(packed: PackedLayer, operands: Operands, config: ArrayConfig) -> tuple[SimulationResult, Trace]:
    """The tick machine's result, and what is seen at each of its clock edges."""
    broadcast: list[int] = [-1]
    queue_columns: list[list[int]] = [[0] * config.num_pes]
    flags: list[list[list[bool]]] = [[[False] * len(FLAGS)] * config.num_pes]
    array = Array(packed, operands, config)
    before = [[0] * 5 for _ in array.pes]

    def look(array: Array) -> None:
        broadcast.append(-1 if array.broadcast is None else array.broadcast.column)
        queue_columns.append([len(pe.queue.waiting_columns()) for pe in array.pes])
        edge_flags = []
        for number, pe in enumerate(array.pes):
            read, arithmetic = pe.pointer_read, pe.arithmetic
            now = [read.pair_reads, pe.sparse_matrix_read.line_reads, arithmetic.entries, arithmetic.padding]
            now.append(arithmetic.unit.overflows)
            popped, line_read, entry, padding, overflow = (a > b for a, b in zip(now, before[number], strict=True))
            before[number] = now
            sent = read.last_entry_edge == array.edge
            wrote = pe.activation_write.just_written is not None
            edge_flags.append([popped, sent, line_read, entry, padding, wrote, overflow, read.column is not None])
        flags.append(edge_flags)

    result = array.run(observe=look)
    by_name: dict[str, Any] = dict(zip(FLAGS, np.moveaxis(np.array(flags, dtype=bool), 2, 0), strict=True))
    return result, Trace(np.array(broadcast), np.array(queue_columns), **by_name)
