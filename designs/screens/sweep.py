"""Screens about a sweep: omitted combinations and the Pareto-optimal designs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.table import Table

from designs.design import HARDWARE, words
from designs.sweeps.folder import SweepReader
from designs.sweeps.sampling import Sample
from designs.sweeps.sweep import shapes_in
from designs.sweeps.totals import DesignPoint, Objective, SweepTotals
from sim.dense_comparison import dense_words
from traces import InputError
from traces.shell.command_line import console

_LARGE_ROWS = 1_000_000
_PROCESS_BYTES, _POINT_BYTES = 0.9e9, 30  # of the process with its libraries, and of a point
_ROW_DISK_BYTES = 500  # of parts, of the rows that are put in order, and of the final table


def varied_parameters(table: pa.Table) -> list[str]:
    """Return the hardware parameters that have several values in a table of designs."""
    return [name for name in HARDWARE if len(set(table[name].to_pylist())) > 1]


def print_left_out(sample: Sample) -> None:
    """Print the number of combinations that are no designs of the space, by reason."""
    for reason, count in sample.left_out.items():
        print(f"{count:,} combinations are left out: {reason}.")


def print_needs(points: int, layers: int) -> None:
    """Print the memory and the disk space that a large sweep needs."""
    rows = points * layers
    if rows >= _LARGE_ROWS:
        memory_gb = (_PROCESS_BYTES + _POINT_BYTES * points) / 1e9
        print(
            f"{points:,} designs x {layers:,} layers need about {memory_gb:.1f} GB of memory in this process, and "
            f"up to {rows * _ROW_DISK_BYTES / 1e9:.1f} GB on the disk while the rows are put in order."
        )


def print_sweep(sweep: SweepReader, objectives: Sequence[Objective], fitting: bool = False) -> None:
    """Print the number of designs that run every layer, the Pareto-optimal ones, and one beside a dense array.

    Parameters
    ----------
    sweep : SweepReader
        The sweep.
    objectives : sequence of str
        Costs to minimise.
    fitting : bool
        Exclude designs whose SRAMs do not hold every layer.

    Raises
    ------
    InputError
        If no design is left.
    """
    totals = SweepTotals(objectives, fitting)
    for table in sweep.tables():
        totals.add(table)
    if not totals.running:
        verb = "holds" if fitting else "runs"
        raise InputError(
            f"none of {totals.points:,} designs {verb} every layer; the first one lacks {totals.lacking or 'nothing'}"
        )
    print(f"{totals.points:,} designs, of which {totals.running:,} {'hold' if fitting else 'run'} every layer.")
    console().print(_front_table(totals.front, totals.varied, objectives))
    print(f"Dense:      {_dense_words(totals.front, sweep.origin)}")


def _dense_words(front: Sequence[DesignPoint], origin: Mapping[str, Any]) -> str:
    """Compare the design of least energy x delay, of those that are fit for it, with the best dense array."""
    shapes = shapes_in(origin)
    if shapes is None:
        return "not compared: these results do not state the shapes of the layers; run the same sweep again"
    comparable = [point for point in front if point.fits or point.design.array.memory_mode != "unlimited"]
    best = min(comparable or front, key=lambda point: point.energy_delay_nj_us)
    which = f"point {best.point}, which has the least energy x delay of those that can be compared: "
    return which + dense_words(shapes[0], best.design.array, best.latency_us, best.energy_nj, best.fits, shapes[1])


def _front_table(front: Sequence[DesignPoint], varied: Sequence[str], objectives: Sequence[str]) -> Table:
    title = f"The {len(front):,} Pareto-optimal designs in {', '.join(objectives)}"
    table = Table(title=title, title_justify="left")
    headings = ("latency_us", "efficiency", "energy_nj", "limit / energy", "area_mm2", "energy x delay, nJ us", "fits")
    for heading in ("point", *varied, "cycles", "limit / cycles", "limited by", *headings):
        table.add_column(words(heading), justify="right")
    for point in front:
        parameters = vars(point.design.array) | {"row_assignment": point.design.row_assignment}
        table.add_row(
            str(point.point),
            *(_parameter(parameters[name]) for name in varied),
            f"{point.cycles:,.0f}",
            f"{point.limit_cycles / point.cycles:.1%}",
            point.limit_binds,
            f"{point.latency_us:.2f}",
            f"{point.efficiency:.1%}",
            f"{point.energy_nj:,.1f}",
            f"{point.limit_energy_nj / point.energy_nj:.0%}",
            f"{point.area_mm2:.2f}",
            f"{point.energy_delay_nj_us:,.{0 if point.energy_delay_nj_us >= 1e3 else 1}f}",
            "yes" if point.fits else "no",
        )
    return table


def _parameter(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
