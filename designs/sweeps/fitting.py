"""Smallest SRAMs that hold every layer of a workload, or a network whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from designs.design import Design
from sim.array_table import ArrayOrTable
from sim.columns import bit_length, larger
from sim.cost.sram import POINTER_BANKS
from sim.cost.timing import timed
from sim.network_schedule import ScheduledNetwork, smallest_image
from traces import InputError

KIB = 1024
_LEAST_LINES = 32


def fitted(design: Design, sizes: pa.Table) -> Design:
    """Return the design with the smallest SRAMs that hold each of several independent layers whole.

    The cycles of pipeline and broadcast follow from the clock and these SRAMs (`sim.cost.timing.timed`).

    Parameters
    ----------
    design : Design
        The design.
    sizes : pyarrow.Table
        Sizes of the packed layers: SWEEP_COLUMNS of a sweep with the design's packing.

    Raises
    ------
    InputError
        If the table does not have the design's packing, or the layers were not packed, since their codebooks do not
        suit the PEs.

    Notes
    -----
    SRAMs have whole KiB, and pointers are the narrowest. A sparse-matrix SRAM has at least the 32 lines, of the next
    tabulated width, that the SRAM tables begin with (`sim.cost.sram`).
    """
    array, packing = design.array, design.packing
    rows = [row for row in sizes.to_pylist() if tuple(row[name] for name in packing._fields) == tuple(packing)]
    if not rows:
        raise InputError(f"sizes must have rows of {packing}; found none; sweep such a design first")
    lacking = next((row["lacking"] for row in rows if row["lacking"]), "")
    if lacking and not any(row["stored_entries"] for row in rows):
        raise InputError(f"sizes must be of packed layers; found none packed for {packing}: {lacking}")
    entries = max(row["fullest_pe_entries"] for row in rows)
    pointers = max(row["columns"] for row in rows) + 2  # columns and the bias, plus the end of the last one
    activations = max(-(-row["columns"] // array.num_pes) + -(-row["rows"] // array.num_pes) for row in rows)
    lines = -(-entries // array.entries_per_line)
    return _with_srams(design, lines, entries, pointers, activations)


def fitted_network(design: Design, network: ScheduledNetwork) -> Design:
    """Return the design with the smallest SRAMs that hold a network, as its memory mode runs it.

    Parameters
    ----------
    design : Design
        The design.
    network : ScheduledNetwork
        The network on the design's array.

    Notes
    -----
    The SRAMs hold all layers in modes `unlimited` and `resident`, the largest one in `passes`, and the largest two
    neighbours in `streamed`. In every mode they hold the feature maps. Sizes are rounded as in `fitted`.
    """
    image = smallest_image(network, design.array)
    activations = -(-network.live_words // design.array.num_pes)
    return _with_srams(design, image.lines, image.entries, image.pointers, activations)


def _with_srams(design: Design, lines: int, entries: int, pointers: int, activations: int) -> Design:
    """Return the design with SRAMs for so many lines, entries, pointers and activations of a PE."""
    srams = fitted_srams(design.array, lines, entries, pointers, activations)
    smallest = dataclasses.replace(design.array, **srams)
    return dataclasses.replace(design, array=timed(smallest))


def fitted_srams(array: ArrayOrTable, lines: Any, entries: Any, pointers: Any, activations: Any) -> dict[str, Any]:
    """Return the smallest SRAMs of an array, or of each array of a table, by the names of fields of `ArrayConfig`.

    Parameters
    ----------
    array : ArrayConfig or ArrayTable
        The array, or a table of arrays.
    lines, entries, pointers, activations : int or int64 [arrays]
        What the SRAMs of a PE hold. Sizes are rounded as in `fitted`.
    """
    pointer_bits = bit_length(entries)
    tabulated_bits = 1 << bit_length(array.line_bits - 1)
    bank_bytes = _whole_kib(-(-pointers // POINTER_BANKS) * pointer_bits)
    return {
        "sparse_matrix_bytes": larger(_whole_kib(lines * array.line_bits), _LEAST_LINES * tabulated_bits // 8),
        "pointer_bits": pointer_bits,
        "pointer_bytes": POINTER_BANKS * bank_bytes,
        "activation_bytes": _whole_kib(activations * array.activation_bits),
    }


def _whole_kib(bits: Any) -> Any:
    return -(-bits // (8 * KIB)) * KIB
