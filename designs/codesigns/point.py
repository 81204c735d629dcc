"""Design points of a co-design: compression and array together, with predicted or measured figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compress.planning.plan import Choice
from designs.design import ARRAY_FIELDS, Design
from sim import ArrayConfig, FixedPoint
from sim.number_formats import formats_of_plain, plain_formats


@dataclass(frozen=True, eq=False)
class CodesignPoint:
    """One design of compression and array together, with its figures.

    Attributes
    ----------
    design : Design
        The hardware.
    choices : mapping of str to Choice
        Compression of each layer by name.
    figures : mapping of str to float
        Predicted or measured value of each figure; the loss that is not measured is left out.
    excesses : mapping of str to float
        Relative violation of each bound or constraint; <= 0 if it is kept.
    number_formats : mapping of str to FixedPoint
        Format of each product on an array in fixed point, once the network is compressed; empty as predicted, and for
        floating point.
    """

    design: Design
    choices: Mapping[str, Choice]
    figures: Mapping[str, float]
    excesses: Mapping[str, float]
    number_formats: Mapping[str, FixedPoint] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """True if all bounds and constraints are kept."""
        return all(each <= 0 for each in self.excesses.values())

    @property
    def digest(self) -> str:
        """Hash of the design and the choices, 16 hexadecimal digits."""
        return design_digest(self.design, self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes the same point."""
        return {
            "array": vars(self.design.array),
            "row_assignment": self.design.row_assignment,
            "choices": plain_choices(self.choices),
            "figures": dict(self.figures),
            "excesses": dict(self.excesses),
            "number_formats": plain_formats(self.number_formats),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodesignPoint:
        """Return the point of plain values."""
        return cls(
            Design(ArrayConfig(**values["array"]), values["row_assignment"]),
            choices_of(values["choices"]),
            values["figures"],
            values["excesses"],
            formats_of_plain(values.get("number_formats", {})),  # trials of floating point may have none
        )


def plain_choices(choices: Mapping[str, Choice]) -> dict[str, list[float]]:
    """Return [density, bits of a code] by layer, as result files hold the choices in JSON.

    A choice with an activation threshold has the threshold and the share that it cuts, too.
    """
    return {
        name: [*each.origin, *([each.activation_cut] * (each.activation_threshold > 0))]
        for name, each in choices.items()
    }


def choices_of(plain: Mapping[str, Sequence[float]]) -> dict[str, Choice]:
    """Return the choices of which `plain_choices` made plain values."""
    return {
        name: Choice(float(density), int(bits), Choice.index_bits, *map(float, of_activations))
        for name, (density, bits, *of_activations) in plain.items()
    }


def design_digest(design: Design, choices: Mapping[str, Choice]) -> str:
    """Return a hash of a design and the choices for its layers, 16 hexadecimal digits."""
    return hardware_digest(design.hardware, choices)


def hardware_digest(hardware: Mapping[str, Any], choices: Mapping[str, Choice]) -> str:
    """Return the same hash from the values of HARDWARE by name."""
    array = {name: hardware[name] for name in ARRAY_FIELDS}
    content = [array, hardware["row_assignment"], plain_choices(choices)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
