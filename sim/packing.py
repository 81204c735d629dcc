"""SRAM images of a compressed layer: interleaved compressed sparse column (CSC)."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.codebook_allotment import allotted_rows, has_one_codebook_per_pe
from sim.config import ArrayConfig
from sim.host_memory import check_memory, image_bytes, whole_vectors
from traces import CompressedLayer, InputError
from traces.arrays import Floats32, Integers, Integers32, Integers64, Unsigned64
from traces.kernel_lanes import LANES

MAX_ENTRIES = 2**30  # keeps every clock edge of a layer within 32 bits

_KEPT_WEIGHTS: weakref.WeakKeyDictionary[CompressedLayer, Unsigned64] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """SRAM images of one layer for every array with this `num_pes` and `index_bits`.

    Attributes
    ----------
    layer : CompressedLayer
        Layer that was packed.
    num_pes : int
        PEs of the array.
    index_bits : int
        Bits of a gap.
    entry_lanes : numpy.ndarray
        Entries of each column in each PE, padding included, [columns, lanes]; the lanes are the PEs, and PEs without
        entries up to whole vectors (`traces.kernel_lanes`). The bias column, if there is one, counts as a column here
        and below.
    padding_lanes : numpy.ndarray
        Padding entries among them, [columns, lanes]; [0, lanes] if no gap can be too long.
    row_order : numpy.ndarray or None
        The layer's row at each place of the packed matrix, int64 [rows]; None if the rows are interleaved.

    Notes
    -----
    PE k owns the output rows i with i mod num_pes == k or, with a row order, the rows at these places. Its entries lie
    column by column, from the first place to the last; the bias is one more column after all others. Padding entries
    (code 0, gap max_gap - 1) bridge a gap that is too long for `index_bits`. The entries are placed on first use, since
    timing needs only their counts. Of a layer with several codebooks, all rows of a PE have the same one. Source: Han
    et al., "EIE", ISCA 2016, section III-B and Fig 3.
    """

    layer: CompressedLayer
    num_pes: int
    index_bits: int
    entry_lanes: Integers
    padding_lanes: Integers
    row_order: Integers64 | None = None

    @cached_property
    def blocks(self) -> dict[Any, Any]:
        """Blocks that `sim.memory` has cut the layer into, by the parameters they depend on."""
        return {}

    @cached_property
    def images(self) -> dict[int, Any]:
        """Room in the SRAMs that `sim.memory` has found the layer to take, by the entries of a line."""
        return {}

    @property
    def row_order_bits(self) -> int:
        """Bits of the table that restores the order of the outputs; 0 if the rows are interleaved."""
        return 0 if self.row_order is None else self.layer.rows * (self.layer.rows - 1).bit_length()

    @cached_property
    def codebooks(self) -> Floats32:
        """Codebook of each PE, float32 [num_pes, shared weights]; [1, shared weights] if the layer has one for all.

        PEs without rows hold that of PE 0.
        """
        numbers = self.layer.row_codebooks
        if numbers is None:
            return self.layer.codebooks
        of_pes = np.full(self.num_pes, numbers[0 if self.row_order is None else self.row_order[0]])
        in_first_places = (numbers if self.row_order is None else numbers[self.row_order])[: self.num_pes]
        of_pes[: in_first_places.size] = in_first_places
        codebooks: Floats32 = self.layer.codebooks[of_pes]
        return codebooks

    def places_in_codebooks(self) -> tuple[Integers, Integers]:
        """Return the codes of the weights and of the bias as places in all `codebooks`, one after the other.

        Returns
        -------
        codes : numpy.ndarray
            uint8, uint16 or uint32 [rows, columns]; 0 is a pruned weight. With one codebook, these are the codes.
        bias : numpy.ndarray
            Of the same type, [rows]; empty if there is no coded bias.
        """
        layer = self.layer
        codes, bias = layer.codes, _bias_codes(layer)
        if layer.row_codebooks is None:
            return codes, bias
        first = np.empty(layer.rows, dtype=self.place_type)
        first[_places(layer, self.row_order)] = np.arange(layer.rows) % self.num_pes << layer.weight_bits
        placed = np.add(codes, first[:, np.newaxis], dtype=self.place_type)
        placed[codes == 0] = 0
        of_bias = np.where(bias != 0, bias + first[: bias.size], 0).astype(self.place_type)
        return placed, of_bias

    @property
    def place_type(self) -> np.dtype[Any]:
        """Type of a place in all codebooks."""
        if self.layer.row_codebooks is None:
            return self.layer.codes.dtype
        return np.dtype(np.uint16 if self.num_pes << self.layer.weight_bits <= 2**16 else np.uint32)

    @property
    def entry_counts(self) -> Integers:
        """Entries of each column in each PE, padding included, [columns, num_pes]."""
        return self.entry_lanes[:, : self.num_pes]

    @property
    def padding_counts(self) -> Integers:
        """Padding entries among them, [columns, num_pes]."""
        if len(self.padding_lanes):
            return self.padding_lanes[:, : self.num_pes]
        return np.broadcast_to(np.zeros(1, dtype=self.entry_lanes.dtype), (self.num_columns, self.num_pes))

    @property
    def num_columns(self) -> int:
        """Columns, with that of the bias if there is one."""
        return len(self.entry_lanes)

    @cached_property
    def pointers(self) -> Integers32:
        """Place of each column's first entry within each PE, int32 [columns + 1, num_pes]."""
        pointers = np.zeros((self.num_columns + 1, self.num_pes), dtype=np.int32)
        np.cumsum(self.entry_counts, axis=0, dtype=np.int32, out=pointers[1:])
        return pointers

    @cached_property
    def stored_per_pe(self) -> Integers64:
        """Entries in each PE, padding included, int64 [num_pes]."""
        return self.summed(self.entry_lanes, np.arange(self.num_columns, dtype=np.int32))

    def summed(self, counts: Integers, columns: Integers32) -> Integers64:
        """Add up `entry_lanes` or `padding_lanes` over some columns, int32; return the sums, int64 [num_pes]."""
        from sim import packing_kernels

        sums = np.zeros(counts.shape[1], dtype=np.int64)
        if len(counts):
            packing_kernels.sum_counts(counts, columns, np.empty(LANES, dtype=np.uint32), sums)
        return sums[: self.num_pes]

    @cached_property
    def stored_entries(self) -> int:
        """Entries in all PEs, padding included."""
        return int(self.stored_per_pe.sum())

    @cached_property
    def fullest_pe_entries(self) -> int:
        """Entries of the PE that holds most, padding included."""
        return int(self.stored_per_pe.max())

    @cached_property
    def most_entries(self) -> int:
        """Largest number of entries of a column in a PE, padding included."""
        return int(self.entry_lanes.max())

    @cached_property
    def padding_entries(self) -> int:
        """Padding entries in all PEs."""
        return int(self.padding_per_column.sum())

    @property
    def codes(self) -> Integers:
        """Codes of all entries [stored entries], column by column, within a column PE by PE."""
        return self._codes(self.entries)

    @property
    def output_rows(self) -> Integers:
        """Output row of each entry, [stored entries] in the order of `codes`."""
        rows: Integers = self.entries >> self.entries.dtype.type(self.code_bits)
        return rows

    @property
    def gaps(self) -> npt.NDArray[np.uint8]:
        """Gaps of all entries in the order of `codes`, uint8 [stored entries]."""
        return self._placed[1]

    @property
    def entries(self) -> Integers:
        """Entries in the order of `codes`: the code in the lowest `code_bits`, the output row above, uint32 or uint64.

        A kernel loads both with one instruction. If PEs have codebooks of their own, the code is a place in all of them
        (`places_in_codebooks`), so that a kernel looks it up as a code of one codebook.
        """
        return self._placed[0]

    def _codes(self, entries: Integers) -> Integers:
        codes: Integers = entries & entries.dtype.type(2**self.layer.weight_bits - 1)
        return codes.astype(self.layer.codes.dtype)

    @property
    def code_bits(self) -> int:
        """Bits of a code in `entries`."""
        return 8 * self.place_type.itemsize

    @cached_property
    def column_begin(self) -> Integers64:
        """Place of each column's first entry in `entries`, int64 [columns + 1]."""
        begin = np.zeros(self.num_columns + 1, dtype=np.int64)
        np.cumsum(self.entries_per_column, out=begin[1:])
        return begin

    @cached_property
    def entries_per_column(self) -> Integers64:
        """Entries of each column in all PEs, padding included, int64 [columns]."""
        return self._per_column(self.entry_lanes)

    @cached_property
    def padding_per_column(self) -> Integers64:
        """Padding entries among them, int64 [columns]."""
        return self._per_column(self.padding_lanes)

    def _per_column(self, counts: Integers) -> Integers64:
        from sim import packing_kernels

        sums = np.zeros(self.num_columns, dtype=np.int64)
        if len(counts):
            packing_kernels.sum_columns(counts, sums)
        return sums

    @cached_property
    def _placed(self) -> tuple[Integers, npt.NDArray[np.uint8]]:
        from sim import packing_kernels

        layer = self.layer
        wide = (layer.rows - 1).bit_length() + self.code_bits > 32
        entries = np.empty(self.stored_entries, dtype=np.uint64 if wide else np.uint32)
        gaps = np.empty(self.stored_entries, dtype=np.uint8)
        packing_kernels.place_entries(
            *self.places_in_codebooks(),
            kept_weights(layer),
            _places(layer, self.row_order),
            self.num_pes,
            2**self.index_bits,
            self.column_begin,
            np.empty((2, packing_kernels.COLUMNS_AT_ONCE), dtype=np.uint64),
            entries,
            gaps,
        )
        return entries, gaps

    def sparse_matrix_image(self, pe: int) -> tuple[Integers, npt.NDArray[np.uint8]]:
        """Return codes and gaps as the sparse-matrix SRAM of one PE holds them, column after column."""
        begin = self.column_begin[:-1] + self.entry_counts[:, :pe].sum(axis=1, dtype=np.int64)
        lengths = self.entry_counts[:, pe].astype(np.int64)
        places = np.repeat(begin - self.pointers[:-1, pe], lengths) + np.arange(lengths.sum())
        return self._codes(self.entries[places]), self.gaps[places]

    def check_fits(self, config: ArrayConfig) -> None:
        """Raise InputError if these images are not those of `config`'s array."""
        if (self.num_pes, self.index_bits) != (config.num_pes, config.index_bits):
            raise InputError(
                f"layer {self.layer.name!r} was packed for num_pes={self.num_pes}, index_bits="
                f"{self.index_bits}; the array has num_pes={config.num_pes}, index_bits={config.index_bits}; "
                f"pack it again for this array"
            )
        check_codes_fit(self.layer, config)


def check_codes_fit(layer: CompressedLayer, config: ArrayConfig) -> None:
    """Raise InputError if the layer's codes have more bits than the array's."""
    if layer.weight_bits > config.weight_bits:
        raise InputError(
            f"layer {layer.name!r} has codes of {layer.weight_bits} bits and the array reads "
            f"weight_bits={config.weight_bits}; give the array weight_bits={layer.weight_bits} or compress "
            f"the layer to {2**config.weight_bits} shared weights"
        )


def pack(layer: CompressedLayer, config: ArrayConfig, row_order: npt.ArrayLike | None = None) -> PackedLayer:
    """Pack a layer into the SRAM images of an array.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to pack.
    config : ArrayConfig
        Array whose `num_pes`, `index_bits` and `weight_bits` count here.
    row_order : array_like, optional
        The layer's rows in the order in which they are dealt to the PEs (`assign_rows`), [rows]. By default the rows
        are interleaved as they are or, if the layer has several codebooks, as far as each PE then has rows of one
        codebook (`sim.codebook_allotment`).

    Returns
    -------
    PackedLayer
        SRAM images.

    Raises
    ------
    InputError
        If the layer's codes are wider than the array's, the layer has too many entries, its images do not fit into the
        memory of this computer (`sim.host_memory`), `row_order` does not hold every row once or gives a PE rows of
        several codebooks, or the codebooks cannot be allotted to the PEs.
    """
    from sim import packing_kernels  # compiles on first use

    check_codes_fit(layer, config)
    order = None if row_order is None else _checked_order(layer, row_order)
    if layer.row_codebooks is not None:
        if order is None:
            order = allotted_rows(layer, config.num_pes)
        elif not has_one_codebook_per_pe(layer.row_codebooks[order], config.num_pes):
            raise InputError(
                f"layer {layer.name!r}: row_order must give each PE rows of one codebook, for which it has room; found "
                f"rows of several codebooks in a PE; leave row_order out, or take it from assign_rows for "
                f"num_pes={config.num_pes}"
            )
    columns, num_pes = layer.columns + (layer.bias is not None), config.num_pes
    check_memory(
        f"layer {layer.name!r}: pointers and counters of num_pes={num_pes:,} times {columns:,} columns",
        image_bytes(layer.rows, columns, num_pes),
        "use fewer PEs or split the layer",
    )
    kept = kept_weights(layer)
    rows_per_pe = -(-layer.rows // num_pes)  # the most entries that a column can have in a PE, padding included
    shape = LANES * len(kept), whole_vectors(num_pes)
    entries = np.empty(shape, dtype=np.min_scalar_type(rows_per_pe))
    padding = np.empty(shape if rows_per_pe > 2**config.index_bits else (0, shape[1]), dtype=entries.dtype)
    room = np.empty((3, LANES, LANES), dtype=entries.dtype)
    packing_kernels.count_entries(kept, _places(layer, order), num_pes, config.index_bits, room, entries, padding)
    entries, padding = entries[:columns], padding[:columns]
    for images in (entries, padding):
        images.flags.writeable = False  # as if mapped from a file
    packed = PackedLayer(layer, num_pes, config.index_bits, entries, padding, order)
    num_entries = int(packed.entries_per_column.sum())
    if num_entries + columns > MAX_ENTRIES:
        raise InputError(
            f"layer {layer.name!r} packs into {num_entries:,} entries, padding included, in {columns:,} columns; at "
            f"most {MAX_ENTRIES:,} of both can be simulated; widen index_bits={config.index_bits} or split the layer"
        )
    return packed


def kept_weights(layer: CompressedLayer) -> Unsigned64:
    """Return the bits that tell which weights a layer keeps; they are found once.

    Parameters
    ----------
    layer : CompressedLayer
        The layer.

    Returns
    -------
    numpy.ndarray
        uint64 [words, rows]: bit c of word w is set if the code of column 64 w + c is not 0. The bias, if it is codes,
        is one more column. Bits of further columns are 0.
    """
    from sim import packing_kernels

    kept = _KEPT_WEIGHTS.get(layer)
    if kept is None:
        columns = layer.columns + (layer.bias is not None)
        kept = np.empty((-(-columns // LANES), layer.rows), dtype=np.uint64)
        packing_kernels.mark_kept(layer.codes, _bias_codes(layer), kept)
        _KEPT_WEIGHTS[layer] = kept
    return kept


def _bias_codes(layer: CompressedLayer) -> Integers:
    """Return the codes of the bias; an empty array if there are none."""
    return layer.codes[0, :0] if layer.bias is None else layer.bias


def _places(layer: CompressedLayer, order: Integers64 | None) -> Integers64:
    """Return the row at each place, int64 [rows]."""
    return np.arange(layer.rows) if order is None else order


def _checked_order(layer: CompressedLayer, row_order: npt.ArrayLike) -> Integers64:
    """Return a row order as int64 [rows], or raise InputError."""
    try:
        order = np.asarray(row_order)
    except ValueError:  # ragged
        order = np.zeros(0)
    if order.shape != (layer.rows,) or order.dtype.kind not in "iu" or (np.sort(order) != np.arange(layer.rows)).any():
        raise InputError(
            f"layer {layer.name!r}: row_order must hold each of the rows 0 to {layer.rows - 1} once; found "
            f"{order.dtype} {list(order.shape)} with other values"
        )
    return order.astype(np.int64)
