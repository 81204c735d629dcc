"""The EIE benchmark: the nine layers of the paper's Table IV on the paper's array."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.design import DESIGN_COLUMNS, Design, design_row
from designs.results import Column, provenance, table_of, write_results
from sim import ArrayConfig, Energy, count_all, pack
from traces import CompressedLayer, InputError
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.npz import read_layer_and_input
from traces.layer import FloatVector
from traces.shell.progress import progress_bar

BENCHMARK_COLUMNS = [
    *DESIGN_COLUMNS,
    Column("layer", pa.string(), "", "layer of the benchmark"),
    Column(
        "weights", pa.string(), "", "'real' as published, or masks at the published densities, 'random' or 'uneven'"
    ),
    Column("draw", pa.int32(), "", "number of the draw, from 0; uneven masks may be drawn more than once"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("kept_weights", pa.int64(), "weights", "that are not zero, without the bias"),
    Column("active_inputs", pa.int32(), "columns", "input activations that are not zero"),
    Column("layer_macs", pa.int64(), "MACs", "kept weights in the columns of active inputs, without the bias"),
    Column("stored_entries", pa.int64(), "entries", "in the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding in the packed matrix"),
    Column("cycles", pa.int64(), "cycles", "of the layer"),
    Column(
        "cycles_in_batches", pa.int64(), "cycles", "if inputs came BATCH_INPUTS at a time, one batch after the other"
    ),
    Column("processed_entries", pa.int64(), "entries", "gone through, padding included"),
    Column("useful_macs", pa.int64(), "MACs", "multiply-accumulates that are not padding"),
    Column("pointer_reads", pa.int64(), "pairs", "begin and end of a column"),
    Column("line_reads", pa.int64(), "lines", "lines of the sparse-matrix SRAM"),
    Column("efficiency", pa.float64(), "1", "useful MACs per PE and cycle"),
    Column("theoretical_us", pa.float64(), "us", "useful MACs at one per PE and cycle"),
    Column("latency_us", pa.float64(), "us", "cycles over the clock frequency"),
    Column("energy_pj", pa.float64(), "pJ", "energy at 45 nm, of all blocks"),
    *(Column(field.name, pa.float64(), "pJ", "energy of this block") for field in dataclasses.fields(Energy)),
    Column("paper_theoretical_us", pa.float64(), "us", "EIE, Table IV"),
    Column("paper_actual_us", pa.float64(), "us", "EIE, Table IV"),
]
BENCHMARK_FILE = "eie_benchmark.parquet"
BATCH_INPUTS = 4096  # EIE, section IV: a longer vector comes in batches of so many
Source = tuple[CompressedLayer, FloatVector]
_COUNTS = [
    "stored_entries",
    "padding_entries",
    "cycles",
    "useful_macs",
    "pointer_reads",
    "line_reads",
    "efficiency",
    "latency_us",
]


def benchmark_sources(data: Path | None = None, uneven_draws: int = 0) -> list[tuple[str, str, Callable[[], Source]]]:
    """Name, kind of weights and source of the nine layers and of the real ones that the folder `data` holds.

    uneven_draws   how many uneven masks of each layer to draw beside the random one
    """
    if data is not None and not data.is_dir():
        raise InputError(
            f"{data}: there is no such folder of data; the real layers lie in DIR/alex8/alex8.npz and the like"
        )
    sources: list[tuple[str, str, Callable[[], Source]]] = []
    for name, published in EIE_BENCHMARK.items():
        sources.append((name, "random", published.draw))
        sources += [(name, "uneven", partial(published.draw_uneven, draw)) for draw in range(uneven_draws)]
        if data is not None and name in REAL_LAYERS and (data / REAL_LAYERS[name]).exists():
            sources.append((name, "real", partial(read_layer_and_input, data / REAL_LAYERS[name])))
    return sources


def run_benchmark(path: Path, data: Path | None = None, uneven_draws: int = 0) -> pa.Table:
    """Simulate the nine layers, and the real ones that the folder `data` holds; write the result file `path`.

    uneven_draws   how many uneven masks of each layer to draw beside the random one
    """
    config = ArrayConfig()
    sources = benchmark_sources(data, uneven_draws)
    rows: list[dict[str, Any]] = []
    draws: Counter[tuple[str, str]] = Counter()
    with progress_bar("simulating benchmark layers", len(sources)) as advance:
        for name, weights, draw in sources:
            layer, activations = draw()
            published = EIE_BENCHMARK[name]
            (counts,) = count_all(pack(layer, config), activations, [config])
            active = activations != 0
            rows.append(
                {
                    **design_row(Design(config)),
                    "layer": name,
                    "weights": weights,
                    "draw": draws[name, weights],
                    "rows": layer.rows,
                    "columns": layer.columns,
                    "kept_weights": np.count_nonzero(layer.codes),
                    "active_inputs": np.count_nonzero(active),
                    "layer_macs": np.count_nonzero(layer.codes[:, active]),
                    "cycles_in_batches": _cycles_in_batches(layer, activations, config, counts.cycles),
                    "processed_entries": int(counts.entries_per_pe.sum()),
                    **{field: getattr(counts, field) for field in _COUNTS},
                    "theoretical_us": counts.useful_macs / config.num_pes / config.clock_mhz,
                    "energy_pj": counts.energy.total_pj,
                    **dataclasses.asdict(counts.energy),
                    "paper_theoretical_us": published.paper_theoretical_us,
                    "paper_actual_us": published.paper_actual_us,
                }
            )
            draws[name, weights] += 1
            advance()
    table = table_of(BENCHMARK_COLUMNS, rows)
    write_results(path, table, provenance({"real_layers": [name for name, weights, _ in sources if weights == "real"]}))
    return table


def _cycles_in_batches(layer: CompressedLayer, activations: FloatVector, config: ArrayConfig, cycles: int) -> int:
    """Cycles if each batch of inputs begins when the one before is done; `cycles` if one batch takes them all."""
    if layer.columns <= BATCH_INPUTS:
        return cycles
    total = 0
    for begin in range(0, layer.columns, BATCH_INPUTS):
        part = slice(begin, begin + BATCH_INPUTS)
        bias = layer.bias if part.stop >= layer.columns else None
        batch = pack(CompressedLayer(layer.name, layer.codes[:, part], layer.codebook, bias), config)
        total += count_all(batch, activations[part], [config])[0].cycles
    return total
