"""Screens about a sweep: omitted combinations and the Pareto-optimal designs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from rich.table import Table

from designs.design import HARDWARE
from designs.sweeps.sampling import Sample
from designs.sweeps.totals import DesignPoint, Objective, SweepTotals
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


def print_sweep(tables: Iterable[pa.Table], objectives: Sequence[Objective], fitting: bool = False) -> None:
    """Print the number of designs of a sweep that run every layer, and the Pareto-optimal ones.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        Rows of the sweep, with SWEEP_COLUMNS, in tables of whole points.
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
    for table in tables:
        totals.add(table)
    if not totals.running:
        verb = "holds" if fitting else "runs"
        raise InputError(
            f"none of {totals.points:,} designs {verb} every layer; the first one lacks {totals.lacking or 'nothing'}"
        )
    print(f"{totals.points:,} designs, of which {totals.running:,} {'hold' if fitting else 'run'} every layer.")
    console().print(_front_table(totals.front, totals.varied, objectives))


def _front_table(front: Sequence[DesignPoint], varied: Sequence[str], objectives: Sequence[str]) -> Table:
    title = f"The {len(front):,} Pareto-optimal designs in {', '.join(objectives)}"
    table = Table(title=title, title_justify="left")
    headings = ("latency_us", "efficiency", "energy_nj", "least", "area_mm2", "nJ us", "fits")
    for heading in ("point", *varied, "cycles", "least", "binding", *headings):
        table.add_column(heading.replace("_", " "), justify="right")
    for point in front:
        parameters = vars(point.design.array) | {"row_assignment": point.design.row_assignment}
        table.add_row(
            str(point.point),
            *(_parameter(parameters[name]) for name in varied),
            f"{point.cycles:,.0f}",
            f"{point.limit_cycles / point.cycles:.0%}",
            point.limit_binds,
            f"{point.latency_us:.2f}",
            f"{point.efficiency:.1%}",
            f"{point.energy_nj:,.1f}",
            f"{point.limit_energy_nj / point.energy_nj:.0%}",
            f"{point.area_mm2:.2f}",
            f"{point.energy_delay_nj_us:,.1f}",
            "yes" if point.fits else "no",
        )
    return table


def _parameter(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
