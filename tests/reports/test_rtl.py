"""Tables of the SystemVerilog's blocks as cells: unknown values are dashes, and nothing to show is a sentence."""

from __future__ import annotations

from typing import Any

from designs.experiments.rtl import cell_row
from reports.rtl import cells_markdown, switching_markdown


def rows() -> list[dict[str, Any]]:
    known = {"area_um2": 10_071.0, "flip_flops": 246, "flip_flop_um2": 4_935.0, "area_45nm_um2": 2_141.0}
    energies = {"event": "column", "events": 1_760, "weights": "real", "event_pj": 4.7, "clock_pj": 11.2}
    queue = cell_row("activation_queue", "", "sky130hd") | known | energies | {"paper_um2": 758.0, "path_ns": 1.42}
    return [queue, cell_row("line_address", "7 entries a line", "sky130hd") | {"area_um2": 883.0, "abc_path_ns": 4.69}]


def cells_of(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_cells_show_areas_and_paths_beside_the_papers() -> None:
    headings, _, queue, divider = cells_of(cells_markdown(rows()))
    shown = dict(zip(headings, queue, strict=True))
    assert (shown["block"], shown["flip-flops"], shown["of its area"]) == ("activation_queue", "246", "49%")
    assert (shown["um2"], shown["um2 at 45 nm"], shown["paper, um2"], shown["model, um2"]) == (
        "10,071",
        "2,141",
        "758",
        "-",
    )
    assert (shown["path, ns (OpenSTA)"], shown["path, ns (ABC)"]) == ("1.42", "-")
    assert divider[0] == "line_address, 7 entries a line"
    assert divider[headings.index("path, ns (ABC)")] == "4.69"
    assert divider[headings.index("path, ns (OpenSTA)")] == "-"


def test_switching_shows_blocks_with_activity_alone() -> None:
    headings, _, *active = cells_of(switching_markdown(rows()))
    assert headings[0] == "block (Alex-8, real)"
    assert [cells[:3] for cells in active] == [["activation_queue", "sky130hd", "column (1,760)"]]


def test_no_library_is_a_sentence() -> None:
    assert "no cell library" in cells_markdown([])
    assert "not mapped to cells" in switching_markdown([])
