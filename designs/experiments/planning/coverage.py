"""Plans on pools drawn at random: how often their upper limit of the loss holds on inputs that they have not seen."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from designs.experiments.planning.measuring import Judge, compressed, planned, tolerance_of
from designs.experiments.planning.networks import MeasuredNetwork
from traces.arrays import Numbers
from traces.shell.progress import progress_bar

Row = dict[str, Any]
CONFIDENCE, LOWER_CONFIDENCE = 0.9, 0.5
POOL = 200
DENSITIES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.25, 0.15, 0.08)
_MOST_UNSEEN = 4000


def coverage(network: MeasuredNetwork, seeds: range, evaluation: bool = False, number: int = POOL) -> list[Row]:
    """Return for each seed the stated limit and level of a plan, and its mean loss on unseen inputs.

    Parameters
    ----------
    network : MeasuredNetwork
        Network; a pool is drawn from its population for each seed.
    seeds : range
        Seeds of the pools and plans.
    evaluation : bool
        True to certify plans on inputs drawn from the unseen ones, which are then left out of the measurement.
    number : int
        Inputs of a pool, and of an evaluation.
    """
    rows = []
    with progress_bar(f"coverage on {network.name}", len(seeds)) as advance:
        for seed in seeds:
            rows.append(_drawn(network, seed, evaluation, number))
            advance()
    return rows


def _drawn(network: MeasuredNetwork, seed: int, evaluation: bool, number: int) -> Row:
    draw = np.random.default_rng(seed)
    pool = network.population[draw.permutation(len(network.population))[:number]]
    order = draw.permutation(len(network.unseen))
    options: dict[str, Any] = {"densities": DENSITIES, "weight_bits": network.weight_bits, "seed": seed}
    if evaluation:
        options["evaluation"] = network.unseen[order[:number]]
        order = order[number:]
    unseen: Numbers = network.unseen[order[:_MOST_UNSEEN]]
    begin = time.perf_counter()
    plan = planned(network, tolerance_of(network, network.search, CONFIDENCE), pool, **options)
    seconds = time.perf_counter() - begin
    judge = Judge(plan, unseen)
    lower = plan.planner.plan(tolerance_of(network, network.search, LOWER_CONFIDENCE))
    losses = judge.by_input(compressed(plan, plan))
    return {
        "network": network.name,
        "loss": network.loss,
        "inputs": "own, with evaluation" if evaluation else "own" if network.own else "others",
        "seed": seed,
        "pool": number,
        "bound": network.search,
        "confidence": CONFIDENCE,
        "feasible": plan.feasible,
        "measured": -1.0 if plan.measured is None else plan.measured,
        "limit": plan.used,
        "level": -1.0 if plan.confidence is None else plan.confidence,
        "unseen_loss": float(losses.mean()),
        "unseen_error": float(losses.std() / len(losses) ** 0.5),
        "size_bytes": int(plan.costs["file_bytes"]),
        "lower_measured": -1.0 if lower.measured is None else lower.measured,
        "lower_unseen_loss": judge.loss(compressed(plan, lower)),
        "lower_size_bytes": int(lower.costs["file_bytes"]),
        "seconds": seconds,
        "notes": " ".join(getattr(plan, "notes", ())),
    }
