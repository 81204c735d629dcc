"""Plans as data: a tolerance, a budget, one choice for each layer, and what was predicted and measured."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np

from compress.output_changes import answers, cosine_distances, divergences, mean_of_positions, relative_errors
from traces import InputError
from traces.arrays import Floats, Floats64, Numbers
from traces.files.atomic_file import write_atomically

Bound = Literal["accuracy_drop", "divergence", "relative_error", "cosine"]
BOUNDS: tuple[Bound, ...] = get_args(Bound)
Outputs = Floats | Mapping[str, Floats]  # of a network; by name if there are several


@dataclass(frozen=True)
class Budget:
    """Upper bounds on what a plan costs on a target; None means no bound.

    Attributes
    ----------
    file_bytes : float or None
        Most bytes of the whole container.
    sram_bytes_per_pe : float or None
        Most bytes of a layer's entries in the fullest PE; every layer must fit.
    num_pes : int or None
        PEs of the array that sram_bytes_per_pe refers to.
    latency_us : float or None
        Longest time of all layers together, per input.
    energy_nj : float or None
        Most energy of all layers together, per input.

    Raises
    ------
    InputError
        If a bound is not positive, or `sram_bytes_per_pe` is given without `num_pes`.
    """

    file_bytes: float | None = None
    sram_bytes_per_pe: float | None = None
    num_pes: int | None = None
    latency_us: float | None = None
    energy_nj: float | None = None

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
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "num_pes"}
        return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Tolerance:
    """Upper bound on how much worse a network's outputs may become; exactly one of the bounds is given.

    A measure of outputs for several positions (tokens, pixels) is the mean over them; a measure of several outputs is
    the mean over the outputs. The classes of outputs with four axes or more are along axis 1, otherwise along the last.

    Attributes
    ----------
    accuracy_drop : float or None
        With labels: how much the share of right answers may fall. Without labels: the share of answers that may
        change, which is never less.
    divergence : float or None
        Mean Kullback-Leibler divergence of the softmax outputs from the original's, in nats.
    relative_error : float or None
        Mean length (L2 norm) of the outputs' change, relative to the length of the original's outputs.
    cosine : float or None
        Mean of 1 - cosine of the angle between the outputs and the original's, for embeddings.
    confidence : float
        Probability that the bound holds for all inputs like the pool's; 0.5 to below 1.

    Raises
    ------
    InputError
        Unless exactly one bound is given and positive, and the confidence is in its range.
    """

    accuracy_drop: float | None = None
    divergence: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    confidence: float = 0.5

    def __post_init__(self) -> None:
        given = {kind: getattr(self, kind) for kind in BOUNDS if getattr(self, kind) is not None}
        if len(given) != 1 or not next(iter(given.values())) > 0:
            found = " and ".join(f"{kind}={bound}" for kind, bound in given.items())
            raise InputError(
                f"a tolerance needs exactly one positive bound, {', '.join(BOUNDS[:-1])} or {BOUNDS[-1]}; found "
                f"{found or 'none'}"
            )
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"a tolerance's confidence must be 0.5 to below 1; found {self.confidence}")

    @property
    def kind(self) -> Bound:
        """Name of the bound that is given."""
        return next(kind for kind in BOUNDS if getattr(self, kind) is not None)

    @property
    def bound(self) -> float:
        """The bound that is given."""
        return float(getattr(self, self.kind))

    def used_by_input(self, original: Outputs, changed: Outputs, labels: Numbers | None) -> Floats64:
        """Return how much of the tolerance each input uses, [inputs].

        Parameters
        ----------
        original, changed : float [inputs, ...], or Mapping[str, array]
            Outputs of the original network and of the changed one; by name if there are several.
        labels : int [inputs] or [inputs, positions], or None
            Places of the right outputs.
        """
        pairs = zip(_arrays(original), _arrays(changed), strict=True)
        used = [self._used(before, after, labels) for before, after in pairs]
        return used[0] if len(used) == 1 else np.mean(used, axis=0)

    def measure(self, original: Outputs, changed: Outputs, labels: Numbers | None) -> float:
        """Return the mean of `used_by_input`, which is compared with the bound."""
        return float(self.used_by_input(original, changed, labels).mean())

    def check_reach(self, original: Outputs, labels: Numbers | None, counts: Floats | None = None) -> None:
        """Raise InputError if nothing could break the bound.

        A network cannot lose more than its right answers. Outputs that are almost the same for all inputs have a small
        relative error and angle to their mean, so that those bounds do not see what depends on the input.

        Parameters
        ----------
        original : float [inputs, ...], or Mapping[str, array]
            Outputs of the original network.
        labels : int [inputs] or [inputs, positions], or None
            Places of the right outputs; without them a bound on the accuracy drop can always be broken.
        counts : float [inputs] or None
            Weight of each input in a mean; 1 each by default.
        """
        outputs = _arrays(original)
        counts = np.ones(len(outputs[0])) if counts is None else counts
        if self.accuracy_drop is not None and labels is not None:
            right = [mean_of_positions(answers(each) == labels) for each in outputs]
            most = float(np.mean(right * counts))
            if most <= self.accuracy_drop:
                raise InputError(
                    f"accuracy_drop must be below the share of answers that are right, or nothing can break it; found "
                    f"{self.accuracy_drop:g}, and {most:.3g} of the network's answers are as labelled; check that "
                    f"labels have the order of the inputs and number the network's outputs from 0, or give a smaller "
                    f"accuracy_drop"
                )
        with_positions = self.accuracy_drop is not None and max(each.ndim for each in outputs) > 2
        if len(counts) > 1 and (with_positions or self.kind in ("relative_error", "cosine")):
            means = [np.broadcast_to(each.mean(axis=0), each.shape) for each in outputs]
            used = [self._used(before, mean, labels) for before, mean in zip(outputs, means, strict=True)]
            least = float(np.mean(used * counts))
            if least <= self.bound:
                raise InputError(
                    f"{self.kind} must be below that of a network that gives the same outputs for all inputs, or "
                    f"nothing can break it; found {self.bound:g}, and {least:.3g} for the mean of the outputs over the "
                    f"inputs; give a smaller {self.kind}, or leave out of the outputs what is the same for all inputs"
                )

    def standard_error(self, used_by_input: Floats) -> float:
        """Return the standard error of the mean of `used_by_input`.

        One more input of the worst kind is assumed, so that the error is never 0.
        """
        worst = 1.0 if self.accuracy_drop is not None else max(float(used_by_input.max()), self.bound)
        count = len(used_by_input)
        return math.sqrt((used_by_input.var() + worst**2 / count) / count)

    def _used(self, original: Floats, changed: Floats, labels: Numbers | None) -> Floats64:
        """Return how much of the tolerance each input uses by one output."""
        if self.divergence is not None:
            return divergences(original, changed)
        if self.relative_error is not None:
            return relative_errors(original, changed)
        if self.cosine is not None:
            return cosine_distances(original, changed)
        before, after = answers(original), answers(changed)
        if labels is None:
            return mean_of_positions(before != after)
        return mean_of_positions(before == labels) - mean_of_positions(after == labels)


@dataclass(frozen=True)
class Choice:
    """Compression that a plan chooses for one layer.

    Attributes
    ----------
    density : float
        Share of weights kept.
    weight_bits : int
        Bits of a code.
    index_bits : int
        Bits of a gap on the array (`LayerSettings.index_bits` is that of the file).
    """

    density: float
    weight_bits: int
    index_bits: int = 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """One possible choice for a layer, its effect on the outputs and its costs.

    Attributes
    ----------
    choice : Choice
        How the layer is compressed.
    change : float
        Expected squared change of the outputs if this layer alone is compressed.
    costs : Mapping[str, float]
        file_bytes, and the values of the cost function.
    """

    choice: Choice
    change: float
    costs: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """One choice for each layer, and what was predicted and measured of them together.

    A plan is data and can be saved. `compress.plan` returns one that can also be applied;
    `Planner.compress` applies a plan that was loaded.

    Attributes
    ----------
    layers : Mapping[str, Candidate]
        The chosen candidate of each layer, by name.
    tolerance : Tolerance
        Bound on the outputs.
    budget : Budget
        Bounds on the costs.
    predicted_change : float
        Expected squared change of the outputs, summed over the layers.
    predicted : float
        Predicted use of the tolerance.
    costs : Mapping[str, float]
        file_bytes, and the values of the cost function, for all layers together.
    measured : float or None
        Use of the tolerance as measured on the pool; None if the network was not run.
    standard_error : float or None
        Standard error of `measured`.
    feasible : bool
        True if the plan keeps the tolerance and the budget.
    binding : tuple of str
        Bounds that keep the plan from being smaller; of a plan that is not feasible, the bounds that it breaks.
    nearest : Mapping[str, float]
        For each broken bound of the budget, the nearest value that is reachable within the tolerance.
    measurements : float
        Runs of the network over the pool that the search took; runs over a part count as that part.
    inputs : tuple of int
        Places in the pool of the inputs that a committee chose; empty if the whole pool was used.
    logarithms : tuple of str
        Names of outputs that are probabilities; their logarithms were compared, which are class scores.
    """

    layers: Mapping[str, Candidate]
    tolerance: Tolerance
    budget: Budget
    predicted_change: float
    predicted: float
    costs: Mapping[str, float]
    measured: float | None = None
    standard_error: float | None = None
    feasible: bool = False
    binding: tuple[str, ...] = ()
    nearest: Mapping[str, float] = field(default_factory=dict)
    measurements: float = 0.0
    inputs: tuple[int, ...] = ()
    logarithms: tuple[str, ...] = ()

    @property
    def choices(self) -> dict[str, Choice]:
        """The choice for each layer, by name."""
        return {name: candidate.choice for name, candidate in self.layers.items()}

    @property
    def used(self) -> float:
        """Use of the tolerance at the confidence asked for; the predicted use if nothing was measured."""
        if self.measured is None or self.standard_error is None:
            return self.predicted
        return self.measured + NormalDist().inv_cdf(self.tolerance.confidence) * self.standard_error

    @property
    def confidence(self) -> float | None:
        """Confidence level at which the bound holds for inputs like the pool's; None if nothing was measured."""
        if self.measured is None or self.standard_error is None:
            return None
        return NormalDist(self.measured, self.standard_error).cdf(self.tolerance.bound)

    @property
    def excess(self) -> float:
        """Largest relative violation of any bound; <= 0 if the plan is feasible."""
        shares = [self.used / self.tolerance.bound]
        shares += [self.costs[name] / bound for name, bound in self.budget.bounds.items()]
        return max(shares) - 1

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of a table: layer, density, weight_bits, index_bits, change, and the layer's costs by name."""
        return [
            {"layer": name, **dataclasses.asdict(candidate.choice), "change": candidate.change, **candidate.costs}
            for name, candidate in self.layers.items()
        ]

    def to_json(self) -> str:
        """Return the plan as JSON text."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in dataclasses.fields(Plan)}
        values["layers"] = {name: dataclasses.asdict(candidate) for name, candidate in self.layers.items()}
        values |= {name: dataclasses.asdict(getattr(self, name)) for name in ("tolerance", "budget")}
        for name in ("relative_error", "cosine"):
            if values["tolerance"][name] is None:
                del values["tolerance"][name]
        if not self.logarithms:
            del values["logarithms"]
        return json.dumps(values, indent=1)

    @staticmethod
    def from_json(content: str) -> Plan:
        """Return the plan that `to_json` wrote. Raises InputError for any other text."""
        try:
            values = json.loads(content)
            values["layers"] = {
                name: Candidate(**{**candidate, "choice": Choice(**candidate["choice"])})
                for name, candidate in values["layers"].items()
            }
            values["tolerance"], values["budget"] = Tolerance(**values["tolerance"]), Budget(**values["budget"])
            values["logarithms"] = values.get("logarithms", ())
            values |= {name: tuple(values[name]) for name in ("binding", "inputs", "logarithms")}
            return Plan(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"a plan must be JSON as Plan.to_json writes it: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_json().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Plan:
        """Return the plan that `save` wrote. Raises InputError if the file is missing or holds no plan."""
        try:
            return Plan.from_json(Path(path).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _arrays(outputs: Outputs) -> list[Floats]:
    return [outputs] if isinstance(outputs, np.ndarray) else list(outputs.values())
