"""Which PE owns which row: interleaved as in the paper, or balanced.

A row order lists the layer's rows as they lie in the packed matrix: place p belongs to PE p mod num_pes. Every
PE keeps as many rows as with the paper's interleaving, so its registers suffice. Outputs come out in the
layer's own order, bit for bit the same; what it costs is a table of `PackedLayer.row_order_bits`.
"""

from __future__ import annotations

import contextlib
import heapq

import numpy as np
import numpy.typing as npt

from sim.array import count
from sim.batch import checked_inputs
from sim.config import ArrayConfig
from sim.fixed_point import operands
from sim.packing import pack
from traces import CompressedLayer, InputError

RowOrder = npt.NDArray[np.int64]


def rows_balanced_by_entries(layer: CompressedLayer, num_pes: int) -> RowOrder:
    """Give every PE about as many stored entries: the heaviest row first, to the PE with the least so far."""
    return _balanced(_kept_weights(layer).sum(axis=1), num_pes)


def rows_balanced_by_activity(layer: CompressedLayer, activations: npt.ArrayLike, num_pes: int) -> RowOrder:
    """Give every PE about as many useful multiply-accumulates on recorded inputs.

    activations  float32 [columns] or [inputs, columns]. Raises InputError if they do not fit the layer.
    """
    inputs = _checked_inputs(layer, activations)
    kept = _kept_weights(layer)
    broadcasts = (inputs != 0).sum(axis=0)
    if layer.bias is not None:
        broadcasts = np.append(broadcasts, len(inputs))
    return _balanced(np.array([broadcasts[row].sum() for row in kept]), num_pes)


def rows_found_by_search(
    layer: CompressedLayer,
    activations: npt.ArrayLike,
    config: ArrayConfig,
    num_trials: int = 20_000,
    seed: int = 0,
) -> RowOrder:
    """Improve the balance by activity: exchange two rows, keep it unless the recorded inputs take longer.

    activations  float32 [columns] or [inputs, columns]
    num_trials   exchanges to try; each asks the closed form for the cycles of all inputs, without padding

    Returns an order that takes no more cycles on these inputs, padding included, than the one it starts from.
    Raises InputError if the activations do not fit the layer.
    """
    from sim import row_search_kernels
    from sim.engine import Run

    for name, value in (("num_trials", num_trials), ("seed", seed)):
        if not isinstance(value, int | np.integer) or value < 0:
            raise InputError(f"{name} must be a whole number, 0 or more; found {value!r}")
    inputs = _checked_inputs(layer, activations)
    start = rows_balanced_by_activity(layer, inputs, config.num_pes)
    packed = pack(layer, config, start)
    runs = [Run(packed, operands(layer, values, config)) for values in inputs]
    columns = np.concatenate([run.columns for run in runs])
    kept = np.ascontiguousarray(_kept_weights(layer)[:, columns].astype(np.int32))
    counts = packed.entry_counts[columns].astype(np.int32) - packed.padding_counts[columns]
    stream = np.random.default_rng(seed)
    order = start.copy()
    row_search_kernels.exchange_rows(
        kept,
        np.concatenate([run.bubbles for run in runs]),
        np.cumsum([0, *(run.columns.size for run in runs)]),
        np.array([run.trailing_bubbles for run in runs]),
        config.queue_depth,
        stream.integers(0, layer.rows, (num_trials, 2)),
        order,
        counts,
    )
    found = pack(layer, config, order)
    cycles = [sum(count(each, values, config).cycles for values in inputs) for each in (found, packed)]
    return order if cycles[0] <= cycles[1] else start


def _checked_inputs(layer: CompressedLayer, activations: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """One or more inputs as finite float32 [inputs, columns]."""
    with contextlib.suppress(ValueError):  # ragged, which `checked_inputs` says
        activations = np.atleast_2d(activations)
    return checked_inputs(layer, activations)


def _kept_weights(layer: CompressedLayer) -> npt.NDArray[np.bool_]:
    """True for each weight that is stored, [rows, columns], the bias as the last column."""
    kept = layer.codes != 0
    return kept if layer.bias is None else np.column_stack([kept, layer.bias != 0])


def _balanced(work: npt.NDArray[np.int64], num_pes: int) -> RowOrder:
    """Longest processing time first (Graham, "Bounds on multiprocessing timing anomalies", 1969), PEs of one size."""
    ArrayConfig(num_pes=num_pes)  # checks it
    places = [len(range(pe, work.size, num_pes)) for pe in range(num_pes)]
    least_loaded = [(0, pe) for pe in range(num_pes) if places[pe]]
    owned: list[list[int]] = [[] for _ in range(num_pes)]
    for row in np.argsort(-work, kind="stable"):
        load, pe = heapq.heappop(least_loaded)
        owned[pe].append(int(row))
        if len(owned[pe]) < places[pe]:
            heapq.heappush(least_loaded, (load + int(work[row]), pe))
    order = np.empty(work.size, dtype=np.int64)
    for pe, rows in enumerate(owned):
        order[pe::num_pes] = sorted(rows)
    return order
