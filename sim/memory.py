"""Capacities of the memories, and blocks of a layer that exceeds them.

A block is a range of columns, or of rows, whose own SRAM images fit. It is loaded from DRAM and run, and its outputs
are stored if they do not stay on the chip. In mode `passes`, a block has the SRAMs for itself. In mode `streamed`, it
has half of them, and the next block is loaded into the other half while it runs. There is one transfer at a time, and
each transfer starts at the beginning of a cycle:

    load_end[i]    = max( the transfer before, run_end[i - buffers] ) + load_cycles[i]
    run_end[i]     = max( load_end[i], run_end[i - 1] ) + run_cycles[i]
    store_end[i]   = max( the transfer before, run_end[i] ) + store_cycles[i]

The SRAMs are one buffer in mode `passes` and two in mode `streamed`. The first transfers load one block into each
buffer. Then, for each block, its outputs are stored and the next block is loaded into its buffer.
`sim.datapath.memory_control` runs the same schedule cycle by cycle.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np

from sim.array_table import ArrayOrTable, ArrayTable
from sim.config import ArrayConfig
from sim.fixed_point import Operands
from sim.packing import PackedLayer, pack
from sim.weight_entropy import WeightEntropy
from traces import CompressedLayer, InputError


class DoesNotFitWarning(UserWarning):
    """Warning that a layer was simulated on an array whose memories cannot hold it."""


@dataclass(frozen=True)
class Shortfall:
    """Capacity of a PE that a layer exceeds.

    Attributes
    ----------
    memory : str
        Name of the memory.
    unit : str
        Unit of the two numbers.
    needed, available : int
        What the layer needs in the fullest PE, and what the memory holds.
    """

    memory: str
    unit: str
    needed: int
    available: int

    def __str__(self) -> str:
        if not self.available:
            return f"{self.memory}: {self.needed:,} {self.unit} needed, none available"
        excess = self.needed - self.available
        return (
            f"{self.memory}: {self.needed:,} {self.unit} needed, {self.available:,} available, {excess:,} "
            f"({excess / self.available:.0%}) too many"
        )


def shortfalls(packed: PackedLayer, config: ArrayConfig) -> tuple[Shortfall, ...]:
    """Return the capacities of a PE that the whole layer exceeds; none if it fits.

    Source of the default capacities: Han et al., "EIE", ISCA 2016, section VI.
    """
    return _shortfalls(packed, config, buffers=1, streams_inputs=False, streams_outputs=False)


def _shortfalls(
    packed: PackedLayer, config: ArrayConfig, buffers: int, streams_inputs: bool, streams_outputs: bool
) -> tuple[Shortfall, ...]:
    """Return the capacities that a block exceeds; of a streamed memory it has one of `buffers` equal parts."""
    inputs = _per_pe(packed.layer.columns, config) * (buffers if streams_inputs else 1)
    outputs = _per_pe(packed.layer.rows, config) * (buffers if streams_outputs else 1)
    activations = Shortfall(
        "activation SRAM of a PE", "inputs and outputs", inputs + outputs, activation_words_per_pe(config)
    )
    lacking = weight_shortfalls(image_of(packed, config), config, buffers)
    return lacking if activations.needed <= activations.available else (*lacking, activations)


class Image(NamedTuple):
    """Room that packed weights take in the SRAMs.

    Attributes
    ----------
    lines, pointers, entries : int, or int64 [arrays]
        Lines, pointers and entries of the fullest PE.
    all_lines, all_pointers : int, or int64 [arrays]
        Lines and pointers of all PEs together, which a load writes.
    """

    lines: Any
    pointers: Any
    entries: Any
    all_lines: Any
    all_pointers: Any

    def num_bytes(self, config: ArrayConfig) -> int:
        """Return the bytes of the lines and pointers in all PEs."""
        return int(-(-(self.all_lines * config.line_bits + self.all_pointers * config.pointer_bits) // 8))


def image_of(packed: PackedLayer, config: ArrayConfig) -> Image:
    """Return the room that one packed matrix takes."""
    return _image(packed, config.entries_per_line)


def images_of(packed: PackedLayer, entries_per_line: Sequence[int]) -> list[Image]:
    """Return the room that one packed matrix takes with lines of so many entries."""
    return [_image(packed, entries) for entries in entries_per_line]


def _image(packed: PackedLayer, entries_per_line: int) -> Image:
    images: dict[int, Image] = packed.images
    if entries_per_line not in images:
        lines = -(-packed.stored_per_pe // entries_per_line)
        pointers, fullest = packed.num_columns + 1, packed.fullest_pe_entries
        images[entries_per_line] = Image(
            int(lines.max()), pointers, fullest, int(lines.sum()), pointers * packed.num_pes
        )
    return images[entries_per_line]


def weight_capacity(config: ArrayOrTable) -> Image:
    """Return the lines, pointers and entries that a PE can hold, and all PEs together."""
    lines, pointers = _lines(config), _pointers(config, 1)
    return Image(lines, pointers, 2**config.pointer_bits - 1, lines * config.num_pes, pointers * config.num_pes)


def weight_shortfalls(image: Image, config: ArrayConfig, buffers: int = 1) -> tuple[Shortfall, ...]:
    """Return the capacities of a PE that weights exceed; they have one of `buffers` equal parts of the SRAMs."""
    needs = [
        Shortfall("sparse-matrix SRAM of a PE", "lines", image.lines, _lines(config) // buffers),
        Shortfall("pointer SRAM of a PE", "pointers", image.pointers, _pointers(config, buffers)),
        Shortfall("range of a pointer", "entries of a PE", image.entries, 2**config.pointer_bits - 1),
    ]
    return tuple(need for need in needs if need.needed > need.available)


def exceeds_weights(image: Image, config: ArrayOrTable) -> Any:
    """Return True if weights exceed a capacity of a PE; bool [arrays] for a table, with the room on each array."""
    room = weight_capacity(config)
    return (image.lines > room.lines) | (image.pointers > room.pointers) | (image.entries > room.entries)


def fits(packed: PackedLayer, arrays: ArrayTable) -> Any:
    """Return True for each array on which `shortfalls` finds none, bool, or bool [arrays]."""
    lines = arrays.entries_per_line
    different, places = np.unique(lines, return_inverse=True)
    images = images_of(packed, different.tolist())
    most = np.array([image.lines for image in images])[places]
    image = images[0]._replace(lines=most if np.ndim(lines) else images[0].lines)
    words = _per_pe(packed.layer.columns, arrays) + _per_pe(packed.layer.rows, arrays)
    return np.logical_not(exceeds_weights(image, arrays)) & (words <= activation_words_per_pe(arrays))


def _per_pe(count: int, config: ArrayOrTable) -> Any:
    return -(-count // config.num_pes)


def _lines(config: ArrayOrTable) -> Any:
    return config.sparse_matrix_bytes * 8 // config.line_bits


def _pointers(config: ArrayOrTable, buffers: int) -> Any:
    """Return the number of pointers that both banks hold: one bank is for even columns, the other for odd columns."""
    return 2 * (config.pointer_bytes // 2 * 8 // config.pointer_bits // buffers)


def activation_words_per_pe(config: ArrayOrTable) -> Any:
    """Return the activations that the SRAM of one PE holds, int, or int64 [arrays] for a table."""
    return config.activation_bytes * 8 // config.activation_bits


@dataclass(frozen=True, eq=False)
class Block:
    """Part of a layer that runs at once.

    Attributes
    ----------
    packed : PackedLayer
        SRAM images of the block.
    columns : slice
        Activations that enter the block.
    rows : slice or numpy.ndarray
        Outputs that the block adds to; an array is int64 [rows of the block].
    load_bytes, store_bytes : int
        Bytes read from DRAM before the block runs, and written after it.
    line_writes, pointer_writes : int
        Lines and pointers that the load writes into the SRAMs of all PEs.
    input_words, output_words : int
        Activations that are loaded before the block runs, and stored after it.
    """

    packed: PackedLayer
    columns: slice
    rows: Any
    load_bytes: int = 0
    store_bytes: int = 0
    line_writes: int = 0
    pointer_writes: int = 0
    input_words: int = 0
    output_words: int = 0

    def operands(self, operands: Operands) -> Operands:
        """Return the part of a layer's operands that enters the block."""
        return dataclasses.replace(operands, entering=operands.entering[..., self.columns])


def blocks_of(packed: PackedLayer, config: ArrayConfig) -> list[Block]:
    """Cut a layer into the blocks in which an array runs it; a layer that stays on the array is one block.

    Raises InputError if the layer does not fit and `config.memory_mode` refuses it, or if no blocks fit.
    """
    mode = config.memory_mode
    whole = [Block(packed, slice(None), slice(None))]
    if mode == "unlimited":
        return whole
    lacking = shortfalls(packed, config)
    if mode == "resident" and lacking:
        raise InputError(
            f"layer {packed.layer.name!r} does not fit: {_listed(lacking)}; enlarge what is too small, use more PEs, "
            f"or run it with memory_mode='passes' or 'streamed'"
        )
    if mode != "streamed" and not lacking:
        return whole
    key = (
        *(mode, config.block_axis, config.entries_per_line, config.line_bits, config.sparse_matrix_bytes),
        *(config.pointer_bytes, config.pointer_bits, config.activation_bytes, config.activation_bits),
    )
    if key not in packed.blocks:
        cut = _column_blocks if config.block_axis == "columns" else _row_blocks
        packed.blocks[key] = cut(packed, config)
    blocks: list[Block] = packed.blocks[key]
    return blocks


def buffers_of(config: ArrayConfig) -> int:
    """Return the number of blocks that the SRAMs hold at once."""
    return 2 if config.memory_mode == "streamed" else 1


def _inputs_and_outputs_fit(packed: PackedLayer, config: ArrayConfig) -> bool:
    layer = packed.layer
    return bool(_per_pe(layer.columns, config) + _per_pe(layer.rows, config) <= activation_words_per_pe(config))


def _loaded_block(
    packed: PackedLayer, columns: slice, rows: Any, input_words: int, output_words: int, config: ArrayConfig
) -> Block:
    """Return a block that is loaded with so many of its inputs, and of which so many outputs are stored."""
    image = image_of(packed, config)
    activation_bytes = config.activation_bits // 8
    return Block(
        packed,
        columns,
        rows,
        image.num_bytes(config) + input_words * activation_bytes,
        output_words * activation_bytes,
        image.all_lines,
        image.all_pointers,
        input_words,
        output_words,
    )


def _column_blocks(packed: PackedLayer, config: ArrayConfig) -> list[Block]:
    """Cut a layer into blocks of as many whole rows of activations as fit; outputs stay in the PEs."""
    layer, num_pes = packed.layer, config.num_pes
    streams_inputs = not _inputs_and_outputs_fit(packed, config)

    def part(begin: int, end: int) -> Block:
        last = end == layer.columns
        stop = packed.num_columns if last else end
        sub_layer = dataclasses.replace(
            layer, codes=layer.codes[:, begin:end], bias=layer.bias if last else None, free_bias=None
        )
        images = dataclasses.replace(
            packed,
            layer=sub_layer,
            entry_lanes=packed.entry_lanes[begin:stop],
            padding_lanes=packed.padding_lanes[begin:stop],
        )
        input_words = end - begin if streams_inputs else 0
        return _loaded_block(images, slice(begin, end), slice(None), input_words, 0, config)

    buffers = buffers_of(config)
    outputs = _per_pe(layer.rows, config)
    most_entries = min(_lines(config) // buffers * config.entries_per_line, 2**config.pointer_bits - 1)
    most_inputs = (activation_words_per_pe(config) - outputs) // buffers * num_pes if streams_inputs else layer.columns
    most_columns = min(_pointers(config, buffers) - 1, most_inputs)
    blocks: list[Block] = []
    begin = 0
    while begin < layer.columns:
        ends = np.append(np.arange(begin + num_pes, layer.columns, num_pes), layer.columns)
        stops = np.where(ends == layer.columns, packed.num_columns, ends)  # the last block has the bias
        entries = (packed.pointers[stops] - packed.pointers[begin]).max(axis=1)
        # The bias takes a pointer, but no place among the inputs.
        fits = (entries <= most_entries) & (stops - begin <= _pointers(config, buffers) - 1)
        fits &= ends - begin <= most_columns
        if not fits[0]:
            smallest = part(begin, int(ends[0]))
            lacking = _shortfalls(smallest.packed, config, buffers, streams_inputs, streams_outputs=False)
            raise _cannot_be_cut(layer, "columns", f"columns {begin} to {ends[0] - 1}", lacking, buffers)
        end = int(ends[np.flatnonzero(fits)[-1]])
        blocks.append(part(begin, end))
        begin = end
    return blocks


def _row_blocks(packed: PackedLayer, config: ArrayConfig) -> list[Block]:
    """Cut a layer into blocks of equally many rows of each PE until they fit; all inputs enter every block."""
    layer, num_pes, buffers = packed.layer, config.num_pes, buffers_of(config)
    streams_outputs = not _inputs_and_outputs_fit(packed, config)
    rows_per_pe = _per_pe(layer.rows, config)
    order = packed.row_order

    def part(begin: int, end: int) -> Block:
        """Return the block of rows `begin` to `end` of each PE."""
        places = slice(begin * num_pes, min(end * num_pes, layer.rows))
        rows = places if order is None else order[places]
        sub_layer = layer.part(rows)
        images = pack(sub_layer, config, None if sub_layer.row_codebooks is None else np.arange(sub_layer.rows))
        output_words = images.layer.rows if streams_outputs else 0
        return _loaded_block(images, slice(None), rows, 0, output_words, config)

    def lacking_in(block: Block) -> tuple[Shortfall, ...]:
        return _shortfalls(block.packed, config, buffers, streams_inputs=False, streams_outputs=streams_outputs)

    num_blocks = 1
    while True:
        bounds = [rows_per_pe * number // num_blocks for number in range(num_blocks + 1)]
        blocks = [part(begin, end) for begin, end in itertools.pairwise(bounds)]
        lacking = [shortfall for block in blocks for shortfall in lacking_in(block)]
        if not lacking:
            return blocks
        if num_blocks == rows_per_pe:
            raise _cannot_be_cut(layer, "rows", "one row in each PE", lacking[:1], buffers)
        excess = max(shortfall.needed / max(shortfall.available, 1) for shortfall in lacking)
        num_blocks = min(max(num_blocks + 1, math.floor(num_blocks * min(excess, rows_per_pe))), rows_per_pe)


def _cannot_be_cut(
    layer: CompressedLayer, axis: str, smallest: str, lacking: Sequence[Shortfall], buffers: int
) -> InputError:
    halved = ", of which a streamed block has one half" if buffers == 2 else ""
    other = "rows" if axis == "columns" else "columns"
    return InputError(
        f"layer {layer.name!r} cannot be cut into blocks of {axis} that fit, since even {smallest} exceed "
        f"{_listed(lacking)}{halved}; enlarge it, use more PEs, or try block_axis={other!r}"
    )


def _listed(lacking: Sequence[Shortfall]) -> str:
    return "; ".join(map(str, lacking))


class DramClock(Protocol):
    """Array with a DRAM and a clock: an `ArrayConfig`, or a dense array."""

    @property
    def dram_gb_per_s(self) -> float:
        """Bandwidth in GB/s."""

    @property
    def clock_mhz(self) -> float:
        """Clock in MHz."""


def transfer_cycles(num_bytes: int, config: DramClock) -> int:
    """Return the cycles of one transfer from or to DRAM."""
    return math.ceil(num_bytes / bytes_per_cycle(config))


def bytes_per_cycle(config: DramClock) -> Fraction:
    """Return the bytes that the DRAM moves in a cycle of the array, as an exact fraction."""
    return Fraction(config.dram_gb_per_s) * 1000 / Fraction(config.clock_mhz)


class Schedule(NamedTuple):
    """Times of a layer that runs in blocks; each time is one number, or int64 [inputs].

    Attributes
    ----------
    cycles
        Cycles of the whole layer.
    begins
        Cycle in which each block begins.
    waiting_cycles
        Cycles in which no block runs.
    """

    cycles: Any
    begins: list[Any]
    waiting_cycles: Any


def schedule(blocks: Sequence[Block], run_cycles: Sequence[Any], config: ArrayConfig) -> Schedule:
    """Schedule the blocks, each of which runs for these cycles: one number, or int64 [inputs]."""
    zero = np.zeros_like(run_cycles[0])
    if len(blocks) == 1 and not blocks[0].load_bytes and not blocks[0].store_bytes:
        return Schedule(run_cycles[0], [zero], zero)
    buffers = buffers_of(config)
    loads = [transfer_cycles(block.load_bytes, config) for block in blocks]
    bus = zero
    load_end = []
    for cycles in loads[:buffers]:
        bus = bus + cycles
        load_end.append(bus)
    run_end = zero
    begins = []
    for number, block in enumerate(blocks):
        begins.append(np.maximum(load_end[number], run_end))
        run_end = begins[-1] + run_cycles[number]
        if block.store_bytes:
            bus = np.maximum(bus, run_end) + transfer_cycles(block.store_bytes, config)
        if number + buffers < len(blocks):
            bus = np.maximum(bus, run_end) + loads[number + buffers]
            load_end.append(bus)
    total = np.maximum(run_end, bus)
    return Schedule(total, begins, total - sum(run_cycles))


def stored_counts(packed: PackedLayer, config: ArrayConfig) -> dict[str, Any]:
    """Return those fields of `sim.Counts` that state what the SRAMs hold of a layer in one block, by name."""
    image = image_of(packed, config)
    return {
        "stored_entries": packed.stored_entries,
        "padding_entries": packed.padding_entries,
        "stored_lines": image.all_lines,
        "stored_pointers": image.all_pointers,
        "entropy": WeightEntropy([packed.layer]),
    }


def memory_counts(packed: PackedLayer, blocks: Sequence[Block], config: ArrayConfig) -> dict[str, Any]:
    """Return those fields of `sim.Counts` that depend only on the blocks, by name."""
    images = [image_of(block.packed, config) for block in blocks]
    return {
        "config": config,
        "stored_entries": sum(block.packed.stored_entries for block in blocks),
        "padding_entries": sum(block.packed.padding_entries for block in blocks),
        "stored_lines": sum(image.all_lines for image in images),
        "stored_pointers": sum(image.all_pointers for image in images),
        "entropy": WeightEntropy([packed.layer]),
        "dram_read_bytes": sum(block.load_bytes for block in blocks),
        "dram_write_bytes": sum(block.store_bytes for block in blocks),
        "line_writes": sum(block.line_writes for block in blocks),
        "pointer_writes": sum(block.pointer_writes for block in blocks),
        "activation_reads": sum(block.output_words for block in blocks),
        "activation_writes": sum(block.input_words for block in blocks),
        "shortfalls": shortfalls(packed, config) if config.memory_mode == "unlimited" else (),
    }
