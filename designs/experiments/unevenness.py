"""Measurement of the mask unevenness of pruned layers, the source of the table in `traces.unevenness`.

Counts of kept weights vary more from row to row than those of a random mask. The variance of the rows' densities is
this variance minus the binomial one; the same holds for columns. The spreads of the scales of rows and columns are
solved for, so that they cause these variances at the layer's density.
"""

from __future__ import annotations

import dataclasses
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
from designs.paper_sources import CONTAINERS, SQUEEZENET
from sim import ArrayConfig, count
from traces import CompressedLayer
from traces.arrays import Floats32
from traces.eie_benchmark import REAL_LAYERS
from traces.files.csv_file import write_csv
from traces.files.deep_compression_net import read_net
from traces.files.npz import read_layer
from traces.shell.progress import progress_bar
from traces.synthetic import draw_uneven_layer
from traces.unevenness import FIELDS, FULLY_CONNECTED, Unevenness

SQUEEZENET_CLASSIFIER = "conv_final"  # 1 x 1: at each position, a fully connected layer
LARGEST_DENSITY = 0.5  # denser layers were hardly pruned
LEAST_ROWS = 10
ROWS_PER_PE, CHECKED_ACTIVE = 8, 0.4
_LARGEST_SPREAD = 3.0
_ITERATIONS = 8
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_SHARES = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class MaskCheck:
    """Cycles of a pruned layer and of masks drawn at its density.

    Attributes
    ----------
    network, layer : str
        Names of the network and of the layer.
    num_pes : int
        PEs of the array.
    cycles : float
        Cycles of the pruned layer.
    even_difference, uneven_difference : float
        Relative difference of the cycles of random masks, and of masks with the layer's own spreads.
    """

    network: str
    layer: str
    num_pes: int
    cycles: float
    even_difference: float
    uneven_difference: float


@dataclass(frozen=True)
class Regularity:
    """Rank correlation of a spread with the density or a size of the layer.

    Attributes
    ----------
    spread : str
        row_spread or column_spread.
    size : str
        density, rows or columns.
    correlation : float
        Spearman's rank correlation.
    chance : float
        p value of no correlation.
    """

    spread: str
    size: str
    correlation: float
    chance: float


def unevenness_of(layer: CompressedLayer) -> Unevenness:
    """Return the spreads of one layer's mask; 0 if its counts vary no more than by chance."""
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
    """Return the squared coefficient of variation of the rows' (or columns') densities, without that of chance.

    Parameters
    ----------
    counts : int64 [rows]
        Kept weights of each row.
    most : int
        Weights of a row before pruning.
    """
    density = float(counts.mean()) / most
    if len(counts) < 2 or most < 2:
        return 0.0
    variance = float(counts.var(ddof=1)) - most * density * (1 - density)
    return max(0.0, variance / (most * (most - 1)) / density**2)


def _spread(wanted: float, other: float, density: float) -> float:
    """Return the spread of the rows' scales that causes the wanted excess, if the columns have spread `other`."""
    if wanted == 0:
        return 0.0
    if _excess_of(_LARGEST_SPREAD, other, density) <= wanted:
        return _LARGEST_SPREAD
    return float(brentq(lambda spread: _excess_of(spread, other, density) - wanted, 0.0, _LARGEST_SPREAD, xtol=1e-6))


def _excess_of(spread: float, other: float, density: float) -> float:
    """Return the squared coefficient of variation of the rows' densities, given their mean."""
    logarithms = np.add.outer(spread * _NODES, other * _NODES)

    def densities(threshold: float) -> npt.NDArray[np.float64]:
        kept: npt.NDArray[np.float64] = 2 * ndtr(-np.exp(threshold - logarithms)) @ _SHARES
        return kept

    threshold = brentq(lambda logarithm: float(_SHARES @ densities(logarithm)) - density, -60, 60)
    return float(_SHARES @ densities(threshold) ** 2) / density**2 - 1


def measure_unevenness(data: Path, containers: Path, path: Path) -> list[dict[str, Any]]:
    """Measure the layers that were pruned to LARGEST_DENSITY or less; write them to a CSV file.

    Parameters
    ----------
    data : Path
        Folder that holds alex8/alex8.npz and SqueezeNet's squeezenet_deep_compression/*.net.
    containers : Path
        Folder of the project's own compressed networks, CONTAINERS.
    path : Path
        CSV file to write.

    Returns
    -------
    list of dict
        Rows of the file, with FIELDS.

    Raises
    ------
    InputError
        If a source file is missing.
    """
    rows = []
    for network, layer, kind in _pruned_layers(data, containers):
        unevenness = unevenness_of(layer)
        values = (network, layer.name, kind, layer.rows, layer.columns, f"{layer.density:.4f}")
        spreads = (f"{unevenness.row_spread:.4f}", f"{unevenness.column_spread:.4f}")
        rows.append(dict(zip(FIELDS, (*values, *spreads), strict=True)))
    write_csv(path, FIELDS, [[row[name] for name in FIELDS] for row in rows])
    return rows


def check_unevenness(data: Path, containers: Path, draws: int = 3) -> list[MaskCheck]:
    """Compare the cycles of the same layers with those of masks drawn at their density, random and uneven.

    The three have the same random inputs, a share CHECKED_ACTIVE of them active; biases are omitted. Cycles are means
    of `draws` draws.
    """
    layers = list(_pruned_layers(data, containers))
    checks = []
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
                unbiased = [dataclasses.replace(mask, bias=None, free_bias=None) for mask in masks]
                cycles += [count(mask, activations, array).cycles for mask in unbiased]
            real, even, uneven = cycles / draws
            checks.append(MaskCheck(network, layer.name, pes, real, even / real - 1, uneven / real - 1))
            advance()
    return checks


def regularities(rows: Sequence[Mapping[str, Any]]) -> list[Regularity]:
    """Return Spearman's rank correlation of each spread with density and size over the measured layers."""
    correlations = []
    for spread in FIELDS[-2:]:
        for size in ("density", "rows", "columns"):
            values, sizes = ([float(row[name]) for row in rows] for name in (spread, size))
            rank = spearmanr(values, sizes)
            correlations.append(Regularity(spread, size, float(rank.statistic), float(rank.pvalue)))
    return correlations


def active_columns_gain(layer: CompressedLayer, activations: Floats32) -> float:
    """Return the relative excess density of the columns of active inputs over all columns."""
    kept = np.count_nonzero(layer.codes, axis=0)
    return float(kept[activations != 0].mean() / kept.mean()) - 1


def _pruned_layers(data: Path, containers: Path) -> Iterator[tuple[str, CompressedLayer, str]]:
    """Yield network, layer and kind of the layers pruned to LARGEST_DENSITY or less."""
    for network, layer, kind in _layers(data, containers):
        if layer.density <= LARGEST_DENSITY and min(layer.codes.shape) >= LEAST_ROWS:
            yield network, layer, kind


def _layers(data: Path, containers: Path) -> Iterator[tuple[str, CompressedLayer, str]]:
    (alex8,) = REAL_LAYERS.values()
    yield "AlexNet", read_layer(data / alex8)[0], FULLY_CONNECTED
    for layer in read_net(data / SQUEEZENET).layers:
        yield "SqueezeNet", layer, FULLY_CONNECTED if layer.name == SQUEEZENET_CLASSIFIER else "convolution"
    for name in CONTAINERS:
        for layer in CompressedModel.load(containers / f"{name}.dc").layers:
            connected = layer.name.startswith("fc") or layer.name == "linear"
            yield name, layer, FULLY_CONNECTED if connected else "convolution"
