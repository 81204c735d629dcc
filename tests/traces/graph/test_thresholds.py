"""Activation thresholds in graphs: a Shrink before products, and products together with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, compressed, drawn, model, node, run, value
from traces import CompressedLayer, CompressedNetwork, InputError, Network
from traces.layer import thresholded

onnx = pytest.importorskip("onnx")
LARGE = 0.7


def shrink(source: str, target: str, lambd: float = LARGE, bias: float = 0.0) -> Any:
    return node("Shrink", [source], [target], lambd=lambd, bias=bias)


def hard(values: Any, threshold: float = LARGE) -> Any:
    return np.where(np.abs(values) > threshold, values, 0).astype(values.dtype)


PRODUCTS: dict[str, Any] = {
    "Gemm": ([node("Gemm", ["x", "w", "b"], transB=1)], {"w": (3, 4), "b": (3,)}, (5, 4)),
    "Gemm on the left": ([node("Gemm", ["w", "x"], transB=1)], {"w": (3, 4)}, (5, 4)),
    "MatMul and Add": ([node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"])], {"w": (4, 3), "b": (3,)}, (5, 4)),
    "Einsum": ([node("Einsum", ["x", "w"], equation="ni,io->no")], {"w": (4, 3)}, (5, 4)),
    "Conv": ([node("Conv", ["x", "w", "b"], pads=[1, 1])], {"w": (3, 4, 3), "b": (3,)}, (2, 4, 6)),
    "ConvTranspose": ([node("ConvTranspose", ["x", "w"], strides=[2])], {"w": (4, 3, 2)}, (2, 4, 6)),
    "a transposed weight": (
        [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"])],
        {"w": (3, 4)},
        (5, 4),
    ),
}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, np.float32) for kind in PRODUCTS), ("Gemm", np.float16), ("Conv", np.float16), ("Gemm", np.float64)],
)
def test_a_threshold_is_one_shrink_that_belongs_to_the_product(kind: str, dtype: Any) -> None:
    nodes, shapes, entering = PRODUCTS[kind]
    parameters = {name: drawn(len(name), *shape, dtype=dtype) for name, shape in shapes.items()}
    x = activations(1, *entering, dtype=dtype)
    plain = Network.open(model(nodes, {"x": entering}, parameters=parameters, dtype=dtype))
    network = plain.with_thresholds({"w": LARGE})
    assert [each.op_type for each in network.graph.graph.node].count("Shrink") == 1
    (layer,) = network.layers
    assert layer.activation_threshold == np.float32(LARGE)
    assert layer.name == plain.layers[0].name
    assert network.thresholds == {"w": np.float32(LARGE)}
    assert network.off_array == plain.off_array
    expected = plain.run(hard(x))["y"]
    rtol = 1e-6 if dtype is np.float64 else 0  # ONNX Runtime rounds Shrink of float64 to float32
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol)
    np.testing.assert_allclose(run(network.to_onnx(), {"x": x})[0], expected, rtol)
    result = simulate_network(compressed(network), x, ArrayConfig(num_pes=2, weight_bits=8))
    np.testing.assert_allclose(result.output, expected, rtol=5e-3 if dtype is np.float16 else 1e-5, atol=1e-5)
    assert (
        result.layers[0].broadcasts
        == simulate_network(compressed(plain), hard(x), ArrayConfig(num_pes=2, weight_bits=8)).layers[0].broadcasts
    )


def test_each_product_of_a_value_has_a_threshold_of_its_own() -> None:
    nodes = [node("MatMul", ["x", "q"], ["a"]), node("MatMul", ["x", "k"], ["b"]), node("MatMul", ["x", "v"], ["c"])]
    nodes.append(node("Sum", ["a", "b", "c"]))
    parameters = {name: drawn(number, 4, 3) for number, name in enumerate("qkv")}
    x = activations(2, 5, 4)
    network = Network.open(model(nodes, {"x": ("n", 4)}, parameters=parameters)).with_thresholds({"q": 0.3, "v": 1.0})
    assert {layer.name: round(layer.activation_threshold, 4) for layer in network.layers} == {
        "q": 0.3,
        "k": 0.0,
        "v": 1.0,
    }
    expected = hard(x, 0.3) @ parameters["q"] + x @ parameters["k"] + hard(x, 1.0) @ parameters["v"]
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_table_that_is_multiplied_too_has_its_threshold_there_alone() -> None:
    nodes = [node("Gather", ["w", "x"], ["h"]), node("Transpose", ["w"], ["t"]), node("MatMul", ["h", "t"])]
    weights = drawn(3, 7, 4)
    made = model(nodes, {"x": ("n",)}, parameters={"w": weights}, types={"x": np.int64})
    network = Network.open(made).with_thresholds({"w": LARGE})
    ids = np.array([0, 3, 6, 3])
    np.testing.assert_allclose(network.run(ids)["y"], hard(weights[ids]) @ weights.T, rtol=1e-5, atol=1e-6)


def test_the_larger_of_two_thresholds_is_that_of_the_product() -> None:
    nodes = [shrink("x", "h", 0.2), shrink("h", "i", 0.9), node("MatMul", ["i", "w"])]
    network = Network.open(model(nodes, {"x": ("n", 4)}, parameters={"w": drawn(4, 4, 3)}))
    assert network.layers[0].activation_threshold == np.float32(0.9)
    assert network.off_array == {}
    for less in (0.1, 0.9):
        assert network.with_thresholds({"w": less}).graph == network.graph
    assert network.with_thresholds({"w": 1.5}).layers[0].activation_threshold == 1.5


_TWO_USES = [node("ReduceSum", ["h"], ["s"], keepdims=0), node("Add", ["m", "s"])]


@pytest.mark.parametrize(
    "nodes",
    [
        [shrink("x", "h", bias=0.1), node("MatMul", ["h", "w"])],
        [shrink("x", "h", -0.1), node("MatMul", ["h", "w"])],
        [shrink("x", "h"), node("MatMul", ["h", "w"], ["m"]), *_TWO_USES],
    ],
    ids=["a bias", "a threshold below 0", "two uses"],
)
def test_a_shrink_of_another_meaning_or_with_other_uses_stays_off_the_array(nodes: Any) -> None:
    x = activations(5, 1, 4)
    made = model(nodes, {"x": (1, 4)}, parameters={"w": drawn(5, 4, 3)})
    network = Network.open(made)
    assert network.off_array["Shrink"].count == 1
    assert network.layers[0].activation_threshold == 0
    np.testing.assert_allclose(network.run(x)["y"], run(made, {"x": x})[0])
    stricter = network.with_thresholds({"w": 2.0})
    assert stricter.layers[0].activation_threshold == 2.0
    assert stricter.off_array["Shrink"].count == 1


@pytest.mark.parametrize("outputs", [("y",), ("y", "h")])
def test_products_of_one_shrink_of_the_network_have_thresholds_of_their_own(outputs: Any) -> None:
    nodes = [shrink("x", "h", 0.5), node("MatMul", ["h", "w"], ["a"]), node("MatMul", ["h", "v"], ["b"])]
    nodes.append(node("Add", ["a", "b"]))
    x, parameters = activations(5, 6, 4), {"w": drawn(5, 4, 3), "v": drawn(6, 4, 3)}
    network = Network.open(model(nodes, {"x": ("n", 4)}, outputs, parameters=parameters))
    changed = network.with_thresholds({"w": 0.2, "v": LARGE})
    assert [(layer.weight, round(layer.activation_threshold, 3)) for layer in changed.layers] == [
        ("w", 0.2),
        ("v", LARGE),
    ]
    expected = hard(x, 0.5) @ parameters["w"] + hard(x) @ parameters["v"]
    np.testing.assert_allclose(changed.run(x)["y"], expected, rtol=1e-5, atol=1e-6)
    result = simulate_network(compressed(changed), x, ArrayConfig(num_pes=2, weight_bits=8))
    assert result.largest_difference < 1e-6
    alone = Network.open(model([*nodes[:2], node("Identity", ["a"])], {"x": ("n", 4)}, outputs, parameters=parameters))
    assert alone.with_thresholds({"w": 0.2}).layers[0].activation_threshold >= np.float32(0.2)


def test_a_threshold_far_before_its_product_is_part_of_it() -> None:
    nodes = [shrink("x", "h"), node("Tanh", ["x"], ["t"]), node("Gemm", ["h", "w", "t"], transB=1)]
    x = activations(6, 5, 4)
    made = model(nodes, {"x": ("n", 4)}, parameters={"w": drawn(6, 4, 4)})
    network = Network.open(made)
    assert network.layers[0].activation_threshold == np.float32(LARGE)
    result = simulate_network(compressed(network), x, ArrayConfig(num_pes=2, weight_bits=8))
    np.testing.assert_allclose(result.output, run(made, {"x": x})[0], rtol=1e-5, atol=1e-6)
    assert result.largest_difference < 1e-6


def test_one_weight_with_two_thresholds_is_two_layers() -> None:
    nodes = [shrink("x", "h", 0.2), node("MatMul", ["h", "w"], ["a"]), node("MatMul", ["a", "w"])]
    network = Network.open(model(nodes, {"x": ("n", 4)}, parameters={"w": drawn(7, 4, 4)}))
    assert [(layer.name, round(layer.activation_threshold, 3)) for layer in network.layers] == [
        ("w[0]", 0.2),
        ("w[1]", 0.0),
    ]
    assert network.thresholds == {}
    x = activations(7, 3, 4)
    result = simulate_network(compressed(network), x, ArrayConfig(num_pes=2, weight_bits=8))
    np.testing.assert_allclose(result.output, network.run(x)["y"], rtol=1e-5, atol=1e-6)


def test_products_inside_a_branch_have_thresholds() -> None:
    inner = onnx.helper.make_graph([node("MatMul", ["x", "w"], ["p"])], "yes", [], [value("p", None)])
    other = onnx.helper.make_graph([node("MatMul", ["x", "v"], ["o"])], "no", [], [value("o", None)])
    nodes = [node("If", ["c"], then_branch=inner, else_branch=other)]
    made = model(
        nodes, {"x": (2, 4), "c": ()}, parameters={"w": drawn(8, 4, 3), "v": drawn(9, 4, 3)}, types={"c": np.bool_}
    )
    x = activations(8, 2, 4)
    network = Network.open(made, {"x": x, "c": np.array(True)})
    with_both = network.with_thresholds({"w": LARGE, "v": 0.3})
    for branch, weight, threshold in ((True, "w", LARGE), (False, "v", 0.3)):
        feeds = {"x": x, "c": np.array(branch)}
        expected = network.run({"x": hard(x, threshold), "c": np.array(branch)})["y"]
        np.testing.assert_array_equal(with_both.run(feeds)["y"], expected)
        layers = {layer.weight: layer for layer in with_both.flat(with_both.bind(feeds)).layers}
        assert layers[weight].activation_threshold == np.float32(threshold)


def test_a_recurrent_layer_takes_no_threshold() -> None:
    nodes = [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)]
    parameters = {"w": drawn(1, 1, 8, 3), "r": drawn(2, 1, 8, 2)}
    network = Network.open(model(nodes, {"x": (4, 1, 3)}, parameters=parameters))
    with pytest.raises(InputError, match=r"'w' must be that of products .* a recurrent layer has two inputs"):
        network.with_thresholds({"w": 0.1})
    before = [shrink("x", "h"), node("LSTM", ["h", "w", "r"], ["y"], hidden_size=2)]
    network = Network.open(model(before, {"x": (4, 1, 3)}, parameters=parameters))
    assert network.off_array["Shrink"].count == 1


def test_a_weight_that_a_loop_scans_takes_no_threshold() -> None:
    nodes = [node("MatMul", ["s", "m"], ["t"]), node("Identity", ["t"], ["u"])]
    body = onnx.helper.make_graph(
        nodes, "body", [value("s", None), value("m", None)], [value("t", None), value("u", None)]
    )
    made = model(
        [node("Scan", ["x", "w"], ["y", "z"], body=body, num_scan_inputs=1)],
        {"x": (2, 3)},
        parameters={"w": drawn(1, 4, 3, 3)},
    )
    network = Network.open(made, activations(1, 2, 3))
    with pytest.raises(InputError, match="found it as an input or output of If, Loop or Scan; leave it out"):
        network.with_thresholds({"w": 0.1})


def test_a_weight_without_a_product_and_an_old_graph_are_refused() -> None:
    made = model([node("MatMul", ["x", "w"])], {"x": ("n", 4)}, parameters={"w": drawn(4, 4, 3)}, opset=8)
    with pytest.raises(InputError, match="activation_threshold needs a graph of opset 9 or later; found 8"):
        Network.open(made).with_thresholds({"w": 0.1})
    made = model([node("Add", ["x", "w"])], {"x": (4, 4)}, parameters={"w": drawn(4, 4, 4)})
    with pytest.raises(InputError, match=r"activation_threshold of 'w' must be that of products .* found none"):
        Network.open(made).with_thresholds({"w": 0.1})


def test_a_stored_threshold_that_the_graph_does_not_apply_is_refused() -> None:
    network = compressed(
        Network.open(model([node("MatMul", ["x", "w"])], {"x": ("n", 4)}, parameters={"w": drawn(4, 4, 3)}))
    )
    stored = {
        name: dataclasses.replace(entry, layer=dataclasses.replace(entry.layer, activation_threshold=0.5))
        for name, entry in network.stored_layers.items()
    }
    with pytest.raises(
        InputError, match=r"activation_threshold=0\.5 must be that of its product in the graph; found 0"
    ):
        simulate_network(CompressedNetwork(network.network, stored), activations(1, 2, 4))


def test_a_list_of_layers_has_thresholds() -> None:
    stream = np.random.default_rng(0)
    codes, codebook = stream.integers(0, 4, (6, 5)).astype(np.uint8), np.array([0, 1, -1, 0.5], dtype=np.float32)
    layers = [
        CompressedLayer("a", codes, codebook, activation_threshold=0.5),
        CompressedLayer("b", codes.T.copy(), codebook, activation_threshold=1.25),
    ]
    x = stream.normal(size=(3, 5)).astype(np.float32)
    result = simulate_network(layers, x, ArrayConfig(num_pes=2))
    hidden = np.maximum(hard(x, 0.5) @ layers[0].weights().T, 0)
    np.testing.assert_allclose(result.output, hard(hidden, 1.25) @ layers[1].weights().T, rtol=1e-5, atol=1e-6)


def test_thresholded_is_the_shrink_of_onnx() -> None:
    t = np.float32(0.1)
    above = np.nextafter(t, np.float32(1))
    values = np.array([t, -t, above, -above, 0, -0.0, 5e-39, np.inf, -np.inf, np.nan], np.float32)
    made = model([shrink("x", "y", float(t))], {"x": (10,)})
    np.testing.assert_array_equal(thresholded(values, float(t)), run(made, {"x": values})[0])
    halves = np.array([0.1, -0.1, 0.0999, 0.25], np.float16)  # 0.1 is 0.099976 in float16
    made = model([shrink("x", "y", float(t))], {"x": (4,)}, dtype=np.float16)
    np.testing.assert_array_equal(thresholded(halves, float(t)), run(made, {"x": halves})[0])
    np.testing.assert_array_equal(thresholded(np.array([-128, -3, 3, 4], np.int8), 3.0), [-128, 0, 0, 4])
    tiny = 1e-40
    made = model([shrink("x", "y", tiny)], {"x": (3,)})
    values = np.array([2e-40, 5e-41, -2e-40], np.float32)
    np.testing.assert_array_equal(thresholded(values, tiny), run(made, {"x": values})[0])
