"""The study of planned compression on small images, and the cost of layers on the array (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

import compress
from compress.planning.calibration import Calibration
from compress.planning.outputs import run_batches
from compress.planning.plan import Budget, Tolerance
from compress.planning.preparation import make_planner
from compress.planning.tolerances import share_within
from compress.training.fine_tuning import train
from designs.codesigns.array_cost import ArrayCost
from designs.experiments.planning.committee import composed_pool, strata
from designs.experiments.planning.cuts import BlockCuts, UniformCuts
from designs.experiments.planning.experiment import QUICK, Effort, run_network, run_planning
from designs.experiments.planning.measuring import Judge, planned, tolerance_of
from designs.experiments.planning.methods import MagnitudePruning, Scan
from designs.experiments.planning.networks import Data, MeasuredNetwork
from designs.result_files import PLANNING_COLUMNS, planning_files
from designs.results import read_results
from reports import __main__ as commands
from reports.planning import structured, tables, thresholds
from reports.planning.committee import inputs_needed
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


@pytest.fixture(scope="module")
def measured_network(network: torch.nn.Module, digits: ImageSet) -> MeasuredNetwork:
    return MeasuredNetwork(
        "lenet_5",
        network,
        digits.train_images[400:],
        digits.test_images,
        "kl",
        bounds=(0.003, 0.03, 0.1),
        shown=(0.03,),
        search=0.03,
        labels=digits.test_labels,
        number=300,
        densities=(0.8, 0.5, 0.3, 0.2),
        uniform=(0.8, 0.5),
        widths=(3, 4, 5),
        pool_labels=digits.train_labels[400:],
        own=True,
    )


EFFORT = Effort(trials=6, random_plans=12, draws={"lenet_5": 2}, pool=80, committee_numbers=(24,), committee_seeds=2)
PARTS = (
    *("curves", "thresholds", "coverage", "search", "predictions", "budgets", "committee"),
    *("structured", "compaction"),
)


def test_the_experiment_goes_from_a_network_to_tables_and_figures_and_keeps_what_is_finished(
    measured_network: MeasuredNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_network(measured_network, PARTS, tmp_path, EFFORT)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    run_network(measured_network, PARTS, tmp_path, EFFORT)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}

    results = {
        part: [row for path in planning_files(tmp_path, part) for row in read_results(path, columns)[0].to_pylist()]
        for part, columns in PLANNING_COLUMNS.items()
    }
    curves = results["curves"]
    assert {row["method"] for row in curves} == set(tables.METHODS)
    planned = {row["bound"]: row for row in curves if row["method"] == "planned"}
    sizes = [row["size_bytes"] for row in planned.values()]
    assert sizes == sorted(sizes, reverse=True)
    scanned = [row for row in curves if row["method"] == "scan"]
    assert scanned
    assert all(row["pool_loss"] <= planned[row["bound"]]["pool_loss"] for row in scanned)
    assert [(row["inputs"], row["seed"]) for row in results["coverage"]] == [
        *(("own, with evaluation", seed) for seed in (0, 1)),
        *(("own", seed) for seed in (0, 1)),
    ]
    for row in results["coverage"]:
        assert row["feasible"] == (row["limit"] <= row["bound"])
        assert row["measured"] <= row["limit"]
        assert row["lower_size_bytes"] <= row["size_bytes"]
    assert len(results["search"]) == 7
    cut = results["thresholds"]
    uniform = [row for row in cut if row["method"] == "uniform" and row["bits"] == 5]
    assert [row["level"] for row in uniform] == sorted(row["level"] for row in uniform)
    assert uniform[0]["broadcast_share"] > uniform[-1]["broadcast_share"]
    assert all(row["bits_per_weight"] == pytest.approx(8 * row["size_bytes"] / 3010) for row in cut)
    for row in cut:
        if row["method"] == "fastest, as small":
            beside = [each for each in uniform if each["pool_loss"] <= row["bound"]]
            if row["bits"] == 5:
                fastest = min(beside, key=lambda each: each["latency_us"])
                assert row["size_bytes"] <= fastest["size_bytes"]
                assert row["latency_us"] <= 1.02 * fastest["latency_us"]
    assert len(results["committee"]) == 3 * 3 * 2
    plans = results["structured"]
    for whole, smaller in zip(plans[::2], plans[1::2], strict=True):
        assert (whole["structured"], smaller["structured"]) == (False, True)
        assert whole["removed"] == 0 <= smaller["removed"] < whole["units"] == smaller["units"] == 40
        assert whole["feasible"]
        assert smaller["feasible"]
        assert max(whole["pool_loss"], smaller["pool_loss"]) <= whole["bound"]
    assert [row["minimised"] for row in plans] == ["file_bytes"] * 2 + ["latency_us"] * 2
    for row in results["compaction"]:
        assert row["same_outputs"]
        assert row["after_broadcasts"] <= row["before_broadcasts"]
        assert row["after_cycles"] <= 1.05 * row["before_cycles"]
    asked = {row["asked"]: row for row in results["budgets"]}
    assert asked["the smallest file"]["feasible"]
    assert asked["latency of 60%"]["measurements"] == 0
    assert not asked["half the file"]["feasible"]
    assert "file_bytes" in asked["half the file"]["nearest"]

    commands.planning(tmp_path)
    content = (tmp_path / "tables.md").read_text()
    assert content in capsys.readouterr().out
    for part in ("LeNet-5 on MNIST | 0.5 points", "black box | kl", "| 12           |", "from 64 inputs"):
        assert part in content
    for part in (tables.bytes_markdown(curves), tables.coverage_markdown(results["coverage"])):
        assert part in content
    assert thresholds.thresholds_markdown(cut) in content
    assert structured.structured_markdown(results["structured"]) in content
    assert structured.compaction_markdown(results["compaction"]) in content
    names = ("sizes", "losses", "thresholds", "predictions", "search", "coverage", "committee")
    assert all((tmp_path / f"planned_{name}.svg").exists() for name in names)


def test_fronts_of_thresholds_have_cycles_answers_and_cosines() -> None:
    row = {
        **{"network": "ds_cnn", "loss": "kl", "method": "fastest", "bound": 0.1, "bits": -1, "unseen_loss": 0.0884},
        **{"bits_per_weight": 7.74, "broadcast_share": 0.333, "latency_us": 460.1, "energy_nj": 205643.2},
        **{"same_answers": 0.819, "same_beginning": -1.0, "perplexity": -1.0, "perplexity_before": -1.0},
    }
    encoder = row | {"network": "sentence_encoder", "loss": "cosine", "same_answers": -1.0}
    text = thresholds.fronts_markdown([row, encoder, row | {"method": "uniform"}])
    heads, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.strip().splitlines())
    first, second = (dict(zip(heads, line, strict=True)) for line in lines)
    assert (first["cycles"], first["us"], first["answers that stay"]) == ("368,080", "460.10", "81.9%")
    cosine = "cosine to the original's outputs"
    assert (first[cosine], second[cosine], second["answers that stay"]) == ("", "0.9116", "")
    (panel, other) = thresholds.draw_thresholds([row, encoder]).axes
    assert panel.get_ylabel() == "divergence on unseen inputs, nats"
    assert other.get_ylabel() == "1 - cosine on unseen inputs"
    assert panel.get_xlabel() == "latency per input, us"
    llama = row | {"network": "stories", "perplexity": 3.2}
    assert thresholds.draw_thresholds([llama]).axes[0].get_xlabel() == "latency per token, us"


def test_times_and_memory_of_planning_come_with_their_units(tmp_path: Path) -> None:
    effort = dataclasses.replace(QUICK, speed_inputs=20)
    run_planning(Data(tmp_path), ("resnet_32", "wide_layer", "sentence_encoder"), (), None, effort)
    (path,) = planning_files(tmp_path, "speed")
    one, plan, again = read_results(path, PLANNING_COLUMNS["speed"])[0].to_pylist()
    assert one["passes"] == 1
    assert plan["passes"] == pytest.approx(plan["seconds"] / one["seconds"])
    assert again["seconds"] < plan["seconds"]
    (path,) = planning_files(tmp_path, "large")
    (row,) = read_results(path, PLANNING_COLUMNS["large"])[0].to_pylist()
    assert row["weights"] == 4096 * (QUICK.width + 1)
    assert 0 < row["start_mib"] <= row["peak_mib"]


def test_unknown_networks_and_parts_are_refused_and_absent_ones_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"networks must be some of resnet_32, .*; found lenet_5"):
        run_planning(Data(tmp_path), ("lenet_5",))
    with pytest.raises(InputError, match=r"parts must be some of curves, .*; found curve"):
        run_planning(Data(tmp_path), (), ("curve",))
    left_out = run_planning(Data(tmp_path), ("sentence_encoder",))
    assert "sentence_encoder is left out: give the folder of all-MiniLM-L6-v2" in left_out
    assert "ds_cnn is left out: its data are not in the folder" in left_out


def test_the_scan_finds_the_smallest_file_whose_measured_loss_fits(measured_network: MeasuredNetwork) -> None:
    plan = planned(measured_network, tolerance_of(measured_network, 0.03))
    judge = Judge(plan, measured_network.pool)
    pruning = MagnitudePruning(plan)
    scan = Scan(measured_network, pruning, judge, judge)
    before = [layer.matrix for layer in plan.planner.layers]
    found = scan.smallest(0.05)
    assert found is not None
    model, loss = found
    assert judge.loss(model) == pytest.approx(loss)
    assert loss <= 0.05
    every = [pruning.model(settings) for settings in itertools.product(scan.settings, repeat=2)]
    fitting = [each.size_bytes for each in every if judge.loss(each) <= 0.05]
    assert model.size_bytes <= 1.15 * min(fitting)  # the sum of the layers' losses is not their common loss
    assert scan.smallest(1e-9) is None
    assert all(map(np.array_equal, before, (layer.matrix for layer in plan.planner.layers)))


def test_shares_by_block_cut_one_share_of_each_block_and_change_its_output_less() -> None:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = torch.nn.Linear(8, 24), torch.nn.Linear(24, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            changed: torch.Tensor = x + self.narrow(torch.tanh(self.wide(x)) ** 3)
            return changed

    torch.manual_seed(0)
    blocks_of = torch.nn.Sequential(Block(), Block())
    module = torch.nn.Sequential(blocks_of, torch.nn.Linear(8, 5)).eval()
    inputs = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    plan = compress.plan(
        module, inputs, tolerance=0.05, loss="kl", thresholds=True, minimise="macs", densities=(1.0,), weight_bits=(5,)
    )
    assert BlockCuts.has_blocks(plan)
    some = plan.planned.inputs(inputs)
    blocks, uniform = BlockCuts(plan, some, 0.6), UniformCuts(plan)
    assert not any(blocks.thresholds(0.0).values())
    assert blocks.thresholds(0.4)["1"] == uniform.thresholds(0.4)["1"], "a layer outside of blocks"
    shares = blocks._paths[0][40]
    sizes = {"0.0.wide": 192, "0.0.narrow": 192}
    assert sum(shares[name] * size for name, size in sizes.items()) / 384 == pytest.approx(0.4)
    errors = []
    for cuts in (blocks, uniform):
        model = plan.apply().with_thresholds(cuts.thresholds(0.4))
        first, plain = (
            plan.planner.changed(each)[0][0](torch.from_numpy(inputs))  # type: ignore[index]
            for each in (model, plan.apply().with_thresholds(dict.fromkeys(plan.choices, 0.0)))
        )
        errors.append(float((first - plain).square().sum()))
    assert errors[0] < errors[1]


def test_pools_have_the_composition_that_they_are_named_after(measured_network: MeasuredNetwork) -> None:
    labels = measured_network.pool_labels
    assert labels is not None
    for pool, fewest in (("long tail", 6), ("five of one class", 5)):
        composed = composed_pool(measured_network, pool, seed=1)
        counts = np.rint(composed.shares * len(composed.inputs))
        assert counts[8] == counts.min() == fewest
    assert composed_pool(measured_network, "balanced", 0).shares.max() < 0.12


def test_strata_take_each_answer_in_proportion_and_weigh_it_by_its_share(
    measured_network: MeasuredNetwork, network: torch.nn.Module
) -> None:
    pool = composed_pool(measured_network, "five of one class", seed=0).inputs
    places, weights = strata(network, pool, 24, seed=0)
    answered = run_batches(network, pool).argmax(axis=1)
    assert len(set(places.tolist())) == 24
    assert set(answered[places]) == set(answered)
    shares = [weights[answered[places] == each].sum() / weights.sum() for each in range(10)]
    assert np.allclose(shares, np.bincount(answered, minlength=10) / len(pool))


def test_inputs_needed_are_those_from_which_on_the_bound_is_kept() -> None:
    def row(how: str, number: int, seed: int, share: float) -> dict[str, Any]:
        return {"how": how, "number": number, "seed": seed, "unseen_loss": share, "bound": 1.0}

    rows = [row("random", number, 0, share) for number, share in ((16, 0.5), (32, 2.0), (64, 0.9), (128, 0.8))]
    rows += [row("random", number, 1, share) for number, share in ((16, 0.5), (32, 0.5), (64, 0.9), (128, 1.8))]
    rows += [row("random", number, 2, 0.5) for number in (16, 32, 64, 128)]
    assert inputs_needed(rows, "random") == 64
    assert inputs_needed(rows[:4], "random") == 64
    assert math.isinf(inputs_needed(rows[4:8], "random"))


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
    planner = make_planner(network, digits.train_images[:300], loss="kl")
    tolerance = Tolerance(divergence=0.01)
    for moved in planner.perturbed(tolerance, 3, np.random.default_rng(3)):
        outputs = run_batches(moved, digits.test_images)
        assert planner.loss.mean(run_batches(network, digits.test_images), outputs) < 0.03
    model = planner.within_tolerances(tolerance)
    assert planner.loss.mean(planner.outputs, run_batches(planner.changed(model), planner.pool)) <= 0.01
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
