"""Screen about the comparison of ways to search a co-design."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from rich.table import Table

from traces.shell.command_line import console


def print_comparison(table: pa.Table) -> None:
    """Print the hypervolume of each way of searching, and the gain of co-design over each other way by seed."""
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_seed.setdefault(row["seed"], {})[row["method"]] = row
    together, *others = next(iter(by_seed.values()))
    shown = Table(
        title=f"{row['network']}: dominated share of the costs, {row['evaluations']:,} evaluations each",
        title_justify="left",
    )
    headings = [heading for name in others for heading in (name, "co-design gains")]
    for heading in ("seed", together, *headings):
        shown.add_column(heading, justify="right")
    for seed, methods in by_seed.items():
        best = methods[together]["hypervolume"]
        volumes = [methods[name]["hypervolume"] for name in others]
        pairs = [cell for volume in volumes for cell in (f"{volume:.3f}", f"{best / volume - 1:+.1%}")]
        shown.add_row(str(seed), f"{best:.3f}", *pairs)
    console().print(shown)
