"""From a trained network and a pool of inputs to a plan, in one call (PyTorch needed)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy.typing as npt
import torch

from compress.class_scores import check_labels
from compress.planning.committee import choose_inputs, refuse_overlap
from compress.planning.plan import Budget, Plan, Tolerance
from compress.planning.planner import Cost, Planner, num_classes

Floats = npt.NDArray[Any]


def plan(
    module: torch.nn.Module,
    pool: Floats,
    *,
    tolerance: Tolerance,
    budget: Budget | None = None,
    cost: Cost | None = None,
    labels: npt.NDArray[Any] | None = None,
    committee: int = 0,
    evaluation: Floats | None = None,
    seed: int = 0,
    **choices: Any,
) -> Plan:
    """The smallest compression of a trained network that keeps a tolerance and a budget; the module stays as it is.

    pool        inputs [inputs, ...] like those to come; it is measured on them, and the first 256 are analysed
    labels      of the pool, if there are any: whole numbers [inputs], the places of the right outputs
    cost        what a compressed layer costs on a target, see `Planner`
    committee   so many inputs of the pool are chosen by a committee, and stand for it: `Plan.inputs` says which
    evaluation  inputs that the plan is to be judged on later: none of them may be in the pool
    choices     densities, weight_bits, index_bits to choose from, see `Planner`

    Raises InputError as `Planner` and `Planner.plan` do, or if an input of the evaluation is in the pool.
    """
    if evaluation is not None:
        refuse_overlap(pool, evaluation)
    weights = None
    places: tuple[int, ...] = ()
    if committee:
        if labels is not None:
            labels = check_labels("labels", labels, len(pool))
            labels = check_labels("labels", labels, len(pool), num_classes(module, pool))
        chosen = choose_inputs(module, pool, committee, tolerance, seed=seed)
        pool, labels = pool[chosen.places], None if labels is None else labels[chosen.places]
        weights, places = chosen.weights, tuple(chosen.places.tolist())
    planner = Planner(module, pool, labels, weights=weights, cost=cost, seed=seed, checked=committee > 0, **choices)
    return dataclasses.replace(planner.plan(tolerance, budget), inputs=places)
