"""Plans of the measured networks, and the loss of compressed networks on any inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import compress
from compress.container.model import CompressedModel
from compress.output_changes import answers
from compress.planning.outputs import run_outputs
from compress.planning.pipeline import ApplicablePlan
from compress.planning.plan import Plan, Tolerance
from designs.experiments.planning.networks import MeasuredNetwork
from traces import Network
from traces.arrays import Floats, Floats64, Numbers


def tolerance_of(network: MeasuredNetwork, bound: float, confidence: float = 0.5) -> Tolerance:
    """Return a bound of the network's loss at a confidence level."""
    return Tolerance(bound, network.loss, confidence)


def planned(
    network: MeasuredNetwork, tolerance: Tolerance, pool: Numbers | None = None, **options: Any
) -> ApplicablePlan:
    """Plan a network on a pool, by default on the first inputs of its population; modules are not traced."""
    pool = network.pool if pool is None else pool
    chosen: dict[str, Any] = {"densities": network.densities, "weight_bits": network.weight_bits}
    chosen["graph"] = isinstance(network.network, Network)
    return compress.plan(network.network, pool, tolerance=tolerance, **chosen | options)


class Judge:
    """Loss of compressed networks on inputs.

    Parameters
    ----------
    plan : ApplicablePlan
        A plan of the network, whose planner runs compressed networks.
    inputs : array [inputs, ...]
        Inputs to measure on.
    labels : int [inputs] or None
        Their right classes.
    """

    def __init__(self, plan: ApplicablePlan, inputs: Numbers, labels: Numbers | None = None) -> None:
        self.planner, self.kind = plan.planner, plan.planner.loss_of(plan.tolerance)
        self.inputs, self.labels = plan.planned.inputs(inputs), labels
        self.before = self._run(self.planner.module)

    def by_input(self, model: CompressedModel) -> Floats64:
        """Return the loss of each input, float64 [inputs]."""
        return self.by_input_of(self.planner.changed(model))

    def by_input_of(self, module: Any) -> Floats64:
        """Return the loss of each input by a changed module, float64 [inputs]."""
        return self.kind.by_input(self.before, self._run(module))

    def outputs(self, model: CompressedModel) -> dict[str, Floats]:
        """Return the outputs of a compressed network by name."""
        return self._run(self.planner.changed(model))

    def loss(self, model: CompressedModel) -> float:
        """Return the mean loss."""
        return float(self.by_input(model).mean())

    def accuracies(self, model: CompressedModel) -> tuple[float, float]:
        """Return the share of right answers of a compressed network and of the original; -1 without labels."""
        if self.labels is None:
            return -1.0, -1.0
        after = self._run(self.planner.changed(model))
        right = [float((answers(_only(outputs)) == self.labels).mean()) for outputs in (after, self.before)]
        return right[0], right[1]

    def _run(self, module: Any) -> dict[str, Floats]:
        return self.kind.read(run_outputs(module, self.inputs))


def compressed(plan: ApplicablePlan, chosen: Plan) -> CompressedModel:
    """Return the planned network compressed by another plan of the same planner."""
    return plan.planner.compress(plan.planned.module, chosen)


def runs_over_pool(plan: ApplicablePlan, chosen: Plan, pool: Numbers) -> float:
    """Return the cost of a plan in runs of the network over a pool; a backward pass counts as two forward ones."""
    planner = plan.planner
    return (3 * len(planner.analysed) + chosen.measurements * len(planner.pool)) / len(pool)


def _only(outputs: Mapping[str, Floats]) -> Floats:
    (output,) = outputs.values()
    return np.asarray(output)
