"""Tables of designs of one compression: hardware and figures as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.planning.plan import Choice
from designs.codesigns.point import CodesignPoint
from designs.design import ARRAY_FIELDS, HARDWARE, Design
from sim import ArrayConfig
from traces.arrays import Floats64, Integers64, Numbers

Hardware = Mapping[str, Numbers]


@dataclass(frozen=True, eq=False)
class DesignTable:
    """Designs that have one compression, with their predicted figures.

    Attributes
    ----------
    hardware : dict of str to array [designs]
        Values of each of HARDWARE by name.
    figures : dict of str to float64 [designs]
        Value of each figure by name.
    """

    hardware: Hardware
    figures: Mapping[str, Floats64]

    def __len__(self) -> int:
        return len(next(iter(self.figures.values()))) if self.figures else 0

    @classmethod
    def empty(cls, figures: Sequence[str]) -> DesignTable:
        """Return a table without designs."""
        return cls({name: np.zeros(0) for name in HARDWARE}, {name: np.zeros(0) for name in figures})

    @classmethod
    def joined(cls, tables: Sequence[DesignTable]) -> DesignTable:
        """Return the designs of several tables, one after the other; at least one table."""
        return cls(
            {name: np.concatenate([each.hardware[name] for each in tables]) for name in HARDWARE},
            {name: np.concatenate([each.figures[name] for each in tables]) for name in tables[0].figures},
        )

    @classmethod
    def of(cls, points: Sequence[CodesignPoint]) -> DesignTable:
        """Return the table of some designs; at least one."""
        rows = [point.design.hardware for point in points]
        return cls(
            {name: np.array([row[name] for row in rows]) for name in HARDWARE},
            {name: np.array([point.figures[name] for point in points]) for name in points[0].figures},
        )

    def take(self, places: Integers64 | Numbers) -> DesignTable:
        """Return the designs at these places, or of this mask."""
        return DesignTable(
            {name: values[places] for name, values in self.hardware.items()},
            {name: values[places] for name, values in self.figures.items()},
        )

    def costs(self, objectives: Sequence[str]) -> Floats64:
        """Return the figures to minimise, float64 [designs, objectives]."""
        return np.stack([self.figures[name] for name in objectives], axis=1)

    def design(self, place: int) -> Design:
        """Return the hardware of one design."""
        row = {name: self.hardware[name][place].item() for name in HARDWARE}
        return Design(ArrayConfig(**{name: row[name] for name in ARRAY_FIELDS}), row["row_assignment"])

    def point(self, place: int, choices: Mapping[str, Choice], excesses: Mapping[str, float]) -> CodesignPoint:
        """Return one design with the choices for all layers."""
        figures = {name: float(values[place]) for name, values in self.figures.items()}
        return CodesignPoint(self.design(place), choices, figures, excesses)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` makes the same table; a column of one value has it once."""
        hardware = {name: _plain(values) for name, values in self.hardware.items()}
        return {"designs": len(self), "hardware": hardware, "figures": {n: v.tolist() for n, v in self.figures.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DesignTable:
        """Return the table of plain values."""
        size = values["designs"]
        hardware = {
            name: np.array(given) if isinstance(given, list) else np.full(size, given)
            for name, given in values["hardware"].items()
        }
        figures = {name: np.array(given, dtype=np.float64) for name, given in values["figures"].items()}
        return cls(hardware, figures)


def _plain(values: Numbers) -> Any:
    listed = values.tolist()
    return listed[0] if listed and all(value == listed[0] for value in listed) else listed
