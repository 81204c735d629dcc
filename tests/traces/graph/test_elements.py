"""Ways of elements through operations that move them, and through products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traces.graph.graphs import drawn, model, node
from traces import Network
from traces.graph.elements import Elements


def elements(nodes: Any, shape: Any, parameters: Any, given: Any) -> Elements:
    network = Network.open(model(nodes, {"x": shape}, parameters={"w": drawn(0, 3, 2), **parameters}))
    feeds = network.bind(given)
    return Elements(network.flat(feeds), feeds)


LAST = [node("MatMul", ["m", "w"])]


@pytest.mark.parametrize(
    ("kind", "inputs", "named", "moved"),
    [
        ("Transpose", [], {"perm": [1, 0]}, lambda x: x.T),
        ("Slice", ["begin", "end"], {}, lambda x: x[1:3]),
        ("Pad", ["pads"], {}, lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=-1)),
        ("Gather", ["picked"], {"axis": 0}, lambda x: x[[2, 0]]),
        ("Reshape", ["shape"], {}, lambda x: x.reshape(2, -1)),
        ("Tile", ["times"], {}, lambda x: np.tile(x, (1, 2))),
    ],
)
def test_a_move_is_known_by_the_element_that_is_in_each_place(kind: str, inputs: Any, named: Any, moved: Any) -> None:
    parameters = {
        "begin": np.array([1]),
        "end": np.array([3]),
        "pads": np.array([1, 0, 0, 2]),
        "picked": np.array([2, 0]),
        "shape": np.array([2, -1]),
        "times": np.array([1, 2]),
    }
    move = node(kind, ["p", *inputs], ["y"], **named)
    found = elements([node("MatMul", ["x", "w"], ["p"]), move], ("n", 3), parameters, np.ones((4, 3), np.float32))
    (step,) = [step for step in found.flat.program.steps if getattr(step, "op_type", "") == kind]
    (way,) = found.moves(step)  # type: ignore[arg-type, misc]
    np.testing.assert_array_equal(way, moved(np.arange(8).reshape(4, 2)))


def test_a_product_is_known_by_the_elements_of_its_vectors_and_outputs() -> None:
    found = elements([node("MatMul", ["x", "w"])], ("n", 5, 3), {}, np.ones((2, 5, 3), np.float32))
    (product,) = found.flat.program.products
    entering, leaving = found.passage(product)  # type: ignore[misc]
    np.testing.assert_array_equal(entering, np.arange(30).reshape(1, 10, 3))
    np.testing.assert_array_equal(leaving, np.arange(20).reshape(2, 5, 2))


def test_an_axis_moves_if_the_graph_leaves_its_length_open() -> None:
    found = elements(
        [node("Transpose", ["x"], ["m"], perm=[0, 2, 1]), *LAST], ("n", 3, "length"), {}, np.ones((2, 3, 4), np.float32)
    )
    assert found.moving_axes("x") == (0, 2)
    assert found.moving_axes("m") == (0, 1)
    assert found.moving_axes("w") == ()
