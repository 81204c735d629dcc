"""Tables of plans that may remove units, and of pruned networks in compact form, from the experiment "planning"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.markdown import markdown
from reports.planning.tables import NETWORKS

Row = dict[str, Any]
_MINIMISED = {"file_bytes": "bytes", "latency_us": "latency"}


def structured_markdown(structured: Sequence[Row]) -> str:
    """Show plans that keep all units beside plans that may remove some, at one bound and both in compact form.

    Parameters
    ----------
    structured : sequence of dict
        Rows of the part "structured".
    """
    pairs: dict[tuple[Any, ...], dict[bool, Row]] = {}
    for row in structured:
        pairs.setdefault((row["network"], row["minimised"], row["bound"]), {})[row["structured"]] = row
    cells = []
    for (network, minimised, bound), plans in pairs.items():
        whole, smaller = plans[False], plans[True]
        cells.append(
            [
                NETWORKS[network],
                _MINIMISED[minimised],
                f"{bound:g}",
                f"{smaller['removed']:,} of {smaller['units']:,}",
                f"{whole['least_effect']:.2%}",
                _change(whole["size_bytes"], smaller["size_bytes"]),
                _change(whole["cycles"], smaller["cycles"]),
                _change(whole["energy_nj"], smaller["energy_nj"]),
                f"{whole['unseen_loss']:.4f} to {smaller['unseen_loss']:.4f}",
            ]
        )
    headings = [
        "network",
        "minimised",
        "bound",
        "units removed",
        "least effect of a unit, of the plan's change",
        "bytes",
    ]
    return markdown([*headings, "cycles", "energy, nJ", "loss on unseen inputs"], cells)


def compaction_markdown(compaction: Sequence[Row]) -> str:
    """Show what compaction changes in networks pruned by magnitude.

    Parameters
    ----------
    compaction : sequence of dict
        Rows of the part "compaction".
    """
    cells = [
        [
            NETWORKS[row["network"]],
            f"{row['density']:.0%}",
            *(
                f"{row[f'after_{name}'] / row[f'before_{name}'] - 1:+.1%}"
                for name in ("broadcasts", "cycles", "energy_nj")
            ),
            f"{row['before_bytes']:,} to {row['after_bytes']:,}",
            "the same" if row["same_outputs"] else "they DIFFER",
        ]
        for row in compaction
    ]
    return markdown(["network", "density", "broadcasts", "cycles", "energy", "bytes of the file", "outputs"], cells)


def _change(before: float, after: float) -> str:
    return f"{before:,.0f} to {after:,.0f} ({after / before - 1:+.1%})"
