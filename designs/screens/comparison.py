"""Screen about the comparison of ways to search a co-design."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.table import Table

from traces.shell.command_line import console


def print_comparison(table: pa.Table) -> None:
    """Print the hypervolume of each way of searching, the gain of co-design over each other way, and what each tried.

    Parameters
    ----------
    table : pyarrow.Table
        COMPARISON_COLUMNS.
    """
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_seed.setdefault(row["seed"], {})[row["method"]] = row
    together, *others = next(iter(by_seed.values()))
    network = table["network"][0].as_py()
    shown = Table(title=f"{network}: dominated share of the costs", title_justify="left")
    headings = [heading for name in others for heading in (name, "co-design gains")]
    for heading in ("seed", together, *headings):
        shown.add_column(heading, justify="right")
    for seed, methods in by_seed.items():
        best = methods[together]["hypervolume"]
        volumes = [methods[name]["hypervolume"] for name in others]
        pairs = [cell for volume in volumes for cell in (f"{volume:.3f}", f"{best / volume - 1:+.1%}")]
        shown.add_row(str(seed), f"{best:.3f}", *pairs)
    console().print(shown)
    shown = Table(title="Tried by each, and found", title_justify="left")
    for heading in ("", "compressions", "designs", "on the front"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name in (together, *others):
        rows = [methods[name] for methods in by_seed.values()]
        shown.add_row(name, *(_range([row[column] for row in rows]) for column in ("compressions", "designs", "front")))
    console().print(shown)


def _range(values: Sequence[int]) -> str:
    """Return the least and the largest value of all seeds, once if they are equal."""
    ends = sorted({min(values), max(values)})
    return " to ".join(f"{value:,}" for value in ends)
