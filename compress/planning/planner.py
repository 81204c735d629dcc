"""Plans: how far to compress each layer so that a loss stays within a tolerance and costs within a budget.

Each choice of density and bits is tried once on each layer alone. The stored analysis (`compress.planning.analysis`)
predicts its effect on the outputs; its bytes in the file and its cost on an array follow without running the network. A
plan takes one choice for each layer. A multiple-choice knapsack finds the smallest file whose predicted change of the
outputs stays within a limit. Only plans are run and measured, on inputs that were not analysed; each measurement
corrects the limit until the tolerance holds at its level of confidence (`compress.planning.confidence`). The *use of a
tolerance* is the loss that it bounds. (PyTorch needed.)

The method is ours. The idea to derive a plan from tolerances of the parameters, inputs chosen by a committee and the
budget of a target, without a search by trial, is from Khoram and Li, "TOCO", 2019.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from compress.container.loading import set_thresholds, threshold_places, thresholds_in
from compress.container.model import CompressedModel
from compress.modules import ModuleLayer, check_parameters, module_layers, plain_module
from compress.networks import with_graph
from compress.planning.analysis import Analysis, Products
from compress.planning.analysis_folder import AnalysisFolder, digest_of_arrays, digest_of_inputs
from compress.planning.calibration import Calibration
from compress.planning.confidence import level_of, upper_limit
from compress.planning.knapsack import choose, choose_nearest
from compress.planning.layer_compression import LayerCompressor
from compress.planning.losses import AUTO, Loss, RandomChanges
from compress.planning.outputs import compressed_outputs, run_outputs
from compress.planning.plan import Budget, Candidate, Choice, Plan, Tolerance, check_minimised
from compress.planning.tolerances import second_order_tolerances, share_within
from compress.training.compressor import assemble, free_bias
from compress.training.normalisation import fold_normalisation
from traces import CompressedLayer, InputError, Inputs, Network
from traces.arrays import Floats, Floats64, Integers64, Numbers
from traces.shell.progress import progress_bar

_MOST_MEASUREMENTS, _MOST_LIMITS, _WIDER = 6, 60, 1.1
_MOST_HALVINGS = 12
_CALIBRATION_RUNS = 2.0  # over the pool, for all layers together
_MORE_MEASUREMENTS, _CAREFUL_GOAL, _LOWER = 4, 0.93, 0.95  # as long as no plan keeps the bound
_GOAL, _CLOSE_ENOUGH, _LEVELS = 0.985, 0.97, 0.03  # shares of a tolerance, and levels, within which no plan is better
_CHANCE = 0.2  # by how much each plan before raises the share of limits that would be too low
_TENSOR_BITS = 16
_CURVE = np.geomspace(1e-9, 1e9, 55)  # changes of the outputs at which the loss is computed


@dataclass(eq=False)
class PlanningHistory:
    """Results of the runs so far, which make later plans better.

    Attributes
    ----------
    calibration : Calibration
        Effects of layers that were compressed alone.
    best_plans : dict of (Tolerance, str) to Plan
        For each tolerance and cost to minimise, the best plan that only the tolerance limits.
    """

    calibration: Calibration
    best_plans: dict[tuple[Tolerance, str], Plan]


@dataclass(frozen=True, eq=False)
class Planner:
    """Analysed network from which plans are made; `make_planner` returns it.

    Everything that does not depend on tolerance and budget is computed once and stays as it is; only `history` grows.

    Attributes
    ----------
    module : torch.nn.Module
        Copy of the network in evaluation mode, its normalisation folded.
    layers : list of ModuleLayer
        The layers, in order.
    left_alone : Mapping[str, str]
        For each other parameter or buffer, the reason why it is not compressed.
    pool : Inputs
        Inputs that plans are measured on.
    counts : float64 [inputs]
        Weight of each input of the pool in a mean over it.
    loss : Loss
        The loss of tolerances that say auto; others must compare the same outputs.
    outputs : Mapping[str, array [inputs, ...]]
        The network's outputs on the pool, by name, as the loss reads them.
    labels : int64 [inputs] or [inputs, positions], or None
        Right classes of the pool.
    analysed : Inputs
        The inputs that were analysed.
    layer_compressor : LayerCompressor
        Compressor of the layers, which holds the analysis.
    random_changes : RandomChanges
        Random directions in which the outputs may change.
    candidates : list of list of Candidate
        For each layer, the choices that no other choice dominates.
    other_bytes : float
        Bytes of the file that belong to no layer's matrix: biases, names, tensors left alone.
    history : PlanningHistory
        Results of the runs so far.
    leave : sequence of str
        Names or shell patterns of layers that are left alone.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are compressed.
    network : Network or None
        Graph of the module with its normalisation folded, which compressed models carry.
    folder : AnalysisFolder or None
        Folder that keeps the analysis and the runs.
    notes : tuple of str
        Sentences for the user of the plans.
    reach_checked : bool
        True if the loss was checked with its bound on a larger pool.
    places : int64 [inputs] or None
        Places of `pool` in the inputs that were split; None if it is an evaluation.
    """

    module: torch.nn.Module
    layers: list[ModuleLayer]
    left_alone: Mapping[str, str]
    pool: Inputs
    counts: Floats64
    loss: Loss
    outputs: Mapping[str, Floats]
    labels: Numbers | None
    analysed: Inputs
    layer_compressor: LayerCompressor
    random_changes: RandomChanges
    candidates: list[list[Candidate]]
    other_bytes: float
    history: PlanningHistory
    leave: Sequence[str] = ()
    products: Products | None = None
    network: Network | None = None
    folder: AnalysisFolder | None = None
    notes: tuple[str, ...] = ()
    reach_checked: bool = False
    places: Integers64 | None = None

    @property
    def analysis(self) -> Analysis:
        """Analysis of the network."""
        return self.layer_compressor.analysis

    def plan(self, tolerance: Tolerance, budget: Budget | None = None, minimise: str = "file_bytes") -> Plan:
        """Return the plan of the least cost found that keeps the tolerance on the pool and the budget.

        At most six plans are run over the pool, or ten if the first six break the bound. After the first run, the
        network is also run over a part of the pool with one layer compressed at a time
        (`compress.planning.calibration`). The first plan follows from the analysis alone; each measurement corrects the
        limit of the next plan.

        Parameters
        ----------
        tolerance : Tolerance
            Bound on the outputs.
        budget : Budget or None
            Bounds on the costs.
        minimise : str
            The cost: file_bytes; macs if thresholds were analysed; or one of the cost function.

        Raises
        ------
        InputError
            If the tolerance's loss compares other outputs than the planner's, the budget bounds a cost, or the plan is
            to minimise one, that neither the file nor the cost function gives, or a network without any knowledge could
            keep the tolerance.
        """
        loss = self.loss_of(tolerance)
        if not self.reach_checked:
            loss.check_reach(tolerance.bound, self.outputs, self.labels, self.counts)
        tolerance = dataclasses.replace(tolerance, loss=loss.function or loss.name, outputs=loss.outputs)
        budget = budget or Budget()
        tried: list[Plan] = []
        limits: list[float] = []
        runs, unforeseen = 0.0, 0.0
        limit, _ = self._start(tolerance, minimise)
        for _ in range(_MOST_LIMITS):
            safe = self._below_all_that_break(tried)
            if len(tried) >= _MOST_MEASUREMENTS + (0 if safe else _MORE_MEASUREMENTS):
                break
            plan = self._within(tolerance, budget, minimise, limit, unforeseen=unforeseen)
            again = next((earlier for earlier in tried if earlier.choices == plan.choices), None)
            if again is not None:
                if again.keeps_tolerance:  # a plan between this one and those that break the bound?
                    if (again.feasible and _is_close(again)) or limit >= self._least_breaking_change(tried):
                        break
                    limit *= _WIDER
                    continue
                below = self._scaled_change(again) * (1 - 1e-6)
                if below >= limit or not limit > 1e-12:
                    break
                limit = below  # so that the same plan does not come again
                continue
            foreseen = plan.costs["file_bytes"] - unforeseen
            plan = self.measured(plan, len(tried))
            tried.append(plan)
            is_larger = budget.file_bytes is not None and foreseen <= budget.file_bytes < plan.costs["file_bytes"]
            if is_larger:
                unforeseen = max(unforeseen, plan.costs["file_bytes"] - foreseen)
            limits.append(limit)
            extra = self.calibrate(list(plan.layers.values())) if len(tried) == 1 else 0.0
            runs += 1 + extra
            if not extra and _is_close(plan) and not is_larger:
                break
            # if no choice changes the outputs, only the limit itself is left to correct
            changes = [self._scaled_change(each) or within for each, within in zip(tried, limits, strict=True)]
            safe = self._below_all_that_break(tried)
            points = [*zip(changes, (each.used for each in tried), strict=True)]
            limit = self._corrected(points, tolerance, _GOAL if safe else _CAREFUL_GOAL)
            if not safe:
                limit = min(limit, _LOWER * min(changes))
        feasible = [each for each in self._below_all_that_break(tried) if each.feasible]
        if feasible:
            best = min(feasible, key=lambda each: each.costs[minimise])
        else:
            best = min(tried, key=lambda each: (not each.keeps_tolerance, each.excess))
        if best.binding == ("tolerance",):  # a plan that the budget limits says nothing about the tolerance's limit
            self.history.best_plans[tolerance, minimise] = best
        return dataclasses.replace(best, measurements=runs)

    def predict(self, tolerance: Tolerance, budget: Budget | None = None, minimise: str = "file_bytes") -> Plan:
        """Return a plan from the analysis and earlier measurements for the same tolerance; nothing is run.

        The file of a plan without some units is compact; its size is known once it is made.
        """
        budget, start = budget or Budget(), self._start(tolerance, minimise)
        unforeseen = 0.0
        while True:
            plan = self._within(tolerance, budget, minimise, *start, unforeseen=unforeseen)
            if not self.layer_compressor.compact:
                return plan
            foreseen = plan.costs["file_bytes"] - unforeseen
            size = float(self._model(plan.choices).size_bytes)
            plan = _judged(dataclasses.replace(plan, costs={**plan.costs, "file_bytes": size}))
            if budget.file_bytes is None or size <= budget.file_bytes or size - foreseen <= unforeseen:
                return plan
            unforeseen = size - foreseen

    def replan(self, plan: Plan, budget: Budget) -> Plan:
        """Return a plan for another budget, the same tolerance and cost, as `predict` does; nothing is run."""
        made = self.predict(plan.tolerance, budget, plan.minimise)
        return dataclasses.replace(made, input_summary=plan.input_summary, **plan.options)

    def measured(self, plan: Plan, before: int = 0) -> Plan:
        """Apply a plan, run it over the pool and return it with its measurements.

        Parameters
        ----------
        plan : Plan
            The plan.
        before : int
            Plans that were measured on the same inputs before. The best of several plans owes something to chance, so
            that the level of its limit is raised; the amount is ours, and was tried on networks.
        """
        model = self._model(plan.choices)
        loss, tolerance = self.loss_of(plan.tolerance), plan.tolerance
        (losses,) = self.losses([loss], plan.choices, model)
        chance = 1 + _CHANCE * before if tolerance.confidence > 0.5 else 1.0
        level = 1 - (1 - tolerance.confidence) / chance
        reached = level_of(losses, tolerance.bound, self._weights, shares=loss.of_answers)
        return _judged(
            dataclasses.replace(
                plan,
                costs={**plan.costs, "file_bytes": float(model.size_bytes)},
                measured=float(np.mean(self.counts * losses)),
                standard_error=float((self.counts * losses).std() / math.sqrt(len(losses))),
                limit=upper_limit(losses, level, self._weights, shares=loss.of_answers),
                confidence=max(0.0, 1 - (1 - reached) * chance),
            )
        )

    def compress(self, module: torch.nn.Module, plan: Plan | Mapping[str, Choice]) -> CompressedModel:
        """Compress a module of the planner's network as a plan says; `module` itself is left as it is.

        Parameters
        ----------
        module : torch.nn.Module
            The network that was analysed, with the same weights.
        plan : Plan or Mapping[str, Choice]
            A plan, also one that was loaded from a file, or one choice for each layer by name.

        Raises
        ------
        InputError
            If the choices are not those of the network's layers, or its weights not those that were analysed.
        """
        module = folded(module)
        views = {name: layer.view for layer in self._layers_of(module) for name in layer.names}
        for layer, analysed in zip(self.layers, self.analysis.layers, strict=True):
            if not any(np.array_equal(views[name], analysed.weights) for name in layer.names if name in views):
                raise InputError(f"the module must be the one that was analysed; {layer.name} has other weights")
        return self._model(plan.choices if isinstance(plan, Plan) else plan)

    def compressed_layer(self, name: str, choice: Choice) -> CompressedLayer:
        """Return one layer as `compress` compresses it. Raises InputError if the name is unknown."""
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise InputError(f"the network has no layer {name}; it has {', '.join(names)}")
        return self.layer_compressor.compress(names.index(name), choice)

    def changed(self, model: CompressedModel) -> torch.nn.Module:
        """Return a copy of the network with the weights of a compressed model of it."""
        changed = copy.deepcopy(self.module)
        model.load_into(changed)
        return changed

    def losses(
        self, losses: Sequence[Loss], choices: Mapping[str, Choice], model: CompressedModel | None = None
    ) -> list[Floats64]:
        """Run the network over the pool, compressed by these choices, and return each loss of each input.

        Parameters
        ----------
        losses : sequence of Loss
            Losses that compare the outputs that were analysed; one run serves them all.
        choices : Mapping[str, Choice]
            The choice for each layer, by name.
        model : CompressedModel or None
            The compressed model, if it is known.
        """
        of_layers = {name: each.origin for name, each in choices.items()}

        @functools.cache
        def after() -> dict[str, Floats]:
            return self._outputs_of(self._model(choices) if model is None else model)

        def lost(loss: Loss) -> Floats64:
            return loss.by_input(self.outputs, after(), self.labels)

        return [self.kept_run({"loss": each.name, "plan": of_layers}, functools.partial(lost, each)) for each in losses]

    def _outputs_of(self, model: CompressedModel) -> dict[str, Floats]:
        with self._scratch() as changed:
            return self.loss.read(compressed_outputs(model, changed, self.pool))

    def run(self, module: torch.nn.Module) -> dict[str, Floats]:
        """Run a changed network over the pool and return its outputs, to be compared with `outputs`."""
        return self.loss.read(run_outputs(module, self.pool))

    def calibrate(self, candidates: Sequence[Candidate]) -> float:
        """Run the network over a part of the pool with one layer compressed at a time, as its candidate says.

        Parameters
        ----------
        candidates : sequence of Candidate
            One for each layer; a layer is not run if a candidate of about the same change was tried before.

        Returns
        -------
        float
            Runs over the pool that this took.
        """
        part = min(len(self.pool), max(50, round(_CALIBRATION_RUNS * len(self.pool) / len(self.layers))))
        places = np.random.default_rng(0).permutation(len(self.pool))[:part]
        runs = 0.0
        with progress_bar("trying layers alone", len(self.layers)) as advance:
            for number, candidate in enumerate(candidates):
                if not self.history.calibration.knows(number, candidate.change):
                    squares = self.kept_run(
                        {"layer": number, "choice": candidate.choice.origin, "part": part},
                        lambda number=number, choice=candidate.choice: self._squares(number, choice, places),  # type: ignore[misc]
                    )
                    self.history.calibration.add(number, candidate.change, self.counts[places] * squares)
                    runs += part / len(self.pool)
                advance()
        return runs

    def _squares(self, number: int, choice: Choice, places: Integers64) -> Floats64:
        """Run some inputs with one layer compressed, and return a measure of their outputs' squared change."""
        with self._scratch() as alone:
            layer = self._layers_of(alone)[number]
            values = layer.in_shape(self.layer_compressor.compress(number, choice).weights())
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(values))
            if choice.activation_threshold:
                own, thresholds = thresholds_in(alone), dict.fromkeys(layer.names, choice.activation_threshold)
                of_parts = threshold_places(alone, thresholds)
                set_thresholds(alone, own | {name: max(each, own.get(name, 0.0)) for name, each in of_parts.items()})
            after = self.loss.read(run_outputs(alone, self.pool[places]))
        return self.loss.squares({name: outputs[places] for name, outputs in self.outputs.items()}, after)

    def calibrated(self, number: int, changes: Floats) -> Floats64:
        """Return predicted changes of the outputs by layer `number`, scaled so that all layers' changes compare."""
        return self.history.calibration.scaled(number, changes)

    def tolerances(self, tolerance: Tolerance, seed: int = 0) -> dict[str, Floats64]:
        """Return how far each weight may move, [rows, columns] by layer, if all move at random within the tolerance.

        The ranges are as wide as the analysis allows (`second_order_tolerances`). The widest range allowed
        (the trust region) is at first the largest weight. It is halved while random moves change the outputs by more
        than 1.5 times the prediction, because a few inputs say little about weights that they do not use.
        """
        bound = self.change_of(tolerance, tolerance.bound)
        draw = np.random.default_rng(seed)
        original = run_outputs(self.module, self.analysed)
        before = self.loss.changes(original, original)
        for ranges in self._shrinking(bound):
            after = self.loss.changes(run_outputs(self._moved(ranges, draw), self.analysed), original)
            if np.square(after - before).sum(axis=-1).mean() <= 1.5 * bound:
                break
        return ranges

    def within_tolerances(self, tolerance: Tolerance) -> CompressedModel:
        """Return the network compressed as far as the ranges of its weights alone allow (`share_within`).

        Pruning does not move weights at random: it moves all of them towards zero. The trust region is therefore halved
        until the compressed network itself keeps the tolerance on the pool. This is a baseline; a plan takes far fewer
        bytes.
        """
        loss = self.loss_of(tolerance)
        for ranges in self._shrinking(self.change_of(tolerance, tolerance.bound)):
            compressed = []
            for layer in self.analysis.layers:
                codes, shared = share_within(layer.weights, ranges[layer.name])
                codebook = np.zeros(2 ** max(1, math.ceil(math.log2(len(shared)))), dtype=np.float32)
                codebook[: len(shared)] = shared
                codes = codes.astype(np.uint8 if len(codebook) <= 256 else np.uint16)
                compressed.append(CompressedLayer(layer.name, codes, codebook))
            model = assemble(self.module, self.layers, self.left_alone, compressed, _TENSOR_BITS)
            losses = loss.by_input(self.outputs, self._outputs_of(model), self.labels)
            if np.mean(self.counts * losses) <= tolerance.bound:
                break
        return model

    def perturbed(self, tolerance: Tolerance, number: int, draw: np.random.Generator) -> list[torch.nn.Module]:
        """Return `number` copies of the network whose weights are perturbed uniformly within their tolerances."""
        ranges = self.tolerances(tolerance)
        return [self._moved(ranges, draw) for _ in range(number)]

    def loss_of(self, tolerance: Tolerance) -> Loss:
        """Return the loss that a tolerance bounds. Raises InputError if it compares other outputs than the planner."""
        if tolerance.outputs and {*tolerance.outputs} != {*self.loss.outputs}:
            raise InputError(
                f"the tolerance must compare the outputs that were analysed, "
                f"{', '.join(self.loss.outputs or self.outputs)}; found outputs={', '.join(tolerance.outputs)}; make "
                f"another planner, for these"
            )
        if tolerance.loss == AUTO:
            return self.loss
        loss = Loss.of(tolerance.loss, self.labels is not None, self.loss.outputs)
        same = loss.scores if self.loss.scores else loss.name == self.loss.name
        if not same:
            raise InputError(
                f"the tolerance's loss must compare the outputs that were analysed, those of {self.loss.name}; found "
                f"{loss.name}; make another planner, with loss={loss.name!r}"
            )
        return self.loss if loss.name == self.loss.name else dataclasses.replace(loss, logarithms=self.loss.logarithms)

    def expected(self, tolerance: Tolerance, change: float) -> float:
        """Return the expected loss if outputs change at random by this expected squared change."""
        changes, losses = self._curve_of(self.loss_of(tolerance))
        return math.exp(np.interp(math.log(max(change, 1e-300)), changes, losses))

    def change_of(self, tolerance: Tolerance, used: float) -> float:
        """Return the expected squared change of the outputs that causes this loss."""
        changes, losses = self._curve_of(self.loss_of(tolerance))
        return math.exp(np.interp(math.log(max(used, 1e-300)), losses, changes))

    def _curve_of(self, loss: Loss) -> tuple[Floats64, Floats64]:
        """Return the logarithms of changes of the outputs, and of the losses that they cause; both ascend."""
        if loss.name not in self._curves:
            losses = np.array([self.random_changes.expected(loss, float(change)) for change in _CURVE])
            losses = np.maximum.accumulate(np.maximum(losses, 1e-300))
            self._curves[loss.name] = np.log(_CURVE), np.log(losses) + np.arange(len(losses)) * 1e-12
        return self._curves[loss.name]

    @functools.cached_property
    def _curves(self) -> dict[str, tuple[Floats64, Floats64]]:
        return {}

    @functools.cached_property
    def _changed_module(self) -> torch.nn.Module:
        return copy.deepcopy(self.module)

    @contextmanager
    def _scratch(self) -> Iterator[torch.nn.Module]:
        """Lend a copy of the network, whose parameters may be changed until it is lent again."""
        module = self._changed_module
        with torch.no_grad():
            for values, original in zip(_tensors(module), _tensors(self.module), strict=True):
                values.copy_(original)
        set_thresholds(module, thresholds_in(self.module))
        yield module

    def kept_run(self, origin: Mapping[str, Any], run: Callable[[], Floats64]) -> Floats64:
        """Return the values of a run by input, from the folder if it has them.

        Parameters
        ----------
        origin : Mapping[str, number, text, or sequence or mapping of them]
            Everything that the run depends on, besides network, pool, analysed inputs and labels.
        run : callable
            Runs the network, and returns a value for each input.
        """
        if self.folder is None:
            return run()
        origin = {"measured_on": self._measured_on, **self.layer_compressor.origin, **origin}
        values = self.folder.run(origin)
        if values is None:
            values = run()
            self.folder.write_run(origin, values)
        return values

    @property
    def _weights(self) -> Floats64 | None:
        """Weights of the pool's inputs; None if all are 1, so that losses of 0 and 1 are known as such."""
        return None if (self.counts == 1).all() else self.counts

    @functools.cached_property
    def _measured_on(self) -> str:
        """Digits that stand for the pool and its labels."""
        labels = "" if self.labels is None else digest_of_arrays({"labels": self.labels})
        return digest_of_inputs(self.pool) + labels

    def _model(self, choices: Mapping[str, Choice]) -> CompressedModel:
        """Return the compressed model of the planner's own copy of the network."""
        names = [layer.name for layer in self.layers]
        if set(choices) != set(names):
            raise InputError(
                f"there must be a choice for each layer, {', '.join(names)}; found choices for {', '.join(choices)}"
            )
        compressed = [self.layer_compressor.compress(number, choices[name]) for number, name in enumerate(names)]
        model = assembled(self.module, self.layers, self.left_alone, compressed, self.network)
        if not self.layer_compressor.compact:
            return model
        assert self.network is not None
        return model.coded(self.layer_compressor.coding).compacted(self.network.example)

    def _layers_of(self, module: torch.nn.Module) -> list[ModuleLayer]:
        return module_layers(module, leave=self.leave, products=self.products)[0]

    def _within(
        self,
        tolerance: Tolerance,
        budget: Budget,
        minimise: str,
        limit: float,
        correction: float = 1.0,
        *,
        unforeseen: float = 0.0,
    ) -> Plan:
        """Return the plan of the least cost that keeps the budget and the limit on the summed change of the outputs.

        Parameters
        ----------
        tolerance, budget : Tolerance, Budget
            Bounds of the plan.
        minimise : str
            The cost.
        limit : float
            Bound on the sum of the layers' predicted changes.
        correction : float
            Ratio of the change of the outputs to the sum of the layers' changes.
        unforeseen : float
            Bytes by which the file of an earlier plan was larger than the sum of its parts.
        """
        other_bytes = self.other_bytes + unforeseen
        budget.check(self.candidates[0][0].costs)
        check_minimised(minimise, self.candidates[0][0].costs)
        changes = [
            self.calibrated(number, np.array([candidate.change for candidate in of_layer]))
            for number, of_layer in enumerate(self.candidates)
        ]
        costs = {
            name: [np.array([candidate.costs[name] for candidate in of_layer]) for of_layer in self.candidates]
            for name in self.candidates[0][0].costs
        }
        totals: dict[str, tuple[list[Floats64], float]] = {"tolerance": (changes, limit)}
        for name, bound in budget.bounds.items():
            if name == "sram_bytes_per_pe":  # of each layer alone
                for number, of_layer in enumerate(costs[name]):
                    others = [np.zeros(len(each)) for each in costs[name]]
                    totals[f"{name} of {self.layers[number].name}"] = (
                        [*others[:number], of_layer, *others[number + 1 :]],
                        bound,
                    )
            else:
                totals[name] = (costs[name], bound - (other_bytes if name == "file_bytes" else 0))
        places = choose(costs[minimise], totals)
        if places is None:
            places = choose_nearest([len(each) for each in changes], totals, ["tolerance"])
        if places is None:  # not even the finest choices keep the tolerance
            places = np.array([int(each.argmin()) for each in changes])
        chosen = [of_layer[place] for of_layer, place in zip(self.candidates, places, strict=True)]
        scaled = sum(float(of_layer[place]) for of_layer, place in zip(changes, places, strict=True))
        sums = {
            name: max(each.costs[name] for each in chosen)
            if name == "sram_bytes_per_pe"
            else sum(each.costs[name] for each in chosen)
            for name in costs
        }
        sums["file_bytes"] += other_bytes
        return _judged(
            Plan(
                {layer.name: each for layer, each in zip(self.layers, chosen, strict=True)},
                tolerance,
                budget,
                predicted_change=sum(each.change for each in chosen),
                predicted=self.expected(tolerance, scaled * correction),
                costs=sums,
                logarithms=self.loss.logarithms,
                reason=self.loss_of(tolerance).reason,
                notes=self.notes,
                minimise=minimise,
            )
        )

    def _scaled_change(self, plan: Plan) -> float:
        """Return the sum of the layers' predicted changes, calibrated by the runs so far."""
        changes = [np.array([candidate.change]) for candidate in plan.layers.values()]
        return sum(float(self.calibrated(number, each)[0]) for number, each in enumerate(changes))

    def _start(self, tolerance: Tolerance, minimise: str) -> tuple[float, float]:
        """Return the limit and the correction known for the tolerance and the cost, or those to begin with."""
        best = self.history.best_plans.get((tolerance, minimise))
        change = 0.0 if best is None else self._scaled_change(best)
        if best is None or change == 0:
            return self.change_of(tolerance, tolerance.bound), 1.0
        return change * (1 + 1e-6), self.change_of(tolerance, best.used) / change

    def _below_all_that_break(self, tried: Sequence[Plan]) -> list[Plan]:
        """Return the plans that keep their tolerance, of smaller predicted change than all that break it.

        A plan beyond one that breaks the bound may owe it to chance that it does not.
        """
        breaking = self._least_breaking_change(tried)
        return [each for each in tried if each.keeps_tolerance and self._scaled_change(each) < breaking]

    def _least_breaking_change(self, tried: Sequence[Plan]) -> float:
        """Return the smallest predicted change of a plan that breaks its tolerance; infinite if none does."""
        return min((self._scaled_change(each) for each in tried if not each.keeps_tolerance), default=math.inf)

    def _corrected(self, tried: Sequence[tuple[float, float]], tolerance: Tolerance, share: float) -> float:
        """Return the next limit: one between two that enclose the tolerance, otherwise the last one, corrected.

        Parameters
        ----------
        tried : sequence of (float, float)
            Limits, and the use of the tolerance by their plans.
        tolerance : Tolerance
            Bound on the loss.
        share : float
            Share of the tolerance that the next plan is to use.
        """
        goal = math.log(self.change_of(tolerance, share * tolerance.bound))
        points = [(math.log(limit), math.log(self.change_of(tolerance, used))) for limit, used in tried]
        below = max((each for each in points if each[1] <= goal), default=None)
        above = min((each for each in points if each[1] > goal), default=None)
        if below is None or above is None or below[0] >= above[0]:
            last, change = points[-1]
            return math.exp(last + min(max(goal - change, -math.log(8)), math.log(8)))
        place = (goal - below[1]) / max(above[1] - below[1], 1e-9)
        return math.exp(below[0] + min(max(place, 0.1), 0.9) * (above[0] - below[0]))

    def _shrinking(self, bound: float) -> Iterator[dict[str, Floats64]]:
        """Yield ranges of the weights for a bound on the change of the outputs, the trust region halved each time."""
        curvatures = self.layer_compressor.curvatures
        flat = np.concatenate([each.ravel() for each in curvatures])
        ends = np.cumsum([each.size for each in curvatures])[:-1]
        layers = self.analysis.layers
        largest = max(float(np.abs(layer.weights).max()) for layer in layers)
        for halvings in range(_MOST_HALVINGS):
            # the mean square of a uniform variable in [-1, 1] is a third
            ranges = np.split(second_order_tolerances(flat, 3 * bound, largest / 2**halvings), ends)
            yield {layer.name: each.reshape(layer.weights.shape) for layer, each in zip(layers, ranges, strict=True)}

    def _moved(self, ranges: Mapping[str, Floats], draw: np.random.Generator) -> torch.nn.Module:
        moved = copy.deepcopy(self.module)
        with torch.no_grad():
            for layer in self._layers_of(moved):
                steps = draw.uniform(-1, 1, ranges[layer.name].shape) * ranges[layer.name]
                layer.weight.add_(torch.from_numpy(layer.in_shape(steps.astype(np.float32))))
        return moved


def folded(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode whose weights are plain parameters and whose normalisation is folded."""
    check_parameters(module)
    plain = plain_module(module).eval()
    fold_normalisation(plain)
    return plain


def layers_without_biases(
    module: torch.nn.Module, leave: Sequence[str], products: Products | None
) -> tuple[list[ModuleLayer], dict[str, str]]:
    """Return the weights to compress, without their biases, and the reason why each other parameter is left alone."""
    layers, left_alone = module_layers(module, leave=leave, products=products)
    return [free_bias(layer, left_alone) for layer in layers], left_alone


def assembled(
    module: torch.nn.Module,
    layers: Sequence[ModuleLayer],
    left_alone: Mapping[str, str],
    compressed: Sequence[CompressedLayer],
    network: Network | None,
) -> CompressedModel:
    """Return the compressed model of a module whose normalisation is folded, with its graph if that is known."""
    model = assemble(module, layers, left_alone, compressed, _TENSOR_BITS)
    return model if network is None else with_graph(model, network)


def _tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _is_close(plan: Plan) -> bool:
    """Return True if a plan keeps its tolerance and hardly any other could use more of it."""
    tolerance, level = plan.tolerance, plan.confidence
    assert level is not None
    return plan.keeps_tolerance and (
        plan.used >= _CLOSE_ENOUGH * tolerance.bound or level <= tolerance.confidence + _LEVELS
    )


def _judged(plan: Plan) -> Plan:
    """Return the plan with its verdict: feasible, binding and nearest."""
    over = {} if plan.keeps_tolerance else {"tolerance": plan.used}
    over |= {name: plan.costs[name] for name, bound in plan.budget.bounds.items() if plan.costs[name] > bound}
    tight = [name for name, bound in plan.budget.bounds.items() if plan.costs[name] > 0.97 * bound]
    return dataclasses.replace(
        plan,
        feasible=not over,
        binding=tuple(over) if over else (*tight, "tolerance"),
        nearest={name: value for name, value in over.items() if name != "tolerance"},
    )
