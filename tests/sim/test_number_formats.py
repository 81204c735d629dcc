"""Number formats of a network: fitted once on calibration inputs, and then held, whatever comes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, FixedPoint, compute_network, fit_formats, pack, simulate, simulate_network
from sim.fixed_point import fitted_format
from sim.number_formats import formats_of_plain, plain_formats
from tests.sim.test_network import branches, drawn_layer, images_of, small_images
from tests.traces.graph.graphs import compressed, drawn, model, node
from traces import CompressedLayer, CompressedNetwork, InputError, Network

ARRAY = ArrayConfig(num_pes=4, weight_bits=8, precision="fixed-16")
NARROW = replace(ARRAY, precision="fixed-8")
CODEBOOK = np.array([0, 0.5, 1, -1], dtype=np.float32)


DOUBLES = CompressedLayer("before", np.full((4, 4), 2, dtype=np.uint8), CODEBOOK)
HUGE = np.full((1, 4), 3e38, dtype=np.float32)


def classifier() -> CompressedLayer:
    """Return a layer whose output is its input, so that the largest input is the answer."""
    return CompressedLayer("copy", 2 * np.eye(4, dtype=np.uint8), CODEBOOK)


def test_the_formats_of_layers_are_those_of_all_their_vectors() -> None:
    first, second = drawn_layer("first", 9, 12), drawn_layer("second", 5, 9, seed=3)
    inputs = images_of(40, 12)
    hidden = np.maximum(inputs @ first.weights().T + first.bias_values(), 0).astype(np.float32)
    formats = fit_formats([first, second], inputs, ARRAY)
    first_format = fitted_format(pack(first, ARRAY), inputs, 16)
    assert formats == {"first": first_format, "second": fitted_format(pack(second, ARRAY), hidden, 16)}


@pytest.mark.parametrize("precision", ["fixed-8", "fixed-16", "fixed-32"])
def test_formats_and_outputs_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, precision: Any) -> None:
    network, images = branches(), small_images(5)
    config = replace(ARRAY, precision=precision)
    whole = simulate_network(network, images, config)
    assert fit_formats(network, images[::-1], config) == whole.number_formats
    singles = [
        simulate_network(network, image[np.newaxis], config, number_formats=whole.number_formats) for image in images
    ]
    monkeypatch.setattr("sim.network.CHUNK_BYTES", 20_000)  # less than three inputs
    in_chunks = simulate_network(network, images, config)
    assert in_chunks.number_formats == whole.number_formats
    np.testing.assert_array_equal(in_chunks.output, whole.output)
    np.testing.assert_array_equal(in_chunks.cycles, whole.cycles)
    np.testing.assert_array_equal(in_chunks.overflows, whole.overflows)
    np.testing.assert_array_equal(np.concatenate([one.output for one in singles]), whole.output)


def test_every_product_has_one_format_of_the_precision_s_width() -> None:
    result = simulate_network(branches(), small_images(3), NARROW)
    assert set(result.number_formats) == {"first", "left", "right", "last"}
    assert {each.bits for each in result.number_formats.values()} == {8}
    assert [layer.number_format for layer in result.layers] == list(result.number_formats.values())
    exact = simulate_network(branches(), small_images(3), replace(ARRAY, precision="float"))
    assert exact.number_formats == {}
    assert {layer.number_format for layer in exact.layers} == {None}


def test_groups_of_a_convolution_share_a_format() -> None:
    weights = {"w": drawn(0, 4, 1, 3, 3), "b": np.array([1, 2, -300, 4], dtype=np.float32)}
    nodes = [node("Conv", ["x", "w", "b"], group=2)]
    network = compressed(Network.open(model(nodes, {"x": ["n", 2, 6, 6]}, parameters=weights)))
    images = small_images(2)[:, :2, :6, :6].copy()
    images[:, 1] *= 40
    (found,) = fit_formats(network, images, ARRAY).values()
    assert found.activation_fraction_bits == 15 - int(np.ceil(np.log2(np.abs(images).max())))
    output = network.network.run(images)["y"]
    assert found.accumulator_fraction_bits == 15 - int(np.ceil(np.log2(2 * np.abs(output).max())))
    assert not simulate_network(network, images, ARRAY).overflows.any()


def test_the_outputs_alone_are_those_of_the_simulation_bit_by_bit() -> None:
    network, images = branches(), small_images(4)
    for precision in ("float", "fixed-16", "fixed-8"):
        config = replace(ARRAY, precision=precision)
        formats = None if precision == "float" else fit_formats(network, images[:1] / 4, config)
        done = Counter[str]()
        whole = simulate_network(network, images, config, number_formats=formats)
        alone = compute_network(network, images, config, number_formats=formats, after_input=partial(done.update, "x"))
        np.testing.assert_array_equal(alone.output, whole.output)
        np.testing.assert_array_equal(alone.overflows, whole.overflows)
        np.testing.assert_array_equal(alone.saturated_activations, whole.saturated_activations)
        assert done["x"] == 4
    assert whole.saturated_activations.all()


def test_inputs_beyond_the_calibration_saturate_and_change_answers() -> None:
    layer, inputs = classifier(), np.array([[1, 2, 3, 4], [4, 3, 2, 1], [90, 80, 2, 100]], dtype=np.float32)
    formats = fit_formats([layer], inputs[:2], NARROW)
    found = simulate_network([layer], inputs, NARROW, number_formats=formats)
    assert found.saturated_activations.tolist() == [0, 0, 3]
    assert found.output.argmax(axis=1).tolist() == [3, 0, 0]  # 4 at most: the first of three
    fitted = simulate_network([layer], inputs, NARROW)
    assert fitted.saturated_activations.tolist() == [0, 0, 0]
    assert fitted.output.argmax(axis=1)[2] == 3


def test_sums_beyond_the_calibration_overflow_and_are_counted() -> None:
    layer = CompressedLayer("sums", np.full((1, 6), 2, dtype=np.uint8), CODEBOOK)
    formats = fit_formats([layer], np.eye(6, dtype=np.float32), NARROW)
    result = simulate_network([layer], np.ones((1, 6), dtype=np.float32), NARROW, number_formats=formats)
    (number,) = formats.values()
    assert number.accumulator_fraction_bits == 5  # 1, twice, below 4
    assert result.overflows.tolist() == [3]
    assert result.output[0, 0] == 127 / 32
    one = simulate(layer, np.ones(6, dtype=np.float32), NARROW, number_format=number)
    assert one.overflows == result.overflows[0]


def test_a_state_is_fed_on_while_formats_are_fitted() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("MatMul", ["h", "r"], ["q"]),
        node("Add", ["p", "q"], ["new"]),
        node("Identity", ["new"], ["y"]),
    ]
    weights = {"w": np.array([[1.0]], dtype=np.float32), "r": np.array([[2.0]], dtype=np.float32)}
    network = compressed(Network.open(model(nodes, {"x": ["n", 1], "h": ["n", 1]}, ("y", "new"), weights)))
    feeds = {"x": np.ones((6, 1), dtype=np.float32), "h": np.zeros((1, 1), dtype=np.float32)}
    formats = fit_formats(network, feeds, ARRAY, state={"h": "new"})
    assert formats["r"].activation_fraction_bits == 15 - 5  # 31 enters the last step
    result = simulate_network(network, feeds, ARRAY, state={"h": "new"})
    assert result.number_formats == formats
    assert result.output["y"].ravel().tolist() == [1, 3, 7, 15, 31, 63]


def test_formats_as_plain_values_come_back() -> None:
    formats = fit_formats(branches(), small_images(2), NARROW)
    assert formats_of_plain(plain_formats(formats)) == formats


Action = Callable[[CompressedNetwork, Any, dict[str, FixedPoint]], object]
REFUSED: list[tuple[str, Action]] = [
    (
        "number_formats have no effect with precision='float'; give the array a fixed precision",
        lambda network, images, formats: simulate_network(
            network, images, replace(ARRAY, precision="float"), number_formats=formats
        ),
    ),
    (
        "found none for layer 'left'; fit them on calibration inputs that call it",
        lambda network, images, formats: simulate_network(
            network, images, ARRAY, number_formats={name: each for name, each in formats.items() if name != "left"}
        ),
    ),
    (
        "must be those of the network's layers, first, last, left, right; found one for 'other'; fit them to this",
        lambda network, images, formats: compute_network(
            network, images, ARRAY, number_formats={**formats, "other": formats["left"]}
        ),
    ),
    (
        "precision='fixed-8', so each of number_formats must have 8 bits; found 16 for layer 'first'; fit them for",
        lambda network, images, formats: simulate_network(network, images, NARROW, number_formats=formats),
    ),
    (
        "number formats are those of fixed point, but the array has precision='float'; give none",
        lambda network, images, _: fit_formats(network, images, ArrayConfig()),
    ),
    (
        "layer 'copy': every activation of the calibration inputs must be finite; found inf; leave out the input",
        lambda *_: fit_formats([DOUBLES, classifier()], HUGE, ARRAY),
    ),
]


@pytest.mark.parametrize(("sentence", "action"), REFUSED, ids=[sentence[:40] for sentence, _ in REFUSED])
def test_formats_that_do_not_fit_are_refused_by_name(sentence: str, action: Action) -> None:
    network, images = branches(), small_images(2)
    formats = fit_formats(network, images, ARRAY)
    with pytest.raises(InputError) as refused:
        action(network, images, formats)
    assert sentence in str(refused.value)


def test_formats_do_not_depend_on_codebooks_of_pes() -> None:
    plain = drawn_layer("first", 9, 12)
    numbers = np.array([0, 1, 2, 0, 1, 2, 2, 0, 1], dtype=np.uint16)  # suits arrays of 3 PEs, and not of 4
    same = replace(plain, codebook=np.stack([plain.codebook] * 3), row_codebooks=numbers)
    inputs = images_of(10, 12)
    formats = fit_formats([plain], inputs, ARRAY)
    assert fit_formats([same], inputs, ARRAY) == formats
    array = replace(ARRAY, num_pes=3)
    run = simulate_network([same], inputs, array)
    assert run.number_formats == formats
    np.testing.assert_array_equal(simulate_network([same], inputs, array, number_formats=formats).output, run.output)
