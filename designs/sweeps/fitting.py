"""The smallest SRAMs on which a design still holds every layer of a workload."""

from __future__ import annotations

import dataclasses
import math

import pyarrow as pa

from designs.design import Design
from sim.cost.sram import POINTER_BANKS
from traces import InputError

KIB = 1024
_LEAST_LINES = 32


def fitted(design: Design, sizes: pa.Table) -> Design:
    """The design with the smallest SRAMs, in whole KiB, that hold every layer whole, and pointers just wide enough.

    No sparse-matrix SRAM is of fewer lines than the tables of SRAMs have (`sim.cost.sram`).

    sizes   a sweep's table that has the design's PE count, gap width and row assignment

    Raises InputError if it has not.
    """
    array, packing = design.array, design.packing
    rows = [row for row in sizes.to_pylist() if tuple(row[name] for name in packing._fields) == tuple(packing)]
    if not rows:
        raise InputError(f"the table of sizes has no design of {packing}; sweep it first")
    entries = max(row["fullest_pe_entries"] for row in rows)
    pointers = max(row["columns"] for row in rows) + 2  # one more than columns, of which the bias is one
    activations = max(-(-row["columns"] // array.num_pes) + -(-row["rows"] // array.num_pes) for row in rows)
    lines = -(-entries // array.entries_per_line)
    pointer_bits = entries.bit_length()
    bank_bytes = _whole_kib(-(-pointers // POINTER_BANKS) * pointer_bits / 8)
    smallest = dataclasses.replace(
        array,
        sparse_matrix_bytes=max(_whole_kib(lines * array.line_bits / 8), _LEAST_LINES * array.line_bits // 8),
        pointer_bits=pointer_bits,
        pointer_bytes=POINTER_BANKS * bank_bytes,
        activation_bytes=_whole_kib(activations * array.activation_bits / 8),
    )
    return dataclasses.replace(design, array=smallest)


def _whole_kib(num_bytes: float) -> int:
    return math.ceil(num_bytes / KIB) * KIB
