"""Screens about co-designs: verified designs, predicted designs, and the designs of a fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from designs.codesigns.columns import dense_verdict, loss_of
from designs.codesigns.search import FIGURES, LOSSES
from designs.codesigns.sentences import quality_sentences
from designs.design import words
from designs.hypervolume import CostBox, spread_out
from designs.screens.sweep import varied_parameters
from traces.pareto import non_dominated
from traces.shell.command_line import console

Row = dict[str, Any]
_ARRAY = ("num_pes", "queue_slots", "line_bits", "weight_bits", "index_bits", "clock_mhz")
_LIMIT_HEADINGS = ("limit / cycles", "limited by", "limit / energy")
_MOST_PREDICTED = 30  # designs that are listed of a predicted front


def print_network(settings: Mapping[str, Any]) -> None:
    """Print what the settings of a study say of its network: the loss, and what is left alone."""
    figure, lost = loss_of(settings)
    print(f"{figure} is the {lost}.")
    left_alone = settings["network"].get("left_alone")
    if left_alone:
        print(f"Left alone, off the array: {', '.join(left_alone)}.")


def print_verified(table: pa.Table, objectives: Sequence[str], searched: Sequence[str]) -> None:
    """Print the verified designs that are feasible and Pareto-optimal as measured, beside their predictions.

    Parameters
    ----------
    table : pyarrow.Table
        FRONT_COLUMNS.
    objectives : sequence of str
        Figures to minimise.
    searched : sequence of str
        Objectives of the search. If they are the same, and constants were drawn, designs that cannot be told apart are
        one row.
    """
    rows = [row for row in table.to_pylist() if row["keeps_bounds"]]
    front = _front(rows, [f"measured_{name}" for name in objectives])
    print(
        f"{table.num_rows:,} designs were compressed and measured, of which {len(rows):,} are feasible; "
        f"{len(front):,} of these are Pareto-optimal in {', '.join(objectives)}."
    )
    drawn: list[str] = []
    if set(objectives) == set(searched) and table["front_share"].null_count < table.num_rows:
        drawn = ["front_share", "stands_for"]
        front = _told_apart(table, front)
        print(
            f"With uncertain constants of energy, area and clock, {len(front):,} of them can be told apart. The front "
            f"share is the share of draws in which a design is feasible and Pareto-optimal; it stands for as many "
            f"others that cannot be told apart from it."
        )
    varied = varied_parameters(table)
    shown = Table(title="As measured, and as predicted", title_justify="left")
    figures = _measured(table, "measured_")
    pairs = [heading for name in figures for heading in (name, "predicted")]
    tested = ["test_accuracy"] if not np.isnan(table["test_accuracy"].to_numpy()).all() else []
    for heading in ("design", *drawn, *varied, *tested, *pairs, *_LIMIT_HEADINGS):
        shown.add_column(words(heading), justify="right")
    for row in front:
        costs = [_with_interval(row, kind, name) for name in figures for kind in ("measured", "predicted")]
        cells = [*(row[name] for name in (*drawn, *varied, *tested)), *costs]
        shown.add_row(row["digest"][:8], *map(_short, cells), *_limits(row))
    console(width=280).print(shown)  # a design with all its figures
    print(f"Dense:      {_beside_dense(front)}")


def _beside_dense(front: Sequence[Row]) -> str:
    """Return a sentence that compares one design with a dense array."""
    if not front:
        return "not compared: no design is feasible"
    compared = [row for row in front if row.get("dense_latency_us") is not None and row["measured_latency_us"] > 0]
    best = min(compared or front, key=lambda row: row["measured_latency_us"] * row["measured_energy_nj"])
    which = f"design {best['digest'][:8]}, which has the least energy x delay of those that can be compared"
    return f"{which}: {dense_verdict(best)}"


def _limits(row: Mapping[str, Any]) -> list[str]:
    """Return shares of least cycles and energy, and what sets the first, as far as the results have them."""
    if not row.get("limit_binds"):
        return ["", "", ""]
    energy = row["limit_energy_nj"] / row["measured_energy_nj"]
    return [f"{row['limit_share']:.1%}", row["limit_binds"], f"{energy:.0%}"]


def _told_apart(table: pa.Table, front: Sequence[Row]) -> list[Row]:
    """Return the designs that stand for those of the front, each once, with the number of others they stand for."""
    rows = table.to_pylist()
    members, by_digest = Counter(row["same_as"] for row in rows), {row["digest"]: row for row in rows}
    standing = dict.fromkeys(row["same_as"] for row in front)
    return [by_digest[digest] | {"stands_for": members[digest] - 1} for digest in standing]


def _with_interval(row: Mapping[str, Any], kind: str, name: str) -> Any:
    """Return a figure; a loss as text, with the interval that it is to be expected in."""
    value = row[f"{kind}_{name}"]
    if name not in LOSSES or value is None:
        return value
    return f"{_short(value)} ({_short(row[f'{kind}_loss_lower'])} to {_short(row[f'{kind}_loss_upper'])})"


def print_quality(settings: Mapping[str, Any]) -> None:
    """Print how good the front of a co-design is, as far as the settings of its result files state it."""
    for sentence in quality_sentences(settings):
        print(sentence)


def print_predicted(table: pa.Table, objectives: Sequence[str], compressions: int) -> None:
    """Print some designs of the predicted front of an unfinished co-design, spread over all objectives.

    Parameters
    ----------
    table : pyarrow.Table
        DESIGN_COLUMNS; at least one design.
    objectives : sequence of str
        Figures to minimise.
    compressions : int
        Compressions that were tried.
    """
    front = _front(table.to_pylist(), objectives)
    costs = np.array([[row[name] for name in objectives] for row in front], dtype=np.float64)
    places = np.sort(spread_out(CostBox.around(objectives, costs).places(costs), _MOST_PREDICTED))
    some = f"; {len(places):,} of these, spread over all objectives, are listed" if len(places) < len(front) else ""
    print(
        f"The study is not finished; the predicted front of {compressions:,} compressions has {table.num_rows:,} "
        f"designs, of which {len(front):,} are Pareto-optimal in {', '.join(objectives)}{some}."
    )
    shown = Table(title="As predicted", title_justify="left")
    figures = _measured(table, "")
    for heading in ("design", *_ARRAY, *figures):
        shown.add_column(words(heading), justify="right")
    for row in (front[place] for place in places):
        shown.add_row(row["digest"][:8], *(_short(row[name]) for name in (*_ARRAY, *figures)))
    console().print(shown)
    print("Dense:      not compared: no design is measured yet")


def print_fleet(table: pa.Table) -> None:
    """Print the design of each target as measured, and the bounds that it violates."""
    shown = Table(title="One analysis, one design per target, as measured", title_justify="left")
    figures = _measured(table, "measured_")
    tested = ["test_accuracy"] if not np.isnan(table["test_accuracy"].to_numpy()).all() else []
    others = ("sram_bytes_per_pe", *_LIMIT_HEADINGS, "minimised", "budget")
    for heading in ("target", *_ARRAY, *tested, *figures, *others):
        shown.add_column(words(heading), justify="left" if heading == "target" else "right")
    for row in table.to_pylist():
        shown.add_row(
            *(_short(row[name]) for name in ("target", *_ARRAY, *tested)),
            *(_short(row[f"measured_{name}"]) for name in figures),
            _short(row["sram_bytes_per_pe"]),
            *_limits(row),
            row["minimised"],
            "kept" if row["keeps_budget"] else f"exceeds {row['exceeds']}",
        )
    console(width=280).print(shown)  # a design with all its figures
    for row in table.to_pylist():
        print(f"Dense:      {row['target']}: {dense_verdict(row)}")


def _measured(table: pa.Table, beginning: str) -> list[str]:
    """Return the figures of a study: all but the loss that is not measured."""
    return [name for name in FIGURES if name not in LOSSES or table[f"{beginning}{name}"].null_count < table.num_rows]


def _front(rows: Sequence[Row], costs: Sequence[str]) -> list[Row]:
    """Return the Pareto-optimal rows in these costs, by the first cost."""
    values = np.array([[row[name] for name in costs] for row in rows]).reshape(len(rows), len(costs))
    front = [row for row, best in zip(rows, non_dominated(values), strict=True) if best]
    return sorted(front, key=lambda row: [row[name] for name in costs])


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
