"""Containers that are simulated whole: their inputs, labels, state, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress import CompressedModel, CompressionConfig, LayerSettings, compress
from designs import advise, run_container
from designs.commands.breakeven import breakeven
from designs.result_files import BREAKEVEN_COLUMNS, BREAKEVEN_FILE
from designs.results import read_results
from designs.screens.network_run import print_network_run
from sim import ArrayConfig, compare_with_dense
from sim.cost.constants import NOMINAL
from sim.network_schedule import LAYER_REGISTERS
from tests.designs.sweeps.test_recording import IMAGES, STEPS, cell, separable
from tests.sim.decoders import STATE, WIDTH, expected_logits, growing_decoder
from tests.traces.graph import graphs
from tests.traces.graph.graphs import activations, drawn, model, node
from traces import CompressedLayer, InputError, Network, draw_layer, write_npz

ARRAY = ArrayConfig(num_pes=4, weight_bits=6)
__all__ = ["cell", "separable"]  # fixtures


def test_a_network_is_simulated_from_files_and_compared_with_the_framework(
    separable: CompressedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separable.save(tmp_path / "network.dc")
    expected = separable.network.run(IMAGES[:4])[separable.network.outputs[0]]
    labels = expected.argmax(axis=1)
    np.savez(tmp_path / "inputs.npz", images=IMAGES)
    np.save(tmp_path / "labels.npy", np.append(labels, [0, 0]))
    run = run_container(
        tmp_path / "network.dc",
        ARRAY,
        tmp_path / "inputs.npz",
        most=4,
        labels=tmp_path / "labels.npy",
        host_lanes=2,
    )
    np.testing.assert_allclose(run.result.output, expected, rtol=1e-4, atol=1e-5)
    assert (run.inputs, run.accuracy, run.sequential) == (4, 1.0, False)
    print_network_run(run, advise(run))
    printed = capsys.readouterr().out
    for words in (
        "mean of 4 inputs",
        "Accuracy:   100.0% on these inputs",
        f"Outputs:    every product is within {run.result.largest_difference:.1e} of ONNX Runtime's",
        "3 Relu (1,",
        "Host: ",
        "depthwise",
        "392",
        "Try next: ",
    ):
        assert words in printed, words
    assert "no graph" not in printed


def test_codebooks_of_pes_are_on_the_screen_and_arrays_that_they_do_not_suit_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
    module = torch.nn.Sequential(torch.nn.Linear(20, 34), torch.nn.ReLU(), torch.nn.Linear(34, 3))
    inputs = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    settings = LayerSettings(0.6, 3, codebooks="pe", num_pes=4, codebook_bits=16)
    compress(module, CompressionConfig(settings), inputs=inputs).save(tmp_path / "own.dc")
    np.save(tmp_path / "inputs.npy", inputs)
    run = run_container(tmp_path / "own.dc", ArrayConfig(num_pes=4, weight_bits=3), tmp_path / "inputs.npy")
    assert [layer.num_codebooks for layer in run.result.layers] == [4, 3]
    assert [layer.switch_cycles[0] for layer in run.result.layers] == [4 * 2 + LAYER_REGISTERS, 3 * 2 + LAYER_REGISTERS]
    advice = advise(run)
    print_network_run(run, advice)
    printed = capsys.readouterr().out
    for words in ("bits of", "512", "384", "896"):  # 4 and 3 codebooks of 8 words of 16 bits
        assert words in printed, words
    changed = [change.what for change in advice.changes]
    assert "32 queue slots" in changed
    assert "2 PEs" not in changed  # four codebooks have no room there


def test_thresholds_of_layers_are_on_the_screen(
    separable: CompressedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separable.with_thresholds({"whole": 0.525}).save(tmp_path / "network.dc")
    run = run_container(tmp_path / "network.dc", ARRAY, IMAGES)
    print_network_run(run, advise(run))
    printed = capsys.readouterr().out
    (row,) = (line.split("│") for line in printed.splitlines() if "whole" in line)
    assert "0.525" in row[5]
    assert run.result.layers[0].activation_density < 0.6
    assert f"{run.result.layers[0].activation_density:.0%}" in row[6]
    assert "broadcast" in printed


def test_state_begins_with_zeros_or_with_what_is_given(cell: Path, tmp_path: Path) -> None:
    step, hidden = (entry.name for entry in CompressedModel.load(cell).network.inputs)
    state = {hidden: CompressedModel.load(cell).network.outputs[1]}
    np.save(tmp_path / "steps.npy", STEPS)
    write_npz(tmp_path / "begun.npz", {step: STEPS, hidden: np.ones((1, 7), dtype=np.float32)})
    from_zero = run_container(cell, ARRAY, tmp_path / "steps.npy", state=state)
    assert from_zero.inputs == len(STEPS)
    same = run_container(cell, ARRAY, {step: STEPS, hidden: np.zeros((1, 7), dtype=np.float32)}, state=state)
    begun = run_container(cell, ARRAY, tmp_path / "begun.npz", state=state)
    name = state[hidden]
    np.testing.assert_array_equal(from_zero.result.output[name], same.result.output[name])
    assert np.abs(from_zero.result.output[name][0] - begun.result.output[name][0]).max() > 0.01
    assert from_zero.result.largest_difference < 1e-5
    pairs = tuple(state.items())
    breakeven(ARRAY, (str(cell),), (1, 4), (8,), inputs=tmp_path / "steps.npy", state=pairs, out=tmp_path)
    rows = read_results(tmp_path / BREAKEVEN_FILE, BREAKEVEN_COLUMNS)[0].to_pylist()
    found = [(row["rows"], row["columns"], row["vectors"], row["runs"]) for row in rows]
    assert found == [(21, 5, 1, 1), (21, 5, 4, 1), (21, 7, 1, 1), (21, 7, 4, 1)]  # a step, of one or four sequences


def test_keys_and_values_begin_empty_and_are_costed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graphs.compressed(growing_decoder()).save(tmp_path / "decoder.dc")
    np.save(tmp_path / "tokens.npy", np.array([[3], [1], [8]]))
    array = ArrayConfig(num_pes=4, weight_bits=8)
    run = run_container(tmp_path / "decoder.dc", array, tmp_path / "tokens.npy", state=STATE)
    np.testing.assert_allclose(run.result.output["logits"][:, 0], expected_logits([3, 1, 8]), rtol=1e-4, atol=1e-4)
    per_place = 2 * WIDTH * 2
    assert run.result.state_costs is not None
    assert run.result.state_costs.read_bytes.tolist() == [0, per_place, 2 * per_place]
    print_network_run(run, advise(run))
    nj = float(NOMINAL.dram_pj_per_byte) * 2 * per_place / 1e3
    words = (
        f"{per_place} bytes are read from DRAM and {per_place} written for each step, {nj:.1f} nJ beside the array's"
    )
    said = capsys.readouterr().out
    assert f"State:      {words}" in said
    assert all(shape.vectors == shape.runs == 1 for shape in run.result.shapes)  # a token
    dense = compare_with_dense(
        run.result.shapes, run.result.config, run.result.latency_us.mean(), run.result.energy_nj.mean(), 16
    )
    assert f"Dense:      {dense}\n" in said


def test_inputs_of_a_file_may_be_the_same_for_all_steps(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "rate"], ["q"]), node("Add", ["q", "h"])]
    shapes: dict[str, list[int | str | None]] = {"x": ["n", 4], "rate": [], "h": [1, 5]}
    opened = Network.open(model(nodes, shapes, parameters={"w": drawn(0, 4, 5)}))
    compress(opened, CompressionConfig(LayerSettings(density=1.0, weight_bits=6))).save(tmp_path / "network.dc")
    x, rate, h = activations(0, 9, 4), np.array(0.5, dtype=np.float32), activations(1, 1, 5)
    write_npz(tmp_path / "named.npz", {"x": x, "rate": rate, "h": h})
    np.savez(tmp_path / "in_order.npz", x, rate, h)
    network = CompressedModel.load(tmp_path / "network.dc").network
    for file in ("named.npz", "in_order.npz"):
        run = run_container(tmp_path / "network.dc", ARRAY, tmp_path / file, most=3)
        np.testing.assert_allclose(run.result.output, network.run((x[:3], rate, h))["y"], rtol=1e-5, atol=1e-5)
    with_state = run_container(tmp_path / "network.dc", ARRAY, tmp_path / "named.npz", most=2, state={"h": "y"})
    assert (with_state.inputs, with_state.result.output.shape) == (2, (2, 5))


def test_what_does_not_fit_is_refused_in_a_sentence(separable: CompressedModel, cell: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.dc"
    separable.save(path)
    with pytest.raises(InputError, match=r"inputs is the file of the inputs; found the number 20; give .* most=20"):
        run_container(path, ARRAY, "20")
    with pytest.raises(InputError, match=r"must be float32 \[any, 3, .* found .* from test images of digits; give the"):
        run_container(path, ARRAY)
    with pytest.raises(InputError, match="there must be a label for each input; found 2 for 6 inputs"):
        run_container(path, ARRAY, IMAGES, labels=np.zeros(2))
    with pytest.raises(InputError, match="to 7 for the network's 8 outputs; found 8"):
        run_container(path, ARRAY, IMAGES, labels=np.full(6, 8))
    with pytest.raises(InputError, match="there must be 2 inputs"):
        run_container(cell, ARRAY, STEPS)
    with pytest.raises(InputError, match="found both"):
        run_container(path, ARRAY, IMAGES, tmp_path)
    with pytest.raises(InputError, match="most must be a whole number of at least 1; found 0"):
        run_container(path, ARRAY, IMAGES, most=0)


def test_a_container_without_a_graph_runs_only_fully_connected_layers_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, activations = draw_layer("first", 12, 18, 0.5, 1.0, seed=0)
    path = tmp_path / "network.dc"
    CompressedModel([layer]).save(path)
    run = run_container(path, ARRAY, activations)
    assert run.sequential
    print_network_run(run, advise(run))
    assert "has no graph: its layers run one after the other, with ReLU in between" in capsys.readouterr().out
    CompressedModel([layer], [(12, 2, 3, 3)]).save(path)
    with pytest.raises(
        InputError, match=r"fully connected .* found first.weight of shape \[12, 2, 3, 3\]; compress the"
    ):
        run_container(path, ARRAY, activations)
    square = CompressedLayer("cell.weight_hh_l0", layer.codes[:, :12], layer.codebook)
    CompressedModel([square], weight_names=[["cell.weight_hh_l0"]]).save(path)
    with pytest.raises(InputError, match=r"found cell\.weight_hh_l0 of shape"):
        run_container(path, ARRAY, activations[:12])
