"""The analysis, what it predicts, and the plans that follow from it (PyTorch needed)."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressedModel
from compress.planning.analysis import analyse, probe_directions
from compress.planning.calibration import Calibration
from compress.planning.committee import choose_inputs, disagreement
from compress.planning.compensation import codebooks, error_spread, pruned_weights, shared_codes, stored_codebook
from compress.planning.losses import Loss
from compress.planning.moments import BlockMoment
from compress.planning.outputs import run_batches, run_outputs
from compress.planning.plan import Budget, Choice, Plan, Tolerance
from compress.planning.planner import Planner
from compress.planning.preparation import make_planner
from compress.pruning import magnitude_mask
from compress.training.fine_tuning import train
from traces import CompressedLayer, InputError
from traces.files.images import ImageSet, load_digits


class Recurrent(torch.nn.Module):
    """Embedding, LSTM, attention and a tied output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 8)
        self.lstm = torch.nn.LSTM(8, 8, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = torch.nn.Linear(8, 11)
        self.out.weight = self.embedding.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        found = self.lstm(self.embedding(words))[0]
        found = found + self.attention(found, found, found, need_weights=False)[0]
        return self.out(found[:, -1])  # type: ignore[no-any-return]


def convolutional() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, padding=1, stride=2),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 6, 3, groups=2),
        torch.nn.Flatten(2),
        torch.nn.Conv1d(6, 4, 2),
        torch.nn.Flatten(),
        torch.nn.Linear(12, 5),
    )


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_digits()


@pytest.fixture(scope="module")
def network(digits: ImageSet) -> torch.nn.Module:
    torch.manual_seed(0)
    found = torch.nn.Sequential(
        torch.nn.Linear(64, 60), torch.nn.ReLU(), torch.nn.Linear(60, 30), torch.nn.ReLU(), torch.nn.Linear(30, 10)
    )
    train(found, digits.train_images, digits.train_labels, epochs=25, learning_rate=0.003, seed=0)
    return found.eval()


@pytest.fixture(scope="module")
def planner(network: torch.nn.Module, digits: ImageSet) -> Planner:
    return make_planner(network, digits.train_images[:600], digits.train_labels[:600], cost=entries_cost)


class Sides(torch.nn.Module):
    """A head, and another one beside it that changes nothing, for one of several reasons."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body, self.head = torch.nn.Linear(16, 24), torch.nn.Linear(24, 4)
        self.side, self.other_head = torch.nn.Linear(24, 12), torch.nn.Linear(12, 4)
        weights = {"zeros": self.side.weight, "zeros behind": self.other_head.weight}
        if kind in weights:
            torch.nn.init.zeros_(weights[kind])
        elif kind == "dead units":
            torch.nn.init.constant_(self.side.bias, -1000.0)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.body(inputs))
        other = torch.relu(self.side(seen))
        if self.kind == "unused" and not self.training:
            return self.head(seen)  # type: ignore[no-any-return]
        if self.kind == "next to nothing":
            return self.head(seen) + self.other_head(other * 1e-25) * 1e-15  # type: ignore[no-any-return]
        return self.head(seen) + self.other_head(other)  # type: ignore[no-any-return]


def centred(outputs: Any) -> Any:
    return outputs - outputs.mean(axis=-1, keepdims=True)


def entries_cost(layer: CompressedLayer, index_bits: int) -> dict[str, float]:
    """Stand in for an array: a microsecond for a thousand entries."""
    entries = float(np.count_nonzero(layer.codes))
    return {"latency_us": entries / 1000, "sram_bytes_per_pe": entries}


@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_effects_are_the_derivatives_of_the_outputs(kind: str) -> None:
    torch.manual_seed(2)
    if kind == "recurrent":
        module: torch.nn.Module = Recurrent().double()
        inputs: Any = np.random.default_rng(0).integers(0, 11, (5, 6))
    else:
        module = convolutional().double()
        module(torch.randn(50, 2, 8, 8, dtype=torch.float64))
        inputs = np.random.default_rng(0).normal(size=(5, 2, 8, 8))
    analysis = analyse(module.eval(), inputs)
    state = {name: values.clone() for name, values in module.state_dict().items()}
    stream = np.random.default_rng(1)
    assert len(analysis.layers) == {"convolutional": 4, "recurrent": 5}[kind]
    for layer in analysis.layers:
        step = stream.normal(size=layer.weights.shape)
        name = layer.name if layer.name in state else f"{layer.name}.weight"
        outputs = []
        for sign in (1, -1):
            moved = state[name] + torch.from_numpy(sign * 1e-5 * step).reshape(layer.shape)
            names = [name, "embedding.weight"] if name == "out.weight" else [name]
            names += ["out.weight"] if name == "embedding.weight" else []
            module.load_state_dict({**state, **dict.fromkeys(names, moved)})
            outputs.append(run_batches(module, inputs))
        module.load_state_dict(state)
        tensors = [torch.from_numpy(outputs[0][place : place + 1]) for place in range(len(inputs))]
        along = [probe_directions([each], Loss(), 0, probe)[0].numpy() for probe, each in enumerate(tensors)]
        slopes = ((outputs[0] - outputs[1]) / 2e-5 * np.concatenate(along)).sum(axis=1)
        effects = layer.effects(layer.weights + step)
        assert np.allclose(effects, slopes, rtol=5e-3, atol=5e-3 * np.abs(slopes).max())
        squares = np.square(layer.probes.astype(np.float64) * layer.scales[:, None]).mean(axis=0)
        assert np.allclose(layer.curvatures.ravel(), squares, rtol=1e-3)


def test_the_predicted_change_is_what_new_inputs_show(network: torch.nn.Module, digits: ImageSet) -> None:
    analysis = analyse(network, digits.train_images[:300])
    stream = np.random.default_rng(5)
    state = {name: values.clone() for name, values in network.state_dict().items()}
    ratios = []
    for size in (0.003, 0.01, 0.02):
        moved = {layer.name: layer.weights + stream.normal(0, size, layer.weights.shape) for layer in analysis.layers}
        network.load_state_dict(
            state | {f"{name}.weight": torch.from_numpy(values).float() for name, values in moved.items()}
        )
        changed = centred(run_batches(network, digits.test_images))
        network.load_state_dict(state)
        measured = np.square(changed - centred(run_batches(network, digits.test_images))).sum(axis=1).mean()
        ratios.append(measured / analysis.predicted_change(moved))
    assert 0.7 < min(ratios) <= max(ratios) < 1.4
    with pytest.raises(InputError, match="the network has no layers 7; it has 0, 2, 4"):
        analysis.predicted_change({"7": np.zeros(3)})


def test_an_analysis_leaves_the_network_as_it_was_and_says_what_it_needs(network: torch.nn.Module) -> None:
    frozen = convolutional().train()
    frozen[0].weight.requires_grad_(False)
    before = {name: values.clone() for name, values in frozen.state_dict().items()}
    analyse(frozen, np.zeros((2, 2, 8, 8), np.float32))
    assert frozen.training
    assert not frozen[0].weight.requires_grad
    assert all(torch.equal(values, before[name]) for name, values in frozen.state_dict().items())
    with pytest.raises(InputError, match="an analysis needs inputs; found none"):
        analyse(network, np.zeros((0, 64), np.float32))
    with pytest.raises(InputError, match="must be finite; found NaN or infinity"):
        analyse(network, np.full((1, 64), np.nan, np.float32))


def test_what_is_pruned_is_made_good_by_the_rest_of_its_row() -> None:
    stream = np.random.default_rng(0)
    inputs = stream.normal(size=(5000, 1)) + 0.5 * stream.normal(size=(5000, 12))
    moment = inputs.T @ inputs / len(inputs)
    spread = error_spread(BlockMoment.of_vectors(inputs))
    weights = stream.normal(size=(7, 12)).astype(np.float32)
    kept = np.ones((7, 12), bool)
    kept[:, 0] = False
    damped = moment + 0.01 * np.trace(moment) / 12 * np.eye(12)
    inverse = np.linalg.inv(damped)
    surgeon = weights - weights[:, :1] / inverse[0, 0] * inverse[0]  # Hassibi and Stork, equation 5
    assert np.allclose(pruned_weights(weights, kept, spread), surgeon, atol=1e-6)

    weights = stream.normal(size=(50, 12)).astype(np.float32)
    kept = magnitude_mask(weights, 0.5)
    lost = [np.square(inputs @ (pruned_weights(weights, kept, each) - weights).T).mean() for each in (spread, None)]
    assert lost[0] < lost[1] / 2
    curvatures = np.ones_like(weights)
    both = []
    for each in (spread, None):
        (shared,) = codebooks(pruned_weights(weights, kept, each), kept, curvatures, [4])
        both.append((shared_codes(weights, kept, each, shared), stored_codebook(shared)))
    lost = [np.square(inputs @ (codebook[codes] - weights).T).mean() for codes, codebook in both]
    assert lost[0] < 0.7 * lost[1]
    for codes, codebook in both:
        assert np.array_equal(codes != 0, kept)
        assert np.array_equal(codebook, codebook.astype(np.float16))


def test_a_plan_keeps_its_tolerance_and_is_what_it_says(
    planner: Planner, network: torch.nn.Module, digits: ImageSet, tmp_path: Path
) -> None:
    plan = planner.plan(Tolerance(accuracy_drop=0.02))
    assert plan.feasible
    assert plan.measured is not None
    assert plan.measured <= 0.02
    model = planner.compress(network, plan)
    model.save(tmp_path / "planned.dc")
    assert (tmp_path / "planned.dc").stat().st_size == plan.costs["file_bytes"]
    changed = planner.changed(model)
    assert planner.labels is not None
    right = [
        (run_outputs(each, planner.pool)["output"].argmax(1) == planner.labels).mean() for each in (network, changed)
    ]
    assert right[0] - right[1] == pytest.approx(plan.measured)

    tighter, looser = planner.plan(Tolerance(divergence=0.003)), planner.plan(Tolerance(divergence=0.1))
    assert tighter.feasible
    assert looser.feasible
    assert looser.costs["file_bytes"] < tighter.costs["file_bytes"]
    again = Plan.from_json(plan.to_json())
    assert again.choices == plan.choices
    assert planner.compress(network, again).to_bytes() == model.to_bytes()
    for path in (tmp_path / "plan.json", str(tmp_path / "named.json")):
        plan.save(path)
        assert Plan.load(path).to_json() == plan.to_json()
    with pytest.raises(InputError, match=r"a plan must be JSON as Plan\.to_json writes it"):
        Plan.from_json('{"choices": 3}')


def test_a_planned_file_is_smaller_than_uniform_compression_with_the_same_effect(
    planner: Planner, network: torch.nn.Module, digits: ImageSet
) -> None:
    tolerance = Tolerance(divergence=0.03)
    plan = planner.plan(tolerance)
    names = [layer.name for layer in planner.layers]
    original = run_batches(network, digits.test_images)
    sizes = []
    for density, weight_bits in product((1.0, 0.8, 0.65, 0.52, 0.42, 0.34), (3, 4, 5)):
        uniform = dict.fromkeys(names, Choice(density, weight_bits))
        model = planner.compress(network, uniform)
        changed = run_batches(planner.changed(model), digits.test_images)
        if Loss("kl").mean(original, changed) <= 0.03:
            sizes.append(model.size_bytes)
    assert plan.costs["file_bytes"] < min(sizes)


def test_a_budget_that_cannot_be_met_says_what_binds(planner: Planner) -> None:
    tolerance = Tolerance(divergence=0.01, confidence=0.5)
    free = planner.plan(tolerance)
    tight = planner.plan(tolerance, Budget(file_bytes=free.costs["file_bytes"] * 0.5))
    assert not tight.feasible
    assert "file_bytes" in tight.binding
    assert tight.nearest["file_bytes"] > free.costs["file_bytes"] * 0.8
    slow = planner.plan(tolerance, Budget(latency_us=free.costs["latency_us"] * 0.9))
    assert slow.feasible
    assert slow.costs["latency_us"] <= free.costs["latency_us"] * 0.9
    narrow = planner.plan(tolerance, Budget(sram_bytes_per_pe=free.costs["sram_bytes_per_pe"] * 0.9, num_pes=1))
    assert narrow.costs["sram_bytes_per_pe"] <= free.costs["sram_bytes_per_pe"] * 0.9
    nothing = planner.plan(Tolerance(divergence=1e-9))
    assert not nothing.feasible
    assert nothing.binding == ("tolerance",)
    with pytest.raises(
        InputError, match="the budget bounds energy_nj, which neither the file nor a cost function gives"
    ):
        planner.plan(tolerance, Budget(energy_nj=1))


def test_what_is_no_budget_tolerance_or_network_is_refused(planner: Planner, network: torch.nn.Module) -> None:
    with pytest.raises(InputError, match="a budget's file_bytes must be a finite number above 0; found -1"):
        Budget(file_bytes=-1)
    with pytest.raises(InputError, match="sram_bytes_per_pe is a bound for each PE; give num_pes, too"):
        Budget(sram_bytes_per_pe=1000)
    with pytest.raises(InputError, match="a budget's cost macs must be a finite number above 0; found 0"):
        Budget(costs={"macs": 0})
    with pytest.raises(InputError, match=r"costs must be others than file_bytes, .*; found energy_nj; give energy_nj"):
        Budget(costs={"energy_nj": 5})
    with pytest.raises(InputError, match=r"the budget bounds macs, .*; plan with thresholds, which count macs"):
        planner.plan(Tolerance(divergence=0.01), Budget(costs={"macs": 5}))
    with pytest.raises(InputError, match=r"exactly one positive bound: bound, or accuracy_drop, .*; found none"):
        Tolerance()
    with pytest.raises(InputError, match="labels: there must be a label for each input; found 2 for 3 inputs"):
        make_planner(network, np.zeros((3, 64), np.float32), np.zeros(2))
    with pytest.raises(InputError, match=r"there must be a choice for each layer, 0, 2, 4; found choices for 0"):
        planner.compress(network, {"0": Choice(0.5, 4)})
    other = copy.deepcopy(network)
    torch.nn.init.zeros_(other.get_submodule("0").weight)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the module must be the one that was analysed; 0 has other weights"):
        planner.compress(other, dict.fromkeys("024", Choice(0.5, 4)))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["unused", "zeros", "zeros behind", "dead units", "next to nothing"])
def test_a_layer_without_effect_takes_its_smallest_choice(kind: str) -> None:
    torch.manual_seed(0)
    module = Sides(kind).eval()
    pool = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
    planner = make_planner(
        module, pool, loss="kl", cost=entries_cost, densities=(1.0, 0.5, 0.25, 0.1), weight_bits=(2, 4, 6)
    )
    for tolerance in (Tolerance(divergence=0.005, confidence=0.5), Tolerance(accuracy_drop=0.05, confidence=0.5)):
        plan = planner.plan(tolerance)
        assert plan.feasible
        for name in ("side",) if kind == "zeros" else ("side", "other_head"):
            of_layer = planner.candidates[list(plan.layers).index(name)]
            assert plan.layers[name].costs["file_bytes"] == min(each.costs["file_bytes"] for each in of_layer)
        assert planner.predict(tolerance).choices
        smaller = planner.plan(tolerance, Budget(file_bytes=plan.costs["file_bytes"] - 1))
        assert smaller.costs["file_bytes"] < plan.costs["file_bytes"] or not smaller.feasible
    chosen = choose_inputs(module, pool, 30, Tolerance(divergence=0.005))
    assert np.isfinite(chosen.weights).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_network_that_compression_does_not_change_is_planned_as_it_is() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.ReLU(), torch.nn.Linear(24, 4)).eval()
    with torch.no_grad():
        for name in ("0", "2"):
            weight = module.get_submodule(name).weight
            assert isinstance(weight, torch.Tensor)
            weight.copy_(weight.sign() / 4)  # two values, exact in 16 bits
    pool = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
    planner = make_planner(module, pool, loss="kl")
    for tolerance in (Tolerance(divergence=1e-3), Tolerance(accuracy_drop=0.02)):
        plan = planner.plan(tolerance)
        assert plan.feasible
        assert plan.predicted_change == 0
        assert set(plan.choices.values()) == {Choice(1.0, 2)}
        assert planner.predict(tolerance).choices == plan.choices
        assert planner.plan(tolerance).choices == plan.choices
    looser = planner.plan(Tolerance(divergence=0.05))
    assert looser.feasible
    assert looser.costs["file_bytes"] < plan.costs["file_bytes"]


def test_a_change_that_is_none_is_not_calibrated() -> None:
    calibration = Calibration(2)
    calibration.add(0, 0.1, np.full(5, 0.2))
    calibration.add(1, 0.1, np.full(5, 0.05))
    assert calibration.knows(0, 0.0)
    assert not calibration.knows(0, 1e-3)
    scaled = calibration.scaled(0, np.array([0.0, 1e-40, 0.1]))
    assert scaled[0] == 0
    assert np.isfinite(scaled).all()


def test_derivatives_that_are_no_numbers_are_refused_and_tiny_ones_count_as_none() -> None:
    class Root(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.layer, self.out, self.factor = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2), factor

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            found = self.layer(inputs)
            seen = (found * 0).sqrt() if self.factor == 1 else (found * 1e-22) * self.factor
            return self.out(inputs) + self.out(seen)  # type: ignore[no-any-return]

    inputs = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    with pytest.raises(InputError, match=r"derivatives must be finite; found NaN or infinity in those by the weights"):
        make_planner(Root(1), inputs, loss="kl")
    analysis = analyse(Root(1e-22), inputs)
    assert np.isfinite(analysis.layers[0].curvatures).all()
    assert analysis.predicted_change({"layer": np.ones((3, 3))}) < 1e-30


def test_disagreement_is_divergence_or_entropy_of_votes() -> None:
    same = np.log(np.array([[[0.7, 0.2, 0.1]]] * 3))
    assert disagreement(same)[0] == pytest.approx(0)
    split = np.log(np.array([[[0.9, 0.05, 0.05]], [[0.05, 0.9, 0.05]]]))
    mean = np.array([0.475, 0.475, 0.05])
    assert disagreement(split)[0] == pytest.approx((np.exp(split[0, 0]) * (split[0, 0] - np.log(mean))).sum())
    assert disagreement(split, "votes")[0] == pytest.approx(np.log(2))
    assert disagreement(same, "votes")[0] == pytest.approx(0)


def test_the_committee_chooses_hard_inputs_that_stand_for_the_pool(network: torch.nn.Module, digits: ImageSet) -> None:
    pool = digits.train_images[:800]
    tolerance = Tolerance(divergence=0.05)
    chosen = choose_inputs(network, pool, 60, tolerance, evaluation=digits.test_images)
    assert len(set(chosen.places)) == len(chosen.places) == len(chosen.weights) <= 60
    outputs = np.sort(run_batches(network, pool), axis=1)
    margins = outputs[:, -1] - outputs[:, -2]
    assert np.median(margins[chosen.places[15:]]) < np.quantile(margins, 0.3)
    assert chosen.weights[15:].mean() < chosen.weights[:15].mean()
    again = choose_inputs(network, pool, 60, tolerance)
    assert np.array_equal(chosen.places, again.places)
    assert np.array_equal(chosen.weights, again.weights)
    with pytest.raises(InputError, match=r"of the evaluation must not be in the pool .*; found 3 of 3 in it"):
        choose_inputs(network, pool, 40, tolerance, evaluation=pool[:3])
    with pytest.raises(
        InputError, match="number must be at least rounds and at most the inputs of the pool; found number=900"
    ):
        choose_inputs(network, pool, 900, tolerance)


def test_means_over_chosen_inputs_are_in_the_mean_those_over_the_pool(
    planner: Planner, network: torch.nn.Module, digits: ImageSet
) -> None:
    pool = digits.train_images[:800]
    tolerance = Tolerance(divergence=0.05)
    original = run_batches(network, pool)
    changed = run_batches(planner.changed(planner.compress(network, planner.plan(tolerance))), pool)
    used = Loss("kl").by_input(original, changed)
    estimates = []
    for seed in range(8):
        chosen = choose_inputs(network, pool, 40, tolerance, rounds=2, perturbed=1, seed=seed)
        estimates.append(float((chosen.weights * used[chosen.places]).mean()))
    assert np.mean(estimates) == pytest.approx(used.mean(), rel=0.25)


def test_64_inputs_without_labels_give_a_plan_with_its_confidence(network: torch.nn.Module, digits: ImageSet) -> None:
    planner = make_planner(network, digits.train_images[:64])
    plan = planner.plan(Tolerance(accuracy_drop=0.05))
    assert plan.feasible
    assert plan.limit is not None
    assert plan.measured is not None
    assert plan.confidence is not None
    assert plan.measured < plan.limit <= 0.05
    assert 0.9 <= plan.confidence < 1
    assert len(planner.pool) == len(planner.analysed) == 32
    assert isinstance(planner.compress(network, plan), CompressedModel)
