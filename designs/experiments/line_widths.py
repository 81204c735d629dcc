"""Line reads and their energy against the width of a sparse-matrix line (EIE's Fig 9).

Reads are counted under three rules, because the paper does not state its own:

    kept        the machine's rule: it keeps the line that it read last, and the next column may begin in that line
    anew        columns share lines, but each column reads its lines anew
    own lines   each column begins a line of its own and reads it anew
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.experiments.benchmark import benchmark_sources
from designs.result_files import LINE_WIDTH_COLUMNS
from designs.results import provenance, table_of, write_results
from sim import ArrayConfig, PackedLayer, count_all, pack
from sim.cost.energy import DEFAULT_PRESET, event_energies
from traces.arrays import Floats32
from traces.shell.progress import progress_bar

LINE_WIDTHS = (16, 32, 64, 128, 256, 512)


def run_line_widths(path: Path, data: Path | None = None) -> pa.Table:
    """Count the benchmark's line reads for each width on the paper's array; write and return the result file `path`."""
    array = ArrayConfig()
    arrays = [dataclasses.replace(array, line_bits=width) for width in LINE_WIDTHS]
    sources = benchmark_sources(data)
    rows: list[dict[str, Any]] = []
    with progress_bar("counting line reads", len(sources)) as advance:
        for name, weights, draw in sources:
            layer, activations = draw()
            packed = pack(layer, array)
            for config, counts in zip(arrays, count_all(packed, activations, arrays), strict=True):
                anew, own_lines = _reads_without_keeping(packed, activations, config.entries_per_line)
                rows.append(
                    {
                        "layer": name,
                        "weights": weights,
                        "line_bits": config.line_bits,
                        "entries": counts.processed_entries,
                        "reads_kept": counts.line_reads,
                        "reads_anew": anew,
                        "reads_own_lines": own_lines,
                        "read_pj": event_energies(config, DEFAULT_PRESET).line_read_pj,
                        "read_horowitz_pj": event_energies(config, "horowitz-45nm").line_read_pj,
                    }
                )
            advance()
    table = table_of(LINE_WIDTH_COLUMNS, rows)
    write_results(path, table, provenance({}))
    return table


def _reads_without_keeping(packed: PackedLayer, activations: Floats32, entries_per_line: int) -> tuple[int, int]:
    """Return the line reads if each column reads its lines anew, and if it also begins a line of its own."""
    columns = np.flatnonzero(activations)
    if packed.layer.bias is not None:
        columns = np.append(columns, packed.layer.columns)
    begin = packed.pointers[columns]
    entries = packed.entry_counts[columns].astype(np.int64)
    shared = (begin + entries - 1) // entries_per_line - begin // entries_per_line + 1
    return int(shared[entries > 0].sum()), int((-(-entries // entries_per_line)).sum())
