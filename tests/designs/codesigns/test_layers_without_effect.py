"""Co-design of networks with a layer without effect, or with inputs of zeros (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from designs import Search, TrainedNetwork, codesign
from designs.codesigns.compressions import LARGEST_LAYERS, LIMITS, WORK_WEIGHTS, analyse_compression
from tests.compress.planning.test_planning import Sides
from tests.designs.codesigns.test_studies import SPACE


def trained(module: torch.nn.Module, blank: int = 0) -> TrainedNetwork:
    pool = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
    pool[:blank] = 0
    labels = module(torch.from_numpy(pool)).argmax(dim=1).numpy()
    return TrainedNetwork("n", module.eval(), pool, labels, densities=(0.8, 0.5, 0.3, 0.1), weight_bits=(2, 3, 4))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["zeros", "zeros behind", "dead units"])
def test_a_layer_without_effect_takes_its_smallest_choice(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    analysis = analyse_compression(trained(Sides(kind).eval()))
    names = ("side",) if kind == "zeros" else ("side", "other_head")
    for limit, work_weight in ((0, 0), (LIMITS // 2, WORK_WEIGHTS // 2), (LIMITS - 1, WORK_WEIGHTS - 1)):
        chosen = analysis.planned(limit, work_weight, LARGEST_LAYERS - 1, 4)
        assert np.isfinite(analysis.predict(chosen).loss)
        for name in names:
            of_layer = analysis.planner.candidates[analysis.names.index(name)]
            least = min(each.costs["file_bytes"] for each in of_layer)
            assert analysis.candidate(name, chosen[name]).costs["file_bytes"] == least
    table = codesign(analysis, SPACE, Search(trials=4, verify=1), tmp_path)
    assert np.isfinite(table.column("measured_accuracy_loss").to_numpy()).all()


class UnusedHead(torch.nn.Module):
    """Network whose second head is called only in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.unused = torch.nn.Linear(16, 24), torch.nn.Linear(24, 4), torch.nn.Linear(24, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.body(inputs))
        return self.head(hidden) + self.unused(hidden) if self.training else self.head(hidden)  # type: ignore[no-any-return]


def test_a_layer_that_is_never_called_costs_nothing_on_the_array(tmp_path: Path) -> None:
    torch.manual_seed(0)
    analysis = analyse_compression(trained(UnusedHead().eval()))
    assert analysis.array_cost.vectors_per_input("unused") == 0
    assert analysis.array_cost.kind("unused") == "not called"
    table = codesign(analysis, SPACE, Search(trials=4, verify=1), tmp_path)
    assert np.isfinite(table.column("measured_latency_us").to_numpy()).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_blank_inputs_that_give_an_array_no_work_are_no_division_by_nothing() -> None:
    torch.manual_seed(0)
    analysis = analyse_compression(trained(torch.nn.Sequential(torch.nn.Linear(16, 4)), blank=8), 0.3)
    assert {each.costs["macs"] for each in analysis.planner.candidates[0]} == {0.0}
    sizes = [
        analysis.predict(analysis.planned(limit, 0, LARGEST_LAYERS - 1, 4)).file_bytes for limit in (0, LIMITS - 1)
    ]
    assert sizes[0] > sizes[1]
