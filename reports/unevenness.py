"""Tables of masks drawn as uneven as those of pruned layers: errors by group, by form of the model, by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reports.markdown import markdown
from sim import ArrayConfig

Row = Mapping[str, Any]
FORMS = {
    "random": "random masks",
    "spreads": "spreads of rows and columns alone",
    "dead": "and dead rows and columns",
    "blocks": "and blocks of rows",
    "tails": "and heavy tails",
    "own": "and fullest classes: the model",
}
_GROUPED = {"random": "random masks", "own": "model, the layer's own parameters", "predicted": "model, predicted"}


def groups_markdown(rows: Sequence[Row]) -> str:
    """Show mean and largest absolute difference of the cycles for each network and pruning, the worst layer named.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the result file.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in _main(rows):
        groups[row["network"], row["pruning"]].append(row)
    cells = [[f"{network}, {pruning}", *_group_cells(own)] for (network, pruning), own in groups.items()]
    on_paper_array = [row for row in _main(rows) if row["num_pes"] == ArrayConfig().num_pes]
    for words, own in ((f"all that run on {ArrayConfig().num_pes} PEs", on_paper_array), ("all", _main(rows))):
        cells.append([words, *_group_cells(own)])
    return markdown(["group", "layers", *_GROUPED.values(), "worst layer of the model"], cells)


def forms_markdown(rows: Sequence[Row]) -> str:
    """Show the differences of each form of the model, and of the form that the other groups choose for each group.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the result file.
    """
    main = _main(rows)
    cells = [[words, _errors(main, name)] for name, words in FORMS.items()]
    chosen = []
    groups = list(dict.fromkeys((row["network"], row["pruning"]) for row in main))
    forms: set[str] = set()
    for group in groups:
        others = [row for row in main if (row["network"], row["pruning"]) != group]
        best = _best_form(others)
        forms.add(best)
        own = [row for row in main if (row["network"], row["pruning"]) == group]
        chosen += _absolute(own, best)
    names = ", ".join(words.removeprefix("and ").split(": ")[-1] for name, words in FORMS.items() if name in forms)
    words = f"for each group, the form that is best on the other groups: {names}"
    cells.append([words, f"{np.mean(chosen):.1%} ({max(chosen):.1%})"])
    for num_pes in sorted({row["num_pes"] for row in rows if not row["main"]}):
        others = [row for row in rows if row["num_pes"] == num_pes and not row["main"]]
        cells.append([f"the model on {num_pes} PEs, {_layers(len(others))}", _errors(others, "own")])
    deviation = float(np.mean([row["draw_deviation"] for row in main]))
    spread = f"\nStandard deviation of the cycles of single draws of the model, mean of the layers: {deviation:.1%}.\n"
    return markdown(["masks", "mean (largest) absolute difference"], cells) + spread


def layers_markdown(rows: Sequence[Row]) -> str:
    """Show cycles and differences of each layer.

    Parameters
    ----------
    rows : sequence of dict
        Rows of the result file.
    """
    names = [*FORMS, "predicted"]
    cells = [
        [
            *(f"{row['network']}, {row['pruning']}", row["layer"], row["kind"], f"{row['rows']} x {row['columns']}"),
            *(f"{row['density']:.3f}", str(row["num_pes"]), f"{row['cycles']:,.0f}"),
            *(f"{row[f'{name}_difference']:+.1%}" for name in names),
        ]
        for row in _main(rows)
    ]
    return markdown(["group", "layer", "kind", "shape", "density", "PEs", "cycles", *names], cells)


def _best_form(rows: Sequence[Row]) -> str:
    """Return the form with the least mean absolute difference."""
    return min(FORMS, key=lambda name: float(np.mean(_absolute(rows, name))))


def _layers(number: int) -> str:
    return f"{number} layer{'s' * (number > 1)}"


def _main(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["main"]]


def _absolute(rows: Sequence[Row], name: str) -> list[float]:
    return [abs(row[f"{name}_difference"]) for row in rows]


def _errors(rows: Sequence[Row], name: str) -> str:
    """Return mean and largest absolute difference."""
    errors = _absolute(rows, name)
    return f"{np.mean(errors):.1%} ({max(errors):.1%})"


def _group_cells(rows: Sequence[Row]) -> list[str]:
    worst = max(rows, key=lambda row: abs(row["own_difference"]))
    named = f"{worst['layer']} ({worst['own_difference']:+.1%})"
    return [str(len(rows)), *(_errors(rows, name) for name in _GROUPED), named]
