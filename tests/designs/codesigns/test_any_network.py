"""Co-design of networks of any kind, from a module, a function or an ONNX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")

import onnx
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, compress
from designs import Distillation, Search, Space, Target, TrainedNetwork, codesign, fleet
from designs.codesigns.columns import FRONT_COLUMNS, FRONT_FILE
from designs.codesigns.compressions import analyse_compression
from designs.codesigns.folder import read_study
from designs.results import read_results
from reports.codesign.report import write_codesign_report
from sim import ArrayConfig, simulate_network
from tests.commands import run_command
from traces import InputError
from traces.arrays import Numbers

SPACE = Space({"num_pes": (2, 4), "queue_slots": (2, 8), "weight_bits": (3, 4)})
SMALL = Search(trials=8, verify=2)
CHOICES: dict[str, Any] = {"densities": (0.8, 0.5, 0.3), "weight_bits": (2, 3, 4)}


class Tagger(torch.nn.Module):
    """Embedding, recurrent layer and a class for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(20, 8)
        self.lstm = torch.nn.LSTM(8, 12, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(24, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.table(tokens))[0])  # type: ignore[no-any-return]


class TwoOutputs(torch.nn.Module):
    """Network with two inputs and two outputs, none of them classes."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.conv = torch.nn.GRU(6, 8, batch_first=True), torch.nn.Conv1d(4, 8, 3, groups=4)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, steps: torch.Tensor, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.gru(steps)[0]
        return self.head(torch.cat([states[:, -1], self.conv(wave).mean(2)], 1)), states


def tagger() -> torch.nn.Module:
    torch.manual_seed(0)
    return Tagger().eval()


def tokens_and_tags() -> tuple[Numbers, Numbers]:
    tokens: Numbers = np.random.default_rng(0).integers(0, 20, (60, 7))
    with torch.no_grad():
        return tokens, tagger()(torch.from_numpy(tokens)).argmax(2).numpy()


def save_onnx(path: Path, nodes: list[Any], values: dict[str, Numbers], inputs: list[Any], outputs: list[Any]) -> None:
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        path.stem,
        [onnx.helper.make_tensor_value_info("x", kind, ["n", *inputs])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", *outputs])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), str(path))


def save_autoencoder(path: Path) -> None:
    draw, node = np.random.default_rng(0), onnx.helper.make_node
    nodes = [
        node("MatMul", ["x", "first"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Gemm", ["b", "second", "bias"], ["y"], transB=1),
    ]
    values = {"first": draw.normal(size=(16, 10)), "second": draw.normal(size=(16, 10)), "bias": draw.normal(size=16)}
    save_onnx(path, nodes, values, [16], [16])


def save_classifier(path: Path) -> None:
    draw, node = np.random.default_rng(0), onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "spread"], ["a"], group=3, pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "mix", "mix_bias"], ["c"], dilations=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["c"], ["d"]),
        node("Flatten", ["d"], ["e"]),
        node("Gemm", ["e", "head"], ["f"], transB=1),
        node("Softmax", ["f"], ["y"], axis=1),
    ]
    values = {
        "spread": draw.normal(size=(6, 1, 3, 3)),
        "mix": draw.normal(size=(8, 6, 3, 3)),
        "mix_bias": draw.normal(size=8),
        "head": draw.normal(size=(5, 8)),
    }
    save_onnx(path, nodes, values, [3, 9, 9], [5])


def check_front(
    table: pa.Table, folder: Path, inputs: Any, within: float = 0.2, bytes_off: int = 8
) -> list[dict[str, Any]]:
    """Check that containers hold the whole networks, which cost what the table says."""
    rows: list[dict[str, Any]] = table.to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert row["output_difference"] < 1e-4
        assert row["measured_latency_us"] == pytest.approx(row["predicted_latency_us"], rel=within)
        assert row["measured_energy_nj"] == pytest.approx(row["predicted_energy_nj"], rel=within)
        path = folder / "front" / f"{row['digest']}.dc"
        assert row["measured_file_bytes"] == path.stat().st_size
        assert row["predicted_file_bytes"] == pytest.approx(path.stat().st_size, abs=bytes_off)
        array = ArrayConfig(**{field.name: row[field.name] for field in dataclasses.fields(ArrayConfig)})
        whole = simulate_network(path, inputs, array)
        assert row["measured_latency_us"] == pytest.approx(whole.latency_us.mean())
        assert row["measured_energy_nj"] == pytest.approx(whole.energy_nj.mean())
    return rows


def test_an_onnx_autoencoder_loses_what_its_outputs_change(tmp_path: Path) -> None:
    save_autoencoder(tmp_path / "auto.onnx")
    pool = np.random.default_rng(1).normal(size=(60, 16)).astype(np.float32)
    network = TrainedNetwork("auto", str(tmp_path / "auto.onnx"), pool, **CHOICES)
    table = codesign(network, SPACE, SMALL, tmp_path / "out")
    for row in check_front(table, tmp_path / "out", pool[:16]):
        changed = CompressedModel.load(tmp_path / "out" / "front" / f"{row['digest']}.dc").network.run(pool)["y"]
        right = network.graph.run(pool)["y"]
        errors = np.linalg.norm(changed - right, axis=1) / np.linalg.norm(right, axis=1)
        assert row["measured_output_error"] == pytest.approx(errors.mean(), rel=1e-4)
        assert row["measured_accuracy_loss"] is None
        assert np.isnan(row["accuracy"])
    origin = read_results(tmp_path / "out" / FRONT_FILE, FRONT_COLUMNS)[1]["settings"]["network"]
    assert origin["loss"] == "relative-error"
    assert origin["output_error"].endswith(
        "since there are no labels, and the output has the shape of an input, as no classes have"
    )
    assert origin["layers"] == {"first": ["Linear", 1.0], "second": ["Linear", 1.0]}
    assert origin["off_array"] == {"Relu": [1, 10, 0]}


def test_an_onnx_network_with_softmax_loses_answers_and_its_page_lists_all_layers(tmp_path: Path) -> None:
    save_classifier(tmp_path / "cnn.onnx")
    pool = np.random.default_rng(1).normal(size=(60, 3, 9, 9)).astype(np.float32)
    network = TrainedNetwork("cnn", str(tmp_path / "cnn.onnx"), pool, **CHOICES)
    table = codesign(network, SPACE, SMALL, tmp_path / "out")
    answers = network.graph.run(pool)["y"].argmax(axis=1)
    for row in check_front(table, tmp_path / "out", pool[:16]):
        changed = CompressedModel.load(tmp_path / "out" / "front" / f"{row['digest']}.dc").network.run(pool)["y"]
        assert row["measured_accuracy_loss"] == pytest.approx((changed.argmax(axis=1) != answers).mean())
        assert row["measured_output_error"] is None
    pytest.importorskip("altair", reason="needs the extra 'report'")
    study = read_study(tmp_path / "out")
    assert study.layers is not None
    assert [row["kind"] for row in study.layers.to_pylist()][:3] == ["Conv2d", "Conv2d", "Linear"]
    page = write_codesign_report(tmp_path / "out")[0].read_text()
    assert "Computed off the array, per input" in page
    assert "GlobalAveragePool" in page
    assert "share of answers that change, since there are no labels" in page
    assert "Conv2d, 243 vectors per input" in page


def test_layers_have_the_thresholds_of_the_network_and_what_a_compact_one_leaves_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = torch.nn.Linear(12, 16)
    module = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    with torch.no_grad():
        first.weight[:, :2] = 0
    pool = np.random.default_rng(1).normal(size=(60, 12)).astype(np.float32)
    settings = LayerSettings(0.8, 4, share_bias=False, activation_threshold=0.3)
    compact = compress(module, CompressionConfig(settings), inputs=pool[:2]).compacted(pool[:2])
    network = TrainedNetwork("compact", compact.network, pool, **CHOICES)
    search = Search(("output_error", "latency_us"), trials=4, verify=2, loss="kl")
    table = codesign(network, SPACE, search, tmp_path)
    layers = read_study(tmp_path).layers
    assert layers is not None
    stored = {(row["digest"], row["layer"]): row for row in layers.to_pylist()}
    for design in table.to_pylist():
        array = ArrayConfig(**{field.name: design[field.name] for field in dataclasses.fields(ArrayConfig)})
        result = simulate_network(tmp_path / "front" / f"{design['digest']}.dc", pool[:16], array)
        for layer, name in zip(result.layers, ("0", "2"), strict=True):
            row = stored[design["digest"], name]
            assert row["activation_threshold"] == layer.activation_threshold == np.float32(0.3)
            assert row["broadcast_share"] == pytest.approx(layer.activation_density)
            assert 0 < row["broadcast_share"] < 1
            assert (row["rows_left_out"], row["columns_left_out"]) == layer.left_out
        assert stored[design["digest"], "0"]["columns_left_out"] == 2


def test_a_tagger_loses_right_tags_and_a_fleet_and_fine_tuning_take_it(tmp_path: Path) -> None:
    tokens, tags = tokens_and_tags()
    network = TrainedNetwork("tagger", tagger(), tokens, tags, **CHOICES)
    analysis = analyse_compression(network)
    assert analysis.array_cost.kind("table") == "look-up"
    assert analysis.array_cost.vectors_per_input("lstm.weight_hh_l0") == 7
    table = codesign(analysis, SPACE, SMALL, tmp_path / "out", fine_tune=Distillation(network, 1))
    for row in check_front(table, tmp_path / "out", tokens[:16], bytes_off=24):
        changed = CompressedModel.load(tmp_path / "out" / "front" / f"{row['digest']}.dc").network.run(tokens)
        (scores,) = changed.values()
        assert row["accuracy"] == pytest.approx((scores.argmax(axis=2) == tags).mean())
        assert row["measured_accuracy_loss"] == pytest.approx(1 - row["accuracy"])
    (target,) = fleet(
        analysis, (Target("watch", max_accuracy_loss=0.05),), SPACE, Search(trials=4), tmp_path / "fleet"
    ).to_pylist()
    assert target["keeps_budget"]


def test_two_inputs_and_two_outputs_have_one_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    pool = tuple(draw.normal(size=(40, *shape)).astype(np.float32) for shape in ((5, 6), (4, 9)))
    network = TrainedNetwork("two", TwoOutputs().eval(), pool, **CHOICES)
    table = codesign(network, SPACE, SMALL, tmp_path, fine_tune=Distillation(network, 1))
    rows = check_front(table, tmp_path, tuple(each[:16] for each in pool))
    assert all(0 < row["measured_output_error"] < 1 for row in rows)


def test_layers_left_alone_keep_their_weights_run_off_the_array_and_are_listed(tmp_path: Path) -> None:
    tokens, tags = tokens_and_tags()
    network = TrainedNetwork("tagger", tagger(), tokens, tags, **CHOICES, leave=("head",))
    for fine_tune in (None, Distillation(network, 1)):
        folder = tmp_path / str(fine_tune)
        table = codesign(network, SPACE, SMALL, folder, fine_tune=fine_tune)
        for row in check_front(table, folder, tokens[:16], bytes_off=12, within=0.5):  # embeddings become sparse
            model = CompressedModel.load(folder / "front" / f"{row['digest']}.dc")
            assert {layer.name.partition(".")[0] for layer in model.layers} == {"table", "lstm"}
            head = tagger().state_dict()["head.weight"].numpy()
            assert model.tensors["head.weight"] == pytest.approx(head, abs=1e-3 if fine_tune is None else 0.1)
            simulated = simulate_network(model, tokens[:2], ArrayConfig())
            origin = read_results(folder / FRONT_FILE, FRONT_COLUMNS)[1]["settings"]["network"]
            assert {name: list(each) for name, each in simulated.off_array.items()} == origin["off_array"]
            assert sorted(origin["left_alone"]) == ["head.bias", "head.weight"]
            assert origin["off_array"]["MatMul"][2] == 7 * 24 * 4


def test_a_recurrent_layer_of_which_one_matrix_is_left_alone_costs_nothing_on_the_array() -> None:
    tokens, tags = tokens_and_tags()
    both = analyse_compression(TrainedNetwork("tagger", tagger(), tokens, tags, **CHOICES)).array_cost
    network = TrainedNetwork("tagger", tagger(), tokens, tags, **CHOICES, leave=("lstm.weight_ih_l0",))
    one = analyse_compression(network).array_cost
    for name in ("lstm.weight_hh_l0", "lstm.weight_hh_l0_reverse"):
        assert (both.kind(name), one.kind(name)) == ("LSTM", "off the array")
        assert (both.vectors_per_input(name), one.vectors_per_input(name)) == (7, 0)
    assert one.vectors_per_input("head") == 7


def test_a_layer_to_leave_alone_must_be_in_the_network() -> None:
    tokens, tags = tokens_and_tags()
    with pytest.raises(InputError, match=r"leave names tail, which the network does not have; it has table, lstm\."):
        analyse_compression(TrainedNetwork("tagger", tagger(), tokens, tags, leave=("head", "tail")))


def test_the_shell_takes_an_onnx_file_and_a_function_with_inputs(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("[hardware]\nnum_pes = [2, 4]\n")
    save_autoencoder(tmp_path / "auto.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(30, 16)).astype(np.float32))
    tokens, tags = tokens_and_tags()
    np.save(tmp_path / "tokens.npy", tokens)
    np.save(tmp_path / "tags.npy", tags)
    trials = ["--trials", "3", "--verify", "1"]
    auto = ["designs", "codesign", "space.toml", "--network", "auto.onnx", "--inputs", "x.npy", *trials]
    done = run_command(*auto, "--out", "auto", folder=tmp_path)
    assert (
        "output_error is the mean length of the outputs' change, relative to the outputs' length, since" in done.stdout
    )
    left = run_command(*auto, "--leave", "sec*", "--out", "left", folder=tmp_path)
    assert "Left alone, off the array: second." in left.stdout, left.stderr
    again = run_command("designs", "front", "left", "--objectives", "latency_us", folder=tmp_path)
    assert "Left alone, off the array: second." in again.stdout
    refused = run_command(*auto, "--bounds", "accuracy_loss", "0.1", "--out", "no", folder=tmp_path)
    assert "error: accuracy_loss is not measured for this network, but output_error: mean length of" in refused.stderr
    shown = run_command("designs", "front", "auto", "--objectives", "accuracy_loss", "latency_us", folder=tmp_path)
    assert "error: the loss of this co-design is output_error, the mean length of" in shown.stderr
    tagged = ["--network", "tests.designs.codesigns.test_any_network:tagger", "--inputs", "tokens.npy"]
    command = ["designs", "codesign", "space.toml", *tagged, "--labels", "tags.npy", *trials, "--out", "tags"]
    done = run_command(*command, folder=tmp_path)
    assert "accuracy_loss is the share of right answers that is lost, since there are labels." in done.stdout, (
        done.stderr
    )
