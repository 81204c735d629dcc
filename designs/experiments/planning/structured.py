"""Networks without units: plans that remove neurons, channels and heads, and pruned networks in compact form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import compress
from compress.config import CompressionConfig, LayerSettings
from compress.container.model import CompressedModel
from compress.planning.structure import StructuredChoice, removable_units
from designs.codesigns.array_cost import RECORDED_INPUTS, ArrayCost
from designs.experiments.planning.measuring import Judge, planned, tolerance_of
from designs.experiments.planning.networks import MeasuredNetwork
from sim import ArrayConfig, simulate_network
from sim.network import NetworkResult

Row = dict[str, Any]
DENSITIES, WEIGHT_BITS = (0.1, 0.3), 4
_SIMULATED, _MOST_UNSEEN = 8, 1000  # inputs


def structured(network: MeasuredNetwork, minimise: str, bound: float, analyses: Path) -> list[Row]:
    """Return a plan that keeps all units and one that may remove some, both in compact form.

    Parameters
    ----------
    network : MeasuredNetwork
        Network.
    minimise : str
        Cost that the plans minimise: file_bytes, or latency_us of the default array.
    bound : float
        Bound of the network's loss.
    analyses : Path
        Folder in which analyses of the network are kept, since plans share them.
    """
    options: dict[str, Any] = {"graph": True, "analysis": analyses, "minimise": minimise}
    if minimise != "file_bytes":
        options["cost"] = ArrayCost(network.network, network.pool[:RECORDED_INPUTS], ArrayConfig())
    tolerance = tolerance_of(network, bound)
    whole = planned(network, tolerance, **options)
    choice = StructuredChoice(whole.planner, removable_units(whole.planned.network))
    pool, unseen = Judge(whole, network.pool), Judge(whole, network.unseen[:_MOST_UNSEEN])
    rows = []
    for plan in (whole, planned(network, tolerance, structured=True, **options)):
        model = _compact(network, plan.apply())
        result = _simulated(network, model)
        rows.append(
            {
                "network": network.name,
                "loss": network.loss,
                "minimised": minimise,
                "bound": bound,
                "structured": plan.structured,
                "units": choice.number,
                "removed": 0 if plan.removed is None else plan.removed.number,
                "least_effect": float(choice.effects.min()) / whole.predicted_change,
                "feasible": plan.feasible,
                "size_bytes": model.size_bytes,
                "cycles": float(result.cycles.mean()),
                "energy_nj": float(result.energy_nj.mean()),
                "pool_loss": pool.loss(model),
                "unseen_loss": unseen.loss(model),
            }
        )
    return rows


def compaction(network: MeasuredNetwork) -> list[Row]:
    """Return costs of a network pruned by magnitude, before and after `CompressedModel.compacted`.

    Parameters
    ----------
    network : MeasuredNetwork
        Network.
    """
    rows = []
    for density in DENSITIES:
        config = CompressionConfig(LayerSettings(density, WEIGHT_BITS))
        pruned = compress.compress(network.network, config, inputs=network.pool[:_SIMULATED])
        models = {"before": pruned, "after": _compact(network, pruned)}
        results = {when: _simulated(network, model) for when, model in models.items()}
        row: Row = {"network": network.name, "density": density, "weight_bits": WEIGHT_BITS}
        for when, result in results.items():
            row[f"{when}_bytes"] = models[when].size_bytes
            row[f"{when}_broadcasts"] = float(sum(layer.broadcasts.mean() for layer in result.layers))
            row[f"{when}_cycles"] = float(result.cycles.mean())
            row[f"{when}_energy_nj"] = float(result.energy_nj.mean())
        row["same_outputs"] = bool(np.array_equal(results["before"].output, results["after"].output))
        rows.append(row)
    return rows


def _compact(network: MeasuredNetwork, model: CompressedModel) -> CompressedModel:
    return model.compacted(network.pool[:1])


def _simulated(network: MeasuredNetwork, model: CompressedModel) -> NetworkResult:
    """Simulate the first unseen inputs on the default array, with codes as wide as the network's."""
    array = ArrayConfig(weight_bits=max(layer.weight_bits for layer in model.layers))
    return simulate_network(model, network.unseen[:_SIMULATED], array)
