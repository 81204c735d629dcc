"""The way back from the weights of a product to parameters, however the graph moves or computes them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sim import simulate_network
from tests.traces.graph.graphs import activations, checked, drawn, matrix_of, model, node, run
from traces import CompressedNetwork, InputError, Network
from traces.graph.resolve import FixedValues

X: dict[str, Any] = {"x": ["n", 6]}
FEEDS = {"x": activations(0, 2, 6)}
W = drawn(0, 4, 6)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Any], Any, dict[str, Any]]:
    """Draw moves of a parameter that end in [6, 4], its values, and what the moves need."""
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    target = drawn(draw(st.integers(0, 99)), 6, 4)

    def constant(values: Any) -> str:
        name = f"k{len(constants)}"
        constants[name] = np.asarray(values)
        return name

    # the last move first: `target` is what each has to give
    moves: list[tuple[str, Any]] = []
    current = target
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(["Transpose", "Reshape", "Slice", "Unsqueeze", "Identity", "Cast", "Flip", "Gather"])
        )
        if kind == "Transpose":
            perm = draw(st.permutations(range(current.ndim)))
            moves.append((kind, {"perm": list(perm)}))
            current = np.transpose(current, np.argsort(perm))
        elif kind == "Reshape":
            if current.size % 2:
                continue
            moves.append((kind, list(current.shape)))
            current = current.reshape(draw(st.sampled_from([(-1,), (2, -1), (1, -1, 2)])))
        elif kind == "Slice":
            axis = draw(st.integers(0, current.ndim - 1))
            before, after = draw(st.integers(0, 2)), draw(st.integers(1, 2))
            moves.append((kind, (axis, before, before + current.shape[axis])))
            pads = [(before, after) if k == axis else (0, 0) for k in range(current.ndim)]
            current = np.pad(current, pads, constant_values=0.25)
        elif kind == "Unsqueeze" and current.shape[0] == 1:
            continue
        elif kind == "Unsqueeze":
            moves.append(("Squeeze", [0]))
            current = current[np.newaxis]
        elif kind == "Flip":
            moves.append((kind, current.shape[0]))
            current = current[::-1]
        elif kind == "Gather":
            order = np.asarray(draw(st.permutations(range(current.shape[-1]))))
            moves.append((kind, order))
            current = current[..., np.argsort(order)]
        else:
            moves.append((kind, None))
    name = "w"
    for number, (kind, how) in enumerate(reversed(moves)):
        result = f"m{number}"
        if kind == "Transpose":
            nodes.append(node(kind, [name], [result], **how))
        elif kind == "Reshape":
            nodes.append(node(kind, [name, constant(how)], [result]))
        elif kind == "Slice":
            axis, begin, end = how
            nodes.append(node(kind, [name, constant([begin]), constant([end]), constant([axis])], [result]))
        elif kind == "Squeeze":
            nodes.append(node(kind, [name, constant(how)], [result]))
        elif kind == "Flip":
            far = -(2**31)
            nodes.append(
                node("Slice", [name, constant([-1]), constant([far]), constant([0]), constant([-1])], [result])
            )
        elif kind == "Gather":
            nodes.append(node(kind, [name, constant(how)], [result], axis=-1))
        elif kind == "Cast":
            nodes.append(node(kind, [name], [result], to=1))
        else:
            nodes.append(node("Identity", [name], [result]))
        name = result
    return [*nodes, node("MatMul", ["x", name])], (current, target), constants


@settings(deadline=None, max_examples=25)
@given(chains())
def test_weights_that_are_moved_are_places_of_their_parameter(case: Any) -> None:
    nodes, (parameter, target), constants = case
    made = model(nodes, X, parameters={"w": np.ascontiguousarray(parameter), **constants})
    network, _ = checked(made, FEEDS, kinds=["Linear"])
    assert network.layers[0].weight == "w"
    np.testing.assert_array_equal(matrix_of(network)[0], target.T)
    assert network.off_array == {}


@pytest.mark.parametrize("size", [2**10 + 1, pytest.param(2**12 + 1, marks=pytest.mark.slow)])
def test_places_are_exact_beyond_the_integers_of_float32(size: int) -> None:
    values = np.random.default_rng(0).integers(-100, 100, (size, size)).astype(np.float32)
    nodes = [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"])]
    made = model(nodes, {"x": ["n", size]}, parameters={"w": values})
    (layer,) = Network.open(made).layers
    np.testing.assert_array_equal(layer.places[0], np.arange(values.size).reshape(values.shape))


@pytest.mark.parametrize("form", ["value", "value_floats"])
def test_weights_may_be_constant_nodes(form: str) -> None:
    made = model(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(W))
            if form == "value"
            else helper.make_node("Constant", [], ["c"], value_floats=W.ravel().tolist()),
            node("Reshape", ["c", "shape"], ["w"]),
            node("Gemm", ["x", "w"], transB=1),
        ],
        X,
        parameters={"shape": np.array([4, 6])},
    )
    network, _ = checked(made, FEEDS, kinds=["Linear"])
    np.testing.assert_array_equal(matrix_of(network)[0], W)


def test_old_files_list_their_weights_among_the_inputs() -> None:
    made = model([node("Gemm", ["x", "w"], transB=1)], {**X, "w": [4, 6]}, parameters={"w": W})
    network, _ = checked(made, FEEDS)
    assert [entry.name for entry in network.inputs] == ["x"]


@pytest.mark.parametrize("kind", ["halves", "queries"])
def test_parts_of_one_parameter_are_layers_of_their_own(kind: str) -> None:
    parameters = {"w": drawn(0, 8, 6), "b": drawn(1, 8)}
    if kind == "halves":
        nodes = [
            node("Split", ["w"], ["u", "v"], axis=0, num_outputs=2),
            node("Gemm", ["x", "u"], ["p"], transB=1),
            node("Gemm", ["x", "v"], ["q"], transB=1),
            node("Sub", ["p", "q"]),
        ]
    else:
        nodes = []
        for name, begin in (("u", 0), ("v", 4)):
            for operand in ("w", "b"):
                bounds = [f"{name}{operand}{k}" for k in range(2)]
                parameters |= {bounds[0]: np.array([begin]), bounds[1]: np.array([begin + 4])}
                nodes.append(node("Slice", [operand, *bounds], [f"{operand}{name}"]))
            nodes.append(node("Gemm", ["x", f"w{name}", f"b{name}"], [f"p{name}"], transB=1))
        nodes.append(node("Mul", ["pu", "pv"]))
    made = model(nodes, X, parameters=parameters, opset=18)
    network, _ = checked(made, FEEDS, kinds=["Linear"] * 2, vectors=[1, 1])
    assert [layer.name for layer in network.layers] == ["w[0]", "w[1]"]
    np.testing.assert_array_equal(np.concatenate([matrix_of(network, k)[0] for k in range(2)]), parameters["w"])
    if kind == "queries":
        assert [layer.bias for layer in network.layers] == ["b", "b"]
        places: list[Any] = [layer.bias_places for layer in network.layers]
        np.testing.assert_array_equal(np.concatenate(places, axis=1), [np.arange(8)])


def test_a_tied_weight_is_one_layer_that_is_called_twice() -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["p"], transB=1),
        node("Relu", ["p"], ["r"]),
        node("Gemm", ["r", "w"], ["q"], transB=1),
        node("Add", ["p", "q"]),
    ]
    made = model(nodes, X, parameters={"w": drawn(0, 6, 6)})
    network, result = checked(made, FEEDS, kinds=["Linear"], vectors=[2])
    assert (network.layers[0].calls, result.layers[0].vectors) == (2, 2)


def test_a_weight_and_its_transpose_are_two_layers_of_one_parameter() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["p", "t"]),
    ]
    made = model(nodes, X, parameters={"w": drawn(0, 6, 4)})
    network, _ = checked(made, FEEDS, kinds=["Linear"] * 2, vectors=[1, 1])
    assert [(layer.name, layer.rows, layer.weight) for layer in network.layers] == [("w[0]", 4, "w"), ("w[1]", 6, "w")]


def test_a_table_may_be_a_weight_too() -> None:
    nodes = [
        node("Gather", ["w", "i"], ["e"]),
        node("Gemm", ["e", "w"], transB=1),
    ]
    made = model(nodes, {"i": ["n"]}, parameters={"w": drawn(0, 7, 4)}, types={"i": np.int64})
    network, _ = checked(made, {"i": np.array([3, 0, 3])}, kinds=["Linear"], vectors=[1])
    assert (network.lookups, network.off_array["Gather"].count) == ({"w": 1}, 1)


def test_one_weight_with_two_biases_is_two_layers() -> None:
    nodes = [
        node("Gemm", ["x", "w", "b"], ["p"], transB=1),
        node("Gemm", ["p", "w", "c"], transB=1),
    ]
    made = model(nodes, X, parameters={"w": drawn(0, 6, 6), "b": drawn(1, 6), "c": drawn(2, 6)})
    network, _ = checked(made, FEEDS, vectors=[1, 1])
    assert [(layer.name, layer.bias) for layer in network.layers] == [("w[0]", "b"), ("w[1]", "c")]


COMPUTED = {
    "scaled": ([node("Mul", ["w", "s"], ["c"])], {"w": W, "s": np.array([[0.5], [1], [2], [0.25]], dtype=np.float32)}),
    "masked": ([node("Mul", ["w", "m"], ["c"])], {"w": W, "m": (drawn(3, 4, 6) > 0).astype(np.float32)}),
    "product": ([node("MatMul", ["u", "v"], ["c"])], {"u": drawn(1, 4, 1), "v": drawn(2, 1, 6)}),
    "joined": ([node("Concat", ["u", "v"], ["c"], axis=0)], {"u": drawn(1, 3, 6), "v": drawn(1, 1, 6)}),
    "added": ([node("Add", ["w", "s"], ["c"])], {"w": W, "s": np.array(0.5, dtype=np.float32)}),
    "dequantised": (
        [node("DequantizeLinear", ["i", "s", "z"], ["c"])],
        {
            "i": np.random.default_rng(0).integers(-7, 8, (4, 6)).astype(np.int8),
            "s": np.array(0.25, dtype=np.float32),
            "z": np.array(1, dtype=np.int8),
        },
    ),
    "cast": ([node("Cast", ["i"], ["c"], to=1)], {"i": np.random.default_rng(0).integers(-7, 8, (12, 6))}),
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("calls", [1, 2])
def test_computed_weights_are_a_parameter_of_their_own(kind: str, calls: int) -> None:
    nodes, parameters = COMPUTED[kind]
    products = [node("Gemm", ["x", "c"], [f"p{k}"], transB=1) for k in range(calls)]
    made = model([*nodes, *products, node("Sum", [f"p{k}" for k in range(calls)])], X, parameters=parameters)
    network, _ = checked(made, FEEDS, kinds=["Linear"], vectors=[calls])
    expected = run(model(nodes, {}, ("c",), parameters), {})[0]
    np.testing.assert_array_equal(matrix_of(network)[0], expected)
    assert network.off_array.keys() <= {"Sum"}
    assert not set(parameters) & set(network.parameters)  # what is computed from is not needed any more
    assert network.layers[0].weight in network.parameters


def test_a_parameter_that_is_used_as_it_is_and_computed_from_is_kept() -> None:
    nodes = [
        node("Mul", ["w", "w"], ["c"]),
        node("MatMul", ["x", "w"], ["p"]),
        node("MatMul", ["x", "c"], ["q"]),
        node("Sub", ["p", "q"]),
    ]
    made = model(nodes, X, parameters={"w": drawn(0, 6, 4)})
    network, _ = checked(made, FEEDS, vectors=[1, 1])
    assert len({layer.weight for layer in network.layers}) == 2
    assert network.layers[0].weight == "w"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("kind", ["Gemm", "Conv", "LSTM", "MatMul"])
def test_graphs_of_other_types_keep_them(dtype: Any, kind: str) -> None:
    shape: Any = {"Conv": ["n", 2, 5], "LSTM": [3, 2, 4]}.get(kind, ["n", 6])
    parameters = {
        "Gemm": {"w": drawn(0, 4, 6), "b": drawn(1, 4)},
        "MatMul": {"w": drawn(0, 6, 4)},
        "Conv": {"w": drawn(0, 3, 2, 3), "b": drawn(1, 3)},
        "LSTM": {"w": drawn(0, 1, 12, 4), "r": drawn(1, 1, 12, 3)},
    }[kind]
    parameters = {name: values.astype(dtype) for name, values in parameters.items()}
    more: dict[str, Any] = {"Gemm": {"transB": 1}, "LSTM": {"hidden_size": 3}}.get(kind, {})
    made = model([node(kind, ["x", *parameters], **more)], {"x": shape}, parameters=parameters, dtype=dtype, opset=14)
    feeds = {"x": activations(0, *[2 if length == "n" else length for length in shape], dtype=dtype)}
    try:
        run(made, feeds)
    except Exception:
        pytest.skip(f"ONNX Runtime has no {kind} of {np.dtype(dtype).name} on this machine")
    network, _ = checked(made, feeds)
    assert network.parameters["w"].dtype == dtype


def test_half_precision_weights_have_exact_places() -> None:
    values = np.random.default_rng(0).integers(-100, 100, (70, 90)).astype(np.float16)
    nodes = [node("Transpose", ["w"], ["t"]), node("Cast", ["t"], ["c"], to=1), node("MatMul", ["x", "c"])]
    made = model(nodes, {"x": ["n", 90]}, parameters={"w": values})
    network = Network.open(made)
    (layer,) = network.layers
    assert layer.weight == "w"
    np.testing.assert_array_equal(layer.places[0], np.arange(values.size).reshape(values.shape))


@pytest.mark.parametrize("opset", range(7, 24))
def test_every_operator_set_is_read(opset: int) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[2], strides=[2]),
        node("Flatten", ["m"], ["f"]),
        node("Gemm", ["f", "u", "v"], transB=1),
    ]
    parameters = {"w": drawn(0, 4, 2, 3), "b": drawn(1, 4), "u": drawn(2, 5, 12), "v": drawn(3, 5)}
    made = model(nodes, {"x": ["n", 2, 6]}, parameters=parameters, opset=opset)
    network, _ = checked(made, {"x": activations(0, 2, 2, 6)}, kinds=["Conv1d", "Linear"], vectors=[6, 1])
    counts = {name: each.count for name, each in network.off_array.items()}
    assert counts == {"Relu": 1, "MaxPool": 1, "Flatten": 1}
    assert {name: each.elements for name, each in network.off_array.items()} == {
        "Relu": 24,
        "MaxPool": 12,
        "Flatten": 12,
    }


def test_products_of_activations_are_off_the_array_and_counted() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["q"]),
        node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["q", "k"], ["s"]),
        node("Softmax", ["s"], ["a"], axis=-1),
        node("MatMul", ["a", "q"]),
    ]
    made = model(nodes, {"x": ["n", 3, 6]}, parameters={"w": drawn(0, 6, 4)})
    network, _ = checked(made, {"x": activations(0, 2, 3, 6)}, vectors=[3])
    assert network.off_array["MatMul"] == (2, 3 * 3 + 3 * 4, 3 * 3 * 4 + 3 * 4 * 3)


def test_a_network_without_weights_is_refused_when_it_is_simulated() -> None:
    network = Network.open(model([node("Relu", ["x"])], X))
    assert network.layers == ()
    with pytest.raises(InputError, match=re.escape("no compressed layer")):
        simulate_network(CompressedNetwork(network, {}), FEEDS)


def test_moved_weights_are_traced_once_for_all_flat_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []
    trace = FixedValues._traced

    def counting(self: FixedValues, names: list[str]) -> Any:
        traced.extend(names)
        return trace(self, names)

    monkeypatch.setattr(FixedValues, "_traced", counting)
    nodes = [node("Transpose", ["w"], ["moved"], perm=[1, 0]), node("MatMul", ["x", "moved"])]
    opened = Network.open(model(nodes, X, parameters={"w": W}))
    inputs = activations(0, 5, 6)
    assert [layer.weight for layer in opened.layers] == list(opened.weights) == ["w"]
    first, second = (opened.flat(opened.bind(inputs[:count])).layers[0].places for count in (1, 2))
    assert (first == np.arange(24).reshape(1, 4, 6)).all()
    assert (second == first).all()
    opened.record(inputs)
    assert traced == ["moved"]
