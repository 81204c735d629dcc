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


def cells_markdown(rows: Sequence[Row]) -> str:
    """Show area and longest path of each block as cells of a library, beside the area model and the paper."""
    if not rows:
        return "The blocks were not mapped to cells: there was no cell library in the folder of data."
    cells = [
        [
            f"{row['block']}, {row['setting']}" if row["setting"] else row["block"],
            row["library"],
            f"{row['flip_flops']:,}",
            _share(row["flip_flop_um2"], row["area_um2"]),
            _number(row["area_um2"], 0 if row["area_um2"] > 100 else 2),
            _number(row["area_45nm_um2"], 0 if row["area_45nm_um2"] > 100 else 2),
            _number(row["model_um2"], 0),
            _number(row["paper_um2"], 0),
            _number(row["abc_path_ns"], 2),
            _number(row["path_ns"], 2),
            _number(row["path_45nm_ns"], 2),
        ]
        for row in rows
    ]
    headings = ["block", "library", "flip-flops", "of its area", "um2", "um2 at 45 nm", "model, um2", "paper, um2"]
    return markdown([*headings, "path, ns (ABC)", "path, ns (OpenSTA)", "path at 45 nm, ns"], cells)


def switching_markdown(rows: Sequence[Row]) -> str:
    """Show the energy of each block's events in Alex-8 and of its clock pins, beside the energy model."""
    active = [row for row in rows if row["clock_pj"] >= 0]
    if not active:
        return "There are no energies of blocks: they were not mapped to cells."
    cells = [
        [
            row["block"],
            row["library"],
            f"{row['event']} ({row['events']:,})" if row["event"] else "",
            _number(row["net_toggles"], 3),
            _number(row["flip_flop_toggles"], 3),
            _number(row["event_pj"], 3),
            _number(row["event_45nm_pj"], 3),
            _number(row["model_pj"], 3),
            _number(row["clock_pj"], 4),
            _number(row["clock_45nm_pj"], 4),
        ]
        for row in active
    ]
    weights = next((row["weights"] for row in active if row["weights"]), "none")
    headings = [f"block (Alex-8, {weights})", "library", "event", "toggles of a net", "of a flip-flop"]
    energies = ["pJ an event", "at 45 nm", "model, pJ", "clock pins, pJ a cycle", "at 45 nm"]
    return markdown([*headings, *energies], cells)


def _number(value: float, digits: int) -> str:
    """Return a number, or a dash if it is -1, unknown."""
    return f"{value:,.{digits}f}" if value >= 0 else "-"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


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
