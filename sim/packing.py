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

    layer            the layer that was packed
    num_pes, index_bits   what the images depend on
    codes, gaps      type of the layer's codes and uint8 [stored entries]; column by column, within a column
                     PE by PE (the bias column, when there is one, counts as a column here and below)
    output_rows      uint16 or uint32 [stored entries], the row of the output that each entry belongs to
    column_begin     int64 [columns + 1], where each column begins in `codes` and `gaps`
    pointers         int32 [columns + 1, num_pes], where each column's entries begin within each PE
    entry_counts     [columns, num_pes], entries of each column in each PE, padding included
    padding_counts   [columns, num_pes], padding entries among them
    row_order        int64 [rows], the layer's row at each place of the packed matrix; None if interleaved
    """

    layer: CompressedLayer
    num_pes: int
    index_bits: int
    codes: Integers
    gaps: npt.NDArray[np.uint8]
    output_rows: Integers
    column_begin: npt.NDArray[np.int64]
    pointers: npt.NDArray[np.int32]
    entry_counts: Integers
    padding_counts: Integers
    row_order: npt.NDArray[np.int64] | None = None

    @property
    def row_order_bits(self) -> int:
        """Bits of the table that puts the outputs back in order; 0 if the rows are interleaved."""
        return 0 if self.row_order is None else self.layer.rows * (self.layer.rows - 1).bit_length()

    @property
    def stored_entries(self) -> int:
        """Entries in all PEs, padding included."""
        return int(self.column_begin[-1])

    @cached_property
    def padding_entries(self) -> int:
        """Padding entries in all PEs."""
        return int(self.padding_counts.sum(dtype=np.int64))

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
    num_pes = config.num_pes
    codes = layer.codes if order is None else layer.codes[order]
    bias = np.zeros(0, dtype=codes.dtype) if layer.bias is None else layer.bias
    bias = bias if order is None or not bias.size else bias[order]
    columns = layer.columns + (1 if bias.size else 0)
    # The most entries that a column can have in a PE, padding included, is the number of the PE's rows.
    rows_per_pe = -(-layer.rows // num_pes)
    counter = np.min_scalar_type(rows_per_pe)
    entry_counts = np.zeros((columns, num_pes), dtype=counter)
    padding_counts = np.zeros((columns, num_pes), dtype=counter)
    packing_kernels.count_entries(codes, bias, config.max_gap, entry_counts, padding_counts)

    column_begin = np.zeros(columns + 1, dtype=np.int64)
    np.cumsum(entry_counts.sum(axis=1, dtype=np.int64), out=column_begin[1:])
    num_entries = int(column_begin[-1])
    if num_entries + columns > MAX_ENTRIES:
        raise InputError(
            f"layer {layer.name!r} packs into {num_entries:,} entries, padding included, in {columns:,} columns; at "
            f"most {MAX_ENTRIES:,} of both can be simulated; widen index_bits={config.index_bits} or split the layer"
        )
    pointers = np.zeros((columns + 1, num_pes), dtype=np.int32)
    np.cumsum(entry_counts, axis=0, dtype=np.int32, out=pointers[1:])
    stored_codes = np.empty(num_entries, dtype=codes.dtype)
    stored_gaps = np.empty(num_entries, dtype=np.uint8)
    output_rows = np.empty(num_entries, dtype=np.uint16 if layer.rows <= 2**16 else np.uint32)
    packing_kernels.fill_entries(
        codes, bias, config.max_gap, num_pes, column_begin, stored_codes, stored_gaps, output_rows
    )
    if order is not None:
        output_rows = order.astype(output_rows.dtype)[output_rows]
    return PackedLayer(
        layer,
        num_pes,
        config.index_bits,
        stored_codes,
        stored_gaps,
        output_rows,
        column_begin,
        pointers,
        entry_counts,
        padding_counts,
        order,
    )


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
