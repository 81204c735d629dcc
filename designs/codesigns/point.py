"""One design of compression and array together, with what is predicted or measured of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.planning.plan import Choice
from designs.design import Design
from sim import ArrayConfig


@dataclass(frozen=True, eq=False)
class CodesignPoint:
    """One design of compression and array together, and what is predicted of it.

    figures     by name of FIGURES
    excesses    by how much of itself each bound or need is not kept, above 0; nothing where all are
    """

    design: Design
    choices: Mapping[str, Choice]
    figures: Mapping[str, float]
    excesses: Mapping[str, float]

    @property
    def feasible(self) -> bool:
        """Whether it keeps all bounds."""
        return all(each <= 0 for each in self.excesses.values())

    @property
    def digest(self) -> str:
        """Of the design and the choices, 16 hexadecimal digits."""
        return design_digest(self.design, self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes the same point."""
        return {
            "array": vars(self.design.array),
            "row_assignment": self.design.row_assignment,
            "choices": {name: [each.density, each.weight_bits] for name, each in self.choices.items()},
            "figures": dict(self.figures),
            "excesses": dict(self.excesses),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodesignPoint:
        """A point from plain values."""
        return cls(
            Design(ArrayConfig(**values["array"]), values["row_assignment"]),
            {name: Choice(density, bits) for name, (density, bits) in values["choices"].items()},
            values["figures"],
            values["excesses"],
        )


def design_digest(design: Design, choices: Mapping[str, Choice]) -> str:
    """Of a design and the choices for its layers, 16 hexadecimal digits."""
    content = [
        vars(design.array),
        design.row_assignment,
        {name: [each.density, each.weight_bits] for name, each in choices.items()},
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
