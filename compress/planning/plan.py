"""What a plan is: a tolerance, a budget, one choice for each layer, and what was predicted and measured of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces import InputError
from traces.files.atomic_file import write_atomically

if TYPE_CHECKING:
    import torch

    from compress.container.model import CompressedModel
    from compress.planning.planner import Planner

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Budget:
    """What a plan may cost on a target; None: anything.

    Raises InputError if a bound is not positive, or `sram_bytes_per_pe` is given without `num_pes`.
    """

    file_bytes: float | None = None
    """most bytes of the whole container"""
    sram_bytes_per_pe: float | None = None
    """most bytes of each layer's entries in the fullest PE; every layer must fit"""
    num_pes: int | None = None
    """PEs of the array on which sram_bytes_per_pe is to be met"""
    latency_us: float | None = None
    """most time of all layers together, for one input"""
    energy_uj: float | None = None
    """most energy of all layers together, for one input"""

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
    """How much worse a network's outputs may become; one of the two.

    accuracy_drop  with labels, how much the share of right answers may fall; without, what share of the answers may
                   change, which is never less
    divergence     mean Kullback-Leibler divergence, in nats, of softmax outputs from the original's
    confidence     probability with which the bound is to hold for all inputs like the pool's, 0.5 to below 1

    Raises InputError unless exactly one bound is given, and positive, or the confidence is no such probability.
    """

    accuracy_drop: float | None = None
    divergence: float | None = None
    confidence: float = 0.5

    def __post_init__(self) -> None:
        given = [each for each in (self.accuracy_drop, self.divergence) if each is not None]
        if len(given) != 1 or not given[0] > 0:
            raise InputError(
                f"a tolerance is one positive bound, accuracy_drop or divergence; found {self.accuracy_drop} and "
                f"{self.divergence}"
            )
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"a tolerance's confidence must be 0.5 to below 1; found {self.confidence}")

    @property
    def bound(self) -> float:
        return self.accuracy_drop if self.accuracy_drop is not None else float(self.divergence or 0)

    def used_by_input(
        self, original: Floats, changed: Floats, labels: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.float64]:
        """What of the tolerance each input uses up, [inputs], by outputs [inputs, classes] that were `original`."""
        if self.divergence is not None:
            before, after = log_softmax(original), log_softmax(changed)
            found: npt.NDArray[np.float64] = (np.exp(before) * (before - after)).sum(axis=-1)
            return found
        answers, answered = changed.argmax(axis=-1), original.argmax(axis=-1)
        if labels is None:
            return np.asarray(answers != answered, dtype=np.float64)
        return np.asarray(answered == labels, dtype=np.float64) - np.asarray(answers == labels, dtype=np.float64)

    def measure(self, original: Floats, changed: Floats, labels: npt.NDArray[Any] | None) -> float:
        """The mean of `used_by_input`: what is compared with the bound."""
        return float(self.used_by_input(original, changed, labels).mean())

    def check_reach(self, original: Floats, labels: npt.NDArray[Any] | None, counts: Floats | None = None) -> None:
        """Raise InputError if nothing could break the bound: a network loses no more than all its right answers.

        original   outputs [inputs, classes]
        labels     whole numbers [inputs]; None: any answer may change, and the bound is broken at some point
        counts     what each input counts in a mean; None: 1
        """
        if self.accuracy_drop is None or labels is None:
            return
        right = original.argmax(axis=-1) == labels
        most = float((right if counts is None else right * counts).mean())
        if most <= self.accuracy_drop:
            raise InputError(
                f"accuracy_drop must be below the share of answers that are right, or nothing can break it; found "
                f"{self.accuracy_drop:g}, and {most:.3g} of the network's answers are as labelled; check that labels "
                f"have the order of the inputs and number the network's outputs from 0, or give a smaller accuracy_drop"
            )

    def standard_error(self, used_by_input: Floats) -> float:
        """Of the mean of what inputs use up, as if one more input of the worst kind had been seen: 0 is never sure."""
        worst = 1.0 if self.divergence is None else max(float(used_by_input.max()), self.bound)
        count = len(used_by_input)
        return math.sqrt((used_by_input.var() + worst**2 / count) / count)


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

    predicted_change  expected squared change of the outputs, the layers' added up
    predicted         what of the tolerance that uses up
    costs             file_bytes, and what the cost function says, all layers together
    measured          what of the tolerance is used up on the pool, and its standard error; None: from the analysis
                      alone, nothing was run
    feasible          whether it keeps tolerance and budget
    binding           what keeps it from being smaller, or, if it is not feasible, what it does not keep
    nearest           for each bound of the budget that is not kept: what is reachable within the tolerance
    measurements      how often the network was run over the pool to find this plan, runs over a part counted as such
    inputs            places in the pool of those that a committee chose to stand for it; empty: the whole pool does
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
    planner: Planner | None = field(default=None, repr=False)

    @property
    def choices(self) -> dict[str, Choice]:
        """The choice for each layer, by name."""
        return {name: candidate.choice for name, candidate in self.layers.items()}

    @property
    def used(self) -> float:
        """What of the tolerance is used up: as measured, with the confidence that is asked for, else as predicted."""
        if self.measured is None or self.standard_error is None:
            return self.predicted
        return self.measured + NormalDist().inv_cdf(self.tolerance.confidence) * self.standard_error

    @property
    def confidence(self) -> float | None:
        """Probability that the mean over all inputs like the pool's is within the tolerance; None if none were run."""
        if self.measured is None or self.standard_error is None:
            return None
        return NormalDist(self.measured, self.standard_error).cdf(self.tolerance.bound)

    @property
    def excess(self) -> float:
        """By what share the bound that is kept least is exceeded; 0 or less if all are kept."""
        shares = [self.used / self.tolerance.bound]
        shares += [self.costs[name] / bound for name, bound in self.budget.bounds.items()]
        return max(shares) - 1

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The plan as a table: layer, density, weight_bits, index_bits, change, and the layer's costs by name."""
        return [
            {"layer": name, **dataclasses.asdict(each.choice), "change": each.change, **each.costs}
            for name, each in self.layers.items()
        ]

    def apply(self, module: torch.nn.Module, planner: Planner | None = None) -> CompressedModel:
        """The module compressed as planned; `module` itself is left as it is.

        Give the planner of the same network to a plan that was loaded from a file.
        """
        return self._planner(planner).apply(module, self.choices)

    def replan(self, budget: Budget, planner: Planner | None = None) -> Plan:
        """A plan for another budget, of the same tolerance: from what is known already, nothing is run."""
        return self._planner(planner).predict(self.tolerance, budget)

    def _planner(self, given: Planner | None) -> Planner:
        planner = given or self.planner
        if planner is None:
            raise InputError("a plan from a file needs the planner of its network; give planner=Planner(...)")
        return planner

    def to_json(self) -> str:
        """The plan without its planner."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "planner"}
        values["layers"] = {name: dataclasses.asdict(candidate) for name, candidate in self.layers.items()}
        values |= {name: dataclasses.asdict(getattr(self, name)) for name in ("tolerance", "budget")}
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, content: str) -> Plan:
        """A plan that `to_json` wrote. Raises InputError if it is none."""
        try:
            values = json.loads(content)
            values["layers"] = {
                name: Candidate(**{**each, "choice": Choice(**each["choice"])})
                for name, each in values["layers"].items()
            }
            values["tolerance"], values["budget"] = Tolerance(**values["tolerance"]), Budget(**values["budget"])
            values |= {name: tuple(values[name]) for name in ("binding", "inputs")}
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"this is no plan as Plan.to_json writes it: {error}") from None

    def save(self, path: Path) -> None:
        """Write `to_json` to a file."""
        write_atomically(path, self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read what `save` wrote. Raises InputError if the file is missing or holds no plan."""
        try:
            return cls.from_json(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def log_softmax(outputs: Floats) -> npt.NDArray[np.float64]:
    """Logarithms of softmax over the last axis."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
