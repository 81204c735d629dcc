"""The figure of a sweep of any workload and space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from designs import Range, Sampling, Space, Workload, network_totals, sweep
from reports.__main__ import report
from reports.figures.sweep import draw_sweep, sweep_title
from traces import draw_layer


def drawn(names: str, rows: int, columns: int, density: float) -> Workload:
    layers = {name: draw_layer(name, rows, columns, density, 0.5, seed) for seed, name in enumerate(names)}
    return Workload.of_layers(
        names, [layer for layer, _ in layers.values()], {name: values[None] for name, (_, values) in layers.items()}
    )


LAYERS = drawn("ab", 40, 60, 0.2)
SPACE = Space({"num_pes": (4, 16), "queue_slots": (2, 8), "index_bits": (4, 8), "clock_mhz": (400.0, 800.0)})


def lines_of(figure: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Return the lines of the cycles by label."""
    lines = figure.axes[0].get_lines()
    return {each.get_label(): (each.get_xdata().tolist(), each.get_ydata().tolist()) for each in lines if each}


@pytest.mark.parametrize("kind", ["layers", "network"])
def test_any_sweep_is_reported(kind: str, tmp_path: Path) -> None:
    layer, values = draw_layer("a", 40, 60, 0.2, 0.5, 0)
    workload = LAYERS if kind == "layers" else Workload.of_network([layer], values[None])
    sweep(workload, Space({"num_pes": (4, 16)}), folder=tmp_path / "mine")
    report(tmp_path)
    assert matplotlib.image.imread(tmp_path / "mine/sweep.png").std() > 0.05  # not blank


def test_the_design_of_the_fewest_cycles_is_drawn_for_each_queue() -> None:
    points = network_totals(sweep(LAYERS, SPACE))
    lines = lines_of(draw_sweep(points, "title"))
    assert list(lines) == ["2", "8", "all PEs always busy"]
    for slots in (2, 8):
        queue = [point for point in points if point.queue_slots == slots]
        fewest = [min(point.cycles for point in queue if point.num_pes == num_pes) for num_pes in (4, 16)]
        assert lines[f"{slots}"] == ([4, 16], fewest)


def test_many_queues_share_a_line() -> None:
    space = Space({"num_pes": Range(1, 40, step=1), "queue_slots": Range(2, 9, step=1)})
    figure = draw_sweep(network_totals(sweep(LAYERS, space, Sampling("sobol", points=30))), "title")
    assert list(lines_of(figure)) == ["best of 2 to 9", "all PEs always busy"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "64"]


def test_a_sweep_without_a_design_that_runs_has_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = Space({"num_pes": (1,), "sparse_matrix_bytes": (4096,), "memory_mode": ("resident",)})
    sweep(drawn("c", 400, 600, 0.5), small, folder=tmp_path)
    report(tmp_path)
    assert "none of its 1 designs runs every layer, so there is no figure" in capsys.readouterr().out
    assert not (tmp_path / "sweep.svg").exists()


def test_the_title_names_the_workload_or_the_images() -> None:
    named = {"settings": {"workload": {"name": "/data/my.npz other/net.dc"}}}
    assert sweep_title(named, 1) == "my.npz net.dc: the fewest cycles for each number of PEs and queue; 1 design"
    long = {"settings": {"workload": {"name": " ".join(f"layer_{number}.npz" for number in range(50))}}}
    assert len(sweep_title(long, 3)) < 130
    accuracies = {"accuracy_before": 0.98, "accuracy_after": 0.97}
    network = {"images": "digits", **accuracies, "bytes_before": 30, "bytes_after": 3, "inputs": 5}
    words = "digits: accuracy 98.00% before, 97.00% after 10.0x compression; mean of 5 test images"
    assert sweep_title({"network": network}, 3) == words
