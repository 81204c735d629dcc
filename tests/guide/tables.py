"""Tables of the guide that follow from the code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sim.cost.constants import CONSTANTS, NODES


def constants_table() -> str:
    """Return the table of all constants of the cost model, in Markdown."""
    rows = [
        [
            f"{name} *" if each.calibrated else name,
            each.meaning,
            f"{each.value:.4g}",
            each.unit,
            f"{each.sigma:.0%}",
            each.source,
        ]
        for name, each in CONSTANTS.items()
    ]
    return _table(["constant", "meaning", "value", "unit", "sigma", "source"], rows)


def nodes_table() -> str:
    """Return the table of the factors of each technology node, in Markdown."""
    rows = [[f"{node_nm} nm", *(f"{factor:g}" for factor in vars(each).values())] for node_nm, each in NODES.items()]
    return _table(["node", "area", "energy", "delay", "energy of wires"], rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
