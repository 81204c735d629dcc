"""From a trained network and a pool of inputs to a plan, in one call (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from compress.class_scores import check_labels
from compress.container.model import CompressedModel
from compress.networks import PlannedNetwork, is_module
from compress.planning.committee import choose_inputs, refuse_overlap
from compress.planning.outputs import check_labels_of, run_outputs
from compress.planning.plan import Budget, Plan, Tolerance
from compress.planning.planner import Cost, Planner, make_planner
from traces import AnyInputs, Inputs, Network
from traces.arrays import Numbers
from traces.torch_modules import evaluating


@dataclass(frozen=True, eq=False)
class ApplicablePlan(Plan):
    """Plan together with the planner that made it, so that it can be applied and made again for another budget.

    `save` writes the plan alone.

    Attributes
    ----------
    planner : Planner
        The planner that made the plan.
    planned : PlannedNetwork
        The network that was planned.
    """

    planner: Planner = field(kw_only=True, repr=False)
    planned: PlannedNetwork = field(kw_only=True, repr=False)

    def apply(self, module: torch.nn.Module | None = None) -> CompressedModel:
        """Return the network compressed as planned (`Planner.compress`), with its graph if that is known.

        Parameters
        ----------
        module : torch.nn.Module, optional
            The module that was planned, with the same weights; it is left as it is. By default the planned network.
        """
        return self.planner.compress(self.planned.module if module is None else module, self)

    def replan(self, budget: Budget) -> ApplicablePlan:
        """Return a plan for another budget and the same tolerance (`Planner.replan`); nothing is run."""
        return _applicable(self.planner, self.planned, self.planner.replan(self, budget), ())


def plan(
    network: torch.nn.Module | Network | str | os.PathLike[str],
    pool: AnyInputs,
    *,
    tolerance: Tolerance,
    budget: Budget | None = None,
    cost: Cost | None = None,
    labels: Numbers | None = None,
    committee: int = 0,
    evaluation: AnyInputs | None = None,
    seed: int = 0,
    leave: Sequence[str] = (),
    graph: bool = True,
    **choices: Any,
) -> ApplicablePlan:
    """Plan the smallest compression of a trained network that keeps a tolerance and a budget.

    Parameters
    ----------
    network : torch.nn.Module, Network, path or str
        The trained network: a module, an opened network, an ONNX file, or package.module:function, which gives a
        module. It is left as it is.
    pool : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs like those to come; plans are measured on them, and the first 256 are analysed.
    tolerance : Tolerance
        Bound on the outputs.
    budget : Budget or None
        Bounds on the costs.
    cost : Cost or None
        Costs of a compressed layer on a target, as `make_planner` takes it.
    labels : int [inputs] or [inputs, positions], or None
        Places of the right outputs.
    committee : int
        Inputs of the pool that a committee chooses to stand for it, at most; `Plan.inputs` has their places. With 0,
        the whole pool is used.
    evaluation : inputs like the pool, or None
        Inputs that the plan is to be judged on later; none of them may be in the pool.
    seed : int
        Of everything drawn at random.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    graph : bool
        False to plan a module without tracing it. Its layers are then known by their types, and the compressed model
        has no graph.
    **choices
        densities, weight_bits and index_bits to choose from, as `make_planner` takes them.

    Returns
    -------
    ApplicablePlan
        The plan; `apply` compresses the module by it.

    Raises
    ------
    InputError
        As `make_planner` and `Planner.plan` do, if the network cannot be read or traced, or if an input of the
        evaluation is in the pool.
    """
    if is_module(network):
        assert isinstance(network, torch.nn.Module)
        with evaluating(network):
            run_outputs(network, Inputs.of(pool)[:1])  # refuses inputs of another type before anything is traced
    planned = PlannedNetwork.of(network, pool, graph=graph)
    module, products, pool = planned.module, planned.products, planned.inputs(pool)
    if evaluation is not None:
        refuse_overlap(pool, planned.inputs(evaluation))
    weights = reader = None
    places: tuple[int, ...] = ()
    if committee:
        if labels is not None:
            labels = check_labels("labels", labels, len(pool), positions=None)
            with evaluating(module):
                outputs = run_outputs(module, pool[:2])
            labels = check_labels_of(labels, len(pool), outputs, tolerance.kind)
        chosen = choose_inputs(module, pool, committee, tolerance, seed=seed, leave=leave, products=products)
        pool, labels = pool[chosen.places], None if labels is None else labels[chosen.places]
        weights, places, reader = chosen.weights, tuple(chosen.places.tolist()), chosen.reader
    planner = make_planner(
        module,
        pool,
        labels,
        kind=tolerance.kind,
        weights=weights,
        cost=cost,
        seed=seed,
        leave=leave,
        products=products,
        reader=reader,
        network=planned.network,
        **choices,
    )
    return _applicable(planner, planned, planner.plan(tolerance, budget), places)


def _applicable(planner: Planner, planned: PlannedNetwork, plan: Plan, places: tuple[int, ...]) -> ApplicablePlan:
    values = {each.name: getattr(plan, each.name) for each in dataclasses.fields(Plan)} | {"inputs": places}
    return ApplicablePlan(**values, planner=planner, planned=planned)
