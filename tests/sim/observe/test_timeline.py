"""The summary of a run over time is what the tick machine shows, its file keeps it, and the figure draws it."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.patches import StepPatch

from reports.figures.sweep import save_figure
from reports.figures.timeline import MOST_BINS, draw_timeline
from sim import ArrayConfig, pack, simulate
from sim.datapath import Array
from sim.fixed_point import operands
from sim.observe.timeline_summary import TimelineSummary, read_timeline, timeline_summary, write_timeline
from tests.conftest import real_file
from tests.layers import Case, cases
from traces import CompressedLayer, InputError
from traces.eie_benchmark import benchmark_layer
from traces.files.npz import read_layer_and_input, read_npz, write_npz

ARRAYS = [field.name for field in fields(TimelineSummary) if field.type not in ("str", "int", "float")]


@pytest.fixture(scope="module")
def alex8() -> TimelineSummary:
    return timeline_summary(*benchmark_layer("Alex-8").draw())


@settings(deadline=None, max_examples=300)
@given(cases(several_codebooks=True))
def test_the_summary_is_what_the_tick_machine_shows_after_every_edge(case: Case) -> None:
    layer, activations, config = case
    packed = pack(layer, config)
    shown: dict[str, list[Any]] = {name: [] for name in ARRAYS}
    blocked_before = 0

    def look(array: Array) -> None:
        nonlocal blocked_before
        waiting = [len(pe.queue.waiting_columns()) for pe in array.pes]
        shown["busy_pes"].append(sum(pe.pointer_read.entries_left > 0 for pe in array.pes))
        shown["queue_columns_mean"].append(sum(waiting) / len(waiting))
        shown["queue_columns_max"].append(max(waiting))
        shown["full_queues"].append(sum(pe.queue.is_full for pe in array.pes))
        shown["broadcast"].append(array.broadcast is not None)
        shown["blocked"].append(array.scan.blocked_cycles > blocked_before)
        blocked_before = array.scan.blocked_cycles

    array = Array(packed, operands(packed, activations, config), config)
    look(array)
    result = array.run(observe=look)
    found = timeline_summary(packed, activations, config)
    assert found.cycles == result.cycles
    assert found.latency_us == result.latency_us
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), shown[name][: result.cycles], err_msg=name)
    assert found.busy_pes.sum() == result.entries_per_pe.sum()
    assert found.blocked.sum() == result.blocked_cycles
    late = sum(shown["broadcast"][result.cycles :])  # columns without entries that arrive after the layer's end
    assert found.broadcast.sum() + late == result.broadcasts
    assert late == 0 or config.broadcast_cycles > 1


def test_a_summary_takes_no_memory_for_every_cycle_of_every_pe() -> None:
    codes = np.zeros((4096, 40), dtype=np.uint8)
    codes[::1024] = 1  # one PE has all the work: many cycles, few broadcasts
    codes[:, 0] = 1
    layer = CompressedLayer("uneven", codes, np.array([0, 1], dtype=np.float32))
    config = ArrayConfig(num_pes=1024, queue_slots=2, index_bits=1)
    packed = pack(layer, config)
    activations = np.ones(40)
    found = timeline_summary(packed, activations, config)
    tracemalloc.start()
    again = timeline_summary(packed, activations, config)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8 * 8 * (again.cycles + 40 * 1024)
    assert found.busy_pes.tolist() == again.busy_pes.tolist()
    assert set(again.full_queues.tolist()) == {0, 1, 1024}
    assert again.busy_pes.max() == 1024


@settings(deadline=None, max_examples=30)
@given(cases(several_codebooks=True))
def test_a_timeline_file_keeps_the_summary(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    path = tmp_path_factory.mktemp("timeline") / "drawn.npz"
    summary = timeline_summary(*case)
    write_timeline(path, summary)
    assert_same(read_timeline(path), summary)


def assert_same(found: TimelineSummary, expected: TimelineSummary) -> None:
    for field in fields(TimelineSummary):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(value, wanted, err_msg=field.name)
        assert np.asarray(value).dtype == np.asarray(wanted).dtype


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (
            "blocked",
            None,
            "must hold the arrays name, num_pes, .*; blocked missing; write it with sim.write_timeline",
        ),
        ("num_pes", np.float64(64), "num_pes must be a whole number; found float64 \\[\\]"),
        ("num_pes", np.int64(0), "num_pes must be 1 to 65,536; found 0 to 0"),
        ("clock_mhz", np.float64("nan"), "clock_mhz must be 0.001 to 1,000,000; found nan to nan"),
        ("clock_mhz", np.float64("inf"), "clock_mhz must be 0.001 to 1,000,000; found inf to inf"),
        ("name", np.array(["a", "b"]), "name must be text; found <U1 \\[2\\]"),
        ("name", np.array(""), "name must be printable text, not empty; found ''"),
        ("busy_pes", np.zeros(0, dtype=np.int32), "busy_pes must be int32 \\[cycles\\], .*; found int32 \\[0\\]"),
        (
            "full_queues",
            np.zeros(3, dtype=np.int32),
            "full_queues must be int32 .* as many as in busy_pes and .*\\[3\\]",
        ),
        ("blocked", np.zeros(6399, dtype=np.int8), "blocked must be bool .*; found int8 \\[6399\\]"),
        ("queue_columns_max", np.full(6399, 8, dtype=np.int32), "queue_columns_max must be 0 to 7; found 8 to 8"),
        ("queue_columns_mean", np.full(6399, np.nan), "queue_columns_mean must be 0 to 7; found nan to nan"),
        ("busy_pes", np.arange(-1, 6398, dtype=np.int32), "busy_pes must be 0 to 64; found -1 to 6,397"),
    ],
)
def test_a_file_that_is_no_timeline_is_refused(
    tmp_path: Path, alex8: TimelineSummary, field: str, value: Any, sentence: str
) -> None:
    path = tmp_path / "timeline.npz"
    write_timeline(path, alex8)
    arrays = read_npz(path)
    del arrays[field]
    write_npz(path, arrays if value is None else {**arrays, field: value})
    with pytest.raises(InputError, match=f"^{path}: .*{sentence}"):
        read_timeline(path)


def steps(summary: TimelineSummary) -> dict[str, tuple[Any, Any]]:
    """Return the curves of a figure, heights and edges of bins, by their entry in the legend."""
    drawn = [patch for axes in draw_timeline(summary).axes for patch in axes.patches if isinstance(patch, StepPatch)]
    return {str(patch.get_label()): patch.get_data()[:2] for patch in drawn}


def test_the_figure_keeps_every_mean_in_bins_of_whole_cycles(alex8: TimelineSummary) -> None:
    drawn = steps(alex8)
    expected: dict[str, Any] = {
        "busy": alex8.busy_pes,
        "with a full queue": alex8.full_queues,
        "fullest queue": alex8.queue_columns_max,
        "mean of all queues": alex8.queue_columns_mean,
        "broadcasts a column": alex8.broadcast,
        "waits for a full queue": alex8.broadcast | alex8.blocked,  # stacked on the broadcasts
    }
    for label, values in expected.items():
        heights, edges = drawn[label]
        assert len(heights) <= MOST_BINS
        assert (edges[0], edges[-1]) == (0, alex8.cycles)
        assert set(np.diff(edges)[:-1].tolist()) == {26}
        assert (heights * np.diff(edges)).sum() == pytest.approx(values.sum()), label
        assert heights[1] == pytest.approx(values[26:52].mean()), label


def test_a_short_run_is_drawn_cycle_by_cycle() -> None:
    layer = CompressedLayer("short", np.ones((4, 3), dtype=np.uint8), np.array([0, 1], dtype=np.float32))
    summary = timeline_summary(layer, np.ones(3), ArrayConfig(num_pes=2))
    assert simulate(layer, np.ones(3), ArrayConfig(num_pes=2)).cycles == summary.cycles
    np.testing.assert_array_equal(steps(summary)["busy"][0], summary.busy_pes)


def test_the_figure_is_written_with_any_name_and_the_same_each_time(tmp_path: Path, alex8: TimelineSummary) -> None:
    named = replace(alex8, name=r"fc$8_\alpha$ {")
    figure = draw_timeline(named)
    svg, png = save_figure(figure, tmp_path / "first")
    again, _ = save_figure(draw_timeline(named), tmp_path / "second")
    assert svg.read_bytes() == again.read_bytes()
    assert png.stat().st_size > 10_000
    text = svg.read_text()
    for shown in (r"fc$8_\alpha$ { on 64 PEs with queues of 7 columns", "6,399 cycles, 91.5% of PEs", "us at 800 MHz"):
        assert shown in text, shown


def test_the_real_alex8_is_blocked_by_few_full_queues(data: Path) -> None:
    layer, activations = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    found = timeline_summary(layer, activations)
    assert found.cycles == 7926
    assert found.busy_pes.sum() == simulate(layer, activations).entries_per_pe.sum()
    assert found.blocked.mean() > 0.7
    assert found.full_queues.mean() < 2
