"""Faults that are planted in the core, each of which a simulation must report as a difference or refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, compressed, drawn, model, node
from traces import InputError, Network
from traces.graph import layers, products, stored, surgery

ARRAY = ArrayConfig(num_pes=2, weight_bits=8)
IMAGE: dict[str, Any] = {"x": ["n", 4, 7]}


def conv(**attributes: Any) -> Any:
    groups = attributes.get("group", 1)
    parameters = {"w": drawn(0, 4, 4 // groups, 3), "b": drawn(1, 4, sparse=False)}
    return model([node("Conv", ["x", "w", "b"], **attributes)], IMAGE, parameters=parameters)


def transposed(**attributes: Any) -> Any:
    parameters = {"w": drawn(0, 4, 4 // attributes.get("group", 1), 3), "b": drawn(1, 4, sparse=False)}
    return model([node("ConvTranspose", ["x", "w", "b"], **attributes)], IMAGE, parameters=parameters)


def gemm(**attributes: Any) -> Any:
    parameters = {"w": drawn(0, 4, 4), "b": drawn(1, 4, sparse=False)}
    return model([node("Gemm", ["x", "w", "b"], **attributes)], {"x": [4, 4]}, parameters=parameters)


def recurrent(kind: str, **attributes: Any) -> Any:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    parameters = {
        "w": drawn(0, directions, gates * 3, 4, sparse=False),
        "r": drawn(1, directions, gates * 3, 3, sparse=False),
        "b": drawn(2, directions, 2 * gates * 3, sparse=False),
    }
    nodes = [node(kind, ["x", "w", "r", "b"], hidden_size=3, **attributes)]
    return model(nodes, {"x": [5, 2, 4]}, parameters=parameters, opset=14)


def twice() -> Any:
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Relu", ["p"], ["r"]), node("MatMul", ["r", "w"])]
    return model(nodes, {"x": ["n", 4]}, parameters={"w": drawn(0, 4, 4, sparse=False)})


def einsum() -> Any:
    nodes = [node("Einsum", ["x", "w"], equation="nhd,hod->nho")]
    return model(nodes, {"x": ["n", 2, 4]}, parameters={"w": drawn(0, 2, 4, 4)})


def differs(made: Any) -> bool:
    """Return True if a simulation of the network reports a difference or is refused."""
    shape = [2 if length.dim_param else length.dim_value for length in made.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": activations(0, *shape) + np.float32(0.1)}
    try:
        result = simulate_network(compressed(Network.open(made, feeds)), feeds, ARRAY)
    except (InputError, ValueError, IndexError, AssertionError):  # shapes that do not fit any more
        return True
    reported = result.largest_difference > 1e-3
    # the whole network's outputs show it too, unless they do not depend on what is wrong
    assert reported == (result.output_difference > 1e-4)
    return reported


NETWORKS: dict[str, Callable[[], Any]] = {
    "strides of Conv": lambda: conv(strides=[2]),
    "dilations of Conv": lambda: conv(dilations=[2]),
    "pads of Conv": lambda: conv(pads=[1, 0]),
    "group of Conv": lambda: conv(group=2),
    "auto_pad of Conv": lambda: conv(auto_pad="SAME_LOWER"),
    "strides of ConvTranspose": lambda: transposed(strides=[2]),
    "dilations of ConvTranspose": lambda: transposed(dilations=[2]),
    "pads of ConvTranspose": lambda: transposed(pads=[1, 0]),
    "group of ConvTranspose": lambda: transposed(group=2),
    "output_padding of ConvTranspose": lambda: transposed(strides=[2], output_padding=[1]),
    "output_shape of ConvTranspose": lambda: transposed(strides=[2], output_shape=[14]),
    "auto_pad of ConvTranspose": lambda: transposed(strides=[2], auto_pad="SAME_LOWER"),
    "transA of Gemm": lambda: gemm(transA=1),
    "transB of Gemm": lambda: gemm(transB=1),
    "alpha of Gemm": lambda: gemm(alpha=0.5),
    "beta of Gemm": lambda: gemm(beta=0.5),
    "direction of LSTM": lambda: recurrent("LSTM", direction="reverse"),
    "direction of GRU": lambda: recurrent("GRU", direction="reverse"),
    "direction of RNN": lambda: recurrent("RNN", direction="reverse"),
    "linear_before_reset of GRU": lambda: recurrent("GRU", linear_before_reset=1),
    "activations of RNN": lambda: recurrent("RNN", activations=["Relu"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_attribute_that_is_not_read_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = NETWORKS[name]()
    assert not differs(made)
    attribute = name.split()[0]
    read = surgery.attributes
    monkeypatch.setattr(
        products, "attributes", lambda of: {key: value for key, value in read(of).items() if key != attribute}
    )
    assert differs(made)


def _without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stored.array_matrices
    monkeypatch.setattr(stored, "array_matrices", lambda layer, store, _: made(layer, store, None))


def _second_call_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    find = products.find_products

    def losing(*arguments: Any) -> Any:
        found = find(*arguments)
        run = found[-1].run
        object.__setattr__(found[-1], "run", lambda *given: tuple(0 * each for each in run(*given)))
        return found

    monkeypatch.setattr(layers, "find_products", losing)


def _groups_permuted(monkeypatch: pytest.MonkeyPatch) -> None:
    unroll = products.unrolled

    def permuted(*arguments: Any) -> Any:
        vectors, sizes = unroll(*arguments)
        return vectors[::-1], sizes

    monkeypatch.setattr(products, "unrolled", permuted)


def _positions_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    unroll = products.unrolled

    def reversed_positions(*arguments: Any) -> Any:
        vectors, sizes = unroll(*arguments)
        return vectors[:, ::-1], sizes

    monkeypatch.setattr(products, "unrolled", reversed_positions)


def _gates_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    following = products._next_state

    def swapped(kind: str, parts: Any, from_input: Any, *more: Any) -> Any:
        halves = np.split(from_input, from_input.shape[1] // 3, axis=1)
        return following(kind, parts, np.concatenate([halves[1], halves[0], *halves[2:]], axis=1), *more)

    monkeypatch.setattr(products, "_next_state", swapped)


def _state_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    following = products._next_state
    monkeypatch.setattr(
        products,
        "_next_state",
        lambda kind, parts, entering, state, *more: following(kind, parts, entering, 0 * state, *more),
    )


def _matrix_transposed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = products.find_products

    def transposing(*arguments: Any) -> Any:
        found = find(*arguments)
        for part in found[0].parts:
            matrix = part.matrix
            object.__setattr__(part, "matrix", lambda w, matrix=matrix: np.swapaxes(matrix(w), 1, 2))
        return found

    monkeypatch.setattr(layers, "find_products", transposing)


def _wrong_places(monkeypatch: pytest.MonkeyPatch) -> None:
    one = layers._one_parameter

    def rolled(*arguments: Any) -> Any:
        weight, places = one(*arguments)
        return weight, np.roll(places, 1, axis=-1)

    monkeypatch.setattr(layers, "_one_parameter", rolled)


def _groups_of_matrices_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stored.array_matrices
    monkeypatch.setattr(stored, "array_matrices", lambda *arguments: made(*arguments)[::-1])


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], Any]]] = [
    (_without_bias, conv),
    (_without_bias, gemm),
    (_without_bias, lambda: recurrent("LSTM")),
    (_second_call_lost, twice),
    (_groups_permuted, lambda: conv(group=2)),
    (_groups_of_matrices_swapped, lambda: conv(group=2)),
    (_groups_of_matrices_swapped, lambda: transposed(group=2)),
    (_groups_of_matrices_swapped, einsum),
    (_positions_reversed, conv),
    (_gates_swapped, lambda: recurrent("LSTM")),
    (_gates_swapped, lambda: recurrent("GRU")),
    (_gates_swapped, lambda: recurrent("GRU", linear_before_reset=1)),
    (_state_forgotten, lambda: recurrent("LSTM")),
    (_state_forgotten, lambda: recurrent("RNN")),
    (_matrix_transposed, gemm),
    (_matrix_transposed, einsum),
    (_wrong_places, conv),
    (_wrong_places, transposed),
    (_wrong_places, lambda: recurrent("GRU")),
]


@pytest.mark.parametrize("number", range(len(PLANTED)))
def test_a_planted_fault_is_seen(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, make = PLANTED[number]
    assert not differs(make())
    plant(monkeypatch)
    assert differs(make())
