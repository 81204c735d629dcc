"""Sections of a container as bytes: the directory, one layer, the graph; see `guide/container.md`."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from compress.container import huffman
from compress.container.bytes_io import (
    MOST_NAME_BYTES,
    ByteReader,
    MakeRoom,
    check_inflation,
    inflate,
    shape_bytes,
    text,
    varint,
)
from compress.container.layer_coding import (
    CodingChoice,
    code_table,
    decode_matrix,
    encode_matrix,
    read_code_table,
    used_rows_and_columns,
)
from compress.container.size_report import LayerSize
from compress.container.tensor_coding import fits_float16
from traces import CompressedLayer
from traces.arrangement import MOST_AXES, Arrangement
from traces.arrays import Integers, Integers64
from traces.layer import MOST_WEIGHTS

MAGIC = b"\x89EIEDC\r\n"
VERSIONS = 2, 3, 4
_FLAG_BITS = {2: 4, 3: 5, 4: 8}  # of a layer, by version
HEADER = struct.Struct("<8sHI")
CRC = struct.Struct("<I")
_THRESHOLD = struct.Struct("<f")
_MOST_CODEBOOKS = 2**16
LAYER, TENSORS, GRAPH = 1, 2, 3  # kinds of sections; a graph from version 3 on
MOST_GRAPH_BYTES = 2**28
_LAYER_BYTES = 2048  # of a decoded layer beside its codes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes
    ----------
    kind : int
        LAYER, TENSORS or GRAPH.
    name : str
        Of the layer; empty for the other kinds.
    content : bytes
        The section itself.
    """

    kind: int
    name: str
    content: bytes


@dataclass(frozen=True, eq=False)
class LayerParts:
    """Content of a layer's section.

    Attributes
    ----------
    layer : CompressedLayer
        Without a free bias, which is stored among the other tensors.
    shape : tuple of int
        Shape of the weights in the network.
    weight_names : tuple of str
        Parameters that the layer's weights are.
    bias_name : str
        Parameter that the layer's bias is.
    coding : CodingChoice
        Way in which the matrix is written.
    arrangement : Arrangement or None
        Way from the weights to the layer's matrix; None if the first axis of the shape makes the rows.
    """

    layer: CompressedLayer
    shape: Shape
    weight_names: tuple[str, ...]
    bias_name: str
    coding: CodingChoice
    arrangement: Arrangement | None = None


def encode_header(sections: Sequence[Section], version: int) -> bytes:
    """Return the header and the directory of a file with these sections."""
    directory = varint(len(sections))
    for section in sections:
        directory += bytes([section.kind]) + text(section.name) + varint(len(section.content))
        directory += CRC.pack(zlib.crc32(section.content))
    header = HEADER.pack(MAGIC, version, len(directory))
    return header + CRC.pack(zlib.crc32(header + directory)) + directory


def decode_directory(directory: bytes) -> list[tuple[int, str, int, int]]:
    """Return kind, name, bytes and checksum of each section. Raises ValueError if the directory is invalid."""
    reader = ByteReader(directory)
    entries = []
    for _ in range(reader.varint()):
        (kind,) = reader.take(1)
        entries.append((kind, reader.text(MOST_NAME_BYTES), reader.varint(), *reader.unpack("<I")))
    reader.check_end()
    return entries


def encode_layer(parts: LayerParts) -> tuple[bytes, LayerSize]:
    """Return a layer's section, and the bytes of its parts."""
    layer = parts.layer
    own_weight, own_bias = f"{layer.name}.weight", f"{layer.name}.bias"
    shared = layer.codebook[..., 1:].ravel()
    narrow = fits_float16(shared)
    codebook = shared.astype("<f2" if narrow else "<f4").tobytes()
    bias, bias_is_coded = b"", False
    wide = layer.codes.dtype == np.uint16
    if layer.bias is not None:
        bias = _pack_bits(layer.bias, layer.weight_bits)
    if layer.bias is not None and not wide:
        words = huffman.code_lengths(np.bincount(layer.bias, minlength=2**layer.weight_bits))
        streams = huffman.encode(layer.bias, words)
        coded = code_table(words) + varint(len(streams)) + streams
        if len(coded) < len(bias):
            bias, bias_is_coded = coded, True
    flags = wide | (layer.bias is not None) << 1 | narrow << 2 | bias_is_coded << 3
    flags |= (parts.arrangement is not None) << 4
    flags |= (layer.row_codebooks is not None) << 5 | (layer.activation_threshold > 0) << 6
    matrix, used = encode_matrix(layer.codes, layer.weight_bits, parts.coding), b""
    found = used_rows_and_columns(layer.codes) if parts.coding.leaves_out_empty else None
    if found is not None:
        smaller = encode_matrix(np.ascontiguousarray(layer.codes[np.ix_(*found)]), layer.weight_bits, parts.coding)
        bits = b"".join(np.packbits(each, bitorder="little").tobytes() for each in found)
        if len(smaller.content) + len(bits) < len(matrix.content):
            matrix, used = smaller, bits
    flags |= bool(used) << 7
    head = bytes([layer.weight_bits, flags])
    head += varint(len(parts.weight_names))
    head += b"".join(text("" if name == own_weight else name) for name in parts.weight_names)
    if layer.bias is not None:
        head += text("" if parts.bias_name == own_bias else parts.bias_name)
    head += shape_bytes(parts.shape)
    if parts.arrangement is not None:
        head += _encode_arrangement(parts.arrangement)
    if layer.activation_threshold:
        head += _THRESHOLD.pack(layer.activation_threshold)
    head += used
    if layer.row_codebooks is not None:
        codebook = _encode_row_codebooks(layer.row_codebooks, layer.num_codebooks) + codebook
    size = LayerSize(
        name=layer.name,
        parameters=layer.num_parameters,
        kept=int(np.count_nonzero(layer.codes)),
        codes=matrix.codes,
        gaps=matrix.gaps,
        fillers=matrix.fillers,
        codebook=len(codebook),
        code_tables=matrix.code_tables,
        bias=len(bias),
        header=len(head) + matrix.overhead,
        matrix_header=matrix.overhead,
        entropy_bytes=matrix.entropy_bytes,
        scan_order=matrix.scan_order,
        index_bits=matrix.index_bits,
        coder=parts.coding.coder,
    )
    return head + codebook + bias + matrix.content, size


def decode_layer(name: str, content: bytes, version: int, make_room: MakeRoom) -> LayerParts:
    """Read a layer's section. Raises ValueError if it is invalid, and what `make_room` raises."""
    reader = ByteReader(content)
    weight_bits, flags = reader.take(2)
    wide, has_bias, narrow, bias_is_coded, arranged, several, has_threshold, compact = (
        bool(flags >> bit & 1) for bit in range(8)
    )
    unknown = flags >> _FLAG_BITS[version]
    if not 1 <= weight_bits <= (16 if wide else 8) or unknown or bias_is_coded > (has_bias and not wide):
        raise ValueError(f"{weight_bits=}, {flags=}")
    num_names = reader.varint()
    if not 1 <= num_names <= reader.left:
        raise ValueError(f"{num_names:,} names")
    own = f"{name}.weight"  # one text for all empty names, which take a byte each
    weight_names = tuple(reader.text(MOST_NAME_BYTES) or own for _ in range(num_names))
    if len(set(weight_names)) < num_names:
        raise ValueError("a name of the weights is there twice")
    bias_name = (reader.text(MOST_NAME_BYTES) if has_bias else "") or f"{name}.bias"
    shape = reader.shape()
    arrangement = _read_arrangement(reader, shape) if arranged else None
    if arrangement is not None:
        rows, columns = arrangement.rows, arrangement.columns
    else:
        rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 else (0, 0)
    if not 1 <= rows * columns <= MOST_WEIGHTS:
        raise ValueError(f"weights of shape {list(shape)}; up to {MOST_WEIGHTS:,} are possible")
    dtype = np.dtype(np.uint16 if wide else np.uint8)
    make_room(_LAYER_BYTES + dtype.itemsize * (rows * columns + has_bias * rows))
    (threshold,) = reader.unpack(_THRESHOLD.format) if has_threshold else (0.0,)
    if has_threshold and not threshold > 0:
        raise ValueError(f"an activation threshold of {threshold}")
    used = [_read_used(reader, length) for length in (rows, columns)] if compact else None
    row_codebooks = _read_row_codebooks(reader, rows, make_room) if several else None
    number = 1 if row_codebooks is None else int(row_codebooks.max()) + 1
    shared = np.dtype("<f2" if narrow else "<f4")
    values = reader.take(number * (2**weight_bits - 1) * shared.itemsize)
    make_room(4 * number * 2**weight_bits)
    codebooks = np.zeros((number, 2**weight_bits), dtype=np.float32)
    codebooks[:, 1:] = np.frombuffer(values, dtype=shared).reshape(number, -1)
    codebook = codebooks if several else codebooks[0]
    bias = None
    if bias_is_coded:
        words = read_code_table(reader, 2**weight_bits)
        bias = huffman.decode(reader.take(reader.varint()), rows, words)
    elif has_bias:
        bias = _unpack_bits(reader.take((rows * weight_bits + 7) // 8), rows, weight_bits, dtype)
    content = reader.take(reader.left)
    if used is None:
        codes, coding = decode_matrix(content, rows, columns, weight_bits, dtype)
    else:
        smaller, coding = decode_matrix(content, used[0].size, used[1].size, weight_bits, dtype)
        codes, coding = np.zeros((rows, columns), dtype), replace(coding, leaves_out_empty=True)
        codes[np.ix_(*used)] = smaller
    layer = CompressedLayer(name, codes, codebook, bias, row_codebooks=row_codebooks, activation_threshold=threshold)
    return LayerParts(layer, shape, weight_names, bias_name, coding, arrangement)


def _read_used(reader: ByteReader, length: int) -> Integers64:
    """Read the rows, or the columns, that have weights. Raises ValueError if there are none."""
    bits = np.frombuffer(reader.take((length + 7) // 8), dtype=np.uint8)
    used = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    if not used.size >= 1 or used[-1] >= length:
        raise ValueError(f"{used.size:,} rows or columns with weights, of {length:,}")
    return used


def _encode_row_codebooks(numbers: Integers, number: int) -> bytes:
    """Return the number of codebooks, and the number of each row's unless rows take codebooks in turn."""
    in_turn = np.array_equal(numbers, np.arange(numbers.size) % number)
    listed = b"" if in_turn else _pack_bits(numbers, (number - 1).bit_length())
    return varint(number) + bytes([not in_turn]) + listed


def _read_row_codebooks(reader: ByteReader, rows: int, make_room: MakeRoom) -> Integers:
    number = reader.varint()
    (listed,) = reader.take(1)
    if not 2 <= number <= rows or number > _MOST_CODEBOOKS or listed > 1:
        raise ValueError(f"{number:,} codebooks of {rows:,} rows, in form {listed}")
    make_room(2 * rows)
    if not listed:
        return (np.arange(rows) % number).astype(np.uint16)
    bits = (number - 1).bit_length()
    numbers = _unpack_bits(reader.take((rows * bits + 7) // 8), rows, bits, np.uint16)
    if np.unique(numbers).size != number or numbers.max() != number - 1:
        raise ValueError(f"rows of other codebooks than the {number:,} that are stated")
    return numbers


def needs_version_4(content: bytes) -> bool:
    """Return True if a layer's section has something that only version 4 knows."""
    return bool(content[1] >> _FLAG_BITS[3])


def encode_graph(graph: bytes | None) -> bytes:
    """Return the section of a graph: the number of its bytes, and these deflated; empty if there is none."""
    return b"" if graph is None else varint(len(graph)) + zlib.compress(graph, 9)


def decode_graph(content: bytes, make_room: MakeRoom) -> bytes:
    """Read the section of a graph. Raises ValueError if it is invalid, and what `make_room` raises."""
    reader = ByteReader(content)
    num_bytes = reader.varint()
    if not 1 <= num_bytes <= MOST_GRAPH_BYTES:
        raise ValueError(f"{num_bytes:,} bytes; 1 to {MOST_GRAPH_BYTES:,} are possible")
    deflated = reader.take(reader.left)
    check_inflation(deflated, num_bytes)
    make_room(num_bytes)
    return inflate(deflated, num_bytes)


def _encode_arrangement(arrangement: Arrangement) -> bytes:
    lengths = b"".join(varint(length) for length in arrangement.view)
    return bytes([len(arrangement.view)]) + lengths + bytes([*arrangement.axes, arrangement.row_axes])


def _read_arrangement(reader: ByteReader, shape: Shape) -> Arrangement:
    (num_axes,) = reader.take(1)
    if num_axes > MOST_AXES:
        raise ValueError(f"an arrangement of {num_axes} axes; up to {MOST_AXES} are possible")
    view = tuple(reader.varint() for _ in range(num_axes))
    arrangement = Arrangement(view, tuple(reader.take(num_axes)), *reader.take(1))
    if math.prod(view) != math.prod(shape):
        raise ValueError(f"weights of shape {list(shape)}, viewed as {list(view)}")
    return arrangement


def _pack_bits(values: Integers, bits: int) -> bytes:
    """Write `bits` bits of each value, one after the other, from the lowest bit up."""
    one_a_row = values[:, np.newaxis].astype(np.uint32) >> np.arange(bits, dtype=np.uint32)
    return np.packbits((one_a_row & 1).astype(np.uint8), bitorder="little").tobytes()


def _unpack_bits(content: bytes, num_values: int, bits: int, dtype: npt.DTypeLike) -> Integers:
    flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=num_values * bits, bitorder="little")
    return (flat.reshape(num_values, bits) @ (1 << np.arange(bits, dtype=np.uint32))).astype(dtype)
