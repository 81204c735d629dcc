"""From a trained network and a pool of inputs to a plan, in one call (PyTorch needed)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from compress.class_scores import check_finite, check_labels
from compress.container.model import CompressedModel
from compress.networks import PlannedNetwork, is_module
from compress.planning.choices import Cost, cut_shares
from compress.planning.committee import choose_inputs, refuse_overlap
from compress.planning.drift import InputSummary
from compress.planning.losses import AUTO, Loss, LossFunction, compared_outputs, labels_of, named_output
from compress.planning.outputs import read_outputs, run_outputs
from compress.planning.plan import Budget, Plan, Tolerance, check_minimised
from compress.planning.planner import Planner
from compress.planning.preparation import make_planner
from compress.planning.structure import UNIT_SHARES, RemovedUnits, StructuredChoice, removable_units
from compress.planning.weight_tolerances import WeightTolerances
from traces import AnyInputs, InputError, Inputs, Network
from traces.arrays import Numbers
from traces.torch_modules import evaluating

_CHECKED = 125  # inputs that a module is run on before it is traced


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
    removed : RemovedUnits or None
        Neurons, channels and heads that the plan removes; None if it keeps all.
    """

    planner: Planner = field(kw_only=True, repr=False)
    planned: PlannedNetwork = field(kw_only=True, repr=False)
    removed: RemovedUnits | None = field(kw_only=True, default=None, repr=False)

    def apply(self, module: torch.nn.Module | None = None) -> CompressedModel:
        """Return the network compressed as planned (`Planner.compress`), with its graph if that is known.

        If the plan removes units of the network, the model is compact (`CompressedModel.compacted`).

        Parameters
        ----------
        module : torch.nn.Module, optional
            The module that was planned, with the same weights; it is left as it is. By default the planned network.
        """
        module = self.planned.module if module is None else module
        return self.planner.compress(module if self.removed is None else self.removed.without(module), self)

    def replan(self, budget: Budget) -> ApplicablePlan:
        """Return a plan for another budget and the same tolerance (`Planner.replan`); nothing is run."""
        return _applicable(self.planner, self.planned, self.planner.replan(self, budget), (), self.removed)

    def weight_tolerances(self) -> WeightTolerances:
        """Return how far each weight may move within the plan's tolerance, summarised for each layer."""
        weights = {layer.name: layer.weights for layer in self.planner.analysis.layers}
        return WeightTolerances.of(self.tolerance, weights, self.planner.tolerances(self.tolerance))


def plan(
    network: torch.nn.Module | Network | str | os.PathLike[str],
    pool: AnyInputs,
    *,
    tolerance: Tolerance | float,
    loss: str | LossFunction = AUTO,
    budget: Budget | None = None,
    cost: Cost | None = None,
    labels: Numbers | None = None,
    committee: int = 0,
    evaluation: AnyInputs | None = None,
    evaluation_labels: Numbers | None = None,
    analysis: str | os.PathLike[str] | None = None,
    seed: int = 0,
    leave: Sequence[str] = (),
    graph: bool = True,
    thresholds: bool | Sequence[float] = False,
    minimise: str = "file_bytes",
    structured: bool = False,
    **choices: Any,
) -> ApplicablePlan:
    """Plan the smallest compression of a trained network that keeps a tolerance and a budget, or the fastest one.

    Parameters
    ----------
    network : torch.nn.Module, Network, path or str
        The trained network: a module, an opened network, an ONNX file, or package.module:function, which gives a
        module. It is left as it is.
    pool : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs like those to come: a random half of them, at most 256, is analysed, and plans are measured on the
        others.
    tolerance : Tolerance or float
        Bound on the loss; a number bounds `loss`.
    loss : str or callable
        Loss that a number bounds, as `Tolerance` takes it. By default it follows from labels, outputs and graph, and
        `Plan.reason` says why.
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
        Inputs that the network has never seen, to measure plans on instead of a part of the pool; none of them may be
        in the pool. Only they can show whether the network was trained on the pool (`Plan.notes`).
    evaluation_labels : int [inputs] or [inputs, positions], or None
        Labels of the evaluation, which the loss accuracy needs.
    analysis : path or None
        Folder that keeps the analysis and its runs, so that a later call continues an interrupted one, and plans for
        other tolerances and budgets, co-designs and fleets of the same network and inputs share it.
    seed : int
        Of everything drawn at random.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    graph : bool
        False to plan a module without tracing it. Its layers are then known by their types, and the compressed model
        has no graph.
    thresholds : bool or sequence of float
        True to also choose an activation threshold for each layer; or the shares of the activations that thresholds may
        cut, as `make_planner` takes them.
    minimise : str
        The cost to minimise: file_bytes; macs, the multiply-accumulates per input of weights and activations that are
        not zero, with `thresholds`; or one of the cost function, such as latency_us or energy_nj.
    structured : bool
        True to also try plans without some neurons, channels and heads (`compress.planning.structure`), and return one
        if it costs less. Up to three further plans are made, each with its own analysis. It needs the graph.
    **choices
        densities, weight_bits and index_bits to choose from, and codebooks, num_pes and codebook_groups, as
        `make_planner` takes them.

    Returns
    -------
    ApplicablePlan
        The plan; `apply` compresses the module by it.

    Raises
    ------
    InputError
        As `make_planner` and `Planner.plan` do, if the network cannot be read or traced, if an input of the evaluation
        is in the pool, or if thresholds lower neither the cost to minimise nor one that the budget bounds.
    """
    tolerance = Tolerance.of(tolerance, loss)
    if cost is None:
        given = ("file_bytes", "macs") if cut_shares(thresholds) else ("file_bytes",)
        check_minimised(minimise, given)
        if budget is not None:
            budget.check(given)
    counting = {minimise, *(budget.bounds if budget is not None else ())}
    if cut_shares(thresholds) and counting <= {"file_bytes", "sram_bytes_per_pe"}:
        raise InputError(
            f"thresholds need a cost that they lower, to be minimised or bounded; found minimise={minimise!r} and no "
            f"such bound; take minimise='macs', or latency_us or energy_nj with a cost function"
        )
    if is_module(network):  # checks before anything is traced
        assert isinstance(network, torch.nn.Module)
        _check_first(network, Inputs.of(pool), tolerance, labels)
    planned = PlannedNetwork.of(network, pool, graph=graph)
    module, products, pool = planned.module, planned.products, planned.inputs(pool)
    unseen = None if evaluation is None else planned.inputs(evaluation)
    if unseen is not None:
        refuse_overlap(pool, unseen)
    units = removable_units(planned.network) if structured else []
    summary = InputSummary.of(pool, seed)  # of the whole pool, from which a committee may choose
    weights, checked = None, None
    places: tuple[int, ...] = ()
    if committee:
        chosen = choose_inputs(
            module,
            pool,
            committee,
            tolerance,
            labels=labels,
            network=planned.network,
            seed=seed,
            leave=leave,
            products=products,
        )
        pool, labels = pool[chosen.places], None if labels is None else np.asarray(labels)[chosen.places]
        weights, places, checked = chosen.weights, tuple(chosen.places.tolist()), chosen.loss

    def prepared(network: torch.nn.Module, original: torch.nn.Module | None = None) -> Planner:
        return make_planner(
            network,
            pool,
            labels,
            loss=tolerance.loss,
            bound=tolerance.bound,
            compared=tolerance.outputs,
            checked=checked,
            weights=weights,
            evaluation=unseen,
            evaluation_labels=evaluation_labels,
            cost=cost,
            seed=seed,
            leave=leave,
            products=products,
            network=planned.network,
            folder=analysis,
            thresholds=thresholds,
            **choices,
            original=original,
        )

    planner = prepared(module)
    removed: RemovedUnits | None = None
    made = planner.plan(tolerance, budget, minimise)
    if structured:
        choice = StructuredChoice(planner, units)
        planner, made, removed = _without_units(planner, made, choice, module, prepared)
    made = dataclasses.replace(
        made, input_summary=summary, thresholds=cut_shares(thresholds), structured=structured, **_codebooks(planner)
    )
    return _applicable(planner, planned, made, places, removed)


def _without_units(
    planner: Planner,
    made: Plan,
    choice: StructuredChoice,
    module: torch.nn.Module,
    prepared: Callable[..., Planner],
) -> tuple[Planner, Plan, RemovedUnits | None]:
    """Return the best of a plan and of plans without some units, with its planner and the removed units."""
    best: tuple[Planner, Plan, RemovedUnits | None] = planner, made, None
    before = 0
    for share in UNIT_SHARES:
        removed = choice.within(share * made.predicted_change)
        if removed.number == before:
            continue
        before = removed.number
        smaller = prepared(removed.without(module), original=module)
        other = smaller.plan(made.tolerance, made.budget, made.minimise)
        if _merit(other) > _merit(best[1]):  # of equals, the one that removes more
            break
        what = f"{removed.number:,} of {choice.number:,} neurons, channels and heads were removed before"
        best = smaller, dataclasses.replace(other, notes=(*other.notes, what)), removed
    return best


def _codebooks(planner: Planner) -> dict[str, Any]:
    """Return the options of a plan that tell the codebooks of its layers; none for one codebook each."""
    settings = planner.layer_compressor.codebooks
    if settings.codebooks == "layer":
        return {}
    return {
        "codebooks": settings.codebooks,
        "num_pes": int(settings.num_pes),
        "codebook_groups": settings.codebook_groups,
    }


def _merit(plan: Plan) -> tuple[bool, float]:
    """Return a key that is least for the best plan: feasible before infeasible, then by cost or by excess."""
    return not plan.feasible, plan.costs[plan.minimise] if plan.feasible else plan.excess


def _check_first(module: torch.nn.Module, pool: Inputs, tolerance: Tolerance, labels: Numbers | None) -> None:
    """Check labels, and the module's outputs on the first inputs; the rest is checked before the analysis."""
    first = pool[:_CHECKED]
    if labels is not None:
        check_labels("labels", labels, len(pool), positions=None)
    with evaluating(module):
        if tolerance.loss == AUTO:  # the graph may show what the outputs alone do not
            outputs = compared_outputs(run_outputs(module, first), tolerance.outputs)
            if labels is not None:
                labels_of(labels, len(pool), outputs)
            for name, values in outputs.items():
                check_finite(named_output("the network's outputs", name, outputs), values)
        else:
            loss, outputs = read_outputs(module, first, Loss.of(tolerance.loss, labels is not None, tolerance.outputs))
            if labels is not None:
                loss.check_labels(labels, len(pool), outputs)


def _applicable(
    planner: Planner,
    planned: PlannedNetwork,
    plan: Plan,
    places: tuple[int, ...],
    removed: RemovedUnits | None,
) -> ApplicablePlan:
    values = {each.name: getattr(plan, each.name) for each in dataclasses.fields(Plan)} | {"inputs": places}
    return ApplicablePlan(**values, planner=planner, planned=planned, removed=removed)
