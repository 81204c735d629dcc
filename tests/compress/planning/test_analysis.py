"""Probes of an analysis: derivatives along random directions, few of them, of batches of inputs (PyTorch needed)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import itertools

import torch

from compress.planning import analysis as analysis_module
from compress.planning.analysis import analyse, probe_directions, probe_groups, sampled_rows
from compress.planning.losses import Loss
from compress.planning.outputs import run_batches


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(10, 40), torch.nn.Tanh(), torch.nn.Linear(40, 6)).eval()


INPUTS = np.random.default_rng(0).normal(size=(240, 10)).astype(np.float32)


def squared_change(module: torch.nn.Module, steps: dict[str, Any]) -> float:
    """Return the mean squared change of the class scores for a small step, divided by the step's square."""
    moved = copy.deepcopy(module)
    for name, step in steps.items():
        moved.get_parameter(f"{name}.weight").data += torch.from_numpy(step * 1e-3).float()
    changed = run_batches(moved, INPUTS).astype(np.float64) - run_batches(module, INPUTS)
    changed -= changed.mean(axis=1, keepdims=True)
    return float(np.square(changed).sum(axis=1).mean()) / 1e-6


@pytest.mark.parametrize("most", [240, 60, 24])
def test_few_probes_predict_the_change_that_many_do(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis_module, "MOST_PROBES", most)
    module = network()
    draw = np.random.default_rng(1)
    shapes = {"0": (40, 10), "2": (6, 40)}
    ratios = []
    for seed in range(12):
        analysis = analyse(module, INPUTS, seed)
        assert all(layer.probes.shape == (most, layer.weights.size) for layer in analysis.layers)
        steps = {name: draw.normal(size=shape) for name, shape in shapes.items()}
        predicted = analysis.predicted_change(
            {layer.name: layer.weights + steps[layer.name] for layer in analysis.layers}
        )
        ratios.append(predicted / squared_change(module, steps))
    assert abs(np.mean(ratios) - 1) < 4 * (2 / most / len(ratios)) ** 0.5 + 0.02
    assert np.std(ratios) < 2 * (2 / most) ** 0.5


def test_a_sample_of_rows_stands_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    module, draw = network(), np.random.default_rng(2)
    monkeypatch.setattr(analysis_module, "SAMPLED_WEIGHTS", 200)
    ratios = []
    for seed in range(20):
        analysis = analyse(module, INPUTS, seed)
        first, second = analysis.layers
        assert len(first.rows) == 20
        assert first.probes.shape[1] == 200
        assert first.curvatures.shape == (40, 10)
        assert len(second.rows) == 6
        steps = {"0": draw.normal(size=(40, 10))}
        ratios.append(analysis.predicted_change({"0": first.weights + steps["0"]}) / squared_change(module, steps))
    assert abs(np.mean(ratios) - 1) < 0.15


def test_curvatures_are_mean_squares_of_derivatives() -> None:
    module = network()
    analysis = analyse(module, INPUTS[:40])
    loss = Loss()
    for number, layer in enumerate(analysis.layers):
        squares = np.zeros(layer.weights.shape)
        begins = probe_groups(40, 640)
        for probe, (begin, end) in enumerate(itertools.pairwise(begins)):
            outputs = loss.vectors({"output": module(torch.from_numpy(INPUTS[begin:end]))})
            total = (outputs[0] * probe_directions(outputs, loss, 0, probe)[0]).sum()
            weight = module[2 * number].weight  # type: ignore[index]
            squares += torch.autograd.grad(total, weight)[0].numpy() ** 2
        assert np.allclose(layer.curvatures, squares / 40, rtol=1e-3)


def test_memory_is_linear_in_weights_and_time_in_inputs() -> None:
    assert probe_groups(10, 1000) == list(range(11))
    assert len(probe_groups(100_000, 1000)) == analysis_module.MOST_PROBES + 1
    held = 20_000_000
    assert (len(probe_groups(100_000, held)) - 1) * held * 2 <= 2**30
    assert len(probe_groups(100_000, 2**40)) - 1 == analysis_module.FEWEST_PROBES
    rows = sampled_rows(30_522, 384, seed=0)
    assert len(rows) * 384 <= analysis_module.SAMPLED_WEIGHTS
    assert np.array_equal(rows, np.unique(rows))
    assert np.array_equal(sampled_rows(7, 3, seed=0), np.arange(7))
