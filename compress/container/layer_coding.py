"""One layer's matrix of codes in bytes, in the scan order and width of gaps that take the fewest.

`guide/container.md` describes the bytes, `compress.relative_index` gaps and padding entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from compress.container import huffman
from compress.container.bytes_io import ByteReader, varint
from compress.relative_index import (
    SCAN_ORDERS,
    ScanOrder,
    decode_relative,
    encode_relative,
    scanned,
    unscanned,
)
from traces import InputError
from traces.arrays import Booleans, Integers, Integers64
from traces.plain_values import one_of, true_or_false, whole_number

Coder = Literal["huffman", "range"]
RANGE_CODER = 254
INDEX_BITS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class CodingChoice:
    """Options for writing a layer; an option that is None is chosen so that the layer takes the fewest bytes.

    Attributes
    ----------
    index_bits : int or None
        Bits of a gap in the file, 1 to 8; the array has its own (`ArrayConfig.index_bits`).
    scan_order : str or None
        "rows", "columns" or "interleaved", the order of the SRAMs of `num_pes` PEs.
    num_pes : int
        PEs of the interleaved order.
    coder : str
        "huffman", or "range", which needs the package constriction for writing and has neither order nor width.
    leaves_out_empty : bool
        True to leave out rows and columns without weights where this takes fewer bytes.

    Raises
    ------
    InputError
        If an option is out of its range or has no effect.
    """

    index_bits: int | None = None
    scan_order: ScanOrder | None = None
    num_pes: int = 64
    coder: Coder = "huffman"
    leaves_out_empty: bool = False

    def __post_init__(self) -> None:
        width, order = self.index_bits, self.scan_order
        object.__setattr__(self, "num_pes", whole_number("num_pes", self.num_pes))
        if width is not None:
            object.__setattr__(self, "index_bits", whole_number("index_bits", width, INDEX_BITS[0], INDEX_BITS[-1]))
        if order is not None:
            one_of("scan_order", order, SCAN_ORDERS)
        one_of("coder", self.coder, get_args(Coder))
        true_or_false("leaves_out_empty", self.leaves_out_empty)
        if self.coder == "range" and (width is not None or order is not None):
            raise InputError("index_bits and scan_order have no effect with coder='range'; leave them out")
        if not 1 <= self.num_pes <= 65_536:
            raise InputError(f"num_pes={self.num_pes} must be 1 to 65,536")

    @property
    def can_interleave(self) -> bool:
        """True if `num_pes` has an effect."""
        return self.coder == "huffman" and self.scan_order in (None, "interleaved")


@dataclass(frozen=True)
class CodedMatrix:
    """Bytes of a matrix of codes, by their use.

    Attributes
    ----------
    content : bytes
        The coded matrix.
    scan_order : str
        Order of the weights.
    index_bits : int
        Bits of a gap.
    entries, num_fillers : int
        All entries, and the padding entries among them.
    codes, gaps : int
        Bytes of the codes and gaps of entries that are no padding.
    fillers : int
        Bytes of codes and gaps of padding entries, rounded down.
    code_tables : int
        Bytes of the code tables.
    overhead : int
        Other bytes: counts and choices.
    entropy_bytes : float
        Bytes of an ideal coder of the same symbols, each by its frequency alone.
    """

    content: bytes
    scan_order: ScanOrder
    index_bits: int
    entries: int
    num_fillers: int
    codes: int
    gaps: int
    fillers: int
    code_tables: int
    overhead: int
    entropy_bytes: float


@dataclass(frozen=True, eq=False)
class ScannedGaps:
    """Gaps of a matrix's non-zeros in several scan orders and widths, which hold for all codes of the same non-zeros.

    Attributes
    ----------
    ways : tuple of (str, int)
        Scan orders, with each of the bits of a gap.
    num_pes : int
        PEs of the interleaved order.
    bits : int64 [ways]
        Bits of the gaps and of the choice of the way.
    counts : int64 [ways, 256]
        Occurrences of each gap, those of padding entries included.
    fillers : int64 [ways]
        Padding entries.
    """

    ways: tuple[tuple[ScanOrder, int], ...]
    num_pes: int
    bits: Integers64
    counts: Integers64
    fillers: Integers64

    @classmethod
    def of(cls, codes: Integers, choice: CodingChoice) -> ScannedGaps:
        """Return the gaps of a matrix of codes, or of a mask, in all ways that the choice leaves open."""
        from compress.container import layer_coding_kernels

        orders: Sequence[ScanOrder] = SCAN_ORDERS if choice.scan_order is None else (choice.scan_order,)
        widths = INDEX_BITS if choice.index_bits is None else (choice.index_bits,)
        ways = tuple((order, width) for order in orders for width in widths)
        bits, fillers = np.empty((2, len(ways)), dtype=np.int64)
        counts = np.zeros((len(ways), 256), dtype=np.int64)
        codes = np.ascontiguousarray(codes)
        for number, order in enumerate(orders):
            of_order = slice(number * len(widths), (number + 1) * len(widths))
            layer_coding_kernels.measure_gaps(
                codes,
                {"rows": 0, "columns": 1, "interleaved": min(choice.num_pes, len(codes))}[order],
                np.array(widths),
                huffman.MAX_LENGTH,
                counts[of_order],
                bits[of_order],
                fillers[of_order],
            )
            bits[of_order] += 16 if order == "interleaved" else 0
        return cls(ways, choice.num_pes, bits, counts, fillers)

    def best(self, codes: Integers, weight_bits: int) -> tuple[int, list[Integers64]]:
        """Choose the way in which codes, whose gaps these are, take the fewest bytes.

        Returns
        -------
        way : int
            Its place in `ways`.
        counts : list of int64
            Occurrences of each gap, and of each code; of codes of 16 bits, of their lower and their higher bytes.
        """
        from compress.container import layer_coding_kernels

        of_codes = np.zeros((codes.dtype.itemsize, 256), dtype=np.int64)
        layer_coding_kernels.count_codes(codes.ravel(), of_codes)
        way = int(layer_coding_kernels.cheapest(self.bits, self.fillers, of_codes, huffman.MAX_LENGTH))
        of_codes[:, 0] += self.fillers[way]
        return way, [self.counts[way][: 2 ** self.ways[way][1]], *of_codes[:, : min(256, 2**weight_bits)]]


def used_rows_and_columns(codes: Integers) -> tuple[Booleans, Booleans] | None:
    """Return the rows and the columns that have weights; None if all have, or none has."""
    kept = codes != 0
    rows, columns = kept.any(axis=1), kept.any(axis=0)
    return (rows, columns) if rows.any() and not (rows.all() and columns.all()) else None


def matrix_bytes(codes: Integers, weight_bits: int, gaps: ScannedGaps | None = None) -> int:
    """Return the bytes that `encode_matrix` writes in the best way, without writing them.

    Parameters
    ----------
    codes : uint8 or uint16 [rows, columns]
        Below 2**weight_bits.
    weight_bits : int
        Bits of a code.
    gaps : ScannedGaps or None
        Of these codes, or of others with the same non-zeros, if they are known.
    """
    from compress.container import layer_coding_kernels

    gaps = ScannedGaps.of(codes, CodingChoice()) if gaps is None else gaps
    way, counts = gaps.best(codes, weight_bits)
    order, width = gaps.ways[way]
    num_entries = int(counts[0].sum())
    lengths = [huffman.code_lengths(each) for each in counts]
    begins = huffman.stream_begins(num_entries)
    if len(begins) == 2:
        bits = np.array([[each @ words.astype(np.int64)] for each, words in zip(counts, lengths, strict=True)])
    else:
        bits = np.zeros((len(lengths), len(begins) - 1), dtype=np.int64)
        padded = np.zeros((len(lengths), 256), dtype=np.int64)
        for plane, words in zip(padded, lengths, strict=True):
            plane[: len(words)] = words
        layer_coding_kernels.count_stream_bits(scanned(codes, order, gaps.num_pes), width, int(begins[1]), padded, bits)
    total = 2 + len(varint(num_entries)) + (len(varint(gaps.num_pes)) if order == "interleaved" else 0)
    for words, of_streams in zip(lengths, bits, strict=True):
        streams = 0
        if np.count_nonzero(words) > 1:
            of_bytes = (of_streams + 7) // 8
            streams = int(of_bytes.sum()) + sum(len(varint(int(each))) for each in of_bytes[:-1])
        total += len(code_table(words)) + len(varint(streams)) + streams
    return total


def encode_matrix(codes: Integers, weight_bits: int, choice: CodingChoice) -> CodedMatrix:
    """Write a matrix of codes, uint8 or uint16 [rows, columns], below 2**weight_bits."""
    ways = ScannedGaps.of(codes, choice)
    way, occurrences = ways.best(codes, weight_bits)
    order, width = ways.ways[way]
    entry_codes, gaps = encode_relative(scanned(codes, order, choice.num_pes), width)
    num_fillers = int(ways.fillers[way])
    content = bytes([SCAN_ORDERS.index(order)]) + (varint(choice.num_pes) if order == "interleaved" else b"")
    content += bytes([width]) + varint(entry_codes.size)
    overhead = len(content)
    tables = 0
    bits_of_fillers, coded, entropy = [], [], 0.0
    for symbols, counts in zip((gaps, *_planes(entry_codes)), occurrences, strict=True):
        lengths = huffman.code_lengths(counts)
        table, streams = code_table(lengths), huffman.encode(symbols, lengths)
        content += table + varint(len(streams)) + streams
        overhead += len(varint(len(streams)))
        tables += len(table)
        filler = 2**width - 1 if symbols is gaps else 0
        bits_of_fillers.append(num_fillers * int(lengths[filler]) // 8 if streams else 0)
        coded.append(len(streams))
        entropy += _entropy_bits(counts) / 8
    if choice.coder == "range":
        from compress.container.range_coding import encode_range

        content = bytes([RANGE_CODER]) + encode_range(codes, weight_bits)
        kept_entries = entry_codes.size - num_fillers
        return CodedMatrix(content, "rows", 0, kept_entries, 0, 0, len(content) - 1, 0, 0, 1, entropy)
    return CodedMatrix(
        content,
        order,
        width,
        entry_codes.size,
        num_fillers,
        codes=sum(coded[1:]) - sum(bits_of_fillers[1:]),
        gaps=coded[0] - bits_of_fillers[0],
        fillers=sum(bits_of_fillers),
        code_tables=tables,
        overhead=overhead,
        entropy_bytes=entropy,
    )


def _planes(codes: Integers) -> list[Integers]:
    """Return codes as bytes: uint8 as they are, uint16 as their lower and their higher bytes."""
    if codes.dtype == np.uint8:
        return [codes]
    return [(codes & 255).astype(np.uint8), (codes >> 8).astype(np.uint8)]


def decode_matrix(
    content: bytes, rows: int, columns: int, weight_bits: int, dtype: npt.DTypeLike
) -> tuple[Integers, CodingChoice]:
    """Read a matrix and its coding choice. Raises ValueError if the bytes are invalid for its shape."""
    reader = ByteReader(content)
    (way,) = reader.take(1)
    if way == RANGE_CODER:
        from compress.container.range_coding import decode_range

        return decode_range(reader.take(reader.left), rows, columns, weight_bits, dtype), CodingChoice(coder="range")
    if way >= len(SCAN_ORDERS):
        raise ValueError(f"unknown scan order {way}")
    order = SCAN_ORDERS[way]
    num_pes = reader.varint() if order == "interleaved" else CodingChoice.num_pes
    if not 1 <= num_pes <= 65_536:
        raise ValueError(f"rows interleaved over {num_pes:,} PEs")
    (width,) = reader.take(1)
    if width not in INDEX_BITS:
        raise ValueError(f"gaps of {width} bits")
    num_entries = reader.varint()
    if num_entries > rows * columns:
        raise ValueError(f"{num_entries:,} entries in {rows * columns:,} weights")
    planes: list[Integers] = []
    for num_symbols in (2**width, *([min(256, 2**weight_bits)] * np.dtype(dtype).itemsize)):
        lengths = read_code_table(reader, num_symbols)
        planes.append(huffman.decode(reader.take(reader.varint()), num_entries, lengths))
    reader.check_end()
    gaps, entry_codes = planes[:2]
    if len(planes) == 3:
        entry_codes = planes.pop().astype(dtype)
        entry_codes <<= 8
        entry_codes |= planes[1]
    vector = decode_relative(entry_codes, gaps, rows * columns)
    del planes, gaps, entry_codes  # of large layers
    return unscanned(vector, rows, columns, order, num_pes), CodingChoice(width, order, num_pes)


def code_table(lengths: Integers) -> bytes:
    """Return the lengths of code words as bytes."""
    halves: list[int] = []
    symbol = 0
    while symbol < len(lengths):
        halves.append(int(lengths[symbol]))
        symbol += 1
        if halves[-1] == 0:
            more = 0
            while more < 15 and symbol < len(lengths) and lengths[symbol] == 0:
                more += 1
                symbol += 1
            halves.append(more)
    halves += [0] * (len(halves) % 2)
    return bytes(low | high << 4 for low, high in zip(halves[0::2], halves[1::2], strict=True))


def read_code_table(reader: ByteReader, num_symbols: int) -> Integers:
    """Read lengths that `code_table` wrote. Raises ValueError if they are of more symbols."""
    lengths = np.zeros(num_symbols, dtype=np.uint8)
    halves = _halves(reader)
    symbol = 0
    while symbol < num_symbols:
        lengths[symbol] = next(halves)
        symbol += 1 if lengths[symbol] else 1 + next(halves)
    if symbol > num_symbols:
        raise ValueError(f"a code table goes past its {num_symbols:,} symbols")
    return lengths


def _halves(reader: ByteReader) -> Iterator[int]:
    while True:
        (byte,) = reader.take(1)
        yield byte & 15
        yield byte >> 4


def _entropy_bits(counts: Integers64) -> float:
    """Return the entropy of symbols with these occurrences, in bits."""
    used = counts[counts > 0]
    return float(-(used * np.log2(used / used.sum())).sum())
