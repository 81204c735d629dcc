"""Plans on few inputs, chosen by a committee, by strata or at random, from pools of three compositions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from compress.planning.committee import choose_inputs
from compress.planning.outputs import run_batches, run_outputs
from compress.planning.preparation import make_planner
from designs.experiments.planning.measuring import tolerance_of
from designs.experiments.planning.networks import MeasuredNetwork
from traces.arrays import Floats64, Integers64, Numbers

Row = dict[str, Any]
How = Literal["random", "strata", "committee"]
HOWS: tuple[How, ...] = ("random", "strata", "committee")
POOLS = ("balanced", "long tail", "five of one class")
NUMBERS = (16, 24, 32, 64)
CONFIDENCE = 0.9
DENSITIES, WEIGHT_BITS = (0.6, 0.42, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03), (2, 3, 4)
_COMMON, _FEWEST, _RARE = 200, 5, 8  # inputs of a common class and of the rarest one; the rare class


@dataclass(frozen=True, eq=False)
class ComposedPool:
    """Pool of a given number of inputs of each class, and the shares of the classes in it."""

    inputs: Numbers
    shares: Floats64


def composed_pool(network: MeasuredNetwork, pool: str, seed: int) -> ComposedPool:
    """Return a pool of a composition in POOLS, drawn from the network's population by its labels.

    The long tail falls from 600 inputs to 6 in equal ratios; the rare class is the last one.
    """
    assert network.pool_labels is not None
    classes = int(network.pool_labels.max()) + 1
    counts = np.full(classes, _COMMON)
    if pool == "long tail":
        order = np.array([*(each for each in range(classes) if each != _RARE), _RARE])
        counts[order] = np.round(600 * 0.01 ** (np.arange(classes) / (classes - 1)))
    elif pool == "five of one class":
        counts[_RARE] = _FEWEST
    draw = np.random.default_rng(seed)
    places = [draw.permutation(np.flatnonzero(network.pool_labels == each))[: counts[each]] for each in range(classes)]
    found = np.array([len(each) for each in places])
    return ComposedPool(network.population[draw.permutation(np.concatenate(places))], found / found.sum())


def strata(module: torch.nn.Module, pool: Numbers, number: int, seed: int) -> tuple[Integers64, Floats64]:
    """Choose inputs by the network's own answers: of each answer in proportion, but at least one.

    Returns
    -------
    places : int64 [number]
        Places in the pool.
    weights : float64 [number]
        Weight of each input in a mean; their mean is 1.
    """
    answered = run_batches(module, pool).argmax(axis=1)
    classes, counts = np.unique(answered, return_counts=True)
    wanted = np.maximum(1, np.floor(number * counts / len(pool)).astype(np.int64))
    while wanted.sum() > number:
        wanted[np.argmax(wanted)] -= 1
    while wanted.sum() < number:
        room = np.where(wanted < counts, number * counts / len(pool) - wanted, -np.inf)
        wanted[np.argmax(room)] += 1
    draw = np.random.default_rng(seed)
    places, weights = [], []
    for each, count, take in zip(classes, counts, wanted, strict=True):
        if take > 0:
            places.append(draw.permutation(np.flatnonzero(answered == each))[:take])
            weights.append(np.full(len(places[-1]), count / take))
    together = np.concatenate(weights)
    return np.concatenate(places), together / together.mean()


def plans_from_few(network: MeasuredNetwork, pool: str, how: How, number: int, seeds: range) -> list[Row]:
    """Plan on few inputs of a pool for each seed, and measure the plans on all unseen inputs.

    The mean over the unseen inputs weighs the classes as the pool has them.
    """
    assert network.labels is not None
    assert isinstance(network.network, torch.nn.Module)
    tolerance = tolerance_of(network, network.search, CONFIDENCE)
    rows = []
    for seed in seeds:
        composed = composed_pool(network, pool, seed)
        places, weights = _chosen(network, composed.inputs, how, number, seed)
        options: dict[str, Any] = {"densities": DENSITIES, "weight_bits": WEIGHT_BITS, "seed": seed}
        planner = make_planner(network.network, composed.inputs[places], loss=network.loss, weights=weights, **options)
        plan = planner.plan(tolerance)
        changed = planner.changed(planner.compress(network.network, plan))
        loss = planner.loss_of(tolerance)
        before, after = (loss.read(run_outputs(each, network.unseen)) for each in (planner.module, changed))
        losses = loss.by_input(before, after)
        by_class = np.array([losses[network.labels == each].mean() for each in range(len(composed.shares))])
        rows.append(
            {
                "network": network.name,
                "pool": pool,
                "how": how,
                "number": number,
                "seed": seed,
                "size_bytes": int(plan.costs["file_bytes"]),
                "bound": tolerance.bound,
                "feasible": plan.feasible,
                "limit": plan.used,
                "unseen_loss": float(by_class @ composed.shares),
                "rare_loss": float(by_class[_RARE]),
            }
        )
    return rows


def _chosen(
    network: MeasuredNetwork, pool: Numbers, how: How, number: int, seed: int
) -> tuple[Integers64, Floats64 | None]:
    assert isinstance(network.network, torch.nn.Module)
    if how == "random":
        return np.random.default_rng(seed).permutation(len(pool))[:number], None
    if how == "strata":
        return strata(network.network, pool, number, seed)
    tolerance = tolerance_of(network, network.search, CONFIDENCE)
    chosen = choose_inputs(network.network, pool, number, tolerance, seed=seed)
    return chosen.places, chosen.weights
