"""Random plans, predicted and measured; and plans for other budgets from the same analysis."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from compress.output_changes import answers
from compress.planning.outputs import run_outputs
from compress.planning.plan import Budget, Plan
from designs.codesigns.array_cost import ArrayCost
from designs.experiments.planning.measuring import Judge, planned, tolerance_of
from designs.experiments.planning.networks import MeasuredNetwork
from sim import ArrayConfig
from traces.shell.progress import progress_bar

Row = dict[str, Any]
_MEASURED_ON = 1000
_FEW = 64


def predictions(network: MeasuredNetwork, plans: int, seed: int = 0) -> list[Row]:
    """Measure random plans, from harmless to ruinous, on unseen inputs and compare them with the predictions."""
    plan = planned(network, tolerance_of(network, network.search), seed=seed)
    planner = plan.planner
    judge = Judge(plan, network.unseen[:_MEASURED_ON])
    before = _answers(planner.module, judge)
    tolerance = tolerance_of(network, network.search)
    draw = np.random.default_rng(seed)
    low, high = (math.log(planner.change_of(tolerance, used)) for used in (1e-3, 0.5))
    rows = []
    with progress_bar("measuring random plans", plans) as advance:
        for _ in range(plans):
            goals = np.exp(draw.uniform(low, high) + draw.normal(0, 1.5, len(planner.layers))) / len(planner.layers)
            chosen = [
                min(options, key=lambda option, goal=goal: abs(math.log(option.change / goal)))  # type: ignore[misc]
                for options, goal in zip(planner.candidates, goals, strict=True)
            ]
            choices = {layer.name: option.choice for layer, option in zip(planner.layers, chosen, strict=True)}
            changed = planner.changed(planner.compress(plan.planned.module, choices))
            rows.append(
                {
                    "network": network.name,
                    "loss": network.loss,
                    "predicted": planner.expected(tolerance, sum(option.change for option in chosen)),
                    "measured": float(judge.by_input_of(changed).mean()),
                    "changed_answers": float((_answers(changed, judge) != before).mean()),
                }
            )
            advance()
    return rows


def _answers(module: Any, judge: Judge) -> Any:
    return np.concatenate([answers(values).ravel() for values in run_outputs(module, judge.inputs).values()])


def budgets(network: MeasuredNetwork, seed: int = 0) -> list[Row]:
    """Plan for the array, then for other budgets from the same analysis, one out of reach, and from few inputs."""
    tolerance = tolerance_of(network, network.search)
    rows: list[Row] = []

    def add(asked: str, begin: float, plan: Plan) -> None:
        rows.append(
            {
                "network": network.name,
                "loss": network.loss,
                "asked": asked,
                "seconds": time.perf_counter() - begin,
                "measurements": plan.measurements,
                "size_bytes": plan.costs["file_bytes"],
                "latency_us": plan.costs["latency_us"],
                "energy_nj": plan.costs["energy_nj"],
                "used": plan.used,
                "bound": tolerance.bound,
                "confidence": -1.0 if plan.confidence is None else plan.confidence,
                "feasible": plan.feasible,
                "binding": ", ".join(plan.binding),
                "nearest": ", ".join(f"{name} {value:.4g}" for name, value in plan.nearest.items()),
            }
        )

    begin = time.perf_counter()
    cost = ArrayCost(network.network, network.pool[:4], ArrayConfig(num_pes=8))
    first = planned(network, tolerance, cost=cost, seed=seed)
    add("the smallest file", begin, first)
    for share in (0.9, 0.75, 0.6):
        begin = time.perf_counter()
        add(f"latency of {share:.0%}", begin, first.replan(Budget(latency_us=share * first.costs["latency_us"])))
    begin = time.perf_counter()
    add("energy of 80 %", begin, first.replan(Budget(energy_nj=0.8 * first.costs["energy_nj"])))
    begin = time.perf_counter()
    half = Budget(file_bytes=0.5 * first.costs["file_bytes"])
    add("half the file", begin, first.planner.plan(tolerance, half))
    begin = time.perf_counter()
    few = planned(network, tolerance, network.pool[:_FEW], cost=cost, seed=seed)
    add(f"from {_FEW} inputs", begin, few)
    return rows
