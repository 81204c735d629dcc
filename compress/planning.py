"""A plan: how far to compress each layer so that the outputs stay within a tolerance and the costs within a budget.

Every choice of density and bits is tried once on each layer alone, against the cached analysis (`compress.analysis`):
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
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compress.analysis import Analysis, analyse
from compress.compensation import error_spread, pruned_weights, shared_weights
from compress.container import CompressedModel
from compress.deep_compression import assemble, free_bias
from compress.knapsack import choose, choose_nearest
from compress.layer_coding import CodingChoice, encode_matrix
from compress.modules import weight_units
from compress.normalisation import fold_normalisation
from compress.pruning import magnitude_mask
from traces import CompressedLayer, InputError
from traces.atomic_file import write_atomically
from traces.progress import progress_bar

Floats = npt.NDArray[Any]
Cost = Callable[[CompressedLayer, int], Mapping[str, float]]

DENSITIES = (1.0, 0.8, 0.65, 0.52, 0.42, 0.34, 0.27, 0.2, 0.15, 0.1, 0.06, 0.03)
WEIGHT_BITS = (2, 3, 4, 5, 6)
_NOISES = 16
_MOST_MEASUREMENTS = 6
_CLOSE_ENOUGH = 0.93  # of the tolerance used up


@dataclass(frozen=True)
class Budget:
    """What a plan may cost on a target; None: anything.

    file_bytes         of the whole container
    sram_bytes_per_pe  of each layer's entries in the fullest PE; every layer must fit
    num_pes            of the array, where `sram_bytes_per_pe` is to be met
    latency_us         of all layers together
    energy_uj          of all layers together

    Raises InputError if a bound is not positive, or `sram_bytes_per_pe` is given without `num_pes`.
    """

    file_bytes: float | None = None
    sram_bytes_per_pe: float | None = None
    num_pes: int | None = None
    latency_us: float | None = None
    energy_uj: float | None = None

    def __post_init__(self) -> None:
        for name, bound in self.bounds.items():
            if not bound > 0:
                raise InputError(f"a budget's {name} must be positive; found {bound}")
        if self.num_pes is not None and self.num_pes < 1:
            raise InputError(f"a budget's num_pes must be at least 1; found {self.num_pes}")
        if self.sram_bytes_per_pe is not None and self.num_pes is None:
            raise InputError("sram_bytes_per_pe is a bound for each PE; give num_pes, too")

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are given, by name."""
        found = {name: value for name, value in dataclasses.asdict(self).items() if name != "num_pes"}
        return {name: float(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Tolerance:
    """How much worse a plan's outputs may be, on the pool; one of the two.

    accuracy_drop  with labels, how much the share of right answers may fall; without, what share of the answers may
                   change, which is never less
    divergence     mean Kullback-Leibler divergence, in nats, of softmax outputs from the original's

    Raises InputError unless exactly one is given, and positive.
    """

    accuracy_drop: float | None = None
    divergence: float | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.accuracy_drop, self.divergence) if each is not None]
        if len(given) != 1 or not given[0] > 0:
            raise InputError(
                f"a tolerance is one positive bound, accuracy_drop or divergence; found {self.accuracy_drop} and "
                f"{self.divergence}"
            )

    @property
    def bound(self) -> float:
        return self.accuracy_drop if self.accuracy_drop is not None else float(self.divergence or 0)

    def measure(self, original: Floats, changed: Floats, labels: npt.NDArray[Any] | None) -> float:
        """What of the tolerance is used up by outputs [inputs, classes] that were `original`."""
        if self.divergence is not None:
            before, after = log_softmax(original), log_softmax(changed)
            return float((np.exp(before) * (before - after)).sum(axis=-1).mean())
        answers = changed.argmax(axis=-1)
        if labels is None:
            return float((answers != original.argmax(axis=-1)).mean())
        return float((original.argmax(axis=-1) == labels).mean() - (answers == labels).mean())


@dataclass(frozen=True)
class Choice:
    """How one layer is compressed: share of weights kept, bits of a shared weight, bits of a gap on the array."""

    density: float
    weight_bits: int
    index_bits: int = 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """A choice for one layer, what it does to the outputs and what it costs.

    change   expected squared change of the outputs, were this layer alone compressed
    costs    file_bytes, and what the cost function says
    """

    choice: Choice
    change: float
    costs: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """One choice for each layer, by name, and what was predicted and measured of it.

    predicted_change  sum of the layers' expected squared changes of the outputs
    predicted         what of the tolerance that uses up; `measured`, on the pool; `confidence`, its standard error
    costs             file_bytes, and what the cost function says, all layers together
    feasible          whether it keeps tolerance and budget
    binding           what keeps it from being smaller, or, if it is not feasible, what it does not keep
    nearest           for each bound of the budget that is not kept: what is reachable within the tolerance
    measurements      how often the network was run over the pool to find this plan
    """

    choices: Mapping[str, Choice]
    tolerance: Tolerance
    budget: Budget
    predicted_change: float
    predicted: float
    costs: Mapping[str, float]
    measured: float | None = None
    confidence: float | None = None
    feasible: bool = False
    binding: tuple[str, ...] = ()
    nearest: Mapping[str, float] = field(default_factory=dict)
    measurements: int = 0
    planner: Planner | None = field(default=None, repr=False)

    @property
    def excess(self) -> float:
        """By what share the bound that is kept least is exceeded; 0 or less if all are kept."""
        used = [(self.predicted if self.measured is None else self.measured) / self.tolerance.bound]
        used += [self.costs[name] / bound for name, bound in self.budget.bounds.items()]
        return max(used) - 1

    def apply(self, module: torch.nn.Module, planner: Planner | None = None) -> CompressedModel:
        """The module compressed as planned; `module` itself is left as it is.

        Give the planner of the same network to a plan that was loaded from a file.
        """
        planner = planner or self.planner
        if planner is None:
            raise InputError("a plan from a file is applied with the planner of its network; give planner=Planner(...)")
        return planner.apply(module, self.choices)

    def to_json(self) -> str:
        """The plan without its planner."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "planner"}
        values["choices"] = {name: dataclasses.asdict(choice) for name, choice in self.choices.items()}
        values |= {name: dataclasses.asdict(getattr(self, name)) for name in ("tolerance", "budget")}
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, content: str) -> Plan:
        """A plan that `to_json` wrote. Raises InputError if it is none."""
        try:
            values = json.loads(content)
            values["choices"] = {name: Choice(**choice) for name, choice in values["choices"].items()}
            values["tolerance"], values["budget"] = Tolerance(**values["tolerance"]), Budget(**values["budget"])
            values["binding"] = tuple(values["binding"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"this is no plan as Plan.to_json writes it: {error}") from None

    def save(self, path: Path) -> None:
        """Write `to_json` to a file."""
        write_atomically(path, self.to_json().encode())


class Planner:
    """Makes plans for one network: whatever does not depend on tolerance and budget is computed once.

    module      the trained network; it is left as it is
    pool        inputs [inputs, ...] that plans are measured on
    labels      of the pool, if there are any
    analysed    which of the pool's inputs are analysed; the first 256, if nothing is said
    cost        what a compressed layer costs on the array with gaps of so many bits: latency_us, energy_uj,
                sram_bytes_per_pe, or a part of them
    index_bits  gaps on the array to choose from; without a cost function there is nothing to choose
    """

    def __init__(
        self,
        module: torch.nn.Module,
        pool: Floats,
        labels: npt.NDArray[Any] | None = None,
        *,
        analysed: Sequence[int] | None = None,
        cost: Cost | None = None,
        densities: Sequence[float] = DENSITIES,
        weight_bits: Sequence[int] = WEIGHT_BITS,
        index_bits: Sequence[int] = (4,),
        seed: int = 0,
    ) -> None:
        if labels is not None and len(labels) != len(pool):
            raise InputError(f"there must be a label for each input of the pool; found {len(labels)} for {len(pool)}")
        self.module = copy.deepcopy(module).eval()
        fold_normalisation(self.module)
        self.pool, self.labels = pool, labels
        self.units, self.left_alone = weight_units(self.module)
        self.units = [free_bias(unit, self.left_alone) for unit in self.units]
        chosen = np.arange(min(256, len(pool))) if analysed is None else np.asarray(analysed)
        self.analysis: Analysis = analyse(self.module, pool[chosen], seed)
        self.outputs = run_batches(self.module, pool)
        self._noise = np.random.default_rng(seed).standard_normal((_NOISES, *self.outputs.shape)).astype(np.float32)
        self._spreads = [
            None if unit.moment is None else error_spread(unit.moment, unit.positions) for unit in self.analysis.units
        ]
        self._curvatures = [unit.curvatures for unit in self.analysis.units]
        self._pruned: dict[tuple[int, float], npt.NDArray[np.float64]] = {}
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

        Nothing is run but plans, over the pool, at most six: the first is what the analysis alone predicts; each
        measurement corrects the prediction for the next. Raises InputError if the budget bounds what neither the
        file nor the cost function knows.
        """
        budget = budget or Budget()
        unknown = sorted(set(budget.bounds) - set(self.candidates[0][0].costs))
        if unknown:
            raise InputError(f"the budget bounds {', '.join(unknown)}, which the cost function does not give")
        tried: list[Plan] = []
        correction = 1.0  # what the change of the outputs is to the sum of the layers' predicted changes
        for _ in range(_MOST_MEASUREMENTS):
            plan = self.predict(tolerance, budget, correction)
            if any(each.choices == plan.choices for each in tried):
                break
            model = self.apply(self.module, plan.choices)
            plan = dataclasses.replace(plan, costs={**plan.costs, "file_bytes": float(model.size_bytes)})
            changed = run_batches(self.changed(model), self.pool)
            measured = tolerance.measure(self.outputs, changed, self.labels)
            tried.append(self._judged(plan, measured))
            if _CLOSE_ENOUGH * tolerance.bound <= measured <= tolerance.bound:
                break
            actual = self.change_of(tolerance, measured)
            correction = float(np.clip(actual / plan.predicted_change, correction / 8, correction * 8))
        kept = [each for each in tried if each.feasible]
        best = (
            min(kept, key=lambda each: each.costs["file_bytes"]) if kept else min(tried, key=lambda each: each.excess)
        )
        return dataclasses.replace(best, measurements=len(tried))

    def predict(self, tolerance: Tolerance, budget: Budget | None = None, correction: float = 1.0) -> Plan:
        """The plan that `plan` begins with: from the analysis alone, nothing is run."""
        budget = budget or Budget()
        limit = self.change_of(tolerance, tolerance.bound) / correction
        changes = [np.array([each.change for each in of_layer]) for of_layer in self.candidates]
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
        total_change = sum(each.change for each in chosen)
        sums = {
            name: max(each.costs[name] for each in chosen)
            if name == "sram_bytes_per_pe"
            else sum(each.costs[name] for each in chosen)
            for name in costs
        }
        sums["file_bytes"] += self._other_bytes
        return Plan(
            {unit.name: each.choice for unit, each in zip(self.units, chosen, strict=True)},
            tolerance,
            budget,
            predicted_change=total_change,
            predicted=self._expected(tolerance, total_change * correction),
            costs=sums,
            planner=self,
        )

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
        for density, weight_bits in settings:
            layer = self._layer(number, Choice(density, weight_bits))
            effects = unit.effects(layer.weights())
            size = len(encode_matrix(layer.codes, weight_bits, CodingChoice()).content) + 2 * len(layer.codebook)
            for gap_bits in index_bits if cost is not None else index_bits[:1]:
                costs = {"file_bytes": float(size), **(cost(layer, gap_bits) if cost is not None else {})}
                choice = Choice(density, weight_bits, gap_bits)
                found.append(Candidate(choice, float(np.square(effects).mean()), costs))
        table = np.array([[each.change, *each.costs.values()] for each in found])
        beaten = [bool(((table <= row).all(axis=1) & (table < row).any(axis=1)).any()) for row in table]
        return [each for each, out in zip(found, beaten, strict=True) if not out]

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
        return changed.eval()

    def _expected(self, tolerance: Tolerance, change: float) -> float:
        """What of the tolerance is used up if the outputs change at random by this expected squared change."""
        degrees = max(1, self.outputs.shape[-1] - 1)
        noise = self._noise * math.sqrt(change / degrees)
        return float(np.mean([tolerance.measure(self.outputs, self.outputs + each, self.labels) for each in noise]))

    def change_of(self, tolerance: Tolerance, used_up: float) -> float:
        """The expected squared change of the outputs that uses up so much of the tolerance."""
        low, high = 1e-9, 1e9
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._expected(tolerance, middle) < used_up else (low, middle)
        return low

    def _judged(self, plan: Plan, measured: float) -> Plan:
        over = {} if measured <= plan.tolerance.bound else {"tolerance": measured}
        over |= {name: plan.costs[name] for name, bound in plan.budget.bounds.items() if plan.costs[name] > bound}
        tight = [name for name, bound in plan.budget.bounds.items() if plan.costs[name] > 0.97 * bound]
        share = abs(measured) * (1 - abs(measured))
        return dataclasses.replace(
            plan,
            feasible=not over,
            binding=tuple(over) if over else (*tight, "tolerance"),
            nearest={name: value for name, value in over.items() if name != "tolerance"},
            measured=measured,
            confidence=None if plan.tolerance.divergence is not None else math.sqrt(share / len(self.pool)),
        )


def run_batches(module: torch.nn.Module, inputs: Floats, batch: int = 250) -> npt.NDArray[np.float32]:
    """Outputs [inputs, ...] of a module, without gradients."""
    with torch.no_grad():
        parts = [module(torch.as_tensor(inputs[at : at + batch])).numpy() for at in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def log_softmax(outputs: Floats) -> npt.NDArray[np.float64]:
    """Logarithms of softmax over the last axis."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
