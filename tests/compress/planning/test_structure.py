"""Units that go before a plan is made: their predicted effects, their order, and plans without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import Tolerance, plan  # noqa: E402
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
    assert abs(model.size_bytes - made.costs["file_bytes"]) < 60  # the mark, and biases of 0


def test_a_plan_from_a_network_without_units_that_can_go_is_refused() -> None:
    one = torch.nn.Sequential(torch.nn.Linear(12, 4))
    with pytest.raises(InputError, match="structured needs units that can be removed"):
        plan(one, POOL, tolerance=TOLERANCE, structured=True)
    with pytest.raises(InputError, match="structured needs the network's graph"):
        plan(Wide(), POOL, tolerance=TOLERANCE, structured=True, graph=False)
