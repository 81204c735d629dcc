"""Inputs of a network: the axis that holds them, and arrays that do not fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, checked, close, compressed, drawn, model, node, run
from traces import InputError, Network

ARRAY = ArrayConfig(num_pes=2, weight_bits=8)


def lstm(shape: Any) -> Any:
    """Return an LSTM, whose first axis are the steps."""
    parameters = {"w": drawn(0, 1, 12, 4), "r": drawn(1, 1, 12, 3)}
    return model([node("LSTM", ["x", "w", "r"], hidden_size=3)], {"x": shape}, parameters=parameters, opset=14)


@pytest.mark.parametrize("shape", [["steps", "n", 4], ["steps", 2, 4], [None, None, 4], [3, "n", 4], [3, 2, 4]])
def test_steps_of_a_sequence_are_not_taken_for_inputs(shape: Any) -> None:
    made, x = lstm(shape), activations(0, 3, 2, 4)
    network, result = checked(made, {"x": x}, vectors=[6, 6], kinds=["LSTM", "LSTM"])
    assert network.inputs[0].batch_axis is None
    assert result.cycles.shape == (1,)
    again = Network.from_bytes("again", network.graph_bytes(), network.parameters)
    assert again.inputs == network.inputs
    assert [each.per_input for each in again.record(x).values()] == [6, 6]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("MatMul", ["x", "w"], ["p"]), node("Softmax", ["p"], axis=0)],
        [node("CumSum", ["x", "axis"], ["s"]), node("MatMul", ["s", "w"])],
        [node("MatMul", ["x", "w"], ["p"]), node("ReduceMean", ["p"], axes=[0])],
        [node("MatMul", ["x", "w"], ["p"]), node("ReduceMean", ["p"], ["m"], axes=[0]), node("Sub", ["p", "m"])],
    ],
)
def test_inputs_that_depend_on_each_other_are_one_input(nodes: Any) -> None:
    parameters = {"w": drawn(0, 4, 3), "axis": np.array(0)}
    made = model(nodes, {"x": ["n", 4]}, parameters=parameters)
    x = {"x": activations(0, 5, 4)}
    network, _ = checked(made, x, vectors=[5])
    assert network.inputs[0].batch_axis is None
    blind = Network.open(made)  # nothing says so before there are inputs
    sentence = "axis 0 of 'x' must hold inputs that do not depend on each other; output 'y' of two inputs is not that"
    for action in (
        lambda: simulate_network(compressed(blind), x, ARRAY),
        lambda: blind.record(x),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            action()


def test_inputs_may_be_on_another_axis_than_the_first() -> None:
    parameters = {"w": drawn(0, 4, 5), "v": drawn(1, 4, 5)}
    nodes = [
        node("Transpose", ["x"], ["xt"]),
        node("MatMul", ["xt", "w"], ["p"]),
        node("MatMul", ["z", "v"], ["q"]),
        node("Add", ["p", "q"]),
    ]
    made = model(nodes, {"z": ["n", 4], "x": [4, "n"]}, parameters=parameters)
    feeds = {"z": activations(0, 3, 4), "x": activations(1, 4, 3)}
    network, _ = checked(made, feeds, vectors=[1, 1])
    assert [entry.batch_axis for entry in network.inputs] == [0, 1]


def test_a_value_that_is_the_same_for_all_inputs_goes_with_each() -> None:
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "scale"], ["s"]), node("Add", ["s", "shift"])]
    made = model(nodes, {"x": ["n", 4], "scale": [5], "shift": []}, parameters={"w": drawn(0, 4, 5)})
    feeds = {"x": activations(0, 3, 4), "scale": activations(1, 5), "shift": np.array(0.5, dtype=np.float32)}
    network, _ = checked(made, feeds, vectors=[1])
    assert [entry.batch_axis for entry in network.inputs] == [0, None, None]


def test_a_graph_of_one_input_takes_many_one_by_one() -> None:
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Reshape", ["c", "shape"])]
    parameters = {"w": drawn(0, 2, 3, 3), "shape": np.array([1, 6])}
    made = model(nodes, {"x": [1, 3, 5]}, parameters=parameters)
    x = activations(0, 4, 3, 5)
    network = Network.open(made, {"x": x[:1]})
    expected = np.concatenate([run(made, {"x": one[np.newaxis]})[0] for one in x])
    close(network.run(x)["y"], expected)
    result = simulate_network(compressed(network), x, ARRAY)
    close(result.output, expected)
    assert (result.cycles.shape, result.layers[0].vectors) == ((4,), 3)
    assert network.inputs[0].fixed_batch


def test_steps_beside_a_state_of_one_sequence_are_not_taken_for_inputs() -> None:
    nodes = [node("Unsqueeze", ["x", "one"], ["s"]), node("LSTM", ["s", "w", "r", "", "", "h", "h"], hidden_size=3)]
    parameters = {"w": drawn(0, 1, 12, 4), "r": drawn(1, 1, 12, 3), "one": np.array([1])}
    made = model(nodes, {"x": ["steps", 4], "h": [1, 1, 3]}, parameters=parameters, opset=14)
    feeds = {"x": activations(0, 5, 4), "h": activations(1, 1, 1, 3)}
    _, result = checked(made, feeds, vectors=[5, 5], kinds=["LSTM", "LSTM"])
    assert result.cycles.shape == (1,)
    blind = Network.open(made)  # nothing says so before there are inputs
    close(blind.run(feeds)["y"], run(made, feeds)[0])
    with pytest.raises(InputError, match="axis 0 of 'x' must hold inputs that do not depend on each other"):
        simulate_network(compressed(blind), feeds, ARRAY)


def test_a_state_of_one_sequence_runs_with_each_input() -> None:
    nodes = [
        node("Transpose", ["x"], ["s"], perm=[1, 0, 2]),
        node("GRU", ["s", "w", "r", "", "", "h"], ["y", "last"], hidden_size=3),
        node("Squeeze", ["last", "zero"], ["z"]),
    ]
    parameters = {"w": drawn(0, 1, 9, 4), "r": drawn(1, 1, 9, 3), "zero": np.array([0])}
    made = model(nodes, {"x": ["n", 2, 4], "h": [1, None, 3]}, ("z",), parameters, opset=14)
    x, h = activations(0, 3, 2, 4), activations(1, 1, 1, 3)
    network = Network.open(made, {"x": x, "h": h})
    expected = np.concatenate([run(made, {"x": one[np.newaxis], "h": h})[0] for one in x])
    close(network.run({"x": x, "h": h})["z"], expected)
    result = simulate_network(compressed(network), {"x": x, "h": h}, ARRAY)
    close(result.output, expected)
    assert result.cycles.shape == (3,)


def test_a_value_of_one_input_goes_with_each() -> None:
    made = model(
        [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "scale"])],
        {"x": ["n", 4], "scale": [1, 5]},
        parameters={"w": drawn(0, 4, 5)},
    )
    checked(made, {"x": activations(0, 3, 4), "scale": activations(1, 1, 5)}, vectors=[1])


@pytest.mark.parametrize("outputs", [("y",), ("y", "z"), ("z", "y", "h")])
def test_a_network_has_all_its_outputs(outputs: Any) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Relu", ["h"], ["y"]),
        node("MatMul", ["y", "v"], ["p"]),
        node("Sigmoid", ["p"], ["z"]),
    ]
    made = model(nodes, {"x": ["n", 4]}, outputs, {"w": drawn(0, 4, 5), "v": drawn(1, 5, 2)})
    _, result = checked(made, {"x": activations(0, 3, 4)})
    assert isinstance(result.output, dict) == (len(outputs) > 1)
    if len(outputs) > 1:
        assert list(result.output) == list(outputs)


GEMM = model([node("Gemm", ["x", "w"], transB=1)], {"x": ["n", 4]}, parameters={"w": drawn(0, 3, 4)})


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.zeros((0, 4)), "input 'x' must be float32 [any, 4], at least one value; found float64 [0, 4]"),
        (np.zeros((2, 5)), "input 'x' must be float32 [any, 4]; found float64 [2, 5]"),
        (np.zeros(4), "input 'x' must be float32 [any, 4]; found float64 [4]"),
        (np.array([[1, 2, np.nan, 4]]), "input 'x' must be finite; found NaN or infinity"),
        (np.array([[1, 2, 1e39, 4]]), "input 'x' must be finite; found NaN or infinity"),
        (np.array([["a"] * 4]), "input 'x' must be float32 [any, 4], at least one value; found <U1 [1, 4]"),
        ([[1, 2], [3]], "input 'x' must be one array; its parts differ in shape"),
        (np.ones((2, 4)) * 1j, "found complex128 [2, 4]"),
        ({"z": np.zeros((2, 4))}, "inputs must be x; missing x"),
        ({"x": np.zeros((2, 4)), "z": 1}, "inputs must be x; unknown z"),
        ((np.zeros((2, 4)), np.zeros(2)), "there must be 1 inputs, x; found 2"),
        (None, "input 'x' must be"),
        ("text", "input 'x' must be"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: Any, sentence: str) -> None:
    network = Network.open(GEMM)
    for action in (
        lambda: network.run(inputs),
        lambda: network.record(inputs),
        lambda: simulate_network(compressed(network), inputs, ARRAY),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            action()


def test_integers_that_do_not_fit_are_refused() -> None:
    nodes = [node("Gather", ["table", "x"], ["e"]), node("MatMul", ["e", "w"])]
    parameters = {"table": drawn(0, 7, 4), "w": drawn(1, 4, 3)}
    made = model(nodes, {"x": ["n", 2]}, parameters=parameters, types={"x": np.int32})
    network, _ = checked(made, {"x": np.array([[0, 6], [3, 3]], dtype=np.int32)}, vectors=[2])
    assert network.lookups == {"table": 1}
    for inputs, sentence in (
        (np.array([[0.5, 1]]), "input 'x' must be int32 [any, 2], at least one value; found float64 [1, 2]"),
        (np.array([[0, 2**40]]), "input 'x' must fit int32; found values beyond its range"),
        (np.array([[0, 7]]), "ONNX Runtime cannot run the network on these inputs: "),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            simulate_network(compressed(network), inputs, ARRAY)
