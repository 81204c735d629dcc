"""Order of the products of a network, and the feature maps that are alive at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traces.graph.graphs import compressed, drawn, model, node
from traces import Network
from traces.graph.description import Execution


def executed(
    nodes: Any, feeds: dict[str, Any], parameters: dict[str, Any], outputs: tuple[str, ...] = ("y",)
) -> Execution:
    """Return the execution of one input of a graph whose weights are compressed."""
    shapes: dict[str, list[int | str | None]] = {name: ["n", *values.shape[1:]] for name, values in feeds.items()}
    container = compressed(Network.open(model(nodes, shapes, parameters=parameters), feeds))
    return container_execution(container, feeds)


def container_execution(container: Any, feeds: dict[str, Any]) -> Execution:
    from traces import CompressedNetwork

    network = CompressedNetwork(container.network, container.stored_layers)
    return network.execution(network.network.bind(feeds))


def maps(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


def lenet_5() -> tuple[list[Any], dict[str, Any]]:
    """Return the graph of LeNet-5 as in Caffe, on images of 28 x 28."""
    nodes = [
        node("Conv", ["x", "conv1"], ["c1"]),
        node("MaxPool", ["c1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "conv2"], ["c2"]),
        node("MaxPool", ["c2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p2"], ["flat"]),
        node("Gemm", ["flat", "fc1"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "fc2"], transB=1),
    ]
    shapes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    return nodes, {name: drawn(number, *shape) for number, (name, shape) in enumerate(shapes.items())}


def test_lenet_5_holds_most_while_its_first_convolution_runs() -> None:
    found = executed(lenet_5()[0], {"x": maps(1, 28, 28)}, lenet_5()[1])
    assert found.calls == (("conv1", 576), ("conv2", 64), ("fc1", 1), ("fc2", 1))
    assert (found.live_words, found.fullest_layer) == (28 * 28 + 20 * 24 * 24, "conv1")


def residual(adds: bool) -> Execution:
    """Return the execution of two convolutions, with or without the addition of what enters the first one."""
    nodes = [
        node("Conv", ["x", "a"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "b"], ["d"], pads=[1] * 4),
        node("Add", ["d", "x" if adds else "d"]),
    ]
    return executed(nodes, {"x": maps(4, 8, 8)}, {"a": drawn(0, 4, 4, 3, 3), "b": drawn(1, 4, 4, 3, 3)})


def test_a_residual_stays_alive_until_it_is_added() -> None:
    assert (residual(adds=False).live_words, residual(adds=False).fullest_layer) == (2 * 256, "a")
    assert (residual(adds=True).live_words, residual(adds=True).fullest_layer) == (3 * 256, "b")


def test_operations_off_the_array_write_over_what_nothing_needs() -> None:
    weights = {"w": drawn(0, 6, 6)}
    plain = executed([node("MatMul", ["x", "w"], ["p"]), node("Relu", ["p"])], {"x": maps(6)}, weights)
    assert plain.live_words == 12
    larger = [node("MatMul", ["x", "w"], ["p"]), node("Concat", ["p", "p", "p"], axis=1)]
    assert executed(larger, {"x": maps(6)}, weights).live_words == 18
    kept = [node("MatMul", ["x", "w"], ["p"]), node("Relu", ["p"], ["r"]), node("Concat", ["r", "p", "x"], axis=1)]
    assert executed(kept, {"x": maps(6)}, weights).live_words == 18


def test_a_view_is_stored_once() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Flatten", ["x"], ["f"]),
        node("MatMul", ["p", "v"], ["q"]),
        node("Add", ["q", "f"], ["s"]),
        node("Add", ["s", "x"]),
    ]
    found = executed(nodes, {"x": maps(6)}, {"w": drawn(0, 6, 6), "v": drawn(1, 6, 6)})
    assert found.live_words == 18  # x once, p and q


def test_steps_of_a_recurrent_layer_are_calls() -> None:
    weights = {"w": drawn(0, 1, 8, 3), "r": drawn(1, 1, 8, 2)}
    nodes = [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)]
    made = model(nodes, {"x": [4, "n", 3]}, parameters=weights)
    network = compressed(Network.open(made, {"x": np.ones((4, 1, 3), dtype=np.float32)}))
    found = container_execution(network, {"x": np.ones((4, 1, 3), dtype=np.float32)})
    assert found.calls == (("w", 4), *[("r", 1)] * 4)


@pytest.mark.parametrize("place", range(2))
def test_the_order_is_that_of_the_execution(place: int) -> None:
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("MatMul", ["x", "b"], ["q"]),
        node("MatMul", ["p" if place else "q", "c"], ["r"]),
        node("Add", ["r", "p"], ["s"]),
        node("Add", ["s", "q"]),
    ]
    weights = {name: drawn(number, 5, 5) for number, name in enumerate("abc")}
    found = executed(nodes, {"x": maps(5)}, weights)
    assert found.calls == (("a", 1), ("b", 1), ("c", 1))
    assert found.live_words == 15
