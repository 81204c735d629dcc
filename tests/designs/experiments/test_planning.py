"""The study of planned compression on small images, and the cost of layers on the array (PyTorch needed)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress.planning.calibration import Calibration
from compress.planning.outputs import run_batches
from compress.planning.plan import Budget, Tolerance
from compress.planning.planner import make_planner
from compress.planning.tolerances import share_within
from compress.training.fine_tuning import train
from designs.codesigns.array_cost import ArrayCost
from designs.experiments import planning as plan_study
from designs.experiments.planning import PlannedNetwork, run_planning
from designs.result_files import COMMITTEE_COLUMNS, PLANNING_COLUMNS, committee_files
from designs.results import read_results
from reports import __main__ as commands
from reports import planning as pages
from sim import ArrayConfig
from traces import InputError
from traces.files.images import ImageSet, load_digits


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_digits()


@pytest.fixture(scope="module")
def network(digits: ImageSet) -> torch.nn.Module:
    torch.manual_seed(0)
    found = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.ReLU(), torch.nn.Linear(40, 10))
    train(found, digits.train_images, digits.train_labels, epochs=25, learning_rate=0.003, seed=0)
    return found.eval()


def test_the_experiment_goes_from_a_network_to_tables_and_figures_and_keeps_what_is_finished(
    network: torch.nn.Module,
    digits: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"TRIALS": 12, "RANDOM_PLANS": 12, "COMMITTEE_NUMBERS": (16, 64), "COMMITTEE_SEEDS": 2}
    settings |= {"TRAINED_ON": 800, "COMMITTEE_POOL": 600, "ANALYSED": 128}
    for name, value in settings.items():
        monkeypatch.setattr(plan_study, name, value)
    planned_network = PlannedNetwork(
        "lenet_5",
        network,
        digits.train_images[800:1400],
        digits,
        densities=(0.8, 0.5, 0.3, 0.2),
        bounds=(0.003, 0.03, 0.1),
        uniform=(0.8, 0.5),
        widths=(3, 4, 5),
        search=0.03,
    )
    run_planning([planned_network], tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    run_planning([planned_network], tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}

    results = {
        name: read_results(tmp_path / "lenet_5" / name / f"{name}.parquet", columns)[0].to_pylist()
        for name, columns in PLANNING_COLUMNS.items()
    }
    committee = [r for path in committee_files(tmp_path) for r in read_results(path, COMMITTEE_COLUMNS)[0].to_pylist()]
    curves = results["curves"]
    assert {row["method"] for row in curves} == set(pages.METHODS)
    planned = [row["size_bytes"] for row in curves if row["method"] == "planned"]
    assert planned == sorted(planned, reverse=True)
    assert len(results["search"]) == 13
    assert len(committee) == 8
    asked = {row["asked"]: row for row in results["budgets"]}
    assert asked["the smallest file"]["feasible"]
    assert asked["latency of 60%"]["measurements"] == 0
    assert not asked["half the file"]["feasible"]
    assert "file_bytes" in asked["half the file"]["nearest"]

    content = pages.sizes_markdown(curves) + pages.search_markdown(results["search"])
    assert "LeNet-5 on MNIST | 0.5 points" in content
    assert "black box | 12.0" in content
    assert "| 12           |" in pages.predictions_markdown(results["predictions"])
    assert "from 64 inputs" in pages.budgets_markdown(results["budgets"])
    assert "committee: bound holds" in pages.committee_markdown(committee)
    figures = pages.draw_planning({**results, "committee": committee})
    assert set(figures) == {"planned_sizes", "planned_predictions", "planned_search", "planned_committee"}
    commands.planning(tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    assert pages.sizes_markdown(curves) in tables
    assert "inputs chosen at random (median over the seeds)" in tables
    assert tables in capsys.readouterr().out
    assert all((tmp_path / f"{name}.svg").exists() for name in figures)


def test_inputs_needed_are_those_from_which_on_the_bound_is_kept() -> None:
    def row(how: str, number: int, seed: int, share: float) -> dict[str, Any]:
        return {"how": how, "number": number, "seed": seed, "divergence": share, "bound": 1.0}

    rows = [row("random", number, 0, share) for number, share in ((16, 0.5), (32, 2.0), (64, 0.9), (128, 0.8))]
    rows += [row("random", number, 1, share) for number, share in ((16, 0.5), (32, 0.5), (64, 0.9), (128, 1.8))]
    rows += [row("random", number, 2, 0.5) for number in (16, 32, 64, 128)]
    assert pages.inputs_needed(rows, "random") == 64
    assert pages.inputs_needed(rows[:4], "random") == 64
    assert math.isinf(pages.inputs_needed(rows[4:8], "random"))


def test_another_budget_is_planned_without_a_run_of_the_network(
    network: torch.nn.Module, digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = digits.train_images[:400]
    planner = make_planner(network, pool, cost=ArrayCost(network, pool[:4], ArrayConfig(num_pes=4)))
    first = planner.plan(Tolerance(divergence=0.02))
    monkeypatch.setattr("compress.planning.outputs.run_outputs", None)  # calling it would fail
    faster = planner.replan(first, Budget(latency_us=0.97 * first.costs["latency_us"]))
    assert faster.costs["latency_us"] <= 0.97 * first.costs["latency_us"]
    assert faster.feasible
    assert faster.measured is None
    assert faster.confidence is None
    assert faster.costs["file_bytes"] >= first.costs["file_bytes"]


def test_a_budget_that_stops_a_plan_does_not_bound_the_plans_after_it(
    network: torch.nn.Module, digits: ImageSet
) -> None:
    pool = digits.train_images[:400]
    planner = make_planner(network, pool, cost=ArrayCost(network, pool[:4], ArrayConfig(num_pes=4)))
    tolerance = Tolerance(divergence=0.05)
    free = planner.plan(tolerance)
    fastest = sum(min(each.costs["latency_us"] for each in of_layer) for of_layer in planner.candidates)
    planner.plan(tolerance, Budget(latency_us=1.001 * fastest))
    assert planner.predict(tolerance).costs["file_bytes"] == pytest.approx(free.costs["file_bytes"], rel=0.01)


def test_random_moves_within_tolerances_and_what_they_allow_keep_the_bound(
    network: torch.nn.Module, digits: ImageSet
) -> None:
    planner = make_planner(network, digits.train_images[:300])
    tolerance = Tolerance(divergence=0.01)
    for moved in planner.perturbed(tolerance, 3, np.random.default_rng(3)):
        outputs = run_batches(moved, digits.test_images)
        assert tolerance.measure(run_batches(network, digits.test_images), outputs, None) < 0.03
    model = planner.within_tolerances(tolerance)
    assert tolerance.measure(planner.outputs, run_batches(planner.changed(model), planner.pool), None) <= 0.01
    assert model.size_bytes > planner.plan(tolerance).costs["file_bytes"]


def test_weights_are_pruned_where_their_tolerance_reaches_zero_and_share_the_fewest_values() -> None:
    weights = np.array([[0.1, -0.5, 0.52], [1.0, 0.9, 0.0]])
    codes, codebook = share_within(weights, np.full((2, 3), 0.15))
    assert np.array_equal(codes, [[0, 1, 2], [3, 3, 0]])
    assert np.allclose(codebook, [0, -0.5, 0.52, 0.95])
    with pytest.raises(InputError, match="must have one shape"):
        share_within(weights, np.ones(3))


def test_layers_whose_changes_do_less_count_less() -> None:
    calibration = Calibration(3)
    changes = np.array([0.5, 1.0, 2.0])
    assert np.array_equal(calibration.scaled(0, changes), changes)
    draw = np.random.default_rng(0)
    for layer, divergence in ((0, 0.001), (1, 0.1)):
        calibration.add(layer, 1.0, draw.normal(divergence, divergence / 10, 1000))
    assert calibration.knows(0, 1.5)
    assert not calibration.knows(0, 3)
    ratio = calibration.scaled(1, changes) / calibration.scaled(0, changes)
    assert np.allclose(ratio, 100, rtol=0.05)
    assert np.array_equal(calibration.scaled(2, changes), changes)
    noisy = Calibration(2)
    for layer in range(2):
        noisy.add(layer, 1.0, np.append(np.zeros(49), 1.0) * (1 + layer))  # what chance alone explains
    assert np.allclose(noisy.scaled(1, changes) / noisy.scaled(0, changes), 1)
