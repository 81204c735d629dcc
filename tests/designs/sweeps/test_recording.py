"""Vectors that enter the layers of any network: all of them, samples, groups, and state that is fed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import CompressedModel
from designs import Design, Workload, advise, read_sweep, run_container, sweep
from designs.sweeps import recording
from designs.sweeps.evaluation import NETWORK_CYCLES
from sim import ArrayConfig, ProductShape, simulate_network
from traces import InputError

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")
import torch

ARRAYS = [ArrayConfig(num_pes=2, weight_bits=6), ArrayConfig(num_pes=4, queue_slots=2, weight_bits=6)]
DRAW = np.random.default_rng(0)
IMAGES = DRAW.normal(size=(6, 3, 9, 9)).astype(np.float32)
STEPS = DRAW.normal(size=(12, 5)).astype(np.float32)


class Separable(torch.nn.Module):
    """A convolution, one for each channel, and a fully connected layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
        self.classes = torch.nn.Linear(8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.depthwise(torch.relu(self.whole(images)))).mean((2, 3))
        scores: torch.Tensor = self.classes(torch.relu(self.classes(features)))
        return scores


class Cell(torch.nn.Module):
    """A recurrent cell whose hidden state is an input and an output."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(5, 7)

    def forward(self, step: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(step, hidden)
        return state.sum(dim=1, keepdim=True), state


def container(module: Any, inputs: Any, path: Path) -> CompressedModel:
    from compress import CompressionConfig, LayerSettings, compress

    torch.manual_seed(0)
    config = CompressionConfig(every=LayerSettings(density=0.5, weight_bits=5, share_bias=False))
    model = compress(module().eval(), config, inputs=inputs)
    model.save(path)
    return CompressedModel.load(path)


@pytest.fixture(scope="module")
def separable(tmp_path_factory: pytest.TempPathFactory) -> CompressedModel:
    return container(Separable, IMAGES[:2], tmp_path_factory.mktemp("separable") / "network.dc")


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cell") / "network.dc"
    container(Cell, (STEPS[:2], np.zeros((2, 7), dtype=np.float32)), path)
    return path


def assert_costs_are_those_of_the_network(rows: list[dict[str, Any]], network: Any, inputs: Any, **more: Any) -> None:
    """Assert that the rows of a sweep over ARRAYS are the mean counts of simulating the whole network."""
    for number, array in enumerate(ARRAYS):
        result = simulate_network(network, inputs, array, **more)
        of_array = rows[number * len(result.layers) : (number + 1) * len(result.layers)]
        for row, layer in zip(of_array, result.layers, strict=True):
            assert (row["layer"], row["rows"], row["columns"]) == (layer.name, layer.rows, layer.columns)
            assert row["inputs"] == layer.cycles.size
            assert row["stored_entries"] == layer.stored_entries
            for name in ("cycles", "broadcasts", "useful_macs", "line_reads", "blocked_cycles"):
                assert row[name] == pytest.approx(getattr(layer, name).mean()), (layer.name, name)
            for name in NETWORK_CYCLES:
                assert row[name] == pytest.approx(getattr(layer, name).mean()), (layer.name, name)
            assert row["latency_us"] == pytest.approx(layer.network_cycles.mean() / array.clock_mhz)
            assert row["energy_pj"] == pytest.approx(layer.energy_pj.mean())
            assert row["residency"] == layer.residency == "resident"


def test_a_sweep_has_one_row_for_each_layer_with_the_counts_of_the_network(separable: CompressedModel) -> None:
    workload = Workload.of_network(separable, IMAGES)
    assert workload.layer_names == ("whole", "depthwise", "classes")
    assert [(each.groups, each.vectors_per_input, each.inputs) for each in workload.layers] == [
        (1, 81, 6),
        (8, 49, 6),
        (1, 2, 6),
    ]
    assert not workload.sampled
    shapes = [  # 3 x 3 windows, and a layer that is called twice
        ProductShape(8, 27, 81, window_reuse=9),
        ProductShape(1, 9, 49, groups=8, window_reuse=9),
        ProductShape(8, 8, runs=2),
    ]
    assert workload.shapes == shapes
    rows = sweep(workload, [Design(array) for array in ARRAYS]).to_pylist()
    assert_costs_are_those_of_the_network(rows, separable, IMAGES)


def test_a_sweep_counts_what_is_above_the_thresholds_of_its_layers(separable: CompressedModel, tmp_path: Path) -> None:
    network = separable.with_thresholds({"whole": 0.5, "depthwise": 0.2, "classes": 0.1})
    workload = Workload.of_network(network, IMAGES)
    workload.write(tmp_path / "arrays")
    assert Workload.open(tmp_path / "arrays").digest == workload.digest != Workload.of_network(separable, IMAGES).digest
    rows = sweep(Workload.open(tmp_path / "arrays"), [Design(array) for array in ARRAYS]).to_pylist()
    assert_costs_are_those_of_the_network(rows, network, IMAGES)
    plain = sweep(Workload.of_network(separable, IMAGES), [Design(ARRAYS[0])]).to_pylist()
    assert all(1.1 * row["broadcasts"] < before["broadcasts"] for row, before in zip(rows, plain, strict=False))


def test_processes_give_the_rows_of_one(separable: CompressedModel, tmp_path: Path) -> None:
    workload = Workload.of_network(separable, IMAGES[:2])
    designs = [Design(array, rows) for array in ARRAYS for rows in ("interleaved", "activity")]
    alone = sweep(workload, designs)
    sweep(workload, designs, folder=tmp_path / "out", workers=2)
    assert read_sweep(tmp_path / "out")[0].equals(alone)
    workload.write(tmp_path / "arrays")
    again = Workload.open(tmp_path / "arrays")
    assert again.digest == workload.digest
    assert again.shapes == workload.shapes
    assert sweep(again, designs).equals(alone)


def test_state_is_fed_on(cell: Path) -> None:
    model = CompressedModel.load(cell)
    _, output = model.network.outputs
    given = {"step": STEPS, "hidden": np.full((1, 7), 0.5, dtype=np.float32)}
    workload = Workload.of_network(model, given, state={"hidden": output})
    assert all(each.inputs == 12 for each in workload.layers)
    rows = sweep(workload, [Design(array) for array in ARRAYS]).to_pylist()
    assert_costs_are_those_of_the_network(rows, model, given, state={"hidden": output})
    (recurrent,) = [each for each in workload.layers if each.layer.columns == 7]
    with torch.no_grad():
        module, hidden = Cell().eval(), torch.full((1, 7), 0.5)
        model.load_into(module)
        for step, entering in zip(STEPS, recurrent.activations, strict=True):
            np.testing.assert_allclose(entering, hidden[0].numpy(), atol=1e-5)
            hidden = module(torch.from_numpy(step[np.newaxis]), hidden)[1]


@pytest.mark.parametrize("most_bytes", [recording.ALL_BYTES, 2000], ids=["from all", "recorded in part"])
@pytest.mark.parametrize("bound", [0.05, 0.02])
def test_a_sample_keeps_the_error_that_was_asked_for(
    separable: CompressedModel, bound: float, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = DRAW.normal(size=(60, 3, 9, 9)).astype(np.float32)
    monkeypatch.setattr(recording, "ALL_BYTES", most_bytes)
    every = Workload.of_network(separable, images, sampling_error=0)
    some = Workload.of_network(separable, images, sampling_error=bound, arrays=ARRAYS)
    designs = [Design(array) for array in ARRAYS]
    rows = zip(sweep(every, designs).to_pylist(), sweep(some, designs).to_pylist(), strict=True)
    errors = {each.layer.name: each.sampling_error for each in some.layers}
    assert some.sampled["whole"]["vectors"] < some.sampled["whole"]["of"] / 4
    assert some.sampled["depthwise"]["of"] == 8 * 49 * 60
    assert max(errors.values()) <= bound
    for whole, sample in rows:
        assert sample["inputs"] == whole["inputs"] == 60
        for name in ("cycles", "energy_pj"):
            assert sample[name] == pytest.approx(whole[name], rel=max(2 * errors[whole["layer"]], 1e-12)), whole[
                "layer"
            ]


def test_the_origin_of_a_sweep_has_the_sample(separable: CompressedModel, tmp_path: Path) -> None:
    images = DRAW.normal(size=(20, 3, 9, 9)).astype(np.float32)
    workload = Workload.of_network(separable, images, sampling_error=0.1)
    sweep(workload, [Design(ARRAYS[0])], folder=tmp_path)
    sampled = read_sweep(tmp_path)[1]["settings"]["workload"]["sampled"]
    assert sampled["whole"]["of"] == 81 * 20
    assert 0 < sampled["whole"]["error"] <= 0.1
    assert sampled["depthwise"]["vectors"] % 8 == 0


def test_all_vectors_are_taken_while_they_are_few(separable: CompressedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "ALL_VECTORS", 6 * (81 + 8 * 49 + 2))
    assert not Workload.of_network(separable, IMAGES).sampled
    monkeypatch.setattr(recording, "ALL_VECTORS", 6 * (81 + 8 * 49 + 2) - 1)
    assert set(Workload.of_network(separable, IMAGES).sampled) == {"whole", "depthwise"}
    with pytest.raises(InputError, match="sampling_error must be a share, 0 to below 1; found 2"):
        Workload.of_network(separable, IMAGES, sampling_error=2)


def test_advice_on_a_network_with_groups_simulates_its_changes_alike(
    separable: CompressedModel, tmp_path: Path
) -> None:
    separable.save(tmp_path / "network.dc")
    run = run_container(tmp_path / "network.dc", ARRAYS[0], IMAGES, row_assignment="entries")
    advice = advise(run)
    layers = run.result.layers
    pe_cycles = sum(int(layer.cycles.sum()) for layer in layers) * ARRAYS[0].num_pes
    macs = sum(int(layer.useful_macs.sum()) for layer in layers)
    assert advice.total["computing"] == pytest.approx(macs / pe_cycles)
    assert sum(advice.total.values()) == pytest.approx(1)
    (change,) = [each for each in advice.changes if each.what == "4 PEs"]
    array = change.point.design.array
    changed = run_container(tmp_path / "network.dc", array, IMAGES, row_assignment="entries").result
    assert change.speedup == pytest.approx(run.result.latency_us.mean() / changed.latency_us.mean())
    assert change.energy_gain == pytest.approx(run.result.energy_pj.mean() / changed.energy_pj.mean())
