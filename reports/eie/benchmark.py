"""Tables of the EIE benchmark beside the paper, as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from reports.markdown import markdown
from sim import ArrayConfig
from sim.cost import area, energy

Row = dict[str, Any]


def benchmark_markdown(rows: Sequence[Row]) -> str:
    """Show the published (Table IV, actual) and simulated time of each layer, and the difference."""
    cells = [
        [
            row["layer"],
            row["weights"],
            f"{row['cycles']:,}",
            f"{row['efficiency']:.3f}",
            f"{row['latency_us']:.2f}",
            f"{row['paper_actual_us']:.1f}",
            _difference(row["latency_us"], row["paper_actual_us"]),
        ]
        for row in rows
    ]
    return markdown(["layer", "weights", "cycles", "efficiency", "ours, us", "paper, us", "difference"], cells)


def alex8_markdown(rows: Sequence[Row]) -> str:
    """Show the quantities of Alex-8: the paper's, ours for each kind of weights, and the difference."""
    cells = []
    for row in rows:
        if row["layer"] != "Alex-8":
            continue
        published = row["paper_theoretical_us"], row["paper_actual_us"]
        paper_efficiency = published[0] / published[1]
        weights = row["weights"]
        cells += [
            [f"cycles, {weights} weights", "-", f"{row['cycles']:,}", "-"],
            [f"useful MACs, {weights} weights", "-", f"{row['useful_macs']:,}", "-"],
            [f"pointer reads, {weights} weights", "-", f"{row['pointer_reads']:,}", "-"],
            [f"line reads, {weights} weights", "-", f"{row['line_reads']:,}", "-"],
            [
                f"theoretical time (us), {weights} weights",
                f"{published[0]:.1f}",
                f"{row['theoretical_us']:.2f}",
                _difference(row["theoretical_us"], published[0]),
            ],
            [
                f"actual time (us), {weights} weights",
                f"{published[1]:.1f}",
                f"{row['latency_us']:.2f}",
                _difference(row["latency_us"], published[1]),
            ],
            [
                f"efficiency (theoretical / actual), {weights} weights",
                f"{paper_efficiency:.3f}",
                f"{row['efficiency']:.4f}",
                _difference(row["efficiency"], paper_efficiency),
            ],
        ]
    return markdown(["Alex-8, 64 PEs, 8 queue slots, 800 MHz", "paper", "ours", "difference"], cells)


ONE_PE = "one PE"  # ours includes its share of the scan, of the broadcast and of the tree of the clock
PAPER_WATT, PAPER_MM2 = 0.59, 40.8  # section VI, 64 PEs


def module_powers(row: Row) -> dict[str, tuple[float, float]]:
    """Return the power in mW of each module and of one PE on a layer of the benchmark: the paper's, and ours."""
    energies = {field.name: row[field.name] for field in dataclasses.fields(energy.Energy)}
    ours = energy.module_mw(ArrayConfig(), energies, row["cycles"])
    powers = {name: (paper, ours[name]) for name, paper in energy.PAPER_MW.items()}
    return powers | {ONE_PE: (energy.PAPER_PE_MW, row["energy_pj"] * 1e-3 / row["latency_us"] / row["num_pes"])}


def leakage_share(row: Row) -> float:
    """Return the share of leakage in the energy of a layer."""
    return float(row["leakage_pj"] / row["energy_pj"])


def power_markdown(rows: Sequence[Row]) -> str:
    """Show power of each module on Alex-8 (real weights if available), and area, beside Table II."""
    row = max((row for row in rows if row["layer"] == "Alex-8"), key=lambda row: row["weights"] == "real")
    cells = []
    for name, (paper, ours) in module_powers(row).items():
        cells.append([f"{name}, mW", f"{paper:.3f}", f"{ours:.3f}", _difference(ours, paper)])
    watt = row["energy_pj"] * 1e-6 / row["latency_us"]
    cells.append(["64 PEs, W", f"{PAPER_WATT:.2f}", f"{watt:.3f}", _difference(watt, PAPER_WATT)])
    for name, published in area.PAPER_UM2.items():
        ours = area.module_areas_um2(ArrayConfig())[name]
        cells.append([f"{name}, um2", f"{published:,}", f"{ours:,.0f}", _difference(ours, published)])
    pe_um2 = area.pe_area_um2(ArrayConfig())
    cells.append(["one PE, um2", f"{area.PAPER_PE_UM2:,}", f"{pe_um2:,.0f}", _difference(pe_um2, area.PAPER_PE_UM2)])
    cells.append(["64 PEs, mm2", f"{PAPER_MM2:.1f}", f"{row['area_mm2']:.2f}", _difference(row["area_mm2"], PAPER_MM2)])
    return markdown([f"Alex-8, {row['weights']} weights", "paper", "ours", "difference"], cells)


def _difference(ours: float, paper: float) -> str:
    return f"{ours / paper - 1:+.1%}"
