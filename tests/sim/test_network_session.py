"""Sessions: steps with the state that earlier ones left, and what the state costs."""

from __future__ import annotations

import dataclasses
import re
import warnings
from typing import Any

import numpy as np
import pytest

from compress import CompressionConfig, LayerSettings, compress
from sim import ArrayConfig, DoesNotFitWarning, NetworkSession, fit_formats, simulate_network
from sim.cost.constants import NOMINAL
from tests.sim.decoders import (
    PLACES,
    STATE,
    VOCABULARY,
    WIDTH,
    expected_logits,
    fixed_decoder,
    growing_decoder,
)
from tests.traces.graph.graphs import compressed, drawn, model, node
from traces import InputError, Network

ARRAY = ArrayConfig(num_pes=4, weight_bits=8)
TOKENS = [3, 1, 8, 1, 0]


def session(network: Network, array: ArrayConfig = ARRAY, **more: Any) -> NetworkSession:
    return NetworkSession(compressed(network), array, state=STATE, **more)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_keys_and_values_grow_from_nothing_and_give_the_logits_of_the_whole_sequence(batch: int | str) -> None:
    run = session(growing_decoder(batch))
    assert run.outputs == ("logits",)
    assert run.state["keys"].shape == (1, 0, WIDTH)
    found = np.concatenate([run.step(np.array([[token]])).output["logits"][0] for token in TOKENS])
    np.testing.assert_allclose(found, expected_logits(TOKENS), rtol=1e-4, atol=1e-4)
    assert run.state["keys"].shape == run.state["values"].shape == (1, len(TOKENS), WIDTH)


def test_a_cache_of_fixed_size_gives_the_same_logits_and_is_read_whole() -> None:
    run = session(fixed_decoder())
    results = [run.step({"tokens": [[token]], "position": [[[place]]]}) for place, token in enumerate(TOKENS)]
    found = np.concatenate([result.output["logits"][0] for result in results])
    np.testing.assert_allclose(found, expected_logits(TOKENS), rtol=1e-4, atol=1e-4)
    for result in results:
        assert result.state_costs is not None
        assert result.state_costs.read_bytes.tolist() == [2 * PLACES * WIDTH * 2]
        assert result.state_costs.write_bytes.tolist() == [2 * WIDTH * 2]
    before = run.state
    with pytest.raises(InputError, match="ONNX Runtime cannot run the network on these inputs"):
        run.step({"tokens": [[1]], "position": [[[PLACES]]]})
    assert run.state is before


def test_a_growing_state_costs_what_it_reads_and_appends() -> None:
    run = session(growing_decoder())
    for past, token in enumerate(TOKENS):
        costs = run.step([[token]]).state_costs
        assert costs is not None
        read, written = 2 * past * WIDTH * 2, 2 * WIDTH * 2
        assert (costs.read_bytes.tolist(), costs.write_bytes.tolist()) == ([read], [written])
        assert costs.energy_pj.tolist() == [(read + written) * NOMINAL.dram_pj_per_byte]


def test_steps_of_a_session_are_those_of_simulate_network() -> None:
    network = growing_decoder()
    run = session(network, host_lanes=2)
    steps = [run.step([[token]]) for token in TOKENS]
    inputs = {"tokens": np.array(TOKENS)[:, np.newaxis], **{name: np.zeros((1, 0, WIDTH)) for name in STATE}}
    whole = simulate_network(compressed(network), inputs, ARRAY, state=STATE, host_lanes=2)
    assert whole.cycles.tolist() == [int(step.cycles[0]) for step in steps]
    assert whole.energy_pj.tolist() == [float(step.energy_pj[0]) for step in steps]
    assert whole.output["logits"].shape == (len(TOKENS), 1, VOCABULARY)
    np.testing.assert_array_equal(whole.output["new_keys"], run.state["keys"])  # it grows: that of the last step
    for place, step in enumerate(steps):
        np.testing.assert_array_equal(whole.output["logits"][place], step.output["logits"][0])
        for many, one in zip(whole.layers, step.layers, strict=True):
            for name in ("broadcasts", "line_reads", "port_words", "switch_cycles", "dram_read_bytes"):
                assert getattr(many, name)[place] == getattr(one, name)[0], name
    assert whole.state_costs is not None
    for name in ("read_bytes", "write_bytes", "energy_pj"):
        costs: Any = [getattr(step.state_costs, name)[0] for step in steps]
        assert getattr(whole.state_costs, name).tolist() == costs
    macs = [sum(each.macs for each in step.off_array.values()) for step in steps]
    assert macs == [2 * WIDTH * (past + 1) for past in range(len(TOKENS))]
    assert sum(each.macs for each in whole.off_array.values()) == np.mean(macs)
    assert max(step.live_words for step in steps) == whole.live_words
    assert 0 < whole.largest_difference <= max(step.largest_difference for step in steps)


def test_the_state_is_no_feature_map() -> None:
    """The fullest moment is a product of WIDTH with WIDTH values, beside keys and values that were computed before."""
    run = session(growing_decoder())
    live = [run.step([[token]]).live_words for token in TOKENS]
    assert live[-1] - live[0] < len(TOKENS)  # scores grow, keys and values do not count


def test_feature_maps_of_each_step_go_through_dram_where_they_do_not_fit() -> None:
    small = dataclasses.replace(ARRAY, num_pes=1, activation_bytes=48, memory_mode="passes")
    first = {name: drawn(number, 1, 40, WIDTH) for number, name in enumerate(STATE)}
    run = session(growing_decoder(), small, first=first)
    steps = [run.step([[token]]) for token in TOKENS]
    spilled = [2 * max(0, step.live_words - 24) for step in steps]
    assert 0 < spilled[0] < spilled[-1]
    inputs = {"tokens": np.array(TOKENS)[:, np.newaxis], **first}
    whole = simulate_network(compressed(growing_decoder()), inputs, small, state=STATE)
    assert np.sum([layer.spill_bytes for layer in whole.layers], axis=0).tolist() == spilled
    assert [sum(int(layer.spill_bytes[0]) for layer in step.layers) for step in steps] == spilled


def test_layers_that_do_not_stay_are_loaded_in_each_step() -> None:
    small = dataclasses.replace(ARRAY, num_pes=1, sparse_matrix_bytes=128, memory_mode="passes")
    run = session(growing_decoder(), small)
    bytes_by_step = [sum(int(layer.load_bytes.sum()) for layer in run.step([[token]]).layers) for token in TOKENS]
    assert bytes_by_step[0] > 0
    assert len(set(bytes_by_step)) == 1
    unlimited = session(growing_decoder(), dataclasses.replace(small, memory_mode="unlimited"))
    with pytest.warns(DoesNotFitWarning, match="exceeds"):
        unlimited.step([[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoesNotFitWarning)
        assert unlimited.step([[1]]).shortfalls  # said once


def test_activations_up_to_the_threshold_are_not_broadcast_in_any_step() -> None:
    sums = []
    for threshold in (0.0, 1.0):
        settings = LayerSettings(density=1.0, weight_bits=5, activation_threshold=threshold)
        thresholded = compress(growing_decoder(), CompressionConfig(settings))
        run = NetworkSession(thresholded, dataclasses.replace(ARRAY, weight_bits=5), state=STATE)
        steps = [run.step([[token]]) for token in TOKENS]
        assert max(step.output_difference for step in steps) < 1e-5
        sums.append(sum(int(layer.broadcasts[0]) for step in steps for layer in step.layers))
    assert 0 < sums[1] < 0.8 * sums[0]


def test_a_session_in_fixed_point_takes_fitted_formats() -> None:
    network, array = growing_decoder(), dataclasses.replace(ARRAY, precision="fixed-16")
    with pytest.raises(InputError, match="a session with precision='fixed-16' needs number_formats"):
        session(network, array)
    inputs = {"tokens": np.array(TOKENS)[:, np.newaxis], **{name: np.zeros((1, 0, WIDTH)) for name in STATE}}
    formats = fit_formats(compressed(network), inputs, array, state=STATE)
    run = session(network, array, number_formats=formats)
    found = np.concatenate([run.step([[token]]).output["logits"][0] for token in TOKENS])
    whole = simulate_network(compressed(network), inputs, array, state=STATE, number_formats=formats)
    np.testing.assert_array_equal(found, whole.output["logits"][:, 0])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"state": {}}, "a session feeds a state on; name it in state, or run the inputs with simulate_network"),
    ({"state": {"keys": "absent"}}, "state must name an input and the output that it is, of tokens, keys, values and"),
    ({"state": {"absent": "new_keys"}}, "found absent: new_keys"),
    (
        {"state": STATE, "first": {"tokens": [[1]]}},
        "first values must be those of the state, keys, values; found tokens",
    ),
    ({"state": STATE, "first": {"keys": np.zeros((1, 2, 3))}}, r"input 'keys' must be float32 \[1, any, 6\]; found"),
    ({"state": STATE, "first": {"keys": np.full((1, 1, 6), np.nan)}}, "input 'keys' must be finite"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_a_state_that_is_none_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        NetworkSession(compressed(growing_decoder()), ARRAY, **arguments)


def test_a_state_of_several_sequences_is_refused() -> None:
    first = {name: np.zeros((2, 1, WIDTH)) for name in STATE}
    sentence = r"state 'keys' must be its value before the first step, of length 1 on axis 0; found \[2, 1, 6\]"
    with pytest.raises(InputError, match=sentence):
        session(growing_decoder("batch"), first=first)


def test_an_output_that_its_input_does_not_take_is_refused_and_the_session_goes_on() -> None:
    run = NetworkSession(compressed(growing_decoder()), ARRAY, state={"keys": "logits", "values": "new_values"})
    sentence = "state 'keys' must be float32 [1, any, 6], as the input takes it; found float32 [1, 1, 9] of output"
    for _ in range(2):
        with pytest.raises(InputError, match=re.escape(sentence)):
            run.step([[1]])
        assert run.state["values"].shape == (1, 0, WIDTH)


def test_a_state_of_another_type_is_refused() -> None:
    nodes = [
        node("MatMul", ["h", "w"], ["p"]),
        node("Add", ["p", "x"], ["y"]),
        node("Cast", ["y"], ["whole"], to=7),
    ]
    made = model(nodes, {"x": [1, 3], "h": [1, 3]}, ("y", "whole"), {"w": drawn(0, 3, 3)}, types={"whole": np.int64})
    run = NetworkSession(compressed(Network.open(made)), ARRAY, state={"h": "whole"})
    with pytest.raises(InputError, match=r"state 'h' must be float32 \[1, 3\], .* found int64 \[1, 3\] of output 'who"):
        run.step(np.ones((1, 3)))


def test_a_step_that_is_interrupted_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run, alone = session(growing_decoder()), session(growing_decoder())
    with monkeypatch.context() as patch:
        patch.setattr("traces.graph.inputs.next_state", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.step([[3]])
    found, expected = run.step([[3]]), alone.step([[3]])
    assert found.cycles.tolist() == expected.cycles.tolist()
    np.testing.assert_array_equal(found.output["logits"], expected.output["logits"])


def test_a_network_without_state_is_no_session() -> None:
    network = Network.open(model([node("MatMul", ["x", "w"])], {"x": ["n", 4]}, parameters={"w": drawn(0, 4, 3)}))
    with pytest.raises(InputError, match="state must name an input and the output that it is, of x and y; found keys"):
        NetworkSession(compressed(network), ARRAY, state={"keys": "new_keys"})


def test_inputs_of_a_step_that_do_not_fit_are_refused() -> None:
    run = session(growing_decoder())
    for inputs, sentence in (
        (np.zeros((1, 0), dtype=np.int64), r"input 'tokens' must be int64 \[1, any\], at least one value; found"),
        (np.ones((2, 1), dtype=np.int64), "a session runs one sequence; found inputs of 2"),
        ({"tokens": [[1]], "keys": np.zeros((1, 1, WIDTH))}, "inputs must be tokens; unknown keys"),
        (np.array([[0.5]]), "input 'tokens' must be int64"),
        ([[VOCABULARY]], "ONNX Runtime cannot run the network on these inputs"),
    ):
        with pytest.raises(InputError, match=sentence):
            run.step(inputs)
    assert run.step([[1]]).cycles.shape == (1,)


def test_thresholds_hold_for_the_inputs_and_the_state_of_every_step() -> None:
    weights, recurrent = drawn(0, 4, 3), drawn(1, 3, 3)
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["h", "u"], ["b"]), node("Sum", ["a", "b"], ["s"])]
    nodes.append(node("Tanh", ["s"], ["next"]))
    made = model(nodes, {"x": (1, 4), "h": (1, 3)}, ["next"], {"w": weights, "u": recurrent})
    network = compressed(Network.open(made)).with_thresholds({"w": 0.4, "u": 0.3})
    run = NetworkSession(network, ARRAY, state={"h": "next"})
    steps, state = np.random.default_rng(0).normal(size=(6, 1, 4)).astype(np.float32), np.zeros((1, 3))
    for step in steps:
        above = [np.where(np.abs(each) > limit, each, 0) for each, limit in ((step, 0.4), (state, 0.3))]
        state = np.tanh(above[0] @ weights + above[1] @ recurrent)
        result = run.step({"x": step})
        np.testing.assert_allclose(result.output, state, atol=1e-6)
        assert [layer.broadcasts.tolist() for layer in result.layers] == [[np.count_nonzero(each)] for each in above]
