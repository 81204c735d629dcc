"""Networks with a codebook for each PE beside one for each layer, at equal bits of a code (PyTorch needed).

The folder of each network holds the networks with each way of sharing (`codebooks`), and the classes of rows that share
a codebook beside exact methods (`assignments`).

Weights are shared by plain k-means after pruning by magnitude, or as in a plan: weighted by sensitivities, with errors
compensated by the weights after them. Rows of a PE are those of interleaving, or of `compress.row_classes`. Losses are
those on inputs that no sharing has seen, cycles those of a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress.config import Codebooks, LayerSettings
from compress.container.model import CompressedModel
from compress.layer_stages import layer_classes, share_layer
from compress.networks import PlannedNetwork, with_graph
from compress.planning.pipeline import ApplicablePlan
from compress.planning.plan import Choice
from compress.planning.planner import folded, layers_without_biases
from compress.pruning import magnitude_mask
from compress.training.compressor import assemble
from designs.experiments.planning.measuring import Judge, planned, tolerance_of
from designs.experiments.planning.networks import Data, MeasuredNetwork, network_makers
from designs.experiments.row_classes import assignments
from designs.result_files import PE_CODEBOOKS_COLUMNS
from designs.results import provenance, table_of, write_results
from designs.stages import Stages
from sim import ArrayConfig, simulate_network
from traces import CompressedLayer, InputError
from traces.arrays import Booleans, Integers, Numbers
from traces.shell.progress import progress_bar

Row = dict[str, Any]
NUM_PES, GROUPS = 64, 8
DENSITIES, WEIGHT_BITS = (1.0, 0.5), (3, 4, 5)
COMPARED_BITS = 4  # at which all ways of sharing are compared
NETWORKS = "stories", "resnet_20", "lenet_300_100"
_MEASURED, _SIMULATED = 2000, 2  # inputs
_TENSOR_BITS = 16


def run_pe_codebooks(data: Data, names: Sequence[str] = ()) -> None:
    """Compare codebooks of layers and of PEs on networks; an interrupted run resumes after its last finished file.

    Parameters
    ----------
    data : Data
        Folders of the networks and their inputs, and of the results.
    names : sequence of str
        Networks to compare; by default all of NETWORKS whose data are here.

    Raises
    ------
    InputError
        If a network is unknown or its data are not here.
    """
    makers = _makers(data)
    unknown = sorted(set(names) - set(makers))
    if unknown or not makers:
        raise InputError(
            f"networks must be among {', '.join(NETWORKS)} and their data in the folder; found "
            f"{', '.join(unknown) or 'no data'}; give --data"
        )
    for name in names or makers:
        _run(makers[name](), data.folder / name)


def _run(network: MeasuredNetwork, folder: Path) -> None:
    """Write the result files of a network."""
    origin = network.origin | {"num_pes": NUM_PES, "groups": GROUPS, "densities": DENSITIES, "weight_bits": WEIGHT_BITS}
    makers: dict[str, Callable[[], Iterable[Row]]] = {
        "assignments": partial(_assigned, network),
        "codebooks": partial(_compared, network, folder / "analyses"),
    }

    def write(part: str, path: Path) -> None:
        rows = list(makers[part]())
        write_results(path, table_of(PE_CODEBOOKS_COLUMNS[part], rows), provenance(origin))

    with Stages(folder) as stages:
        for part in makers:
            stages.run(f"{part}.parquet", origin, partial(write, part))


def _assigned(network: MeasuredNetwork) -> Iterator[Row]:
    """Yield the row classes of a network's matrices beside exact methods."""
    opened = PlannedNetwork.of(network.network, network.pool[:1], graph=True)
    layers, _ = layers_without_biases(folded(opened.module), (), opened.products)
    matrices = {layer.name: layer.matrix for layer in layers}
    for row in assignments(matrices, NUM_PES, (GROUPS, NUM_PES), DENSITIES, COMPARED_BITS):
        yield {"network": network.name, **row}


def _makers(data: Data) -> dict[str, Callable[[], MeasuredNetwork]]:
    makers = network_makers(data)
    return {name: makers[name] for name in NETWORKS if name in makers}


#: Ways of sharing: name, settings of the codebooks, and whether rows stay interleaved.
WAYS: dict[str, tuple[Codebooks, bool]] = {
    "one codebook": ("layer", False),
    "PEs, rows interleaved": ("pe", True),
    "PEs": ("pe", False),
    f"{GROUPS} groups": ("group", False),
}


def _own(way: str) -> dict[str, Any]:
    codebooks, _ = WAYS[way]
    if codebooks == "layer":
        return {}
    return {"codebooks": codebooks, "num_pes": NUM_PES} | ({"codebook_groups": GROUPS} if codebooks == "group" else {})


def _planned(network: MeasuredNetwork, analyses: Path, way: str = "one codebook") -> ApplicablePlan:
    options: dict[str, Any] = {"densities": DENSITIES, "weight_bits": WEIGHT_BITS, "graph": True, "analysis": analyses}
    return planned(network, tolerance_of(network, network.bounds[-1]), **options, **_own(way))


def _compared(network: MeasuredNetwork, analyses: Path) -> Iterator[Row]:
    """Yield a row for each way of sharing a network."""
    plans = {way: _planned(network, analyses, way) for way, (_, interleaved) in WAYS.items() if not interleaved}
    plan = plans["one codebook"]
    labels = None if network.labels is None else network.labels[:_MEASURED]
    judge = Judge(plan, network.unseen[:_MEASURED], labels)
    settings = [
        (density, bits, way)
        for density in DENSITIES
        for bits in WEIGHT_BITS
        for way in WAYS
        if bits == COMPARED_BITS or way in ("one codebook", "PEs")
    ]
    with progress_bar(f"sharing weights of {network.name}", len(settings)) as advance:
        for density, bits, way in settings:
            models = {"k-means": _shared(plan, density, bits, way)}
            if way in plans:
                choices = {layer.name: Choice(density, bits) for layer in plan.planner.layers}
                models["planned"] = plans[way].planner.compress(plan.planned.module, choices)
            for sharing, model in models.items():
                row = {"network": network.name, "sharing": sharing, "codebooks": way, "density": density}
                yield {**row, "weight_bits": bits, **_measured(plan, judge, model, network.unseen)}
            advance()


def _shared(plan: ApplicablePlan, density: float, bits: int, way: str) -> CompressedModel:
    """Return the network after magnitude pruning and k-means in each codebook."""
    settings = LayerSettings(density, bits, share_bias=False, codebook_bits=16, **_own(way))
    compressed = []
    for layer in plan.planner.layers:
        matrix = layer.matrix
        kept = magnitude_mask(matrix, density)
        classes = _interleaved(matrix, settings) if WAYS[way][1] else layer_classes(matrix, kept, settings)
        codes, codebook, _ = share_layer(matrix, kept, None, settings, classes=classes)
        compressed.append(CompressedLayer(layer.name, codes, codebook, row_codebooks=classes))
    planner = plan.planner
    model = assemble(planner.module, planner.layers, planner.left_alone, compressed, _TENSOR_BITS)
    assert planner.network is not None
    return with_graph(model, planner.network)


def _interleaved(matrix: Numbers, settings: LayerSettings) -> Integers:
    return (np.arange(len(matrix)) % settings.num_pes).astype(np.uint16)


def _measured(plan: ApplicablePlan, judge: Judge, model: CompressedModel, inputs: Numbers) -> Mapping[str, Any]:
    """Return error, loss, bytes and cycles of a compressed network."""
    squares = 0.0
    for layer, compressed in zip(plan.planner.layers, model.layers, strict=True):
        kept: Booleans = compressed.codes != 0
        squares += float(np.square((compressed.weights() - layer.view)[kept], dtype=np.float64).sum())
    array = ArrayConfig(num_pes=NUM_PES, weight_bits=max(layer.weight_bits for layer in model.layers))
    result = simulate_network(model, plan.planned.inputs(inputs[:_SIMULATED]), array)
    accuracy, _ = judge.accuracies(model)
    return {
        "squared_error": squares,
        "loss": judge.loss(model),
        "accuracy": accuracy,
        "size_bytes": model.size_bytes,
        "codebook_bytes": sum(layer.codebook for layer in model.size_report.layers),
        "array_cycles": float(sum(layer.cycles.mean() for layer in result.layers)),
        "switch_cycles": float(sum(layer.switch_cycles.mean() for layer in result.layers)),
        "energy_nj": float(result.energy_nj.mean()),
    }
