"""Checks of the array in SystemVerilog: agreement with both other machines, speed, synthesis, planted faults.

Each part is a result file of its own. The programs that Verilator builds stay in the user's cache folder, so that an
interrupted run, started again, soon catches up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from designs.experiments.benchmark import benchmark_sources
from designs.result_files import RTL_COLUMNS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, pack, simulate
from sim.array import prepare
from sim.rtl import mutations
from sim.rtl.agreement import disagreements
from sim.rtl.bench import Job, run_jobs
from sim.rtl.cases import ARRAYS, Case, corner_cases, random_cases
from sim.rtl.model import build, lint, require
from sim.rtl.parameters import RtlParameters
from sim.rtl.synthesis import assumed_lnzd_units, netlist, synthesize
from traces import InputError
from traces.eie_benchmark import REAL_LAYERS
from traces.files.npz import read_layer_and_input
from traces.shell.progress import progress_bar

RANDOM_LAYERS = 100  # per array
ALEX8_PES = (8, 16, 64)
ALEX8_SLOTS = (2, 8, 16)
SYNTHESIZED = ("one PE", "bytes", "deeper")  # arrays whose netlists run the corner cases, too
PAPER = ArrayConfig(precision="fixed-16")


def run_rtl(folder: Path, data: Path | None = None) -> None:
    """Run all checks; write agreement, speed, synthesis and mutations as Parquet files of these names.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    data : Path, optional
        Folder that holds alex8/alex8.npz; without it, the speed is that of random weights.

    Raises
    ------
    InputError
        If Verilator, Yosys or a compiler is missing, or Verilator's lint reports anything.
    """
    require("verilator", "make", "g++", "yosys")
    for config in (PAPER, *ARRAYS.values()):
        warnings = lint(RtlParameters.of(config))
        if warnings:
            raise InputError(f"verilator --lint-only -Wall must report nothing; found {warnings.splitlines()[0]}")
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "agreement": lambda: _agreement(data),
        "speed": lambda: _speed(data),
        "synthesis": _synthesis,
        "mutations": _mutations,
    }
    for name, make in parts.items():
        write_results(folder / f"{name}.parquet", table_of(RTL_COLUMNS[name], make()), provenance({}))


def alex8_array(num_pes: int, queue_slots: int) -> ArrayConfig:
    """Return an array of 16-bit arithmetic whose memories hold the real Alex-8 on 8 or more PEs."""
    return ArrayConfig(
        num_pes=num_pes,
        queue_slots=queue_slots,
        precision="fixed-16",
        pointer_bits=18,
        sparse_matrix_bytes=256 * 1024,
        pointer_bytes=64 * 1024,
        activation_bytes=4096,
    )


def _agreement(data: Path | None) -> list[dict[str, Any]]:
    corners = corner_cases()
    batches: list[tuple[str, ArrayConfig, list[Case], bool]] = [
        (what, config, cases, False)
        for array, config in ARRAYS.items()
        for what, cases in (
            ("corner cases", corners[array]),
            ("random layers", random_cases(config, RANDOM_LAYERS, seed=2)),
        )
    ]
    batches += [("corner cases, on the gates", ARRAYS[array], corners[array], True) for array in SYNTHESIZED]
    if data is not None and (data / REAL_LAYERS["Alex-8"]).exists():
        real = Case("Alex-8", *read_layer_and_input(data / REAL_LAYERS["Alex-8"]))
        arrays = [alex8_array(num_pes, slots) for num_pes in ALEX8_PES for slots in ALEX8_SLOTS]
        batches += [("Alex-8, real", config, [real], False) for config in arrays]
    rows = []
    with progress_bar("comparing three machines", len(batches)) as advance:
        for what, config, cases, on_gates in batches:
            gates = build(RtlParameters.of(config), netlist(config), synthesized=True) if on_gates else None
            differing = {name: said for name, said in disagreements(cases, config, gates).items() if said}
            closed = [
                simulate(case.layer, case.activations, config, number_format=case.number_format) for case in cases
            ]
            rows.append(
                {
                    "layers": what,
                    "num_pes": config.num_pes,
                    "queue_slots": config.queue_slots,
                    "runs": len(cases),
                    "disagreeing": len(differing),
                    "differences": "; ".join(f"{name}: {', '.join(said)}" for name, said in differing.items()),
                    "cycles": sum(each.cycles for each in closed),
                    "pointer_reads": sum(each.pointer_reads for each in closed),
                    "line_reads": sum(each.line_reads for each in closed),
                }
            )
            advance()
    return rows


def _speed(data: Path | None) -> list[dict[str, Any]]:
    """Time Alex-8 on 64 PEs and 8 slots: the best of a few runs of each machine, without packing and loading."""
    _, weights, draw = [source for source in benchmark_sources(data) if source[0] == "Alex-8"][-1]
    layer, activations = draw()
    config = alex8_array(64, 8)
    packed = pack(layer, config)
    job = Job(*prepare(packed, activations, config))
    rtl = run_jobs([job] * 5, config)

    def best_of(runs: int, engine: Any) -> float:
        times = []
        for _ in range(runs):
            begin = time.perf_counter()
            simulate(packed, activations, config, engine, job.operands.number_format)  # a fitted format is given
            times.append(time.perf_counter() - begin)
        return min(times)

    seconds = {
        "tick machine": best_of(2, "reference"),
        "SystemVerilog in Verilator": min(run.seconds for run in rtl),
        "closed form": best_of(20, "closed-form"),
    }
    cycles = rtl[0].result.cycles
    return [
        {"machine": machine, "weights": weights, "cycles": cycles, "seconds": taken}
        for machine, taken in seconds.items()
    ]


def _synthesis() -> list[dict[str, Any]]:
    return [
        {
            **{name: getattr(row, name) for name in ("block", "gates", "flip_flops", "memory_bits", "lnzd_units")},
            "assumed_bits": -1 if row.assumed_bits is None else row.assumed_bits,
            "assumed_lnzd_units": assumed_lnzd_units(PAPER) if row.block == "activation_scan" else 0,
        }
        for row in synthesize(PAPER)
    ]


def _mutations() -> list[dict[str, Any]]:
    with progress_bar("planting faults", len(mutations.FAULTS)) as advance:
        verdicts = mutations.mutation_run(advance=advance)
    return [
        {
            "block": verdict.fault.block,
            "fault": verdict.fault.effect,
            "cases": verdict.cases,
            "caught": len(verdict.caught_in),
            "first_case": verdict.caught_in[0] if verdict.caught_in else "",
            "differing": ", ".join(verdict.differing),
        }
        for verdict in verdicts
    ]
