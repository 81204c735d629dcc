"""Estimate of the time and memory of planning, from one small run of the network (PyTorch needed)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from compress.modules import ModuleLayer
from compress.planning.analysis import probe_groups, sampled_rows
from compress.planning.moments import MOST_COLUMNS
from compress.planning.outputs import call, float_type, run_outputs
from traces import Inputs
from traces.torch_modules import evaluating

_RUNS = 8.5  # of measured plans and of layers alone, over the inputs that plans are measured on
_GROUP_FACTOR = 2.0  # a small group of inputs takes this much longer than its share of a large batch
_SHARING_S, _SWEEP_S = 6e-8, 6e-10  # for each weight and choice; the second for each column of its block, too
_COPIES = 4  # float32 values for each weight at once: the copy that is changed, gradient, its square, the sum


@dataclass(frozen=True)
class PlanningEstimate:
    """Estimated cost of an analysis and a plan.

    Attributes
    ----------
    weights : int
        Weights to compress.
    analysed, measured : int
        Inputs that are analysed, and inputs that plans are measured on.
    seconds : float
        Time on this machine; it may be off by a factor of 2.
    memory_bytes : float
        Largest memory in addition to that before.
    """

    weights: int
    analysed: int
    measured: int
    seconds: float
    memory_bytes: float

    def __str__(self) -> str:
        """Return the estimate in a sentence."""
        minutes = f"{self.seconds / 60:,.0f} min" if self.seconds > 90 else f"{self.seconds:,.0f} s"
        return (
            f"planning {self.weights:,} weights: {self.analysed:,} inputs are analysed, plans are measured on "
            f"{self.measured:,}; about {minutes} and {max(self.memory_bytes / 1e9, 0.1):,.1f} GB"
        )


def estimate_planning(
    module: torch.nn.Module, layers: Sequence[ModuleLayer], analysed: Inputs, measured: int, choices: int
) -> PlanningEstimate:
    """Estimate the cost of planning from one run of a few inputs.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    layers : sequence of ModuleLayer
        Its weights that are compressed.
    analysed : Inputs
        Inputs to analyse, at least one.
    measured : int
        Number of inputs that plans are measured on.
    choices : int
        Choices for each layer.
    """
    shapes = [layer.view.shape for layer in layers]
    sampled = [(len(sampled_rows(rows, columns, 0)), columns) for rows, columns in shapes]
    held = sum(rows * columns for rows, columns in sampled)
    begins = probe_groups(len(analysed), held)
    few = analysed[: begins[1]]
    saved_bytes = _saved_bytes(module, few)  # the first run, which takes longer than others
    begin = time.perf_counter()
    run_outputs(module, few)
    forward_s = (time.perf_counter() - begin) / len(few)
    network_s = forward_s * (3 * len(analysed) + _RUNS * measured / _GROUP_FACTOR)
    choices_s = choices * sum(
        rows * columns * (_SHARING_S + _SWEEP_S * min(columns, MOST_COLUMNS)) for rows, columns in sampled
    )
    weights = sum(int(np.prod(shape)) for shape in shapes)
    blocks = sum(columns * min(columns, MOST_COLUMNS) for _, columns in shapes)
    memory = 4 * _COPIES * weights + 2 * (len(begins) - 1) * held + 2 * 8 * blocks + saved_bytes
    return PlanningEstimate(weights, len(analysed), measured, network_s + choices_s, float(memory))


def _saved_bytes(module: torch.nn.Module, inputs: Inputs) -> int:
    """Return the bytes that a pass forward keeps for the pass back."""
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> Any:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with evaluating(module), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        call(module, inputs, float_type(module))
    return sum(sizes.values())
