"""Tables of published numbers beside this project's."""

from __future__ import annotations

from typing import Any

from reports.outside import SPARSELOOP_CYCLES, outside_rows, rows_markdown

LAYER: dict[str, Any] = {"layer": "L07", "num_pes": 1, "positions": 2, "cycles": 1_710_337}
TINY: dict[str, Any] = {
    **{"network": "resnet_8", "weights": 77_360, "macs": 12_501_632.0, "loss": "kl", "bound": 0.03, "unseen": 10_000},
    **{"images": 500, "container_bytes": 32_000, "accuracy": 0.8719},
    **{"container_accuracy": 0.86, "array_accuracy": 0.842, "array_differences": 0},
}


def test_counts_must_be_the_published_ones_and_cycles_are_compared() -> None:
    macs = SPARSELOOP_CYCLES["L07"] - 1
    layers = [LAYER | {"useful_macs": macs}, LAYER | {"useful_macs": macs, "num_pes": 16}]
    element, cycles = outside_rows(layers, [])
    assert (element.theirs, element.ours, element.difference) == ("1,702,140", "1,702,140", "0")
    assert (cycles.theirs, cycles.ours, cycles.difference) == ("1,702,141", "1,710,337", "+0.48 %")
    assert not any(row.is_wrong for row in (element, cycles))
    layers[1]["useful_macs"] = macs - 1
    off, *_ = outside_rows(layers, [])
    assert (off.is_wrong, off.difference) == (True, "differs")
    assert off.ours == "1,702,140 on 1 PEs; 1,702,139 on 16 PEs"


def test_networks_are_compared_in_size_work_and_accuracy() -> None:
    rows = outside_rows([], [TINY])
    assert [(row.theirs, row.ours, row.difference) for row in rows] == [
        ("77,360", "77,360", "0"),
        ("12,501,632", "12,501,632", "0"),
        ("87.19 %", "87.19 %", "0"),
        ("at least 85 %", "86.00 %", "+1.00 points"),
        ("at least 85 %", "84.20 %", "-0.80 points"),
        ("96,000", "32,000", "-67 %"),
    ]
    unlabelled = outside_rows([], [TINY | {"accuracy": -1.0}])
    assert [row.number.split(";")[0] for row in unlabelled] == [
        "ResNet-8: weights",
        "ResNet-8: MACs per input",
        "ResNet-8: bytes in TensorFlow Lite",
    ]
    assert [row.is_wrong for row in outside_rows([], [TINY | {"weights": 77_361, "accuracy": 0.8718}])[:3]] == [
        True,
        False,
        True,
    ]
    text = rows_markdown(rows)
    assert len(text.splitlines()) == 2 + len(rows)
    assert text.count("python -m designs experiment outside --data DIR") == len(rows)
