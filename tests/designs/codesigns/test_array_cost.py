"""Costs of compressed layers on arrays: equal to those of the simulated network, whatever its layers are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
pytest.importorskip("onnx", reason="needs onnx: install the extra 'onnx'")

import onnx
import torch

from compress import CompressedModel, CompressionConfig, LayerSettings, compress
from designs import ArrayCost, Design, Workload, sweep
from designs.codesigns import array_cost
from designs.codesigns.array_cost import ChosenLayer
from designs.sweeps.evaluation import COUNTS
from designs.sweeps.totals import network_totals
from sim import ArrayConfig, batch_counts, simulate, simulate_network
from sim.cost.constants import CONSTANTS
from sim.cost.sram import activation_sram
from sim.limits import BINDING
from sim.network_schedule import LAYER_REGISTERS
from traces import CompressedLayer, InputError, layer_from_matrix
from traces.arrays import Numbers

Inputs = Numbers | tuple[Numbers, ...]
ARRAY = ArrayConfig(num_pes=4, queue_slots=4)
HALF = CompressionConfig(every=LayerSettings(density=0.5, weight_bits=4, share_bias=False))


class Tied(torch.nn.Module):
    """Table of embeddings whose weights are also the last layer, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.middle, self.unused = (
            torch.nn.Embedding(12, 6),
            torch.nn.Linear(6, 6),
            torch.nn.Linear(6, 2),
        )
        self.last = torch.nn.Linear(6, 12, bias=False)
        self.last.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.middle(self.table(tokens)))
        return self.last(torch.relu(self.middle(hidden)))  # type: ignore[no-any-return]


class Steps(torch.nn.Module):
    """Recurrent layers over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.gru = torch.nn.GRU(12, 4, batch_first=True)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.gru(self.lstm(steps)[0])[0]  # type: ignore[no-any-return]


def drawn(*shape: int) -> Numbers:
    values: Numbers = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32).clip(-0.5)
    return values


NETWORKS = {
    "dilation": (torch.nn.Conv2d(2, 4, 3, dilation=2, stride=2, padding=1), drawn(2, 13, 11)),
    "depthwise": (torch.nn.Conv2d(6, 12, 3, groups=6, padding="same", padding_mode="circular"), drawn(6, 7, 7)),
    "sequence": (torch.nn.Conv1d(4, 6, 5, padding=2, groups=2), drawn(4, 20)),
    "volume": (torch.nn.Conv3d(2, 4, 2, stride=2), drawn(2, 4, 6, 4)),
    "transposed": (torch.nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), drawn(4, 5, 5)),
    "tied": (Tied(), np.random.default_rng(0).integers(0, 12, (3, 5))),
    "recurrent": (Steps(), drawn(7, 5)),
}


def compressed(module: torch.nn.Module, inputs: Inputs, threshold: float = 0.0) -> CompressedModel:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.5)
    wrapped = torch.nn.Sequential()
    wrapped.add_module("net", module)
    config = replace(HALF, every=replace(HALF.every, activation_threshold=threshold))
    return compress(wrapped, config, inputs=inputs)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_layers_cost_what_the_simulated_network_costs(kind: str, threshold: float) -> None:
    module, inputs = NETWORKS[kind]
    if threshold and kind == "recurrent":
        model = compressed(module.eval(), inputs)
        cost = ArrayCost(model, inputs, ARRAY)
        with pytest.raises(InputError, match=r"activation_threshold must be 0 for a recurrent layer; found 0\.6"):
            cost(replace(model.layers[0], activation_threshold=threshold), 4)
        return
    model = compressed(module.eval(), inputs, threshold)
    cost = ArrayCost(model, inputs, ARRAY, largest_error=0)
    whole = simulate_network(model, inputs, ARRAY)
    assert whole.largest_difference < 1e-5
    assert {*cost.shapes} == {*whole.shapes}
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    figures = cost.figures(layers, Design(ARRAY), fit_srams=False)
    assert figures.latency_us == pytest.approx(whole.latency_us.mean())
    assert figures.energy_nj == pytest.approx(whole.energy_nj.mean())
    found = [cost(layer, ARRAY.index_bits) for layer in model.layers]
    assert sum(each["latency_us"] for each in found) == pytest.approx(whole.latency_us.mean())
    assert sum(each["energy_nj"] for each in found) == pytest.approx(whole.energy_nj.mean())
    assert sum(cost.work(layer)["macs"] for layer in model.layers) == pytest.approx(
        sum(layer.useful_macs.mean() for layer in whole.layers)
    )
    if len(layers) == 1:  # the activations of later ones depend on the thresholds of those before
        original = ArrayCost(model.with_thresholds(dict.fromkeys(layers, 0.0)), inputs, ARRAY, largest_error=0)
        assert original.figures(layers, Design(ARRAY), fit_srams=False).energy_nj == pytest.approx(figures.energy_nj)
        assert [original.work(layer) for layer in model.layers] == [cost.work(layer) for layer in model.layers]
    for name in layers:
        vectors = sum(layer.vectors for layer in whole.layers if layer.name in cost.products(name))
        assert cost.vectors_per_input(name) == vectors


@pytest.mark.parametrize("kind", ["depthwise", "sequence", "transposed"])
def test_a_threshold_saves_what_inputs_with_more_zeros_save(kind: str) -> None:
    module, inputs = NETWORKS[kind]
    module, inputs = module.eval(), np.asarray(inputs)
    layer = compressed(module, inputs).layers[0]
    layer = replace(layer, name="net")
    wrapped = torch.nn.Sequential()
    wrapped.add_module("net", module)
    zeros = np.where(np.abs(inputs) > np.float32(0.4), inputs, np.float32(0))
    cost, fewer = (ArrayCost(wrapped, each, ARRAY, largest_error=0) for each in (inputs, zeros))
    cut = replace(layer, activation_threshold=0.4)
    assert cost(cut, 4) == fewer(layer, 4)
    assert cost.work(cut) == fewer.work(layer)
    assert cost(cut, 4)["latency_us"] < cost(layer, 4)["latency_us"]


def test_look_ups_and_layers_that_are_never_called_cost_nothing() -> None:
    module, inputs = NETWORKS["tied"]
    cost = ArrayCost(module, inputs, ARRAY)
    assert (cost.kind("table"), cost.kind("middle"), cost.kind("unused")) == ("Linear, look-up", "Linear", "not called")
    assert (cost.vectors_per_input("table"), cost.vectors_per_input("middle")) == (5, 10)
    unused = layer_from_matrix("unused", np.ones((2, 6)))
    assert cost(unused, 4) == {"latency_us": 0.0, "energy_nj": 0.0, "sram_bytes_per_pe": 0.0}
    with pytest.raises(InputError, match="a layer that can be compressed must be multiplied with activations"):
        ArrayCost(torch.nn.Embedding(12, 6), inputs)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_a_dilated_convolution_costs_its_own_vectors_one_after_the_other(dilation: int) -> None:
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(4, 2, 12, 12)).astype(np.float32)
    convolution = torch.nn.Conv2d(2, 4, 3, dilation=dilation, bias=False)
    module = torch.nn.Sequential(convolution)
    unfolded = torch.nn.functional.unfold(torch.from_numpy(images), 3, dilation)
    vectors = unfolded.transpose(1, 2).reshape(-1, 18).numpy()
    layer = layer_from_matrix("0", convolution.weight.detach().numpy().reshape(4, 18).round(1))
    array = ArrayConfig(num_pes=2, weight_bits=max(4, layer.weight_bits))
    results = [simulate(layer, vector, array) for vector in vectors]
    cost = ArrayCost(module, images, array, largest_error=0)
    found = cost(CompressedLayer("0", layer.codes, layer.codebook), 4)
    assert cost.vectors_per_input("0") == len(vectors) / 4 == (12 - 2 * dilation) ** 2
    vectors_per_input = len(vectors) // 4
    by_input = np.reshape([each.cycles for each in results], (4, vectors_per_input)).sum(axis=1)
    on_port = -(-vectors_per_input * (18 + 4) // 4)  # 4 words in a cycle
    network_cycles = np.maximum(by_input, on_port) + 1 + 1 + -(-(2**array.weight_bits) // 4) + LAYER_REGISTERS
    assert found["latency_us"] == pytest.approx(network_cycles.mean() / array.clock_mhz)
    sram, longer = activation_sram(array), float(network_cycles.sum() / by_input.sum())
    of_array = sum(each.energy.total_pj for each in results)
    of_array += (longer - 1) * sum(
        each.energy.scan_pj + each.energy.clock_pj + each.energy.leakage_pj for each in results
    )
    of_port = len(vectors) * (18 * sram.read_pj + 4 * sram.write_pj)
    assert found["energy_nj"] == pytest.approx((of_array + of_port) / 4e3)


def test_a_sample_of_positions_is_within_its_bound_of_all_positions() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, stride=2)).eval()
    images = np.random.default_rng(1).normal(size=(6, 3, 40, 40)).astype(np.float32).clip(0)
    images[:, :, :, 30:] = 0
    model = compress(module, HALF, inputs=images)
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    sampling, whole = (ArrayCost(module, images, largest_error=error) for error in (0.02, 0))
    kept, simulated = [], 0
    for num_pes in (1, 2, 4, 8, 16, 32):
        for queue_slots in (2, 8, 64):
            design = Design(ArrayConfig(num_pes=num_pes, queue_slots=queue_slots))
            found, right = (each.figures(layers, design, fit_srams=False) for each in (sampling, whole))
            assert (found.errors <= 0.02).all()
            kept.append(found.latency_us == pytest.approx(right.latency_us, rel=0.02))
            kept.append(found.energy_nj == pytest.approx(right.energy_nj, rel=0.02))
            simulated = max(simulated, found.runs["0"][0].on(design.array)[0].work.vectors)
    assert np.mean(kept) >= 0.95
    assert simulated < 0.5 * 6 * 38 * 38


def test_a_sample_serves_all_arrays_of_a_packing_and_a_clock_repeats_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3)).eval()
    images = np.random.default_rng(1).normal(size=(2, 2, 24, 24)).astype(np.float32).clip(0)
    model = compress(module, HALF, inputs=images)
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    cost = ArrayCost(module, images, largest_error=0.05)
    calls = 0

    def counting(kind: Any) -> None:
        count = kind.count

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return count(*arguments)

        monkeypatch.setattr(kind, "count", counted)

    for kind in (batch_counts._OneByOne, batch_counts._SideBySide):
        counting(kind)
    samples = [
        cost.figures(layers, Design(replace(ARRAY, queue_slots=slots)), fit_srams=False).runs["0"][0].on(ARRAY)[0]
        for slots in (2, 4, 64)
    ]
    assert samples[0] is samples[1] is samples[2]
    assert 24 <= samples[0].work.vectors < 2 * 22 * 22
    before = calls
    assert before
    cost.figures(layers, Design(replace(ARRAY, queue_slots=4, clock_mhz=400.0, port_bits=32)), fit_srams=False)
    assert calls == before


def test_packed_layers_used_least_recently_leave_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = torch.nn.Sequential(torch.nn.Linear(12, 9), torch.nn.Linear(9, 4)).eval(), drawn(12)
    model = compress(module, HALF, inputs=inputs)
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    cost = ArrayCost(model, inputs, largest_error=0)

    def runs(num_pes: int) -> list[Any]:
        figures = cost.figures(layers, Design(replace(ARRAY, num_pes=num_pes)), fit_srams=False)
        return [of_layer[0] for of_layer in figures.runs.values()]

    first, second = runs(2), runs(4)
    assert runs(2) == first  # kept
    third = runs(8)
    monkeypatch.setattr(array_cost, "_KEPT_BYTES", sum(run.num_bytes for run in (*first, *second, *third)) - 1)
    assert runs(8) == third
    assert runs(2) == first
    assert runs(4) != second


def test_a_layer_of_another_network_is_refused() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    cost = ArrayCost(module, drawn(8))
    with pytest.raises(InputError, match="1: must be a layer of Sequential, 0, 2"):
        cost(layer_from_matrix("1", np.ones((4, 8))), 4)
    with pytest.raises(InputError, match=r"0: codes must be \[4, 8\]; found \[8, 4\]"):
        cost(layer_from_matrix("0", np.ones((8, 4))), 4)


def test_a_plan_for_an_array_in_fixed_point_is_refused() -> None:
    module = torch.nn.Linear(8, 4)
    sentence = "must have precision='float'; found 'fixed-16'; take designs.codesign or designs.fleet with this"
    with pytest.raises(InputError, match=sentence):
        ArrayCost(module, drawn(8), ArrayConfig(precision="fixed-16"))


def test_weights_that_serve_several_vectors_must_fit_alone() -> None:
    module, inputs = NETWORKS["sequence"]
    layer = layer_from_matrix("weight", np.ones((6, 10)))
    array = ArrayConfig(num_pes=4, pointer_bytes=1024, memory_mode="streamed")
    unlimited, streamed, small = (
        ArrayCost(module, inputs, each)
        for each in (replace(array, memory_mode="unlimited"), array, replace(array, pointer_bytes=32))
    )
    ideal = unlimited(layer, 4)
    standby_nj = CONSTANTS["dram_standby_mw"].value * ideal["latency_us"]  # of the DRAM, from which nothing is loaded
    assert streamed(layer, 4) == pytest.approx(ideal | {"energy_nj": ideal["energy_nj"] + standby_nj})
    with pytest.raises(InputError, match="its weights serve several vectors of an input and must be on the array tog"):
        small(layer, 4)


class Residual(torch.nn.Module):
    """Convolutions of which one adds what enters, and a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.Conv2d(12, 12, 3, padding=1)
        self.third, self.last = torch.nn.Conv2d(12, 12, 3, padding=1, groups=2), torch.nn.Linear(12 * 36, 40)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        before = torch.relu(self.first(images))
        added = torch.relu(self.third(torch.relu(self.second(before))) + before)
        return self.last(added.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", ["unlimited", "passes", "streamed"])
@pytest.mark.parametrize(("sram_bytes", "activation_bytes"), [(2**17, 2048), (2440, 2048), (2440, 512), (2048, 512)])
def test_loads_and_spills_are_predicted_as_they_are_simulated(
    mode: Any, sram_bytes: int, activation_bytes: int
) -> None:
    inputs = drawn(3, 6, 6)
    model = compressed(Residual().eval(), inputs)
    array = replace(
        ARRAY, memory_mode=mode, sparse_matrix_bytes=sram_bytes, activation_bytes=activation_bytes, port_bits=16
    )
    whole = simulate_network(model, inputs, array)
    assert whole.live_words == 3 * 12 * 36
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    cost = ArrayCost(model, inputs, array, largest_error=0)
    figures = cost.figures(layers, Design(array), fit_srams=False)
    assert figures.latency_us == pytest.approx(whole.latency_us.mean(), rel=1e-12)
    assert figures.energy_nj == pytest.approx(whole.energy_nj.mean(), rel=1e-12)
    by_name = {layer.name: layer for layer in whole.layers}
    for number, name in enumerate(figures.runs):
        (product,) = cost.products(name)
        for place, count in enumerate(COUNTS):
            names = ("dram_read_bytes", "dram_write_bytes") if count == "dram_bytes" else (count,)
            expected = sum(getattr(by_name[product], each).mean() for each in names)
            assert figures.counts[number, place] == pytest.approx(expected), (name, count)
    table = sweep(Workload.of_network(model, inputs), [Design(array)])
    (row, *_) = rows = table.to_pylist()
    (total,) = network_totals(table)
    assert total.limit_cycles == pytest.approx(whole.limit.limit_cycles / 3)
    assert total.limit_binds == BINDING[whole.limit.binds]
    assert total.limit_energy_nj == pytest.approx(whole.energy_limit.limit_pj / 3e3)
    for each, layer in zip(rows, whole.layers, strict=True):
        assert each["limit_cycles"] == pytest.approx(layer.limit.limit_cycles / 3)
        assert each["limit_share"] == pytest.approx(layer.limit.share)
    assert sum(each["latency_us"] for each in rows) == pytest.approx(whole.latency_us.mean(), rel=1e-12)
    assert sum(each["energy_pj"] for each in rows) == pytest.approx(whole.energy_pj.mean(), rel=1e-12)
    fits = sram_bytes == 2**17
    assert (figures.lacking == "") == row["fits"] == fits
    loaded = sum(int(layer.load_bytes[0]) for layer in whole.layers)
    assert (loaded > 0) == (not fits and mode != "unlimited")
    assert whole.spilled_words == (0 if activation_bytes == 2048 or mode == "unlimited" else 3 * 432 - 4 * 256)
    assert {layer.residency for layer in whole.layers} <= {"resident", mode}


@pytest.mark.parametrize("mode", ["unlimited", "resident", "passes", "streamed"])
def test_fitted_srams_hold_what_the_memory_mode_needs(mode: Any) -> None:
    inputs = drawn(3, 6, 6)
    model = compressed(Residual().eval(), inputs)
    array = replace(ARRAY, memory_mode=mode, num_pes=1)
    layers = {layer.name: ChosenLayer(layer, 0) for layer in model.layers}
    cost = ArrayCost(model, inputs, array, largest_error=0)
    fitted = cost.figures(layers, Design(array), fit_srams=True).design.array
    costs = simulate_network(model, inputs, fitted)
    lines = [-(-layer.stored_entries // fitted.entries_per_line) for layer in costs.layers]
    needed = {"passes": max(lines), "streamed": max(map(sum, pairwise(lines)))}.get(mode, sum(lines))
    assert 0 <= fitted.sparse_matrix_bytes - 8 * needed < 1024 + 16
    assert fitted.activation_bytes == 3 * 1024  # 1,296 words
    assert costs.spilled_words == 0
    assert costs.shortfalls == ()
    assert ("resident" in {layer.residency for layer in costs.layers}) or mode in ("passes", "streamed")


def test_an_onnx_file_has_the_costs_of_its_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(12, 9), torch.nn.ReLU(), torch.nn.Linear(9, 4)).eval()
    helper, path = onnx.helper, str(tmp_path / "net.onnx")
    weights = {name: values.detach().numpy() for name, values in module.named_parameters()}
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Add", ["a", "0.bias"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "2.weight", "2.bias"], ["y"], transB=1),
    ]
    values = {"first": weights["0.weight"].T, **{name: weights[name] for name in ("0.bias", "2.weight", "2.bias")}}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 12])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    inputs = drawn(12)
    matrix = layer_from_matrix("0", np.round(np.random.default_rng(1).normal(size=(9, 12)).clip(0)))
    codes = matrix.codes, matrix.codebook
    expected = ArrayCost(module, inputs, ARRAY)(CompressedLayer("0", *codes), 4)
    assert ArrayCost(path, inputs, ARRAY)(CompressedLayer("first", *codes), 4) == expected
