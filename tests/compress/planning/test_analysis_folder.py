"""Analyses that are kept in a folder: interrupted, continued, shared (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import Tolerance
from compress.planning import analysis as analysis_module
from compress.planning import choices as choices_module
from compress.planning import planner as planner_module
from compress.planning.preparation import make_planner
from traces import InputError

FEW: dict[str, Any] = {"densities": (1.0, 0.5, 0.2), "weight_bits": (2, 4)}


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5)).eval()


POOL = np.random.default_rng(0).normal(size=(80, 12)).astype(np.float32)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [(analysis_module, "_gradients", 17), (choices_module, "_tried", 1), (planner_module, "run_outputs", 3)],
)
def test_a_plan_that_was_interrupted_goes_on_where_it_stopped(
    module: Any, name: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned() -> Any:
        planner = make_planner(network(), POOL, loss="kl", folder=tmp_path, **FEW)
        return planner.plan(Tolerance(divergence=0.002))

    whole = make_planner(network(), POOL, loss="kl", **FEW).plan(Tolerance(divergence=0.002))
    monkeypatch.setattr(analysis_module, "_SECONDS_OF_A_PART", 0.0)
    usual, calls = getattr(module, name), []

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(name)
        if len(calls) > after and not finished:
            raise StoppedError
        return usual(*arguments, **keywords)

    finished = False
    monkeypatch.setattr(module, name, counted)
    with pytest.raises(StoppedError):
        planned()
    finished, before = True, len(calls)
    continued = planned()
    assert continued.choices == whole.choices
    assert continued.measured == pytest.approx(whole.measured, rel=1e-6)
    remaining = len(calls) - before
    calls.clear()
    assert planned().choices == whole.choices
    assert not calls, "nothing is computed again"
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != ".lock":
            path.unlink()
    planned()
    assert remaining < len(calls), "what was done before the interruption was done again"


def test_a_folder_keeps_analyses_of_several_networks_losses_and_inputs_apart(tmp_path: Path) -> None:
    tolerances = {"kl": Tolerance(divergence=0.002), "relative-error": Tolerance(relative_error=0.1)}
    for loss, tolerance in tolerances.items():
        alone = make_planner(network(), POOL, loss=loss, **FEW).plan(tolerance)
        for pool in (POOL, POOL[::-1].copy()):
            make_planner(network(), pool, loss=loss, folder=tmp_path, **FEW).plan(tolerance)
        again = make_planner(network(), POOL, loss=loss, folder=tmp_path, **FEW).plan(tolerance)
        assert again.choices == alone.choices
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_written_is_refused_before_the_analysis(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="the analysis cannot be kept here"):
        make_planner(network(), POOL, loss="kl", folder=tmp_path / "taken", **FEW)
