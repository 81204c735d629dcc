"""Cycles and bits against loss: plans with activation thresholds, beside thresholds chosen without a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compress.container.model import CompressedModel
from compress.output_changes import answers, same_beginnings, surprises
from compress.planning.pipeline import ApplicablePlan
from compress.planning.plan import Budget, Plan
from designs.codesigns.array_cost import RECORDED_INPUTS, ArrayCost, ChosenLayer
from designs.design import Design
from designs.experiments.planning.cuts import BlockCuts, UniformCuts, greedy_texts, levels
from designs.experiments.planning.measuring import Judge, compressed, planned, tolerance_of
from designs.experiments.planning.methods import MagnitudePruning
from designs.experiments.planning.networks import MeasuredNetwork
from designs.sweeps.evaluation import COUNTS
from sim import ArrayConfig
from traces.shell.progress import progress_bar

Row = dict[str, Any]
_BROADCASTS = COUNTS.index("broadcasts")
_STEP, _MOST = 0.02, 0.8  # shares that are cut without a plan
_FAR = 2.0  # a loss beyond this many times the largest bound ends a series
_MOST_UNSEEN = 1000
_PROMPT, _GREEDY = 8, 64  # tokens, texts
_BLOCK_INPUTS = 16


def thresholds(network: MeasuredNetwork, seed: int = 0) -> list[Row]:
    """Return cycles, energy, bits and losses of plans and of thresholds chosen without one, on the default array.

    Plans are the fastest ones of each bound; and for each code width of the uniform settings whose loss on the pool is
    within the bound, the fastest one in a file as small, and the smallest file of one as fast.
    """
    cost = ArrayCost(network.network, network.pool[:RECORDED_INPUTS], ArrayConfig())
    bounds = network.with_thresholds or network.bounds
    options: dict[str, Any] = {"cost": cost, "thresholds": True, "minimise": "latency_us", "seed": seed}
    options["weight_bits"] = sorted({*network.weight_bits, *network.widths})
    first = planned(network, tolerance_of(network, bounds[0]), **options)
    measured = _Measured(network, first, ArrayCost(network.network, network.unseen[:RECORDED_INPUTS], ArrayConfig()))
    pruning, cuts = MagnitudePruning(first), UniformCuts(first)
    methods: dict[str, UniformCuts] = {"uniform": cuts}
    if BlockCuts.has_blocks(first):
        some = first.planned.inputs(network.pool[:_BLOCK_INPUTS])
        methods["blocks"] = BlockCuts(first, some, _MOST)
    rows: list[Row] = []
    for method, chosen in methods.items():
        for bits in network.widths:
            model = pruning.model([(1.0, bits)] * len(pruning.names))
            for level in levels(_STEP, _MOST):
                cut = model.with_thresholds(chosen.thresholds(level))
                rows.append(measured.row(method, -1.0, bits, level, cut))
                if rows[-1]["pool_loss"] > _FAR * max(bounds):
                    break
    with progress_bar(f"plans of {network.name}", len(bounds)) as advance:
        for bound in bounds:
            for setting, bits, plan in _plans(first, network, bound, rows, pruning, cuts, cost):
                rows.append(measured.row(setting, bound, bits, -1.0, compressed(first, plan)))
            advance()
    return rows


def _plans(
    first: ApplicablePlan,
    network: MeasuredNetwork,
    bound: float,
    rows: Sequence[Row],
    pruning: MagnitudePruning,
    cuts: UniformCuts,
    cost: ArrayCost,
) -> Iterator[tuple[str, int, Plan]]:
    """Yield the plans of a bound, each with what was asked for, and the code width that it is compared with, or -1."""
    tolerance, planner = tolerance_of(network, bound), first.planner
    yield "fastest", -1, planner.plan(tolerance, None, "latency_us")
    for bits in network.widths:
        kept = [row for row in rows if (row["method"], row["bits"]) == ("uniform", bits) and row["pool_loss"] <= bound]
        if kept:
            uniform = min(kept, key=lambda row: float(row["latency_us"]))
            model = pruning.model([(1.0, bits)] * len(pruning.names))
            model = model.with_thresholds(cuts.thresholds(uniform["level"]))
            latency_us = sum(cost(layer, cost.array.index_bits)["latency_us"] for layer in model.layers)
            plan = planner.plan(tolerance, Budget(file_bytes=uniform["size_bytes"]), "latency_us")
            over = plan.costs["file_bytes"] / uniform["size_bytes"]
            if over > 1:  # files of large layers are estimated from some rows
                plan = planner.plan(tolerance, Budget(file_bytes=uniform["size_bytes"] / over), "latency_us")
            yield "fastest, as small", bits, plan
            yield "smallest, as fast", bits, planner.plan(tolerance, Budget(latency_us=latency_us))


class _Measured:
    """Measurements of compressed networks on the pool, on unseen inputs and on the array.

    Parameters
    ----------
    network : MeasuredNetwork
        Network.
    plan : ApplicablePlan
        A plan of it.
    cost : ArrayCost
        Costs on unseen inputs.
    """

    def __init__(self, network: MeasuredNetwork, plan: ApplicablePlan, cost: ArrayCost) -> None:
        self._network, self._cost = network, cost
        self._pool, self._unseen = Judge(plan, network.pool), Judge(plan, network.unseen[:_MOST_UNSEEN])
        self._labels = None if network.labels is None else network.labels[:_MOST_UNSEEN]
        self._weights = sum(values.numel() for values in plan.planner.module.parameters())
        self._planner = plan.planner
        (self._before,) = self._unseen.before.values()
        self._positions = int(np.prod(self._before.shape[1:-1])) if network.tokens else 1
        self._written: Judge | None = None
        if network.tokens:
            texts = greedy_texts(plan.planner.module, network.unseen[:_GREEDY, :_PROMPT], network.unseen.shape[1])
            self._written = Judge(plan, texts)

    def row(self, method: str, bound: float, bits: int, level: float, model: CompressedModel) -> Row:
        """Return the row of a compressed network."""
        (after,) = self._unseen.outputs(model).values()
        array = replace(self._cost.array, weight_bits=max(layer.weight_bits for layer in model.layers))
        layers = {layer.name: ChosenLayer(layer, layer) for layer in model.layers}
        figures = self._cost.figures(layers, Design(array), fit_srams=False)
        activations = sum(call.vectors * call.groups * call.columns for call in self._cost.calls)
        labels = self._labels
        row: Row = {
            "network": self._network.name,
            "loss": self._network.loss,
            "method": method,
            "bound": bound,
            "bits": bits,
            "level": level,
            "size_bytes": model.size_bytes,
            "bits_per_weight": 8 * model.size_bytes / self._weights,
            "broadcast_share": float(figures.counts[:, _BROADCASTS].sum()) / activations,
            "latency_us": figures.latency_us / self._positions,
            "energy_nj": figures.energy_nj / self._positions,
            "pool_loss": self._pool.loss(model),
            "unseen_loss": float(self._unseen.kind.by_input(self._before, after).mean()),
            "accuracy": -1.0 if labels is None else float((answers(after) == labels).mean()),
            "accuracy_before": -1.0 if labels is None else float((answers(self._before) == labels).mean()),
            "same_answers": -1.0,
            "same_beginning": -1.0,
            "perplexity": -1.0,
            "perplexity_before": -1.0,
        }
        if self._unseen.kind.scores:
            row["same_answers"] = float((answers(after) == answers(self._before)).mean())
        if self._written is not None:
            texts = np.asarray(self._network.unseen[:_MOST_UNSEEN], dtype=np.int64)
            (written,) = self._written.before.values()
            (again,) = self._written.outputs(model).values()
            row["same_beginning"] = float(same_beginnings(written[:, _PROMPT - 1 :], again[:, _PROMPT - 1 :]).mean())
            for name, outputs in (("perplexity", after), ("perplexity_before", self._before)):
                row[name] = float(np.exp(surprises(outputs[:, :-1], texts[:, 1:]).mean()))
        return row
