"""Comparison of the array in SystemVerilog with the tick machine and the closed form."""

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

# Counts of a result that are compared, in the order in which a disagreement is reported.
TOTALS = ("cycles", "broadcasts", "bubble_cycles", "blocked_cycles", "pointer_reads", "overflows")
PER_PE = ("line_reads_per_pe", "entries_per_pe", "padding_per_pe", "finish_edge_per_pe")


def disagreements(
    cases: Sequence[Case], config: ArrayConfig, program: Path | None = None, ticked: bool = True
) -> dict[str, list[str]]:
    """Run the cases of one array, and list by case the quantities on which the machines disagree.

    Parameters
    ----------
    cases : sequence of Case
        Cases, all for one array.
    config : ArrayConfig
        The array.
    program : pathlib.Path, optional
        Array in SystemVerilog. By default `build` makes it from `config`.
    ticked : bool
        Compare with the tick machine, too; this takes most of the time.

    Returns
    -------
    dict
        Quantities by the name of the case; an empty list if all machines agree.
    """
    prepared = [prepare(case.layer, case.activations, config, case.number_format) for case in cases]
    jobs = [Job(packed, operands) for packed, operands in prepared]
    try:
        runs: list[RtlRun | None] = list(run_jobs(jobs, config, traced=True, program=program))
    except NeverEndsError:  # run them one by one to find the one that never ends
        runs = [_run_alone(job, config, program) for job in jobs]
    by_case = {}
    for case, (packed, operands), run in zip(cases, prepared, runs, strict=True):
        by_case[case.name] = (
            ["end of the layer"] if run is None else _compare(case, packed, operands, config, run, ticked)
        )
    return by_case


def _run_alone(job: Job, config: ArrayConfig, program: Path | None) -> RtlRun | None:
    """Run one job; return None if it never ends."""
    try:
        return run_jobs([job], config, traced=True, program=program)[0]
    except NeverEndsError:
        return None


def _compare(
    case: Case, packed: PackedLayer, operands: Operands, config: ArrayConfig, run: RtlRun, ticked: bool
) -> list[str]:
    """List the quantities of a run that differ from the other machines."""
    closed = simulate(packed, case.activations, config, number_format=operands.number_format)
    differences = _different_results(run, closed, "closed form")
    differences += _different_from_timeline(case, packed, config, run)
    if ticked:
        result, trace = traced_tick_machine(packed, operands, config)
        differences += _different_results(run, result, "tick machine")
        differences += _different_traces(run, trace)
    return differences


def _different_results(run: RtlRun, expected: SimulationResult, engine: str) -> list[str]:
    """List the outputs and counts that differ."""
    differences = []
    result = run.result
    if not np.array_equal(result.output_codes, expected.output_codes):  # type: ignore[arg-type]
        differences.append("output")
    differences += [name for name in TOTALS if getattr(result, name) != getattr(expected, name)]
    if (run.pointer_reads_per_pe != expected.broadcasts).any():
        differences.append("pointer_reads_per_pe")
    differences += [name for name in PER_PE if not np.array_equal(getattr(result, name), getattr(expected, name))]
    if not np.array_equal(run.writes_per_pe, expected.entries_per_pe - expected.padding_per_pe):
        differences.append("writes_per_pe")
    return [f"{name} ({engine})" for name in differences]


def _different_from_timeline(case: Case, packed: PackedLayer, config: ArrayConfig, run: RtlRun) -> list[str]:
    """List the states that differ in some cycle from the closed form."""
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
    """List the states that differ in some cycle from the tick machine, until no column is on its way."""
    trace = run.trace
    assert trace is not None
    if run.edges + 1 != len(expected.broadcast):
        return ["number of edges (tick by tick)"]
    names = ("broadcast", "queue_columns", *FLAGS)
    return [
        f"{name} (tick by tick)" for name in names if not np.array_equal(getattr(trace, name), getattr(expected, name))
    ]


def traced_tick_machine(packed: PackedLayer, operands: Operands, config: ArrayConfig) -> tuple[SimulationResult, Trace]:
    """Run the tick machine; return its result and its trace."""
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
