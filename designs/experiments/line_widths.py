"""The width of a sparse-matrix line: how often lines are read, and what that costs (EIE's Fig 9).

Reads are counted under three rules, since the paper's figure does not say its own:

    kept        the machine: the line read last is kept, and the next column begins where this one ends in it
    read anew   lines are shared by columns, but each column reads its own again
    own lines   each column begins a line of its own, and reads it anew
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from designs.experiments.benchmark import benchmark_sources
from designs.results import Column, provenance, table_of, write_results
from sim import ArrayConfig, PackedLayer, count_all, pack
from sim.cost.energy import ENERGY_PRESETS
from traces.layer import FloatVector
from traces.shell.progress import progress_bar

LINE_WIDTHS = (16, 32, 64, 128, 256, 512)
LINE_WIDTH_COLUMNS = [
    Column("layer", pa.string(), "", "layer of the benchmark"),
    Column("weights", pa.string(), "", "'real' as published, or 'random' masks at the published densities"),
    Column("line_bits", pa.int32(), "bit", "width of a line of the sparse-matrix SRAM"),
    Column("entries", pa.int64(), "entries", "gone through, padding included"),
    Column("reads_kept", pa.int64(), "lines", "read by the machine, which keeps the line read last"),
    Column("reads_anew", pa.int64(), "lines", "read if each column read its lines anew"),
    Column("reads_own_lines", pa.int64(), "lines", "read if each column began a line of its own"),
    Column("read_pj", pa.float64(), "pJ", "energy of one read, eie-45nm (CACTI, 128 KB)"),
    Column("read_horowitz_pj", pa.float64(), "pJ", "energy of one read, horowitz-45nm (in proportion to the width)"),
]
LINE_WIDTH_FILE = "line_widths.parquet"


def run_line_widths(path: Path, data: Path | None = None) -> pa.Table:
    """Count line reads of the benchmark's layers for each width, on the paper's array; write the result file `path`."""
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
                        "entries": int(counts.entries_per_pe.sum()),
                        "reads_kept": counts.line_reads,
                        "reads_anew": anew,
                        "reads_own_lines": own_lines,
                        "read_pj": ENERGY_PRESETS["eie-45nm"](config).line_read_pj,
                        "read_horowitz_pj": ENERGY_PRESETS["horowitz-45nm"](config).line_read_pj,
                    }
                )
            advance()
    table = table_of(LINE_WIDTH_COLUMNS, rows)
    write_results(path, table, provenance({}))
    return table


def _reads_without_keeping(packed: PackedLayer, activations: FloatVector, entries_per_line: int) -> tuple[int, int]:
    """Lines read if each column reads its lines anew; and if, besides, it begins a line of its own."""
    columns = np.flatnonzero(activations)
    if packed.layer.bias is not None:
        columns = np.append(columns, packed.layer.columns)
    begin = packed.pointers[columns]
    entries = packed.entry_counts[columns].astype(np.int64)
    shared = (begin + entries - 1) // entries_per_line - begin // entries_per_line + 1
    return int(shared[entries > 0].sum()), int((-(-entries // entries_per_line)).sum())
