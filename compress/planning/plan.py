"""Plans as data: a tolerance, a budget, one choice for each layer, and what was predicted and measured."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from compress.config import Codebooks, LayerSettings
from compress.planning.drift import InputSummary
from compress.planning.losses import ACCURACY_DROP, AUTO, LossFunction, loss_name, output_names
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.function_names import named_function
from traces.plain_values import (
    mapping,
    number,
    number_as_given,
    parsed_json,
    read_text,
    sequence,
    shown,
    text,
    true_or_false,
    whole_number,
)


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
    costs : Mapping[str, float]
        Most of each other cost of all layers together, by name: macs, which plans with thresholds have, or any other
        cost that the cost function gives.

    Raises
    ------
    InputError
        If a bound is not positive, `sram_bytes_per_pe` is given without `num_pes`, or `costs` names one of the above.
    """

    file_bytes: float | None = None
    sram_bytes_per_pe: float | None = None
    num_pes: int | None = None
    latency_us: float | None = None
    energy_nj: float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = [each.name for each in dataclasses.fields(self) if each.name not in ("num_pes", "costs")]
        for name in own:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number_as_given(f"a budget's {name}", getattr(self, name), above=0))
        costs = {
            name: number_as_given(f"a budget's cost {name}", bound, above=0)
            for name, bound in mapping("a budget's costs", self.costs).items()
        }
        wrong = sorted({*costs} & {*own, "num_pes"})
        if wrong:
            raise InputError(
                f"a budget's costs must be others than {', '.join(own)}; found {wrong[0]}; give {wrong[0]} itself"
            )
        object.__setattr__(self, "costs", costs)
        if self.num_pes is not None:
            object.__setattr__(self, "num_pes", whole_number("a budget's num_pes", self.num_pes, 1))
        if self.sram_bytes_per_pe is not None and self.num_pes is None:
            raise InputError("sram_bytes_per_pe is a bound for each PE; give num_pes, too")

    def check(self, costs: Container[str]) -> None:
        """Raise InputError if a cost is bounded that is not among these, by name."""
        unknown = sorted(name for name in self.bounds if name not in costs)
        if unknown:
            remedy = "plan with thresholds, which count macs"
            remedy = remedy if unknown == ["macs"] else "give a cost function that does"
            raise InputError(
                f"the budget bounds {', '.join(unknown)}, which neither the file nor a cost function gives; {remedy}"
            )

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are given, by name."""
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        del given["num_pes"], given["costs"]
        return {name: float(value) for name, value in {**given, **self.costs}.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the budget as plain values, from which `Budget(**values)` makes it again."""
        values = dataclasses.asdict(self)
        return values if self.costs else {name: value for name, value in values.items() if name != "costs"}


@dataclass(frozen=True, init=False)
class Tolerance:
    """Upper bound on the loss of a compressed network.

    The short forms are `accuracy_drop`, which is the loss accuracy with labels and answers without; `divergence` (kl);
    `relative_error`; and `cosine`. Exactly one bound is given.

    Attributes
    ----------
    bound : float
        The bound; positive.
    loss : str or callable
        What is bounded: "auto" (it follows from labels and outputs), "accuracy", "answers", "kl", "cosine",
        "relative-error", "accuracy-drop", or "package.module:function" (`compress.planning.losses.Loss`). A function
        stands for its name, if it can be imported by it.
    confidence : float
        Probability that the bound holds for all inputs like the pool's; 0.5 to below 1.
    outputs : tuple of str
        Names of the outputs that the loss compares, such as the scores of a network whose other outputs are a state
        that is fed on; all outputs if empty.

    Raises
    ------
    InputError
        Unless exactly one bound is given and positive, there is such a loss, the confidence is in its range, and the
        outputs are different names.
    """

    bound: float
    loss: str | LossFunction
    confidence: float
    outputs: tuple[str, ...]

    def __init__(
        self,
        bound: float | None = None,
        loss: str | LossFunction = AUTO,
        confidence: float = 0.9,
        *,
        accuracy_drop: float | None = None,
        divergence: float | None = None,
        relative_error: float | None = None,
        cosine: float | None = None,
        outputs: Sequence[str] = (),
    ) -> None:
        short = {
            "accuracy_drop": (accuracy_drop, ACCURACY_DROP),
            "divergence": (divergence, "kl"),
            "relative_error": (relative_error, "relative-error"),
            "cosine": (cosine, "cosine"),
        }
        given = {name: value for name, (value, _) in {"bound": (bound, loss), **short}.items() if value is not None}
        if len(given) != 1:
            found = " and ".join(f"{name}={shown(value)}" for name, value in given.items())
            raise InputError(
                f"a tolerance needs exactly one positive bound: bound, or {', '.join(list(short)[:-1])} or cosine; "
                f"found {found or 'none'}"
            )
        if bound is None:
            if loss != AUTO:
                raise InputError(
                    f"{next(iter(given))} says the loss itself; found loss={loss_name(loss)!r}, too; give bound with it"
                )
            loss = short[next(iter(given))][1]
        ((which, value),) = given.items()
        checked = number(f"a tolerance's {which}", value, above=0)
        confidence = number("a tolerance's confidence", confidence)
        if not 0.5 <= confidence < 1:
            raise InputError(f"a tolerance's confidence must be 0.5 to below 1; found {confidence}")
        name = loss_name(loss)
        object.__setattr__(self, "bound", checked)
        object.__setattr__(self, "loss", name if isinstance(loss, str) or _is_named(name, loss) else loss)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "outputs", output_names(outputs))

    @staticmethod
    def of(tolerance: Tolerance | float, loss: str | LossFunction = AUTO) -> Tolerance:
        """Return a tolerance, of which a number is the bound. Raises InputError if both say the loss."""
        if not isinstance(tolerance, Tolerance):
            return Tolerance(tolerance, loss)
        if not isinstance(loss, str) or loss != AUTO:
            raise InputError(
                f"loss is that of a bound given as a number; found loss={loss_name(loss)!r} and a tolerance that says "
                f"{tolerance.name}; leave loss out"
            )
        return tolerance

    @property
    def name(self) -> str:
        """Name of the loss."""
        return loss_name(self.loss)

    def to_dict(self) -> dict[str, Any]:
        """Return the tolerance as plain values, from which `Tolerance(**values)` makes it again."""
        values = {"bound": self.bound, "loss": self.name, "confidence": self.confidence}
        return values | {"outputs": list(self.outputs)} if self.outputs else values


def _is_named(name: str, loss: LossFunction) -> bool:
    """Return True if this is the function of this name."""
    try:
        return named_function(name, 2) is loss
    except InputError:
        return False


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
    activation_threshold : float
        Activations whose magnitude is at most this count as zero (`CompressedLayer.activation_threshold`).
    activation_cut : float
        Share of the analysed activations that do, those that are zero included; 0 without a threshold.
    """

    density: float
    weight_bits: int
    index_bits: int = 4
    activation_threshold: float = 0.0
    activation_cut: float = 0.0

    @property
    def origin(self) -> list[float]:
        """Values that the compressed layer depends on."""
        of_weights: list[float] = [self.density, self.weight_bits]
        return [*of_weights, self.activation_threshold] if self.activation_threshold else of_weights


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
        file_bytes, macs if thresholds were analysed, and the values of the cost function.
    """

    choice: Choice
    change: float
    costs: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the candidate as plain values, without a threshold if it has none."""
        values = dataclasses.asdict(self)
        if not self.choice.activation_threshold:
            del values["choice"]["activation_threshold"], values["choice"]["activation_cut"]
        return values


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
        Bound on the outputs; its loss is the one that was taken, not auto.
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
    limit : float or None
        Upper limit of the loss on inputs to come, at the tolerance's level of confidence (`upper_limit`).
    confidence : float or None
        Level of confidence at which the bound holds for inputs to come (`level_of`).
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
    reason : str
        Reason why the tolerance's loss was taken.
    notes : tuple of str
        Sentences for the user.
    input_summary : InputSummary or None
        Summary of the inputs that the plan was made on; None if a version that kept none made the plan.
    minimise : str
        The cost that the plan minimises.
    thresholds : tuple of float
        Shares of the activations that thresholds could cut; empty if none were to be chosen.
    codebooks : str
        Codebooks of each layer, as in `LayerSettings`.
    num_pes : int or None
        PEs of the array whose PEs or groups of PEs have codebooks of their own; None with codebooks "layer".
    codebook_groups : int
        Groups of PEs, with codebooks "group".
    structured : bool
        True if plans without some neurons, channels and heads were tried, too.
    """

    layers: Mapping[str, Candidate]
    tolerance: Tolerance
    budget: Budget
    predicted_change: float
    predicted: float
    costs: Mapping[str, float]
    measured: float | None = None
    standard_error: float | None = None
    limit: float | None = None
    confidence: float | None = None
    feasible: bool = False
    binding: tuple[str, ...] = ()
    nearest: Mapping[str, float] = field(default_factory=dict)
    measurements: float = 0.0
    inputs: tuple[int, ...] = ()
    logarithms: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    input_summary: InputSummary | None = None
    minimise: str = "file_bytes"
    thresholds: tuple[float, ...] = ()
    codebooks: Codebooks = "layer"
    num_pes: int | None = None
    codebook_groups: int = 0
    structured: bool = False

    @property
    def choices(self) -> dict[str, Choice]:
        """The choice for each layer, by name."""
        return {name: candidate.choice for name, candidate in self.layers.items()}

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `compress.plan` that gave the options of this plan, for another one like it."""
        return {name: getattr(self, name) for name in _OPTIONS}

    @property
    def used(self) -> float:
        """Use of the tolerance at its level of confidence: the limit; the predicted use if nothing was measured."""
        return self.predicted if self.limit is None else self.limit

    @property
    def keeps_tolerance(self) -> bool:
        """True if the tolerance is kept at its level of confidence."""
        return self.used <= self.tolerance.bound

    @property
    def excess(self) -> float:
        """Largest relative violation of any bound; <= 0 if the plan is feasible."""
        shares = [self.used / self.tolerance.bound]
        shares += [self.costs[name] / bound for name, bound in self.budget.bounds.items()]
        return max(shares) - 1

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of a table: layer, density, weight_bits, index_bits, change, and the layer's costs by name.

        If a layer has an activation threshold, activation_threshold and activation_cut follow index_bits.
        """
        choices = {name: dataclasses.asdict(choice) for name, choice in self.choices.items()}
        if not any(choice.activation_threshold for choice in self.choices.values()):
            for values in choices.values():
                del values["activation_threshold"], values["activation_cut"]
        return [
            {"layer": name, **choices[name], "change": candidate.change, **candidate.costs}
            for name, candidate in self.layers.items()
        ]

    def to_json(self) -> str:
        """Return the plan as JSON text."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in dataclasses.fields(Plan)}
        values["layers"] = {name: candidate.to_dict() for name, candidate in self.layers.items()}
        values |= {"tolerance": self.tolerance.to_dict(), "budget": self.budget.to_dict()}
        for name in ("logarithms", "reason", "notes", "input_summary"):
            if not values[name]:
                del values[name]
        for name in ("minimise", *_OPTIONS):
            if values[name] == getattr(Plan, name):
                del values[name]
        if self.input_summary is not None:
            values["input_summary"] = self.input_summary.to_json()
        return json.dumps(values, indent=1)

    @staticmethod
    def from_json(content: str) -> Plan:
        """Return the plan that `to_json` wrote. Raises InputError for any other text."""
        try:
            values = _checked(mapping("a plan", parsed_json("its text", content, infinite=True), _NEEDED, _POSSIBLE))
            return Plan(**_with_limit(values))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"a plan must be JSON as Plan.to_json writes it: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_json().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Plan:
        """Return the plan that `save` wrote. Raises InputError if the file is missing or holds no plan."""
        content = read_text(path)
        try:
            return Plan.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def check_minimised(minimise: str, costs: Collection[str]) -> None:
    """Raise InputError if a cost to minimise is not among these, or is no sum over the layers."""
    sums = [name for name in costs if name != "sram_bytes_per_pe"]
    if minimise not in sums:
        raise InputError(
            f"minimise must be one of the costs {', '.join(sums)}; found {minimise!r}; give a cost function that has "
            f"it, or another name"
        )


_OPTIONS = ("thresholds", "codebooks", "num_pes", "codebook_groups", "structured")
_NEEDED = ("layers", "tolerance", "budget", "predicted_change", "predicted", "costs", "binding", "inputs")
_POSSIBLE = tuple(each.name for each in dataclasses.fields(Plan))


_OF_TOLERANCE = ("bound", "loss", "confidence", "accuracy_drop", "divergence", "relative_error", "cosine", "outputs")
"""Options of a tolerance; version 1.0 wrote the short forms of a bound."""


def _checked(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a plan; raise InputError if one is of another kind or out of its range."""
    values = dict(plain)
    values["layers"] = {name: _candidate(name, each) for name, each in mapping("layers", plain["layers"]).items()}
    values["tolerance"] = Tolerance(**mapping("tolerance", plain["tolerance"], (), _OF_TOLERANCE))
    values["budget"] = Budget(
        **mapping("budget", plain["budget"], (), [each.name for each in dataclasses.fields(Budget)])
    )
    for name in ("predicted_change", "predicted"):
        values[name] = number(name, plain[name], infinite=True)
    for name in ("measured", "standard_error", "limit", "confidence"):
        if plain.get(name) is not None:
            values[name] = number(name, plain[name], infinite=True)
    for name in ("costs", "nearest"):
        values[name] = _numbers(name, plain.get(name, {}))
    values["budget"].check(values["costs"])
    values["feasible"] = true_or_false("feasible", plain.get("feasible", False))
    values["measurements"] = number("measurements", plain.get("measurements", 0.0), 0)
    values["inputs"] = tuple(whole_number("inputs", place, 0) for place in sequence("inputs", plain["inputs"]))
    for name in ("binding", "logarithms", "notes"):
        values[name] = tuple(text(name, each, empty=True) for each in sequence(name, plain.get(name, ())))
    values["reason"] = text("reason", plain.get("reason", ""), empty=True)
    values["minimise"] = _minimised(plain, values["costs"])
    values |= _options(plain)
    summary = plain.get("input_summary")
    values["input_summary"] = None if summary is None else InputSummary.from_json(summary)
    return values


def _options(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return `Plan.options`; raise InputError if there are no such codebooks, or a share is not above 0, at most 1."""
    num_pes = plain.get("num_pes")
    settings = LayerSettings(
        codebooks=text("codebooks", plain.get("codebooks", Plan.codebooks)),  # type: ignore[arg-type]  # checked
        num_pes=LayerSettings.num_pes if num_pes is None else whole_number("num_pes", num_pes, 1),
        codebook_groups=whole_number("codebook_groups", plain.get("codebook_groups", 0), 0),
    )
    shares = sequence("thresholds", plain.get("thresholds", ()))
    return {
        "thresholds": tuple(number("thresholds", share, most=1, above=0) for share in shares),
        "codebooks": settings.codebooks,
        "num_pes": None if num_pes is None else settings.num_pes,
        "codebook_groups": settings.codebook_groups,
        "structured": true_or_false("structured", plain.get("structured", False)),
    }


def _minimised(plain: Mapping[str, Any], costs: Mapping[str, float]) -> str:
    minimise = text("minimise", plain.get("minimise", Plan.minimise))
    check_minimised(minimise, {Plan.minimise: 0.0} | dict(costs))
    return minimise


def _candidate(name: str, plain: Any) -> Candidate:
    values = mapping(f"layer {name!r}", plain, ("choice", "change", "costs"))
    optional = ("index_bits", "activation_threshold", "activation_cut")
    choice = mapping(f"layer {name!r}: choice", values["choice"], ("density", "weight_bits"), optional)
    return Candidate(
        Choice(
            number("density", choice["density"], most=1, above=0),
            whole_number("weight_bits", choice["weight_bits"], 1, 16),
            whole_number("index_bits", choice.get("index_bits", Choice.index_bits), 1, 8),
            number("activation_threshold", choice.get("activation_threshold", 0.0), 0),
            number("activation_cut", choice.get("activation_cut", 0.0), 0, 1),
        ),
        number("change", values["change"], infinite=True),
        _numbers("costs", values["costs"]),
    )


def _numbers(name: str, values: Any) -> dict[str, float]:
    """Return numbers by name, as they are."""
    for cost, value in mapping(name, values).items():
        number(cost, value, infinite=True)
    return dict(values)


def _with_limit(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a plan; one of version 1.0, without a limit, gets that of a normal distribution."""
    measured, error = values.get("measured"), values.get("standard_error")
    if "limit" in values or measured is None or not error:
        return values
    tolerance: Tolerance = values["tolerance"]
    limit = measured + NormalDist().inv_cdf(tolerance.confidence) * error
    return {**values, "limit": limit, "confidence": NormalDist(measured, error).cdf(tolerance.bound)}
