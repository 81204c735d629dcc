"""Measurement of the mask unevenness of pruned layers, and a check of the masks that are drawn with it.

The table in `traces.unevenness` comes from here. The check compares the cycles of each layer with those of masks drawn
at its density: random ones, those of forms of the model from simple to whole with the parameters of the layer itself,
and those of the whole model with parameters predicted from layers of other groups. A group is a network and the way it
was pruned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from compress import CompressedModel
from designs.paper_sources import CONTAINERS, SQUEEZENET
from designs.result_files import UNEVENNESS_COLUMNS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, count
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Floats64
from traces.eie_benchmark import REAL_LAYERS
from traces.files.checksums import arrays_checksum, read_checked, write_checked
from traces.files.csv_file import write_csv
from traces.files.deep_compression_net import read_net
from traces.files.layer_file import open_layer
from traces.files.npz import read_layer
from traces.mask_measurement import unevenness_of
from traces.shell.progress import progress_bar
from traces.synthetic import draw_uneven_layer
from traces.unevenness import FIELDS, FULLY_CONNECTED, Unevenness, typical_unevenness

CONVOLUTION, ATTENTION = "convolution", "attention"
MAGNITUDE = "magnitude pruning"
SQUEEZENET_CLASSIFIER = "conv_final"  # 1 x 1: at each position, a fully connected layer
COLLECTION = "dlmc"  # folder of the Deep Learning Matrix Collection: NETWORK/PRUNING/LAYER.smtx
COLLECTED_NETWORKS = {"rn50": "ResNet-50", "transformer": "Transformer"}
COLLECTED_PRUNINGS = {"l0_regularization": "L0 regularization"}
LARGEST_DENSITY = 0.5  # denser layers were hardly pruned
LEAST_ROWS = 10
ROWS_PER_PE, MOST_PES, CHECKED_ACTIVE = 8, 64, 0.4
OTHER_PES = (16, 32, 128, 256)  # for layers with a row for each; of 32 and 128 classes the model knows nothing
INPUTS = 16
LAYERS_FOLDER = "layers"  # of the rows of each finished layer
Form = Callable[[Unevenness], Unevenness]


@dataclass(frozen=True)
class PrunedLayer:
    """Pruned layer, its kind and group: network, pruning and kind of layer."""

    network: str
    pruning: str
    kind: str
    layer: CompressedLayer


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


def _two_spreads(own: Unevenness) -> Unevenness:
    """Return the spreads of rows and columns alone."""
    return Unevenness(math.hypot(own.row_spread, own.block_spread), own.column_spread)


def _with_dead(own: Unevenness) -> Unevenness:
    """Return the spreads, and dead rows and columns anywhere."""
    return dataclasses.replace(_two_spreads(own), dead_rows=own.dead_rows, dead_columns=own.dead_columns)


def _with_blocks(own: Unevenness) -> Unevenness:
    """Return everything but heavy tails and fullest classes."""
    return dataclasses.replace(own, row_kurtosis=0.0, fullest_classes=())


def _with_tails(own: Unevenness) -> Unevenness:
    """Return everything but fullest classes."""
    return dataclasses.replace(own, fullest_classes=())


FORMS: Mapping[str, Form] = {
    "random": lambda _: Unevenness(),
    "spreads": _two_spreads,
    "dead": _with_dead,
    "blocks": _with_blocks,
    "tails": _with_tails,
    "own": lambda own: own,
}


def measure_unevenness(data: Path, containers: Path, path: Path) -> list[dict[str, Any]]:
    """Measure the layers that were pruned to LARGEST_DENSITY or less; write them to a CSV file.

    Parameters
    ----------
    data : Path
        Folder that holds alex8/alex8.npz, SqueezeNet's squeezenet_deep_compression/*.net and dlmc/.
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
    rows = [_row(pruned, unevenness_of(pruned.layer)) for pruned in pruned_layers(data, containers)]
    write_csv(path, FIELDS, [[row[name] for name in FIELDS] for row in rows])
    return rows


def predicted_unevenness(rows: Sequence[Mapping[str, str]], known: Mapping[str, str]) -> Unevenness:
    """Predict the unevenness of a layer from those of other groups: what is typical of the layers of its kind.

    Parameters
    ----------
    rows : sequence of mapping
        Measured layers, with FIELDS.
    known : mapping
        The layer: network, pruning and kind.
    """
    others = [row for row in rows if (row["network"], row["pruning"]) != (known["network"], known["pruning"])]
    alike = [row for row in others if row["kind"] == known["kind"]]
    return typical_unevenness(alike or others)


def check_unevenness(
    data: Path, containers: Path, rows: Sequence[Mapping[str, str]], path: Path, draws: int = 4
) -> pa.Table:
    """Compare the cycles of the measured layers with those of masks drawn at their density; write the result file.

    A share CHECKED_ACTIVE of the inputs is active; biases are omitted. The cycles of a layer are the mean of INPUTS
    random inputs, those of drawn masks the mean of `draws` draws, each with an input of its own. Finished layers are
    kept in LAYERS_FOLDER beside the result file, and an interrupted check continues after them.

    Parameters
    ----------
    data, containers
        As of `measure_unevenness`.
    rows : sequence of mapping
        Measured layers, as `measure_unevenness` returns them.
    path : Path
        Result file to write, with UNEVENNESS_COLUMNS.
    draws : int
        Masks of each form.

    Returns
    -------
    pyarrow.Table
        The rows of the result file.
    """
    results: list[dict[str, Any]] = []
    layers = list(pruned_layers(data, containers))
    origin = provenance({"draws": draws, "inputs": INPUTS, "active": CHECKED_ACTIVE})
    kept = path.parent / LAYERS_FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    with progress_bar("simulating pruned layers and drawn ones", len(layers)) as advance:
        for number, (pruned, row) in enumerate(zip(layers, rows, strict=True)):
            predicted, record = predicted_unevenness(rows, row), kept / f"{number}.json"
            belongs_to = [origin, dict(row), vars(predicted), arrays_checksum({"codes": pruned.layer.codes})]
            found = read_checked(record, belongs_to)
            if found is None:
                found = {"rows": list(_check(pruned, row, predicted, draws))}
                write_checked(record, found, belongs_to)
            results += found["rows"]
            advance()
    table = table_of(UNEVENNESS_COLUMNS, results)
    write_results(path, table, origin)
    return table


def _check(pruned: PrunedLayer, row: Mapping[str, str], predicted: Unevenness, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the result file of one layer, one for each number of PEs."""
    layer = dataclasses.replace(pruned.layer, bias=None, free_bias=None)
    most_pes = 1 << min(MOST_PES.bit_length() - 1, max(0, (layer.rows // ROWS_PER_PE).bit_length() - 1))
    pes = [most_pes, *(number for number in OTHER_PES if most_pes == MOST_PES and number <= layer.rows)]
    arrays = [ArrayConfig(num_pes=number, weight_bits=max(4, layer.weight_bits), pointer_bits=32) for number in pes]
    real = np.mean([_cycles(layer, inputs, arrays) for inputs in _inputs(layer.columns)], axis=0)
    own = unevenness_of(layer)
    differences, deviation = {}, np.zeros(len(arrays))
    for name, unevenness in {**{name: form(own) for name, form in FORMS.items()}, "predicted": predicted}.items():
        drawn = np.array([_drawn_cycles(layer, unevenness, draw, arrays) for draw in range(draws)])
        differences[name] = drawn.mean(axis=0) / real - 1
        if name == "own":
            deviation = drawn.std(axis=0, ddof=1) / real
    for place, number in enumerate(pes):
        yield {
            **{name: row[name] for name in ("network", "pruning", "layer", "kind")},
            **{"rows": layer.rows, "columns": layer.columns, "density": layer.density, "num_pes": number},
            **{"main": number == most_pes, "cycles": real[place], "draw_deviation": deviation[place]},
            **{f"{name}_difference": found[place] for name, found in differences.items()},
        }


def _inputs(columns: int) -> Iterator[Floats32]:
    """Yield INPUTS inputs with the share CHECKED_ACTIVE of active ones."""
    stream = np.random.RandomState(0)
    for _ in range(INPUTS):
        inputs = np.zeros(columns, dtype=np.float32)
        inputs[stream.permutation(columns)[: round(CHECKED_ACTIVE * columns)]] = 1
        yield inputs


def _drawn_cycles(layer: CompressedLayer, unevenness: Unevenness, draw: int, arrays: Sequence[ArrayConfig]) -> Floats64:
    shape = (layer.rows, layer.columns, layer.density, CHECKED_ACTIVE)
    drawn, inputs = draw_uneven_layer(layer.name, *shape, draw, unevenness)
    return _cycles(dataclasses.replace(drawn, bias=None), inputs, arrays)


def _cycles(layer: CompressedLayer, inputs: Floats32, arrays: Sequence[ArrayConfig]) -> Floats64:
    return np.array([count(layer, inputs, array).cycles for array in arrays], dtype=np.float64)


def regularities(rows: Sequence[Mapping[str, Any]]) -> list[Regularity]:
    """Return Spearman's rank correlation of each spread with density and size over the measured layers."""
    correlations = []
    for spread in ("row_spread", "column_spread"):
        for size in ("density", "rows", "columns"):
            values, sizes = ([float(row[name]) for row in rows] for name in (spread, size))
            rank = spearmanr(values, sizes)
            correlations.append(Regularity(spread, size, float(rank.statistic), float(rank.pvalue)))
    return correlations


def active_columns_gain(layer: CompressedLayer, activations: Floats32) -> float:
    """Return the relative excess density of the columns of active inputs over all columns."""
    kept = np.count_nonzero(layer.codes, axis=0)
    return float(kept[activations != 0].mean() / kept.mean()) - 1


def pruned_layers(data: Path, containers: Path) -> Iterator[PrunedLayer]:
    """Yield the layers pruned to LARGEST_DENSITY or less; raise InputError if a source file is missing."""
    for pruned in _layers(data, containers):
        if pruned.layer.density <= LARGEST_DENSITY and min(pruned.layer.codes.shape) >= LEAST_ROWS:
            yield pruned


def _layers(data: Path, containers: Path) -> Iterator[PrunedLayer]:
    (alex8,) = REAL_LAYERS.values()
    yield PrunedLayer("AlexNet", MAGNITUDE, FULLY_CONNECTED, read_layer(data / alex8)[0])
    for layer in read_net(data / SQUEEZENET).layers:
        kind = FULLY_CONNECTED if layer.name == SQUEEZENET_CLASSIFIER else CONVOLUTION
        yield PrunedLayer("SqueezeNet", MAGNITUDE, kind, layer)
    for name in CONTAINERS:
        if not (containers / f"{name}.dc").exists():
            raise InputError(
                f"containers must be the folder of the project's own compressed networks; found no {name}.dc in "
                f"{containers}; give tests/containers of a clone of the project"
            )
        for layer in CompressedModel.load(containers / f"{name}.dc").layers:
            connected = layer.name.startswith("fc") or layer.name == "linear"
            yield PrunedLayer(name, MAGNITUDE, FULLY_CONNECTED if connected else CONVOLUTION, layer)
    collected = sorted((data / COLLECTION).glob("*/*/*.smtx"))
    if not collected:
        raise InputError(
            f"{data / COLLECTION}: must hold masks of the Deep Learning Matrix Collection as NETWORK/PRUNING/LAYER.smtx"
        )
    for path in collected:
        network, pruning = path.parent.parent.name, path.parent.name
        yield PrunedLayer(
            COLLECTED_NETWORKS.get(network, network),
            COLLECTED_PRUNINGS.get(pruning, pruning.replace("_", " ")),
            _kind_of(path.stem),
            dataclasses.replace(open_layer(path)[0], name=path.stem),
        )


def _kind_of(name: str) -> str:
    """Return the kind of a layer of the collection."""
    if "attention" in name:
        return ATTENTION
    return FULLY_CONNECTED if "ffn" in name or "dense" in name else CONVOLUTION


def _row(pruned: PrunedLayer, unevenness: Unevenness) -> dict[str, str]:
    layer = pruned.layer
    return {
        **{"network": pruned.network, "pruning": pruned.pruning, "layer": layer.name, "kind": pruned.kind},
        **{"rows": str(layer.rows), "columns": str(layer.columns), "density": f"{layer.density:.4f}"},
        **unevenness.row(),
    }
