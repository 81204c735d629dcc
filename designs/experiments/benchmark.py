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

from designs.design import Design, design_row
from designs.result_files import BENCHMARK_COLUMNS, BENCHMARK_STEPS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, count_all, pack
from sim.limits import BINDING
from traces import CompressedLayer, InputError
from traces.arrays import Floats32
from traces.eie_benchmark import EIE_BENCHMARK, REAL_LAYERS
from traces.files.npz import read_layer_and_input
from traces.shell.progress import progress_bar

BATCH_INPUTS = 4096  # EIE, section IV: a longer vector is split into batches of this length
Source = tuple[CompressedLayer, Floats32]
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
    """List the nine layers, and the real ones that the folder of data holds.

    Parameters
    ----------
    data : Path, optional
        Folder of real layers, such as alex8/alex8.npz.
    uneven_draws : int
        Number of uneven masks to draw for each layer, besides the random one.

    Returns
    -------
    list of (name, weights, draw)
        Name of the layer; "random", "uneven" or "real"; function that returns the layer and its activations.

    Raises
    ------
    InputError
        If the folder of data does not exist.
    """
    if data is not None and not data.is_dir():
        raise InputError(
            f"{data}: there is no such folder of data; it must hold the real layers as alex8/alex8.npz and so on"
        )
    sources: list[tuple[str, str, Callable[[], Source]]] = []
    for name, published in EIE_BENCHMARK.items():
        sources.append((name, "random", published.draw))
        sources += [(name, "uneven", partial(published.draw_uneven, draw)) for draw in range(uneven_draws)]
        if data is not None and name in REAL_LAYERS and (data / REAL_LAYERS[name]).exists():
            sources.append((name, "real", partial(read_layer_and_input, data / REAL_LAYERS[name])))
    return sources


def run_benchmark(path: Path, data: Path | None = None, uneven_draws: int = 0) -> pa.Table:
    """Simulate the nine layers, and the real ones that the folder of data holds; write the result file.

    Parameters
    ----------
    path : Path
        Result file to write, with BENCHMARK_COLUMNS.
    data, uneven_draws
        As of `benchmark_sources`.

    Returns
    -------
    pyarrow.Table
        The rows of the result file.
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
            active, limit = activations != 0, counts.limit
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
                    "processed_entries": counts.processed_entries,
                    **{field: getattr(counts, field) for field in _COUNTS},
                    "limit_cycles": limit.limit_cycles,
                    "limit_share": limit.share,
                    "limit_binds": BINDING[limit.binds],
                    **{f"share_{name}": limit.shares[name] for name in BENCHMARK_STEPS},
                    "theoretical_us": counts.useful_macs / config.num_pes / config.clock_mhz,
                    "energy_pj": counts.energy.total_pj,
                    "limit_energy_pj": counts.energy_limit.limit_pj,
                    "limit_bytes": counts.byte_limit.limit_bytes,
                    "sram_bytes": counts.byte_limit.stored_bytes,
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


def _cycles_in_batches(layer: CompressedLayer, activations: Floats32, config: ArrayConfig, cycles: int) -> int:
    """Return the cycles of running the inputs batch after batch; `cycles` if all fit one batch."""
    if layer.columns <= BATCH_INPUTS:
        return cycles
    total = 0
    for begin in range(0, layer.columns, BATCH_INPUTS):
        part = slice(begin, begin + BATCH_INPUTS)
        bias = layer.bias if part.stop >= layer.columns else None
        batch = pack(dataclasses.replace(layer, codes=layer.codes[:, part], bias=bias, free_bias=None), config)
        total += count_all(batch, activations[part], [config])[0].cycles
    return total
