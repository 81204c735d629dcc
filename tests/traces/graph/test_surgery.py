"""Graphs inside of graphs: If, Loop and Scan, with weights in them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import helper

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, body, checked, close, compressed, drawn, model, node, run, value
from traces import InputError, Network

ARRAY = ArrayConfig(num_pes=2, weight_bits=8)
W, V = drawn(0, 4, 4), drawn(1, 4, 4)


def floats(name: str) -> Any:
    return value(name, None)


def branching(inside: bool) -> Any:
    """Return a network that takes a branch if the sum of its inputs is positive; the weights are inside or outside."""
    within = {"w": W} if inside else {}
    then = body([node("MatMul", ["x", "w"], ["t"]), node("Add", ["t", "b"], ["u"])], (), [floats("u")], within)
    other = body(
        [node("MatMul", ["x", "w"], ["t"]), node("Relu", ["t"], ["r"]), node("MatMul", ["r", "v"], ["u"])],
        (),
        [floats("u")],
        {"w": V} if inside else {},
    )
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    parameters = {"zero": np.array(0, dtype=np.float32), "v": V, "b": drawn(2, 4)}
    return model(nodes, {"x": [1, 4]}, parameters=parameters | ({} if inside else {"w": W}))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_branch_that_is_taken_runs_on_the_array(inside: bool, sign: int) -> None:
    x = sign * np.abs(activations(0, 1, 4))
    _, result = _simulated(branching(inside), {"x": x})
    assert len(result.layers) == (1 if sign > 0 else 2)


def _simulated(made: Any, feeds: Any) -> tuple[Network, Any]:
    """Simulate a network whose layers depend on its inputs, and assert its outputs."""
    network = Network.open(made, feeds)
    expected = run(made, feeds)[0]
    close(network.run(feeds)[network.outputs[0]], expected, 1e-6)
    result = simulate_network(compressed(network), feeds, ARRAY)
    close(result.output, expected)
    assert result.largest_difference < 1e-5
    return network, result


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("first", [-1, 1])
def test_inputs_that_take_other_branches_are_one_network(inside: bool, first: int) -> None:
    made = branching(inside)
    signs = np.array([first, -first, first, -first])[:, np.newaxis]
    x = (signs * np.abs(activations(0, 4, 4))).astype(np.float32)
    network = Network.open(made, {"x": x[:1]})
    expected = np.concatenate([run(made, {"x": one[np.newaxis]})[0] for one in x])
    result = simulate_network(compressed(network), x, ARRAY)
    close(result.output, expected)
    assert result.output_difference < 1e-5
    assert result.largest_difference < 1e-5
    assert len(result.layers) == 3
    positive = signs[:, 0] > 0
    for layer in result.layers:  # no layer costs anything for inputs that do not call it
        assert set((layer.cycles > 0)[positive]) in ({True}, {False})
        assert set((layer.cycles > 0)[~positive]) in ({True}, {False})


def looping(*, trips: str, condition: bool, scanned: bool) -> Any:
    """Return a network whose loop multiplies its state with a weight."""
    nodes = [
        node("MatMul", ["h", "w"], ["p"]),
        node("Tanh", ["p"], ["h2"]),
        node("Identity", ["h2"], ["item"]),
    ]
    if condition:
        nodes += [node("Less", ["i", "bound"], ["more"])]
    else:
        nodes += [node("Identity", ["go"], ["more"])]
    loop_body = body(
        nodes,
        [value("i", [], np.int64), value("go", [], np.bool_), floats("h")],
        [value("more", [], np.bool_), floats("h2"), *([floats("item")] if scanned else [])],
        {"bound": np.array(3)},
    )
    outputs = ["y", "all"] if scanned else ["y"]
    parameters: dict[str, Any] = {"w": W, "yes": np.array(True)}
    described: dict[str, Any] = {"x": [1, 4]}
    if trips == "input":
        described["trips"] = []
    elif trips:
        parameters["trips"] = np.array(int(trips))
    loop = helper.make_node("Loop", ["trips" if trips else "", "yes", "x"], outputs, body=loop_body)
    return model([loop], described, outputs, parameters, types={"trips": np.int64})


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize(("trips", "condition"), [("1", False), ("3", False), ("0", False), ("9", True), ("", True)])
def test_a_loop_calls_its_weights_as_often_as_it_iterates(trips: str, condition: bool, scanned: bool) -> None:
    made = looping(trips=trips, condition=condition, scanned=scanned)
    feeds = {"x": activations(3, 1, 4) + 1}
    names = [entry.name for entry in made.graph.output]
    expected = dict(zip(names, run(made, feeds), strict=True))
    network = Network.open(made, feeds)
    assert list(network.weights) == ["w"]
    if trips == "0":
        with pytest.raises(InputError, match="no compressed layer"):
            simulate_network(compressed(network), feeds, ARRAY)
        return
    result = simulate_network(compressed(network), feeds, ARRAY)
    outputs = result.output if scanned else {"y": result.output}
    for name in names:
        close(outputs[name], expected[name])
    if scanned:
        assert result.layers[0].vectors == len(expected["all"])
        assert network.layers[0].vectors_per_input == len(expected["all"])


def test_a_loop_whose_count_is_an_input_is_resolved_for_each() -> None:
    made = looping(trips="input", condition=False, scanned=True)
    x = activations(0, 1, 4)
    network = Network.open(made, {"x": x, "trips": np.array(2)})
    container = compressed(network)
    for trips in (1, 4, 2):
        feeds = {"x": x, "trips": np.array(trips)}
        result = simulate_network(container, feeds, ARRAY)
        for name, expected in zip(("y", "all"), run(made, feeds), strict=True):
            close(result.output[name], expected)
        assert result.layers[0].vectors == trips


def test_iterations_of_a_loop_may_use_their_number_and_outer_values() -> None:
    loop_body = body(
        [
            node("Cast", ["i"], ["number"], to=1),
            node("MatMul", ["x", "w"], ["p"]),
            node("Mul", ["p", "number"], ["q"]),
            node("Add", ["h", "q"], ["h2"]),
        ],
        [value("i", [], np.int64), value("go", [], np.bool_), floats("h")],
        [value("go", [], np.bool_), floats("h2")],
    )
    loop = helper.make_node("Loop", ["trips", "", "zero"], ["y"], body=loop_body)
    parameters = {"w": W, "trips": np.array(3), "zero": np.zeros((1, 4), dtype=np.float32)}
    checked(model([loop], {"x": [1, 4]}, parameters=parameters), {"x": activations(0, 1, 4)}, vectors=[3])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("out_axis", [0, 1])
@pytest.mark.parametrize("out_back", [0, 1])
@pytest.mark.parametrize("opset", [11, 17])
def test_a_scan_is_that_of_onnx(axis: int, back: int, out_axis: int, out_back: int, opset: int) -> None:
    scan_body = body(
        [
            node("MatMul", ["h", "w"], ["p"]),
            node("MatMul", ["item", "v"], ["q"]),
            node("Add", ["p", "q"], ["s"]),
            node("Tanh", ["s"], ["h2"]),
            node("Identity", ["h2"], ["out"]),
        ],
        [floats("h"), floats("item")],
        [floats("h2"), floats("out")],
    )
    scan = helper.make_node(
        "Scan",
        ["h0", "x"],
        ["last", "y"],
        body=scan_body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[back],
        scan_output_axes=[out_axis],
        scan_output_directions=[out_back],
    )
    shape = (3, 2, 4) if axis == 0 else (2, 3, 4)
    made = model([scan], {"x": shape, "h0": (2, 4)}, ("y", "last"), {"w": W, "v": V}, opset=opset)
    checked(made, {"x": activations(0, *shape), "h0": activations(1, 2, 4)}, vectors=[6, 6], by_input=False)


def test_graphs_inside_of_graphs_inside_of_graphs_are_resolved() -> None:
    deepest = body([node("MatMul", ["h", "w"], ["t"]), node("Tanh", ["t"], ["u"])], (), [floats("u")], {"w": W})
    other = body([node("MatMul", ["h", "outer"], ["u"])], (), [floats("u")])
    loop_body = body(
        [
            node("Cast", ["i"], ["odd"], to=9),
            helper.make_node("If", ["odd"], ["h2"], then_branch=deepest, else_branch=other),
            node("Identity", ["go"], ["more"]),
        ],
        [value("i", [], np.int64), value("go", [], np.bool_), floats("h")],
        [value("more", [], np.bool_), floats("h2")],
    )
    loop = helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=loop_body)
    parameters = {"outer": V, "trips": np.array(3), "yes": np.array(True)}
    made = model([loop], {"x": [1, 4]}, parameters=parameters)
    network, result = checked(made, {"x": activations(0, 1, 4)})
    assert sorted(layer.vectors for layer in result.layers) == [1, 2]
    assert len({layer.weight for layer in network.layers}) == 2


def test_a_name_that_branches_share_is_two_parameters() -> None:
    network = Network.open(branching(inside=True))
    assert len(network.weights) == 3
    again = network.to_onnx()
    x = {"x": activations(0, 1, 4)}
    close(run(again, x)[0], run(branching(inside=True), x)[0], 1e-6)


def test_a_parameter_of_one_branch_keeps_its_name() -> None:
    bodies = {
        f"{name}_branch": body([node("MatMul", ["x", name], [f"{name}_out"])], (), [floats(f"{name}_out")], {name: W})
        for name in ("then", "else")
    }
    made = model([helper.make_node("If", ["yes"], ["y"], **bodies)], {"x": [1, 4]}, parameters={"yes": np.array(True)})
    assert sorted(Network.open(made).parameters) == ["else", "then"]


def test_too_many_iterations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traces.graph.surgery.MOST_ITERATIONS", 3)
    made = looping(trips="4", condition=False, scanned=False)
    feeds = {"x": activations(0, 1, 4)}
    with pytest.raises(InputError, match=re.escape("must have at most 3 iterations; found 4; give a shorter input")):
        simulate_network(compressed(Network.open(made, feeds)), feeds, ARRAY)


def test_functions_of_a_file_are_expanded() -> None:
    function = helper.make_function(
        "own",
        "Layer",
        ["a", "m"],
        ["c"],
        [node("MatMul", ["a", "m"], ["b"]), node("Relu", ["b"], ["c"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [node("Layer", ["x", "w"], ["h"], domain="own"), node("Layer", ["h", "v"], domain="own")]
    made = model(nodes, {"x": ["n", 4]}, parameters={"w": W, "v": V})
    made.functions.append(function)
    network, _ = checked(made, {"x": activations(0, 2, 4)}, kinds=["Linear"] * 2, vectors=[1, 1])
    assert network.off_array["Relu"].count == 2
