"""Result of watching a container on later inputs, as data: intervals, verdict, drift, and the loss of each input."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from compress.planning.confidence import Interval
from compress.planning.drift import InputDrift
from compress.planning.plan import Tolerance
from traces import InputError
from traces.arrays import Floats64
from traces.files.atomic_file import write_atomically
from traces.plain_values import mapping, number, parsed_json, read_text, sequence, text, whole_number, written_number

Verdict = Literal["kept", "broken", "undecided"]
LEVEL = 0.95
UNLIKELY_ERRORS = 3.0  # standard errors
SUFFIX = ".watch.json"


@dataclass(frozen=True, eq=False)
class WatchReport:
    """Result of watching a container on new inputs.

    Attributes
    ----------
    tolerance : Tolerance
        Bound on the loss.
    reason : str
        Reason why its loss was taken.
    losses : float64 [inputs]
        Loss of each input, in the order in which they came.
    used : Interval
        Mean loss, which is compared with the bound.
    others : Mapping[str, Interval]
        Means of other losses that have a meaning for these outputs, by name.
    drift : Mapping[str, float]
        By quantity: difference of the second half of the inputs from the first, or of the inputs from the plan, in
        standard errors. Chance hardly explains more than 3.
    from_plan : tuple of InputDrift
        Comparison of the inputs with those of the plan, the least probable first; empty without a plan that has a
        summary of them.
    from_first_half : tuple of InputDrift
        Comparison of the second half of the inputs with the first.
    layers : sequence of dict
        Rows of the container's plan, `Plan.rows`; empty if it is unknown.
    planned : Mapping[str, float]
        Measured and predicted use of the tolerance by the plan, if it is known.
    container, network : str
        Names of the container and of the original network, if they are files or functions.
    """

    tolerance: Tolerance
    reason: str
    losses: Floats64
    used: Interval
    others: Mapping[str, Interval]
    drift: Mapping[str, float]
    from_plan: tuple[InputDrift, ...] = ()
    from_first_half: tuple[InputDrift, ...] = ()
    layers: Sequence[Mapping[str, Any]] = ()
    planned: Mapping[str, float] = field(default_factory=dict)
    container: str = ""
    network: str = ""

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(self.losses)

    @property
    def verdict(self) -> Verdict:
        """Verdict on the bound: "kept", "broken", or "undecided" if it lies within the interval."""
        if self.used.high <= self.tolerance.bound:
            return "kept"
        return "broken" if self.used.low > self.tolerance.bound else "undecided"

    @property
    def drifting(self) -> list[str]:
        """Quantities of the outputs whose drift chance hardly explains."""
        return [name for name, errors in self.drift.items() if abs(errors) > UNLIKELY_ERRORS]

    @property
    def drifting_inputs(self) -> list[InputDrift]:
        """Quantities of the inputs whose drift chance hardly explains: from the plan, and from the first half."""
        return [each for each in (*self.from_plan, *self.from_first_half) if each.drifting]

    def worst(self, number: int) -> list[int]:
        """Return the places of the inputs that lose most, at most this many of those that lose anything."""
        order = np.argsort(-self.losses, kind="stable")[:number]
        return [int(place) for place in order if self.losses[place] > 0]

    def to_json(self) -> str:
        """Return the report as JSON text."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values |= {"inputs": self.inputs, "verdict": self.verdict, "tolerance": self.tolerance.to_dict()}
        values |= {"losses": " ".join(f"{each:.6g}" for each in self.losses), "used": dataclasses.asdict(self.used)}
        values["others"] = {name: dataclasses.asdict(each) for name, each in self.others.items()}
        values["drift"] = {name: str(each) for name, each in self.drift.items()}  # may be infinite
        for name in ("from_plan", "from_first_half"):
            values[name] = [dataclasses.asdict(each) for each in values[name]]
        return json.dumps(values)

    @staticmethod
    def from_json(content: str) -> WatchReport:
        """Return the report that `to_json` wrote. Raises InputError for any other text."""
        try:
            known = [each.name for each in dataclasses.fields(WatchReport)]
            plain = mapping("a report", parsed_json("its text", content, infinite=True), (*known, "inputs", "verdict"))
            report = WatchReport(**_checked({name: plain[name] for name in known}))
            if report.inputs != whole_number("inputs", plain["inputs"]) or report.verdict != plain["verdict"]:
                raise InputError(
                    f"inputs and verdict must be those of its losses, {report.inputs} and {report.verdict}"
                )
            return report
        except (ValueError, TypeError) as error:
            raise InputError(f"a report of a watch must be JSON as WatchReport.to_json writes it: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_json().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> WatchReport:
        """Return the report that `save` wrote. Raises InputError if the file is missing or holds no report."""
        content = read_text(path)
        try:
            return WatchReport.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _checked(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a report; raise InputError if one is of another kind."""
    values = dict(plain)
    values["tolerance"] = Tolerance(
        **mapping("tolerance", plain["tolerance"], ("bound", "loss", "confidence"), ("outputs",))
    )
    values["losses"] = np.array([written_number("losses", each) for each in text("losses", plain["losses"]).split()])
    values["used"] = _interval("used", plain["used"])
    values["others"] = {name: _interval(name, each) for name, each in mapping("others", plain["others"]).items()}
    values["drift"] = {
        name: written_number("drift", text("drift", each)) for name, each in mapping("drift", plain["drift"]).items()
    }
    for name in ("from_plan", "from_first_half"):
        values[name] = tuple(_input_drift(name, row) for row in sequence(name, plain[name]))
    values["layers"] = [dict(mapping("layers", row)) for row in sequence("layers", plain["layers"])]
    for row in values["layers"]:
        for name, value in row.items():
            _ = text(name, value) if name == "layer" else number(name, value, infinite=True)
    values["planned"] = {
        name: number(name, each, infinite=True) for name, each in mapping("planned", plain["planned"]).items()
    }
    for name in ("reason", "container", "network"):
        values[name] = text(name, plain[name], empty=True)
    return values


def _interval(name: str, plain: Any) -> Interval:
    values = mapping(name, plain, ("mean", "low", "high"))
    return Interval(**{part: number(f"{name}: {part}", value, infinite=True) for part, value in values.items()})


def _input_drift(name: str, plain: Any) -> InputDrift:
    values = mapping(name, plain, [each.name for each in dataclasses.fields(InputDrift)])
    cuts, before, now = (
        tuple(number(part, each) for each in sequence(part, values[part])) for part in ("cuts", "before", "now")
    )
    if not len(cuts) == len(before) == len(now) > 0:
        raise InputError(f"{name}: cuts, before and now must have one value for each cut; found {len(cuts)}")
    array, quantity = (text(part, values[part], empty=True) for part in ("array", "quantity"))
    return InputDrift(array, quantity, number("probability", values["probability"], 0, 1), cuts, before, now)
