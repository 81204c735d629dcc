"""Sections of a container as bytes: the directory, one layer, the other tensors; see `guide/container.md`."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.container import huffman
from compress.container.bytes_io import ByteReader, text, varint
from compress.container.layer_coding import CodingChoice, code_table, decode_matrix, encode_matrix, read_code_table
from compress.container.size_report import LayerSize
from traces import CompressedLayer
from traces.arrays import Floats32, Integers, Numbers
from traces.layer import MOST_WEIGHTS

MAGIC = b"\x89EIEDC\r\n"
VERSION = 2
HEADER = struct.Struct("<8sHI")
CRC = struct.Struct("<I")
LAYER, TENSORS = 1, 2  # kinds of sections
MOST_DIMENSIONS = 8
MOST_NAME_BYTES = 4096
_FLOAT32, _FLOAT16, _CONSTANT, _INT64 = range(4)  # forms of a tensor
_BUFFER = 128  # added to the form of a buffer

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes
    ----------
    kind : int
        LAYER or TENSORS.
    name : str
        Of the layer; empty for the other tensors.
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
        How the matrix is written.
    """

    layer: CompressedLayer
    shape: Shape
    weight_names: tuple[str, ...]
    bias_name: str
    coding: CodingChoice


def encode_header(sections: Sequence[Section]) -> bytes:
    """Return the header and the directory of a file with these sections."""
    directory = varint(len(sections))
    for section in sections:
        directory += bytes([section.kind]) + text(section.name) + varint(len(section.content))
        directory += CRC.pack(zlib.crc32(section.content))
    header = HEADER.pack(MAGIC, VERSION, len(directory))
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
    shared = layer.codebook[1:]
    narrow = _fits_float16(shared)
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
    head = bytes([layer.weight_bits, flags])
    head += varint(len(parts.weight_names))
    head += b"".join(text("" if name == own_weight else name) for name in parts.weight_names)
    if layer.bias is not None:
        head += text("" if parts.bias_name == own_bias else parts.bias_name)
    head += bytes([len(parts.shape)]) + b"".join(varint(int(length)) for length in parts.shape)
    matrix = encode_matrix(layer.codes, layer.weight_bits, parts.coding)
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


def decode_layer(name: str, content: bytes) -> LayerParts:
    """Read a layer's section. Raises ValueError if it is invalid."""
    reader = ByteReader(content)
    weight_bits, flags = reader.take(2)
    wide, has_bias, narrow, bias_is_coded = (bool(flags >> bit & 1) for bit in range(4))
    if not 1 <= weight_bits <= (16 if wide else 8) or flags > 15 or bias_is_coded > (has_bias and not wide):
        raise ValueError(f"{weight_bits=}, {flags=}")
    num_names = reader.varint()
    if not 1 <= num_names <= reader.left:
        raise ValueError(f"{num_names:,} names")
    weight_names = tuple(reader.text(MOST_NAME_BYTES) or f"{name}.weight" for _ in range(num_names))
    bias_name = (reader.text(MOST_NAME_BYTES) if has_bias else "") or f"{name}.bias"
    shape = _read_shape(reader)
    rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 else (0, 0)
    if not 1 <= rows * columns <= MOST_WEIGHTS:
        raise ValueError(f"weights of shape {list(shape)}; up to {MOST_WEIGHTS:,} are possible")
    dtype = np.dtype(np.uint16 if wide else np.uint8)
    codebook = np.zeros(2**weight_bits, dtype=np.float32)
    shared = "<f2" if narrow else "<f4"
    codebook[1:] = np.frombuffer(reader.take((codebook.size - 1) * np.dtype(shared).itemsize), dtype=shared)
    bias = None
    if bias_is_coded:
        words = read_code_table(reader, codebook.size)
        bias = huffman.decode(reader.take(reader.varint()), rows, words)
    elif has_bias:
        bias = _unpack_bits(reader.take((rows * weight_bits + 7) // 8), rows, weight_bits, dtype)
    codes, coding = decode_matrix(reader.take(reader.left), rows, columns, weight_bits, dtype)
    return LayerParts(CompressedLayer(name, codes, codebook, bias), shape, weight_names, bias_name, coding)


def encode_tensors(tensors: Mapping[str, Numbers], buffers: frozenset[str]) -> bytes:
    """Return the section of the other tensors, float32 or int64; empty if there are none."""
    if not tensors:
        return b""
    content = varint(len(tensors))
    before = b""
    for name, values in tensors.items():
        encoded = name.encode()
        common = next((i for i, (a, b) in enumerate(zip(before, encoded, strict=False)) if a != b), None)
        common = min(len(before), len(encoded)) if common is None else common
        before = encoded
        if values.dtype == np.int64:
            form, stored = _INT64, values.astype("<i8")
        elif values.size and (values == values.flat[0]).all():
            form, stored = _CONSTANT, values.ravel()[:1].astype("<f4")
        elif _fits_float16(values):
            form, stored = _FLOAT16, values.astype("<f2")
        else:
            form, stored = _FLOAT32, values.astype("<f4")
        content += varint(common) + varint(len(encoded) - common) + encoded[common:]
        content += bytes([form | (_BUFFER if name in buffers else 0), values.ndim])
        content += b"".join(varint(length) for length in values.shape) + stored.tobytes()
    return content


def decode_tensors(content: bytes) -> tuple[dict[str, Numbers], list[str]]:
    """Read the section of the other tensors: tensors by name, and the names of buffers.

    Raises ValueError if the section is invalid.
    """
    reader = ByteReader(content)
    tensors: dict[str, Numbers] = {}
    buffers = []
    before = b""
    num_values = 0
    for _ in range(reader.varint()):
        common = reader.varint()
        before = before[:common] + reader.take(reader.varint())
        if not common <= len(before) <= MOST_NAME_BYTES:
            raise ValueError(f"a name of {len(before):,} bytes")
        name = before.decode()
        (form,) = reader.take(1)
        shape = _read_shape(reader)
        size = math.prod(shape)
        num_values += size
        if form & 127 > _INT64 or num_values > MOST_WEIGHTS or name in tensors:
            raise ValueError(f"tensor {name!r} of form {form} and shape {list(shape)}")
        dtype = {_FLOAT32: "<f4", _FLOAT16: "<f2", _CONSTANT: "<f4", _INT64: "<i8"}[form & 127]
        stored = 1 if form & 127 == _CONSTANT else size
        values = np.frombuffer(reader.take(stored * np.dtype(dtype).itemsize), dtype=dtype)
        values = values.astype(np.int64 if form & 127 == _INT64 else np.float32)
        tensors[name] = np.full(shape, values[0]) if form & 127 == _CONSTANT else values.reshape(shape)
        if form & _BUFFER:
            buffers.append(name)
    reader.check_end()
    return tensors, buffers


def _read_shape(reader: ByteReader) -> Shape:
    (dimensions,) = reader.take(1)
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions; up to {MOST_DIMENSIONS} are possible")
    return tuple(reader.varint() for _ in range(dimensions))


def _fits_float16(values: Floats32) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())


def _pack_bits(values: Integers, bits: int) -> bytes:
    """Write `bits` bits of each value, one after the other, from the lowest bit up."""
    one_a_row = values[:, np.newaxis].astype(np.uint32) >> np.arange(bits, dtype=np.uint32)
    return np.packbits((one_a_row & 1).astype(np.uint8), bitorder="little").tobytes()


def _unpack_bits(content: bytes, num_values: int, bits: int, dtype: npt.DTypeLike) -> Integers:
    flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=num_values * bits, bitorder="little")
    return (flat.reshape(num_values, bits) @ (1 << np.arange(bits, dtype=np.uint32))).astype(dtype)
