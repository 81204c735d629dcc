"""Activation thresholds through compression: settings, containers, modules, files and measurements."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="modules need PyTorch: install the extra [train]")
onnx: Any = pytest.importorskip("onnx", reason="graphs need onnx: install the extra [onnx]")

from compress import (  # noqa: E402
    CompressedModel,
    CompressionConfig,
    Compressor,
    LayerSettings,
    compress,
    measure,
    plain_module,
)
from compress.planning.watch import watch  # noqa: E402
from sim import ArrayConfig, simulate_network  # noqa: E402
from tests.commands import run_command  # noqa: E402
from traces import InputError, Network  # noqa: E402
from traces.graph.runtime import Session  # noqa: E402

SETTINGS = LayerSettings(density=0.5, share_bias=False)
INPUTS = np.random.default_rng(1).normal(size=(6, 1, 6, 6)).astype(np.float32)
LARGE = ArrayConfig(num_pes=4, weight_bits=8)


def small() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(108, 5)
    ).eval()


def hooks(module: Any) -> int:
    return sum(len(part._forward_pre_hooks) for part in module.modules())


def outputs(module: Any, inputs: Any = INPUTS) -> Any:
    with torch.no_grad():
        return module(torch.from_numpy(inputs)).numpy()


@pytest.fixture(scope="module")
def model() -> CompressedModel:
    config = CompressionConfig(
        SETTINGS, layers={"0": {"activation_threshold": 0.8}, "3": {"activation_threshold": 0.1}}
    )
    return compress(small(), config, inputs=INPUTS)


def test_every_way_to_run_a_container_applies_its_thresholds(model: CompressedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "small.dc")
    model = CompressedModel.load(tmp_path / "small.dc")
    assert [layer.activation_threshold for layer in model.layers] == [np.float32(0.8), np.float32(0.1)]
    plain = compress(small(), CompressionConfig(SETTINGS), inputs=INPUTS)
    module = small()
    plain.load_into(module)
    shrink = torch.nn.functional.hardshrink
    with torch.no_grad():
        hidden = torch.flatten(torch.tanh(module[0](shrink(torch.from_numpy(INPUTS), 0.8))), 1)
        expected = module[3](shrink(hidden, 0.1)).numpy()
    assert np.abs(outputs(module) - expected).max() > 0.01
    assert run_command("compress", "unpack", "small.dc", "small.onnx", folder=tmp_path).returncode == 0
    session = Session(onnx.load(tmp_path / "small.onnx"))
    (name,) = session.inputs
    (alone,) = session.run({name: INPUTS}).values()
    result = simulate_network(tmp_path / "small.dc", INPUTS, LARGE)
    loaded = small()
    model.load_into(loaded)
    for found in (alone, next(iter(model.network.run(INPUTS).values())), result.output, outputs(loaded)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert result.largest_difference < 1e-6
    for original in (small(), Network.open(small(), INPUTS)):
        error = measure(model, original, INPUTS).outputs["output"].relative_error
        wanted = np.linalg.norm(expected - outputs(small()), axis=1) / np.linalg.norm(outputs(small()), axis=1)
        assert error == pytest.approx(wanted.mean(), rel=1e-4)


def test_an_exported_network_is_compressed_again_with_its_thresholds(model: CompressedModel, tmp_path: Path) -> None:
    onnx.save(model.network.to_onnx(), tmp_path / "small.onnx")
    again = compress(tmp_path / "small.onnx", CompressionConfig(LayerSettings(density=1.0, weight_bits=8)))
    assert [layer.activation_threshold for layer in again.layers] == [np.float32(0.8), np.float32(0.1)]
    assert [each.op_type for each in again.network.graph.graph.node].count("Shrink") == 2
    found = simulate_network(again, INPUTS, LARGE)
    np.testing.assert_allclose(found.output, next(iter(model.network.run(INPUTS).values())), rtol=1e-3, atol=1e-3)
    error = measure(again, tmp_path / "small.onnx", INPUTS).outputs["output"].relative_error
    assert error is not None
    assert error < 1e-3


def test_loading_again_replaces_the_hooks(model: CompressedModel) -> None:
    module = small()
    for _ in range(2):
        model.load_into(module)
        assert hooks(module) == 2
    copied = copy.deepcopy(torch.nn.DataParallel(module))
    np.testing.assert_array_equal(outputs(copied), outputs(module))
    model.load_into(copied)
    assert hooks(copied) == 2
    higher = model.with_thresholds({"0": 2.0})
    higher.load_into(copied)
    assert np.abs(outputs(copied) - outputs(module)).max() > 0.01
    without = model.with_thresholds({"0": 0.0, "3": 0.0})
    for each in (module, copied):
        without.load_into(each)
        assert hooks(each) == 0
    np.testing.assert_array_equal(outputs(copied), outputs(module))
    with torch.no_grad():
        model.load_into(module)
        entering = torch.from_numpy(INPUTS)
        np.testing.assert_array_equal(module[0](input=entering).numpy(), module[0](entering).numpy())


@pytest.mark.parametrize("inputs", [None, INPUTS])
def test_a_module_with_thresholds_is_compressed_with_them(model: CompressedModel, inputs: Any) -> None:
    module = small()
    model.load_into(module)
    config = CompressionConfig(LayerSettings(density=1.0, weight_bits=8, share_bias=False))
    again = compress(module, config, inputs=inputs)
    trained = compress(module, config, lambda copied, stage: None, inputs=inputs)
    for found in (again, trained):
        assert [layer.activation_threshold for layer in found.layers] == [np.float32(0.8), np.float32(0.1)]
        loaded = small()
        found.load_into(loaded)
        np.testing.assert_allclose(outputs(loaded), outputs(module), rtol=1e-5, atol=1e-6)
    if inputs is not None:
        network = Network.open(module, inputs)
        assert "Abs" not in network.off_array
        assert network.thresholds == {"0.weight": np.float32(0.8), "3.weight": np.float32(0.1)}
        np.testing.assert_allclose(next(iter(network.run(inputs).values())), outputs(module), rtol=1e-5, atol=1e-6)


def test_hooks_compare_values_of_half_precision_in_full_precision() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    config = CompressionConfig(LayerSettings(density=1.0, activation_threshold=0.09997))
    compress(module, config).load_into(module)
    module.half()
    tenth = torch.tensor([[0.1, 0.0999]], dtype=torch.float16)  # 0.099976, what the threshold is in float16
    expected = torch.tensor([[0.1, 0.0]], dtype=torch.float16) @ module[0].weight.T
    with torch.no_grad():
        assert torch.equal(module(tenth), expected)


class Bare(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turn = torch.nn.Parameter(torch.randn(4, 4))
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.table = torch.nn.Embedding(4, 4)
        self.out = torch.nn.Linear(4, 4)
        self.out.weight = self.table.weight

    def forward(self, x: Any) -> Any:
        return self.out(self.attention(x, x, x, need_weights=False)[0] @ self.turn + self.table.weight[:1])


@pytest.mark.parametrize("name", ["turn", "attention.out_proj", "attention.in_proj_weight"])
def test_weights_of_other_owners_have_thresholds_in_the_graph_and_are_refused_in_a_module(name: str) -> None:
    module, inputs = Bare().eval(), np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    found = compress(
        module, CompressionConfig(LayerSettings(0.9), layers={name: {"activation_threshold": 0.2}}), inputs=inputs
    )
    assert "Shrink" in {each.op_type for each in found.network.graph.graph.node}
    result = simulate_network(found, inputs, LARGE)
    assert result.largest_difference < 1e-5
    before = {key: values.clone() for key, values in module.state_dict().items()}
    with pytest.raises(InputError, match="an activation threshold must be that of a linear or convolutional layer"):
        found.load_into(module)
    assert all(torch.equal(values, before[key]) for key, values in module.state_dict().items())


def test_a_tied_table_has_its_threshold_where_it_is_multiplied() -> None:
    module, inputs = Bare().eval(), np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    config = CompressionConfig(LayerSettings(0.9), layers={"table": {"activation_threshold": 0.3}})
    found = compress(module, config, inputs=inputs)
    loaded = plain_module(module)
    found.load_into(loaded)
    assert [name for name, part in loaded.named_modules() if part._forward_pre_hooks] == ["out"]
    expected = simulate_network(found, inputs, LARGE).output
    np.testing.assert_allclose(outputs(loaded, inputs), expected, rtol=1e-4, atol=1e-5)


class Functional(torch.nn.Module):  # type: ignore[misc]
    """Layers of which one is called and multiplied elsewhere, one is multiplied elsewhere only, and one is called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.both, self.never, self.out = (torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Any) -> Any:
        linear = torch.nn.functional.linear
        hidden = torch.tanh(linear(torch.tanh(self.both(x)), self.both.weight))
        return self.out(linear(hidden, self.never.weight, self.never.bias).sin() * 3)


class TiedHead(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(9, 4)
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, ids: Any) -> Any:
        return torch.nn.functional.linear(torch.tanh(self.layer(self.table(ids))), self.table.weight)


class Normalised(torch.nn.Module):  # type: ignore[misc]
    """Convolution that is multiplied outside of its calls without its bias, after a normalisation; a layer is spare."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.conv = torch.nn.Conv1d(4, 4, 1), torch.nn.Conv1d(4, 4, 1)
        self.norm, self.spare = torch.nn.BatchNorm1d(4), torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.norm.running_mean.normal_()

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.conv1d(self.norm(self.first(x[..., None])), self.conv.weight)


VECTORS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
IDS = np.random.default_rng(0).integers(0, 9, (40, 3))


@pytest.mark.parametrize(
    ("kind", "name", "inputs"),
    [
        (Functional, "both", VECTORS),
        (Functional, "never", VECTORS),
        (TiedHead, "table", IDS),
        (Normalised, "conv", VECTORS),
    ],
)
def test_a_product_outside_of_its_layer_has_its_threshold_in_the_graph_only(kind: Any, name: str, inputs: Any) -> None:
    module = kind().eval()
    config = CompressionConfig(LayerSettings(0.9), layers={name: {"activation_threshold": 0.4}})
    found = compress(module, config, inputs=inputs)
    with pytest.raises(InputError, match=f"'{name}.weight' has a product outside a call of its layer"):
        found.load_into(kind())
    original, after = outputs(module, inputs), next(iter(found.network.run(inputs).values()))
    changes = np.linalg.norm((after - original).reshape(len(original), -1), axis=1)
    expected = (changes / np.linalg.norm(original.reshape(len(original), -1), axis=1)).mean()
    for network in (module, Network.open(module, inputs)):
        measured = measure(found, network, inputs).outputs
        assert [each.relative_error for each in measured.values()] == [pytest.approx(expected, rel=1e-4)]
    found.with_thresholds({name: 0.0}).load_into(kind())


OUTSIDE = "a module applies an activation threshold in calls of the layer only; found its weight in"


@pytest.mark.parametrize("name", ["both", "never"])
@pytest.mark.parametrize("run", ["measure", "watch"])
def test_a_module_that_uses_a_weight_outside_of_its_layer_is_noticed_when_it_runs(name: str, run: str) -> None:
    module = Functional().eval()
    config = CompressionConfig(LayerSettings(0.9), layers={name: {"activation_threshold": 0.4}})
    graph = compress(module, config, inputs=VECTORS)
    onnx_file = compress(
        Network.open(Network.open(module, VECTORS).to_onnx()), config
    )  # which does not know of modules
    runs: dict[str, Any] = {
        "measure": lambda model: measure(model, module, VECTORS),
        "watch": lambda model: watch(module, model, VECTORS, 0.1, loss="relative-error"),
    }
    for model in (graph.without_graph(), onnx_file):
        model.load_into(Functional())
        with pytest.raises(InputError, match=f"'{name}': {OUTSIDE} linear, outside of them; compress .* with inputs"):
            runs[run](model)
    called = CompressionConfig(LayerSettings(0.9), layers={"out": {"activation_threshold": 0.4}})
    changes = [
        measure(each, module, VECTORS).outputs["output"].relative_error
        for each in (compress(module, called), compress(module, called, inputs=VECTORS))
    ]
    assert changes[0] == pytest.approx(changes[1], rel=1e-4)


class Gated(torch.nn.Module):  # type: ignore[misc]
    """Layers of which one is not called, and of one of which the type and shape are read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.expert, self.out = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        hidden = self.out(x.to(self.out.weight.dtype).reshape(-1, self.out.weight.shape[1]))
        return self.expert(hidden) if hidden.sum() > 1e6 else hidden


def test_a_layer_that_no_input_reaches_keeps_its_threshold() -> None:
    model = compress(Gated(), CompressionConfig(LayerSettings(0.9, activation_threshold=0.3)))
    plain = compress(Gated(), CompressionConfig(LayerSettings(0.9)))
    loaded = Gated()
    plain.load_into(loaded)
    expected = outputs(loaded, np.where(np.abs(VECTORS) > 0.3, VECTORS, 0))
    original = outputs(Gated(), VECTORS)
    error = (np.linalg.norm(expected - original, axis=1) / np.linalg.norm(original, axis=1)).mean()
    assert measure(model, Gated(), VECTORS).outputs["output"].relative_error == pytest.approx(error, rel=1e-4)


class TiedLayers(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Any) -> Any:
        return self.b(torch.tanh(self.a(x)))


def test_layers_of_one_weight_have_its_threshold_under_each_of_their_names() -> None:
    module = TiedLayers().eval()
    config = CompressionConfig(LayerSettings(0.9, activation_threshold=0.4))
    found = compress(Network.open(Network.open(module, VECTORS).to_onnx()), config)
    assert len(found.weight_names[0]) == 1
    found.load_into(module)
    np.testing.assert_allclose(
        outputs(module, VECTORS), next(iter(found.network.run(VECTORS).values())), rtol=1e-5, atol=1e-6
    )


class OwnShrink(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.own, self.out, self.spare = (torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Any) -> Any:
        return self.out(torch.tanh(self.own(torch.nn.functional.hardshrink(x, 0.3))))


def test_a_threshold_below_that_of_the_network_itself_is_refused() -> None:
    nodes = [
        onnx.helper.make_node("Shrink", ["x"], ["kept"], lambd=0.3),
        onnx.helper.make_node("Gemm", ["kept", "own.weight"], ["y"], transB=1),
    ]
    values = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    sides = [onnx.helper.make_tensor_value_info(name, 1, ["n", 4]) for name in "xy"]
    made = onnx.helper.make_graph(
        nodes, "g", sides[:1], sides[1:], [onnx.numpy_helper.from_array(values, "own.weight")]
    )
    network = Network.open(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    model = compress(network, CompressionConfig(LayerSettings(0.9)))
    for each in (model, model.without_graph().with_thresholds({"own": 0}).with_graph(network.graph_bytes())):
        assert [layer.activation_threshold for layer in each.layers] == [np.float32(0.3)]
    for lower in (0, 0.2):
        with pytest.raises(InputError, match=f"activation_threshold={lower} of 'own' must be at least 0.3, since the"):
            model.with_thresholds({"own": lower})
    assert model.with_thresholds({"own": 0.3}).to_bytes() == model.to_bytes()
    raised = model.with_thresholds({"own": 0.9})
    (layer,) = simulate_network(raised, VECTORS, LARGE).layers
    kept = np.abs(VECTORS) > 0.9
    assert layer.broadcasts.sum() == kept.sum()
    np.testing.assert_allclose(
        raised.network.run(VECTORS)["y"], (kept * VECTORS) @ model.layers[0].weights().T, rtol=1e-4, atol=1e-5
    )
    with pytest.raises(InputError, match="activation_threshold must be that of a layer, own; found 'other'"):
        model.with_thresholds({"other": 0.5})


def test_a_named_layer_that_the_network_does_not_call_takes_no_threshold() -> None:
    every = LayerSettings(0.9, activation_threshold=0.2)
    found = compress(OwnShrink(), CompressionConfig(every), inputs=VECTORS)
    assert {layer.name: layer.activation_threshold > 0 for layer in found.layers}["spare"] is False
    named = CompressionConfig(LayerSettings(0.9), layers={"spare": {"activation_threshold": 0.2}})
    with pytest.raises(
        InputError, match="'spare': activation_threshold has no effect, since the network does not call"
    ):
        compress(OwnShrink(), named, inputs=VECTORS)


def test_without_a_graph_a_table_takes_no_threshold() -> None:
    config = CompressionConfig(LayerSettings(0.9), layers={"table": {"activation_threshold": 0.4}})
    graph = compress(TiedHead(), config, inputs=IDS)
    with pytest.raises(InputError, match=r"an activation threshold must be .* found Embedding"):
        graph.without_graph().load_into(TiedHead())


class Recurrent(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(5, 3)
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, ids: Any) -> Any:
        return self.out(self.lstm(self.table(ids))[0])


@pytest.mark.parametrize("inputs", [None, np.arange(15).reshape(3, 5) % 5])
def test_recurrent_layers_and_tables_take_no_threshold(inputs: Any) -> None:
    thresholds = {"activation_threshold": 0.1}
    every = LayerSettings(0.9, activation_threshold=0.1)
    with pytest.raises(InputError, match=r"layer 'lstm.weight_ih_l0': activation_threshold must be 0 for a recurrent"):
        compress(Recurrent(), CompressionConfig(every), inputs=inputs)
    tables: tuple[dict[str, Any], ...] = ({"layers": {"table": thresholds}}, {"types": {"Embedding": thresholds}})
    for where in tables:
        with pytest.raises(InputError, match="layer 'table': activation_threshold has no effect on a table"):
            compress(Recurrent(), CompressionConfig(LayerSettings(0.9), **where), inputs=inputs)
    found = compress(
        Recurrent(), CompressionConfig(every, types={"LSTM": {"activation_threshold": 0.0}}), inputs=inputs
    )
    assert {layer.name for layer in found.layers if layer.activation_threshold} == {"out"}
    if inputs is not None:
        found.load_into(Recurrent())
        assert simulate_network(found, inputs, LARGE).largest_difference < 1e-5
        with pytest.raises(InputError, match="a recurrent layer has two inputs, its sequence and its state"):
            _ = found.with_thresholds({"lstm.weight_ih_l0": 0.1}).network


def test_training_with_thresholds_is_refused() -> None:
    config = CompressionConfig(LayerSettings(0.9, activation_threshold=0.1))
    with pytest.raises(InputError, match="activation_threshold must be 0 where a network is trained"):
        compress(small(), config, lambda module, stage: None)
    compressor = Compressor(small(), config)
    with pytest.raises(InputError, match="activation_threshold must be 0 where a network is trained"):
        compressor.step()
    assert hooks(compressor.plain_module()) == 2


def test_settings_and_the_command_line_take_thresholds(tmp_path: Path) -> None:
    for bad in (-0.1, float("nan"), 1e39, "0.1", True):
        with pytest.raises(InputError, match="activation_threshold"):
            LayerSettings(activation_threshold=bad)  # type: ignore[arg-type]
    config = CompressionConfig(LayerSettings(activation_threshold=0.25), layers={"3": {"activation_threshold": 1}})
    assert CompressionConfig.from_json(config.to_json()) == config
    assert CompressionConfig.from_toml(config.to_toml()) == config
    np.savez(tmp_path / "small.npz", **{name: values.numpy() for name, values in small().state_dict().items()})

    def done(*arguments: str) -> str:
        ended = run_command("compress", *arguments, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    done("pack", "small.npz", "small.dc", "--activation-threshold", "0.5")
    assert {layer.activation_threshold for layer in CompressedModel.load(tmp_path / "small.dc").layers} == {0.5}
    done("pack", "small.npz", "several.dc", "--activation-threshold", "0.5", "--codebooks", "pe", "--num-pes", "3")
    for name, columns in (("small.dc", ["bits", "threshold", "codes"]), ("several.dc", ["codebooks", "threshold"])):
        heading, *rows = [
            line.split("|") for line in done("show", name).replace("│", "|").replace("┃", "|").split("\n")
        ]
        shown = [[cell.strip() for cell in row] for row in (heading, *rows)]
        headings = next(row for row in shown if "threshold" in row)
        place = headings.index(columns[0])
        assert headings[place : place + len(columns)] == columns
        of_layers = [row[headings.index("threshold")] for row in shown if row[1:2] in (["0"], ["3"])]
        assert of_layers == ["0.5", "0.5"]
    assert "weights.npz has no activation thresholds; an .onnx file" in done("unpack", "small.dc", "weights.npz")
    done("export", "small.dc", "small.safetensors")
    done("import", "small.safetensors", "again.dc")
    assert (tmp_path / "again.dc").read_bytes() == (tmp_path / "small.dc").read_bytes()
