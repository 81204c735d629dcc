"""Summary for each layer of how far each weight may move: a small result file that a figure is drawn from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from compress.planning.plan import Tolerance
from traces import InputError
from traces.arrays import Floats, Floats64
from traces.files.atomic_file import write_atomically

SUFFIX = ".tolerances.json"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 48  # of each axis
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
            values = json.loads(content)
            layers = []
            for each in values["layers"]:
                counts = [tuple(map(int, place.split(","))) for place in each["counts"].split()]
                layers.append(LayerTolerances(**each | {"ratios": tuple(each["ratios"]), "counts": tuple(counts)}))
            across, up = (tuple(values[name]) for name in ("magnitude_edges", "tolerance_edges"))
            return WeightTolerances(Tolerance(**values["tolerance"]), across, up, tuple(layers))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"tolerances of weights must be JSON as WeightTolerances.to_json writes it: {error}"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tolerances to a file. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_json().encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> WeightTolerances:
        """Return the tolerances that `save` wrote. Raises InputError if the file is missing or holds none."""
        try:
            return WeightTolerances.from_json(Path(path).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


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
