"""Outputs of a graph by the names of the original network's, and the loss between them."""

from __future__ import annotations

import numpy as np
import pytest

from designs.network_outputs import loss_between, named_outputs
from tests.traces.graph.graphs import drawn, model, node
from traces import InputError, Inputs, Network

DRAW = np.random.default_rng(0)


def test_outputs_get_the_original_s_names_in_order_and_the_inputs_in_front() -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"]), node("Transpose", ["y"], ["z"], perm=[1, 0])]
    made = model(nodes, {"x": ["n", 4]}, ("y", "z"), {"w": drawn(0, 4, 3)})
    made.graph.output[1].type.tensor_type.shape.dim.add().dim_value = 3
    made.graph.output[1].type.tensor_type.shape.dim.add().dim_param = "n"
    network = Network.open(made)
    x = DRAW.normal(size=(5, 4)).astype(np.float32)
    found = network.run(x)
    assert found["z"].shape == (3, 5)
    original = {"first": np.zeros((2, 3), np.float32), "second": np.zeros((2, 3), np.float32)}
    named = named_outputs(network, found, 5, original)
    assert list(named) == ["first", "second"]
    np.testing.assert_array_equal(named["first"], x @ network.parameters["w"])
    np.testing.assert_array_equal(named["second"], named["first"])
    others = {"first": np.zeros((2, 3), np.float32), "second": np.zeros((2, 4), np.float32)}
    with pytest.raises(InputError, match=r"first \[3\], second \[4\] for each input; found y \[3\], z \[3\]; its loss"):
        named_outputs(network, found, 5, others)


def test_the_loss_follows_from_labels_and_outputs() -> None:
    inputs = Inputs.of(DRAW.normal(size=(40, 4)))
    scores = np.exp(DRAW.normal(size=(40, 3)))
    outputs = {"output": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)}
    assert loss_between(inputs, outputs).name == "answers"
    assert loss_between(inputs, outputs, labelled=True).name == "accuracy"
    assert loss_between(inputs, outputs, "kl").name == "kl"
    with pytest.raises(InputError, match="labels have no effect on the loss kl"):
        loss_between(inputs, outputs, "kl", labelled=True)
