"""Weights that are found in modules of all kinds, and plain copies of networks (PyTorch needed)."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as untyped_prune

from compress import CompressedModel
from compress.compression import compress
from compress.config import CompressionConfig, LayerSettings
from compress.modules import module_layers, plain_module
from compress.training.compressor import Compressor, sensitivity
from traces import InputError
from traces.arrangement import Arrangement

prune: Any = untyped_prune
HALF = CompressionConfig(LayerSettings(density=0.5, weight_bits=8), pruning_steps=1)
FINE = CompressionConfig(LayerSettings(density=1, weight_bits=8), pruning_steps=1)


def named(**layers: torch.nn.Module) -> Any:
    return torch.nn.ModuleDict(layers)


KINDS: dict[str, tuple[Any, dict[str, list[int]]]] = {
    "Linear": (lambda: torch.nn.Linear(4, 6), {"layer": [6, 4]}),
    "Conv1d": (lambda: torch.nn.Conv1d(4, 6, 3, groups=2), {"layer": [6, 6]}),
    "Conv2d": (lambda: torch.nn.Conv2d(4, 4, 3, groups=4), {"layer": [4, 9]}),
    "Conv3d": (lambda: torch.nn.Conv3d(2, 4, (1, 2, 3)), {"layer": [4, 12]}),
    "ConvTranspose1d": (lambda: torch.nn.ConvTranspose1d(4, 6, 3), {"layer": [18, 4]}),
    "ConvTranspose2d": (lambda: torch.nn.ConvTranspose2d(4, 6, (2, 3), groups=2), {"layer": [36, 2]}),
    "ConvTranspose3d": (lambda: torch.nn.ConvTranspose3d(4, 2, 2), {"layer": [16, 4]}),
    "Embedding": (lambda: torch.nn.Embedding(10, 4), {"layer": [10, 4]}),
    "EmbeddingBag": (lambda: torch.nn.EmbeddingBag(10, 4), {"layer": [10, 4]}),
    "LSTM": (
        lambda: torch.nn.LSTM(4, 6, proj_size=3),
        {"layer.weight_ih_l0": [24, 4], "layer.weight_hh_l0": [24, 3], "layer.weight_hr_l0": [3, 6]},
    ),
    "GRU": (lambda: torch.nn.GRU(4, 5), {"layer.weight_ih_l0": [15, 4], "layer.weight_hh_l0": [15, 5]}),
    "RNN": (lambda: torch.nn.RNN(4, 5, bias=False), {"layer.weight_ih_l0": [5, 4], "layer.weight_hh_l0": [5, 5]}),
    "LSTMCell": (lambda: torch.nn.LSTMCell(4, 5), {"layer.weight_ih": [20, 4], "layer.weight_hh": [20, 5]}),
    "GRUCell": (lambda: torch.nn.GRUCell(4, 5), {"layer.weight_ih": [15, 4], "layer.weight_hh": [15, 5]}),
    "RNNCell": (lambda: torch.nn.RNNCell(4, 5), {"layer.weight_ih": [5, 4], "layer.weight_hh": [5, 5]}),
    "MultiheadAttention": (
        lambda: torch.nn.MultiheadAttention(4, 2),
        {"layer.in_proj_weight": [12, 4], "layer.out_proj": [4, 4]},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_compressed_as_a_matrix_of_outputs_and_comes_back(kind: str) -> None:
    make, matrices = KINDS[kind]
    torch.manual_seed(0)
    network = named(layer=make())
    layers, _ = module_layers(network)
    assert {layer.name: list(layer.matrix.shape) for layer in layers} == matrices
    assert {layer.kind for layer in layers} <= {kind, "Linear"}
    model = compress(network, HALF)
    assert {layer.name: list(layer.codes.shape) for layer in model.layers} == matrices
    fresh = named(layer=make())
    CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
    places = dict(fresh.named_parameters())
    for layer in layers:
        kept = places[layer.names[0]].detach()
        assert int(kept.count_nonzero()) == pytest.approx(kept.numel() / 2, abs=1)
        changed = (kept - layer.weight)[kept != 0].abs().max()
        assert float(changed.detach()) < 0.02  # 255 shared weights in the right places


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_row_of_a_transposed_convolution_makes_one_output_at_one_place(dimensions: int, groups: int) -> None:
    torch.manual_seed(0)
    kind = getattr(torch.nn, f"ConvTranspose{dimensions}d")
    layer = kind(4, 6, 2, groups=groups, bias=False)
    pixel = torch.randn(1, 4, *[1] * dimensions)
    matrix = module_layers(named(layer=layer))[0][0].matrix  # [groups * out * kernel, in]
    vectors = pixel.numpy().reshape(groups, -1)
    found = np.concatenate([rows @ vector for rows, vector in zip(np.split(matrix, groups), vectors, strict=True)])
    np.testing.assert_allclose(found, layer(pixel).detach().numpy().ravel(), rtol=1e-5, atol=1e-6)


def test_a_bias_is_in_the_codebook_only_with_one_value_for_each_row() -> None:
    network = named(up=torch.nn.ConvTranspose2d(4, 3, 2), same=torch.nn.ConvTranspose2d(4, 3, 1))
    compressor = Compressor(network, HALF)
    assert compressor.left_alone == {"up.bias": "its values are not one for each of the 12 rows of the weight's matrix"}
    up, same = compressor.finalize().layers
    assert up.bias is None
    assert same.bias is not None


def test_a_weight_of_two_inputs_is_left_alone_with_the_reason() -> None:
    network = named(pair=torch.nn.Bilinear(3, 4, 5), out=torch.nn.Linear(5, 2))
    layers, left_alone = module_layers(network)
    assert [layer.name for layer in layers] == ["out"]
    assert left_alone["pair.weight"].startswith("Bilinear multiplies two inputs with each other")


def test_a_layer_alone_is_stored_under_the_names_of_its_parameters() -> None:
    for make, names in (
        (lambda: torch.nn.Linear(4, 3), ["weight"]),
        (lambda: torch.nn.LSTM(4, 3), ["weight_ih_l0", "weight_hh_l0"]),
    ):
        model = compress(make(), HALF)
        assert [layer.name for layer in model.layers] == names
        fresh = make()
        CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
        np.testing.assert_array_equal(getattr(fresh, names[0]).detach().numpy(), model.layers[0].weights())


def test_a_subclass_counts_as_its_kind() -> None:
    class Mine(torch.nn.Linear):
        pass

    model = compress(named(a=Mine(4, 4)), CompressionConfig(types={"Linear": {"weight_bits": 2}}))
    assert model.layers[0].weight_bits == 2


class InOut(torch.nn.Module):
    """Layer whose weight is [in, out], as GPT-2 has it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            torch.nn.Parameter(torch.randn(inputs, outputs)),
            torch.nn.Parameter(torch.ones(outputs)),
        )

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


class Bare(torch.nn.Module):
    """Parameters that are used without a module of their kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = InOut(4, 6)
        self.experts = torch.nn.Parameter(torch.randn(3, 6, 5))
        self.listed = torch.nn.ParameterList([torch.randn(5, 5), torch.randn(5, 5)])
        self.keyed = torch.nn.ParameterDict({"out": torch.randn(7, 5)})
        self.scale = torch.nn.Parameter(torch.ones(5))
        self.again = self.keyed["out"]

    def forward(self, x: Any) -> Any:
        hidden = torch.einsum("bi,eio->bo", self.first(x), self.experts) @ self.listed[0] @ self.listed[1] * self.scale
        return torch.nn.functional.linear(hidden, self.keyed["out"]) + torch.nn.functional.linear(hidden, self.again)


PRODUCTS: dict[str, str | tuple[str, Arrangement]] = {
    "first.weight": "Conv1D",
    "experts": ("Einsum", Arrangement((3, 6, 5), (2, 0, 1), 1)),
    "listed.0": "MatMul",
    "listed.1": "MatMul",
    "keyed.out": "Linear",
    "scale": "MatMul",
}


def test_further_parameters_are_compressed_as_the_graph_names_them() -> None:
    torch.manual_seed(0)
    network = Bare()
    compressor = Compressor(network, HALF, products=PRODUCTS)
    layers = {layer.name: layer for layer in compressor.layers}
    assert {name: list(layer.matrix.shape) for name, layer in layers.items()} == {
        "again": [7, 5],
        "experts": [5, 18],
        "first": [6, 4],
        "listed.0": [5, 5],
        "listed.1": [5, 5],
    }
    assert layers["again"].names == ("again", "keyed.out")
    assert {layer.kind for layer in layers.values()} == {"Linear", "Einsum", "Conv1D", "MatMul"}
    np.testing.assert_array_equal(layers["first"].matrix, network.first.weight.detach().numpy().T)
    assert layers["first"].bias is not None
    assert compressor.left_alone == {"scale": "not a matrix"}
    x = torch.randn(9, 4)
    model = compressor.finalize()
    fresh = Bare()
    CompressedModel.from_bytes(model.to_bytes()).load_into(fresh)
    assert fresh.again is fresh.keyed["out"]
    np.testing.assert_allclose(fresh(x).detach(), network(x).detach(), rtol=1e-4, atol=1e-4)
    plain: Any = compressor.plain_module()
    assert plain.again is plain.keyed["out"]
    assert torch.equal(plain(x), fresh(x))
    with pytest.raises(
        InputError, match=r"products names second\.weight, which is no parameter; the network has experts"
    ):
        module_layers(Bare(), products={"second.weight": "Linear"})
    with pytest.raises(InputError, match="nothing to compress"):
        module_layers(Bare())


def test_layers_to_leave_stay_as_they_are() -> None:
    def build() -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)), torch.nn.LSTM(4, 4))

    network = build()
    compressor = Compressor(network, HALF, leave=["1", "3.*"])
    model = compressor.finalize()
    assert [layer.name for layer in model.layers] == ["0", "2"]
    assert compressor.left_alone["1.weight"] == compressor.left_alone["1.bias"] == "left alone as asked"
    assert compressor.left_alone["3.weight_hh_l0"] == "left alone as asked"
    fresh = build()
    torch.nn.init.zeros_(fresh[1].weight)
    model.load_into(fresh)
    assert torch.equal(fresh[1].weight, build()[1].weight)
    assert compress(build(), HALF, leave=["1", "3.*"]).to_bytes() == model.to_bytes()
    with pytest.raises(
        InputError, match=r"leave names 9, 4\.\*, which the network does not have; it has 0, 1, 2, 3\.w"
    ):
        compress(build(), HALF, leave=["0", "9", "4.*"])
    with pytest.raises(InputError, match=r"nothing to compress: no Linear, .* that is not in leave"):
        compress(build(), HALF, leave=["*"])
    with pytest.raises(InputError, match=r"leave must be a sequence of names of layers; found the text 'fc'; write \["):
        compress(build(), HALF, leave="fc")


def old_weight_norm(layer: torch.nn.Module) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer)


def test_a_computed_buffer_becomes_a_buffer() -> None:
    network = build()
    network[0].register_buffer("shift", torch.ones(3))
    parametrize.register_parametrization(network[0], "shift", Doubled())
    plain: Any = plain_module(network)
    assert torch.equal(dict(plain.named_buffers())["0.shift"], 2 * torch.ones(3))
    np.testing.assert_array_equal(compress(network, HALF).tensors["0.shift"], [2, 2, 2])


class Doubled(torch.nn.Module):
    def forward(self, weight: Any) -> Any:
        return 2 * weight


CHANGES: dict[str, Any] = {
    "weight_norm": lambda net: old_weight_norm(net[0]),
    "weight_norm, parametrized": lambda net: parametrizations.weight_norm(net[0]),
    "spectral_norm": lambda net: torch.nn.utils.spectral_norm(net[0]),
    "spectral_norm, parametrized": lambda net: parametrizations.spectral_norm(net[0]),
    "orthogonal": lambda net: parametrizations.orthogonal(net[0]),
    "prune, one layer": lambda net: prune.l1_unstructured(net[0], "weight", 0.5),
    "prune, all": lambda net: [prune.l1_unstructured(net[place], "weight", 0.5) for place in (0, 2)],
    "prune, twice and bias": lambda net: [
        prune.l1_unstructured(net[0], "weight", 0.5),
        prune.random_unstructured(net[0], "weight", 0.5),
        prune.l1_unstructured(net[0], "bias", 0.5),
    ],
    "prune of weight_norm": lambda net: [old_weight_norm(net[0]), prune.l1_unstructured(net[0], "weight_v", 0.5)],
    "own parametrization": lambda net: parametrize.register_parametrization(net[0], "weight", Doubled()),
    "prepared": lambda net: Compressor(net, HALF).step(),
    "compressed": lambda net: Compressor(net, HALF).finalize(),
    "compressed jointly": lambda net: Compressor(net, CompressionConfig(HALF.every, sharing="joint")).finalize(),
}


def build() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("error::UserWarning")
def test_computed_weights_are_compressed_as_computed_before_and_after_a_forward_pass(change: str) -> None:
    inputs = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    for called in (False, True):
        network = build()
        CHANGES[change](network)
        if called:
            network(inputs).sum().backward()
        network.eval()
        before = network(inputs)
        plain: Any = plain_module(network)
        assert [type(part) for part in plain.modules()] == [type(part) for part in build().modules()]
        assert sorted(name for name, _ in plain.named_parameters()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
        assert all(parameter.requires_grad and parameter.is_leaf for parameter in plain.parameters())
        torch.testing.assert_close(plain(inputs), before)
        with torch.no_grad():
            plain[0].weight.zero_()
        assert torch.equal(network(inputs), before)  # independent, and the original as it was
        names = dict(network.named_parameters())
        fresh = build().eval()
        model = compress(network, FINE)
        model.load_into(fresh)
        torch.testing.assert_close(fresh(inputs), before)  # up to 255 shared weights hold all of these
        assert dict(network.named_parameters()).keys() == names.keys()
        assert all(values is names[name] for name, values in network.named_parameters())
        assert Compressor(network, FINE).finalize().to_bytes() == model.to_bytes()
        torch.testing.assert_close(network(inputs), before)


def test_weights_of_recurrent_layers_are_computed_too() -> None:
    inputs = torch.randn(3, 2, 4)
    changes: list[Any] = [
        lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", 0.5),
        lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    ]
    for change in changes:
        network: Any = named(lstm=torch.nn.LSTM(4, 3))
        change(network["lstm"])
        plain: Any = plain_module(network)
        assert [layer.name for layer in module_layers(plain)[0]] == ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]
        weight = network["lstm"].weight_hh_l0
        torch.testing.assert_close(plain["lstm"].weight_hh_l0, torch.nn.Parameter(weight.detach()))
        expected: Any = torch.nn.LSTM(4, 3)
        expected.load_state_dict(plain["lstm"].state_dict())
        torch.testing.assert_close(plain["lstm"](inputs)[0], expected(inputs)[0])
        with torch.no_grad():
            plain["lstm"].weight_hh_l0.zero_()
            expected.weight_hh_l0.zero_()
        torch.testing.assert_close(plain["lstm"](inputs)[0], expected(inputs)[0])  # no list of old weights


def test_ties_stay_where_values_are_one_and_end_where_they_are_not() -> None:
    def tied() -> Any:
        torch.manual_seed(0)
        network = named(first=torch.nn.Linear(4, 4), second=torch.nn.Linear(4, 4))
        network["second"].weight = network["first"].weight
        return network

    network = tied()
    Compressor(network, HALF).finalize()
    plain: Any = plain_module(network)
    assert plain["first"].weight is plain["second"].weight
    assert [layer.name for layer in compress(network, HALF).layers] == ["first"]

    network = tied()
    prune.l1_unstructured(network["second"], "weight", 0.5)
    plain = plain_module(network)
    assert torch.equal(plain["first"].weight, tied()["first"].weight)
    assert int(plain["second"].weight.count_nonzero()) == 8


def test_frozen_parameters_stay_frozen_when_they_become_plain() -> None:
    for change in CHANGES.values():
        network = build()
        change(network)
        network[0].requires_grad_(False)
        plain: Any = plain_module(network)
        frozen = {name: not values.requires_grad for name, values in plain.named_parameters()}
        assert frozen == {"0.bias": True, "0.weight": True, "2.bias": False, "2.weight": False}


@pytest.mark.parametrize(
    "wrap", [torch.nn.DataParallel, torch.compile, lambda net: torch.compile(torch.nn.DataParallel(net))]
)
def test_a_wrapped_network_has_the_names_of_the_plain_one(wrap: Any) -> None:
    network = build()
    expected = compress(network, HALF).to_bytes()
    assert compress(wrap(network), HALF).to_bytes() == expected
    within = torch.nn.Sequential(*build())
    within[2] = wrap(within[2])
    model = compress(within, HALF)
    assert model.to_bytes() == expected
    model.load_into(build())
    model.load_into(within)
    assert type(plain_module(within)[2]) is torch.nn.Linear  # type: ignore[index]
    assert list(sensitivity(wrap(network), lambda module: 0.0, (0.5,))) == ["0", "2"]
    assert Compressor(wrap(network), HALF).finalize().to_bytes() == expected


def test_a_container_is_not_loaded_into_computed_weights() -> None:
    model = compress(build(), HALF)
    for change, way in (("weight_norm", "weight_norm"), ("prune, all", "prune"), ("own parametrization", "Doubled")):
        network = build()
        CHANGES[change](network)
        before = copy.deepcopy(dict(network.named_parameters()))
        with pytest.raises(
            InputError,
            match=rf"the module's '0\.weight' must be a parameter; layer '0' computes it \({way}\) from others; load",
        ):
            model.load_into(network)
        assert all(torch.equal(values, before[name]) for name, values in network.named_parameters())
        model.load_into(plain_module(network))
        with pytest.raises(InputError, match=rf"the layer 0: its weight is computed \({way}\), so it is no parameter"):
            module_layers(network)


def test_a_network_of_another_type_becomes_plain_and_is_loaded_into() -> None:
    model = compress(build(), HALF)
    network = build().bfloat16()
    prune.l1_unstructured(network[0], "weight", 0.5)
    plain: Any = plain_module(network)
    model.load_into(plain)
    assert torch.equal(plain[0].weight, torch.from_numpy(model.layers[0].weights().copy()).bfloat16())


def test_what_cannot_be_copied_or_has_no_values_is_refused() -> None:
    network = build()
    network.generator = (each for each in range(3))
    with pytest.raises(
        InputError, match=r"must be one that copy\.deepcopy can copy; found TypeError: cannot pickle 'gen"
    ):
        compress(network, HALF)
    with pytest.raises(InputError, match=r"must have its shape; found 0\.weight uninitialised; run the module once"):
        compress(torch.nn.Sequential(torch.nn.LazyLinear(3)), HALF)
    network = build()
    network[0].weight = torch.nn.Parameter(network[0].weight.detach().to_sparse())
    with pytest.raises(
        InputError, match=r"must be a plain tensor; found 0\.weight of torch\.sparse_coo; make it dense"
    ):
        compress(network, HALF)


def test_a_network_that_keeps_results_of_its_last_run_is_copied() -> None:
    network = build()
    network.last = [network(torch.randn(2, 5)), {"hidden": network[0](torch.randn(2, 5))}]
    plain: Any = plain_module(network)
    assert torch.equal(plain.last[1]["hidden"], network.last[1]["hidden"])
    assert plain.last[0].grad_fn is None


def test_whatever_is_left_alone_has_its_reason() -> None:
    network: Any = named(
        attention=torch.nn.MultiheadAttention(8, 2, kdim=4, vdim=4, add_bias_kv=True),
        norm=torch.nn.BatchNorm1d(4),
        linear=torch.nn.Linear(8, 4),
        dropped=torch.nn.Linear(4, 4),
    )
    network["empty"] = torch.nn.Linear(4, 4)
    network["empty"].weight = torch.nn.Parameter(torch.zeros(4, 0))
    dropped = network["dropped"]
    dropped.raw = dropped.weight
    del dropped.weight
    dropped.weight = dropped.raw.detach() * 2  # as a layer that drops weights does
    compressor = Compressor(network)
    neither = "neither a weight that is compressed nor the bias of one"
    unknown = "its layer computes its weight in a way that is unknown here"
    assert compressor.left_alone == {
        **dict.fromkeys(("attention.in_proj_bias", "attention.bias_k", "attention.bias_v"), neither),
        **dict.fromkeys(("norm.weight", "norm.bias"), "BatchNorm1d is not compressed"),
        **dict.fromkeys(("norm.running_mean", "norm.running_var"), "a buffer"),
        "norm.num_batches_tracked": "not stored: it counts training",
        **dict.fromkeys(("dropped.raw", "dropped.bias"), unknown),
        "empty.weight": "empty",
        "empty.bias": neither,
    }
    of_layers = [
        *(name for layer in compressor.layers for name in layer.names),
        "linear.bias",
        "attention.out_proj.bias",
    ]
    every = [name for name in network.state_dict() if "parametrizations" not in name]
    assert set(every) <= {*compressor.left_alone, *of_layers}
    found = CompressedModel.from_bytes(compressor.finalize().to_bytes())
    assert found.tensors["empty.weight"].shape == (4, 0)
