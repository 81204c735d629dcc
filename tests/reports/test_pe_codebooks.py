"""Tables and figure of codebooks of PEs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from reports import __main__ as commands
from reports.pe_codebooks import assignments_markdown, codebooks_markdown, divergences_markdown, draw_codebooks
from traces import InputError


def row(codebooks: str, bits: int, loss: float, density: float = 1.0, **others: Any) -> dict[str, Any]:
    """Return a row of one way of sharing."""
    values = {"sharing": "planned", "squared_error": 8 * loss, "accuracy": -1.0, "codebook_bytes": 60}
    values |= {"size_bytes": 10_000 * bits, "array_cycles": 1500.0, "switch_cycles": 16.0}
    return {"network": "stories", "codebooks": codebooks, "weight_bits": bits, "density": density, "loss": loss} | (
        values | others
    )


ROWS = [
    row("one codebook", 3, 0.5),
    row("one codebook", 4, 0.145),
    row("PEs", 4, 0.058, accuracy=0.975),
    row("8 groups", 4, 0.083),
    row("one codebook", 5, 0.0271),
    row("one codebook", 4, 0.2, sharing="k-means"),
    row("one codebook", 4, 3.05, 0.5),
    row("PEs", 4, 2.86, 0.5),
]


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_divergence_and_bytes_stand_side_by_side() -> None:
    headings, _, dense, pruned = cells_of(divergences_markdown(ROWS))
    settings = ["one codebook, 4 bits", "8 groups, 4 bits", "PEs, 4 bits", "one codebook, 5 bits"]
    assert headings == ["network", *settings]
    assert dense[1:] == ["0.145, 40,000 B", "0.083, 40,000 B", "0.058, 40,000 B", "0.0271, 50,000 B"]
    assert pruned == ["stories260K, 50% kept", "3.05, 40,000 B", "", "2.86, 40,000 B", ""]


def test_errors_are_beside_that_with_one_codebook_at_equal_bits() -> None:
    lines = cells_of(codebooks_markdown(ROWS))[2:]
    assert [line[4] for line in lines] == ["1.00", "1.00", "0.40", "0.57", "1.00", "1.00", "1.00", "0.94"]
    assert [line[6] for line in lines][1:3] == ["-", "97.50%"]


def test_ranges_are_the_least_and_the_largest_of_a_network() -> None:
    near = {"network": "stories", "layer": "a", "free_error": 10.0, "least_error": 10.0, "bounded_error": 11.0}
    near |= {"lower_bound": 10.0, "own_error": 5.0, "interleaved_error": 15.0}
    far = near | {"network": "resnet_20", "free_error": 10.08, "interleaved_error": 20.0}
    stories, resnet, both = cells_of(assignments_markdown([near, far]))[2:]
    assert stories[:4] == ["stories260K", "1", "1", "0.00% to 0.00%"]
    assert stories[4:] == ["10.00% to 10.00%", "2.20 to 2.20 times", "3.00 to 3.00 times"]
    assert resnet[0] == "ResNet-20"
    assert both[:4] == ["all", "2", "2", "0.00% to 0.80%"]
    assert both[6] == "3.00 to 4.00 times"


def test_the_figure_has_a_line_for_each_way_with_bits_at_its_points() -> None:
    dense, pruned = draw_codebooks(ROWS).axes
    assert isinstance(dense, Axes)
    assert (dense.get_title(), pruned.get_title()) == ("stories260K", "stories260K, 50% kept")
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in dense.get_lines()}
    assert lines["one codebook"] == pytest.approx(np.array([[30, 0.5], [40, 0.145], [50, 0.0271]]))
    assert [text.get_text() for text in dense.texts] == ["3", "4", "5", "4", "4"]


def test_results_that_are_not_there_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it with python -m designs experiment pe-codebooks"):
        commands.pe_codebooks(tmp_path)
