"""The papers' tables and figures made again: numbers, deviations, what is absent, and going on where a run stopped."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import CompressedModel
from designs.commands.experiment import paper as experiment_command
from designs.experiments import eie_paper
from designs.experiments.benchmark import run_benchmark
from designs.experiments.eie_paper import run_paper
from designs.experiments.precision import LabelledNetwork, lenet_network, run_precisions
from designs.paper_sources import PaperSources
from designs.result_files import PRECISION_COLUMNS
from designs.results import read_results
from reports import trends
from reports.__main__ import paper as report_command
from reports.deep_compression.paper import curve_trends, distribution_trends, storage_of_net
from reports.eie import published as eie_published
from reports.eie.tables import mean_absolute_difference, with_real
from reports.paper import PaperReport
from sim import ArrayConfig, count
from tests.conftest import PROJECT, real_file
from traces import CompressedNetwork, InputError
from traces.eie_benchmark import EIE_BENCHMARK
from traces.files.deep_compression_net import read_net
from traces.files.images import load_idx_folder
from traces.files.npz import read_layer, read_layer_and_input

CONTAINERS = PROJECT / "tests/containers"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write a whole report of benchmark layers an eighth as long and wide and of an untrained network."""
    out = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CODESIGN_DATA", raising=False)
        for name, layer in EIE_BENCHMARK.items():
            less = replace(layer, rows=layer.rows // 8, columns=layer.columns // 8)
            patch.setitem(EIE_BENCHMARK, name, less)
        model = CompressedModel.load(CONTAINERS / "lenet_300_100.dc")
        rng = np.random.default_rng(0)
        images, labels = rng.random((20, 784), dtype=np.float32), rng.integers(0, 10, 20)
        network = CompressedNetwork.of_layers(model.layers, "random images")
        labelled = LabelledNetwork("random images", network, images, labels, images[::-1])
        patch.setattr(eie_paper, "_labelled_networks", lambda sources, folder: [labelled])
        experiment_command(out=out, deep_compression=out / "none", containers=CONTAINERS)
        report_command(out, deep_compression=out / "none", containers=CONTAINERS)
        drawn = {name: [layer.draw_uneven(draw) for draw in range(3)] for name, layer in EIE_BENCHMARK.items()}
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
        run_paper(PaperSources(None, CONTAINERS, out / "none"), out)
        made_again = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    return out, drawn, made_again


def table(folder: Path, stem: str) -> list[dict[str, str]]:
    with (folder / f"{stem}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_times_of_table_4_are_those_of_simulating_the_drawn_layers(small: Any) -> None:
    out, drawn, _ = small
    rows = {row["layer"]: row for row in table(out, "table_4_wall_clock") if row["weights"] == "uneven"}
    assert list(rows) == list(EIE_BENCHMARK)
    differences = []
    for name, draws in drawn.items():
        counts = [count(layer, activations) for layer, activations in draws]
        latency_us = np.mean([each.latency_us for each in counts])
        entries_us = np.mean([each.entries_per_pe.sum() for each in counts]) / 64 / 800
        published = EIE_BENCHMARK[name]
        differences.append(abs(latency_us / published.paper_actual_us - 1))
        assert float(rows[name]["actual, ours"]) == pytest.approx(latency_us)
        assert float(rows[name]["theoretical, ours"]) == pytest.approx(entries_us)
        assert float(rows[name]["actual, difference"]) == pytest.approx(latency_us / published.paper_actual_us - 1)
    said = f"uneven masks, no layer real: {np.mean(differences):.1%}; largest"
    assert said in (out / "summary.md").read_text()


def test_speedups_and_energy_follow_from_the_times(small: Any) -> None:
    out, drawn, _ = small
    times = {name: np.mean([count(*draw).latency_us for draw in draws]) for name, draws in drawn.items()}
    dense = dict(zip(EIE_BENCHMARK, eie_published.PLATFORM_TIMES_US["CPU", 1, "dense"], strict=True))
    rows = {row["layer"]: row for row in table(out, "figure_6_speedup")}
    for name, us in times.items():
        assert float(rows[name]["ours, uneven"]) == pytest.approx(dense[name] / us)
    mean = math.exp(np.mean([math.log(dense[name] / us) for name, us in times.items()]))
    assert float(rows["geometric mean, CPU"]["ours, uneven"]) == pytest.approx(mean)
    energy = {row["layer"]: row for row in table(out, "figure_7_energy")}
    for name, us in times.items():
        ratio = float(energy[name]["ours at 0.600 W"]) / float(energy[name]["paper"])
        assert ratio == pytest.approx(EIE_BENCHMARK[name].paper_actual_us / us)


def test_deviations_of_the_paper_from_itself_are_computed(small: Any) -> None:
    out, _, _ = small
    rows = {row["topic"]: row for row in table(out, "deviations")}
    assert rows["mean of Fig 6"]["ours, or recomputed"] == (
        "194x from Table IV, 189x from Fig 6's bars; from Table IV 13.2x over the GPU (paper 13x), 314.3x over the "
        "mobile GPU (paper 307x)"
    )
    assert rows["mean of Fig 6"]["reason"].endswith("NT-We 63x beside 75.6x; NT-LSTM 60x beside 62.7x")
    assert "whole tenths in 7 of 9 layers" in rows["power in Fig 7"]["ours, or recomputed"]
    assert rows["AlexNet per second"]["ours, or recomputed"].startswith("19,084 from Table IV")
    assert rows["256 PEs over 64"]["ours, or recomputed"].startswith("3.47x per clock cycle")
    assert rows["theoretical time of VGG-6"]["ours, or recomputed"] == "the same number as Alex-6"
    assert "the time of no layer" in rows["inputs longer than 4K, uneven masks"]["ours, or recomputed"]  # all are short


def test_every_table_and_figure_is_there_and_what_is_not_is_said(small: Any) -> None:
    out, _, made_again = small
    assert made_again == []
    stems = {path.stem for path in out.glob("*.csv")}
    for number in range(2, 6):
        assert any(stem.startswith(f"table_{number}_") for stem in stems)
    for number in range(6, 14):
        assert any(stem.startswith(f"figure_{number}_") for stem in stems)
        assert list(out.glob(f"figure_{number}_*.svg"))
        assert list(out.glob(f"figure_{number}_*.png"))
    for stem in ("2_lenet_300_100", "3_lenet_5"):
        assert f"deep_compression_table_{stem}" in stems
    assert {"deep_compression_figure_5", "deep_compression_figure_11", "trends", "deviations"} <= stems
    summary = (out / "summary.md").read_text()
    for sentence in (
        "the real Alex-8: give the folder",
        "make them with python -m designs experiment deep-compression",
        "Table 6",
    ):
        assert sentence in summary


def test_a_trend_that_does_not_hold_is_said_not_to() -> None:
    def row(slots: int, processed: int) -> dict[str, Any]:
        layer = {"layer": "NT-We", "num_pes": 1, "cycles": 100}
        return layer | {"queue_slots": slots, "processed_entries": processed}

    good = [row(2, 50), row(8, 90), row(16, 92), row(256, 95)]
    bad = [row(2, 90), row(8, 91), row(16, 95), row(256, 99)]
    assert [trend.holds for trend in trends.queue_trends(good, "random")] == [True, True, True]
    assert [trend.holds for trend in trends.queue_trends(bad, "random")] == [False, False, True]


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder of data; give one that holds alex8/"):
        experiment_command(data=tmp_path / "none", out=tmp_path)
    sources = PaperSources(None, CONTAINERS, tmp_path)
    with pytest.raises(InputError, match=r"eie_benchmark\.parquet: there is no such result file"):
        PaperReport(tmp_path, sources)
    (tmp_path / "a_file").write_text("")
    with pytest.raises(InputError, match="a_file"):
        run_paper(sources, tmp_path / "a_file" / "out")


def test_lenet_5_on_the_array_in_32_bits_is_right_as_often_as_its_container_is(data: Path, tmp_path: Path) -> None:
    images = load_idx_folder(real_file(data, "mnist"))
    network = lenet_network("lenet_5", CompressedModel.load(CONTAINERS / "lenet_5.dc"))
    tested = images.test_images[:40], images.test_labels[:40]
    labelled = LabelledNetwork("lenet_5", network, *tested, images.train_images[:40])
    run_precisions(tmp_path / "precision.parquet", [labelled])
    rows = read_results(tmp_path / "precision.parquet", PRECISION_COLUMNS)[0].to_pylist()
    accuracy = {row["precision"]: row["accuracy"] for row in rows}
    assert accuracy["float"] == accuracy["fixed-32"] >= 0.97
    assert accuracy["fixed-8"] <= accuracy["fixed-16"]


def test_storage_of_squeezenet_adds_up_to_its_file(data: Path) -> None:
    path = real_file(data, "squeezenet_deep_compression", "compressed_SqueezeNet.net")
    assert sum(storage_of_net(read_net(path)).values()) == pytest.approx(path.stat().st_size, abs=26)  # half bytes


def test_alexnet_s_last_layer_has_the_distributions_of_the_paper_s_fig_5(data: Path) -> None:
    layer, _ = read_layer(real_file(data, "alex8", "alex8.npz"))
    two_peaks, near, huffman = distribution_trends(layer, "Alex-8")
    assert two_peaks.holds
    assert near.holds
    assert huffman.ours.endswith("of 4 + 5 bits per entry")


def test_alex_8_takes_the_paper_s_time(data: Path) -> None:
    result = count(*read_layer_and_input(real_file(data, "alex8", "alex8.npz")), ArrayConfig())
    assert result.latency_us == pytest.approx(EIE_BENCHMARK["Alex-8"].paper_actual_us, rel=0.002)


@pytest.mark.slow
def test_the_mean_differences_of_the_guide_are_those_of_the_benchmark(data: Path, tmp_path: Path) -> None:
    real_file(data, "alex8", "alex8.npz")
    rows = run_benchmark(tmp_path / "benchmark.parquet", data, eie_paper.UNEVEN_DRAWS).to_pylist()
    results = (PROJECT / "guide/results.md").read_text()
    for label, masks in (("random", "random"), ("uneven, mean of three draws", "uneven")):
        layers = with_real(rows, masks)
        vgg_6 = layers["VGG-6"]["latency_us"] / layers["VGG-6"]["paper_actual_us"] - 1
        mean = f"{100 * mean_absolute_difference(layers):.1f} %"
        assert f"| {label} | {mean} | {100 * vgg_6:+.1f} % |" in results
    assert mean_absolute_difference(with_real(rows, "random")) <= 0.08


def curves(combined: float, pruned_from: int, linear: float) -> list[dict[str, Any]]:
    """Return points of Figs 6 to 8 as the experiment has them; errors rise below a number of bits."""
    points = [
        {"figure": 6, "series": series, "weight_bits": 4, "size_bytes": size, "error": error}
        for series, size, error in (
            ("pruning alone", 90, 0.03),
            ("sharing alone", 100, 0.02),
            ("pruning and sharing", 50, combined),
        )
    ]
    for series in ("convolutions", "fully connected", "all layers"):
        for state, first in (("dense", 4), ("pruned", pruned_from)):
            for bits in range(1, 9):
                error = 0.01 if bits >= first else 0.1
                points.append({"figure": 7, "series": f"{series}, {state}", "weight_bits": bits, "error": error})
    for series, error in (("optimal", 0.01), ("linear", linear), ("density", 0.03), ("random", 0.04)):
        points += [{"figure": 8, "series": series, "weight_bits": bits, "error": error} for bits in range(2, 9)]
    return points


def test_trends_of_the_lenets_curves_hold_where_they_do_and_not_where_they_do_not() -> None:
    assert [trend.holds for trend in curve_trends(curves(0.015, 4, 0.02))] == [True, True, True, True]
    found = curve_trends(curves(0.05, 7, 0.05))
    assert [trend.holds for trend in found] == [False, False, True, False]
    assert found[1].ours == "within half a point from 7 bits if pruned, from 4 bits if dense"
