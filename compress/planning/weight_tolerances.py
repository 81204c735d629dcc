"""Summary for each layer of how far each weight may move: a small result file that a figure is drawn from."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from compress.planning.plan import Tolerance
from traces import InputError
from traces.arrays import Floats, Floats64
from traces.files.atomic_file import write_atomically
from traces.plain_values import mapping, number, parsed_json, read_text, sequence, shown, text, whole_number

SUFFIX = ".tolerances.json"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 48  # of each axis
_COUNT = re.compile(r"[0-9]{1,9},[0-9]{1,9},[0-9]{1,18}", re.ASCII)
_SMALLEST = 0.01  # share of a layer's values that may be below all borders
_UNITS = {
    "magnitude_edges, tolerance_edges": "1, as the weights; values outside are in the first and the last bin",
    "counts": "weights: of each bin that has any, the place of its magnitude, that of its tolerance, and the number",
    "ratios": "1: quantiles of tolerance over magnitude, of weights that are not 0",
    "reach_zero": "1: share of the weights whose tolerance is at least their magnitude, so that they may be pruned",
    "widest": "1: share of the weights whose tolerance is the widest that is allowed",
}


@dataclass(frozen=True)
class LayerTolerances:
    """Tolerances of one layer's weights.

    Attributes
    ----------
    layer : str
        Name of the layer.
    rows, columns : int
        Shape of its matrix.
    reach_zero : float
        Share of the weights whose tolerance reaches zero: alone, each may be pruned.
    widest : float
        Share of the weights whose tolerance is the widest that is allowed (`Planner.tolerances`).
    ratios : tuple of float
        `QUANTILES` of tolerance over magnitude, of weights that are not 0.
    counts : tuple of (int, int, int)
        Bins with weights: place on the axis of magnitudes, place on that of tolerances, number of weights.
    """

    layer: str
    rows: int
    columns: int
    reach_zero: float
    widest: float
    ratios: tuple[float, ...]
    counts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class WeightTolerances:
    """Tolerances of a network's weights, by layer.

    Attributes
    ----------
    tolerance : Tolerance
        Bound on the outputs, within which all weights move at random.
    magnitude_edges, tolerance_edges : tuple of float
        Borders of the bins of all layers, at equal distances of their logarithms.
    layers : tuple of LayerTolerances
        Layers, in order.
    """

    tolerance: Tolerance
    magnitude_edges: tuple[float, ...]
    tolerance_edges: tuple[float, ...]
    layers: tuple[LayerTolerances, ...]

    @classmethod
    def of(cls, tolerance: Tolerance, weights: Mapping[str, Floats], ranges: Mapping[str, Floats]) -> WeightTolerances:
        """Summarise tolerances.

        Parameters
        ----------
        tolerance : Tolerance
            Bound on the outputs.
        weights, ranges : Mapping[str, float [rows, columns]]
            Weights, and how far each may move, by layer.
        """
        magnitudes = {name: np.abs(np.asarray(values, dtype=np.float64)) for name, values in weights.items()}
        across, up = _edges(list(magnitudes.values())), _edges([ranges[name] for name in magnitudes])
        largest = max(float(each.max()) for each in ranges.values())
        layers = tuple(
            _layer(name, values, np.asarray(ranges[name], dtype=np.float64), across, up, largest)
            for name, values in magnitudes.items()
        )
        return cls(tolerance, _rounded(across), _rounded(up), layers)

    def to_json(self) -> str:
        """Return the tolerances as JSON text, with the units of its numbers."""
        layers = [
            {**asdict(each), "counts": " ".join(",".join(map(str, place)) for place in each.counts)}
            for each in self.layers
        ]
        values = asdict(self) | {"tolerance": self.tolerance.to_dict(), "layers": layers}
        return json.dumps({**values, "quantiles": QUANTILES, "units": _UNITS})

    @staticmethod
    def from_json(content: str) -> WeightTolerances:
        """Return the tolerances that `to_json` wrote. Raises InputError for any other text."""
        try:
            names = [*(each.name for each in fields(WeightTolerances)), "quantiles", "units"]
            values = mapping("the tolerances", parsed_json("their text", content), names)
            tolerance = Tolerance(
                **mapping("tolerance", values["tolerance"], ("bound", "loss", "confidence"), ("outputs",))
            )
            across, up = (_checked_edges(name, values[name]) for name in ("magnitude_edges", "tolerance_edges"))
            layers = tuple(_checked_layer(each, across, up) for each in sequence("layers", values["layers"]))
            return WeightTolerances(tolerance, across, up, layers)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"tolerances of weights must be JSON as WeightTolerances.to_json writes it: {error}"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tolerances to a file. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_json().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> WeightTolerances:
        """Return the tolerances that `save` wrote. Raises InputError if the file is missing or holds none."""
        content = read_text(path)
        try:
            return WeightTolerances.from_json(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _checked_edges(name: str, values: Any) -> tuple[float, ...]:
    edges = tuple(number(name, each, 0) for each in sequence(name, values))
    if len(edges) < 2 or any(low > high for low, high in itertools.pairwise(edges)):
        raise InputError(f"{name} must be two or more ascending borders of bins; found {shown(edges)}")
    return edges


def _checked_layer(plain: Any, across: tuple[float, ...], up: tuple[float, ...]) -> LayerTolerances:
    """Return the tolerances of a layer; raise InputError if a value is of another kind or out of its range."""
    values = mapping("a layer", plain, [each.name for each in fields(LayerTolerances)])
    counts = []
    for place in text("counts", values["counts"], empty=True).split():
        if not _COUNT.fullmatch(place):
            raise InputError(f"counts must be three whole numbers for each bin; found {shown(place)}")
        x, y, count = map(int, place.split(","))
        whole_number("counts: a place of a magnitude", x, 0, len(across) - 2)
        whole_number("counts: a place of a tolerance", y, 0, len(up) - 2)
        counts.append((x, y, count))
    return LayerTolerances(
        text("layer", values["layer"]),
        whole_number("rows", values["rows"], 1),
        whole_number("columns", values["columns"], 1),
        number("reach_zero", values["reach_zero"], 0, 1),
        number("widest", values["widest"], 0, 1),
        tuple(number("ratios", each, 0) for each in sequence("ratios", values["ratios"], len(QUANTILES))),
        tuple(counts),
    )


def _edges(parts: list[Floats]) -> Floats64:
    """Return the borders of bins, from a value that few of any layer are below, to the largest."""
    above = [each[each > 0] for each in parts]
    above = [each for each in above if each.size]
    if not above:
        return np.geomspace(0.1, 1, _BINS + 1)
    largest = max(float(each.max()) for each in above)
    smallest = min(float(np.quantile(each, _SMALLEST)) for each in above)
    return np.geomspace(min(smallest, 0.5 * largest), largest, _BINS + 1)


def _layer(
    name: str, magnitudes: Floats64, ranges: Floats64, across: Floats64, up: Floats64, largest: float
) -> LayerTolerances:
    places = [
        np.clip(np.searchsorted(edges, values.ravel(), side="right") - 1, 0, _BINS - 1)
        for edges, values in ((across, magnitudes), (up, ranges))
    ]
    bins, numbers = np.unique(np.stack(places), axis=1, return_counts=True)
    kept = magnitudes > 0
    ratios = np.quantile(ranges[kept] / magnitudes[kept], QUANTILES) if kept.any() else np.zeros(len(QUANTILES))
    return LayerTolerances(
        name,
        rows=magnitudes.shape[0],
        columns=magnitudes.shape[1],
        reach_zero=float((ranges >= magnitudes).mean()),
        widest=float((ranges >= largest * (1 - 1e-9)).mean()),
        ratios=_rounded(ratios),
        counts=tuple((int(x), int(y), int(count)) for x, y, count in zip(*bins, numbers, strict=True)),
    )


def _rounded(values: Floats64) -> tuple[float, ...]:
    """Return values with six digits, which take less space in a file."""
    return tuple(float(f"{each:.6g}") for each in values)
