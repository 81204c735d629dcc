"""Layers of a verified design: size, costs and timeline as measured, beside the predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from compress.container.size_report import LayerSize
from compress.planning.plan import Candidate
from designs.codesigns.array_cost import ArrayCost, ArrayFigures
from designs.codesigns.product_runs import ProductRuns
from designs.results import Column
from designs.sweeps.evaluation import COUNTS, ENERGIES, LIMITS, NETWORK_CYCLES, energies_pj
from sim import ArrayConfig, FixedPoint, PackedLayer
from sim.limits import BINDING, Limit, limit_of_network, sum_of_limits
from sim.network import LayerCosts
from sim.observe.cycles import CYCLE_CLASSES, cycle_breakdown
from sim.observe.timeline_summary import BINNED, timeline_summary
from traces.arrays import Floats32, Floats64

LAYERS_FILE = "layers.parquet"
MOST_BINS = 120  # of a timeline
_TIMED = 64  # vectors whose cycles are told apart
BYTE_KINDS = ("codes", "gaps", "fillers", "codebook", "code_tables", "bias", "header")
_NETWORK_CYCLES = [COUNTS.index(name) for name in NETWORK_CYCLES]
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
    Column("kind", pa.string(), "", "kinds of its products; look-up, off the array or not called if there are none"),
    Column("rows", pa.int64(), "rows", "output activations"),
    Column("columns", pa.int64(), "columns", "input activations"),
    *(
        Column(f"{name}_left_out", pa.int64(), name, f"{name} without weights that no product multiplies", newer=True)
        for name in ("rows", "columns")
    ),
    Column("vectors", pa.float64(), "vectors/input", "vectors that enter: positions, steps, groups, calls"),
    Column("activation_threshold", pa.float64(), "", "magnitude up to which activations count as zero", newer=True),
    Column("broadcast_share", pa.float64(), "1", "activations that are broadcast, share of all, measured", newer=True),
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
    Column("entropy_bytes", pa.float64(), "bytes", "of codes and gaps, each by its frequency alone", newer=True),
    Column("stored_entries", pa.int64(), "entries", "in the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding in the packed matrix"),
    Column("residency", pa.string(), "", "whether the weights stay in the SRAMs; empty if there are none, or not run"),
    Column("load_bytes", pa.float64(), "bytes/input", "weights loaded from DRAM, mean, measured"),
    Column("predicted_cycles", pa.float64(), "cycles/input", "of the array, mean"),
    Column("predicted_network_cycles", pa.float64(), "cycles/input", "with waits for port, switches and DRAM, mean"),
    Column("predicted_energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean"),
    Column("sampling_error", pa.float64(), "1", "bound on the relative error of both predictions by samples, 95 %"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy of all blocks, mean, measured"),
    *(
        Column(name, pa.float64(), "1/input", f"{name.replace('_', ' ')}, mean, measured")
        for name in COUNTS
        if name not in (*LIMITS, "waiting_cycles")  # that is equal to the class of that name
    ),
    *(
        Column(name, pa.float64(), "cycles/input", f"{name.replace('_', ' ')}, mean (`sim.limits`)", newer=True)
        for name in (*LIMITS, "limit_cycles")
    ),
    Column("limit_share", pa.float64(), "1", "limit of the cycles over the measured ones", newer=True),
    Column(
        "limit_binds",
        pa.string(),
        "",
        "what sets the limit: most loaded PE, broadcasts or port; else empty",
        newer=True,
    ),
    Column("limit_energy_pj", pa.float64(), "pJ/input", "least energy, mean (`sim.entropy_limits`)", newer=True),
    Column("limit_bytes", pa.float64(), "bytes", "least of its weights in SRAMs (`sim.weight_entropy`)", newer=True),
    Column("sram_bytes", pa.float64(), "bytes", "of its weights and pointers in the SRAMs", newer=True),
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


@dataclass(frozen=True, eq=False)
class MeasuredCosts:
    """Costs of a compressed network on one design, as simulated whole.

    Attributes
    ----------
    estimated : ArrayFigures
        Costs from samples of its vectors.
    layers : mapping of str to list of LayerCosts
        Counts of the products of each layer, summed over the vectors of each input; empty if the design does not run
        the network.
    output_difference : float
        Largest difference of an output on the array from that of the same network in floating point.
    """

    estimated: ArrayFigures
    layers: Mapping[str, Sequence[LayerCosts]]
    output_difference: float = math.nan

    @cached_property
    def counts(self) -> Floats64:
        """COUNTS per input, mean, [layers, counts]; nan if the design does not run the network."""
        if not self.layers:
            return np.full_like(self.estimated.counts, np.nan)
        return np.array([[_mean(of_layer, name) for name in COUNTS] for of_layer in self.layers.values()])

    def residency(self, name: str) -> str:
        """Return the residency of a layer's products; empty if there are none or the design does not run them."""
        return ", ".join(dict.fromkeys(product.residency for product in self.layers.get(name, ())))

    def load_bytes(self, name: str) -> float:
        """Return the bytes of a layer's weights that are loaded from DRAM per input, mean; nan if it is not run."""
        return _mean(self.layers[name], "load_bytes") if self.layers else math.nan

    def broadcast_share(self, name: str) -> float:
        """Return the share of the activations of a layer's products that are broadcast; nan if there are none."""
        shares = [
            (product.activation_density, product.columns * product.vectors)
            for product in self.layers.get(name, ())
            if product.vectors
        ]
        entering = sum(activations for _, activations in shares)
        return sum(share * activations for share, activations in shares) / entering if shares else math.nan

    @cached_property
    def energies_pj(self) -> Floats64:
        """Energy of each block per input, in pJ, [blocks, layers]."""
        return energies_pj(self.estimated.design.array, self.counts)

    @property
    def network_limits(self) -> dict[str, Any]:
        """Limits of the whole network: the values of `designs.codesigns.columns.LIMIT_COLUMNS`."""
        products = [product for of_layer in self.layers.values() for product in of_layer]
        if not products:
            lacking = dict.fromkeys(("limit_cycles", "limit_share", "limit_energy_nj", "limit_bytes"), math.nan)
            return lacking | {"limit_binds": ""}
        limits = _limits_of(products, limit_of_network(products))
        energy_nj = limits.pop("limit_energy_pj") / 1e3
        return limits | {"limit_energy_nj": energy_nj}

    def limits(self, name: str) -> dict[str, Any]:
        """Return the limits and sram_bytes of a layer, by LAYER_COLUMNS; nan if the design does not run the network."""
        products = self.layers.get(name, ())
        if not products:  # 0 is all that it takes
            shares = {"limit_share": 1.0 if self.layers else math.nan, "limit_binds": ""}
            names = ("limit_cycles", "limit_energy_pj", "limit_bytes", "sram_bytes")
            return shares | dict.fromkeys(names, 0.0 if self.layers else math.nan)
        limits = _limits_of(products, sum_of_limits([product.limit for product in products]))
        return limits | {"sram_bytes": sum(product.byte_limit.stored_bytes for product in products)}

    @property
    def latency_us(self) -> float:
        """Latency per input."""
        return float(self.counts[:, _NETWORK_CYCLES].sum()) / self.estimated.design.array.clock_mhz

    @property
    def energy_nj(self) -> float:
        """Energy per input."""
        return float(self.energies_pj.sum()) / 1e3


def _limits_of(products: Sequence[LayerCosts], limit: Limit) -> dict[str, Any]:
    """Return the limits of some products together, mean per input; `limit` is that of their cycles."""
    inputs = products[0].cycles.size
    return {
        "limit_cycles": limit.limit_cycles / inputs,
        "limit_share": limit.share,
        "limit_binds": BINDING[limit.binds],
        "limit_energy_pj": sum(product.energy_limit.limit_pj for product in products) / inputs,
        "limit_bytes": sum(product.byte_limit.limit_bytes for product in products),
    }


def _mean(products: Sequence[LayerCosts], name: str) -> float:
    names = ("dram_read_bytes", "dram_write_bytes") if name == "dram_bytes" else (name,)
    return float(sum(np.mean(getattr(product, each)) for product in products for each in names))


def counts_of_rows(rows: Sequence[Mapping[str, Any]]) -> Floats64:
    """Return COUNTS per input, mean, [layers, counts], of rows of LAYER_COLUMNS."""
    return np.array([[row[name] for name in COUNTS] for row in rows], dtype=np.float64).reshape(len(rows), len(COUNTS))


def layer_rows(
    candidates: Mapping[str, Candidate],
    cost: ArrayCost,
    predicted: ArrayFigures,
    measured: MeasuredCosts,
    sizes: Sequence[LayerSize],
) -> list[dict[str, Any]]:
    """Return LAYER_COLUMNS except trial and digest, as plain values, one row per layer in order.

    Parameters
    ----------
    candidates : mapping of str to Candidate
        The choice of each layer with its predictions.
    cost : ArrayCost
        Costs of the layers of the container.
    predicted : ArrayFigures
        Costs of the design, of the layers as the planner makes them.
    measured : MeasuredCosts
        Costs of the container.
    sizes : sequence of LayerSize
        Sizes of the layers in the container, in order.

    Notes
    -----
    The cycles of the classes add up to the layer's cycles; they are nan if the design does not run the layer. Their
    shares are those of a sample of the vectors. The timeline belongs to the vector whose cycles are nearest to the
    mean, of the product and group with the most cycles; it is empty if the layer runs in blocks or not on the array.
    """
    rows = []
    estimated = measured.estimated
    for number, ((name, runs), size) in enumerate(zip(estimated.runs.items(), sizes, strict=True)):
        candidate, before = candidates[name], list(predicted.runs).index(name)
        array, stored, products = estimated.design.array, cost.shape(name), cost.network_layers(name)
        bytes_by_kind = {f"{kind}_bytes": getattr(size, kind) for kind in BYTE_KINDS}
        rows.append(
            {
                "layer": name,
                "kind": cost.kind(name),
                "rows": stored[0],
                "columns": stored[1],
                "rows_left_out": max((product.left_out[0] for product in products), default=0),
                "columns_left_out": max((product.left_out[1] for product in products), default=0),
                "vectors": cost.vectors_per_input(name),
                "activation_threshold": max((product.activation_threshold for product in products), default=0.0),
                "broadcast_share": measured.broadcast_share(name),
                "chosen_density": candidate.choice.density,
                "density": size.kept / size.parameters,
                "weight_bits": candidate.choice.weight_bits,
                "array_index_bits": array.index_bits,
                "file_index_bits": size.index_bits,
                "scan_order": size.scan_order,
                "predicted_change": candidate.change,
                "predicted_matrix_bytes": candidate.costs["file_bytes"],
                "matrix_bytes": float(size.matrix),
                **bytes_by_kind,
                "entropy_bytes": size.entropy_bytes,
                "stored_entries": sum(group.stored_entries for run in runs for group in run.groups),
                "padding_entries": sum(group.padding_entries for run in runs for group in run.groups),
                "residency": measured.residency(name),
                "load_bytes": measured.load_bytes(name),
                "predicted_cycles": float(predicted.counts[before, COUNTS.index("cycles")]),
                "predicted_network_cycles": float(predicted.counts[before, _NETWORK_CYCLES].sum()),
                "predicted_energy_pj": float(predicted.energies_pj[:, before].sum()),
                "sampling_error": float(predicted.errors[before]),
                "energy_pj": float(measured.energies_pj[:, number].sum()),
                **dict(zip(COUNTS, map(float, measured.counts[number]), strict=True)),
                **measured.limits(name),
                **dict(zip(ENERGIES, map(float, measured.energies_pj[:, number]), strict=True)),
                **_over_time(
                    runs,
                    [each.number_format for each in measured.layers.get(name, ())],
                    array,
                    float(measured.counts[number, COUNTS.index("cycles")]),
                ),
            }
        )
    return rows


def _over_time(
    runs: Sequence[ProductRuns], formats: Sequence[FixedPoint | None], array: ArrayConfig, cycles: float
) -> dict[str, Any]:
    """Return the cycles by class per input, and the timeline of one vector; `formats` are those of the products."""
    timeline: dict[str, Any] = {name: [] for name in ("cycles", *BINNED)}
    if not math.isfinite(cycles) or not cycles:
        value = cycles and math.nan
        classes = dict.fromkeys((f"{name}_cycles" for name in CYCLE_CLASSES), value)
        return classes | {f"timeline_{name}": values for name, values in timeline.items()}
    sampled = [run.on(array)[0] for run in runs]
    sums = np.zeros(len(CYCLE_CLASSES))
    busiest: tuple[float, PackedLayer, Floats32, FixedPoint | None] | None = None
    for run, number_format in zip(sampled, formats, strict=True):
        for group, packed in enumerate(run.groups):
            vectors = run.work.group_activations(group)
            vectors = vectors[np.linspace(0, len(vectors) - 1, min(_TIMED, len(vectors))).astype(np.int64)]
            breakdowns = [cycle_breakdown(packed, vector, array, number_format) for vector in vectors]
            means = [float(np.mean([getattr(each, name).mean() for each in breakdowns])) for name in CYCLE_CLASSES]
            sums += np.array(means) * run.work.vectors_per_input
            counts = np.array([each.cycles for each in breakdowns])
            if busiest is None or counts.mean() > busiest[0]:
                typical = vectors[int(np.abs(counts - counts.mean()).argmin())]
                busiest = counts.mean(), packed, typical, number_format
    assert busiest is not None
    classes = {
        f"{name}_cycles": float(share) for name, share in zip(CYCLE_CLASSES, sums / sums.sum() * cycles, strict=True)
    }
    if all(run.stays_on(array) for run in sampled):
        edges, bins = timeline_summary(*busiest[1:3], array, busiest[3]).bins(MOST_BINS)
        timeline = {"cycles": edges[1:].tolist()} | {name: values.round(4).tolist() for name, values in bins.items()}
    return classes | {f"timeline_{name}": values for name, values in timeline.items()}
