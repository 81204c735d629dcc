"""How uneven the masks of really pruned layers are: the measurement behind `traces.unevenness`.

Counts of kept weights vary more from row to row than those of a random mask. What is left after subtracting the
binomial variance is the variance of the rows' densities, and of the columns' likewise; the two spreads of scales that
cause them, at the layer's own density, are solved for.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import spearmanr

from compress import CompressedModel
from sim import ArrayConfig, count
from traces import CompressedLayer
from traces.eie_benchmark import REAL_LAYERS
from traces.files.atomic_file import write_atomically
from traces.files.deep_compression_net import read_net
from traces.files.npz import read_layer
from traces.layer import FloatVector
from traces.network import LayerStep
from traces.shell.progress import progress_bar
from traces.synthetic import draw_uneven_layer
from traces.unevenness import FIELDS, FULLY_CONNECTED, Unevenness

CONTAINERS = ("lenet_300_100", "lenet_5", "resnet_20")
SQUEEZENET = Path("squeezenet_deep_compression") / "compressed_SqueezeNet.net"
SQUEEZENET_CLASSIFIER = "conv_final"  # 1 x 1: it is applied to each position as a fully connected layer is
LARGEST_DENSITY = 0.5  # above it, little was pruned
LEAST_ROWS = 10
ROWS_PER_PE, CHECKED_ACTIVE = 8, 0.4
_LARGEST_SPREAD = 3.0
_ITERATIONS = 8
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_SHARES = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class MaskCheck:
    """Cycles of a pruned layer on `num_pes` PEs, and by how much those of drawn masks differ, as a share."""

    network: str
    layer: str
    num_pes: int
    cycles: float
    even_difference: float
    uneven_difference: float


@dataclass(frozen=True)
class Regularity:
    """How a spread goes with the density or a size of its layer; `chance` is the p value of no correlation."""

    spread: str
    size: str
    correlation: float
    chance: float


def unevenness_of(layer: CompressedLayer) -> Unevenness:
    """The spreads of one layer's mask; 0 where counts vary no more than by chance."""
    mask = layer.codes != 0
    density = float(mask.mean())
    if not 0 < density < 1:
        return Unevenness(0.0, 0.0)
    row_excess, column_excess = excess(mask.sum(axis=1), layer.columns), excess(mask.sum(axis=0), layer.rows)
    row_spread = column_spread = 0.0
    for _ in range(_ITERATIONS):  # each spread flattens what the other one does to counts
        row_spread = _spread(row_excess, column_spread, density)
        column_spread = _spread(column_excess, row_spread, density)
    return Unevenness(row_spread, column_spread)


def excess(counts: npt.NDArray[np.int64], most: int) -> float:
    """Squared coefficient of variation of the rows' (or columns') densities, chance taken off; 0 if nothing is left.

    counts   kept weights of each row
    most     weights of a row before pruning
    """
    density = float(counts.mean()) / most
    if len(counts) < 2 or most < 2:
        return 0.0
    variance = float(counts.var(ddof=1)) - most * density * (1 - density)
    return max(0.0, variance / (most * (most - 1)) / density**2)


def _spread(wanted: float, other: float, density: float) -> float:
    """The spread of scales of rows that gives their densities the excess wanted, beside columns of spread `other`."""
    if wanted == 0:
        return 0.0
    if _excess_of(_LARGEST_SPREAD, other, density) <= wanted:
        return _LARGEST_SPREAD
    return float(brentq(lambda spread: _excess_of(spread, other, density) - wanted, 0.0, _LARGEST_SPREAD, xtol=1e-6))


def _excess_of(spread: float, other: float, density: float) -> float:
    """Squared coefficient of variation of the rows' densities, whose mean is given."""
    logarithms = np.add.outer(spread * _NODES, other * _NODES)

    def densities(threshold: float) -> npt.NDArray[np.float64]:
        kept: npt.NDArray[np.float64] = 2 * ndtr(-np.exp(threshold - logarithms)) @ _SHARES
        return kept

    threshold = brentq(lambda logarithm: float(_SHARES @ densities(logarithm)) - density, -60, 60)
    return float(_SHARES @ densities(threshold) ** 2) / density**2 - 1


def measure_unevenness(data: Path, containers: Path, path: Path) -> list[dict[str, Any]]:
    """Measure the layers that were pruned to LARGEST_DENSITY or less, and write them to `path`.

    data         folder that holds alex8/alex8.npz and SqueezeNet's squeezenet_deep_compression/*.net
    containers   folder of the project's own compressed networks, CONTAINERS

    Raises InputError if one of them is missing.
    """
    rows = []
    for network, layer, kind in _pruned_layers(data, containers):
        found = unevenness_of(layer)
        values = (network, layer.name, kind, layer.rows, layer.columns, f"{layer.density:.4f}")
        spreads = (f"{found.row_spread:.4f}", f"{found.column_spread:.4f}")
        rows.append(dict(zip(FIELDS, (*values, *spreads), strict=True)))
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
    return rows


def check_unevenness(data: Path, containers: Path, draws: int = 3) -> list[MaskCheck]:
    """Cycles of the same layers, beside those of masks drawn at their density, even and with their own spreads.

    Inputs are random, CHECKED_ACTIVE of them active, the same for all three; biases are left out.
    """
    layers = list(_pruned_layers(data, containers))
    found = []
    with progress_bar("simulating pruned layers and drawn ones", len(layers)) as advance:
        for network, layer, _ in layers:
            pes = 1 << min(6, max(0, (layer.rows // ROWS_PER_PE).bit_length() - 1))
            array = ArrayConfig(num_pes=pes, weight_bits=max(4, layer.weight_bits))
            cycles = np.zeros(3)
            for draw in range(draws):
                masks = [layer]
                for unevenness in (Unevenness(0.0, 0.0), unevenness_of(layer)):
                    shape = (layer.rows, layer.columns, layer.density, CHECKED_ACTIVE)
                    drawn, activations = draw_uneven_layer(layer.name, *shape, draw, unevenness)
                    masks.append(drawn)
                unbiased = [CompressedLayer(mask.name, mask.codes, mask.codebook) for mask in masks]
                cycles += [count(mask, activations, array).cycles for mask in unbiased]
            real, even, uneven = cycles / draws
            found.append(MaskCheck(network, layer.name, pes, real, even / real - 1, uneven / real - 1))
            advance()
    return found


def regularities(rows: Sequence[Mapping[str, Any]]) -> list[Regularity]:
    """Rank correlation (Spearman) of the spreads with density and size, over the layers that were measured."""
    found = []
    for spread in FIELDS[-2:]:
        for size in ("density", "rows", "columns"):
            values, sizes = ([float(row[name]) for row in rows] for name in (spread, size))
            correlation = spearmanr(values, sizes)
            found.append(Regularity(spread, size, float(correlation.statistic), float(correlation.pvalue)))
    return found


def active_columns_gain(layer: CompressedLayer, activations: FloatVector) -> float:
    """How much denser the columns of active inputs are than all columns, as a share."""
    kept = np.count_nonzero(layer.codes, axis=0)
    return float(kept[activations != 0].mean() / kept.mean()) - 1


def _pruned_layers(data: Path, containers: Path) -> Iterator[tuple[str, CompressedLayer, str]]:
    """Network, layer and kind of all that were pruned to LARGEST_DENSITY or less."""
    for network, layer, kind in _layers(data, containers):
        if layer.density <= LARGEST_DENSITY and min(layer.codes.shape) >= LEAST_ROWS:
            yield network, layer, kind


def _layers(data: Path, containers: Path) -> Iterator[tuple[str, CompressedLayer, str]]:
    (alex8,) = REAL_LAYERS.values()
    yield "AlexNet", read_layer(data / alex8)[0], FULLY_CONNECTED
    for step in read_net(data / SQUEEZENET).steps:
        if isinstance(step, LayerStep):
            kind = FULLY_CONNECTED if step.name == SQUEEZENET_CLASSIFIER else "convolution"
            yield "SqueezeNet", step.layer, kind
    for name in CONTAINERS:
        for layer in CompressedModel.load(containers / f"{name}.dc").layers:
            connected = layer.name.startswith("fc") or layer.name == "linear"
            yield name, layer, FULLY_CONNECTED if connected else "convolution"
