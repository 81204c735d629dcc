"""Compression of networks from any source, whole: weights, tensors and graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="modules need PyTorch: install the extra [train]")
onnx: Any = pytest.importorskip("onnx", reason="graphs need onnx: install the extra [onnx]")

from compress import CompressedModel, CompressionConfig, LayerSettings, compress, plain_module, plan  # noqa: E402
from sim import ArrayConfig, NetworkSession, simulate_network  # noqa: E402
from traces import InputError, Network  # noqa: E402

HALF = CompressionConfig(LayerSettings(density=0.5, share_bias=False), pruning_steps=1)
DRAW = np.random.default_rng(3)
NARROW = ArrayConfig(num_pes=4)


class Tagger(torch.nn.Module):  # type: ignore[misc]
    """Embedding, recurrent layer, bare parameter called three times, weight_norm, tied output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(11, 6)
        self.lstm = torch.nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.turn = torch.nn.Parameter(torch.randn(10, 10) / 4)
        self.narrow = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(10, 6))
        self.out = torch.nn.Linear(6, 11, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("mask", torch.full((3,), float("-inf")))

    def forward(self, ids: Any) -> Any:
        hidden = self.lstm(self.embedding(ids))[0]
        for _ in range(3):
            hidden = torch.tanh(hidden @ self.turn)
        return self.out(torch.relu(self.narrow(hidden)))


@pytest.fixture(scope="module")
def tagger() -> tuple[Any, Any, CompressedModel]:
    module, ids = Tagger().eval(), DRAW.integers(0, 11, (4, 7))
    return module, ids, compress(module, HALF, inputs=ids)


def test_a_module_is_compressed_whole_and_carries_its_graph(tagger: Any, tmp_path: Path) -> None:
    module, ids, model = tagger
    assert {"embedding", "turn", "narrow", "lstm.weight_ih_l0", "lstm.weight_hh_l0_reverse"} <= {
        layer.name for layer in model.layers
    }
    assert dict(zip([layer.name for layer in model.layers], model.weight_names, strict=True))["embedding"] == (
        "embedding.weight",
        "out.weight",
    )
    assert model.size_report.graph > 0
    assert model.size_report.total == model.size_bytes
    model.save(tmp_path / "tagger.dc")
    result = simulate_network(tmp_path / "tagger.dc", ids, NARROW)
    assert {layer.name: layer.vectors for layer in result.layers}["turn"] == 3 * 7
    assert result.largest_difference < 1e-5
    assert result.output_difference < 1e-5
    again = plain_module(module)
    model.load_into(again)
    with torch.no_grad():
        expected = again(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(result.output, expected, rtol=1e-4, atol=1e-5)


def test_the_graph_can_be_left_out(tagger: Any) -> None:
    _, ids, model = tagger
    without = model.without_graph()
    assert without.size_report.graph == 0
    assert model.size_bytes - without.size_bytes > model.size_report.graph
    with pytest.raises(InputError, match="the container must hold the network's graph; it holds none"):
        simulate_network(without, ids, NARROW)


def test_a_container_gives_its_network_back_as_onnx(tagger: Any, tmp_path: Path) -> None:
    _, ids, model = tagger
    onnx.save(model.network.to_onnx(), tmp_path / "tagger.onnx")
    again = Network.open(tmp_path / "tagger.onnx")
    (expected,), (output,) = model.network.run(ids).values(), again.run(ids).values()
    np.testing.assert_array_equal(output, expected)
    recompressed = compress(tmp_path / "tagger.onnx", HALF)
    assert {layer.name for layer in recompressed.layers} >= {"turn", "narrow", "lstm.weight_ih_l0"}


def small_file(path: Path) -> Path:
    """Write a file of two products, a bias, and a constant that is added."""
    values = {"w": DRAW.normal(size=(6, 5)), "b": DRAW.normal(size=5), "v": DRAW.normal(size=(3, 5))}
    tensors = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()]
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("Gemm", ["r", "v"], ["y"], name="second", transB=1),
    ]
    entering = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 6])
    leaving = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
    graph = onnx.helper.make_graph(nodes, "small", [entering], [leaving], tensors)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    return path


def test_an_onnx_file_is_compressed_with_outputs_as_rows(tmp_path: Path) -> None:
    config = CompressionConfig(LayerSettings(density=1.0, weight_bits=8), types={"Linear": {"weight_bits": 6}})
    model = compress(small_file(tmp_path / "small.onnx"), config)
    assert [(layer.name, layer.rows, layer.columns, layer.weight_bits) for layer in model.layers] == [
        ("w", 5, 6, 6),
        ("v", 3, 5, 6),
    ]
    assert model.layers[0].bias is not None
    inputs = DRAW.normal(size=(4, 6)).astype(np.float32)
    result = simulate_network(model, inputs, ArrayConfig(num_pes=2, weight_bits=6))
    assert result.largest_difference < 1e-5
    np.testing.assert_allclose(result.output, model.network.run(inputs)["y"], rtol=1e-4, atol=1e-5)
    original = Network.open(tmp_path / "small.onnx").run(inputs)["y"]
    assert np.abs(result.output - original).max() < 0.2 * np.abs(original).max()


def test_layers_are_left_alone_by_name_and_run_off_the_array(tmp_path: Path) -> None:
    model = compress(small_file(tmp_path / "small.onnx"), CompressionConfig(LayerSettings(density=0.5)), leave=["v"])
    assert [layer.name for layer in model.layers] == ["w"]
    inputs = DRAW.normal(size=(2, 6)).astype(np.float32)
    result = simulate_network(model, inputs, NARROW)
    assert [layer.name for layer in result.layers] == ["w"]
    assert result.off_array["Gemm"] == (1, 3, 15)
    assert result.output_difference < 1e-5
    with pytest.raises(InputError, match="leave names absent"):
        compress(tmp_path / "small.onnx", leave=["absent"])


def test_a_weight_that_a_module_computes_is_compressed_as_computed() -> None:
    class Scaled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight, self.scale = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.rand(6, 1))

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.linear(x, self.weight * self.scale)

    inputs = DRAW.normal(size=(3, 4)).astype(np.float32)
    model = compress(Scaled(), HALF, inputs=inputs)
    (layer,) = model.layers
    assert layer.name.startswith("computed:")
    result = simulate_network(model, inputs, NARROW)
    assert result.output_difference < 1e-5
    with pytest.raises(InputError, match="the module has no parameter 'computed:"):
        model.load_into(Scaled())
    with pytest.raises(InputError, match=r"must be a module with weights of its own; it computes computed:"):
        compress(Scaled(), HALF, lambda *_: None, inputs=inputs)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("absent.onnx", "there is no such file"),
        ("absent", "must be an ONNX file, package.module:function, or a torch.nn.Module"),
        ("math:pi", "must be a function of your own or of an installed package"),
        ("tests.layers:absent", "the module has no absent"),
        ("tests.conftest:Path", "must be a function of your own"),
        (3, "must be a torch.nn.Module; found int"),
    ],
)
def test_what_is_no_network_gets_a_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compress(source, HALF)


def test_an_array_of_default_width_reads_the_widest_codes(tmp_path: Path) -> None:
    model = compress(small_file(tmp_path / "small.onnx"), CompressionConfig(LayerSettings(density=1.0, weight_bits=7)))
    inputs = DRAW.normal(size=(2, 6)).astype(np.float32)
    assert simulate_network(model, inputs).config.weight_bits == 7
    with pytest.raises(InputError, match="codes of 7 bits and the array reads weight_bits=4"):
        simulate_network(model, inputs, ArrayConfig(num_pes=2))


class NormalisedDecoder(torch.nn.Module):  # type: ignore[misc]
    """One layer of attention over a cache that grows, with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.norm = torch.nn.Embedding(30, 8), torch.nn.BatchNorm1d(8)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.queries, self.keys, self.out = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 30)

    def forward(self, token: Any, keys: Any) -> dict[str, Any]:
        x = self.norm(self.words(token).transpose(1, 2)).transpose(1, 2)
        keys = torch.cat([keys, self.keys(x)], dim=1)
        shares = (self.queries(x) @ keys.transpose(1, 2)).softmax(dim=-1)
        return {"scores": self.out(x + shares @ keys), "new_keys": keys}


@pytest.mark.parametrize("way", ["compressed", "planned", "planned, of the module"])
def test_open_lengths_stay_open_where_normalisation_is_folded(way: str) -> None:
    module = NormalisedDecoder().eval()
    example = {"token": np.array([[7]]), "keys": np.ones((1, 3, 8))}
    network = Network.open(module, example, lengths={"keys": {1: "past"}})
    draw = np.random.default_rng(0)
    if way == "compressed":
        model = compress(network, HALF)
    else:
        pool: Any = {"token": draw.integers(0, 30, (16, 1)), "keys": draw.normal(size=(16, 4, 8)).astype(np.float32)}
        made = plan(network, pool, tolerance=0.3, densities=(0.5, 1.0), weight_bits=(4,))
        model = made.apply(module if "module" in way else None)
        other = NormalisedDecoder().eval()
        other.out.weight.data.add_(1)
        with pytest.raises(InputError, match="the module must be the one that was analysed; out has other weights"):
            made.apply(other)
    decoded = NormalisedDecoder().eval()
    model.load_into(decoded)
    run = NetworkSession(model, ArrayConfig(num_pes=4, weight_bits=5), state={"keys": "new_keys"})
    keys = torch.zeros(1, 0, 8)
    for token in (7, 3, 21, 5, 6, 9):
        with torch.no_grad():
            expected, keys = decoded(torch.tensor([[token]]), keys).values()
        np.testing.assert_allclose(
            run.step(np.array([[token]])).output["scores"], expected.numpy(), rtol=1e-4, atol=1e-5
        )
