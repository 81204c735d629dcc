"""Biases outside of the codebook: kept with their layer from the container to the array, and added there."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress import CompressedModel, ContainerReader
from designs.design import Packing
from designs.sweeps.network_run import run_container
from designs.sweeps.packings import packed_images
from designs.sweeps.workload import Workload, WorkloadLayer
from designs.sweeps.workload_source import open_workload
from sim import ArrayConfig, FixedPoint, pack, simulate, simulate_batch, simulate_network
from sim.observe.waveform import write_waveform
from sim.recurrent import simulate_gru, simulate_lstm
from sim.rtl import model as rtl_model
from sim.rtl.bench import simulate_rtl
from tests.layers import Case, cases
from tests.sim.test_machine import assert_same
from traces import CompressedLayer, InputError
from traces.files.npz import read_layer, write_layer

MISSING = rtl_model.missing_program("verilator", "make", "g++")
CODEBOOK = np.array([0, 0.5, -1, 2], dtype=np.float32)
ARRAY = ArrayConfig(num_pes=4, weight_bits=8)


def drawn(name: str, rows: int, columns: int, seed: int = 0) -> CompressedLayer:
    stream = np.random.default_rng(seed)
    codes = (stream.integers(0, 4, (rows, columns)) * (stream.random((rows, columns)) < 0.5)).astype(np.uint8)
    return CompressedLayer(name, codes, CODEBOOK, free_bias=stream.normal(size=rows).astype(np.float32))


def full(name: str, rows: int, code: int, free_bias: list[float]) -> CompressedLayer:
    """Return a layer of one column and one weight."""
    return CompressedLayer(
        name, np.full((rows, 1), code, dtype=np.uint8), CODEBOOK, free_bias=np.array(free_bias, dtype=np.float32)
    )


def without_bias(layer: CompressedLayer) -> CompressedLayer:
    return replace(layer, free_bias=None)


@settings(deadline=None, max_examples=100)
@given(cases(), st.integers(0, 9), st.sampled_from(["float", "fixed-32", "fixed-16", "fixed-8"]), st.booleans())
def test_both_engines_and_batches_add_it_and_count_what_they_did_without(
    case: Case, seed: int, precision: Any, reorder: bool
) -> None:
    layer, activations, config = case
    bias = np.random.default_rng(seed).normal(size=layer.rows).astype(np.float32)
    layer = replace(layer, bias=None, free_bias=bias)
    assert layer.free_bias is not None
    config = replace(config, precision=precision)
    order = np.random.default_rng(seed).permutation(layer.rows) if reorder else None
    packed, plain = (pack(each, config, order) for each in (layer, without_bias(layer)))
    fast = simulate(packed, activations, config)
    ticked = simulate(packed, activations, config, engine="reference")
    assert_same(fast, ticked)
    assert fast.overflows == ticked.overflows
    batch = simulate_batch(packed, np.stack([activations, activations]), config, fast.number_format)
    np.testing.assert_array_equal(batch.output, [fast.output, fast.output])
    before = simulate(plain, activations, config)
    assert_same(replace(fast, output=before.output), before)  # every counter is what it was
    expected = layer.weights().astype(np.float64) @ layer.thresholded(activations) + layer.free_bias
    if precision == "float":
        np.testing.assert_allclose(fast.output, expected, rtol=1e-6, atol=1e-6)
    elif precision == "fixed-32" and not fast.overflows:
        np.testing.assert_allclose(fast.output, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("axis", ["columns", "rows"])
@pytest.mark.parametrize("mode", ["passes", "streamed"])
@pytest.mark.parametrize("precision", ["float", "fixed-16"])
def test_a_layer_that_is_run_in_blocks_adds_it_once(axis: Any, mode: Any, precision: Any) -> None:
    layer = drawn("blocks", 64, 64)
    activations = np.linspace(-1, 1, 64, dtype=np.float32)
    whole = ArrayConfig(num_pes=4, precision=precision)
    small = replace(whole, memory_mode=mode, block_axis=axis, sparse_matrix_bytes=256)
    order = np.random.default_rng(1).permutation(64)
    for packed in (pack(layer, small), pack(layer, small, order)):
        fast = simulate(packed, activations, small)
        assert fast.blocks > 1
        assert_same(fast, simulate(packed, activations, small, engine="reference"))
        expected = simulate(layer, activations, whole).output
        np.testing.assert_allclose(fast.output, expected, rtol=1e-6, atol=1e-6)


def test_in_fixed_point_it_is_a_code_of_the_accumulators() -> None:
    layer = full("one", 4, 3, [0.3, -0.3, 200, 0.5])
    array = ArrayConfig(num_pes=2, precision="fixed-16")
    result = simulate(layer, [1], array, number_format=FixedPoint(16, 8, 8, 8))
    assert result.output_codes is not None
    assert result.output_codes.tolist() == [512 + 77, 512 - 77, 32_767, 512 + 128]  # to the nearest; at most the range
    assert result.overflows == 1  # 127.996, what the third begins with, and 2
    fitted = simulate(layer, [1], array)
    assert fitted.number_format is not None
    assert fitted.number_format.accumulator_fraction_bits == 16 - 1 - 9  # one bit to spare over 202
    opposite = full("minus", 1, 3, [-100])
    result = simulate(opposite, [50], array)
    assert (result.output.tolist(), result.overflows) == ([0], 0)
    assert result.number_format is not None
    assert result.number_format.accumulator_fraction_bits == 16 - 1 - 8  # of what it begins with, though it ends at 0


@pytest.mark.parametrize("precision", ["fixed-8", "fixed-16", "fixed-32"])
def test_products_far_smaller_than_it_do_not_saturate_it(precision: Any) -> None:
    bias = np.array([1, -0.5], dtype=np.float32)
    layer = CompressedLayer("tiny", np.ones((2, 3), dtype=np.uint8), np.float32(1e-9) * CODEBOOK, free_bias=bias)
    result = simulate(layer, [1e-20, 0, 1e-30], ArrayConfig(num_pes=2, precision=precision))
    assert result.output.tolist() == [1, -0.5]


@pytest.mark.skipif(MISSING is not None, reason=f"needs verilator, make and g++ ({MISSING} is missing)")
@pytest.mark.parametrize("reorder", [False, True])
def test_the_array_in_systemverilog_begins_with_it(reorder: bool) -> None:
    layer = drawn("rtl", 23, 11)
    array = ArrayConfig(num_pes=7, queue_slots=2, index_bits=3, precision="fixed-16")
    packed = pack(layer, array, np.random.default_rng(0).permutation(23) if reorder else None)
    activations = np.linspace(-1, 1, 11)
    found, expected = simulate_rtl(packed, activations, array), simulate(packed, activations, array)
    np.testing.assert_array_equal(found.output_codes, expected.output_codes)
    assert (found.cycles, found.energy) == (expected.cycles, expected.energy)


def test_a_waveform_has_the_same_result(tmp_path: Path) -> None:
    layer, activations = drawn("wave", 6, 5), np.ones(5)
    result = write_waveform(tmp_path / "run.vcd", layer, activations, ARRAY)
    np.testing.assert_array_equal(result.output, simulate(layer, activations, ARRAY).output)


def test_a_layer_keeps_it_in_every_form(tmp_path: Path) -> None:
    layer = drawn("fc", 6, 5)
    assert layer.free_bias is not None
    assert layer.free_bias.dtype.name == "float32"
    assert not layer.free_bias.flags.writeable
    layer.bias_values()[:] = 0  # a copy
    write_layer(tmp_path / "fc.npz", layer)
    ones = np.ones((1, 5), dtype=np.float32)
    workload = Workload("one", (WorkloadLayer(layer, ones),))
    workload.write(tmp_path / "workload")
    opened = Workload.open(tmp_path / "workload")
    assert opened.digest == workload.digest
    assert workload.digest != Workload("one", (WorkloadLayer(without_bias(layer), ones),)).digest
    images = packed_images(opened, Packing(4, 4, "entries"), tmp_path / "packed", share=True)
    others = [
        read_layer(tmp_path / "fc.npz")[0],
        pickle.loads(pickle.dumps(layer)),
        opened.layers[0].layer,
        images[0][0].layer,
        layer.part(slice(None)),
    ]
    for other in others:
        assert other.free_bias is not None
        np.testing.assert_array_equal(other.free_bias, layer.free_bias)
        np.testing.assert_array_equal(other.bias_values(), layer.free_bias)
        assert np.abs(other.bias_values()).min() > 0
        assert other.num_parameters == 30
    halves = layer.part(np.array([4, 1]))
    assert halves.bias_values().tolist() == layer.free_bias[[4, 1]].tolist()
    np.testing.assert_array_equal(halves.weights(), layer.weights()[[4, 1]])


@pytest.mark.parametrize(
    ("bias", "free_bias", "sentence"),
    [
        (None, [1.0, 2.0], "free_bias must be real numbers [3], one value per row; found float64 [2]"),
        (None, ["a", "b", "c"], "free_bias must be real numbers [3], one value per row; found <U1 [3]"),
        (None, [1, np.inf, 2], "every value of free_bias must be finite as float32"),
        (None, [1, 1e39, 2], "every value of free_bias must be finite as float32"),
        ([1, 1, 1], [1, 2, 3], "a bias must be codes (bias) or values (free_bias); found both; give their sum"),
    ],
)
def test_one_that_cannot_be_gets_a_sentence(bias: Any, free_bias: Any, sentence: str) -> None:
    codes = np.ones((3, 2), dtype=np.uint8)
    with pytest.raises(InputError, match=re.escape(f"layer 'fc': {sentence}")):
        CompressedLayer("fc", codes, CODEBOOK, None if bias is None else np.array(bias, dtype=np.uint8), free_bias)


def test_a_container_stores_it_once_and_gives_it_back(tmp_path: Path) -> None:
    layer = drawn("fc", 6, 5)
    assert layer.free_bias is not None
    scale = {"scale": np.ones(3)}
    models = [
        CompressedModel([without_bias(layer)], tensors={"fc.bias": layer.free_bias} | scale),
        CompressedModel([layer], tensors={"fc.bias": layer.free_bias} | scale),
    ]
    models.append(CompressedModel.from_bytes(models[0].to_bytes()))
    models.append(models[0].coded(models[0].coding[0]))
    for model in models:
        assert model.to_bytes() == models[0].to_bytes()
        assert model.layers[0].bias_values().tolist() == layer.free_bias.tolist()
        assert model.parameter_bytes == 4 * (30 + 6 + 3)
        assert list(model.decoded_parameters()) == ["fc.weight", "fc.bias", "scale"]
        assert model.tensors_beside_layers == ["scale"]
    alone = CompressedModel([layer])
    assert list(alone.tensors) == ["fc.bias"]
    assert alone.tensors_beside_layers == []
    alone.save(tmp_path / "alone.dc")
    with ContainerReader(tmp_path / "alone.dc") as reader:
        assert reader.layer("fc").bias_values().tolist() == layer.free_bias.tolist()
    pytest.importorskip("safetensors")
    from compress.container.safetensors_file import export_safetensors, import_safetensors

    export_safetensors(tmp_path / "alone.safetensors", alone)
    found = import_safetensors(tmp_path / "alone.safetensors")
    assert found.to_bytes() == alone.to_bytes()
    assert found.layers[0].bias_values().tolist() == layer.free_bias.tolist()


@pytest.mark.parametrize(
    ("weights", "tensor", "is_its_bias"),
    [
        (("fc.weight",), "fc.bias", True),
        (("lstm.weight_hh_l1_reverse",), "lstm.bias_hh_l1_reverse", True),
        (("attention.in_proj_weight",), "attention.in_proj_bias", True),
        (("embedding.weight", "decoder.weight"), "decoder.bias", True),
        (("weight",), "bias", True),
        (("weight.kernel",), "bias.kernel", False),
        (("fc.weight",), "norm.bias", False),
    ],
)
def test_the_bias_is_found_by_the_name_of_the_weight(weights: Any, tensor: str, is_its_bias: bool) -> None:
    bias = np.arange(1, 7, dtype=np.float32)
    model = CompressedModel([without_bias(drawn("layer", 6, 5))], weight_names=[weights], tensors={tensor: bias})
    for found in (model, CompressedModel.from_bytes(model.to_bytes())):
        assert found.layers[0].bias_values().tolist() == (bias.tolist() if is_its_bias else [0] * 6)
        assert found.tensors_beside_layers == ([] if is_its_bias else [tensor])


def test_what_may_be_another_s_bias_is_none() -> None:
    layer = without_bias(drawn("tied", 6, 5))
    both = {"a.bias": np.ones(6), "b.bias": np.ones(6)}
    model = CompressedModel([layer], weight_names=[("a.weight", "b.weight")], tensors=both)
    assert model.layers[0].free_bias is None
    assert model.tensors_beside_layers == ["a.bias", "b.bias"]
    for odd in (np.ones(5), np.ones((6, 1)), np.ones(6, dtype=np.int64)):
        assert CompressedModel([layer], tensors={"tied.bias": odd}).tensors_beside_layers == ["tied.bias"]
    coded = CompressedLayer("fc", layer.codes, layer.codebook, layer.codes[:, 0].copy())
    model = CompressedModel([coded], bias_names=["fc.own"], tensors={"fc.bias": np.ones(6)})
    assert model.layers[0].bias_values().tolist() == CODEBOOK[layer.codes[:, 0]].tolist()
    assert model.tensors_beside_layers == ["fc.bias"]


@pytest.mark.parametrize(
    ("weights", "tensors", "sentence"),
    [
        (("fc.weight",), {"fc.bias": np.ones(6)}, "its free bias must be the one that the tensors hold for it; they"),
        (("fc.weight", "b.weight"), {"fc.bias": np.ones(6), "b.bias": np.ones(6)}, "hold fc.bias and b.bias, of other"),
        (("fc.kernel",), {}, "NAME.bias for NAME.weight; found the weight 'fc.kernel'"),
    ],
)
def test_a_container_refuses_two_biases_and_one_that_it_could_not_give_back(
    weights: Any, tensors: Any, sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        CompressedModel([drawn("fc", 6, 5)], weight_names=[weights], tensors=tensors)


def saved_container(folder: Path, tensors: Any = None) -> tuple[Path, Any, Any]:
    """Return a container of two layers, its inputs, and the outputs of both layers."""
    first, last = drawn("0", 24, 8), drawn("2", 5, 24, seed=1)
    inputs = np.random.default_rng(2).normal(size=(12, 8)).astype(np.float32)
    CompressedModel([first, last], tensors=tensors or {}).save(folder / "network.dc")
    np.save(folder / "inputs.npy", inputs)
    hidden = np.maximum(inputs @ first.weights().T + first.bias_values(), 0)
    return folder / "network.dc", hidden, hidden @ last.weights().T + last.bias_values()


def test_a_container_is_simulated_with_its_free_biases(tmp_path: Path) -> None:
    container, hidden, outputs = saved_container(tmp_path)
    for rows in ("interleaved", "entries"):
        run = run_container(container, ARRAY, inputs=tmp_path / "inputs.npy", row_assignment=rows)
        np.testing.assert_allclose(run.result.output, outputs, rtol=1e-5, atol=1e-5)
        assert run.result.layers[1].activation_density == (hidden != 0).mean()
    swept = open_workload([str(container)], inputs=tmp_path / "inputs.npy")
    np.testing.assert_allclose(swept.layers[1].activations, hidden, rtol=1e-5, atol=1e-6)


def test_a_container_that_holds_more_than_layers_is_refused_by_name(tmp_path: Path) -> None:
    container, _, _ = saved_container(tmp_path, {"1.weight": np.ones(24), "1.running_mean": np.ones(24)})
    sentence = r"network\.dc: has no graph, so its layers run .* found 1\.weight, 1\.running_mean, which would"
    for simulated in (
        lambda: run_container(container, ARRAY, inputs=tmp_path / "inputs.npy"),
        lambda: open_workload([str(container)], inputs=tmp_path / "inputs.npy"),
    ):
        with pytest.raises(InputError, match=sentence):
            simulated()
    model: Any = CompressedModel.load(container)
    with pytest.raises(InputError, match="the container must hold the network's graph; it holds none"):
        simulate_network(model, np.ones((1, 8)), ARRAY)


def loaded(module: Any, share_bias: bool, tmp_path: Path, inputs: Any = None) -> tuple[dict[str, CompressedLayer], Any]:
    """Write the container model.dc; return its layers, and the network with their decoded weights."""
    import copy

    from compress.compression import compress
    from compress.config import CompressionConfig, LayerSettings

    config = CompressionConfig(every=LayerSettings(density=0.5, weight_bits=6, share_bias=share_bias))
    model = compress(module, config, inputs=inputs)
    model.save(tmp_path / "model.dc")
    model = CompressedModel.load(tmp_path / "model.dc")
    again = copy.deepcopy(module)
    model.load_into(again)
    assert [layer.bias is not None for layer in model.layers] == [share_bias] * len(model.layers)
    assert [layer.free_bias is not None for layer in model.layers] == [not share_bias] * len(model.layers)
    return {layer.name: layer for layer in model.layers}, again.eval()


def assert_close(found: Any, wanted: Any) -> None:
    """Assert equality to rounding."""
    wanted = wanted.detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("share_bias", [False, True])
def test_fully_connected_layers_are_pytorch_s(share_bias: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(40, 200), torch.nn.ReLU(), torch.nn.Linear(200, 5))
    with torch.no_grad():
        module[0].bias -= 0.5  # few units fire
    layers, again = loaded(module, share_bias, tmp_path)
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32))
    found = simulate_network(list(layers.values()), inputs.numpy(), ARRAY)
    assert_close(found.output, again(inputs))
    entering = torch.relu(again[0](inputs)) != 0
    assert found.layers[1].activation_density == pytest.approx(float(entering.float().mean()))
    assert entering.float().mean() < 0.25


def test_a_planned_network_is_pytorch_s() -> None:
    torch = pytest.importorskip("torch")
    import copy

    from compress.planning.pipeline import plan
    from compress.planning.plan import Tolerance

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(20, 60), torch.nn.ReLU(), torch.nn.Linear(60, 5))
    with torch.no_grad():
        module[0].bias -= 0.5
    inputs = np.random.default_rng(0).normal(size=(60, 20)).astype(np.float32)
    model = plan(module, inputs, tolerance=Tolerance(divergence=0.001)).apply(module)
    again = copy.deepcopy(module)
    model.load_into(again)
    found = simulate_network(model.layers, inputs, ARRAY)
    assert_close(found.output, again(torch.from_numpy(inputs)))
    entering = torch.relu(again[0](torch.from_numpy(inputs))) != 0
    assert found.layers[1].activation_density == pytest.approx(float(entering.float().mean()))


@pytest.mark.parametrize("share_bias", [False, True])
def test_convolutions_are_pytorch_s(share_bias: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 6, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(54, 5),
    )
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 4, 9, 9)).astype(np.float32))
    layers, again = loaded(module, share_bias, tmp_path, images.numpy())
    found = simulate_network(tmp_path / "model.dc", images.numpy(), ARRAY)
    assert_close(found.output, again(images))
    entering = torch.nn.functional.unfold(torch.relu(again[0](images)), 3) != 0
    assert found.layers[1].activation_density == pytest.approx(float(entering.float().mean()))
    first = Workload.of_network(tmp_path / "model.dc", images.numpy()).layers[0]
    for group, matrix in enumerate(first.matrices):
        rows = slice(4 * group, 4 * group + 4)
        np.testing.assert_array_equal(matrix.bias_values(), layers["0"].bias_values()[rows])


@pytest.mark.parametrize("share_bias", [False, True])
@pytest.mark.parametrize(("kind", "run"), [("LSTM", simulate_lstm), ("GRU", simulate_gru)])
def test_recurrent_layers_are_pytorch_s(kind: str, run: Any, share_bias: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.ModuleDict({"cell": getattr(torch.nn, kind)(8, 16, batch_first=True)})
    with torch.no_grad():
        module["cell"].bias_ih_l0 += 1
        module["cell"].bias_hh_l0 -= 0.7  # of a GRU, a part of it is inside of the reset gate's product
    layers, again = loaded(module, share_bias, tmp_path)
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 10, 8)).astype(np.float32))
    weights = layers["cell.weight_ih_l0"], layers["cell.weight_hh_l0"]
    assert_close(run(*weights, inputs.numpy(), ARRAY).hidden, again["cell"](inputs)[0])
    plain = [replace(layer, bias=None, free_bias=None) for layer in weights]
    expected = run(*weights, inputs.numpy(), ARRAY).hidden
    assert np.abs(run(*plain, inputs.numpy(), ARRAY).hidden - expected).max() > 0.1
