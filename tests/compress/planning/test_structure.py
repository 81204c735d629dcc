"""Units that go before a plan is made: their predicted effects, their order, and plans without them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import Budget, Tolerance, plan  # noqa: E402
from compress.networks import PlannedNetwork  # noqa: E402
from compress.planning.preparation import make_planner  # noqa: E402
from compress.planning.structure import RemovedUnits, StructuredChoice, removable_units  # noqa: E402
from sim import simulate_network  # noqa: E402
from traces import InputError  # noqa: E402


class Wide(torch.nn.Module):  # type: ignore[misc]
    """Two layers, of whose 24 neurons most have little effect."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(12, 24), torch.nn.Linear(24, 4)
        with torch.no_grad():
            self.last.weight[:, 6:] *= 0.003

    def forward(self, x: Any) -> Any:
        return self.last(torch.relu(self.first(x)))


POOL = np.random.default_rng(0).normal(size=(120, 12)).astype(np.float32)
TOLERANCE = Tolerance(0.02, "relative-error", 0.5)


def planner_of(module: Any, **others: Any) -> Any:
    planned = PlannedNetwork.of(module, POOL)
    return make_planner(planned.module, POOL, loss="relative-error", products=planned.products,
                        network=planned.network, **others)  # fmt: skip


def test_the_effect_of_a_unit_is_that_of_the_weights_that_take_it() -> None:
    planner = planner_of(Wide())
    choice = StructuredChoice(planner, removable_units(planner.network))
    assert choice.number == 24
    weights = Wide().last.weight.detach().numpy()
    for number in (0, 7, 23):
        (places,) = choice.units[number].columns.values()
        gone = weights.copy()
        gone.ravel()[places] = 0
        expected = planner.analysis.predicted_change({"last": gone})
        np.testing.assert_allclose(choice.effects[number], expected, rtol=1e-3)
    assert choice.effects[6:].max() < choice.effects[:6].max()


def test_units_of_least_effect_go_first_as_far_as_their_effects_stay_within_the_change() -> None:
    planner = planner_of(Wide())
    choice = StructuredChoice(planner, removable_units(planner.network))
    assert choice.within(0.0).number == 0
    few, all_of_them = choice.within(float(np.sort(choice.effects)[:3].sum()) * 1.001), choice.within(1e9)
    assert (few.number, all_of_them.number) == (3, 24)
    smaller: Any = few.without(Wide())
    gone = np.flatnonzero(~smaller.last.weight.detach().numpy().any(axis=0))
    np.testing.assert_array_equal(gone, np.sort(np.argsort(choice.effects)[:3]))
    np.testing.assert_array_equal(np.flatnonzero(~smaller.first.weight.detach().numpy().any(axis=1)), gone)


def test_a_plan_without_units_keeps_the_tolerance_for_less_and_its_model_is_compact() -> None:
    plain = plan(Wide(), POOL, tolerance=TOLERANCE)
    made = plan(Wide(), POOL, tolerance=TOLERANCE, structured=True)
    assert isinstance(made.removed, RemovedUnits)
    assert made.removed.number >= 10
    assert made.feasible
    assert made.costs["file_bytes"] < plain.costs["file_bytes"]
    assert f"{made.removed.number} of 24 neurons, channels and heads were removed before" in made.notes
    model = made.apply()
    assert made.apply(Wide()).to_bytes() == model.to_bytes()
    result = simulate_network(model, POOL[:20])
    assert result.layers[0].left_out[0] >= made.removed.number
    assert result.layers[1].left_out[1] >= made.removed.number
    expected = Wide()(torch.from_numpy(POOL[:20])).detach().numpy()
    assert np.linalg.norm(result.output - expected) < 0.03 * np.linalg.norm(expected)
    assert model.size_bytes == made.costs["file_bytes"]


def three_layers() -> Any:
    """Return three layers, of whose first neurons 15 have little effect."""
    torch.manual_seed(0)
    sizes = (20, 40, 30, 8)
    first, second, last = (torch.nn.Linear(*each) for each in itertools.pairwise(sizes))
    with torch.no_grad():
        first.weight[:15] *= 0.02
        first.bias[:15] *= 0.02
        for each in (first, second, last):
            each.weight *= 3
    return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last).eval()


OF_THREE: dict[str, Any] = {
    "tolerance": Tolerance(divergence=0.02),
    "evaluation": np.random.RandomState(1).randn(100, 20).astype(np.float32),
    "structured": True,
}
POOL_OF_THREE = np.random.RandomState(0).randn(200, 20).astype(np.float32)


def test_the_size_that_a_plan_without_units_states_is_that_of_its_file() -> None:
    options = OF_THREE | {"codebooks": "pe", "num_pes": 8}
    made = plan(three_layers(), POOL_OF_THREE, **options)
    assert made.removed is not None
    assert made.feasible
    assert made.apply().size_bytes == made.costs["file_bytes"]
    bound = made.costs["file_bytes"] - 8
    smaller = plan(three_layers(), POOL_OF_THREE, budget=Budget(file_bytes=bound), **options)
    for other in (smaller, made.replan(Budget(file_bytes=bound)), made.replan(Budget(file_bytes=900))):
        assert other.apply().size_bytes == other.costs["file_bytes"]
        assert not other.feasible or other.costs["file_bytes"] <= other.budget.bounds["file_bytes"]
    assert not smaller.feasible  # nothing smaller keeps the tolerance


def test_products_of_removed_units_are_not_counted_and_those_of_others_are() -> None:
    made = plan(three_layers(), POOL_OF_THREE, thresholds=True, minimise="macs", **OF_THREE)
    assert made.removed is not None
    model, activations = made.apply(), POOL_OF_THREE.astype(np.float64)
    for name, layer in zip(("0", "2", "4"), model.layers, strict=True):
        entering = np.where(np.abs(activations) <= layer.activation_threshold, 0, activations)
        by_hand = np.count_nonzero(entering, axis=0) @ np.count_nonzero(layer.weights(), axis=0) / len(entering)
        assert made.layers[name].costs["macs"] == pytest.approx(by_hand, rel=0.03)
        bias = model.decoded_parameters()[f"{name}.bias"]
        activations = np.maximum(entering @ layer.weights().T + bias, 0)


def test_a_plan_from_a_network_without_units_that_can_go_is_refused() -> None:
    one = torch.nn.Sequential(torch.nn.Linear(12, 4))
    with pytest.raises(InputError, match="structured needs units that can be removed"):
        plan(one, POOL, tolerance=TOLERANCE, structured=True)
    with pytest.raises(InputError, match="structured needs the network's graph"):
        plan(Wide(), POOL, tolerance=TOLERANCE, structured=True, graph=False)
