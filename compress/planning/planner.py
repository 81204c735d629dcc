"""Plans: how far to compress each layer so that outputs stay within a tolerance and costs within a budget.

Each choice of density and bits is tried once on each layer alone. The stored analysis (`compress.planning.analysis`)
predicts its effect on the outputs; its bytes in the file and its cost on an array follow without running the network. A
plan takes one choice for each layer. A multiple-choice knapsack finds the smallest file whose predicted change of the
outputs stays within a limit. Only plans are run and measured; each measurement corrects the limit until the tolerance
holds. The *use of a tolerance* is the divergence, accuracy drop or other measure that it bounds. (PyTorch needed.)

The method is ours. The idea to derive a plan from tolerances of the parameters, inputs chosen by a committee and the
budget of a target, without a search by trial, is from Khoram and Li, "TOCO", 2019.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.class_scores import check_labels
from compress.container.model import CompressedModel
from compress.modules import WeightUnit, check_parameters, plain_module, weight_units
from compress.networks import with_graph
from compress.output_changes import classes_last
from compress.planning.analysis import Analysis, Products, analyse
from compress.planning.calibration import Calibration
from compress.planning.knapsack import choose, choose_nearest
from compress.planning.layer_compression import LayerCompressor, layer_file_bytes
from compress.planning.outputs import OutputReader, check_labels_of, read_outputs, run_outputs
from compress.planning.plan import Bound, Budget, Candidate, Choice, Plan, Tolerance
from compress.planning.tolerances import second_order_tolerances, share_within
from compress.training.compressor import assemble, free_bias
from compress.training.normalisation import fold_normalisation
from traces import AnyInputs, CompressedLayer, InputError, Inputs, Network
from traces.arrays import Floats, Floats32, Floats64, Numbers
from traces.pareto import non_dominated
from traces.shell.progress import progress_bar

#: Costs of a compressed layer on an array with gaps of this many bits, by the names of a budget's bounds.
Cost = Callable[[CompressedLayer, int], Mapping[str, float]]

DENSITIES = (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.15, 0.1, 0.06, 0.03)
WEIGHT_BITS = (2, 3, 4, 5, 6)
_NOISES = 16
_WEIGHTS_AT_ONCE = 2**24
_MOST_SAMPLED = 2**15  # class scores of many positions
_MOST_MEASUREMENTS = 6
_MOST_HALVINGS = 12
_CALIBRATION_RUNS = 2.5  # over the pool, for all layers together
_CLOSE_ENOUGH = 0.93  # a plan that uses this share of the tolerance needs no better limit
_TENSOR_BITS = 16


@dataclass(eq=False)
class PlanningHistory:
    """Results of the runs so far, which make later plans better.

    Attributes
    ----------
    calibration : Calibration
        Effects of layers that were compressed alone.
    best_plans : dict of Tolerance to Plan
        For each tolerance, the best plan that only the tolerance limits.
    """

    calibration: Calibration
    best_plans: dict[Tolerance, Plan]


@dataclass(frozen=True, eq=False)
class ScoreSample:
    """Class scores of one output, for the effect of random changes; of outputs with many positions, some of them.

    Attributes
    ----------
    scores : float [rows, classes]
        Scores of inputs, or of positions of inputs.
    labels : int64 [rows] or None
        Right classes.
    counts : float64 [rows]
        Weight of each row in a mean.
    noise : float32 [samples, rows, classes]
        Random directions in which the scores may change.
    freedom : int
        Number of values of one input that a softmax tells apart: classes - 1 for each position.
    """

    scores: Floats
    labels: Numbers | None
    counts: Floats64
    noise: Floats32
    freedom: int

    @classmethod
    def of(cls, outputs: Floats, labels: Numbers | None, counts: Floats64, seed: int) -> ScoreSample:
        """Return the sample of an output [inputs, classes] or with positions."""
        rows = classes_last(outputs)
        positions = math.prod(rows.shape[1:-1])
        rows = rows.reshape(-1, rows.shape[-1])
        labels = None if labels is None else labels.reshape(-1)
        counts = np.repeat(counts, positions)
        if outputs.ndim > 2 and rows.size > _MOST_SAMPLED:
            number = max(1, _MOST_SAMPLED // rows.shape[1])
            places = np.sort(np.random.default_rng(seed).choice(len(rows), min(number, len(rows)), replace=False))
            rows, counts = rows[places], counts[places]
            labels = None if labels is None else labels[places]
        noise = np.random.default_rng(seed).standard_normal((_NOISES, *rows.shape)).astype(np.float32)
        return cls(rows, labels, counts, noise, positions * (rows.shape[1] - 1))

    def expected(self, tolerance: Tolerance, deviation: float) -> float:
        """Return the expected use of a tolerance if each score changes at random by this standard deviation."""
        changed = [
            tolerance.used_by_input(self.scores, self.scores + each, self.labels) for each in self.noise * deviation
        ]
        return float(np.mean(self.counts * changed))


@dataclass(frozen=True, eq=False)
class Planner:
    """Analysed network from which plans are made; `make_planner` returns it.

    Everything that does not depend on tolerance and budget is computed once and stays as it is; only `history` grows.

    Attributes
    ----------
    module : torch.nn.Module
        Copy of the network in evaluation mode, its normalisation folded.
    units : list of WeightUnit
        The layers, in order.
    left_alone : Mapping[str, str]
        For each other parameter or buffer, the reason why it is not compressed.
    pool : Inputs
        Inputs that plans are measured on.
    counts : float64 [inputs]
        Weight of each input of the pool in a mean over it.
    reader : OutputReader
        What of the outputs is compared, for tolerances of one kind.
    outputs : Mapping[str, array [inputs, ...]]
        The network's outputs on the pool, by name, as `reader` reads them.
    labels : int64 [inputs] or [inputs, positions], or None
        Right classes of the pool.
    analysed : Inputs
        The inputs that were analysed.
    layer_compressor : LayerCompressor
        Compressor of the layers, which holds the analysis.
    samples : list of ScoreSample
        Class scores, for each output, and random directions in which they may change; empty for other outputs.
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
    """

    module: torch.nn.Module
    units: list[WeightUnit]
    left_alone: Mapping[str, str]
    pool: Inputs
    counts: Floats64
    reader: OutputReader
    outputs: Mapping[str, Floats]
    labels: Numbers | None
    analysed: Inputs
    layer_compressor: LayerCompressor
    samples: list[ScoreSample]
    candidates: list[list[Candidate]]
    other_bytes: float
    history: PlanningHistory
    leave: Sequence[str] = ()
    products: Products | None = None
    network: Network | None = None

    @property
    def analysis(self) -> Analysis:
        """Analysis of the network."""
        return self.layer_compressor.analysis

    def plan(self, tolerance: Tolerance, budget: Budget | None = None) -> Plan:
        """Return the plan of the smallest file found that keeps the tolerance on the pool and the budget.

        At most six plans are run over the pool. After the first run, the network is also run over a part of the pool
        with one layer compressed at a time (`compress.planning.calibration`). The first plan follows from the analysis
        alone; each measurement corrects the limit of the next plan.

        Parameters
        ----------
        tolerance : Tolerance
            Bound on the outputs.
        budget : Budget or None
            Bounds on the costs.

        Raises
        ------
        InputError
            If the tolerance is of another kind than the planner, the budget bounds a cost that neither the file nor
            the cost function gives, or no outputs could break the tolerance.
        """
        self.reader.check_kind(tolerance)
        tolerance.check_reach(self.outputs, self.labels, self.counts)
        budget = budget or Budget()
        tried: list[Plan] = []
        limits: list[float] = []
        runs = 0.0
        limit, _ = self._start(tolerance)
        while len(tried) < _MOST_MEASUREMENTS:
            plan = self._within(tolerance, budget, limit)
            again = next((earlier for earlier in tried if earlier.choices == plan.choices), None)
            if again is not None:
                below = self._scaled_change(again) * (1 - 1e-6)
                if again.used <= tolerance.bound or below >= limit or not limit > 1e-12:
                    break
                limit = below  # so that the same plan does not come again
                continue
            plan = self.measured(plan)
            tried.append(plan)
            limits.append(limit)
            extra = self.calibrate(list(plan.layers.values())) if len(tried) == 1 else 0.0
            runs += 1 + extra
            if not extra and _CLOSE_ENOUGH * tolerance.bound <= plan.used <= tolerance.bound:
                break
            # if no choice changes the outputs, only the limit itself is left to correct
            changes = [self._scaled_change(each) or within for each, within in zip(tried, limits, strict=True)]
            limit = self._corrected([*zip(changes, (each.used for each in tried), strict=True)], tolerance)
        feasible = [each for each in tried if each.feasible]
        if feasible:
            best = min(feasible, key=lambda each: each.costs["file_bytes"])
        else:
            best = min(tried, key=lambda each: (each.used > tolerance.bound, each.excess))
        if best.binding == ("tolerance",):  # a plan that the budget limits says nothing about the tolerance's limit
            self.history.best_plans[tolerance] = best
        return dataclasses.replace(best, measurements=runs)

    def predict(self, tolerance: Tolerance, budget: Budget | None = None) -> Plan:
        """Return a plan from the analysis and earlier measurements for the same tolerance; nothing is run."""
        return self._within(tolerance, budget or Budget(), *self._start(tolerance))

    def replan(self, plan: Plan, budget: Budget) -> Plan:
        """Return a plan for another budget and the same tolerance, as `predict` does; nothing is run."""
        return self.predict(plan.tolerance, budget)

    def measured(self, plan: Plan) -> Plan:
        """Apply a plan, run it over the pool and return it with its measurements."""
        model = self.compress(self.module, plan)
        used = self._used_by_input(plan.tolerance, model)
        return _judged(
            dataclasses.replace(
                plan,
                costs={**plan.costs, "file_bytes": float(model.size_bytes)},
                measured=float(used.mean()),
                standard_error=plan.tolerance.standard_error(used),
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
        choices = plan.choices if isinstance(plan, Plan) else plan
        module = _folded(module)
        units = self._units_of(module)
        names = [unit.name for unit in units]
        if set(choices) != set(names):
            raise InputError(
                f"there must be a choice for each layer, {', '.join(names)}; found choices for {', '.join(choices)}"
            )
        for unit, analysed in zip(units, self.analysis.units, strict=True):
            if not np.array_equal(unit.matrix, analysed.weights):
                raise InputError(f"the module must be the one that was analysed; {unit.name} has other weights")
        chosen = [choices[name] for name in names]
        return _compressed(module, self.layer_compressor, chosen, self.leave, self.products, self.network)

    def layer(self, name: str, choice: Choice) -> CompressedLayer:
        """Return one layer as `compress` compresses it. Raises InputError if the name is unknown."""
        names = [unit.name for unit in self.units]
        if name not in names:
            raise InputError(f"the network has no layer {name}; it has {', '.join(names)}")
        return self.layer_compressor.compress(names.index(name), choice)

    def changed(self, model: CompressedModel) -> torch.nn.Module:
        """Return a copy of the network with the weights of a compressed model of it."""
        changed = copy.deepcopy(self.module)
        model.load_into(changed)
        return changed

    def run(self, module: torch.nn.Module) -> dict[str, Floats]:
        """Run a changed network over the pool and return its outputs, to be compared with `outputs`."""
        return self.reader.run(module, self.pool)

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
        part = min(len(self.pool), max(50, round(_CALIBRATION_RUNS * len(self.pool) / len(self.units))))
        places = np.random.default_rng(0).permutation(len(self.pool))[:part]
        runs = 0.0
        with progress_bar("trying layers alone", len(self.units)) as advance:
            for number, candidate in enumerate(candidates):
                if not self.history.calibration.knows(number, candidate.change):
                    alone = copy.deepcopy(self.module)
                    unit = self._units_of(alone)[number]
                    values = unit.in_shape(self.layer_compressor.compress(number, candidate.choice).weights())
                    with torch.no_grad():
                        unit.weight.copy_(torch.from_numpy(values))
                    after = self.reader.run(alone, self.pool[places])
                    before = {name: outputs[places] for name, outputs in self.outputs.items()}
                    self.history.calibration.add(
                        number, candidate.change, self.counts[places] * self._size(before, after)
                    )
                    runs += part / len(self.pool)
                advance()
        return runs

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
        before = self.reader.changes(original, original)
        for ranges in self._shrinking(bound):
            after = self.reader.changes(run_outputs(self._moved(ranges, draw), self.analysed), original)
            if np.square(after - before).sum(axis=-1).mean() <= 1.5 * bound:
                break
        return ranges

    def within_tolerances(self, tolerance: Tolerance) -> CompressedModel:
        """Return the network compressed as far as the ranges of its weights alone allow (`share_within`).

        Pruning does not move weights at random: it moves all of them towards zero. The trust region is therefore halved
        until the compressed network itself keeps the tolerance on the pool. This is a baseline; a plan takes far fewer
        bytes.
        """
        for ranges in self._shrinking(self.change_of(tolerance, tolerance.bound)):
            layers = []
            for unit in self.analysis.units:
                codes, shared = share_within(unit.weights, ranges[unit.name])
                codebook = np.zeros(2 ** max(1, math.ceil(math.log2(len(shared)))), dtype=np.float32)
                codebook[: len(shared)] = shared
                codes = codes.astype(np.uint8 if len(codebook) <= 256 else np.uint16)
                layers.append(CompressedLayer(unit.name, codes, codebook))
            model = assemble(self.module, self.units, self.left_alone, layers, _TENSOR_BITS)
            if self._used_by_input(tolerance, model).mean() <= tolerance.bound:
                break
        return model

    def perturbed(self, tolerance: Tolerance, number: int, draw: np.random.Generator) -> list[torch.nn.Module]:
        """Return `number` copies of the network whose weights are perturbed uniformly within their tolerances."""
        ranges = self.tolerances(tolerance)
        return [self._moved(ranges, draw) for _ in range(number)]

    def expected(self, tolerance: Tolerance, change: float) -> float:
        """Return the expected use of the tolerance if outputs change at random by this expected squared change."""
        self.reader.check_kind(tolerance)
        if tolerance.kind == "relative_error":
            return math.sqrt(change)
        if tolerance.kind == "cosine":
            return change / 2  # two vectors of length 1 with the cosine c differ by the square 2 (1 - c)
        deviation = math.sqrt(change / max(1, sum(sample.freedom for sample in self.samples)))
        return float(np.mean([sample.expected(tolerance, deviation) for sample in self.samples]))

    def change_of(self, tolerance: Tolerance, used: float) -> float:
        """Return the expected squared change of the outputs that uses this much of the tolerance."""
        low, high = 1e-9, 1e9
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.expected(tolerance, middle) < used else (low, middle)
        return low

    def _used_by_input(self, tolerance: Tolerance, model: CompressedModel) -> Floats64:
        """Run a model and return how much of the tolerance each input of the pool uses, times its weight."""
        return self.counts * tolerance.used_by_input(self.outputs, self.run(self.changed(model)), self.labels)

    def _size(self, before: Mapping[str, Floats], after: Mapping[str, Floats]) -> Floats64:
        """Return for each input a measure of the outputs' change that is proportional to its square, if it is small."""
        if self.reader.scores:
            return Tolerance(divergence=1).used_by_input(before, after, None)
        used = Tolerance(**{self.reader.kind: 1.0}).used_by_input(before, after, None)
        return np.square(used) if self.reader.kind == "relative_error" else used

    def _units_of(self, module: torch.nn.Module) -> list[WeightUnit]:
        return weight_units(module, leave=self.leave, products=self.products)[0]

    def _within(self, tolerance: Tolerance, budget: Budget, limit: float, correction: float = 1.0) -> Plan:
        """Return the plan of the smallest file that keeps the budget and the limit on the summed change of the outputs.

        Parameters
        ----------
        tolerance, budget : Tolerance, Budget
            Bounds of the plan.
        limit : float
            Bound on the sum of the layers' predicted changes.
        correction : float
            Ratio of the change of the outputs to the sum of the layers' changes.
        """
        unknown = sorted(set(budget.bounds) - set(self.candidates[0][0].costs))
        if unknown:
            raise InputError(
                f"the budget bounds {', '.join(unknown)}, which neither the file nor a cost function gives; give a "
                f"cost function that does"
            )
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
                    totals[f"{name} of {self.units[number].name}"] = (
                        [*others[:number], of_layer, *others[number + 1 :]],
                        bound,
                    )
            else:
                totals[name] = (costs[name], bound - (self.other_bytes if name == "file_bytes" else 0))
        places = choose(costs["file_bytes"], totals)
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
        sums["file_bytes"] += self.other_bytes
        return _judged(
            Plan(
                {unit.name: each for unit, each in zip(self.units, chosen, strict=True)},
                tolerance,
                budget,
                predicted_change=sum(each.change for each in chosen),
                predicted=self.expected(tolerance, scaled * correction),
                costs=sums,
                logarithms=self.reader.logarithms,
            )
        )

    def _scaled_change(self, plan: Plan) -> float:
        """Return the sum of the layers' predicted changes, calibrated by the runs so far."""
        changes = [np.array([candidate.change]) for candidate in plan.layers.values()]
        return sum(float(self.calibrated(number, each)[0]) for number, each in enumerate(changes))

    def _start(self, tolerance: Tolerance) -> tuple[float, float]:
        """Return the limit and the correction known for the tolerance, or those to begin with."""
        best = self.history.best_plans.get(tolerance)
        change = 0.0 if best is None else self._scaled_change(best)
        if best is None or change == 0:
            return self.change_of(tolerance, tolerance.bound), 1.0
        return change * (1 + 1e-6), self.change_of(tolerance, best.used) / change

    def _corrected(self, tried: Sequence[tuple[float, float]], tolerance: Tolerance) -> float:
        """Return the next limit: one between two that enclose the tolerance, otherwise the last one, corrected.

        Parameters
        ----------
        tried : sequence of (float, float)
            Limits, and the use of the tolerance by their plans.
        tolerance : Tolerance
            Bound on the outputs.
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

    def _shrinking(self, bound: float) -> Iterator[dict[str, Floats64]]:
        """Yield ranges of the weights for a bound on the change of the outputs, the trust region halved each time."""
        curvatures = self.layer_compressor.curvatures
        flat = np.concatenate([each.ravel() for each in curvatures])
        ends = np.cumsum([each.size for each in curvatures])[:-1]
        units = self.analysis.units
        largest = max(float(np.abs(unit.weights).max()) for unit in units)
        for halvings in range(_MOST_HALVINGS):
            # the mean square of a uniform variable in [-1, 1] is a third
            ranges = np.split(second_order_tolerances(flat, 3 * bound, largest / 2**halvings), ends)
            yield {unit.name: each.reshape(unit.weights.shape) for unit, each in zip(units, ranges, strict=True)}

    def _moved(self, ranges: Mapping[str, Floats], draw: np.random.Generator) -> torch.nn.Module:
        moved = copy.deepcopy(self.module)
        with torch.no_grad():
            for unit in self._units_of(moved):
                steps = draw.uniform(-1, 1, ranges[unit.name].shape) * ranges[unit.name]
                unit.weight.add_(torch.from_numpy(unit.in_shape(steps.astype(np.float32))))
        return moved


def make_planner(
    module: torch.nn.Module,
    pool: AnyInputs,
    labels: Numbers | None = None,
    *,
    kind: Bound = "divergence",
    weights: Floats | None = None,
    analysed: Sequence[int] | None = None,
    cost: Cost | None = None,
    densities: Sequence[float] = DENSITIES,
    weight_bits: Sequence[int] = WEIGHT_BITS,
    index_bits: Sequence[int] = (4,),
    seed: int = 0,
    leave: Sequence[str] = (),
    products: Products | None = None,
    network: Network | None = None,
    reader: OutputReader | None = None,
) -> Planner:
    """Analyse a network, try all choices on each layer alone, and return the planner.

    Parameters
    ----------
    module : torch.nn.Module
        The trained network; it is left as it is.
    pool : array [inputs, ...], tuple or Mapping of arrays, path, or Inputs
        Inputs that plans are measured on, as `traces.Inputs.of` takes them.
    labels : int [inputs] or [inputs, positions], or None
        Right class of each input of the pool, or of its positions: the place of its output.
    kind : str
        Name of the bounds that plans keep: relative_error, cosine, or divergence, which includes accuracy_drop.
    weights : float [inputs] or None
        Weight of each input of the pool in a mean over it, if it was not drawn evenly (`choose_inputs`); 1 each by
        default.
    analysed : sequence of int or None
        Places in the pool of the inputs that are analysed; the first 256 by default.
    cost : Cost or None
        Costs of a compressed layer on an array: latency_us, energy_nj, sram_bytes_per_pe, or some of them.
    densities, weight_bits : sequence of float, sequence of int
        Choices for each layer.
    index_bits : sequence of int
        Bits of a gap on the array, to choose from; without a cost function, only the first is used.
    seed : int
        Seed of all random draws.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them.
    products : Mapping[str, str or (str, Arrangement)] or None
        Further parameters that are multiplied with activations (`compress.modules.weight_units`).
    network : Network or None
        Graph of the module with its normalisation folded, which compressed models are to carry.
    reader : OutputReader or None
        Reader of the outputs, if those on a larger pool that includes this one were checked.

    Returns
    -------
    Planner
        The analysed network.

    Raises
    ------
    InputError
        If a bound of this kind has no meaning for the outputs, or the inputs, labels or weights do not fit. The check
        comes before the analysis.
    """
    pool = Inputs.of(pool)
    if labels is not None:
        labels = check_labels("labels", labels, len(pool), positions=None)
    module = _folded(module)
    counts = np.ones(len(pool)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counts.shape != (len(pool),) or not (counts >= 0).all():
        raise InputError(f"weights must be [{len(pool)}] and not negative; found {list(counts.shape)}")
    module = _laid_out(module, pool)
    units, left_alone = _units(module, leave, products)
    if reader is None:
        reader, outputs = read_outputs(module, pool, kind)
    else:
        outputs = reader.run(module, pool)
    labels = None if labels is None else check_labels_of(labels, len(pool), outputs, reader.kind)
    seen = pool[np.arange(min(256, len(pool))) if analysed is None else np.asarray(analysed)]
    compressor = LayerCompressor.of(analyse(module, seen, seed, reader=reader, leave=leave, products=products))
    samples = [ScoreSample.of(each, labels, counts, seed) for each in outputs.values()] if reader.scores else []
    settings = [(density, bits) for density in densities for bits in weight_bits]
    candidates = []
    with progress_bar("trying choices", len(units)) as advance:
        for number in range(len(units)):
            candidates.append(_candidates(compressor, number, settings, cost, index_bits))
            advance()
    first = [of_layer[0].choice for of_layer in candidates]
    whole = _compressed(_folded(module), compressor, first, leave, products, network)
    other_bytes = whole.size_bytes - sum(of_layer[0].costs["file_bytes"] for of_layer in candidates)
    history = PlanningHistory(Calibration(len(units)), {})
    return Planner(
        module,
        units,
        left_alone,
        pool,
        counts,
        reader,
        outputs,
        labels,
        seen,
        compressor,
        samples,
        candidates,
        other_bytes,
        history,
        tuple(leave),
        products,
        network,
    )


def _folded(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode whose weights are plain parameters and whose normalisation is folded."""
    check_parameters(module)
    folded = plain_module(module).eval()
    fold_normalisation(folded)
    return folded


def _laid_out(module: torch.nn.Module, pool: Inputs) -> torch.nn.Module:
    """Return the module with the channels of its images last, which convolves faster, if it runs like that."""
    axes = {values.dim() for values in (*module.parameters(), *module.buffers())}
    if 4 not in axes or max(axes) > 4 or not len(pool):
        return module
    faster: torch.nn.Module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        run_outputs(faster, pool[:1])
    except InputError:  # it views images as vectors
        return module
    return faster


def _units(
    module: torch.nn.Module, leave: Sequence[str], products: Products | None
) -> tuple[list[WeightUnit], dict[str, str]]:
    """Return the weights to compress, without their biases, and the reason why each other parameter is left alone."""
    units, left_alone = weight_units(module, leave=leave, products=products)
    return [free_bias(unit, left_alone) for unit in units], left_alone


def _compressed(
    module: torch.nn.Module,
    compressor: LayerCompressor,
    choices: Sequence[Choice],
    leave: Sequence[str],
    products: Products | None,
    network: Network | None,
) -> CompressedModel:
    """Return the model of a module whose normalisation is folded, with one choice for each layer."""
    units, left_alone = _units(module, leave, products)
    layers = [compressor.compress(number, choice) for number, choice in enumerate(choices)]
    model = assemble(module, units, left_alone, layers, _TENSOR_BITS)
    return model if network is None else with_graph(model, network)


def _candidates(
    compressor: LayerCompressor,
    number: int,
    settings: Sequence[tuple[float, int]],
    cost: Cost | None,
    index_bits: Sequence[int],
) -> list[Candidate]:
    """Return the choices for one layer that no other choice dominates in effect and costs."""
    unit = compressor.analysis.units[number]
    candidates: list[Candidate] = []
    at_once = max(1, _WEIGHTS_AT_ONCE // unit.weights.size)
    for begin in range(0, len(settings), at_once):
        part = settings[begin : begin + at_once]
        layers = [compressor.compress(number, Choice(*setting)) for setting in part]
        changes = np.square(unit.effects(np.stack([layer.weights() for layer in layers]))).mean(axis=1)
        for setting, layer, change in zip(part, layers, changes, strict=True):
            in_file = {"file_bytes": layer_file_bytes(layer)}
            for gap_bits in index_bits if cost is not None else index_bits[:1]:
                costs = in_file | (dict(cost(layer, gap_bits)) if cost is not None else {})
                candidates.append(Candidate(Choice(*setting, gap_bits), float(change), costs))
    table = np.array([[candidate.change, *candidate.costs.values()] for candidate in candidates])
    return [candidate for candidate, optimal in zip(candidates, non_dominated(table), strict=True) if optimal]


def _judged(plan: Plan) -> Plan:
    """Return the plan with its verdict: feasible, binding and nearest."""
    over = {} if plan.used <= plan.tolerance.bound else {"tolerance": plan.used}
    over |= {name: plan.costs[name] for name, bound in plan.budget.bounds.items() if plan.costs[name] > bound}
    tight = [name for name, bound in plan.budget.bounds.items() if plan.costs[name] > 0.97 * bound]
    return dataclasses.replace(
        plan,
        feasible=not over,
        binding=tuple(over) if over else (*tight, "tolerance"),
        nearest={name: value for name, value in over.items() if name != "tolerance"},
    )
