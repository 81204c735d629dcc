"""Command line: `python -m sim LAYER`, one layer on one array."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sim import ArrayConfig, SimulationResult, pack, simulate
from sim.array import Engine
from sim.cycles import CycleBreakdown, cycle_breakdown
from sim.memory import DoesNotFitWarning, print_shortfalls
from sim.row_assignment import RowOrder, rows_balanced_by_activity, rows_balanced_by_entries, rows_found_by_search
from sim.timeline import check_runs_at_once
from traces import InputError
from traces.command_line import console, run
from traces.layer_file import open_layer
from traces.npz import read_npy, write_npy


def simulate_file(
    layer: tyro.conf.Positional[Path],
    array: Annotated[ArrayConfig, tyro.conf.arg(name="")],
    activations: Path | None = None,
    output: Path | None = None,
    engine: Engine = "closed-form",
    rows: Literal["interleaved", "entries", "activity", "search"] = "interleaved",
    timeline: Path | None = None,
    waveform: Path | None = None,
) -> None:
    """Simulate a layer on one array and print what it costs.

    Examples:

      python -m sim alex8.npz --num-pes 64 --queue-slots 8

      python -m sim weights.npy --activations input.npy --weight-bits 8 --memory-mode streamed

    Args:
        layer: .npz file with codes, codebook, optionally bias and one recorded input as act; or .npy with plain
            weights, .npz of scipy.sparse.save_npz, or a directory of the EIE authors' simulator
        array: the array to run it on
        activations: .npy file with the input, float [columns], instead of the layer's own
        output: .npy file to write the output activations to, float32 [rows]
        engine: closed-form, or reference for the tick-by-tick machine: the same result, slowly
        rows: which PE owns which row: interleaved (paper), balanced by stored entries, balanced by the activity
            of this input, or the latter improved by a search that asks for the cycles
        timeline: file NAME.timeline.npz for the array over time: python -m reports draws it
        waveform: .vcd file for every block after every clock edge, from the tick machine: for GTKWave
    """
    compressed, recorded = open_layer(layer)
    values = recorded if activations is None else read_npy(activations)
    if values is None:
        raise InputError(f"{layer}: holds no recorded input (act); give one with --activations FILE.npy")
    for option, path, suffix in (("timeline", timeline, ".timeline.npz"), ("waveform", waveform, ".vcd")):
        if path is not None and not path.name.endswith(suffix):
            raise InputError(f"--{option} must name a file that ends in {suffix}; found {path}")
    orders: dict[str, Callable[[], RowOrder | None]] = {
        "interleaved": lambda: None,
        "entries": lambda: rows_balanced_by_entries(compressed, array.num_pes),
        "activity": lambda: rows_balanced_by_activity(compressed, values, array.num_pes),
        "search": lambda: rows_found_by_search(compressed, values, array),
    }
    packed = pack(compressed, array, orders[rows]())
    if timeline is not None or waveform is not None:
        check_runs_at_once(packed, array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoesNotFitWarning)  # it is printed below
        result = simulate(packed, values, array, engine)
    print_result(compressed.name, result, cycle_breakdown(packed, values, array))
    if packed.row_order_bits:
        print(f"Putting the outputs back in order takes a table of {packed.row_order_bits:,} bits.")
    if output is not None:
        write_npy(output, result.output)
    if timeline is not None:
        from sim.timeline_summary import timeline_summary, write_timeline

        write_timeline(timeline, timeline_summary(packed, values, array))
    if waveform is not None:
        from sim.waveform import write_waveform

        write_waveform(waveform, packed, values, array)


def print_result(name: str, result: SimulationResult, breakdown: CycleBreakdown) -> None:
    """One screen of counts, derived figures, where the PEs' cycles go, and energy."""
    from rich.table import Table

    array = result.config
    table = Table(title=f"{name} on {array.num_pes} PEs, {array.queue_slots} queue slots, {array.line_bits}-bit lines")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    counts = "cycles broadcasts bubble_cycles blocked_cycles waiting_cycles useful_macs stored_entries padding_entries"
    dram = "blocks dram_read_bytes dram_write_bytes" if array.memory_mode in ("passes", "streamed") else ""
    fixed_point = "overflows saturated_activations" if result.number_format is not None else ""
    for field in f"{counts} pointer_reads line_reads {dram} {fixed_point}".split():
        table.add_row(field.replace("_", " ").replace("dram", "DRAM"), f"{getattr(result, field):,}")
    table.add_row("efficiency", f"{result.efficiency:.4f}")
    table.add_row("latency", f"{result.latency_us:.3f} us")
    table.add_section()
    for kind in ("computing", "padding", "empty_columns", "starved", "drained", "waiting"):
        share = getattr(breakdown, kind).sum() / (result.cycles * array.num_pes)
        table.add_row(f"PE cycles, {kind.replace('_', ' ')}", f"{share:.1%}")
    if result.blocked_cycles:
        worst = int(breakdown.blocked_by.argmax())
        table.add_row("broadcast blocked most by", f"PE {worst}: {breakdown.blocked_by[worst]:,} cycles")
    table.add_section()
    for block in fields(result.energy):
        energy_nj = getattr(result.energy, block.name) / 1e3
        label = block.name.removesuffix("_pj").replace("_", " ").replace("dram", "DRAM")
        table.add_row(f"energy, {label}", f"{energy_nj:,.2f} nJ")
    table.add_row("energy, total", f"{result.energy.total_pj / 1e3:,.2f} nJ")
    console().print(table)
    print_shortfalls(name, result.shortfalls)


if __name__ == "__main__":
    run(lambda: tyro.cli(simulate_file, prog="python -m sim"))
