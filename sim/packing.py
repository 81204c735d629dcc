"""SRAM images of a compressed layer: interleaved compressed sparse column (CSC)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.config import ArrayConfig
from sim.host_memory import check_memory, image_bytes
from traces import CompressedLayer, InputError
from traces.arrays import Integers, Integers32, Integers64

MAX_ENTRIES = 2**30  # keeps every clock edge of a layer within 32 bits


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
    pointers : numpy.ndarray
        Place of each column's first entry within each PE, int32 [columns + 1, num_pes]. The bias column, if there is
        one, counts as a column here and below.
    entry_counts : numpy.ndarray
        Entries of each column in each PE, padding included, [columns, num_pes].
    padding_counts : numpy.ndarray
        Padding entries among them, [columns, num_pes].
    row_order : numpy.ndarray or None
        The layer's row at each place of the packed matrix, int64 [rows]; None if the rows are interleaved.

    Notes
    -----
    PE k owns the output rows i with i mod num_pes == k or, with a row order, the rows at these places. Its entries lie
    column by column, from the first place to the last; the bias is one more column after all others. Padding entries
    (code 0, gap max_gap - 1) bridge a gap that is too long for `index_bits`. The entries are placed on first use, since
    timing needs only their counts. Source: Han et al., "EIE", ISCA 2016, section III-B and Fig 3.
    """

    layer: CompressedLayer
    num_pes: int
    index_bits: int
    pointers: Integers32
    entry_counts: Integers
    padding_counts: Integers
    row_order: Integers64 | None = None

    @cached_property
    def blocks(self) -> dict[Any, Any]:
        """Blocks that `sim.memory` has cut the layer into, by the parameters they depend on."""
        return {}

    @property
    def row_order_bits(self) -> int:
        """Bits of the table that restores the order of the outputs; 0 if the rows are interleaved."""
        return 0 if self.row_order is None else self.layer.rows * (self.layer.rows - 1).bit_length()

    @cached_property
    def stored_per_pe(self) -> Integers32:
        """Entries in each PE, padding included, int32 [num_pes]."""
        stored: Integers32 = self.pointers[-1]
        return stored

    @cached_property
    def stored_entries(self) -> int:
        """Entries in all PEs, padding included."""
        return int(self.stored_per_pe.sum(dtype=np.int64))

    @cached_property
    def most_entries(self) -> int:
        """Largest number of entries of a column in a PE, padding included."""
        return int(self.entry_counts.max())

    @cached_property
    def padding_entries(self) -> int:
        """Padding entries in all PEs."""
        return int(self.padding_counts.sum(dtype=np.int64))

    @property
    def codes(self) -> Integers:
        """Codes of all entries [stored entries], column by column, within a column PE by PE."""
        return self._entries[0]

    @property
    def gaps(self) -> npt.NDArray[np.uint8]:
        """Gaps of all entries in the order of `codes`, uint8 [stored entries]."""
        return self._entries[1]

    @property
    def output_rows(self) -> Integers:
        """Output row of each entry, uint16 or uint32 [stored entries]."""
        return self._entries[2]

    @cached_property
    def column_begin(self) -> Integers64:
        """Place of each column's first entry in `codes`, `gaps` and `output_rows`, int64 [columns + 1]."""
        begin: Integers64 = self.pointers.sum(axis=1, dtype=np.int64)
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
        """Return codes and gaps as the sparse-matrix SRAM of one PE holds them, column after column."""
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
    """Pack a layer into the SRAM images of an array.

    Parameters
    ----------
    layer : CompressedLayer
        Layer to pack.
    config : ArrayConfig
        Array whose `num_pes`, `index_bits` and `weight_bits` count here.
    row_order : array_like, optional
        The layer's rows in the order in which they are dealt to the PEs (`assign_rows`), [rows]. By default the rows
        are interleaved as they are.

    Returns
    -------
    PackedLayer
        SRAM images.

    Raises
    ------
    InputError
        If the layer's codes are wider than the array's, the layer has too many entries, its images do not fit into the
        memory of this computer (`sim.host_memory`), or `row_order` does not hold every row once.
    """
    from sim import packing_kernels  # compiles on first use

    check_codes_fit(layer, config)
    order = None if row_order is None else _checked_order(layer, row_order)
    codes, bias = _in_places(layer, order)
    columns = layer.columns + (1 if bias.size else 0)
    check_memory(
        f"layer {layer.name!r}: pointers and counters of num_pes={config.num_pes:,} times {columns:,} columns",
        image_bytes(layer.rows, columns, config.num_pes),
        "use fewer PEs or split the layer",
    )
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
        images.flags.writeable = False  # as if mapped from a file: kernels are compiled for one of the two
    return PackedLayer(layer, config.num_pes, config.index_bits, pointers, entry_counts, padding_counts, order)


def _in_places(layer: CompressedLayer, order: Integers64 | None) -> tuple[Integers, Integers]:
    """Return codes and bias as they are dealt to the PEs; the bias is empty if the layer has none."""
    codes = layer.codes
    bias = np.zeros(0, dtype=codes.dtype) if layer.bias is None else layer.bias
    return (codes, bias) if order is None else (codes[order], bias[order] if bias.size else bias)


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
