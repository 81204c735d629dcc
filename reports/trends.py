"""Statements of the papers without numbers, tested on our results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.eie import published as paper
from reports.eie.tables import balance, scaling
from reports.paper_table import PaperTable

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trend:
    """Statement of a paper, tested on our results.

    Attributes
    ----------
    source : str
        Paper and figure.
    says : str
        The statement, with the criterion of the test.
    holds : bool
        True if it holds in our results.
    ours : str
        Our numbers.
    """

    source: str
    says: str
    holds: bool
    ours: str


def trends_table(trends: Sequence[Trend]) -> PaperTable:
    """Return the table of all trends."""
    return PaperTable(
        "trends",
        "Statements of the papers without numbers, tested on our results",
        [("source", ""), ("the paper says", ""), ("holds in ours", ""), ("ours", "")],
        [[each.source, each.says, each.holds, each.ours] for each in trends],
    )


def queue_trends(rows: Sequence[Row], masks: str) -> list[Trend]:
    """Test Fig 8, with depths as slots of the ring; the shallowest working queue holds one column."""
    slots = {2: "1", 8: "8", 16: "16", 256: "256"}
    mean = {each: _mean([balance(row) for row in rows if row["queue_slots"] == each]) for each in slots}
    at_8 = {row["layer"]: balance(row) for row in rows if row["queue_slots"] == 8}
    worst = min(at_8, key=at_8.__getitem__)
    source = f"EIE Fig 8, {masks} masks"
    return [
        Trend(
            source,
            "with a queue of one column, about half of all cycles are idle (within 15 points)",
            abs(1 - mean[2] - 0.5) <= 0.15,
            f"{1 - mean[2]:.1%} idle, mean of the layers",
        ),
        Trend(
            source,
            "depths above 8 gain little (less than 8 gains over 1)",
            mean[256] - mean[8] < mean[8] - mean[2],
            f"load balance {mean[2]:.1%} at 1, {mean[8]:.1%} at 8, {mean[16]:.1%} at 16, {mean[256]:.1%} at 256",
        ),
        Trend(source, "NT-We has the worst load balance", worst == "NT-We", f"{worst}, {at_8[worst]:.1%}"),
    ]


def width_trends(rows: Sequence[Sequence[Any]]) -> list[Trend]:
    """Test Fig 9 on the rows of `reports.eie.tables.width_table`."""
    trends = []
    for rule in dict.fromkeys(row[0] for row in rows):
        widths = [row for row in rows if row[0] == rule]
        reads, pj = [row[2] for row in widths], [row[3] for row in widths]
        best = min(widths, key=lambda row: row[4])[1]
        trends.append(
            Trend(
                f"EIE Fig 9: {rule}",
                "wider lines need fewer reads, each read costs more, and 64 bits cost least in total",
                reads == sorted(reads, reverse=True) and pj == sorted(pj) and best == 64,
                f"{best} bits cost least",
            )
        )
    return trends


def precision_trends(rows: Sequence[Row]) -> list[Trend]:
    """Test Fig 10."""
    trends = []
    for network in dict.fromkeys(row["network"] for row in rows):
        accuracy = {row["precision"]: row["accuracy"] for row in rows if row["network"] == network}
        change = {name: accuracy[name] - accuracy["float"] for name in ("fixed-16", "fixed-8")}
        trends += [
            Trend(
                f"EIE Fig 10, {network}",
                "16 bits lose half a point or less",
                change["fixed-16"] >= -0.005,
                f"{change['fixed-16']:+.2%}",
            ),
            Trend(
                f"EIE Fig 10, {network}",
                "8 bits lose clearly more (over one point)",
                change["fixed-8"] < min(-0.01, change["fixed-16"]),
                f"{change['fixed-8']:+.2%}",
            ),
        ]
    return trends


def scaling_trends(rows: Sequence[Row], masks: str) -> list[Trend]:
    """Test Figs 11 to 13."""
    by_figure = {figure: {layer: scaling(rows, layer, figure) for layer in paper.LAYERS} for figure in (11, 12, 13)}
    at_256 = {layer: speedup[256] for layer, speedup in by_figure[11].items()}
    worst = min(at_256, key=at_256.__getitem__)
    others = [value for layer, value in at_256.items() if layer != "NT-We"]
    work, even = by_figure[12], by_figure[13]
    rising = [layer for layer, of in work.items() if list(of.values()) == sorted(of.values())]
    mean_even = [_mean([of[pes] for of in even.values()]) for pes in sorted(next(iter(even.values())))]
    useful = {layer: [work[layer][pes] * even[layer][pes] for pes in (1, 64)] for layer in paper.LAYERS}
    steady = [layer for layer, (first, last) in useful.items() if abs(last - first) <= 0.15]
    small = scaling(rows, "NT-We", 11)
    return [
        Trend(
            f"EIE Fig 11, {masks} masks",
            "speedup is good on all layers except NT-We (ours: over 128 on 256 PEs)",
            min(others) > 128 and worst == "NT-We",
            f"{worst} {at_256[worst]:.0f}x, the others {min(others):.0f}x to {max(others):.0f}x",
        ),
        Trend(
            f"EIE Fig 8, {masks} masks",
            "NT-We runs more efficiently on 32 or fewer PEs (speedup per PE)",
            small[32] / 32 > small[64] / 64,
            f"{small[32] / 32:.2f} on 32, {small[64] / 64:.2f} on 64",
        ),
        Trend(
            f"EIE Fig 12, {masks} masks",
            "more PEs need less padding",
            len(rising) == len(work),
            f"the share of real work never falls in {len(rising)} of {len(work)} layers; mean "
            f"{_mean([of[1] for of in work.values()]):.1%} on 1, {_mean([of[64] for of in work.values()]):.1%} on 64, "
            f"{_mean([of[256] for of in work.values()]):.1%} on 256",
        ),
        Trend(
            f"EIE Fig 13, {masks} masks",
            "more PEs have a worse load balance",
            mean_even == sorted(mean_even, reverse=True),
            f"mean {mean_even[0]:.1%} on 1, {mean_even[6]:.1%} on 64, {mean_even[8]:.1%} on 256",
        ),
        Trend(
            f"EIE Fig 13, {masks} masks",
            "real work per PE and cycle is about constant for most layers (1 to 64 PEs, within 15 points)",
            2 * len(steady) > len(useful),
            f"{len(steady)} of {len(useful)} layers",
        ),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
