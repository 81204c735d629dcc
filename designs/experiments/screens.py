"""Screens about the experiments: benchmark, sweeps of the paper, unevenness of masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from rich.table import Table

from designs.experiments.eie_sweeps import PAPER, FoundArray, ParameterSweep
from designs.experiments.unevenness import regularities
from designs.result_files import BENCHMARK_STEPS
from sim import ArrayConfig
from sim.cost.area import area_mm2
from sim.cost.timing import timing
from sim.limits import STEPS
from traces.shell.command_line import console
from traces.unevenness import Unevenness

Row = dict[str, Any]


def print_benchmark(benchmark: pa.Table) -> None:
    """Print the EIE benchmark beside the paper's Table IV."""
    table = Table(title="EIE benchmark on the paper's array: 64 PEs, 8 queue slots, 800 MHz", title_justify="left")
    for heading in ("layer", "weights"):
        table.add_column(heading)
    for heading in ("cycles", "efficiency", "latency us", "paper us", "difference"):
        table.add_column(heading, justify="right")
    for row in benchmark.to_pylist():
        table.add_row(
            row["layer"],
            row["weights"],
            f"{row['cycles']:,}",
            f"{row['efficiency']:.4f}",
            f"{row['latency_us']:.2f}",
            f"{row['paper_actual_us']:.1f}",
            f"{row['latency_us'] / row['paper_actual_us'] - 1:+.1%}",
        )
    console().print(table)
    table = Table(title="Distance to the limit, and shares of the cycles", title_justify="left")
    for heading in ("layer", "weights", "binding"):
        table.add_column(heading, no_wrap=True)
    steps = [STEPS[name] for name in BENCHMARK_STEPS]
    for heading in ("limit, cycles", "of the cycles", *steps, "of the nJ", "of the bytes"):
        table.add_column(heading, justify="right")
    for row in benchmark.to_pylist():
        shares = [row["limit_share"], *(row[f"share_{name}"] for name in BENCHMARK_STEPS)]
        shares += [row["limit_energy_pj"] / row["energy_pj"], row["limit_bytes"] / row["sram_bytes"]]
        names = (row[name] for name in ("layer", "weights", "limit_binds"))
        table.add_row(*names, f"{row['limit_cycles']:,}", *(f"{share:.1%}" for share in shares))
    console().print(table)


def print_parameter_sweep(sweep: ParameterSweep) -> None:
    """Print one table for each of the paper's figures about a parameter, with a row for each layer."""
    by_layer: dict[str, list[Row]] = {}
    for row in sweep.table.to_pylist():
        by_layer.setdefault(row["layer"], []).append(row)
    parameter = sweep.parameter.replace("_", " ").replace("pes", "PEs")
    for title, figure in _FIGURES[sweep.parameter]:
        table = Table(title=f"{title}, against {parameter}", title_justify="left")
        table.add_column("layer")
        for row in next(iter(by_layer.values())):
            table.add_column(str(row[sweep.parameter]), justify="right")
        for layer, rows in by_layer.items():
            table.add_row(layer, *(figure(row, rows[0]) for row in rows))
        console().print(table)


def _balance(row: Row) -> float:
    return float(row["processed_entries"] / (row["cycles"] * row["num_pes"]))


_FIGURES: dict[str, list[tuple[str, Callable[[Row, Row], str]]]] = {
    "queue_slots": [
        ("EIE's Fig 8: load balance (processed entries per PE and cycle)", lambda row, _: f"{_balance(row):.1%}"),
    ],
    "line_bits": [
        (
            "EIE's Fig 9: energy of all line reads, nJ; the machine keeps the line that it read last",
            lambda row, _: f"{row['sparse_matrix_read_pj'] / 1e3:,.0f}",
        ),
    ],
    "num_pes": [
        ("EIE's Fig 11: speedup over one PE", lambda row, first: f"{first['cycles'] / row['cycles']:.1f}x"),
        (
            "EIE's Fig 12: share of padding in the processed entries",
            lambda row, _: f"{1 - row['useful_macs'] / row['processed_entries']:.1%}",
        ),
        ("EIE's Fig 13: load balance", lambda row, _: f"{_balance(row):.1%}"),
    ],
}


def print_found(best: FoundArray, verified: Sequence[str]) -> None:
    """Print the array found, the gain of each change, and the layers that the tick machine verified."""
    table = Table(title="From the paper's array to the array found", title_justify="left")
    table.add_column("one change after the other")
    table.add_column("energy-delay product", justify="right")
    for change, gain in best.steps:
        table.add_row(change, f"{gain:.2f}x less")
    console().print(table)
    table = Table(title="Energy-delay product, nJ us", title_justify="left")
    for heading in ("layer", "paper's", "found", "less"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer, (before, after) in best.by_layer.items():
        table.add_row(layer, f"{before:,.0f}", f"{after:,.0f}", f"{before / after:.2f}x")
    table.add_row("geometric mean", "", "", f"{best.gain:.2f}x")
    console().print(table)
    array, same = best.design.array, best.same_entries.array
    print(
        f"Best of {best.searched} arrays: {array.num_pes} PEs, {array.queue_slots} queue slots, "
        f"{array.line_bits}-bit lines, gaps of {array.index_bits} bits, rows {best.design.row_assignment}. Each PE "
        f"has {array.sparse_matrix_bytes // 1024} KiB for entries, {array.pointer_bytes // 1024} KiB for pointers of "
        f"{array.pointer_bits} bits and {array.activation_bytes // 1024} KiB for activations; the array takes "
        f"{area_mm2(array):.1f} mm2, the paper's {area_mm2(PAPER.array):.1f}. It stores the network in "
        f"{best.network_bits[1]:,} bits, the paper's array in {best.network_bits[0]:,}. {_clock(array)}"
    )
    print(
        f"{best.too_fast} arrays of at most this area do not reach the paper's clock and are left out. The array of "
        f"version 1.0 takes {best.without_timing_gain:.2f} times less than the paper's, and "
        f"{area_mm2(best.without_timing.array):.1f} mm2. {_clock(best.without_timing.array)}"
    )
    print(
        f"With the paper's entries of 4 + 4 bits, the best gain is {best.same_entries_gain:.2f}x: {same.num_pes} PEs, "
        f"{same.queue_slots} queue slots, {same.line_bits}-bit lines."
    )
    print(f"The tick machine gives the same cycles, counters, energy and output on {', '.join(verified)}.")


def _clock(array: ArrayConfig) -> str:
    """Return a sentence about the clock of an array, its limit and its stages."""
    found = timing(array)
    return (
        f"At {array.clock_mhz:g} MHz, of at most {found.highest_clock_mhz:.0f} by the {found.limit}, an entry takes "
        f"{array.pipeline_cycles} cycles and a broadcast {array.broadcast_cycles}."
    )


def print_unevenness(rows: Sequence[Row], typical: Unevenness) -> None:
    """Print the parameters of each measured layer, the typical ones, and correlations with density and size."""
    table = Table(title="Unevenness of the masks of pruned layers", title_justify="left")
    left = ("network", "pruning", "layer", "kind")
    for heading in rows[0]:
        table.add_column(heading.replace("_", " "), justify="left" if heading in left else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console().print(table)
    parameters = [f"{name} {value:.4g}" for name, value in vars(typical).items() if name != "fullest_classes"]
    print(f"Typical of fully connected layers (median over groups of the groups' medians): {', '.join(parameters)}.")
    correlations = [
        f"{each.spread.replace('_', ' ')} with {each.size} {each.correlation:+.2f} (p {each.chance:.2f})"
        for each in regularities(rows)
    ]
    print(f"Rank correlations over these layers: {', '.join(correlations)}.")
