"""Names of layers in narrow tables, and the line that compares a run with a dense array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, ProductShape, compare_with_dense, simulate, simulate_network
from sim.dense_comparison import dense_words
from sim.observe.cycles import cycle_breakdown
from sim.observe.screen import print_layer, print_network, short_names
from traces import draw_layer


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["net/dense/MatMul/weights", "net/dense_1/MatMul/weights"], ["dense", "dense_1"]),
        (["model.layers.0.fc", "model.layers.1.fc"], ["0", "1"]),
        (["fc1", "fc2", "fc3"], ["fc1", "fc2", "fc3"]),
        (["a.b", "a.b.c"], ["b", "b.c"]),
        (["only.one"], ["only.one"]),
        (["w[0]", "w[1]"], ["w[0]", "w[1]"]),
        (["net/a/w", "net/b/c/w"], ["a", "b/c"]),
    ],
)
def test_parts_that_all_names_share_are_left_out(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


def dense_line(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("Dense: ")]
    return line.removeprefix("Dense:").strip()


def test_layers_and_networks_are_compared_with_a_dense_array(capsys: pytest.CaptureFixture[str]) -> None:
    layer, activations = draw_layer("fc", 100, 64, 0.2, 0.5, seed=1)
    array = ArrayConfig(num_pes=4)
    result = simulate(layer, activations, array)
    print_layer("fc", ProductShape(100, 64), result, cycle_breakdown(layer, activations, array))
    expected = compare_with_dense([ProductShape(100, 64)], array, result.latency_us, result.energy.total_nj, 16)
    assert dense_line(capsys.readouterr().out) == str(expected)
    network = simulate_network([layer], np.stack([activations, activations]), array)
    assert network.shapes == (ProductShape(100, 64),)
    print_network("one layer", network)
    costs = float(network.latency_us.mean()), float(network.energy_nj.mean())
    expected = compare_with_dense([ProductShape(100, 64)], array, *costs, 16)
    assert dense_line(capsys.readouterr().out) == str(expected)


@pytest.mark.parametrize(
    ("changes", "shapes", "fits", "words"),
    [
        ({}, [ProductShape(9, 9)], False, "not compared: this run takes weights or activations as if they fitted"),
        ({"memory_mode": "streamed"}, [ProductShape(9, 9)], False, "sparse wins in time and energy; "),
        ({"precision": "fixed-32"}, [ProductShape(9, 9)], True, "not compared: bits must be 8 or 16; found 32"),
        ({"sparse_matrix_bytes": 64}, [ProductShape(9, 9)], True, "not compared: an SRAM must have"),
        ({}, [], True, "not compared: no layer is multiplied with the inputs"),
    ],
)
def test_what_is_not_compared_says_why(
    changes: dict[str, Any], shapes: list[ProductShape], fits: bool, words: str
) -> None:
    assert dense_words(shapes, ArrayConfig(num_pes=1, **changes), 1e-6, 1e-6, fits).startswith(words)


@pytest.mark.parametrize(
    ("fits", "layers", "alone", "compared"),
    [(True, 1, True, False), (False, 1, True, True), (False, 2, True, False), (True, 2, False, True)],
)
def test_layers_that_are_streamed_though_they_fit_are_not_compared(
    fits: bool, layers: int, alone: bool, compared: bool
) -> None:
    streamed = ArrayConfig(num_pes=1, memory_mode="streamed")
    said = dense_words([ProductShape(9, 9)] * layers, streamed, 1.0, 1.0, fits, alone)
    assert said.startswith("not compared: memory_mode streamed loads a layer from DRAM even if it fits") != compared


def test_the_line_says_that_the_pes_alone_pay_for_activations_in_dram(capsys: pytest.CaptureFixture[str]) -> None:
    layer, activations = draw_layer("fc", 1000, 600, 0.2, 0.5, seed=1)
    for activation_bytes, spills in ((512, True), (2048, False)):
        array = ArrayConfig(num_pes=4, activation_bytes=activation_bytes, memory_mode="passes")
        network = simulate_network([layer], activations[np.newaxis], array)
        assert (network.spilled_words > 0) == spills
        print_network("one layer", network)
        said = dense_line(capsys.readouterr().out)
        assert said.endswith(" Activations that pass through DRAM are charged to the PEs alone.") == spills
