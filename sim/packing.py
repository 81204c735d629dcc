"""A compressed layer as the SRAMs of one array hold it: interleaved compressed sparse column (CSC)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from traces import CompressedLayer, InputError

Integers = npt.NDArray[Any]

MAX_ENTRIES = 2**30  # so that no clock edge of a layer is beyond 32 bits


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """The SRAM images of one layer, for every array of this `num_pes` and `index_bits`.

    PE k owns the output rows i with i mod num_pes == k, or, with a row order, the rows at such places. Its
    entries lie column by column, within a column from the first place to the last, the bias as one more column
    after all others; a gap too long for `index_bits` is bridged by padding entries (code 0, gap max_gap - 1).
    Source: Han et al., "EIE", ISCA 2016, section III-B and Fig 3.

    The entries themselves are placed when they are first asked for; timing needs only their counts.

    layer            the layer that was packed
    num_pes, index_bits   what the images depend on
    pointers         int32 [columns + 1, num_pes], where each column's entries begin within each PE (the bias
                     column, when there is one, counts as a column here and below)
    entry_counts     [columns, num_pes], entries of each column in each PE, padding included
    padding_counts   [columns, num_pes], padding entries among them
    row_order        int64 [rows], the layer's row at each place of the packed matrix; None if interleaved
    """

    layer: CompressedLayer
    num_pes: int
    index_bits: int
    pointers: npt.NDArray[np.int32]
    entry_counts: Integers
    padding_counts: Integers
    row_order: npt.NDArray[np.int64] | None = None

    @cached_property
    def blocks(self) -> dict[Any, Any]:
        """Blocks that the layer has been cut into, by what they depend on; `sim.memory` fills and reads it."""
        return {}

    @property
    def row_order_bits(self) -> int:
        """Bits of the table that puts the outputs back in order; 0 if the rows are interleaved."""
        return 0 if self.row_order is None else self.layer.rows * (self.layer.rows - 1).bit_length()

    @cached_property
    def stored_per_pe(self) -> npt.NDArray[np.int32]:
        """Entries in each PE, padding included, int32 [num_pes]."""
        stored: npt.NDArray[np.int32] = self.pointers[-1]
        return stored

    @cached_property
    def stored_entries(self) -> int:
        """Entries in all PEs, padding included."""
        return int(self.stored_per_pe.sum(dtype=np.int64))

    @cached_property
    def most_entries(self) -> int:
        """The most entries that a column has in a PE, padding included."""
        return int(self.entry_counts.max())

    @cached_property
    def padding_entries(self) -> int:
        """Padding entries in all PEs."""
        return int(self.padding_counts.sum(dtype=np.int64))

    @property
    def codes(self) -> Integers:
        """Type of the layer's codes [stored entries]; column by column, within a column PE by PE."""
        return self._entries[0]

    @property
    def gaps(self) -> npt.NDArray[np.uint8]:
        """uint8 [stored entries], in the order of `codes`."""
        return self._entries[1]

    @property
    def output_rows(self) -> Integers:
        """uint16 or uint32 [stored entries], the row of the output that each entry belongs to."""
        return self._entries[2]

    @cached_property
    def column_begin(self) -> npt.NDArray[np.int64]:
        """int64 [columns + 1], where each column begins in `codes`, `gaps` and `output_rows`."""
        begin: npt.NDArray[np.int64] = self.pointers.sum(axis=1, dtype=np.int64)
        return begin

    @cached_property
    def _entries(self) -> tuple[Integers, npt.NDArray[np.uint8], Integers]:
        from sim import packing_kernels

        layer, order = self.layer, self.row_order
        codes, bias = _in_places(layer, order)
        stored_codes = np.empty(self.stored_entries, dtype=codes.dtype)
        gaps = np.empty(self.stored_entries, dtype=np.uint8)
        output_rows = np.empty(self.stored_entries, dtype=np.uint16 if layer.rows <= 2**16 else np.uint32)
        packing_kernels.fill_entries(
            codes, bias, 2**self.index_bits, self.num_pes, self.column_begin, stored_codes, gaps, output_rows
        )
        return stored_codes, gaps, output_rows if order is None else order.astype(output_rows.dtype)[output_rows]

    def sparse_matrix_image(self, pe: int) -> tuple[Integers, npt.NDArray[np.uint8]]:
        """Codes and gaps as the sparse-matrix SRAM of one PE holds them, column after column."""
        begin = self.column_begin[:-1] + self.entry_counts[:, :pe].sum(axis=1, dtype=np.int64)
        lengths = self.entry_counts[:, pe].astype(np.int64)
        places = np.repeat(begin - self.pointers[:-1, pe], lengths) + np.arange(lengths.sum())
        return self.codes[places], self.gaps[places]

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
    """Pack a layer into the SRAM images of `config`'s array.

    row_order   [rows], the layer's rows in the order in which they are dealt to the PEs (`sim.row_assignment`);
                if none is given, they are interleaved as they are

    Raises InputError if the layer's codes do not fit, or `row_order` does not hold every row once.
    """
    from sim import packing_kernels  # compiles on first use

    check_codes_fit(layer, config)
    order = None if row_order is None else _checked_order(layer, row_order)
    codes, bias = _in_places(layer, order)
    columns = layer.columns + (1 if bias.size else 0)
    # The most entries that a column can have in a PE, padding included, is the number of the PE's rows.
    counter = np.min_scalar_type(-(-layer.rows // config.num_pes))
    entry_counts = np.empty((columns, config.num_pes), dtype=counter)
    padding_counts = np.empty((columns, config.num_pes), dtype=counter)
    packing_kernels.count_entries(codes, bias, config.index_bits, entry_counts, padding_counts)

    num_entries = int(entry_counts.sum(dtype=np.int64))
    if num_entries + columns > MAX_ENTRIES:
        raise InputError(
            f"layer {layer.name!r} packs into {num_entries:,} entries, padding included, in {columns:,} columns; at "
            f"most {MAX_ENTRIES:,} of both can be simulated; widen index_bits={config.index_bits} or split the layer"
        )
    pointers = np.zeros((columns + 1, config.num_pes), dtype=np.int32)
    packing_kernels.add_up(entry_counts, pointers)
    for images in (pointers, entry_counts, padding_counts):
        images.flags.writeable = False  # as where they are mapped from a file: kernels are compiled for one of the two
    return PackedLayer(layer, config.num_pes, config.index_bits, pointers, entry_counts, padding_counts, order)


def _in_places(layer: CompressedLayer, order: npt.NDArray[np.int64] | None) -> tuple[Integers, Integers]:
    """Codes and bias of a layer as they are dealt to the PEs; a bias of no length where there is none."""
    codes = layer.codes
    bias = np.zeros(0, dtype=codes.dtype) if layer.bias is None else layer.bias
    return (codes, bias) if order is None else (codes[order], bias[order] if bias.size else bias)


def _checked_order(layer: CompressedLayer, row_order: npt.ArrayLike) -> npt.NDArray[np.int64]:
    try:
        order = np.asarray(row_order)
    except ValueError:  # ragged
        order = np.zeros(0)
    if order.shape != (layer.rows,) or order.dtype.kind not in "iu" or (np.sort(order) != np.arange(layer.rows)).any():
        raise InputError(
            f"layer {layer.name!r}: row_order must hold each of the rows 0 to {layer.rows - 1} once; found "
            f"{order.dtype} {list(order.shape)} that does not"
        )
    return order.astype(np.int64)
