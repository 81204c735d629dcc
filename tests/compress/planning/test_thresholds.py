"""Activation thresholds of plans: their shares, their effects, their costs, and what a container of them computes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

import compress
from compress import Budget, CompressedModel, Plan, Tolerance
from compress.modules import module_layers
from compress.networks import PlannedNetwork
from compress.planning import analysis as analysis_module
from compress.planning.activation_bins import BINS, ActivationBins, BinnedInputs, bins_of, upper_end
from compress.planning.analysis import Analysis, analyse, probe_directions
from compress.planning.choices import CUT_SHARES, tried_choices
from compress.planning.layer_compression import LayerCompressor
from compress.planning.losses import Loss
from compress.planning.outputs import run_outputs
from compress.planning.plan import Choice
from compress.planning.preparation import make_planner
from compress.planning.product_inputs import replacing_inputs
from tests.commands import run_command, words_of
from traces import CompressedLayer, InputError, Network
from traces.files.npz import write_npy

FEW: dict[str, Any] = {"densities": (1.0, 0.6), "weight_bits": (3, 5)}
POOL = np.random.default_rng(0).normal(size=(160, 12)).astype(np.float32)
TOLERANCE = Tolerance(divergence=0.02)
SOURCE = """
import torch


def build():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(12, 40), torch.nn.Tanh(), torch.nn.Linear(40, 5)).eval()
"""


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(12, 40), torch.nn.Tanh(), torch.nn.Linear(40, 5)).eval()


class Tied(torch.nn.Module):
    """Embedding whose table is the weight of the output, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = torch.nn.Embedding(30, 16)
        self.middle = torch.nn.Linear(16, 16, bias=False)
        self.out = torch.nn.Linear(16, 30, bias=False)
        self.out.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.out(torch.tanh(self.middle(self.table(tokens))))
        return scores


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = torch.nn.Conv2d(2, 6, 3, padding=1)
        self.deep = torch.nn.Conv2d(6, 6, 3, groups=6)
        self.out = torch.nn.Linear(6 * 16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.out(torch.tanh(self.deep(torch.relu(self.first(images)))).flatten(1))
        return scores


def test_a_bin_ends_where_the_next_one_begins() -> None:
    ends = np.array([upper_end(number) for number in range(1, BINS - 1)], dtype=np.float32)
    assert np.array_equal(bins_of(torch.from_numpy(ends)).numpy(), np.arange(1, BINS - 1))
    after = np.nextafter(ends, np.float32(np.inf))
    assert np.array_equal(bins_of(torch.from_numpy(-after)).numpy(), np.arange(2, BINS))
    assert bins_of(torch.tensor([0.0, -0.0, 1e-45, np.inf])).tolist() == [0, 0, 1, BINS - 1]


def test_cuts_are_the_smallest_thresholds_that_cut_their_shares() -> None:
    values = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    values[:1000] = 0.0
    places = bins_of(torch.from_numpy(values)).numpy()
    counts = np.bincount(places, minlength=BINS).astype(np.int64)
    bins = ActivationBins(counts, -np.bincount(places, values.astype(np.float64), BINS).astype(np.float64)[None])
    none, *cuts = bins.cuts((0.9, 0.1, 0.25, 0.4, 0.401))
    assert (none.threshold, none.share) == (0.0, 0.25)
    assert 2 <= len(cuts) <= 3, "zeros are a share already, and two shares may have one threshold"
    for cut in cuts:
        below = np.abs(values) <= np.float32(cut.threshold)
        assert cut.share == below.mean()
        assert cut.effects[0] == pytest.approx(-values[below].sum(dtype=np.float64))
    assert bins.cuts((1 - 1e-9,))[-1].share == 1
    assert len(ActivationBins(np.zeros(BINS, np.int64), np.zeros((3, BINS))).cuts(CUT_SHARES)) == 1


def test_effects_are_those_of_the_derivatives_by_what_enters() -> None:
    module, loss = network(), Loss()
    analysis = analyse(module, POOL[:10], thresholds=True)
    for number, layer in enumerate(analysis.layers):
        assert layer.activations is not None
        cut = layer.activations.cuts((0.5,))[-1]
        for probe in range(10):
            entered: list[torch.Tensor] = []

            def tap(which: int, x: torch.Tensor, number: int = number, into: Any = entered) -> torch.Tensor:
                if which == number:
                    into.append(x.detach().clone().requires_grad_())
                    return into[0]  # type: ignore[no-any-return]
                return x

            with replacing_inputs(module, module_layers(module)[0], tap):
                outputs = loss.vectors({"output": module(torch.from_numpy(POOL[probe : probe + 1]))})
            total = (outputs[0] * probe_directions(outputs, loss, 0, probe)[0]).sum()
            gradient = torch.autograd.grad(total, entered[0])[0]
            below = entered[0].abs() <= cut.threshold
            assert cut.effects[probe] == pytest.approx(-float((entered[0] * gradient)[below].sum()), rel=1e-4, abs=1e-6)


def test_the_change_by_a_threshold_is_predicted() -> None:
    module, draw = network(), np.random.default_rng(4).normal(size=(3000, 12)).astype(np.float32)
    analysis = analyse(module, POOL, thresholds=True)
    before = run_outputs(module, draw)["output"].astype(np.float64)
    for number, layer in enumerate(analysis.layers):
        assert layer.activations is not None
        for cut in layer.activations.cuts((0.2, 0.4)):

            def shrink(which: int, x: torch.Tensor, number: int = number, by: float = cut.threshold) -> torch.Tensor:
                return torch.nn.functional.hardshrink(x, by) if which == number else x

            with replacing_inputs(module, module_layers(module)[0], shrink):
                changes = run_outputs(module, draw)["output"] - before
            changes -= changes.mean(axis=1, keepdims=True)
            measured = float(np.square(changes).sum(axis=1).mean())
            predicted = float(np.square(cut.effects).mean())
            assert predicted == pytest.approx(measured, rel=0.5, abs=1e-12)


@pytest.mark.parametrize("module", [network(), Tied(), Convolutions()], ids=["linear", "tied", "convolutions"])
def test_a_module_and_its_graph_have_the_same_activations(module: torch.nn.Module) -> None:
    draw = np.random.default_rng(0)
    inputs: Any = POOL[:16]
    if isinstance(module, Tied):
        inputs = draw.integers(0, 30, (16, 7))
    elif isinstance(module, Convolutions):
        inputs = draw.normal(size=(16, 2, 6, 6)).astype(np.float32)
    opened = Network.open(module, inputs)
    opened = Network.open(opened.to_onnx(), inputs)
    planned = compress.networks.PlannedNetwork.of(opened, inputs)
    of_module = analyse(module, inputs, thresholds=True)
    of_graph = analyse(planned.module, planned.inputs(inputs), products=planned.products, thresholds=True)
    assert {layer.name for layer in of_graph.layers} >= {
        layer.name for layer in of_module.layers if layer.name != "table"
    }
    for layer in of_module.layers:
        same = next(
            each
            for each in of_graph.layers
            if each.weights.shape == layer.weights.shape and np.array_equal(each.weights, layer.weights)
        )
        assert layer.activations is not None
        assert same.activations is not None
        assert np.abs(same.activations.counts - layer.activations.counts).sum() <= 4, "rounding may move a few"
        assert np.allclose(
            same.activations.effects.sum(axis=1), layer.activations.effects.sum(axis=1), rtol=1e-3, atol=1e-5
        )
        assert same.vectors == layer.vectors > 0


def test_a_plan_with_thresholds_takes_fewer_products_within_the_tolerance() -> None:
    without = compress.plan(network(), POOL, tolerance=TOLERANCE, thresholds=(1e-9,), minimise="macs", **FEW)
    plan = compress.plan(network(), POOL, tolerance=TOLERANCE, thresholds=True, minimise="macs", **FEW)
    assert plan.feasible
    assert any(choice.activation_threshold for choice in plan.choices.values())
    assert plan.costs["macs"] < 0.9 * without.costs["macs"]
    model = plan.apply()
    predicted = plan.planner.predict(TOLERANCE, None, "macs").costs["file_bytes"]
    assert predicted == pytest.approx(model.size_bytes, abs=3), "bytes of thresholds count"
    assert {layer.name: layer.activation_threshold for layer in model.layers} == {
        name: choice.activation_threshold for name, choice in plan.choices.items()
    }
    again = CompressedModel.from_bytes(model.to_bytes())
    pool = plan.planner.pool
    before, loaded = run_outputs(network(), pool), plan.planner.changed(again)
    run = plan.planner.loss_of(TOLERANCE).mean(before, run_outputs(loaded, pool))
    assert run == pytest.approx(plan.measured, rel=1e-4), "plans are measured with their thresholds"
    of_graph = {"output": np.asarray(next(iter(again.network.run(pool).values())))}
    assert plan.planner.loss_of(TOLERANCE).mean(before, of_graph) == pytest.approx(run, rel=1e-3)
    unchanged = again.with_thresholds(dict.fromkeys(plan.choices, 0.0))
    other = plan.planner.loss_of(TOLERANCE).mean(before, run_outputs(plan.planner.changed(unchanged), pool))
    assert abs(other - run) > 1e-4, "the thresholds have an effect"


def test_a_layer_is_calibrated_with_its_threshold() -> None:
    planner = make_planner(network(), POOL, loss="kl", thresholds=True, **FEW)
    finest = Choice(1.0, 5)
    cut = planner.analysis.layers[1].activations.cuts((0.5,))[-1]  # type: ignore[union-attr]
    places = np.arange(len(planner.pool))
    with_cut = dataclasses.replace(finest, activation_threshold=cut.threshold, activation_cut=cut.share)
    alone = planner._squares(1, with_cut, places).mean()
    assert alone > 2 * planner._squares(1, finest, places).mean()
    assert planner._squares(1, finest, places).mean() < alone, "a threshold does not outlive its run"


def test_products_count_weights_and_activations_that_are_not_zero() -> None:
    planner = make_planner(network(), POOL, loss="kl", thresholds=(0.3, 0.6), **FEW)
    for number, of_layer in enumerate(planner.candidates):
        for candidate in of_layer:
            layer = planner.layer_compressor.compress(number, candidate.choice)
            weights = np.count_nonzero(layer.codes)
            assert candidate.costs["macs"] == pytest.approx(weights * (1 - candidate.choice.activation_cut), rel=1e-6)


def test_a_cost_function_sees_the_threshold() -> None:
    seen = set()

    def cost(layer: CompressedLayer, _: int) -> dict[str, float]:
        seen.add((layer.name, layer.activation_threshold))
        return {"latency_us": (1 + np.count_nonzero(layer.codes)) / (1 + layer.activation_threshold)}

    plan = compress.plan(
        network(), POOL, tolerance=TOLERANCE, thresholds=(0.2, 0.4), minimise="latency_us", cost=cost, **FEW
    )
    assert {(name, choice.activation_threshold) for name, choice in plan.choices.items()} <= seen
    assert {name for name, threshold in seen if threshold} == set(plan.choices)
    bounded = Budget(latency_us=1.1 * plan.costs["latency_us"])
    small = compress.plan(network(), POOL, tolerance=TOLERANCE, thresholds=(0.2, 0.4), cost=cost, budget=bounded, **FEW)
    assert small.minimise == "file_bytes"
    assert small.costs["file_bytes"] <= plan.costs["file_bytes"]


def test_a_budget_bounds_any_cost_of_a_plan(tmp_path: Path) -> None:
    def cost(layer: CompressedLayer, _: int) -> dict[str, float]:
        return {"work": np.count_nonzero(layer.codes) / (1 + layer.activation_threshold)}

    planner = make_planner(network(), POOL, loss="kl", cost=cost, thresholds=True, **FEW)
    free = planner.plan(TOLERANCE)
    for name in ("macs", "work"):
        least = planner.plan(TOLERANCE, minimise=name).costs[name]
        assert least < 0.95 * free.costs[name]
        budget = Budget(costs={name: (least + free.costs[name]) / 2})
        assert budget.bounds == dict(budget.costs)
        bounded = planner.plan(TOLERANCE, budget)
        assert bounded.feasible
        assert bounded.costs[name] <= budget.costs[name]
        bounded.save(tmp_path / "a.plan.json")
        assert Plan.load(tmp_path / "a.plan.json").budget == budget
        impossible = planner.plan(TOLERANCE, Budget(costs={name: 0.1 * least}))
        assert not impossible.feasible
        assert name in impossible.binding
        assert impossible.nearest[name] > 0.1 * least
    assert '"costs": {}' not in free.to_json()


def test_plans_with_and_without_thresholds_can_be_saved(tmp_path: Path) -> None:
    plan = compress.plan(network(), POOL, tolerance=TOLERANCE, thresholds=True, minimise="macs", **FEW)
    plan.save(tmp_path / "a.plan.json")
    loaded = Plan.load(tmp_path / "a.plan.json")
    assert (loaded.choices, loaded.minimise, loaded.costs) == (plan.choices, "macs", plan.costs)
    assert {"activation_threshold", "activation_cut"} <= set(loaded.rows[0])
    assert [layer.activation_threshold for layer in plan.planner.compress(network(), loaded).layers] == [
        choice.activation_threshold for choice in plan.choices.values()
    ]
    plain = compress.plan(network(), POOL, tolerance=TOLERANCE, **FEW)
    assert not any(word in plain.to_json() for word in ("activation", "minimise", "macs"))
    assert "activation_threshold" not in plain.rows[0]
    assert Plan.from_json(plain.to_json()).minimise == "file_bytes"
    with pytest.raises(InputError, match="minimise must be one of the costs file_bytes; found 'macs'"):
        Plan.from_json(plain.to_json().replace('"predicted":', '"minimise": "macs", "predicted":'))


class Channels(torch.nn.Module):
    """Convolution of two groups, and a product, both with columns without weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.out = torch.nn.Conv2d(4, 6, 3, groups=2), torch.nn.Linear(6, 3)
        with torch.no_grad():
            self.conv.weight[:3, 1] = 0
            self.conv.weight[3:, 0] = 0
            self.out.weight[:, :2] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.out(self.conv(x).mean((2, 3)))
        return outputs


@pytest.mark.parametrize("as_graph", [False, True])
def test_activations_that_meet_no_weight_are_not_counted(as_graph: bool) -> None:
    images = np.random.default_rng(0).normal(size=(16, 4, 6, 6)).astype(np.float32)
    images[:, 1:3] = 0  # which only weights of 0 meet in their groups
    images[:8, 0] = 0
    source = Network.open(Channels().eval(), images)
    planned = PlannedNetwork.of(
        Network(source.name, source.graph, source.parameters) if as_graph else Channels(), images
    )
    module = planned.module
    layers, _ = module_layers(module, products=planned.products)
    binned = BinnedInputs(layers)
    with torch.enable_grad(), replacing_inputs(module, layers, binned.enter):
        module(torch.from_numpy(images))
    binned.add([None] * len(binned.tensors))
    of_conv, of_out = binned.of(0, 1.0).counts, binned.of(1, 1.0).counts
    assert (of_conv.sum(), of_conv[0]) == (16 * 2 * 36, 8 * 36)
    assert of_out.sum() == 16 * 4


def test_a_plan_tells_what_was_to_be_chosen_from() -> None:
    options: dict[str, Any] = {"thresholds": (0.3, 0.6), "codebooks": "group", "num_pes": 8, "codebook_groups": 2}
    plan = compress.plan(network(), POOL, tolerance=TOLERANCE, minimise="macs", structured=True, **options, **FEW)
    assert plan.options == options | {"structured": True}
    assert Plan.from_json(plan.to_json()).options == plan.options
    assert plan.replan(Budget(file_bytes=1e5)).options == plan.options
    plain = Plan.from_json(compress.plan(network(), POOL, tolerance=TOLERANCE, **FEW).to_json())
    assert not set(plain.options) & set(json.loads(plain.to_json()))
    values = json.loads(plan.to_json())
    for name, value in {
        "thresholds": [0.0],
        "codebooks": "row",
        "num_pes": 0,
        "codebook_groups": 9,
        "structured": 1,
    }.items():
        with pytest.raises(InputError, match=name):
            Plan.from_json(json.dumps(values | {name: value}))


def test_an_interrupted_analysis_with_thresholds_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(folder: Path | None) -> Any:
        planner = make_planner(network(), POOL, loss="kl", folder=folder, thresholds=True, **FEW)
        return planner.plan(TOLERANCE, minimise="macs")

    whole = planned(None)
    monkeypatch.setattr(analysis_module, "_SECONDS_OF_A_PART", 0.0)
    usual, calls = analysis_module._gradients, itertools.count()

    def stopping(*arguments: Any) -> Any:
        if next(calls) == 17:
            raise KeyboardInterrupt
        return usual(*arguments)

    monkeypatch.setattr(analysis_module, "_gradients", stopping)
    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path)
    assert planned(tmp_path).choices == whole.choices
    done = next(calls)
    assert planned(tmp_path).choices == whole.choices
    assert next(calls) == done + 1, "nothing is computed again"
    make_planner(network(), POOL, loss="kl", folder=tmp_path, **FEW)
    assert len(list(tmp_path.iterdir())) == 2, "an analysis without thresholds is another one"


def test_a_tied_table_takes_a_threshold_in_its_product_alone() -> None:
    tokens = np.random.default_rng(0).integers(0, 30, (64, 9))
    module = Tied()
    plan = compress.plan(module, tokens, tolerance=0.05, loss="kl", thresholds=True, minimise="macs", **FEW)
    assert set(plan.choices) == {"table", "middle"}
    model = plan.apply()
    with torch.no_grad():
        looked_up = plan.planner.changed(model).get_parameter("table.weight").numpy()
    assert np.array_equal(looked_up, next(layer for layer in model.layers if layer.name == "table").weights())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"thresholds": True}, "thresholds need a cost that they lower.*found minimise='file_bytes'"),
        ({"minimise": "macs"}, "minimise must be one of the costs file_bytes; found 'macs'"),
        ({"thresholds": True, "minimise": "latency_us"}, "one of the costs file_bytes, macs; found 'latency_us'"),
        (
            {"thresholds": (0.5, 1.0), "minimise": "macs"},
            r"each above 0 and below 1; found 1\.0; give True to try 0\.1",
        ),
        ({"thresholds": (0.0,), "minimise": "macs"}, r"each above 0 and below 1; found 0\.0; give True to try 0\.1"),
    ],
)
def test_options_without_effect_or_meaning_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        compress.plan(network(), POOL, tolerance=TOLERANCE, **FEW, **options)


def test_a_network_without_a_layer_that_takes_thresholds_is_refused() -> None:
    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cells = torch.nn.LSTM(12, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.cells(x)[0]
            return outputs

    inputs = np.random.default_rng(0).normal(size=(40, 6, 12)).astype(np.float32)
    with pytest.raises(InputError, match="thresholds need a layer that takes one"):
        make_planner(Recurrent().eval(), inputs, loss="relative-error", thresholds=True, **FEW)


def test_the_shell_plans_thresholds(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    write_npy(tmp_path / "inputs.npy", POOL)
    arguments = ("plan", "mine:build", "inputs.npy", "mine.dc", "--divergence", "0.02", "--thresholds")
    printed = words_of(run_command("compress", *arguments, "--minimise", "macs", folder=tmp_path))
    assert "activation_threshold" in printed
    thresholds = [layer.activation_threshold for layer in CompressedModel.load(tmp_path / "mine.dc").layers]
    plan = Plan.load(tmp_path / "mine.plan.json")
    assert thresholds == [choice.activation_threshold for choice in plan.choices.values()]
    assert any(thresholds)
    assert plan.minimise == "macs"
    bounded = ("--costs", "macs", str(1.1 * plan.costs["macs"]))
    run_command("compress", *arguments, *bounded, folder=tmp_path)
    smaller = Plan.load(tmp_path / "mine.plan.json")
    assert smaller.costs["macs"] <= 1.1 * plan.costs["macs"]
    assert smaller.costs["file_bytes"] <= plan.costs["file_bytes"]


class Functional(torch.nn.Module):
    """Layers of which one is called, and is multiplied outside of its calls, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.out = torch.nn.Linear(12, 12), torch.nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(torch.nn.functional.linear(torch.tanh(self.first(x)), self.first.weight))
        scores: torch.Tensor = 4 * self.out(hidden)
        return scores


@pytest.mark.parametrize("is_traced", [True, False])
def test_a_layer_that_is_multiplied_outside_of_its_calls_takes_no_threshold(is_traced: bool, tmp_path: Path) -> None:
    module = Functional().eval()
    options: dict[str, Any] = {"loss": "kl", "thresholds": True, "folder": tmp_path, **FEW}
    planner = make_planner(module, POOL, network=Network.open(module, POOL[:8]) if is_traced else None, **options)
    assert [layer.activations is not None for layer in planner.layer_compressor.analysis.layers] == [False, True]
    assert not any(candidate.choice.activation_threshold for candidate in planner.candidates[0])
    made = planner.plan(TOLERANCE, minimise="macs")
    assert [choice.activation_threshold > 0 for choice in made.choices.values()] == [False, True]


def test_a_folder_tells_layers_with_thresholds_from_those_without(tmp_path: Path) -> None:
    planner = make_planner(network(), POOL, loss="kl", thresholds=(0.4,), folder=tmp_path, **FEW)
    first, second = planner.layer_compressor.analysis.layers
    without = Analysis([dataclasses.replace(first, activations=None), second])
    compressor = LayerCompressor.of(without)
    tried = tried_choices(compressor, (1.0, 0.6), (3, 5), folder=planner.folder, thresholds=(0.4,))
    of_layers = [any(each.choice.activation_threshold for each in of_layer) for of_layer in planner.candidates]
    assert of_layers == [True, True]
    assert [any(each.choice.activation_threshold for each in of_layer) for of_layer in tried] == [False, True]
    hooked = network()
    config = compress.CompressionConfig(compress.LayerSettings(1.0, weight_bits=8, activation_threshold=0.6))
    compress.compress(hooked, config).load_into(hooked)
    plain = network()
    plain.load_state_dict(hooked.state_dict())
    for module in (plain, hooked):
        make_planner(module, POOL, loss="kl", folder=tmp_path / "own", **FEW)
    assert len(list((tmp_path / "own").iterdir())) == 2


def test_layers_tried_alone_keep_the_thresholds_that_the_network_has_already() -> None:
    module = network()
    config = compress.CompressionConfig(compress.LayerSettings(1.0, weight_bits=8, activation_threshold=0.6))
    compress.compress(module, config).load_into(module)
    planner = make_planner(module, POOL, loss="kl", **FEW)
    places = np.arange(len(planner.pool))
    same = planner._squares(1, Choice(1.0, 8), places)
    assert same.mean() < 1e-4
    other = planner._squares(0, Choice(1.0, 8, activation_threshold=0.1), places)
    assert other.mean() < 1e-4
