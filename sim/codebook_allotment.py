"""Allotment of PEs to the codebooks of a layer, if it has several: a PE has room for one.

Every PE keeps as many rows as with the paper's interleaving, m or m + 1. A codebook of s rows therefore takes p PEs
with m p <= s <= (m + 1) p, and all codebooks together take all PEs. The rows of a codebook can be dealt freely to its
PEs.
"""

from __future__ import annotations

import heapq

import numpy as np

from traces import CompressedLayer, InputError
from traces.arrays import Integers, Integers64, Numbers


def allotted_rows(layer: CompressedLayer, num_pes: int, work: Integers | None = None) -> Integers64 | None:
    """Order the rows of a layer of several codebooks, so that each PE has rows of one codebook.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to be packed.
    num_pes : int
        PEs of the array.
    work : numpy.ndarray, optional
        Work of each row, int64 [rows], which is balanced among the PEs of each codebook: the row with most work first,
        to the PE with the least work so far that has places left. By default rows are dealt in turn.

    Returns
    -------
    numpy.ndarray or None
        The layer's row at each place of the packed matrix, int64 [rows]; None if rows need not be balanced and can be
        interleaved as they are.

    Raises
    ------
    InputError
        If the codebooks cannot be allotted to these PEs.
    """
    numbers = layer.row_codebooks
    assert numbers is not None
    if work is None and has_one_codebook_per_pe(numbers, num_pes):
        return None
    sizes = np.bincount(numbers)
    entries = np.bincount(numbers, np.count_nonzero(layer.codes, axis=1))
    shares = _shares(layer, sizes, entries, num_pes)
    few, longer = divmod(layer.rows, num_pes)  # rows of a PE, and PEs with one more
    order = np.empty(layer.rows, dtype=np.int64)
    long_pes, short_pes = iter(range(longer)), iter(range(longer, num_pes))
    for number, (size, share) in enumerate(zip(sizes.tolist(), shares, strict=True)):
        with_more = size - few * share
        pes = [next(long_pes) for _ in range(with_more)]
        pes += [next(short_pes) for _ in range(share - with_more)] if few else []
        rows = np.flatnonzero(numbers == number)
        owner = np.resize(pes, size) if work is None else _balanced(rows, pes, work[rows], layer.rows, num_pes)
        for pe in pes:
            order[pe::num_pes] = rows[owner == pe]
    return order


def has_one_codebook_per_pe(numbers: Integers, num_pes: int) -> bool:
    """Return True if rows whose codebooks have these numbers, [rows] by place, give each PE rows of one codebook."""
    return bool((numbers == np.resize(numbers[:num_pes], numbers.size)).all())


def _shares(layer: CompressedLayer, sizes: Integers64, entries: Numbers, num_pes: int) -> list[int]:
    """Return the number of PEs of each codebook, from its rows and entries; those with most entries per PE get more.

    Without rows for all PEs, each row has a PE of its own.
    """
    few, longer = divmod(layer.rows, num_pes)
    if not few:
        return [int(size) for size in sizes]
    lowest, highest = -(-sizes // (few + 1)), sizes // few
    if (lowest > highest).any() or not lowest.sum() <= num_pes <= highest.sum():
        held = f"{few:,} or {few + 1:,} rows" if longer else f"{few:,} rows"
        raise InputError(
            f"layer {layer.name!r}: num_pes={num_pes:,} must suit its codebooks, since a PE has room for one codebook "
            f"and holds {held}; found {sizes.size:,} codebooks of {_range(sizes)} rows; use an array of as many "
            f"PEs as the layer was compressed for, or compress it with codebooks='pe' and num_pes={num_pes}, or with "
            f"codebooks='layer'"
        )
    shares = [int(share) for share in lowest]
    waiting = [(-entries[number] / shares[number], number) for number in range(sizes.size)]
    heapq.heapify(waiting)
    left = num_pes - sum(shares)
    while left:
        _, number = heapq.heappop(waiting)
        if shares[number] < highest[number]:
            shares[number] += 1
            left -= 1
            heapq.heappush(waiting, (-entries[number] / shares[number], number))
    return shares


def _range(sizes: Integers64) -> str:
    least, most = int(sizes.min()), int(sizes.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _balanced(rows: Integers64, pes: list[int], work: Integers, all_rows: int, num_pes: int) -> Integers64:
    """Return the PE of each row, int64, by longest processing time first (Graham, 1969)."""
    room = {pe: -(-(all_rows - pe) // num_pes) for pe in pes}
    loads = [(0, pe) for pe in pes]
    owner = np.empty(rows.size, dtype=np.int64)
    for place in np.argsort(-work, kind="stable").tolist():
        load, pe = heapq.heappop(loads)
        owner[place] = pe
        room[pe] -= 1
        if room[pe]:
            heapq.heappush(loads, (load + int(work[place]), pe))
    return owner
