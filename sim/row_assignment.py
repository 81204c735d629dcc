"""Assignments of matrix rows to PEs: interleaved as in the paper, or balanced.

A row order lists the layer's rows as they lie in the packed matrix: place p belongs to PE p mod num_pes. Every PE keeps
as many rows as with the paper's interleaving, so its registers suffice. Outputs come out in the layer's own order and
are the same bit for bit. The cost is a table of `PackedLayer.row_order_bits`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sim.array import count
from sim.batch import checked_inputs
from sim.codebook_allotment import allotted_rows
from sim.config import ArrayConfig
from sim.fixed_point import operands
from sim.host_memory import check_memory
from sim.packing import kept_weights, pack
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Integers, Integers64
from traces.kernel_lanes import LANES
from traces.plain_values import whole_number

RowAssignment = Literal["interleaved", "entries", "activity", "search"]


def assign_rows(
    layer: CompressedLayer,
    assignment: RowAssignment,
    config: ArrayConfig,
    activations: npt.ArrayLike | None = None,
) -> Integers64 | None:
    """Order the rows of a layer for `pack`, by the name of the assignment.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    assignment : {"interleaved", "entries", "activity", "search"}
        Interleaved as in the paper, or balanced: by stored entries, by the useful work on recorded inputs, or by a
        search that simulates these inputs.
    config : ArrayConfig
        Array to pack for.
    activations : array_like, optional
        Recorded inputs, float32 [columns] or [inputs, columns]; "activity" and "search" need them.

    Returns
    -------
    numpy.ndarray or None
        The layer's row at each place of the packed matrix, int64 [rows]; None if they are interleaved.

    Raises
    ------
    InputError
        If there is no such assignment, or the activations are missing or do not fit the layer.
    """
    if assignment not in get_args(RowAssignment):
        known = ", ".join(map(repr, get_args(RowAssignment)))
        raise InputError(f"row_assignment must be one of {known}; found {assignment!r}")
    if assignment == "interleaved":
        return None
    if assignment == "entries":
        return rows_balanced_by_entries(layer, config.num_pes)
    if activations is None:
        raise InputError(f"row_assignment={assignment!r} needs recorded inputs; give activations")
    if assignment == "activity":
        return rows_balanced_by_activity(layer, activations, config.num_pes)
    return rows_found_by_search(layer, activations, config)


def rows_balanced_by_entries(layer: CompressedLayer, num_pes: int) -> Integers64:
    """Order the rows so that all PEs store about as many entries.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    num_pes : int
        PEs of the array.

    Returns
    -------
    numpy.ndarray
        The layer's row at each place of the packed matrix, int64 [rows].
    """
    return _balanced(layer, np.ones(layer.columns + (layer.bias is not None), dtype=np.int64), num_pes)


def rows_balanced_by_activity(layer: CompressedLayer, activations: npt.ArrayLike, num_pes: int) -> Integers64:
    """Order the rows so that all PEs have about as many useful multiply-accumulates on recorded inputs.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    activations : array_like
        Recorded inputs, float32 [columns] or [inputs, columns].
    num_pes : int
        PEs of the array.

    Returns
    -------
    numpy.ndarray
        The layer's row at each place of the packed matrix, int64 [rows].

    Raises
    ------
    InputError
        If the activations do not fit the layer.
    """
    inputs = _checked_inputs(layer, activations)
    broadcasts = np.count_nonzero(layer.thresholded(inputs), axis=0)
    if layer.bias is not None:
        broadcasts = np.append(broadcasts, len(inputs))
    return _balanced(layer, broadcasts, num_pes)


def rows_found_by_search(
    layer: CompressedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig,
    num_trials: int = 20_000,
    seed: int = 0,
) -> Integers64:
    """Improve the balance by activity by exchanging rows, as long as recorded inputs take no more cycles.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    activations : array_like
        Recorded inputs, float32 [columns] or [inputs, columns].
    config : ArrayConfig
        Array to pack for.
    num_trials : int
        Exchanges to try. Each one computes the cycles of all inputs in closed form, without padding.
    seed : int
        Seed of the exchanges.

    Returns
    -------
    numpy.ndarray
        The layer's row at each place of the packed matrix, int64 [rows]. On these inputs, and with padding, it takes no
        more cycles than the balance by activity.

    Raises
    ------
    InputError
        If the activations do not fit the layer, or a number is negative.
    """
    return faster_order(layer, activations, config, exchanged_orders(layer, activations, config, num_trials, seed))


def exchanged_orders(
    layer: CompressedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig,
    num_trials: int = 20_000,
    seed: int = 0,
) -> tuple[Integers64, Integers64]:
    """Return the two orders that `rows_found_by_search` chooses from; they do not depend on `config.index_bits`.

    Parameters
    ----------
    layer, activations, config, num_trials, seed
        As in `rows_found_by_search`.

    Returns
    -------
    tuple of numpy.ndarray
        The order after the exchanges, and the balance by activity that they begin with, int64 [rows].

    Raises
    ------
    InputError
        If the activations do not fit the layer, or a number is negative.
    """
    from sim import row_assignment_kernels
    from sim.engine import Run, lag_type

    num_trials, seed = whole_number("num_trials", num_trials, 0, 10**9), whole_number("seed", seed, 0)
    inputs = _checked_inputs(layer, activations)
    start = rows_balanced_by_activity(layer, inputs, config.num_pes)
    packed = pack(layer, config, start)
    runs = [Run(packed, operands(packed, values, config)) for values in inputs]
    columns = np.concatenate([run.columns for run in runs])
    check_memory(
        f"layer {layer.name!r}: a search over {columns.size:,} broadcasts, {layer.rows:,} rows and "
        f"num_pes={config.num_pes:,}",
        2 * columns.size * layer.rows + 4 * columns.size * config.num_pes,
        "give fewer recorded inputs",
    )
    words = kept_weights(layer)
    by_column = np.empty((columns.size, layer.rows), dtype=np.uint8)
    for number, column in enumerate(columns.tolist()):
        by_column[number] = (words[column // LANES] >> np.uint64(column % LANES)) & 1
    kept = np.ascontiguousarray(by_column.T)
    counts = packed.entry_lanes[columns] - (packed.padding_lanes[columns] if packed.padding_entries else 0)
    exchanges = np.random.default_rng(seed).integers(0, layer.rows, (num_trials, 2))
    if layer.row_codebooks is not None:  # those of places that have one codebook
        first, second = layer.row_codebooks[start][exchanges.T]
        exchanges = exchanges[first == second]
    order = start.copy()
    row_assignment_kernels.exchange_rows(
        kept,
        np.concatenate([run.bubbles for run in runs]),
        np.cumsum([0, *(run.columns.size for run in runs)]),
        np.array([run.trailing_bubbles for run in runs]),
        config.queue_depth,
        config.broadcast_cycles - 1,
        exchanges,
        config.num_pes,
        np.empty(counts.shape[1], dtype=lag_type(config.queue_depth, -(-layer.rows // config.num_pes))),
        order,
        counts,
    )
    return order, start


def faster_order(
    layer: CompressedLayer, activations: npt.ArrayLike, config: ArrayConfig, orders: Sequence[Integers64]
) -> Integers64:
    """Return the order of the rows with which recorded inputs take the fewest cycles, padding included.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    activations : array_like
        Recorded inputs, float32 [columns] or [inputs, columns].
    config : ArrayConfig
        Array to pack for.
    orders : sequence of numpy.ndarray
        Orders of the layer's rows, int64 [rows]; of those with equal cycles, the first one is taken.

    Returns
    -------
    numpy.ndarray
        One of the orders.

    Raises
    ------
    InputError
        If the activations do not fit the layer.
    """
    inputs = _checked_inputs(layer, activations)
    cycles = [
        sum(count(images, values, config).cycles for values in inputs)
        for images in (pack(layer, config, order) for order in orders)
    ]
    return orders[int(np.argmin(cycles))]


def _checked_inputs(layer: CompressedLayer, activations: npt.ArrayLike) -> Floats32:
    """Return one or more inputs as finite float32 [inputs, columns]."""
    with contextlib.suppress(ValueError):  # of ragged inputs, which `checked_inputs` reports
        activations = np.atleast_2d(activations)
    return checked_inputs(layer, activations)


def _work(layer: CompressedLayer, broadcasts: Integers) -> Integers64:
    """Return the useful multiply-accumulates of each row, int64 [rows], from the broadcasts of each column."""
    from sim import packing_kernels

    kept = kept_weights(layer)
    weights = np.zeros(LANES * len(kept), dtype=np.int64)
    weights[: len(broadcasts)] = broadcasts
    bits = np.arange(max(1, int(broadcasts.max()).bit_length()))[:, np.newaxis]
    planes = np.packbits((weights >> bits).astype(np.uint8) & 1, axis=1, bitorder="little").view(np.uint64)
    work = np.zeros(layer.rows, dtype=np.int64)
    packing_kernels.weigh_rows(kept, planes, work)
    return work


def _balanced(layer: CompressedLayer, broadcasts: Integers, num_pes: int) -> Integers64:
    """Deal the rows to the PEs, the one with most work first, to the PE with the least work so far.

    Source: longest processing time first, Graham, "Bounds on multiprocessing timing anomalies", 1969. Every PE gets as
    many rows as if they were interleaved. With several codebooks, the rows of each are dealt to its PEs.
    """
    from sim import row_assignment_kernels

    num_pes = ArrayConfig(num_pes=num_pes).num_pes  # checks it
    work = _work(layer, broadcasts)
    if layer.row_codebooks is not None:
        order = allotted_rows(layer, num_pes, work)
        assert order is not None
        return order
    order = np.empty_like(work)
    row_assignment_kernels.deal(work, np.argsort(-work, kind="stable"), num_pes, order)
    return order
