"""Co-design on arrays in fixed point: losses are those of the array's arithmetic, overflow included."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel  # noqa: E402
from designs import Search, Space, TrainedNetwork, codesign  # noqa: E402
from designs.codesigns.arithmetic import fixed_precisions  # noqa: E402
from designs.codesigns.columns import FRONT_COLUMNS  # noqa: E402
from designs.codesigns.compressions import (  # noqa: E402
    LARGEST_LAYERS,
    LIMITS,
    CompressionAnalysis,
    analyse_compression,
)
from designs.codesigns.loss_prediction import LossPrediction  # noqa: E402
from designs.codesigns.point import CodesignPoint  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.verification import Verification  # noqa: E402
from designs.design import Design  # noqa: E402
from designs.results import read_results  # noqa: E402
from sim import ArrayConfig, fit_formats, simulate_network  # noqa: E402
from sim.number_formats import formats_of_plain  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402

SPACE = Space({"num_pes": (1, 4), "weight_bits": (3, 4), "precision": ("float", "fixed-8")})
ARRAY = ArrayConfig(num_pes=4, precision="fixed-8")


def not_again(*_: Any, **__: Any) -> Any:
    raise AssertionError("a network was simulated again")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("analysis")


@pytest.fixture(scope="module")
def analysis(kept: Path) -> CompressionAnalysis:
    return analyse_compression(small_network(), folder=kept, precisions=fixed_precisions(SPACE))


@pytest.fixture(scope="module")
def finished(analysis: CompressionAnalysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("study")
    return folder, codesign(analysis, SPACE, Search(trials=16, verify=6), folder)


def answers_on_the_array(path: Path, row: dict[str, Any], images: Any) -> Any:
    """Return the answers that the array of a row gives, by another simulation of its container."""
    array = ArrayConfig(num_pes=3, weight_bits=row["weight_bits"], precision=row["precision"])
    formats = formats_of_plain(json.loads(row["number_formats"]))
    return simulate_network(path, images, array, number_formats=formats or None).output.argmax(axis=1)


def test_accuracy_of_a_verified_design_is_that_of_its_array(finished: tuple[Path, Any]) -> None:
    folder, table = finished
    network, rows = small_network(), table.to_pylist()
    assert {row["precision"] for row in rows} == {"float", "fixed-8"}
    differing = 0
    for row in rows:
        path = folder / "front" / f"{row['digest']}.dc"
        found = answers_on_the_array(path, row, network.evaluation)
        assert row["accuracy"] == (found == network.evaluation_labels).mean()
        before = network.module(torch.from_numpy(network.evaluation)).argmax(dim=1).numpy()
        lost = (before == network.evaluation_labels).mean() - row["accuracy"]
        assert row["measured_accuracy_loss"] == pytest.approx(lost)
        assert row["test_accuracy"] == (answers_on_the_array(path, row, network.test) == network.test_labels).mean()
        floats = CompressedModel.load(path).network.run(network.evaluation)
        differing += int((next(iter(floats.values())).argmax(axis=1) != found).sum())
        names = {"conv", "fc1", "fc2"} if row["precision"] == "fixed-8" else set()
        assert set(json.loads(row["number_formats"])) == names
    assert differing > 0  # the accuracy in floating point would be another
    assert read_results(folder / "front.parquet", FRONT_COLUMNS)[0].to_pylist() == rows


def test_formats_are_fitted_to_the_analysed_inputs_of_the_pool(
    analysis: CompressionAnalysis, finished: tuple[Path, Any]
) -> None:
    folder, table = finished
    row = next(row for row in table.to_pylist() if row["precision"] == "fixed-8")
    pool, measured = np.asarray(small_network().pool), analysis.planner.places
    assert measured is not None
    calibration = np.delete(pool, measured, axis=0)
    assert 0 < len(calibration) == len(pool) - len(measured) <= 256
    formats = fit_formats(folder / "front" / f"{row['digest']}.dc", calibration, ARRAY)
    assert formats == formats_of_plain(json.loads(row["number_formats"]))
    record = json.loads((folder / "front" / f"{row['digest']}.json").read_text())
    assert CodesignPoint.from_dict(record).number_formats == formats
    assert CodesignPoint.from_dict(record).to_dict()["number_formats"] == record["number_formats"]


def test_predictions_of_floating_point_are_those_without_fixed_point(analysis: CompressionAnalysis, kept: Path) -> None:
    alone = analyse_compression(small_network(), folder=kept)
    assert set(alone.loss_predictions) == {"float"}
    np.testing.assert_array_equal(alone.limits, analysis.limits)
    for limit in range(0, LIMITS, 5):
        choices = alone.planned(limit, 4, LARGEST_LAYERS - 1, 4)
        assert alone.predict(choices).loss == analysis.predict(choices, "float").loss
        assert alone.predict(choices).loss_interval == analysis.predict(choices).loss_interval
        fixed = analysis.predict(choices, "fixed-8")
        assert fixed.loss != analysis.predict(choices).loss
        assert fixed.loss_interval[0] <= fixed.loss <= fixed.loss_interval[1]
    sentence = (
        "precision must be one in which plans of small were measured, float; found 'fixed-8', whose loss is unknown"
    )
    with pytest.raises(InputError, match=sentence):
        alone.predict(choices, "fixed-8")
    with pytest.raises(InputError, match=r"analyse the network with precisions=\('fixed-8',\)"):
        CodesignProblem(alone, SPACE, Search())


def test_measured_plans_are_kept_in_the_folder_of_the_analysis(
    analysis: CompressionAnalysis, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("designs.codesigns.arithmetic.compute_network", not_again)
    again = analyse_compression(small_network(), folder=kept, precisions=("fixed-8",))
    choices = again.planned(9, 4, LARGEST_LAYERS - 1, 4)
    assert again.predict(choices, "fixed-8").loss == analysis.predict(choices, "fixed-8").loss


def test_no_plan_is_predicted_to_lose_less_in_fixed_point_than_the_finest_measured_one() -> None:
    changes, losses = np.log([1e-6, 1e-3, 1.0]), np.array([0.0, 0.1, 0.9])
    plans = [(np.log(1e-5), np.log(1e-3), 0.1), (np.log(1e-2), np.log(1e-1), 0.6)]
    fixed, exact = (LossPrediction.of(changes, losses, plans, 0.02, each) for each in ("fixed-8", "float"))
    assert fixed.loss(1e-9) == fixed.loss(1e-5) == exact.loss(1e-5) > exact.loss(1e-9)
    assert fixed.loss(1e-3) == exact.loss(1e-3)
    assert exact.loss(1.0) > 0.5
    assert dataclasses.replace(fixed, most=0.5).loss(1.0) == 0.5
    assert dataclasses.replace(fixed, most=0.5).interval(1.0)[1] == 0.5


def test_a_network_that_saturates_loses_answers_that_floating_point_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    module = torch.nn.Linear(12, 6)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(draw.normal(size=(6, 12))))
        module.bias.zero_()
    pool = draw.uniform(size=(60, 12)).astype(np.float32)
    with torch.no_grad():
        labels, later = (
            module(torch.from_numpy(values)).argmax(dim=1).numpy() for values in (pool, pool[:40] * np.float32(50))
        )
    network = TrainedNetwork(
        "scores", module, pool, labels, pool[:40] * np.float32(50), later, densities=(1.0, 0.9), weight_bits=(4, 6)
    )
    space = Space({"num_pes": (2,), "weight_bits": (6,), "precision": ("float", "fixed-16")})
    problem = CodesignProblem(analyse_compression(network, precisions=("fixed-16",)), space, Search())
    choices = problem.analysis.planned(0, 0, LARGEST_LAYERS - 1, 6)
    verify = Verification(problem, tmp_path)
    array = ArrayConfig(num_pes=2, weight_bits=6)
    exact, fixed = (
        verify(problem.predict(Design(dataclasses.replace(array, precision=precision)), choices))
        for precision in ("float", "fixed-16")
    )
    assert (exact["saturated_activations"], exact["number_formats"]) == (0, {})
    assert fixed["saturated_activations"] > 8
    assert fixed["accuracy"] < exact["accuracy"] - 0.1
    assert fixed["figures"]["accuracy_loss"] == pytest.approx(1 - fixed["accuracy"])
    monkeypatch.setattr(Verification, "_measured", not_again)
    again = verify(problem.predict(Design(dataclasses.replace(array, precision="fixed-16")), choices))
    assert again["figures"] == fixed["figures"]
