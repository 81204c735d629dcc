"""Structured units: the groups of known networks, and the removal of each unit of random ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from tests.traces.graph.test_liveness import Pruned
from tests.traces.graph.test_random_networks import Drawn
from traces import Network
from traces.graph.liveness import live_parameters
from traces.graph.units import Unit, UnitGroup, unit_groups


def short(groups: list[UnitGroup]) -> list[tuple[str, int, str, str]]:
    """Return kind, number of units, and the parameters without biases, as text."""
    return [
        (
            group.kind,
            len(group.units),
            " ".join(name.removesuffix(".weight") for name in group.makers if not name.endswith("bias")),
            " ".join(name.removesuffix(".weight") for name in group.takers),
        )
        for group in groups
    ]


# Known networks. The expected groups are those of Torch-Pruning 1.6.1, where it has them.


def test_lenet_5_has_a_group_for_each_hidden_layer() -> None:
    nodes = [
        node("Conv", ["x", "c1", "b1"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["c", "c2"], ["d"]),
        node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["e"], ["f"]),
        node("Gemm", ["f", "f1"], ["g"], transB=1),
        node("Relu", ["g"], ["h"]),
        node("Gemm", ["h", "f2"], transB=1),
    ]
    parameters = {
        "c1": drawn(0, 20, 1, 5, 5),
        "b1": drawn(1, 20),
        "c2": drawn(2, 50, 20, 5, 5),
        "f1": drawn(3, 500, 800),
        "f2": drawn(4, 10, 500),
    }
    network = Network.open(model(nodes, {"x": ("n", 1, 28, 28)}, parameters=parameters))
    groups = unit_groups(network)
    assert short(groups) == [
        ("channels", 20, "b1 c1", "c2"),
        ("channels", 50, "c2", "f1"),
        ("channels", 500, "f1", "f2"),
    ]
    unit = groups[1].units[3]
    np.testing.assert_array_equal(unit.rows["c2"], np.arange(3 * 500, 4 * 500))
    np.testing.assert_array_equal(unit.columns["f1"], np.arange(500 * 800).reshape(500, 800)[:, 48:64].ravel())
    for roles in ((unit.rows,), (unit.columns,)):  # either half makes the other one useless, and nothing else
        dead = {name: ~live.ravel() for name, live in live_parameters(without(network, roles)).items()}
        assert {name for name, of_name in dead.items() if of_name.any()} <= {"c2", "f1"}
        np.testing.assert_array_equal(np.flatnonzero(dead["f1"]), unit.columns["f1"] if roles[0] is unit.rows else [])
        np.testing.assert_array_equal(np.flatnonzero(dead["c2"]), unit.rows["c2"])


def test_a_residual_network_has_a_group_for_each_stream_and_one_inside_each_block() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    from designs.experiments.resnet import ResNet20

    groups = short(unit_groups(Network.open(ResNet20().eval(), torch.zeros(2, 3, 32, 32))))
    inside = {f"layer{k}.{b}.conv1": width for k, width in ((1, 16), (2, 32), (3, 64)) for b in range(3)}
    streams = {name: count for _, count, name, _ in groups if name not in inside}
    assert {name: count for _, count, name, _ in groups if name in inside} == inside
    # a stage adds channels beside those before, which its shortcut leaves in the middle: 64 in all
    adders = [f"layer{k}.{b}.conv2" for k in (1, 2, 3) for b in range(3)]
    assert streams == {" ".join(["conv1", *adders]): 16, " ".join(adders[3:]): 16, " ".join(adders[6:]): 32}


def test_a_channel_that_is_filtered_by_itself_goes_with_its_filter() -> None:
    nodes = [
        node("Conv", ["x", "first"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "filters"], ["c"], group=8, pads=[1, 1]),
        node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "points"], ["e"]),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Flatten", ["f"], ["g"]),
        node("Gemm", ["g", "last"], transB=1),
    ]
    parameters = {
        "first": drawn(0, 8, 2, 1),
        "filters": drawn(1, 8, 1, 3),
        "points": drawn(2, 6, 8, 1),
        "last": drawn(3, 4, 6),
    }
    groups = unit_groups(Network.open(model(nodes, {"x": ("n", 2, 9)}, parameters=parameters)))
    assert short(groups) == [
        ("channels", 8, "filters first", "filters points"),
        ("channels", 6, "points", "last"),
    ]


def test_a_llama_has_hidden_neurons_heads_turned_pairs_and_one_residual_stream() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    from designs.experiments.example_networks import Llama, LlamaShape

    torch.manual_seed(0)
    llama = Llama(LlamaShape(dim=16, hidden=20, layers=2, heads=4, kv_heads=2, vocabulary=32)).eval()
    groups = unit_groups(Network.open(llama, np.ones((2, 5), np.int64)))
    found = {(kind, makers): (count, takers) for kind, count, makers, takers in short(groups)}
    for layer in range(2):
        place = f"layers.{layer}"
        assert found["channels", f"{place}.w1 {place}.w3"] == (20, f"{place}.w2")
        assert found["channels", f"{place}.wv"] == (8, f"{place}.wo")
        assert found["heads", f"{place}.wv"] == (2, f"{place}.wo")
        assert found["channels", f"{place}.wk {place}.wq"] == (4, "")  # 8 keys in turned pairs
    adders = [f"layers.{layer}.{name}" for layer in range(2) for name in ("w2", "wo")]
    takers = [f"layers.{layer}.{name}" for layer in range(2) for name in ("w1", "w3", "wk", "wq", "wv")]
    assert found["channels", " ".join([*adders, "output"])] == (16, " ".join([*takers, "output"]))
    assert len(found) == 9


def test_what_reaches_an_output_or_an_operator_without_a_rule_stays() -> None:
    nodes = [
        node("Gemm", ["x", "first"], ["a"], transB=1),
        node("TopK", ["a", "k"], ["b", "places"]),
        node("Gemm", ["b", "second"], ["y"], transB=1),
    ]
    parameters: dict[str, Any] = {"first": drawn(0, 5, 4), "second": drawn(1, 3, 5), "k": np.array([5])}
    assert unit_groups(Network.open(model(nodes, {"x": ("n", 4)}, parameters=parameters))) == []


def test_what_the_input_is_added_to_stays_and_what_multiplies_it_goes() -> None:
    for kind, count in (("Add", 0), ("Mul", 4)):
        nodes = [
            node("Gemm", ["x", "first"], ["a"], transB=1),
            node(kind, ["a", "x"], ["b"]),
            node("Gemm", ["b", "second"], ["y"], transB=1),
        ]
        parameters = {"first": drawn(0, 4, 4), "second": drawn(1, 3, 4)}
        groups = unit_groups(Network.open(model(nodes, {"x": ("n", 4)}, parameters=parameters)))
        assert sum(len(group.units) for group in groups) == count


def test_a_weight_of_two_uses_has_units_that_fit_both() -> None:
    nodes = [
        node("MatMul", ["x", "first"], ["a"]),
        node("MatMul", ["a", "weight"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("MatMul", ["c", "weight"], ["d"]),
        node("Relu", ["d"], ["e"]),
        node("MatMul", ["e", "last"]),
    ]
    parameters = {"first": drawn(0, 3, 4), "weight": drawn(1, 4, 4), "last": drawn(2, 4, 2)}
    (group,) = unit_groups(Network.open(model(nodes, {"x": ("n", 3)}, parameters=parameters)))
    assert (len(group.units), group.makers, group.takers) == (4, ("first", "weight"), ("last", "weight"))


# Removal for real

PLAIN = (  # nothing but rows, columns and what keeps elements apart
    Drawn.conv,
    Drawn.pool,
    Drawn.pointwise,
    Drawn.residual,
    Drawn.linear_on_the_left,
    Pruned.joined,
    Pruned.halves,
    Pruned.padded,
    Pruned.picked,
    Pruned.limited,
)
OTHERS = (Drawn.norm, Drawn.squeeze, Drawn.attention, Drawn.linear, Drawn.transposed, Drawn.tied, Pruned.scaled)


def random_network(seed: int, kinds: Any) -> tuple[Pruned, Network]:
    network = Pruned(seed)
    network.conv()
    for kind in network.stream.choice(len(kinds), network.whole(3, 8)):
        if network.length > 24 or network.channels > 24:
            break
        kinds[kind](network)
    return network, Network.open(network.made())


def without(network: Network, places: Any) -> Network:
    parameters = {name: values.copy() for name, values in network.parameters.items()}
    for of_role in places:
        for name, own in of_role.items():
            parameters[name].ravel()[own] = 0
    return Network(network.name, network.graph, parameters)


def is_dead(live: Any, places: Any) -> bool:
    return not any(live[name].ravel()[own].any() for name, own in places.items())


def removed(seed: int, kinds: Any, plain: bool) -> int:
    """Remove each unit of a random network alone, and assert that it goes whole; return the number of units."""
    drawn_network, network = random_network(seed, kinds)
    units: list[Unit] = [unit for group in unit_groups(network) for unit in group.units]
    given = activations(seed, 2, *drawn_network.shape[1:])
    for unit in units:
        gone = without(network, (unit.rows, unit.columns))
        compact = compressed(gone).compacted()
        for expected, found in zip(gone.run(given).values(), compact.network.run(given).values(), strict=True):
            np.testing.assert_array_equal(found, expected)
        for layer in compact.network.layers:  # of what is left, nothing is the unit's
            if not compact.network.parameters[layer.weight].ravel()[layer.places].any():
                continue  # of a layer without weights, one row and one column stay
            for places in (unit.rows.get(layer.weight), unit.columns.get(layer.weight)):
                assert places is None or not np.isin(layer.places, places).any()
        if plain:  # the rows are needed by nothing but the columns
            assert is_dead(live_parameters(without(network, (unit.columns,))), unit.rows)
    return len(units)


def test_the_rows_of_each_unit_of_a_random_network_are_needed_by_its_columns_alone() -> None:
    assert sum(removed(seed, PLAIN, True) for seed in range(12)) > 30


def test_each_unit_of_a_network_with_normalisation_and_attention_goes() -> None:
    assert sum(removed(seed, (*PLAIN, *OTHERS), False) for seed in range(12)) > 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_each_unit_of_another_random_network_goes(seed: int) -> None:
    removed(seed, PLAIN, True)
    removed(seed, (*PLAIN, *OTHERS), False)
