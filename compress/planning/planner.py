"""Makes plans: how far to compress each layer so that outputs stay within a tolerance and costs within a budget.

Every choice of density and bits is tried once on each layer alone, against the cached analysis (`compress.planning.analysis`):
its effect on the outputs, its bytes in the file and what it costs on a given array are known without running the
network. A plan takes one choice for each layer: the smallest file whose predicted change of the outputs stays below a
limit, a multiple-choice knapsack. Only plans are run and measured; the limit is corrected until the tolerance holds.
(PyTorch needed.)

The method is ours; that a plan should follow from tolerances of the parameters, inputs chosen by a committee and a
target's budget, without searching by trial, is after Khoram and Li, "TOCO", 2019.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.class_scores import check_form, check_labels, check_scores
from compress.container.layer_coding import CodingChoice, encode_matrix
from compress.container.model import CompressedModel
from compress.modules import weight_units
from compress.planning.analysis import Analysis, analyse, centred
from compress.planning.calibration import Calibration
from compress.planning.compensation import error_spread, pruned_weights, shared_weights
from compress.planning.knapsack import choose, choose_nearest
from compress.planning.plan import Budget, Candidate, Choice, Plan, Tolerance
from compress.planning.tolerances import second_order_tolerances, share_within
from compress.pruning import magnitude_mask
from compress.training.compressor import assemble, free_bias
from compress.training.normalisation import fold_normalisation
from traces import CompressedLayer, InputError
from traces.shell.progress import progress_bar

Floats = npt.NDArray[Any]
#: what a compressed layer costs on an array with gaps of so many bits, by the name of a budget's figure
Cost = Callable[[CompressedLayer, int], Mapping[str, float]]

DENSITIES = (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.15, 0.1, 0.06, 0.03)
WEIGHT_BITS = (2, 3, 4, 5, 6)
_NOISES = 16
_WEIGHTS_AT_ONCE = 2**24
_MOST_MEASUREMENTS = 6
_MOST_HALVINGS = 12
_CALIBRATION_RUNS = 2.5  # over the pool, for all layers together
_CLOSE_ENOUGH = 0.93  # of the tolerance used up


class Planner:
    """Makes plans for one network: whatever does not depend on tolerance and budget is computed once.

    module      the trained network; it is left as it is
    pool        inputs [inputs, ...] that plans are measured on
    labels      of the pool, if there are any: whole numbers [inputs], the places of the right outputs
    weights     what each input of the pool counts in a mean over it, where it was not drawn evenly (see
                `compress.planning.committee`); 1 each if nothing is said
    analysed    which of the pool's inputs are analysed; the first 256, if nothing is said
    cost        what a compressed layer costs on the array with gaps of so many bits: latency_us, energy_uj,
                sram_bytes_per_pe, or a part of them
    index_bits  gaps on the array to choose from; without a cost function there is nothing to choose
    checked     whether the outputs are known to be class scores, as those of a larger pool that this one is part of

    Raises InputError if the outputs are no class scores (`compress.class_scores`) or the labels are not theirs, before
    anything is analysed.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        pool: Floats,
        labels: npt.NDArray[Any] | None = None,
        *,
        weights: Floats | None = None,
        analysed: Sequence[int] | None = None,
        cost: Cost | None = None,
        densities: Sequence[float] = DENSITIES,
        weight_bits: Sequence[int] = WEIGHT_BITS,
        index_bits: Sequence[int] = (4,),
        seed: int = 0,
        checked: bool = False,
    ) -> None:
        if labels is not None:
            labels = check_labels("labels", labels, len(pool))
        self.module: torch.nn.Module = copy.deepcopy(module).eval()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolves faster
        fold_normalisation(self.module)
        self.pool = pool
        self._counts = np.ones(len(pool)) if weights is None else np.asarray(weights, dtype=np.float64)
        if self._counts.shape != (len(pool),) or not (self._counts >= 0).all():
            raise InputError(f"weights must be [{len(pool)}], none negative; found {list(self._counts.shape)}")
        self.units, self.left_alone = weight_units(self.module)
        self.units = [free_bias(unit, self.left_alone) for unit in self.units]
        self.outputs = run_batches(self.module, pool) if checked else class_scores(self.module, pool)
        self.labels = None if labels is None else check_labels("labels", labels, len(pool), self.outputs.shape[1])
        chosen = np.arange(min(256, len(pool))) if analysed is None else np.asarray(analysed)
        self._analysed = pool[chosen]
        self.analysis: Analysis = analyse(self.module, self._analysed, seed)
        self._noise = np.random.default_rng(seed).standard_normal((_NOISES, *self.outputs.shape)).astype(np.float32)
        self._spreads = [
            None if unit.moment is None else error_spread(unit.moment, unit.positions) for unit in self.analysis.units
        ]
        self._curvatures = [unit.curvatures for unit in self.analysis.units]
        self._pruned: dict[tuple[int, float], npt.NDArray[np.float64]] = {}
        self._calibration = Calibration(len(self.units))
        self._known: dict[Tolerance, Plan] = {}  # the best plans that a tolerance alone stopped
        settings = [(density, bits) for density in densities for bits in weight_bits]
        self.candidates: list[list[Candidate]] = []
        with progress_bar("trying choices", len(self.units)) as advance:
            for number in range(len(self.units)):
                self.candidates.append(self._try_all(number, settings, cost, index_bits))
                advance()
        largest = {
            unit.name: candidates[0].choice for unit, candidates in zip(self.units, self.candidates, strict=True)
        }
        whole = self.apply(self.module, largest)
        of_layers = sum(candidates[0].costs["file_bytes"] for candidates in self.candidates)
        self._other_bytes = whole.size_bytes - of_layers

    def plan(self, tolerance: Tolerance, budget: Budget | None = None) -> Plan:
        """The smallest file that keeps the tolerance on the pool and the budget, as far as it can be found.

        Nothing is run but plans, over the pool, at most six, and after the first of them each of its layers alone, over
        a part of the pool (`compress.planning.calibration`). The first plan is what the analysis alone predicts; each measured
        one corrects the limit of the next. Raises InputError if the budget bounds what neither the file nor the cost
        function knows, or no outputs could break the tolerance.
        """
        tolerance.check_reach(self.outputs, self.labels, self._counts)
        budget = budget or Budget()
        tried: list[Plan] = []
        limits: list[float] = []
        runs = 0.0
        limit, _ = self._start(tolerance)
        while len(tried) < _MOST_MEASUREMENTS:
            plan = self._within(tolerance, budget, limit)
            again = next((each for each in tried if each.choices == plan.choices), None)
            if again is not None:
                below = self._scaled_change(again) * (1 - 1e-6)
                if again.used <= tolerance.bound or below >= limit or not limit > 1e-12:
                    break
                limit = below  # so that it is not found again
                continue
            plan = self.measured(plan)
            tried.append(plan)
            limits.append(limit)
            extra = self.calibrate(list(plan.layers.values())) if len(tried) == 1 else 0.0
            runs += 1 + extra
            if not extra and _CLOSE_ENOUGH * tolerance.bound <= plan.used <= tolerance.bound:
                break
            # where no layer's choice changes anything, all there is to correct is the limit itself
            changes = [self._scaled_change(each) or within for each, within in zip(tried, limits, strict=True)]
            limit = self._corrected([*zip(changes, (each.used for each in tried), strict=True)], tolerance)
        kept = [each for each in tried if each.feasible]
        if kept:
            best = min(kept, key=lambda each: each.costs["file_bytes"])
        else:
            best = min(tried, key=lambda each: (each.used > tolerance.bound, each.excess))
        if best.binding == ("tolerance",):  # else the budget stopped it, which says nothing of the tolerance's limit
            self._known[tolerance] = best
        return dataclasses.replace(best, measurements=runs)

    def predict(self, tolerance: Tolerance, budget: Budget | None = None) -> Plan:
        """A plan from the analysis, and what has been measured for the same tolerance so far; nothing is run."""
        return self._within(tolerance, budget or Budget(), *self._start(tolerance))

    def measured(self, plan: Plan) -> Plan:
        """The plan after it was applied, and run over the pool."""
        model = self.apply(self.module, plan.choices)
        used = self._used_by_input(plan.tolerance, model)
        return _judged(
            dataclasses.replace(
                plan,
                costs={**plan.costs, "file_bytes": float(model.size_bytes)},
                measured=float(used.mean()),
                standard_error=plan.tolerance.standard_error(used),
            )
        )

    def _used_by_input(self, tolerance: Tolerance, model: CompressedModel) -> npt.NDArray[np.float64]:
        """What of the tolerance each input of the pool uses up, times what it counts, once a model is run."""
        changed = run_batches(self.changed(model), self.pool)
        return self._counts * tolerance.used_by_input(self.outputs, changed, self.labels)

    def _within(self, tolerance: Tolerance, budget: Budget, limit: float, correction: float = 1.0) -> Plan:
        """The smallest file that keeps the budget, the layers' changes of the outputs adding up to the limit at most.

        correction   what the change of the outputs is to the sum of the layers' changes
        """
        unknown = sorted(set(budget.bounds) - set(self.candidates[0][0].costs))
        if unknown:
            raise InputError(
                f"the budget bounds {', '.join(unknown)}, which neither the file nor a cost function gives; give a "
                f"cost function that does"
            )
        changes = [
            self.calibrated(number, np.array([each.change for each in of_layer]))
            for number, of_layer in enumerate(self.candidates)
        ]
        costs = {
            name: [np.array([each.costs[name] for each in of_layer]) for of_layer in self.candidates]
            for name in self.candidates[0][0].costs
        }
        totals: dict[str, tuple[list[npt.NDArray[Any]], float]] = {"tolerance": (changes, limit)}
        for name, bound in budget.bounds.items():
            if name == "sram_bytes_per_pe":  # of each layer alone
                for number, of_layer in enumerate(costs[name]):
                    others = [np.zeros(len(each)) for each in costs[name]]
                    totals[f"{name} of {self.units[number].name}"] = (
                        [*others[:number], of_layer, *others[number + 1 :]],
                        bound,
                    )
            else:
                totals[name] = (costs[name], bound - (self._other_bytes if name == "file_bytes" else 0))
        found = choose(costs["file_bytes"], totals)
        if found is None:
            found = choose_nearest([len(each) for each in changes], totals, ["tolerance"])
        if found is None:  # not even the finest choices keep the tolerance
            found = np.array([int(each.argmin()) for each in changes])
        chosen = [of_layer[place] for of_layer, place in zip(self.candidates, found, strict=True)]
        scaled = sum(float(of_layer[place]) for of_layer, place in zip(changes, found, strict=True))
        sums = {
            name: max(each.costs[name] for each in chosen)
            if name == "sram_bytes_per_pe"
            else sum(each.costs[name] for each in chosen)
            for name in costs
        }
        sums["file_bytes"] += self._other_bytes
        return _judged(
            Plan(
                {unit.name: each for unit, each in zip(self.units, chosen, strict=True)},
                tolerance,
                budget,
                predicted_change=sum(each.change for each in chosen),
                predicted=self.expected(tolerance, scaled * correction),
                costs=sums,
                planner=self,
            )
        )

    def _scaled_change(self, plan: Plan) -> float:
        """What the layers' predicted changes add up to, each as it counts by what was tried so far."""
        changes = [np.array([each.change]) for each in plan.layers.values()]
        return sum(float(self.calibrated(number, each)[0]) for number, each in enumerate(changes))

    def calibrate(self, candidates: Sequence[Candidate]) -> float:
        """Run each layer alone, compressed as its candidate says, over a part of the pool (`compress.planning.calibration`).

        candidates   one for each layer; where one of about the same change was tried before, nothing is run

        Returns how many runs over the pool that took.
        """
        part = min(len(self.pool), max(50, round(_CALIBRATION_RUNS * len(self.pool) / len(self.units))))
        places = np.random.default_rng(0).permutation(len(self.pool))[:part]
        divergence = Tolerance(divergence=1)
        runs = 0.0
        with progress_bar("trying layers alone", len(self.units)) as advance:
            for number, candidate in enumerate(candidates):
                if not self._calibration.knows(number, candidate.change):
                    alone = copy.deepcopy(self.module)
                    unit = weight_units(alone)[0][number]
                    values = self._layer(number, candidate.choice).weights().reshape(tuple(unit.weight.shape))
                    with torch.no_grad():
                        unit.weight.copy_(torch.from_numpy(values))
                    after = run_batches(alone, self.pool[places])
                    used = divergence.used_by_input(self.outputs[places], after, None)
                    self._calibration.add(number, candidate.change, self._counts[places] * used)
                    runs += part / len(self.pool)
                advance()
        return runs

    def calibrated(self, number: int, changes: Floats) -> npt.NDArray[np.float64]:
        """Predicted changes of the outputs by layer `number`, as they count beside those of the other layers."""
        return self._calibration.scaled(number, changes)

    def _start(self, tolerance: Tolerance) -> tuple[float, float]:
        """The limit and the correction that were found for the tolerance, or those to begin with."""
        best = self._known.get(tolerance)
        change = 0.0 if best is None else self._scaled_change(best)
        if best is None or change == 0:
            return self.change_of(tolerance, tolerance.bound), 1.0
        return change * (1 + 1e-6), self.change_of(tolerance, best.used) / change

    def _corrected(self, tried: Sequence[tuple[float, float]], tolerance: Tolerance) -> float:
        """The limit to try next: between those that enclose the tolerance, or as the last measurement corrects it.

        tried   limits, and what of the tolerance was used up by their plans
        """
        goal = math.log(self.change_of(tolerance, (1 + _CLOSE_ENOUGH) / 2 * tolerance.bound))
        points = [(math.log(limit), math.log(self.change_of(tolerance, used))) for limit, used in tried]
        below = max((each for each in points if each[1] <= goal), default=None)
        above = min((each for each in points if each[1] > goal), default=None)
        if below is None or above is None or below[0] >= above[0]:
            last, change = points[-1]
            return math.exp(last + min(max(goal - change, -math.log(8)), math.log(8)))
        share = (goal - below[1]) / max(above[1] - below[1], 1e-9)
        return math.exp(below[0] + min(max(share, 0.1), 0.9) * (above[0] - below[0]))

    def apply(self, module: torch.nn.Module, choices: Mapping[str, Choice]) -> CompressedModel:
        """A module of the planner's network compressed by these choices; `module` itself is left as it is.

        Raises InputError if the choices are not those of its layers, or its weights not those that were analysed.
        """
        module = copy.deepcopy(module).eval()
        fold_normalisation(module)
        units = weight_units(module)[0]
        names = [unit.name for unit in units]
        if set(choices) != set(names):
            raise InputError(
                f"there must be a choice for each layer, {', '.join(names)}; found them for {', '.join(choices)}"
            )
        for unit, analysed in zip(units, self.analysis.units, strict=True):
            if not np.array_equal(unit.weight.detach().numpy().reshape(analysed.weights.shape), analysed.weights):
                raise InputError(f"the module must be the one that was analysed; {unit.name} has other weights")
        left_alone = weight_units(module)[1]
        units = [free_bias(unit, left_alone) for unit in units]
        layers = [self._layer(number, choices[name]) for number, name in enumerate(names)]
        return assemble(module, units, left_alone, layers, 16)

    def _try_all(
        self,
        number: int,
        settings: Sequence[tuple[float, int]],
        cost: Cost | None,
        index_bits: Sequence[int],
    ) -> list[Candidate]:
        """All choices for one layer that no other one beats in effect and costs."""
        unit = self.analysis.units[number]
        found: list[Candidate] = []
        at_once = max(1, _WEIGHTS_AT_ONCE // unit.weights.size)
        for begin in range(0, len(settings), at_once):
            some = settings[begin : begin + at_once]
            layers = [self._layer(number, Choice(*each)) for each in some]
            changes = np.square(unit.effects(np.stack([layer.weights() for layer in layers]))).mean(axis=1)
            for each, layer, change in zip(some, layers, changes, strict=True):
                in_file = {"file_bytes": layer_file_bytes(layer)}
                for gap_bits in index_bits if cost is not None else index_bits[:1]:
                    costs = in_file | (dict(cost(layer, gap_bits)) if cost is not None else {})
                    found.append(Candidate(Choice(*each, gap_bits), float(change), costs))
        table = np.array([[each.change, *each.costs.values()] for each in found])
        beaten = [bool(((table <= row).all(axis=1) & (table < row).any(axis=1)).any()) for row in table]
        return [each for each, out in zip(found, beaten, strict=True) if not out]

    @property
    def other_bytes(self) -> float:
        """Bytes of the file that belong to no layer's matrix: biases, names, what is left alone."""
        return self._other_bytes

    def layer(self, name: str, choice: Choice) -> CompressedLayer:
        """One layer as `apply` compresses it. Raises InputError if there is none of that name."""
        names = [unit.name for unit in self.units]
        if name not in names:
            raise InputError(f"the network has no layer {name}; it has {', '.join(names)}")
        return self._layer(names.index(name), choice)

    def _layer(self, number: int, choice: Choice) -> CompressedLayer:
        unit, spread = self.analysis.units[number], self._spreads[number]
        kept = magnitude_mask(unit.weights, choice.density)
        key = (number, choice.density)
        if key not in self._pruned:
            self._pruned = {key: pruned_weights(unit.weights, kept, spread)}  # only of the layer and density at hand
        codes, codebook = shared_weights(
            unit.weights, kept, spread, choice.weight_bits, self._curvatures[number], self._pruned[key]
        )
        return CompressedLayer(unit.name, codes, codebook)

    def changed(self, model: CompressedModel) -> torch.nn.Module:
        """The network with the weights of a compressed model of it."""
        changed = copy.deepcopy(self.module)
        model.load_into(changed)
        return changed

    def tolerances(self, tolerance: Tolerance, seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
        """How far each weight may move, [rows, columns] by layer, all at random and at once, within the tolerance.

        They are as wide as the analysis allows, see `second_order_tolerances`. The trust region begins at the largest
        weight and shrinks by half as long as random moves change the outputs by more than half as much again as was
        predicted: a few inputs say little of weights that they do not use.
        """
        bound = self.change_of(tolerance, tolerance.bound)
        draw = np.random.default_rng(seed)
        before = centred(run_batches(self.module, self._analysed))
        for within in self._shrinking(bound):
            after = centred(run_batches(self._moved(within, draw), self._analysed))
            if np.square(after - before).sum(axis=-1).mean() <= 1.5 * bound:
                break
        return within

    def within_tolerances(self, tolerance: Tolerance) -> CompressedModel:
        """The network compressed as far as the tolerances of its weights alone allow, see `share_within`.

        Pruning moves weights not at random but all towards zero: here the trust region shrinks until the compressed
        network itself keeps the tolerance on the pool. Plans take far fewer bytes; this shows how much they gain.
        """
        for within in self._shrinking(self.change_of(tolerance, tolerance.bound)):
            layers = []
            for unit in self.analysis.units:
                codes, shared = share_within(unit.weights, within[unit.name])
                codebook = np.zeros(2 ** max(1, math.ceil(math.log2(len(shared)))), dtype=np.float32)
                codebook[: len(shared)] = shared
                codes = codes.astype(np.uint8 if len(codebook) <= 256 else np.uint16)
                layers.append(CompressedLayer(unit.name, codes, codebook))
            model = assemble(self.module, self.units, self.left_alone, layers, 16)
            if self._used_by_input(tolerance, model).mean() <= tolerance.bound:
                break
        return model

    def _shrinking(self, bound: float) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
        """Tolerances for a bound on the change of the outputs, in a trust region that shrinks by half."""
        curvatures = np.concatenate([each.ravel() for each in self._curvatures])
        sizes = np.cumsum([each.size for each in self._curvatures])[:-1]
        largest = max(float(np.abs(unit.weights).max()) for unit in self.analysis.units)
        for halvings in range(_MOST_HALVINGS):
            # the square of what is even in [-1, 1] is a third, in the mean
            found = np.split(second_order_tolerances(curvatures, 3 * bound, largest / 2**halvings), sizes)
            units = self.analysis.units
            yield {unit.name: each.reshape(unit.weights.shape) for unit, each in zip(units, found, strict=True)}

    def perturbed(self, tolerance: Tolerance, number: int, draw: np.random.Generator) -> list[torch.nn.Module]:
        """So many networks whose weights have moved at random within their tolerances."""
        within = self.tolerances(tolerance)
        return [self._moved(within, draw) for _ in range(number)]

    def _moved(self, within: Mapping[str, Floats], draw: np.random.Generator) -> torch.nn.Module:
        moved = copy.deepcopy(self.module)
        with torch.no_grad():
            for unit in weight_units(moved)[0]:
                steps = draw.uniform(-1, 1, within[unit.name].shape) * within[unit.name]
                unit.weight.add_(torch.from_numpy(steps.astype(np.float32)).reshape(unit.weight.shape))
        return moved

    def expected(self, tolerance: Tolerance, change: float) -> float:
        """What of the tolerance is used up if the outputs change at random by this expected squared change."""
        noise = self._noise * math.sqrt(change / max(1, self.outputs.shape[-1] - 1))
        changed = [tolerance.used_by_input(self.outputs, self.outputs + each, self.labels) for each in noise]
        return float(np.mean(self._counts * changed))

    def change_of(self, tolerance: Tolerance, used_up: float) -> float:
        """The expected squared change of the outputs that uses up so much of the tolerance."""
        low, high = 1e-9, 1e9
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.expected(tolerance, middle) < used_up else (low, middle)
        return low


def _judged(plan: Plan) -> Plan:
    over = {} if plan.used <= plan.tolerance.bound else {"tolerance": plan.used}
    over |= {name: plan.costs[name] for name, bound in plan.budget.bounds.items() if plan.costs[name] > bound}
    tight = [name for name, bound in plan.budget.bounds.items() if plan.costs[name] > 0.97 * bound]
    return dataclasses.replace(
        plan,
        feasible=not over,
        binding=tuple(over) if over else (*tight, "tolerance"),
        nearest={name: value for name, value in over.items() if name != "tolerance"},
    )


def layer_file_bytes(layer: CompressedLayer) -> float:
    """Bytes that a layer takes in the file of a plan: its coded matrix, and its codebook but entry 0, in fp16."""
    return float(
        len(encode_matrix(layer.codes, layer.weight_bits, CodingChoice()).content) + 2 * (len(layer.codebook) - 1)
    )


def run_batches(module: torch.nn.Module, inputs: Floats, batch: int = 125) -> npt.NDArray[np.float32]:
    """Run a module without gradients; its outputs [inputs, ...].

    Raises InputError if there are no inputs, or the module does not give one tensor with an output for each.
    """
    return np.concatenate(list(_batches(module, inputs, batch)))


def class_scores(
    module: torch.nn.Module, inputs: Floats, what: str = "the network's outputs"
) -> npt.NDArray[np.float32]:
    """Run a module without gradients; its outputs [inputs, classes].

    what   the outputs, as the user knows them

    Raises InputError if they are no class scores (`compress.class_scores`): after one batch, if their form says so.
    """
    parts = []
    for part in _batches(module, inputs):
        check_form(what, part, len(part))
        parts.append(part)
    found = np.concatenate(parts)
    check_scores(what, found, inputs)
    return found


def num_classes(module: torch.nn.Module, inputs: Floats) -> int:
    """Count the classes that a module scores, by two inputs. Raises InputError if it gives no class scores."""
    outputs = run_batches(copy.deepcopy(module).eval(), inputs[:2])
    check_form("the network's outputs", outputs, len(outputs))
    return int(outputs.shape[1])


def _batches(module: torch.nn.Module, inputs: Floats, batch: int = 125) -> Iterator[npt.NDArray[np.float32]]:
    """Run a module batch by batch; the outputs of each."""
    if len(inputs) == 0:
        raise InputError("a network needs inputs to be measured on; found none")
    for at in range(0, len(inputs), batch):
        given = torch.as_tensor(inputs[at : at + batch])
        with torch.no_grad():  # not inference mode: what a module keeps of a run may be needed for gradients later
            found: object = module(given)
        if not isinstance(found, torch.Tensor):
            raise InputError(
                f"the network must give one tensor; found {type(found).__name__}; wrap it in a module that does"
            )
        if found.shape[:1] != given.shape[:1]:
            raise InputError(
                f"the network must give an output for each input, [inputs, ...]; found {list(found.shape)} for "
                f"{len(given):,} inputs; wrap it in a module that does"
            )
        yield found.numpy()
