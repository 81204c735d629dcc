"""Co-design of networks whose layers have activation thresholds."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel  # noqa: E402
from compress.planning.plan import Choice  # noqa: E402
from designs import Search, Space, codesign  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.folder import read_study  # noqa: E402
from designs.codesigns.layer_costs import LAYER_COLUMNS, LAYERS_FILE  # noqa: E402
from designs.codesigns.point import choices_of, design_digest, plain_choices  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.verification import Distillation  # noqa: E402
from designs.commands.networks import open_network  # noqa: E402
from designs.design import Design  # noqa: E402
from designs.results import read_results  # noqa: E402
from sim import ArrayConfig  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402

SPACE = Space({"num_pes": (1, 4), "queue_slots": (8,), "weight_bits": (3, 4), "index_bits": (3,), "line_bits": (64,)})
SEARCH = Search(bounds={"accuracy_loss": 0.05}, trials=12, verify=4, settled=0)
NETWORK = dataclasses.replace(small_network(), thresholds=(0.3, 0.5, 0.7))


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(NETWORK)


@pytest.fixture(scope="module")
def finished(analysis: CompressionAnalysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, codesign(analysis, SPACE, SEARCH, folder).to_pylist()


def thresholds_of(row: dict[str, Any]) -> dict[str, float]:
    choices = choices_of(json.loads(row["choices"]))
    return {name: choice.activation_threshold for name, choice in choices.items()}


def test_choices_of_files_have_thresholds_and_cuts() -> None:
    choices = {"a": Choice(0.5, 4), "b": Choice(0.25, 3, 4, 0.1, 0.625)}
    plain = json.loads(json.dumps(plain_choices(choices)))
    assert plain == {"a": [0.5, 4], "b": [0.25, 3, 0.1, 0.625]}
    assert choices_of(plain) == choices
    without = {"a": Choice(0.5, 4), "b": Choice(0.25, 3)}
    assert design_digest(Design(ArrayConfig()), choices) != design_digest(Design(ArrayConfig()), without)


def test_verified_designs_have_the_thresholds_that_were_chosen(finished: tuple[Path, list[Any]]) -> None:
    folder, rows = finished
    layers = read_results(folder / LAYERS_FILE, LAYER_COLUMNS)[0].to_pylist()
    assert any(max(thresholds_of(row).values()) > 0 for row in rows)
    for row in rows:
        model = CompressedModel.load(folder / "front" / f"{row['digest']}.dc")
        chosen = thresholds_of(row)
        assert {layer.name: layer.activation_threshold for layer in model.layers} == pytest.approx(chosen, rel=1e-6)
        own = {each["layer"]: each["activation_threshold"] for each in layers if each["digest"] == row["digest"]}
        assert own == pytest.approx(chosen, rel=1e-6)
        assert row["measured_latency_us"] == pytest.approx(row["predicted_latency_us"], rel=0.1)
        assert row["measured_file_bytes"] == pytest.approx(row["predicted_file_bytes"], abs=4)


def test_thresholds_lower_the_latency_at_the_same_bound(finished: tuple[Path, list[Any]], tmp_path: Path) -> None:
    codesign(analyse_compression(small_network()), SPACE, SEARCH, tmp_path)
    least = [min(read_study(each).designs["latency_us"].to_pylist()) for each in (finished[0], tmp_path)]
    assert least[0] < 0.98 * least[1]


def test_a_finished_study_with_thresholds_is_read_again(
    analysis: CompressionAnalysis, finished: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = finished
    monkeypatch.setattr("designs.codesigns.verification.Verification._measured", None)
    assert codesign(analysis, SPACE, SEARCH, folder).to_pylist() == rows
    with pytest.raises(InputError, match="another study, of which network differ"):
        codesign(analyse_compression(small_network()), SPACE, SEARCH, folder)


def test_a_threshold_counts_in_figures_and_counts_of_a_layer(analysis: CompressionAnalysis) -> None:
    problem = CodesignProblem(analysis, SPACE, Search())
    cut = {name: max(of, key=lambda each: each.choice.activation_cut).choice for name, of in options(analysis).items()}
    assert all(choice.activation_threshold for choice in cut.values())
    whole = {
        name: dataclasses.replace(each, activation_threshold=0.0, activation_cut=0.0) for name, each in cut.items()
    }
    fewest = [min(problem.enumeration(each).designs.figures["latency_us"]) for each in (cut, whole)]
    assert fewest[0] < 0.8 * fewest[1]
    for choices in (cut, whole):
        found = problem.enumeration(choices).designs
        alone = problem.predict(found.design(0), choices)
        assert alone.figures["latency_us"] == pytest.approx(float(found.figures["latency_us"][0]))
    assert analysis.predict(cut).change > analysis.predict(whole).change
    unknown = dict(cut, fc1=dataclasses.replace(cut["fc1"], activation_threshold=0.123))
    with pytest.raises(InputError, match=r"fc1: activation_threshold must be one that was analysed .*; found 0\.123"):
        analysis.predict(unknown)


def options(analysis: CompressionAnalysis) -> dict[str, Any]:
    return dict(zip(analysis.names, analysis.options.candidates, strict=True))


def test_every_compression_with_thresholds_can_be_enumerated(tmp_path: Path) -> None:
    network = dataclasses.replace(NETWORK, densities=(0.5,), weight_bits=(3,), thresholds=(0.5,))
    search = dataclasses.replace(SEARCH, exhaustive=True, trials=3, verify=1)
    codesign(network, SPACE, search, tmp_path)
    quality = read_study(tmp_path).origin["settings"]["quality"]
    assert quality["regret"]["hypervolume"] <= 1


def test_fixed_point_and_fine_tuning_keep_the_thresholds(tmp_path: Path) -> None:
    space = Space(SPACE.to_dict()["hardware"] | {"precision": ("fixed-16",)})
    network = dataclasses.replace(NETWORK, pool=np.asarray(NETWORK.pool)[:120], labels=np.asarray(NETWORK.labels)[:120])
    tuning = Distillation(network, 1)
    search = dataclasses.replace(SEARCH, trials=4, verify=2)
    rows = codesign(network, space, search, tmp_path, fine_tune=tuning).to_pylist()
    assert any(max(thresholds_of(row).values()) > 0 for row in rows)
    for row in rows:
        model = CompressedModel.load(tmp_path / "front" / f"{row['digest']}.dc")
        found = {layer.name: layer.activation_threshold for layer in model.layers}
        assert found == pytest.approx(thresholds_of(row), rel=1e-6)


def test_the_shell_asks_for_thresholds_of_any_network() -> None:
    name = "tests.small_network:small_network"
    assert open_network(name, thresholds=True).thresholds is True
    assert open_network(name).thresholds is False


@pytest.mark.parametrize("wrong", [float("nan"), 0.1, "0.1", [1.5], [0.0], (0.1, float("nan")), ["0.1"], [True], None])
def test_thresholds_that_are_no_shares_are_refused_at_once(wrong: Any) -> None:
    shown = repr(wrong[-1] if isinstance(wrong, list | tuple) else wrong)
    sentence = (
        f"thresholds must be a bool, or a list of shares of the activations to cut, .*; found {re.escape(shown)}; "
    )
    with pytest.raises(InputError, match=sentence + r"give True to try 0\.1 to 0\.9"):
        dataclasses.replace(NETWORK, thresholds=wrong)


def test_thresholds_beside_a_space_of_compressions_are_refused(analysis: CompressionAnalysis) -> None:
    space = Space({"num_pes": (1,)}, compression={"density": (0.5,), "weight_bits": (3,)})
    with pytest.raises(InputError, match="thresholds of the network have no effect on a space with compression"):
        CodesignProblem(analysis, space, SEARCH)
