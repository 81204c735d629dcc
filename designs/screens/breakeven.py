"""Screen about an array of PEs beside a dense array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from sim import ArrayConfig, area_mm2
from sim.observe.screen import short_names
from traces.shell.command_line import console


def print_breakeven(rows: Sequence[dict[str, Any]], array: ArrayConfig) -> None:
    """Print both costs of each layer, and the densities at which they are equal.

    Parameters
    ----------
    rows : sequence of dict
        Rows with BREAKEVEN_COLUMNS.
    array : ArrayConfig
        The array of PEs.
    """
    table = Table(
        title=f"{array.num_pes} PEs beside the best dense array on the same silicon ({area_mm2(array):.2f} mm2)",
        title_justify="left",
    )
    table.add_column("layer")
    headings = (
        "batch",
        "density",
        "us",
        "dense bits",
        "dense us",
        "uJ",
        "dense uJ",
        "faster up to",
        "less energy up to",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    short = short_layer_names(rows)
    for row in rows:
        table.add_row(
            short[row["layer"]],
            f"{row['batch']:,}",
            f"{row['density']:.1%}",
            f"{row['latency_us']:,.1f}{'*' if row['from_dram'] else ''}",
            str(row["dense_bits"]),
            f"{row['dense_latency_us']:,.1f}{'*' if row['dense_from_dram'] else ''}",
            f"{row['energy_nj'] / 1e3:,.2f}",
            f"{row['dense_energy_nj'] / 1e3:,.2f}",
            density_words(row["latency_density"]),
            density_words(row["energy_density"]),
        )
    console().print(table)
    print("us, uJ: of the PEs, for the whole batch. *: the weights exceed the SRAMs and come from DRAM.")
    print("Up to: density of the weights up to which the PEs are faster, or take less energy.")
    for batch in dict.fromkeys(row["batch"] for row in rows):
        own = [row for row in rows if row["batch"] == batch]
        won: dict[str, list[str]] = {"sparse": [], "dense": []}
        for row in own:
            faster, less = (row[f"dense_{name}"] >= row[name] for name in ("latency_us", "energy_nj"))
            if faster == less:
                won["sparse" if faster else "dense"].append(f"{short[row['layer']]} ({row['dense_bits']} bits)")
        of_each = "; ".join(
            f"{array} wins in time and energy on {', '.join(names) or 'no layer'}" for array, names in won.items()
        )
        print(f"Batch {batch:,}: {of_each}.")


def short_layer_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the short name of each layer of these rows, by its name (`sim.observe.screen.short_names`)."""
    names = list(dict.fromkeys(row["layer"] for row in rows))
    return dict(zip(names, short_names(names), strict=True))


def density_words(density: float) -> str:
    """Return a break-even density in words."""
    return {0.0: "never", 1.0: "always"}.get(density, f"{density:.1%}")
