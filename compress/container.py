"""The container: one file with everything that is needed to run a network's compressed layers.

All numbers are little endian. A header, then one section a layer:

    header   8 bytes   89 45 49 45 44 43 0D 0A   (magic number)
             u16       version, 1
             u16       number of layers
             u64       bytes of the whole file
             u32       CRC-32 of the 20 bytes before
    section  u64       bytes of the content
             u32       CRC-32 of the content
             content   as below

    content  u16, bytes            length of the layer's name, the name in UTF-8
             u8, u32 each          number of dimensions and shape of the weights; rows first
             u8                    weight_bits
             u8                    index_bits
             u8                    1 if codes are uint16, else 0
             u8                    1 if there is a bias, else 0
             u64                   number of entries, fillers included
             f32 each              codebook without entry 0, which is 0.0
             u8 each               lengths of the code words of the codes, 2**weight_bits
             u8 each               lengths of the code words of the gaps, 2**index_bits
             u64, bytes            length of the coded codes, the codes
             u64, bytes            length of the coded gaps, the gaps
             bytes                 bias codes, weight_bits each, packed from the highest bit down

Codes and gaps are the relative index (`compress.relative_index`) of the unrolled weights, row after row,
in canonical Huffman codes (`compress.huffman`).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from compress import huffman
from compress.relative_index import decode_relative, encode_relative
from traces import CompressedLayer, InputError
from traces.atomic_file import write_atomically
from traces.layer import MOST_WEIGHTS

if TYPE_CHECKING:
    import torch

_MAGIC = b"\x89EIEDC\r\n"
_VERSION = 1
_HEADER = struct.Struct("<8sHHQ")
_SECTION = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_MAX_DIMENSIONS = 8


class CompressedModel:
    """The compressed layers of a network, in order.

    layers      the layers; a convolution is unrolled to [out, in * kernel_height * kernel_width]
    shapes      the shape of each layer's weights in the network; [rows, columns] if not given
    index_bits  bits of a gap in the file, 1 to 8 (the array's own gaps are a matter of its packing)

    Raises InputError if the layers cannot be told apart or a shape does not fit its layer.
    """

    def __init__(
        self,
        layers: Sequence[CompressedLayer],
        shapes: Sequence[tuple[int, ...]] | None = None,
        index_bits: int = 5,
    ) -> None:
        self.layers = list(layers)
        strangers = [type(layer).__name__ for layer in self.layers if not isinstance(layer, CompressedLayer)]
        if strangers:
            raise InputError(f"layers must be CompressedLayers; found {', '.join(strangers)}")
        self.shapes = [tuple(s) for s in shapes] if shapes is not None else [x.codes.shape for x in self.layers]
        self.index_bits = index_bits
        whole = isinstance(index_bits, int | np.integer) and not isinstance(index_bits, bool)
        if not whole or not 1 <= index_bits <= 8:
            raise InputError(f"index_bits must be a whole number from 1 to 8; found {index_bits!r}")
        if len(self.layers) > 65_535:
            raise InputError(f"a container holds up to 65,535 layers; found {len(self.layers):,}")
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) < len(names):
            raise InputError(f"a container holds at least one layer, each with a name of its own; found {names}")
        for layer in self.layers:
            if len(layer.name.encode()) > 65_535 or layer.codes.size > MOST_WEIGHTS:
                raise InputError(
                    f"layer {layer.name[:40]!r}: a container takes names of up to 65,535 bytes and layers of up to "
                    f"{MOST_WEIGHTS:,} weights; found {len(layer.name.encode()):,} and {layer.codes.size:,}"
                )
        if len(self.shapes) != len(self.layers):
            raise InputError(f"there must be one shape a layer; found {len(self.shapes)} for {len(self.layers)}")
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            if not all(isinstance(length, int | np.integer) for length in shape):
                raise InputError(f"layer {layer.name!r}: the weights' shape must be whole numbers; found {shape}")
            unrolled = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 and min(shape) > 0 else None
            if unrolled != layer.codes.shape or len(shape) > _MAX_DIMENSIONS:
                raise InputError(
                    f"layer {layer.name!r}: the weights' shape must have 2 to {_MAX_DIMENSIONS} dimensions and "
                    f"unroll to {list(layer.codes.shape)}; found {list(shape)}"
                )

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the same parameters in fp32, nothing pruned."""
        return 4 * sum(layer.num_parameters for layer in self.layers)

    @property
    def size_bytes(self) -> int:
        """Bytes of the container file."""
        return len(self._content)

    @property
    def compression_ratio(self) -> float:
        """fp32 bytes of the parameters over bytes of the file."""
        return self.parameter_bytes / self.size_bytes

    def to_bytes(self) -> bytes:
        """The container as `save` writes it."""
        return self._content

    @cached_property
    def _content(self) -> bytes:
        sections = []
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            content = _encode_layer(layer, shape, self.index_bits)
            sections += [_SECTION.pack(len(content), zlib.crc32(content)), content]
        body = b"".join(sections)
        file_bytes = _HEADER.size + _CRC.size + len(body)
        header = _HEADER.pack(_MAGIC, _VERSION, len(self.layers), file_bytes)
        return header + _CRC.pack(zlib.crc32(header)) + body

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the container, whole or not at all. Raises InputError if `path` cannot be written."""
        write_atomically(path, self._content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompressedModel:
        """Read a container; PyTorch is not needed.

        Raises InputError if the file is missing, is no container, is cut off, or a checksum does not match.
        """
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such container file") from None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        return cls.from_bytes(content, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, source: str = "container") -> CompressedModel:
        """Read a container from memory; `source` is what errors call it."""
        reader = _Reader(content, source)
        magic, version, num_layers, file_bytes = reader.unpack(_HEADER)
        if magic != _MAGIC:
            raise InputError(f"{source}: a container starts with {_MAGIC!r}; found {magic!r}: another kind of file")
        (stated_crc,) = reader.unpack(_CRC)
        reader.check_crc(content[: _HEADER.size], stated_crc, "the header")
        if version != _VERSION:
            raise InputError(
                f"{source}: this release reads version {_VERSION} of the container; found version {version}; "
                f"use the release that wrote it"
            )
        if file_bytes != len(content):
            raise InputError(
                f"{source}: the header states {file_bytes:,} bytes; found {len(content):,}: the file is cut off "
                f"or has grown; copy it again"
            )
        layers, shapes, gap_widths = [], [], set()
        for number in range(num_layers):
            section_bytes, stated_crc = reader.unpack(_SECTION)
            section = reader.take(section_bytes)
            reader.check_crc(section, stated_crc, f"layer {number + 1} of {num_layers}")
            inner = _Reader(section, f"{source}, layer {number + 1} of {num_layers}")
            layer, shape, index_bits = _decode_layer(inner)
            inner.check_end()
            layers.append(layer)
            shapes.append(shape)
            gap_widths.add(index_bits)
        reader.check_end()
        if len(gap_widths) != 1:
            raise reader.damaged(f"gaps of {sorted(gap_widths)} bits; all layers have gaps of one width")
        model = cls(layers, shapes, gap_widths.pop())
        model.__dict__["_content"] = content  # its size is the file's, and `save` writes the same file again
        return model

    def decoded_parameters(self) -> dict[str, npt.NDArray[np.float32]]:
        """Decoded weights, in the network's shapes, and biases by parameter name (`NAME.weight`, `NAME.bias`)."""
        parameters = {}
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            parameters[f"{layer.name}.weight"] = layer.weights().reshape(shape)
            if layer.bias is not None:
                parameters[f"{layer.name}.bias"] = layer.bias_values()
        return parameters

    def load_into(self, module: torch.nn.Module) -> None:
        """Copy the decoded weights and biases into `module`'s parameters of the same names, in place.

        Raises InputError, before anything is changed, if a parameter is missing or of another shape, or a
        layer of the module has a bias and the container has none for it.
        """
        import torch

        parameters = dict(module.named_parameters())
        values = self.decoded_parameters()
        for layer in self.layers:
            if layer.bias is None and f"{layer.name}.bias" in parameters:
                raise InputError(
                    f"the module's layer {layer.name!r} has a bias and the container holds none for it; "
                    f"build the module without it"
                )
        for name, value in values.items():
            if name not in parameters:
                raise InputError(f"the module has no parameter {name!r}; it has {', '.join(parameters) or 'none'}")
            if tuple(parameters[name].shape) != value.shape:
                raise InputError(
                    f"the module's {name!r} has shape {list(parameters[name].shape)}; the container holds "
                    f"{list(value.shape)}: it belongs to another network"
                )
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(torch.from_numpy(value))


def _encode_layer(layer: CompressedLayer, shape: tuple[int, ...], index_bits: int) -> bytes:
    codes, gaps = encode_relative(layer.codes.ravel(), index_bits)
    code_word_lengths = huffman.code_lengths(np.bincount(codes, minlength=2**layer.weight_bits))
    gap_word_lengths = huffman.code_lengths(np.bincount(gaps, minlength=2**index_bits))
    coded_codes = huffman.encode(codes, code_word_lengths)
    coded_gaps = huffman.encode(gaps, gap_word_lengths)
    name = layer.name.encode()
    return b"".join(
        [
            struct.pack("<H", len(name)),
            name,
            struct.pack(f"<B{len(shape)}I", len(shape), *shape),
            struct.pack(
                "<BBBBQ",
                layer.weight_bits,
                index_bits,
                layer.codes.dtype == np.uint16,
                layer.bias is not None,
                codes.size,
            ),
            layer.codebook[1:].astype("<f4").tobytes(),
            code_word_lengths.tobytes(),
            gap_word_lengths.tobytes(),
            struct.pack("<Q", len(coded_codes)),
            coded_codes,
            struct.pack("<Q", len(coded_gaps)),
            coded_gaps,
            b"" if layer.bias is None else _pack_bits(layer.bias, layer.weight_bits),
        ]
    )


def _decode_layer(reader: _Reader) -> tuple[CompressedLayer, tuple[int, ...], int]:
    (name_bytes,) = reader.unpack(struct.Struct("<H"))
    try:
        name = reader.take(name_bytes).decode()
    except UnicodeDecodeError as error:
        raise reader.damaged("a name that is not UTF-8") from error
    (dimensions,) = reader.unpack(struct.Struct("<B"))
    shape = reader.unpack(struct.Struct(f"<{dimensions}I"))
    weight_bits, index_bits, wide, has_bias, num_entries = reader.unpack(struct.Struct("<BBBBQ"))
    widths_are_possible = 1 <= weight_bits <= (16 if wide else 8) and 1 <= index_bits <= 8
    if not widths_are_possible or max(wide, has_bias) > 1:
        raise reader.damaged(f"{weight_bits=}, {index_bits=}, {wide=}, {has_bias=}")
    dtype = np.dtype(np.uint16 if wide else np.uint8)
    rows, columns = (shape[0], math.prod(shape[1:])) if shape else (0, 0)
    if not 2 <= len(shape) <= _MAX_DIMENSIONS or not 1 <= rows * columns <= MOST_WEIGHTS:
        raise reader.damaged(
            f"weights of shape {list(shape)}; possible are 2 to {_MAX_DIMENSIONS} dimensions and up to "
            f"{MOST_WEIGHTS:,} weights"
        )
    if num_entries > rows * columns:
        raise reader.damaged(f"{num_entries:,} entries in {rows * columns:,} weights")
    codebook = np.zeros(2**weight_bits, dtype=np.float32)
    codebook[1:] = np.frombuffer(reader.take(4 * (2**weight_bits - 1)), dtype="<f4")
    code_word_lengths = np.frombuffer(reader.take(2**weight_bits), dtype=np.uint8)
    gap_word_lengths = np.frombuffer(reader.take(2**index_bits), dtype=np.uint8)
    coded_codes = reader.take(*reader.unpack(struct.Struct("<Q")))
    coded_gaps = reader.take(*reader.unpack(struct.Struct("<Q")))
    bias_codes = reader.take((rows * weight_bits + 7) // 8) if has_bias else b""
    try:
        entry_codes = huffman.decode(coded_codes, num_entries, code_word_lengths, dtype)
        gaps = huffman.decode(coded_gaps, num_entries, gap_word_lengths, np.uint8)
        codes = decode_relative(entry_codes, gaps, rows * columns).reshape(rows, columns)
    except (ValueError, MemoryError) as error:
        raise reader.damaged(str(error) or "more than fits into memory") from error
    bias = _unpack_bits(bias_codes, rows, weight_bits, dtype) if has_bias else None
    return CompressedLayer(name, codes, codebook, bias), shape, index_bits


def _pack_bits(values: npt.NDArray[Any], bits: int) -> bytes:
    """`bits` bits of each value, one after the other, from the highest bit down."""
    one_a_row = values[:, np.newaxis].astype(np.uint32) >> np.arange(bits - 1, -1, -1, dtype=np.uint32)
    return np.packbits((one_a_row & 1).astype(np.uint8)).tobytes()


def _unpack_bits(content: bytes, num_values: int, bits: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=num_values * bits)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint32)
    return (flat.reshape(num_values, bits) @ weights).astype(dtype)


class _Reader:
    """Takes bytes off the front, and says where they ended too early."""

    def __init__(self, content: bytes, source: str) -> None:
        self.content = content
        self.source = source
        self.position = 0

    def take(self, num_bytes: int) -> bytes:
        left = len(self.content) - self.position
        if num_bytes > left:
            raise InputError(
                f"{self.source}: {num_bytes:,} bytes must follow byte {self.position:,}; found {left:,}: the file is "
                f"cut off or damaged; copy it again"
            )
        taken = self.content[self.position : self.position + num_bytes]
        self.position += num_bytes
        return taken

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))

    def check_crc(self, content: bytes, stated_crc: int, part: str) -> None:
        if zlib.crc32(content) != stated_crc:
            raise InputError(
                f"{self.source}: the checksum of {part} must be {stated_crc:08x}; found {zlib.crc32(content):08x}: "
                f"the file is damaged; copy it again"
            )

    def check_end(self) -> None:
        left = len(self.content) - self.position
        if left:
            raise self.damaged(f"{left:,} bytes after the end")

    def damaged(self, what: str) -> InputError:
        return InputError(f"{self.source}: holds what no container can: {what}")
