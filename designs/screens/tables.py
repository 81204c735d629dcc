"""What the command line prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE, TRIAL_COLUMNS, TRIALS_FILE
from designs.codesigns.search import FIGURES
from designs.design import ARRAY_FIELDS
from designs.experiments.eie_studies import FoundArray, Study
from designs.experiments.main_job import MainJobResult
from designs.experiments.unevenness import MaskCheck, regularities
from designs.pareto import non_dominated
from designs.results import read_results
from designs.sweeps.sampling import Sample
from designs.sweeps.sweep import read_sweep
from designs.sweeps.totals import DesignPoint, Objective, front_of, network_totals
from sim.cost.area import area_mm2
from traces import InputError
from traces.shell.command_line import console
from traces.unevenness import Unevenness

Row = dict[str, Any]


def print_main_job(result: MainJobResult) -> None:
    """The network before and after, all design points, and those that no other one beats."""
    out = console()
    out.print(_network_table(result))
    out.print(
        f"On 64 PEs, layer by layer, the array gives the network's answer for {result.agreeing_inputs} of "
        f"{result.inputs} test images.\n"
    )
    points = network_totals(result.table)
    front = front_of(points, ("latency_us", "energy_nj", "area_mm2"))
    out.print(_grid_table(points, front, result.inputs))
    out.print(_front_table(front))


def _network_table(result: MainJobResult) -> Table:
    table = Table(title=f"The network on {result.images}, before and after compression", title_justify="left")
    for heading in ("", "test accuracy", "bytes", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("fp32", f"{result.accuracy_before:.2%}", f"{result.bytes_before:,}", "1.0x")
    table.add_row(
        "container",
        f"{result.accuracy_after:.2%}",
        f"{result.bytes_after:,}",
        f"{result.model.compression_ratio:.1f}x",
    )
    return table


def _grid_table(points: list[DesignPoint], front: list[DesignPoint], inputs: int) -> Table:
    """One row for each PE count and queue; the line width changes energy and area alone."""
    widths = sorted({point.line_bits for point in points})
    table = Table(
        title=f"Design points: the whole network, mean of {inputs} inputs; energy for each width of a line, "
        "area for the narrowest\n"
        "(* no other design point beats it in latency, energy and area)",
        title_justify="left",
    )
    for heading in ("PEs", "queue slots", f"mm2 ({widths[0]}-bit)", "cycles", "latency us", "utilisation"):
        table.add_column(heading, justify="right")
    for width in widths:
        table.add_column(f"nJ ({width}-bit)", justify="right")
    arrays: dict[tuple[int, int], dict[int, DesignPoint]] = {}
    for point in points:
        arrays.setdefault((point.num_pes, point.queue_slots), {})[point.line_bits] = point
    for by_width in arrays.values():
        narrowest = by_width[widths[0]]
        table.add_row(
            str(narrowest.num_pes),
            str(narrowest.queue_slots),
            f"{narrowest.area_mm2:.2f}",
            f"{narrowest.cycles:,.0f}",
            f"{narrowest.latency_us:.2f}",
            f"{narrowest.utilisation:.1%}",
            *(f"{by_width[width].energy_nj:.1f}{' *' if by_width[width] in front else '  '}" for width in widths),
        )
    return table


def _front_table(front: list[DesignPoint]) -> Table:
    table = Table(title="The design points no other one beats", title_justify="left")
    for heading in ("PEs", "queue slots", "line bits", "cycles", "latency us", "utilisation", "nJ", "mm2"):
        table.add_column(heading, justify="right")
    for point in front:
        table.add_row(
            str(point.num_pes),
            str(point.queue_slots),
            str(point.line_bits),
            f"{point.cycles:,.0f}",
            f"{point.latency_us:.2f}",
            f"{point.utilisation:.1%}",
            f"{point.energy_nj:.1f}",
            f"{point.area_mm2:.2f}",
        )
    return table


def print_left_out(chosen: Sample) -> None:
    """How many combinations were no designs of the space, and why."""
    for reason, count in chosen.left_out.items():
        print(f"{count:,} combinations are left out: {reason}.")


def print_sweep(table: pa.Table, objectives: Sequence[Objective], fitting: bool = False) -> None:
    """How many designs of a sweep run every layer, and those that no other one beats.

    fitting   only designs whose SRAMs hold every layer whole

    Raises InputError if there is none.
    """
    points = network_totals(table)
    running = [point for point in points if point.runs and (point.fits or not fitting)]
    if not running:
        lacking = next((reason for reason in table["lacking"].to_pylist() if reason), "nothing")
        does = "holds" if fitting else "runs"
        raise InputError(f"none of {len(points):,} designs {does} every layer; the first one lacks {lacking}")
    print(f"{len(points):,} designs, of which {len(running):,} {'hold' if fitting else 'run'} every layer.")
    front = front_of(running, objectives)
    varied = [name for name in (*ARRAY_FIELDS, "row_assignment") if len(set(table[name].to_pylist())) > 1]
    shown = Table(title=f"No other design beats these {len(front):,} in {', '.join(objectives)}", title_justify="left")
    for heading in ("point", *varied, "cycles", "latency_us", "utilisation", "energy_nj", "area_mm2", "nJ us", "fits"):
        shown.add_column(heading.replace("_", " "), justify="right")
    for point in front:
        of_design = vars(point.design.array) | {"row_assignment": point.design.row_assignment}
        shown.add_row(
            str(point.point),
            *(
                f"{of_design[name]:g}" if isinstance(of_design[name], float) else str(of_design[name])
                for name in varied
            ),
            f"{point.cycles:,.0f}",
            f"{point.latency_us:.2f}",
            f"{point.utilisation:.1%}",
            f"{point.energy_nj:,.1f}",
            f"{point.area_mm2:.2f}",
            f"{point.energy_delay_nj_us:,.1f}",
            "yes" if point.fits else "no",
        )
    console().print(shown)


def print_front(result: Path, objectives: Sequence[str], fitting: bool = False) -> None:
    """The front of a sweep, or of a co-design, as measured. Raises InputError if there is none."""
    if result.is_dir() and any((result / name).exists() for name in (FRONT_FILE, TRIALS_FILE)):
        if fitting:
            raise InputError("fitting is for the front of a sweep; a co-design says must_fit in its space")
        wrong = sorted(set(objectives) - set(FIGURES))
        if wrong:
            raise InputError(f"a co-design is judged by {', '.join(FIGURES)}; found {', '.join(wrong)}")
        if (result / FRONT_FILE).exists():
            print_verified(read_results(result / FRONT_FILE, FRONT_COLUMNS)[0], objectives)
        else:
            print_predicted(read_results(result / TRIALS_FILE, TRIAL_COLUMNS)[0], objectives)
        return
    known = get_args(Objective)
    wrong = sorted(set(objectives) - set(known))
    if wrong:
        raise InputError(f"a sweep is judged by {', '.join(known)}; found {', '.join(wrong)}")
    print_sweep(read_sweep(result)[0], cast(Sequence[Objective], objectives), fitting)


def print_verified(table: pa.Table, objectives: Sequence[str]) -> None:
    """Verified designs that keep all bounds and that no other one beats in these objectives, as measured."""
    rows = [row for row in table.to_pylist() if row["keeps_bounds"]]
    costs = np.array([[row[f"measured_{name}"] for name in objectives] for row in rows])
    best = non_dominated(costs.reshape(len(rows), len(objectives)))
    front = [row for row, each in zip(rows, best, strict=True) if each]
    front.sort(key=lambda row: [row[f"measured_{name}"] for name in objectives])
    print(
        f"{table.num_rows:,} designs were compressed and measured, of which {len(rows):,} keep all bounds; no other "
        f"one beats {len(front):,} of them in {', '.join(objectives)}."
    )
    varied = [name for name in (*ARRAY_FIELDS, "row_assignment") if len(set(table[name].to_pylist())) > 1]
    shown = Table(title="As measured, and beside it as predicted", title_justify="left")
    pairs_of = (each for name in FIGURES for each in (name, "predicted"))
    for heading in ("design", *varied, "test accuracy", *pairs_of):
        shown.add_column(heading.replace("_", " "), justify="right")
    for row in front:
        pairs = [row[f"{kind}_{name}"] for name in FIGURES for kind in ("measured", "predicted")]
        shown.add_row(
            row["digest"][:8],
            *(_short(row[name]) for name in varied),
            _short(row["test_accuracy"]),
            *map(_short, pairs),
        )
    _wide_console().print(shown)


def print_predicted(table: pa.Table, objectives: Sequence[str]) -> None:
    """Designs of a study that was interrupted which keep all bounds and which no other one beats, as predicted."""
    rows = [row for row in table.to_pylist() if row["feasible"] and not row["repeats"]]
    costs = np.array([[row[name] for name in objectives] for row in rows]).reshape(len(rows), len(objectives))
    front = [row for row, each in zip(rows, non_dominated(costs), strict=True) if each]
    front.sort(key=lambda row: [row[name] for name in objectives])
    print(
        f"The study is not finished; of {table.num_rows:,} trials, {len(rows):,} designs keep all bounds; no other one "
        f"beats {len(front):,} of them in {', '.join(objectives)}."
    )
    shown = Table(title="As predicted", title_justify="left")
    arrays = ("num_pes", "queue_slots", "line_bits", "weight_bits", "index_bits", "clock_mhz")
    for heading in ("design", *arrays, *FIGURES):
        shown.add_column(heading.replace("_", " "), justify="right")
    for row in front:
        array = json.loads(row["design"])["array"]
        figures = [_short(row[name]) for name in FIGURES]
        shown.add_row(row["digest"][:8], *(_short(array[name]) for name in arrays), *figures)
    console().print(shown)


def print_fleet(table: pa.Table) -> None:
    """The design of each target, as measured, and what it does not keep."""
    shown = Table(title="One analysis, a design for each target, as measured", title_justify="left")
    headings = ("target", "num_pes", "queue_slots", "line_bits", "weight_bits", "index_bits", "clock_mhz")
    for heading in (*headings, "test_accuracy", *FIGURES, "sram_bytes_per_pe", "minimised", "budget"):
        shown.add_column(heading.replace("_", " "), justify="left" if heading == "target" else "right")
    for row in table.to_pylist():
        shown.add_row(
            *(_short(row[name]) for name in (*headings, "test_accuracy")),
            *(_short(row[f"measured_{name}"]) for name in FIGURES),
            _short(row["sram_bytes_per_pe"]),
            row["minimised"],
            "kept" if row["keeps_budget"] else f"exceeds {row['exceeds']}",
        )
    _wide_console().print(shown)


def print_comparison(table: pa.Table) -> None:
    """Hypervolumes of each way of searching, and what co-design gains over the others with the same seed."""
    by_seed: dict[int, dict[str, Row]] = {}
    for row in table.to_pylist():
        by_seed.setdefault(row["seed"], {})[row["method"]] = row
    together, *others = next(iter(by_seed.values()))
    shown = Table(
        title=f"{row['network']}: share of the costs that is beaten, {row['evaluations']:,} evaluations each",
        title_justify="left",
    )
    for heading in ("seed", together, *(each for name in others for each in (name, "co-design gains"))):
        shown.add_column(heading, justify="right")
    for seed, methods in by_seed.items():
        best = methods[together]["hypervolume"]
        volumes = [methods[name]["hypervolume"] for name in others]
        beside = [each for volume in volumes for each in (f"{volume:.3f}", f"{best / volume - 1:+.1%}")]
        shown.add_row(str(seed), f"{best:.3f}", *beside)
    console().print(shown)


def _short(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1e4
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def _wide_console() -> Console:
    """A file or a pipe gets lines long enough for a design beside all its figures."""
    return console() if sys.stdout.isatty() else Console(highlight=False, markup=False, width=240)


def print_benchmark(benchmark: pa.Table) -> None:
    """The EIE benchmark beside the paper's Table IV."""
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


_STUDIED: dict[str, list[tuple[str, Callable[[Row, Row], str]]]] = {
    "queue_slots": [
        ("EIE's Fig 8: load balance (entries gone through per PE and cycle)", lambda row, _: f"{_balance(row):.1%}"),
    ],
    "line_bits": [
        (
            "EIE's Fig 9: energy of all line reads, nJ; the machine keeps the line read last",
            lambda row, _: f"{row['sparse_matrix_read_pj'] / 1e3:,.0f}",
        ),
    ],
    "num_pes": [
        ("EIE's Fig 11: speedup over one PE", lambda row, first: f"{first['cycles'] / row['cycles']:.1f}x"),
        (
            "EIE's Fig 12: padding among the entries gone through",
            lambda row, _: f"{1 - row['useful_macs'] / row['processed_entries']:.1%}",
        ),
        ("EIE's Fig 13: load balance", lambda row, _: f"{_balance(row):.1%}"),
    ],
}


def print_study(study: Study) -> None:
    """One parameter of the paper's array, and what it does to each layer: a table for each figure of the paper."""
    by_layer: dict[str, list[Row]] = {}
    for row in study.table.to_pylist():
        by_layer.setdefault(row["layer"], []).append(row)
    for title, figure in _STUDIED[study.name]:
        table = Table(
            title=f"{title}, against {study.name.replace('_', ' ').replace('pes', 'PEs')}", title_justify="left"
        )
        table.add_column("layer")
        for row in next(iter(by_layer.values())):
            table.add_column(str(row[study.name]), justify="right")
        for layer, of_layer in by_layer.items():
            table.add_row(layer, *(figure(row, of_layer[0]) for row in of_layer))
        console().print(table)


def print_unevenness(rows: Sequence[Row], taken: Unevenness) -> None:
    """The spreads of each layer that was measured, and those that are taken."""
    table = Table(title="Spread of the weights' scale, over rows and over columns", title_justify="left")
    for heading in rows[0]:
        table.add_column(heading.replace("_", " "), justify="left" if heading in ("network", "layer") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console().print(table)
    print(f"Taken, the median of fully connected layers: {taken.row_spread:.4f} and {taken.column_spread:.4f}.")
    said = [
        f"{each.spread.replace('_', ' ')} with {each.size} {each.correlation:+.2f} (p {each.chance:.2f})"
        for each in regularities(rows)
    ]
    print(f"Rank correlations over these layers: {', '.join(said)}.")


def print_mask_checks(checks: Sequence[MaskCheck]) -> None:
    """How near drawn masks come to the cycles of pruned layers."""
    table = Table(title="Cycles of pruned layers, and of masks drawn at their density", title_justify="left")
    for heading in ("network", "layer", "PEs", "cycles", "random mask", "with its own spreads"):
        table.add_column(heading, justify="left" if heading in ("network", "layer") else "right")
    for each in checks:
        differences = f"{each.even_difference:+.1%}", f"{each.uneven_difference:+.1%}"
        table.add_row(each.network, each.layer, str(each.num_pes), f"{each.cycles:,.0f}", *differences)
    console().print(table)
    even, uneven = (np.mean(np.abs([getattr(each, name) for each in checks])) for name in _DIFFERENCES)
    print(f"Mean absolute difference: random {even:.1%}, with its own spreads {uneven:.1%}.")


_DIFFERENCES = ("even_difference", "uneven_difference")


def _balance(row: Row) -> float:
    return float(row["processed_entries"] / (row["cycles"] * row["num_pes"]))


def print_found(found: FoundArray, verified: Sequence[str]) -> None:
    """The array that beats the paper's, what gives the gain, and what was verified."""
    table = Table(title="From the paper's array to the one found", title_justify="left")
    table.add_column("one change after the other")
    table.add_column("energy-delay product", justify="right")
    for what, gain in found.steps:
        table.add_row(what, f"{gain:.2f}x less")
    console().print(table)
    table = Table(title="Energy-delay product, nJ us", title_justify="left")
    for heading in ("layer", "paper's", "found", "less"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer, (before, after) in found.by_layer.items():
        table.add_row(layer, f"{before:,.0f}", f"{after:,.0f}", f"{before / after:.2f}x")
    table.add_row("geometric mean", "", "", f"{found.gain:.2f}x")
    console().print(table)
    array, same = found.design.array, found.same_entries.array
    print(
        f"Found among {found.searched} arrays: {array.num_pes} PEs, {array.queue_slots} queue slots, "
        f"{array.line_bits}-bit lines, gaps of {array.index_bits} bits, rows {found.design.row_assignment}; each PE "
        f"{array.sparse_matrix_bytes // 1024} KiB for entries, {array.pointer_bytes // 1024} KiB for pointers of "
        f"{array.pointer_bits} bits, {array.activation_bytes // 1024} KiB for activations; {area_mm2(array):.1f} mm2. "
        f"The network takes {found.network_bits[1]:,} bits in it, in the paper's array {found.network_bits[0]:,}."
    )
    print(
        f"With the paper's entries of 4 + 4 bits, the best is {found.same_entries_gain:.2f}x: {same.num_pes} PEs, "
        f"{same.queue_slots} queue slots, {same.line_bits}-bit lines."
    )
    print(f"The tick machine gives the same cycles, counters, energy and output on {', '.join(verified)}.")
