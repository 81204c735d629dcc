"""Checks of the array in SystemVerilog: agreement with both other machines, speed, synthesis, cells, planted faults.

Each part is a result file of its own. The programs that Verilator builds stay in the user's cache folder, so that an
interrupted run, started again, soon catches up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from designs.experiments.benchmark import benchmark_sources
from designs.result_files import RTL_COLUMNS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, pack, simulate
from sim.array import prepare
from sim.cost.area import PAPER_UM2, module_areas_um2
from sim.cost.constants import CONSTANTS
from sim.cost.energy import event_energies
from sim.rtl import mutations, scaling
from sim.rtl.activity import block_activity, flip_flop_clock_fj
from sim.rtl.agreement import disagreements
from sim.rtl.bench import Job, run_jobs
from sim.rtl.cases import ARRAYS, Case, corner_cases, random_cases
from sim.rtl.liberty import CellLibrary
from sim.rtl.mapping import (
    SKY130,
    TECHNOLOGIES,
    Block,
    MappedBlock,
    blocks_of,
    can_time,
    critical_path_ns,
    fanout_of_4_ns,
    line_address,
    map_block,
    multiply_add,
    register_file,
)
from sim.rtl.model import build, lint, require
from sim.rtl.parameters import RtlParameters
from sim.rtl.synthesis import assumed_lnzd_units, netlist, synthesize
from sim.rtl.waveform import record
from traces import InputError
from traces.eie_benchmark import REAL_LAYERS
from traces.files.npz import read_layer_and_input
from traces.shell.progress import progress_bar

RANDOM_LAYERS = 100  # per array
ALEX8_PES = (8, 16, 64)
ALEX8_SLOTS = (2, 8, 16)
SYNTHESIZED = ("one PE", "bytes", "deeper")  # arrays whose netlists run the corner cases, too
PAPER = ArrayConfig(precision="fixed-16")
TARGET_NS = 7.4  # up to which cells are enlarged in sky130: the paper's period, 1.25 ns, scaled as paths are
LIBERTY = "liberty"  # folder of the cell libraries within the data


def run_rtl(folder: Path, data: Path | None = None) -> None:
    """Run all checks; write the parts of `RTL_COLUMNS` as Parquet files of their names.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    data : Path, optional
        Folder that holds alex8/alex8.npz, and the cell libraries in liberty. Without the first one, speed and activity
        are those of random weights; without the libraries, there are no cells.

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
        "cells": lambda: _cells(data),
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


# Instance of each block of the paper's array in the waveform of Alex-8, and what one event of it is
INSTANCES = {
    **{
        block: (f"TOP.array.pes[0].processing_element.{path}", event)
        for block, path, event in (
            ("activation_queue", "activation_queue", "column"),
            ("pointer_read", "pointer_read", "column"),
            ("sparse_matrix_read", "sparse_matrix_read", "entry"),
            ("arithmetic", "arithmetic", "entry"),
            ("codebook", "arithmetic.codebook", "entry"),
            ("activation_write", "activation_write", "MAC"),
        )
    },
    "lnzd_unit": ("TOP.array.activation_scan.leading_nonzero.level.units[0].lnzd_unit", "cycle"),
    "activation_scan": ("TOP.array.activation_scan", "cycle"),
    "central_control": ("TOP.array.central_control", "cycle"),
}


def _variants() -> list[tuple[str, Block]]:
    """Return blocks of other arrays, and parts alone, each with its setting."""

    def block_of(name: str, config: ArrayConfig) -> Block:
        return next(block for block in blocks_of(config) if block.name == name)

    wide_lines = replace(PAPER, line_bits=512, weight_bits=6)
    return [
        *((f"{slots} slots", block_of("activation_queue", replace(PAPER, queue_slots=slots))) for slots in (4, 16, 64)),
        ("8 bits", block_of("arithmetic", replace(PAPER, precision="fixed-8"))),
        ("32 bits", block_of("arithmetic", replace(PAPER, precision="fixed-32"))),
        *((f"{2**bits} weights", block_of("codebook", replace(PAPER, weight_bits=bits))) for bits in (2, 8)),
        ("7 entries a line", block_of("sparse_matrix_read", replace(PAPER, line_bits=56))),
        ("51 entries a line", block_of("sparse_matrix_read", wide_lines)),
        *((f"{entries} entries a line", line_address(entries)) for entries in (7, 51)),
        *((f"{bits} bits", multiply_add(bits)) for bits in (8, 16, 32)),
        ("64 words of 16 bits", register_file(64, 16)),
    ]


def _cells(data: Path | None) -> list[dict[str, Any]]:
    """Map the blocks to the cell libraries of the data; evaluate their switching in Alex-8."""
    folder = None if data is None else data / LIBERTY
    found = [] if folder is None else [each for each in TECHNOLOGIES if (folder / each.file).exists()]
    if folder is None or not found:
        print(f"The blocks were not mapped to cells: {LIBERTY}/{SKY130.file} was not found in the folder of data.")
        return []
    rows = []
    for technology in found:
        library = CellLibrary(folder / technology.file)
        cell = library.cell(technology.flip_flop)
        factor = scaling.energy_factor(technology.node_nm, library.voltage_v)
        in_nand2 = cell.area_um2 / library.cell(technology.nand2).area_um2 if technology.maps else 0.0
        clock_pj = flip_flop_clock_fj(library, technology.flip_flop) / 1e3
        rows.append(
            cell_row("flip_flop", "", technology.name)
            | {
                "area_um2": cell.area_um2,
                "flip_flops": 1,
                "flip_flop_um2": cell.area_um2,
                "leakage_nw": cell.leakage_nw,
                "area_45nm_um2": scaling.area_um2(in_nand2) or cell.area_um2 * scaling.AREA_FROM_7_NM,
                "clock_pj": clock_pj,
                "clock_45nm_pj": clock_pj * factor,
            }
        )
    if SKY130 in found:
        rows += _mapped(CellLibrary(folder / SKY130.file), data)
    return rows


def _mapped(library: CellLibrary, data: Path | None) -> list[dict[str, Any]]:
    """Map all blocks to sky130; return their rows, with the activity of the paper's blocks."""
    _, weights, draw = [source for source in benchmark_sources(data) if source[0] == "Alex-8"][-1]
    layer, activations = draw()
    job = Job(*prepare(layer, activations, PAPER))
    waveform = record(job, PAPER, ["TOP.array.pes[0]", "TOP.array.activation_scan", "TOP.array.central_control"])
    counts = simulate(layer, activations, PAPER)
    events = {
        "column": counts.broadcasts,
        "entry": int(counts.entries_per_pe[0]),
        "MAC": int(counts.entries_per_pe[0] - counts.padding_per_pe[0]),
        "cycle": waveform.cycles,
    }
    fanout_of_4 = fanout_of_4_ns(library, SKY130) if can_time() else -1.0
    if not can_time():
        print("Paths are those of ABC alone: OpenSTA (sta) was not found; on Debian and Ubuntu its package is opensta.")
    factor = scaling.energy_factor(SKY130.node_nm, library.voltage_v)
    model_um2, model_pj, paper_um2 = _model()
    rows = []
    blocks = [("", block) for block in blocks_of(PAPER)] + _variants()
    with progress_bar("mapping blocks to cells", len(blocks)) as advance:
        for setting, block in blocks:
            mapped = map_block(block, library, SKY130, TARGET_NS)
            row = cell_row(block.name, setting, SKY130.name) | _sizes(mapped, library, fanout_of_4)
            if not setting:
                instance, event = INSTANCES[block.name]
                activity = block_activity(mapped, library, waveform, instance)
                clock_pj = activity.clock_pj / activity.cycles
                event_pj = activity.switching_pj / events[event]
                row |= {
                    "model_um2": model_um2.get(block.name, -1.0),
                    "paper_um2": paper_um2.get(block.name, -1.0),
                    "event": event,
                    "events": events[event],
                    "weights": weights,
                    "flip_flop_toggles": activity.flip_flop_toggles,
                    "net_toggles": activity.net_toggles,
                    "event_pj": event_pj,
                    "clock_pj": clock_pj,
                    "event_45nm_pj": event_pj * factor,
                    "clock_45nm_pj": clock_pj * factor,
                    "model_pj": model_pj.get(block.name, -1.0),
                }
            rows.append(row)
            advance()
    return rows


def _model() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return areas in um2 and energies of an event in pJ of the cost model, and the paper's areas, by block.

    The areas of the other modules are those of SRAMs, to which their logic is small.
    """
    areas, energies = module_areas_um2(PAPER), event_energies(PAPER)
    lnzd_um2 = CONSTANTS["lnzd_unit_um2"].value
    model_um2 = {"activation_queue": areas["queue"], "arithmetic": areas["arithmetic"], "lnzd_unit": lnzd_um2}
    model_pj = {
        "activation_queue": energies.column_queued_pj,
        "arithmetic": energies.entry_pj,
        "activation_write": energies.accumulator_pj,
        "lnzd_unit": CONSTANTS["lnzd_unit_pj"].value,
    }
    paper_um2 = {
        "activation_queue": PAPER_UM2["queue"],
        "arithmetic": PAPER_UM2["arithmetic"],
        "lnzd_unit": lnzd_um2,  # the model has the paper's
    }
    return model_um2, model_pj, {block: float(um2) for block, um2 in paper_um2.items()}


def _sizes(mapped: MappedBlock, library: CellLibrary, fanout_of_4: float) -> dict[str, Any]:
    path_ns = critical_path_ns(mapped, library) if fanout_of_4 > 0 else -1.0
    return {
        "area_um2": mapped.area_um2,
        "flip_flops": mapped.flip_flops,
        "flip_flop_um2": mapped.flip_flop_um2,
        "leakage_nw": mapped.leakage_nw,
        "path_ns": path_ns,
        "abc_path_ns": mapped.abc_path_ns,
        "area_45nm_um2": scaling.area_um2(mapped.nand2_equivalents),
        "path_45nm_ns": scaling.path_ns(path_ns, fanout_of_4) if fanout_of_4 > 0 else -1.0,
    }


def cell_row(block: str, setting: str, library: str) -> dict[str, Any]:
    """Return a row in which everything but the names is unknown."""
    texts = {"block": block, "setting": setting, "library": library, "event": "", "weights": ""}
    unknown = {column.name: -1.0 for column in RTL_COLUMNS["cells"] if column.name not in texts}
    return texts | unknown | {"events": 0, "flip_flops": 0}


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
