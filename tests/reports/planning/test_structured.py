"""Tables of structured plans and of compaction."""

from __future__ import annotations

from typing import Any

from reports.planning.structured import compaction_markdown, structured_markdown


def plan(structured: bool, minimised: str, size_bytes: int, cycles: float, removed: int) -> dict[str, Any]:
    """Return the row of a plan."""
    values = {"network": "lenet_300_100", "loss": "kl", "bound": 0.1, "units": 400, "least_effect": 0.00014}
    values |= {"energy_nj": 10.0, "unseen_loss": 0.02, "feasible": True}
    return values | {
        "structured": structured,
        "minimised": minimised,
        "size_bytes": size_bytes,
        "cycles": cycles,
        "removed": removed,
    }


def test_a_plan_with_removed_units_stands_beside_the_plan_with_all() -> None:
    rows = [plan(False, "file_bytes", 40_000, 800.0, 0), plan(True, "file_bytes", 30_000, 700.0, 94)]
    rows += [plan(False, "latency_us", 50_000, 600.0, 0), plan(True, "latency_us", 50_000, 600.0, 0)]
    lines = structured_markdown(rows).splitlines()
    assert len(lines) == 2 + 2
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:5] == ["LeNet-300-100 on MNIST", "bytes", "0.1", "94 of 400", "0.01%"]
    assert cells[5:7] == ["40,000 to 30,000 (-25.0%)", "800 to 700 (-12.5%)"]
    assert "| latency " in lines[3]


def test_compaction_says_if_outputs_differ() -> None:
    row: dict[str, Any] = {"network": "ds_cnn", "density": 0.1, "weight_bits": 4, "same_outputs": True}
    for when, size, rest in (("before", 5_959, 100.0), ("after", 4_825, 64.0)):
        row |= {f"{when}_{name}": rest for name in ("broadcasts", "cycles", "energy_nj")} | {f"{when}_bytes": size}
    same, differing = compaction_markdown([row, row | {"same_outputs": False}]).splitlines()[2:]
    for cell in ("DS-CNN, keywords (ONNX)", "10%", "-36.0%", "5,959 to 4,825", "the same"):
        assert f"| {cell} " in same
    assert "they DIFFER" in differing
