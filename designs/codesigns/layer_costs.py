"""Layers of a verified design: size, costs and timeline as measured, beside the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from compress.container.size_report import LayerSize
from compress.planning.plan import Candidate
from designs.codesigns.network_costs import ArrayFigures
from designs.results import Column
from designs.sweeps.evaluation import COUNTS, ENERGIES, LayerRuns
from sim import ArrayConfig
from sim.fixed_point import operands
from sim.observe.cycles import CYCLE_CLASSES, cycle_breakdown
from sim.observe.timeline_summary import BINNED, timeline_summary

LAYERS_FILE = "layers.parquet"
MOST_BINS = 120  # of a timeline
BYTE_KINDS = ("codes", "gaps", "fillers", "codebook", "code_tables", "bias", "header")
_CLASS_MEANINGS = (
    "an entry that is not padding is sent out",
    "a padding entry is sent out",
    "a column without entries is held",
    "nothing is held, and a column is still to come",
    "nothing is held, and no column comes any more",
    "no block runs, since one is moved from or to DRAM",
)
LAYER_COLUMNS = [
    Column("trial", pa.int64(), "", "number of the trial that found the design"),
    Column("digest", pa.string(), "", "hash of design and choices, as in the front"),
    Column("layer", pa.string(), "", "layer of the network"),
    Column("rows", pa.int64(), "rows", "output activations"),
    Column("columns", pa.int64(), "columns", "input activations"),
    Column("vectors", pa.float64(), "vectors/input", "vectors that enter: positions of a convolution, else 1"),
    Column("chosen_density", pa.float64(), "1", "share of weights that the choice keeps"),
    Column("density", pa.float64(), "1", "share of weights and biases that are not zero in the container"),
    Column("weight_bits", pa.int64(), "bit", "code, the index of a shared weight"),
    Column("array_index_bits", pa.int64(), "bit", "gap on the array"),
    Column("file_index_bits", pa.int64(), "bit", "gap in the container"),
    Column("scan_order", pa.string(), "", "order of the entries in the container"),
    Column("predicted_change", pa.float64(), "1", "expected squared change of the outputs by this layer alone"),
    Column("predicted_matrix_bytes", pa.float64(), "bytes", "codes, gaps, their tables and codebook in the file"),
    Column("matrix_bytes", pa.float64(), "bytes", "the same, measured"),
    *(Column(f"{name}_bytes", pa.int64(), "bytes", "of the container") for name in BYTE_KINDS),
    Column("stored_entries", pa.int64(), "entries", "in the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding in the packed matrix"),
    Column("predicted_cycles", pa.float64(), "cycles/input", "mean"),
    Column("predicted_energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean, measured"),
    *(
        Column(name, pa.float64(), "1/input", f"{name.replace('_', ' ')}, mean, measured")
        for name in COUNTS
        if name != "waiting_cycles"  # equal to the class of that name
    ),
    *(
        Column(f"{name}_cycles", pa.float64(), "cycles/input", f"of a PE, mean of all PEs, in which {meaning}")
        for name, meaning in zip(CYCLE_CLASSES, _CLASS_MEANINGS, strict=True)
    ),
    *(Column(name, pa.float64(), "pJ/input", "energy of this block, mean, measured") for name in ENERGIES),
    Column("timeline_cycles", pa.list_(pa.int64()), "cycles", "ends of the bins below, of a vector of typical length"),
    *(
        Column(f"timeline_{name}", pa.list_(pa.float64()), "", f"{name.replace('_', ' ')}, mean of a bin")
        for name in BINNED
    ),
]


def layer_rows(
    candidates: Mapping[str, Candidate],
    predicted: ArrayFigures,
    measured: ArrayFigures,
    sizes: Sequence[LayerSize],
) -> list[dict[str, Any]]:
    """Return LAYER_COLUMNS except trial and digest, as plain values, one row per layer in order.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        The choice of each layer with its predictions.
    predicted, measured : ArrayFigures
        Costs of the design: of the layers as the planner makes them, and of the layers of the container.
    sizes : sequence of LayerSize
        Sizes of the layers in the container, in order.

    Notes
    -----
    The cycles of the classes add up to the layer's cycles; they are nan if the design does not run the layer. The
    timeline belongs to the vector whose cycles are nearest to the mean; it is empty if the layer runs in blocks.
    """
    rows = []
    for number, ((name, run), size) in enumerate(zip(measured.runs.items(), sizes, strict=True)):
        candidate, before = candidates[name], list(predicted.runs).index(name)
        array = measured.design.array
        bytes_by_kind = {f"{kind}_bytes": getattr(size, kind) for kind in BYTE_KINDS}
        rows.append(
            {
                "layer": name,
                "rows": run.work.layer.rows,
                "columns": run.work.layer.columns,
                "vectors": measured.per_input[name],
                "chosen_density": candidate.choice.density,
                "density": size.kept / size.parameters,
                "weight_bits": run.work.layer.weight_bits,
                "array_index_bits": array.index_bits,
                "file_index_bits": size.index_bits,
                "scan_order": size.scan_order,
                "predicted_change": candidate.change,
                "predicted_matrix_bytes": candidate.costs["file_bytes"],
                "matrix_bytes": float(size.matrix),
                **bytes_by_kind,
                "stored_entries": run.packed.stored_entries,
                "padding_entries": run.packed.padding_entries,
                "predicted_cycles": float(predicted.counts[before, COUNTS.index("cycles")]),
                "predicted_energy_pj": float(predicted.energies_pj[:, before].sum()),
                "energy_pj": float(measured.energies_pj[:, number].sum()),
                **dict(zip(COUNTS, map(float, measured.counts[number]), strict=True)),
                **dict(zip(ENERGIES, map(float, measured.energies_pj[:, number]), strict=True)),
                **_over_time(run, array, measured.per_input[name], bool(np.isfinite(measured.counts[number]).all())),
            }
        )
    return rows


def _over_time(run: LayerRuns, array: ArrayConfig, per_input: float, runs: bool) -> dict[str, Any]:
    """Return the cycles by class per input, and the timeline of one vector."""
    if not runs:
        classes = dict.fromkeys((f"{name}_cycles" for name in CYCLE_CLASSES), float("nan"))
        return classes | {f"timeline_{name}": [] for name in ("cycles", *BINNED)}
    vectors = run.work.activations
    number_format = operands(run.packed.layer, vectors, array).number_format
    breakdowns = [cycle_breakdown(run.packed, vector, array, number_format) for vector in vectors]
    means = {
        f"{name}_cycles": float(np.mean([getattr(each, name).mean() for each in breakdowns]) * per_input)
        for name in CYCLE_CLASSES
    }
    cycles = np.array([each.cycles for each in breakdowns])
    typical = vectors[int(np.abs(cycles - cycles.mean()).argmin())]
    timeline: dict[str, Any] = {name: [] for name in ("cycles", *BINNED)}
    if run.stays_on(array):
        edges, bins = timeline_summary(run.packed, typical, array).bins(MOST_BINS)
        timeline = {"cycles": edges[1:].tolist()} | {name: values.round(4).tolist() for name, values in bins.items()}
    return means | {f"timeline_{name}": values for name, values in timeline.items()}
