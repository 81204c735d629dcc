import re
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime, in_pytorch, model_of
from traces import InputError
from traces.arrays import Numbers

DRAW = np.random.default_rng(5)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, SIZE, HIDDEN = 5, 3, 4, 2


def draw(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype("f4")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LSTM", {}),
        ("GRU", {}),
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
@pytest.mark.parametrize("given", ["weights", "biases", "states", "lengths"])
def test_recurrences(operator: str, direction: str, attributes: dict[str, Any], given: str) -> None:
    ways, gates = 2 if direction == "bidirectional" else 1, GATES[operator]
    attributes = {name: value * ways if isinstance(value, list) else value for name, value in attributes.items()}
    inputs: list[Numbers | None] = [
        draw(STEPS, BATCH, SIZE),
        draw(ways, gates * HIDDEN, SIZE),
        draw(ways, gates * HIDDEN, HIDDEN),
    ]
    states = [draw(ways, BATCH, HIDDEN) for _ in range(2 if operator == "LSTM" else 1)]
    if given == "lengths" and operator == "GRU" and not attributes:
        lengths = np.full(BATCH, STEPS, "i4")
    else:
        lengths = np.array([3, 5, 1], "i4")
    if given != "weights":
        inputs.append(draw(ways, 2 * gates * HIDDEN))
    if given == "states":
        inputs += [None, *states]
    if given == "lengths":
        inputs += [lengths, *states]
    outputs = 3 if operator == "LSTM" else 2
    assert_as_in_onnx_runtime(operator, inputs, 14, outputs, hidden_size=HIDDEN, direction=direction, **attributes)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_states_of_another_number_of_sequences_are_refused(operator: str) -> None:
    inputs = {"x": draw(STEPS, BATCH, SIZE), "h": draw(1, 1, HIDDEN)}
    weights = {"w": draw(1, GATES[operator] * HIDDEN, SIZE), "r": draw(1, GATES[operator] * HIDDEN, HIDDEN)}
    states = ["h"] * (2 if operator == "LSTM" else 1)
    node = helper.make_node(operator, ["x", "w", "r", "", "", *states], ["y"], hidden_size=HIDDEN)
    sentence = f"initial states of {operator} must have shape [1, 3, 2]; found [1, 1, 2]"
    with pytest.raises(InputError, match=re.escape(sentence)):
        in_pytorch(model_of([node], inputs, ["y"], 14, weights), inputs)
