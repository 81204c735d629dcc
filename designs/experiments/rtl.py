"""The array in SystemVerilog in full: agreement with both other machines, speed, cells, planted faults.

Each part is a result file of its own, written when it is finished. The programs that Verilator builds are kept in the
user's cache folder, so that a run that is cut off, begun again, soon comes to where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from designs.experiments.benchmark import benchmark_sources
from designs.results import Column, provenance, table_of, write_results
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

RANDOM_LAYERS = 100  # for each of the five arrays
ALEX8_PES = (8, 16, 64)
ALEX8_SLOTS = (2, 8, 16)
SYNTHESIZED = ("one PE", "bytes")  # arrays whose gates run the corner cases, too
PAPER = ArrayConfig(precision="fixed-16")

AGREEMENT_COLUMNS = [
    Column("layers", pa.string(), "", "what was run"),
    Column("num_pes", pa.int32(), "PEs", "of the array"),
    Column("queue_slots", pa.int32(), "slots", "of each queue"),
    Column("runs", pa.int32(), "layers", "run on the three machines"),
    Column("disagreeing", pa.int32(), "layers", "on which they differ in anything"),
    Column("differences", pa.string(), "", "in what they differ"),
    Column("cycles", pa.int64(), "cycles", "of all these layers"),
    Column("pointer_reads", pa.int64(), "pairs", "of all these layers"),
    Column("line_reads", pa.int64(), "lines", "of all these layers"),
]
SPEED_COLUMNS = [
    Column("machine", pa.string(), "", "which of the three"),
    Column("weights", pa.string(), "", "of the Alex-8 that was run: 'real' or 'random'"),
    Column("cycles", pa.int64(), "cycles", "simulated"),
    Column("seconds", pa.float64(), "s", "that this took"),
]
SYNTHESIS_COLUMNS = [
    Column("block", pa.string(), "", "of the array"),
    Column("gates", pa.int64(), "gates", "of two inputs, inverters, multiplexers"),
    Column("flip_flops", pa.int64(), "bit", "in flip-flops"),
    Column("memory_bits", pa.int64(), "bit", "in memories"),
    Column("assumed_bits", pa.int64(), "bit", "of memory that the area model assumes; -1: it takes the paper's block"),
    Column("lnzd_units", pa.int64(), "units", "of leading non-zero detection"),
    Column("assumed_lnzd_units", pa.int64(), "units", "that the area model assumes in the array"),
]
MUTATION_COLUMNS = [
    Column("block", pa.string(), "", "in which the fault was planted"),
    Column("fault", pa.string(), "", "what is wrong then"),
    Column("cases", pa.int32(), "layers", "run on the array with the fault"),
    Column("caught", pa.int32(), "layers", "on which it showed"),
    Column("first_case", pa.string(), "", "the first of them"),
    Column("differing", pa.string(), "", "in what it showed there"),
]
FILES = {
    "agreement": AGREEMENT_COLUMNS,
    "speed": SPEED_COLUMNS,
    "synthesis": SYNTHESIS_COLUMNS,
    "mutations": MUTATION_COLUMNS,
}


def run_study(out: Path, data: Path | None = None) -> None:
    """Write agreement, speed, synthesis and mutations to `out`, as Parquet files of these names.

    data   the folder that holds alex8/alex8.npz; without it, Alex-8 is run with random weights, for speed alone

    Raises InputError if Verilator, Yosys or a compiler is missing, or Verilator finds fault with the files.
    """
    require("verilator", "make", "g++", "yosys")
    for config in (PAPER, *ARRAYS.values()):
        said = lint(RtlParameters.of(config))
        if said:
            raise InputError(f"verilator --lint-only -Wall must find nothing; it said {said.splitlines()[0]}")
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "agreement": lambda: _agreement(data),
        "speed": lambda: _speed(data),
        "synthesis": _synthesis,
        "mutations": _mutations,
    }
    for name, make in parts.items():
        write_results(out / f"{name}.parquet", table_of(FILES[name], make()), provenance({}))


def alex8_array(num_pes: int, queue_slots: int) -> ArrayConfig:
    """An array of 16-bit arithmetic whose memories hold the real Alex-8 on 8 PEs or more."""
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
    """Alex-8 on the paper's 64 PEs and 8 slots: the best of a few runs of each machine, without packing and loading."""
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
            simulate(packed, activations, config, engine, job.operands.number_format)  # given: fitting is no simulating
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
            "fault": verdict.fault.what,
            "cases": verdict.cases,
            "caught": len(verdict.caught_in),
            "first_case": verdict.caught_in[0] if verdict.caught_in else "",
            "differing": ", ".join(verdict.differing),
        }
        for verdict in verdicts
    ]
