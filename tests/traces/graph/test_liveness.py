"""Weights and biases without effect on any output, beside networks in which they are zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from tests.traces.graph.test_random_networks import KINDS, Drawn
from traces import Network
from traces.graph.liveness import live_parameters


def live(nodes: Any, parameters: Any, shape: Any, **others: Any) -> Any:
    return live_parameters(Network.open(model(nodes, {"x": shape}, parameters=parameters, **others)))


def two_layers(between: Any, first: Any, bias: Any, second: Any, shape: Any = ("n", 4)) -> Any:
    """Return what lives of two fully connected layers with some nodes from a to b between."""
    nodes = [node("Gemm", ["x", "first", "bias"], ["a"], transB=1), *between, node("Gemm", ["b", "second"], transB=1)]
    return live(nodes, {"first": first, "bias": bias, "second": second}, shape)


def dense(rows: int, columns: int) -> Any:
    return drawn(1, rows, columns, sparse=False)


RELU = [node("Relu", ["a"], ["b"])]


def test_a_row_that_only_empty_columns_need_has_no_effect() -> None:
    second = dense(3, 5)
    second[:, 2] = 0
    found = two_layers([node("Sigmoid", ["a"], ["b"])], dense(5, 4), np.ones(5, np.float32), second)
    np.testing.assert_array_equal(found["first"].all(axis=1), [True, True, False, True, True])
    assert not found["first"][2].any()
    np.testing.assert_array_equal(found["bias"], [True, True, False, True, True])


def test_an_empty_row_without_bias_makes_the_column_it_feeds_empty() -> None:
    first, bias = dense(5, 4), np.ones(5, np.float32)
    first[1], bias[1] = 0, 0
    found = two_layers([node("Tanh", ["a"], ["b"])], first, bias, dense(3, 5))
    np.testing.assert_array_equal(found["second"].any(axis=0), [True, False, True, True, True])


@pytest.mark.parametrize(("constant", "kept"), [(1, True), (-1, False), (0, False)])
def test_an_empty_row_with_a_bias_is_zero_behind_a_rectifier_if_that_is_not_above_zero(
    constant: float, kept: bool
) -> None:
    first, bias = dense(5, 4), np.ones(5, np.float32)
    first[1], bias[1] = 0, constant
    found = two_layers(RELU, first, bias, dense(3, 5))
    assert found["second"][:, 1].all() == kept
    assert found["bias"][1] == kept


def test_a_sigmoid_of_zero_is_not_zero() -> None:
    first = dense(5, 4)
    first[1] = 0
    found = two_layers([node("Sigmoid", ["a"], ["b"])], first, np.zeros(5, np.float32), dense(3, 5))
    assert found["second"].all()


def test_zeros_go_through_an_addition_only_if_both_are_zero() -> None:
    first, second = dense(4, 4), dense(4, 4)
    first[[0, 1]], second[[1, 2]] = 0, 0
    nodes = [
        node("MatMul", ["x", "first"], ["a"]),
        node("MatMul", ["x", "second"], ["b"]),
        node("Add", ["a", "b"], ["c"]),
        node("MatMul", ["c", "third"]),
    ]
    found = live(nodes, {"first": first.T.copy(), "second": second.T.copy(), "third": dense(4, 3)}, ("n", 4))
    np.testing.assert_array_equal(found["third"].any(axis=1), [True, False, True, True])


def test_zeros_go_through_a_product_of_activations_from_one_side() -> None:
    first, second = dense(4, 4), dense(4, 4)
    first[0] = 0
    nodes = [
        node("MatMul", ["x", "first"], ["a"]),
        node("MatMul", ["x", "second"], ["b"]),
        node("Mul", ["a", "b"], ["c"]),
        node("MatMul", ["c", "third"]),
    ]
    found = live(nodes, {"first": first.T.copy(), "second": second, "third": dense(4, 3)}, ("n", 4))
    np.testing.assert_array_equal(found["third"].any(axis=1), [False, True, True, True])
    np.testing.assert_array_equal(found["second"].any(axis=0), [False, True, True, True])


def test_an_empty_channel_makes_a_column_of_each_place_behind_a_flattening_empty() -> None:
    kernel = dense(3, 2 * 9).reshape(3, 2, 3, 3)
    kernel[1] = 0
    nodes = [
        node("Conv", ["x", "kernel"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["c"], ["d"]),
        node("Gemm", ["d", "weight"], transB=1),
    ]
    found = live(nodes, {"kernel": kernel, "weight": dense(5, 12)}, ("n", 2, 4, 4))
    expected = np.repeat([True, False, True], 4)
    np.testing.assert_array_equal(found["weight"], np.broadcast_to(expected, (5, 12)))


def test_a_channel_is_needed_if_one_of_its_places_is() -> None:
    weight = dense(5, 12)
    weight[:, 4:7] = 0  # three of four places of channel 1
    weight[:, 8:] = 0
    nodes = [
        node("Conv", ["x", "kernel"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Flatten", ["a"], ["d"]),
        node("Gemm", ["d", "weight"], transB=1),
    ]
    found = live(nodes, {"kernel": dense(3, 18).reshape(3, 2, 3, 3), "weight": weight}, ("n", 2, 4, 4))
    np.testing.assert_array_equal(found["kernel"].any(axis=(1, 2, 3)), [True, True, False])


def test_a_normalised_channel_of_zeros_is_zero_behind_a_rectifier_if_its_constant_is_below_zero() -> None:
    kernel = dense(3, 2).reshape(3, 2, 1)
    kernel[[0, 1]] = 0
    names = ["scale", "shift", "mean", "variance"]
    values = {"scale": [1, 1, 1], "shift": [-2, 2, 0], "mean": [1, 1, 1], "variance": [1, 1, 1]}
    nodes = [
        node("Conv", ["x", "kernel"], ["a"]),
        node("BatchNormalization", ["a", *names], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Conv", ["c", "next"]),
    ]
    parameters = {name: np.array(each, np.float32) for name, each in values.items()}
    parameters |= {"kernel": kernel, "next": dense(2, 3).reshape(2, 3, 1)}
    found = live(nodes, parameters, ("n", 2, 5))
    np.testing.assert_array_equal(found["next"].any(axis=(0, 2)), [False, True, True])


def test_a_weight_with_two_uses_has_an_effect_if_it_has_one_in_either() -> None:
    weight, last = dense(4, 4), dense(4, 2)
    last[[0, 1]] = 0
    nodes = [
        node("MatMul", ["x", "weight"], ["a"]),
        node("Tanh", ["a"], ["b"]),
        node("MatMul", ["b", "weight"], ["c"]),
        node("MatMul", ["c", "last"]),
    ]
    assert live(nodes, {"weight": weight, "last": last}, ("n", 4))["weight"].all()


def test_a_weight_that_is_also_a_table_or_an_addend_is_left_alone() -> None:
    nodes = [
        node("Gather", ["weight", "x"], ["a"]),
        node("MatMul", ["a", "transposed"], ["b"]),
        node("Transpose", ["weight"], ["transposed"]),
        node("MatMul", ["b", "last"]),
    ]
    last = dense(6, 2)
    last[0] = 0
    made = model(
        nodes[2:3] + nodes[:2] + nodes[3:],
        {"x": ("n",)},
        parameters={"weight": dense(6, 4), "last": last},
        types={"x": np.int64},
    )
    assert set(live_parameters(Network.open(made))) == {"last"}


def test_what_divides_or_enters_a_root_is_needed() -> None:
    second = dense(3, 5)
    second[:, 2] = 0
    between = [node("Sigmoid", ["a"], ["s"]), node("Reciprocal", ["s"], ["b"])]
    assert two_layers(between, dense(5, 4), np.ones(5, np.float32), second)["first"].all()


def test_an_operator_without_a_rule_needs_everything() -> None:
    second = dense(3, 5)
    second[:, 2] = 0
    between = [node("LRN", ["a4"], ["b4"], size=3), node("Squeeze", ["b4", "axes"], ["b"])]
    nodes = [
        node("Gemm", ["x", "first"], ["a"], transB=1),
        node("Unsqueeze", ["a", "axes"], ["a4"]),
        *between,
        node("Gemm", ["b", "second"], transB=1),
    ]
    parameters = {"first": dense(5, 4), "second": second, "axes": np.array([2, 3])}
    assert live(nodes, parameters, ("n", 4))["first"].all()


def test_selected_places_of_an_axis_of_any_length_tell_nothing() -> None:
    nodes = [
        node("MatMul", ["x", "weight"], ["a"]),  # [n, length, 3]
        node("Slice", ["a", "begin", "end", "axis"], ["b"]),
        node("MatMul", ["b", "last"]),
    ]
    parameters: dict[str, Any] = {"weight": dense(4, 3), "last": dense(3, 2)}
    parameters |= {"begin": np.array([1]), "end": np.array([9]), "axis": np.array([1])}
    made = model(nodes, {"x": ("n", "length", 4)}, parameters=parameters)
    network = Network.open(made)
    one, three = (live_parameters(network, network.bind(np.ones((1, length, 4), np.float32))) for length in (1, 3))
    assert one == {}  # nothing is selected, so that this input tells nothing
    assert three["weight"].all()


def test_a_head_whose_values_are_empty_needs_neither_queries_nor_keys() -> None:
    heads, size, width = 3, 2, 4
    weights = {name: dense(width, heads * size) for name in ("q", "k", "v")} | {"o": dense(heads * size, width)}
    weights["v"][:, 2:4] = 0
    nodes = []
    for name in "qkv":
        nodes.append(node("MatMul", ["x", name], [f"{name}1"]))
        nodes.append(node("Reshape", [f"{name}1", "split"], [f"{name}2"]))
        nodes.append(node("Transpose", [f"{name}2"], [f"{name}3"], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]))
    nodes += [
        node("MatMul", ["q3", "k3"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v3"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "joined"], ["flat"]),
        node("MatMul", ["flat", "o"]),
    ]
    shapes = {"split": np.array([0, 0, heads, size]), "joined": np.array([0, 0, heads * size])}
    found = live(nodes, weights | shapes, ("n", 5, width))
    expected = np.repeat([True, False, True], size)
    for name in "qkv":
        np.testing.assert_array_equal(found[name].any(axis=0), expected)
    np.testing.assert_array_equal(found["o"].any(axis=1), expected)


class Pruned(Drawn):
    """Random network with rows and columns without weights, and with more ways of elements through it."""

    def cut(self) -> None:
        end = self.whole(1, self.length)
        names = [self.indices([value]) for value in (0, end, 2)]
        self.add("Slice", [self.current, *names])
        self.length = end

    def joined(self) -> None:
        before = self.current
        self.pointwise()
        self.add("Concat", [before, self.current], axis=1)
        self.channels *= 2

    def halves(self) -> None:
        if self.channels % 2:
            return
        first, second = (f"h{len(self.nodes)}{k}" for k in range(2))
        self.nodes.append(node("Split", [self.current], [first, second], axis=1))
        self.add("Mul", [first, second])
        self.channels //= 2

    def padded(self) -> None:
        self.add("Pad", [self.current, self.indices([0, 1, 0, 0, 0, 2])])
        self.channels, self.length = self.channels + 1, self.length + 2

    def regrouped(self) -> None:
        self.add("Reshape", [self.current, self.indices([0, -1, 1])])
        self.channels, self.length = self.channels * self.length, 1

    def picked(self) -> None:
        places = [self.whole(0, self.channels - 1) for _ in range(3)]
        self.add("Gather", [self.current, self.indices(places)], axis=1)
        self.channels = 3

    def limited(self) -> None:
        self.parameters[f"l{len(self.nodes)}"] = np.array(0, np.float32)
        self.add("Clip", [self.current, f"l{len(self.nodes)}"])

    def scaled(self) -> None:
        before = self.current
        self.add("ReduceMean", [self.current], axes=[1], keepdims=1)
        self.add("Mul", [before, self.current])

    def chosen(self) -> None:
        before = self.current
        self.add("Greater", [self.current, self.weight(self.channels, 1)])
        self.add("Where", [self.current, before, self.weight(self.channels, self.length)])

    def indices(self, values: list[int]) -> str:
        name = f"i{len(self.parameters)}"
        self.parameters[name] = np.array(values)
        return name

    def prune(self) -> None:
        """Empty some rows and columns of the parameters, and make some biases negative."""
        for name, values in self.parameters.items():
            if values.dtype.kind != "f" or not values.ndim:
                continue
            pruned = values.copy()
            for axis in range(values.ndim):
                gone = self.stream.random(values.shape[axis]) < self.stream.choice([0, 0.2, 0.6])
                np.moveaxis(pruned, axis, 0)[gone] = 0
            self.parameters[name] = -np.abs(pruned) if values.ndim == 1 and self.whole(0, 1) else pruned


MORE = (
    Pruned.cut,
    Pruned.joined,
    Pruned.halves,
    Pruned.padded,
    Pruned.regrouped,
    Pruned.picked,
    Pruned.limited,
    Pruned.scaled,
    Pruned.chosen,
)


def pruned_network(seed: int) -> tuple[Pruned, Any]:
    """Return a random network, and its compressed model without any loss."""
    network = Pruned(seed)
    network.conv()
    kinds = [*KINDS, *MORE, *MORE]
    for kind in network.stream.choice(len(kinds), network.whole(3, 8)):
        if network.length > 24 or network.channels > 24:
            break
        kinds[kind](network)
    network.prune()
    return network, compressed(Network.open(network.made()))


def check(seed: int) -> int:
    """Assert that a network gives the same bits without what changes no output; return how many weights that is."""
    network, whole = pruned_network(seed)
    compact = whole.compacted()
    for inputs in (1, 3):
        given = activations(seed + inputs, inputs, *network.shape[1:])
        for expected, found in zip(whole.network.run(given).values(), compact.network.run(given).values(), strict=True):
            if np.isfinite(expected).all():
                np.testing.assert_array_equal(found, expected)
    return sum(
        int(np.count_nonzero(before.codes) - np.count_nonzero(after.codes))
        for before, after in zip(whole.layers, compact.layers, strict=True)
    )


def test_random_networks_give_the_same_bits_without_what_changes_no_output() -> None:
    assert sum(map(check, range(40))) > 500  # weights


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_another_random_network_gives_the_same_bits(seed: int) -> None:
    check(seed)
