"""Tables of drawn masks beside those of pruned layers."""

from __future__ import annotations

from typing import Any

from reports.unevenness import FORMS, forms_markdown, groups_markdown, layers_markdown


def row(network: str, layer: str, own: float, spreads: float = 0.3, num_pes: int = 64) -> dict[str, Any]:
    """Return a row of the result file, in which the forms not given are 50 % off."""
    others = {f"{name}_difference": 0.5 for name in [*FORMS, "predicted"]}
    return {
        **{"network": network, "pruning": "magnitude", "layer": layer, "kind": "attention", "density": 0.1},
        **{"rows": 512, "columns": 256, "num_pes": num_pes, "main": num_pes == 64, "cycles": 1234.0},
        **others,
        **{"own_difference": own, "spreads_difference": spreads, "draw_deviation": 0.02},
    }


ROWS = [
    row("A", "a1", -0.04),
    row("A", "a2", 0.02),
    row("B", "b1", 0.2, 0.1),
    row("B", "b2", 0.2, 0.1),
    row("B", "b3", 0.2, 0.1),
    row("A", "a1", -0.09, num_pes=16),
]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]


def test_each_group_has_mean_and_largest_difference_and_its_worst_layer() -> None:
    small = {**row("C", "c", 0.02), "num_pes": 8}  # has few rows
    found = {line[0]: line for line in cells(groups_markdown([*ROWS, small]))}
    assert found["A, magnitude"][1:4] == ["2", "50.0% (50.0%)", "3.0% (4.0%)"]
    assert found["A, magnitude"][-1] == "a1 (-4.0%)"
    assert found["all that run on 64 PEs"][1:4] == ["5", "50.0% (50.0%)", "13.2% (20.0%)"]
    assert found["all"][1:4] == ["6", "50.0% (50.0%)", "11.3% (20.0%)"]


def test_a_group_has_no_say_in_the_form_that_is_chosen_for_it() -> None:
    found = dict(line for line in cells(forms_markdown(ROWS)) if len(line) == 2)
    assert found[FORMS["own"]] == "13.2% (20.0%)"
    assert found[FORMS["spreads"]] == "18.0% (30.0%)"
    # B chooses the spreads for A: 30 % off; A chooses the model for B: 20 % off
    chosen = "for each group, the form that is best on the other groups: spreads of rows and columns alone, the model"
    assert found[chosen] == "24.0% (30.0%)"
    assert found["the model on 16 PEs, 1 layer"] == "9.0% (9.0%)"


def test_each_layer_is_listed_once_with_all_forms() -> None:
    lines = cells(layers_markdown(ROWS))
    assert len(lines) == 2 + 5
    assert lines[2][:7] == ["A, magnitude", "a1", "attention", "512 x 256", "0.100", "64", "1,234"]
    assert lines[2][7 + list(FORMS).index("own")] == "-4.0%"
