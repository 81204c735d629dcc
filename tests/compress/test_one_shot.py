"""Compression of given weights in one step: which are weights, their biases and ties, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress import CompressedModel, CompressionConfig, LayerSettings, compress_parameters
from compress.weight_files.parameters import NamedParameters
from traces import InputError

HALF = CompressionConfig(LayerSettings(density=0.5))
ALL = CompressionConfig(LayerSettings(density=1.0, weight_bits=8))


def numbers(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("fc.weight", "fc"),
        ("weight", "weight"),
        ("lstm.weight_ih_l0", "lstm.weight_ih_l0"),
        ("lstm.weight_hh_l1_reverse", "lstm.weight_hh_l1_reverse"),
        ("cell.weight_ih", "cell.weight_ih"),
        ("attention.in_proj_weight", "attention.in_proj_weight"),
        ("größe.weight", "größe"),
    ],
)
def test_what_is_named_as_a_weight_is_compressed_with_its_bias(name: str, layer: str) -> None:
    bias = name.replace("weight", "bias")
    model, left_alone = compress_parameters({name: numbers(12, 5), bias: numbers(12), "fc.scale": numbers(12)}, HALF)
    assert [each.name for each in model.layers] == [layer]
    assert (model.weight_names, model.bias_names) == (((name,),), (bias,))
    assert model.layers[0].bias is not None
    assert list(left_alone) == ["fc.scale"]
    assert CompressedModel.from_bytes(model.to_bytes()).state().keys() == {name, bias, "fc.scale"}


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("norm.weight", numbers(3), "fewer than two dimensions"),
        ("position", numbers(1, 9, 3), "not named as a weight is"),
        ("q.weight", np.ones((3, 3), np.int8), "int8 values, no weights"),
        ("none.weight", numbers(0, 3), "shape [0, 3]: empty"),
        ("fc2.parametrizations.weight.original0", numbers(3, 1), "part of a computed weight; make it plain first"),
        ("fc2.weight_v", numbers(3, 4), "part of a computed weight"),
        ("fc2.weight_orig", numbers(3, 4), "part of a computed weight"),
    ],
)
def test_what_is_no_weight_is_stored_as_it_is_with_the_reason(name: str, values: Any, reason: str) -> None:
    model, left_alone = compress_parameters({"fc.weight": numbers(4, 6), name: values}, HALF)
    assert [layer.name for layer in model.layers] == ["fc"]
    assert left_alone.keys() == {name}
    assert left_alone[name].startswith(reason)
    np.testing.assert_array_equal(CompressedModel.from_bytes(model.to_bytes()).state()[name], values)


def test_what_a_container_cannot_hold_is_left_out_with_the_reason() -> None:
    deep = np.ones((1,) * 9, dtype=np.float32)
    parameters = {
        "fc.weight": numbers(4, 6), "deep": deep, "words": np.array(["a"]), "objects": np.array([{}], dtype=object),
        "wave.weight": np.ones((2, 2)) * 1j,
    }  # fmt: skip
    model, left_alone = compress_parameters(NamedParameters(parameters, {"extra": "dict, no tensor"}), HALF)
    assert not model.tensors
    assert left_alone.pop("extra") == "dict, no tensor"
    assert left_alone.pop("deep") == "not stored: tensor 'deep' must have up to 8 dimensions; found 9"
    assert all(reason.endswith("values, which are no real numbers") for reason in left_alone.values())
    assert left_alone.keys() == {"words", "objects", "wave.weight"}


def test_values_that_are_not_finite_come_back_but_not_in_a_weight() -> None:
    mask = np.triu(np.full((4, 4), -np.inf, dtype=np.float32), 1)
    model, left_alone = compress_parameters({"fc.weight": numbers(4, 6), "mask": mask, "state": mask[0, :2]}, HALF)
    again = CompressedModel.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(again.tensors["mask"], mask)
    assert again.buffers == {"mask", "state"}
    assert again.parameter_bytes == 4 * 24
    assert all(reason.endswith("; not finite") for reason in left_alone.values())
    for name in ("fc.weight", "fc.bias"):
        wrong = {"fc.weight": numbers(4, 6), "fc.bias": numbers(4)}
        wrong[name].flat[1] = np.nan
        with pytest.raises(InputError, match=f"parameter '{name}' must be finite as float32; found values from nan"):
            compress_parameters(wrong, HALF)
        large = {each: values.astype(np.float64) for each, values in wrong.items()}
        large[name].flat[1] = -1e60
        with pytest.raises(
            InputError, match=rf"parameter .{name}. must be finite as .*; found values from -1e\+60 to .*; scale"
        ):
            compress_parameters(large, HALF)


def test_names_that_share_memory_are_one_weight_and_equal_values_are_two() -> None:
    shared = numbers(20, 8)
    parameters = {
        "embedding.weight": shared,
        "head.weight": shared,
        "head.bias": numbers(20),
        "copy.weight": shared + 0,
    }
    model, _ = compress_parameters(parameters, HALF)
    assert model.weight_names == (("embedding.weight", "head.weight"), ("copy.weight",))
    assert model.bias_names[0] == "head.bias"
    assert model.parameter_bytes == 4 * (160 + 20 + 160)
    alone, _ = compress_parameters({"embedding.weight": shared, "head.weight": shared}, HALF)
    once, _ = compress_parameters({"embedding.weight": shared}, HALF)
    assert alone.parameter_bytes == once.parameter_bytes
    assert alone.size_bytes < once.size_bytes + 20


def test_biases_of_a_tied_weight_are_in_its_codebook_once_and_tied_biases_are_left() -> None:
    shared, bias = numbers(6, 4), numbers(6)
    parameters = {"a.weight": shared, "a.bias": bias, "b.weight": shared, "b.bias": bias + 1}
    model, left_alone = compress_parameters(parameters, HALF)
    assert model.bias_names == ("a.bias",)
    assert left_alone == {"b.bias": "its layer's codebook serves another bias"}
    parameters = {"a.weight": shared, "a.bias": bias, "b.weight": shared + 1, "b.bias": bias}
    model, left_alone = compress_parameters(parameters, HALF)
    assert left_alone == dict.fromkeys(("a.bias", "b.bias"), "a bias that is tied")
    np.testing.assert_array_equal(model.state()["b.bias"], bias)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.longdouble])
def test_weights_of_any_floating_point_type_are_compressed(dtype: Any) -> None:
    weights = numbers(6, 4).astype(dtype)
    model, _ = compress_parameters({"fc.weight": weights, "scale": weights[0]}, ALL)
    np.testing.assert_array_equal(model.state()["fc.weight"], weights.astype(np.float32))
    assert model.state()["scale"].dtype == np.float32


def test_a_weight_with_its_inputs_first_gets_outputs_as_rows() -> None:
    weights = numbers(6, 18)
    model, _ = compress_parameters({"c_attn.weight": weights, "c_attn.bias": numbers(18)}, ALL)
    np.testing.assert_array_equal(model.layers[0].weights(), weights.T)
    assert model.layers[0].bias is not None
    np.testing.assert_array_equal(CompressedModel.from_bytes(model.to_bytes()).state()["c_attn.weight"], weights)


def test_a_square_weight_is_arranged_as_others_of_its_module_name() -> None:
    square, long = numbers(6, 6), numbers(24, 6)
    parameters = {"h.0.attn.c_proj.weight": square, "h.0.attn.c_proj.bias": numbers(6)}
    model, _ = compress_parameters(parameters, ALL)
    np.testing.assert_array_equal(model.layers[0].weights(), square)
    parameters |= {"h.0.mlp.c_proj.weight": long, "h.0.mlp.c_proj.bias": numbers(6)}
    model, _ = compress_parameters(parameters, ALL)
    np.testing.assert_array_equal(model.layers[0].weights(), square.T)
    np.testing.assert_array_equal(model.layers[1].weights(), long.T)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_is_told_by_its_bias(groups: int) -> None:
    weights = numbers(8, 3, 2, 2)
    model, left_alone = compress_parameters({"up.weight": weights, "up.bias": numbers(3 * groups)}, ALL)
    assert (model.layers[0].rows, model.layers[0].columns) == (3 * groups * 4, 8 // groups)
    assert list(left_alone) == ["up.bias"]
    np.testing.assert_array_equal(model.state()["up.weight"], weights)


@pytest.mark.parametrize("shape", [(4, 6), (5,), (1, 4)], ids=str)
def test_a_weight_whose_bias_has_another_shape_is_left_alone(shape: tuple[int, ...]) -> None:
    parameters = {"fc.weight": numbers(4, 6), "norm.weight": numbers(4, 6), "norm.bias": numbers(*shape)}
    model, left_alone = compress_parameters(parameters, HALF)
    assert [layer.name for layer in model.layers] == ["fc"]
    assert left_alone["norm.weight"].endswith(f"its bias has {list(shape)}: not one value for each output")
    assert left_alone.keys() == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    "kind", ["ConvTranspose1d", "ConvTranspose2d", "LayerNorm", "Bilinear", "LSTM", "MultiheadAttention", "Conv3d"]
)
def test_a_module_gets_back_what_its_state_dict_was_packed_into(kind: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    arguments = {
        "ConvTranspose1d": (8, 4, 3), "ConvTranspose2d": (8, 6, 2, 2, 0, 0, 2), "LayerNorm": ([4, 6],),
        "Bilinear": (3, 4, 5), "LSTM": (6, 5, 2), "MultiheadAttention": (6, 2), "Conv3d": (2, 4, 3),
    }[kind]  # fmt: skip
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), getattr(torch.nn, kind)(*arguments))
    module.register_buffer("mask", torch.full((2, 2), float("-inf")))
    parameters = {name: values.numpy().copy() for name, values in module.state_dict().items()}
    model, left_alone = compress_parameters(parameters, ALL)
    with torch.no_grad():
        for values in module.state_dict().values():
            values.zero_()
    model.load_into(module)
    for name, values in module.state_dict().items():
        exact = name in left_alone
        np.testing.assert_allclose(values.numpy(), parameters[name], atol=0 if exact else 0.05)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_wrapped_names_are_loaded_into_the_plain_module(prefix: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    module = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    named = {prefix + name: values.numpy().copy() for name, values in module.state_dict().items()}
    model, _ = compress_parameters(named, ALL)
    model.load_into(module)
    np.testing.assert_array_equal(module[0].weight.detach().numpy(), model.layers[0].weights())


def test_what_is_to_be_left_is_stored_as_it_is() -> None:
    parameters = {
        f"{path}.{kind}": numbers(*shape)
        for path in ("body.0", "body.1", "head")
        for kind, shape in (("weight", (4, 6)), ("bias", (4,)))
    }
    for leave, layers in (
        (["head"], ["body.0", "body.1"]),
        (["body.*"], ["head"]),
        (("head.weight", "*.1"), ["body.0"]),
    ):
        model, left_alone = compress_parameters(parameters, HALF, leave=leave)
        assert [layer.name for layer in model.layers] == layers
        assert set(left_alone.values()) == {"left as asked"}
        for name in left_alone:
            np.testing.assert_array_equal(model.tensors[name], parameters[name])
    model, left_alone = compress_parameters(parameters, HALF, leave=["head.bias"])
    assert list(left_alone) == ["head.bias"]
    assert model.layers[2].bias is None
    with pytest.raises(
        InputError, match=r"leave names foot, hand\.\*, which there is not; the parameters are body\.0\.w"
    ):
        compress_parameters(parameters, HALF, leave=["head", "hand.*", "foot"])
    with pytest.raises(InputError, match=r"leave must be a sequence of names; found the text 'head'; give \['head'\]"):
        compress_parameters(parameters, HALF, leave="head")
    with pytest.raises(InputError, match=r"there must be a weight to compress: .*; found body\.0\.bias \("):
        compress_parameters(parameters, HALF, leave=["*"])


def test_a_tied_weight_is_left_under_each_of_its_names() -> None:
    shared = numbers(6, 4)
    parameters = {"a.weight": shared, "b.weight": shared, "c.weight": numbers(6, 4)}
    for leave in ("a", "b", "b.weight"):
        model, left_alone = compress_parameters(parameters, HALF, leave=[leave])
        assert left_alone.keys() == {"a.weight", "b.weight"}
        assert [layer.name for layer in model.layers] == ["c"]


def test_parameters_without_a_weight_and_settings_without_effect_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"must be a weight to compress: .*; found bn\.weight \(fewer than two dimensions"
    ):
        compress_parameters({"bn.weight": numbers(3)})
    with pytest.raises(InputError, match=r"must be a weight to compress: .*; found no parameter"):
        compress_parameters({})
    with pytest.raises(InputError, match=r"parameter 'fc\.weight' must be an array; found list"):
        compress_parameters({"fc.weight": [[1.0, 2.0]]})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="seed has no effect unless the initialisation of a layer is random; leave it"):
        compress_parameters({"fc.weight": np.ones((2, 3))}, CompressionConfig(seed=1))
    with pytest.raises(InputError, match=r"tensor 'scale': values in 16 bits must be at most 65,504; found 70,000"):
        compress_parameters({"fc.weight": numbers(4, 6), "scale": np.full(3, 7e4)}, CompressionConfig(tensor_bits=16))
