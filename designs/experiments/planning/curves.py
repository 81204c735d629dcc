"""Size against loss: plans, the per-layer scan, one setting for all layers, and tolerances of the weights alone."""

from __future__ import annotations

from typing import Any

from compress.container.model import CompressedModel
from designs.experiments.planning.measuring import Judge, planned, runs_over_pool, tolerance_of
from designs.experiments.planning.methods import ALONE_ON, MagnitudePruning, Scan, uniform_models
from designs.experiments.planning.networks import MeasuredNetwork
from traces.shell.progress import progress_bar

Row = dict[str, Any]


def curves(network: MeasuredNetwork, seed: int = 0) -> list[Row]:
    """Return the size and the loss of each method, at each bound.

    The scan finds the smallest file whose loss on the pool is at most the plan's. Uniform settings are a grid.
    """
    first = planned(network, tolerance_of(network, network.bounds[0]), seed=seed)
    pool = Judge(first, network.pool)
    unseen = Judge(first, network.unseen, network.labels)
    pruning = MagnitudePruning(first)
    rows: list[Row] = []

    def add(method: str, setting: str, bound: float, evaluations: float, model: CompressedModel) -> float:
        pool_loss = pool.loss(model)
        accuracy, before = unseen.accuracies(model)
        rows.append(
            {
                "network": network.name,
                "loss": network.loss,
                "method": method,
                "setting": setting,
                "bound": bound,
                "shown": bound in network.shown,
                "evaluations": evaluations,
                "size_bytes": model.size_bytes,
                "dense_bytes": sum(4 * values.size for values in model.decoded_parameters().values()),
                "pool_loss": pool_loss,
                "unseen_loss": unseen.loss(model),
                "accuracy": accuracy,
                "accuracy_before": before,
            }
        )
        advance()
        return pool_loss

    total = 3 * len(network.bounds) + len(network.uniform) * len(network.widths)
    with progress_bar(f"curves of {network.name}", total) as advance:
        scan = Scan(network, pruning, pool, Judge(first, network.pool[:ALONE_ON]))
        for bound in network.bounds:
            plan = planned(network, tolerance_of(network, bound), seed=seed)  # without knowledge from other plans
            loss = add("planned", f"loss {bound}", bound, runs_over_pool(plan, plan, network.pool), plan.apply())
            found = scan.smallest(loss)
            if found is not None:
                add("scan", f"loss {loss:.4g}", bound, scan.evaluations, found[0])
            model = first.planner.within_tolerances(tolerance_of(network, bound))
            add("tolerances", f"loss {bound}", bound, -1.0, model)
        for number, ((density, bits), model) in enumerate(uniform_models(network, pruning)):
            add("uniform", f"density {density}, {bits} bits", -1.0, number + 1.0, model)
    return rows
