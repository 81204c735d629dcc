"""Rows, columns and units that are found with an example of some lengths, and must hold for all other lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from tests.traces.graph.test_liveness import Pruned
from traces import Network
from traces.graph.liveness import live_parameters
from traces.graph.units import unit_groups

EXAMPLES = ((1, 1), (1, 2), (2, 1), (2, 3))
LENGTHS = ((1, 1), (1, 2), (2, 1), (4, 2), (1, 5), (3, 4))


class Open(Pruned):
    """Random network of sequences [n, length, channels] of any number and length."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.channels = 4 * self.whole(1, 2)
        self.shape: list[Any] = ["n", "length", self.channels]

    def made(self) -> Any:
        self.nodes.append(node("Identity", [self.current]))
        return model(self.nodes, {"x": self.shape}, parameters=self.parameters)

    def dense(self) -> None:
        rows = 4 * self.whole(1, 3)
        self.add("MatMul", [self.current, self.weight(self.channels, rows)])
        if self.whole(0, 1):
            self.add("Add", [self.current, self.weight(rows)])
        if self.whole(0, 2):
            self.add("Relu", [self.current])
        self.channels = rows

    def reshaped(self, *lengths: int | str) -> None:
        """Reshape to lengths, some of which are those of axes of the current value, by the letters n, l and c."""
        before, parts = self.current, []
        self.add("Shape", [before])
        shape = self.current
        for length in lengths:
            if isinstance(length, str):
                self.add("Gather", [shape, self.indices(["nlc".index(length)])])
                parts.append(self.current)
            else:
                parts.append(self.indices([length]))
        self.add("Concat", parts, axis=0)
        self.add("Reshape", [before, self.current])

    def turned(self, *perm: int) -> None:
        self.add("Transpose", [self.current], perm=list(perm))

    def viewed(self) -> None:
        self.reshaped("n", "c", "l")
        self.turned(0, 2, 1)

    def viewed_by_constants(self) -> None:
        self.add("Reshape", [self.current, self.indices([0, self.channels, -1])])
        self.turned(0, 2, 1)

    def viewed_over_inputs(self) -> None:
        self.reshaped("c", "l", "n")
        self.turned(2, 1, 0)

    def inputs_last(self) -> None:
        self.reshaped("l", "n", "c")
        self.turned(1, 0, 2)

    def halved(self) -> None:
        self.add("Reshape", [self.current, self.indices([0, -1, self.channels // 2])])
        self.channels //= 2
        self.dense()

    def merged(self) -> None:
        before = self.current
        self.add("Flatten", [self.current], axis=2)
        self.dense()
        flat, rows = self.current, self.channels
        self.add("Shape", [before])
        self.add("Slice", [self.current, self.indices([0]), self.indices([2])])
        self.add("Concat", [self.current, self.indices([rows])], axis=0)
        self.add("Reshape", [flat, self.current])

    def heads(self) -> None:
        self.add("Reshape", [self.current, self.indices([0, 0, 2, self.channels // 2])])
        self.turned(0, 2, 1, 3)
        value = self.current
        self.turned(0, 1, 3, 2)
        self.add("MatMul", [value, self.current])
        self.add("Softmax", [self.current], axis=-1)
        self.add("MatMul", [self.current, value])
        self.turned(0, 2, 1, 3)
        self.add("Reshape", [self.current, self.indices([0, 0, self.channels])])

    def heads_as_inputs(self) -> None:
        self.reshaped("n", "l", 2, self.channels // 2)
        self.turned(0, 2, 1, 3)
        split = self.current
        self.add("Shape", [split])
        shape = self.current
        self.add("Slice", [shape, self.indices([2]), self.indices([4])])
        self.add("Concat", [self.indices([-1]), self.current], axis=0)
        self.add("Reshape", [split, self.current])
        self.add("Mul", [self.current, self.current])
        self.add("Reshape", [self.current, shape])
        self.turned(0, 2, 1, 3)
        self.add("Reshape", [self.current, self.indices([0, 0, -1])])

    def longer(self) -> None:
        before = self.current
        self.add("Slice", [self.current, self.indices([0]), self.indices([1]), self.indices([1])])
        self.add("Concat", [self.current, before], axis=1)

    def repeated(self) -> None:
        self.add("Tile", [self.current, self.indices([1, 2, 1])])

    def half(self) -> None:
        first, second = (f"h{len(self.nodes)}{k}" for k in range(2))
        self.nodes.append(node("Split", [self.current], [first, second], axis=2))
        self.add("Add" if self.whole(0, 1) else "Mul", [first, second])
        self.channels //= 2
        self.dense()

    def filtered(self) -> None:
        rows = 4 * self.whole(1, 2)
        self.turned(0, 2, 1)
        self.add("Conv", [self.current, self.weight(rows, self.channels, 3)], pads=[1, 1])
        self.turned(0, 2, 1)
        self.channels = rows

    def pooled(self) -> None:
        before = self.current
        self.add("ReduceMean", [self.current], axes=[1], keepdims=1)
        self.add("Add", [self.current, before])

    def one_less(self) -> None:
        before = self.current
        self.add("Unsqueeze", [self.current, self.indices([1])])
        self.add("Squeeze", [self.current, self.indices([1])])
        self.add("Max", [self.current, before])


OPEN = (
    Open.dense,
    Open.viewed,
    Open.viewed_by_constants,
    Open.viewed_over_inputs,
    Open.inputs_last,
    Open.halved,
    Open.merged,
    Open.heads,
    Open.heads_as_inputs,
    Open.longer,
    Open.repeated,
    Open.half,
    Open.filtered,
    Open.pooled,
    Open.one_less,
)


def outputs(network: Network, given: Any) -> list[Any]:
    return list(network.run(given).values())


def random_network(seed: int, kinds: Any = OPEN, *, pruned: bool) -> tuple[int, Network]:
    """Return the channels of the input, and the network."""
    drawn_network = Open(seed)
    drawn_network.dense()
    for kind in drawn_network.stream.choice(len(kinds), drawn_network.whole(1, 4)):
        kinds[kind](drawn_network)
        drawn_network.dense()
    if pruned:
        drawn_network.prune()
    return drawn_network.shape[2], Network.open(drawn_network.made())


def check(seed: int) -> int:
    """Assert that a network that was made compact with each example gives the same bits for inputs of all lengths."""
    channels, network = random_network(seed, pruned=True)
    whole = compressed(network)
    given = [activations(seed, *lengths, channels) for lengths in LENGTHS]
    expected = [outputs(whole.network, each) for each in given]
    removed = 0
    for example in EXAMPLES:
        compact = whole.compacted(activations(seed, *example, channels))
        for inputs, values in zip(given, expected, strict=True):
            for one, other in zip(outputs(compact.network, inputs), values, strict=True):
                np.testing.assert_array_equal(one, other)
        removed += sum(
            int(np.count_nonzero(before.codes) - np.count_nonzero(after.codes))
            for before, after in zip(whole.layers, compact.layers, strict=True)
        )
    return removed


def test_random_networks_give_the_same_bits_for_inputs_of_other_lengths() -> None:
    assert sum(map(check, range(40))) > 2000  # weights


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_another_random_network_gives_the_same_bits_for_other_lengths(seed: int) -> None:
    check(seed)


def check_units(seed: int) -> int:
    """Assert that each unit's rows are needed by its columns alone for all lengths; return the number of units."""
    kinds = [kind for kind in OPEN if kind is not Open.heads]  # queries and keys meet in scores, not in columns
    channels, network = random_network(seed, kinds, pruned=False)
    found = 0
    for example in EXAMPLES:
        feeds = network.bind(activations(seed, *example, channels))
        for unit in [unit for group in unit_groups(network, network.part(feeds, 0, 1)) for unit in group.units]:
            parameters = {name: values.copy() for name, values in network.parameters.items()}
            for name, places in unit.columns.items():
                parameters[name].ravel()[places] = 0
            without_columns = Network(network.name, network.graph, {k: v.copy() for k, v in parameters.items()})
            for name, places in unit.rows.items():
                parameters[name].ravel()[places] = 0
            gone = Network(network.name, network.graph, parameters)
            for lengths in LENGTHS[1:4]:
                given = activations(seed, *lengths, channels)
                for one, other in zip(outputs(gone, given), outputs(without_columns, given), strict=True):
                    np.testing.assert_array_equal(one, other)
            found += 1
    return found


def test_units_of_random_networks_are_units_for_inputs_of_other_lengths() -> None:
    assert sum(check_units(seed) for seed in range(12)) > 100


def view(dead: list[int], *, by_constants: bool = False) -> Network:
    """Return a network that reads [1, length, 8] as [1, 8, length] between two layers."""
    drawn_network = Open(0)
    drawn_network.channels, drawn_network.shape = 6, ["n", "length", 6]
    drawn_network.parameters["first"] = drawn(1, 6, 8, sparse=False)
    drawn_network.parameters["first"][:, dead] = 0
    drawn_network.add("MatMul", ["x", "first"])
    drawn_network.channels = 8
    (Open.viewed_by_constants if by_constants else Open.viewed)(drawn_network)
    drawn_network.parameters["last"] = drawn(2, 8, 4, sparse=False)
    drawn_network.add("MatMul", [drawn_network.current, "last"])
    return Network.open(drawn_network.made())


@pytest.mark.parametrize("by_constants", [False, True])
@pytest.mark.parametrize(("length", "dead"), [(1, [3]), (2, [2, 3]), (4, [4, 5, 6, 7]), (2, [0, 1, 2, 3])])
def test_a_reshape_that_mixes_channels_with_a_length_tells_nothing(
    length: int, dead: list[int], by_constants: bool
) -> None:
    network = view(dead, by_constants=by_constants)
    feeds = network.bind(np.ones((1, length, 6), np.float32))
    assert live_parameters(network, feeds)["last"].all()
    assert unit_groups(network, feeds) == []


def test_channels_stay_apart_where_a_reshape_merges_other_axes() -> None:
    weight, last = drawn(1, 4, 3, 1, 1, sparse=False), drawn(2, 4, 2, sparse=False)
    weight[1] = 0
    nodes = [
        node("Conv", ["x", "weight"], ["a"]),
        node("Reshape", ["a", "shape"], ["b"]),  # [n, 4, height, width] to [n, 4, height * width]
        node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        node("MatMul", ["c", "last"]),
    ]
    parameters = {"weight": weight, "last": last, "shape": np.array([0, 0, -1])}
    network = Network.open(model(nodes, {"x": ("n", 3, "height", "width")}, parameters=parameters))
    for lengths in ((1, 1), (1, 2), (3, 2)):
        live = live_parameters(network, network.bind(np.ones((1, 3, *lengths), np.float32)))
        np.testing.assert_array_equal(live["last"].all(axis=1), [True, False, True, True])
        np.testing.assert_array_equal(live["last"].any(axis=1), [True, False, True, True])


def test_a_symbol_of_two_inputs_keeps_no_axis_apart() -> None:
    nodes = [
        node("MatMul", ["x", "weight"], ["a"]),
        node("Shape", ["z"], ["shape"]),  # [n, 2, 2] of another input, which may have more
        node("Reshape", ["a", "shape"], ["b"]),
        node("MatMul", ["b", "last"]),
    ]
    weight = drawn(1, 3, 2, sparse=False)
    weight[:, 1] = 0
    parameters = {"weight": weight, "last": drawn(2, 2, 3, sparse=False)}
    made = model(nodes, {"x": ("n", "length", 3), "z": ("n", 2, "width")}, parameters=parameters)
    network = Network.open(made)
    feeds = network.bind({"x": np.ones((1, 2, 3), np.float32), "z": np.ones((1, 2, 2), np.float32)})
    assert live_parameters(network, feeds)["last"].all()
