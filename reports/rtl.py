"""Tables about the array in SystemVerilog beside the other two machines, from the experiment "rtl"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.markdown import markdown

Row = dict[str, Any]


def agreement_markdown(rows: Sequence[Row]) -> str:
    """Show the layers run on the three machines, and the number on which the machines differ."""
    headings = ["layers", "PEs", "slots", "runs", "cycles", "pointer reads", "line reads", "disagreements"]
    cells = [
        [
            row["layers"],
            *(f"{row[name]:,}" for name in ("num_pes", "queue_slots", "runs", "cycles", "pointer_reads", "line_reads")),
            f"{row['disagreeing']} {row['differences']}".strip(),
        ]
        for row in rows
    ]
    return markdown(headings, cells)


def speed_markdown(rows: Sequence[Row]) -> str:
    """Show the simulated cycles per second of each machine, the slowest first."""
    slowest = min(row["cycles"] / row["seconds"] for row in rows)
    cells = []
    for row in sorted(rows, key=lambda row: -row["seconds"]):
        rate = row["cycles"] / row["seconds"]
        cells.append([row["machine"], f"{row['seconds'] * 1e3:,.2f}", f"{rate:,.0f}", f"{rate / slowest:,.0f}x"])
    heading = f"Alex-8, {rows[0]['weights']}, 64 PEs, {rows[0]['cycles']:,} cycles"
    return markdown([heading, "ms", "simulated cycles per second", "ratio"], cells)


def synthesis_markdown(rows: Sequence[Row]) -> str:
    """Show the cells and the memory of each block beside the assumptions of the area model."""
    cells = []
    for row in rows:
        assumed = "the paper's block" if row["assumed_bits"] < 0 else f"{row['assumed_bits']:,} bits"
        if row["block"] == "activation_scan":
            assumed = f"{row['assumed_lnzd_units']} LNZD units; here {row['lnzd_units']}"
        if row["block"] == "central_control":
            assumed = "nothing"
        counts = [f"{row[name]:,}" for name in ("gates", "flip_flops", "memory_bits")]
        cells.append([row["block"], *counts, assumed])
    return markdown(["block", "gates", "flip-flop bits", "memory bits", "the area model assumes"], cells)


def mutations_markdown(rows: Sequence[Row]) -> str:
    """Show every planted fault and the cases that caught it."""
    cells = [
        [
            row["block"],
            row["fault"],
            f"{row['caught']} of {row['cases']}" if row["caught"] else "none: it SURVIVED",
            row["first_case"],
            _in_short(row["differing"]),
        ]
        for row in rows
    ]
    return markdown(["block", "fault", "cases that caught it", "first case", "differing values"], cells)


MOST_NAMES = 3


def _in_short(differing: str) -> str:
    """Return the first few names of the differing values, each once."""
    names = list(dict.fromkeys(name.split(" (")[0].replace("_", " ") for name in differing.split(", ")))
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
