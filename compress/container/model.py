"""The container: one file with everything that is needed to run a network again.

A header with a directory and checksums, then a section for each layer and one for all other tensors; its bytes are
described in `guide/container.md`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from compress.container import huffman
from compress.container.bytes_io import ByteReader, text, varint
from compress.container.layer_coding import CodingChoice, code_table, decode_matrix, encode_matrix, read_code_table
from compress.container.size_report import LayerSize, SizeReport
from traces import CompressedLayer, InputError
from traces.files.atomic_file import write_atomically
from traces.layer import MOST_WEIGHTS

if TYPE_CHECKING:
    import torch

MAGIC = b"\x89EIEDC\r\n"
VERSION = 2
_HEADER = struct.Struct("<8sHI")
_CRC = struct.Struct("<I")
_LAYER, _TENSORS = 1, 2
_MOST_DIMENSIONS = 8
_MOST_NAME_BYTES = 4096
_FLOAT32, _FLOAT16, _CONSTANT, _INT64 = range(4)
_BUFFER = 128

Tensors = Mapping[str, npt.NDArray[Any]]


class CompressedModel:
    """The compressed layers of a network, in order, and its other tensors.

    layers        the layers; a convolution is unrolled to [out, in * kernel_height * kernel_width]
    shapes        the shape of each layer's weights in the network; [rows, columns] if not given
    index_bits    bits of a gap in the file, 1 to 8; if not given, what takes the fewest bytes, layer by layer (the
                  array's own gaps are a matter of its packing)
    weight_names  the parameters that each layer's weights are, more than one where they are tied; NAME.weight if
                  not given
    bias_names    the parameter that each layer's bias is, if it is in the codebook; NAME.bias if not given
    tensors       what is not compressed, by name: float32, or int64; stored as float16 where that changes no value. A
                  bias among them is its layer's `free_bias`, if it is named as the weight is: NAME.bias for
                  NAME.weight, NAME.bias_ih_l0 for NAME.weight_ih_l0
    buffers       names among `tensors` of what is no parameter: running means, say
    coding        how layers are written, one choice or one for each; `index_bits` stands before its own

    Raises InputError if the layers cannot be told apart, a shape does not fit its layer, a value is not finite, or a
    layer has one free bias and the tensors another one for it.
    """

    def __init__(
        self,
        layers: Sequence[CompressedLayer],
        shapes: Sequence[tuple[int, ...]] | None = None,
        index_bits: int | None = None,
        *,
        weight_names: Sequence[Sequence[str]] | None = None,
        bias_names: Sequence[str] | None = None,
        tensors: Tensors | None = None,
        buffers: Sequence[str] = (),
        coding: CodingChoice | Sequence[CodingChoice] | None = None,
    ) -> None:
        self.layers = list(layers)
        strangers = [type(layer).__name__ for layer in self.layers if not isinstance(layer, CompressedLayer)]
        if strangers:
            raise InputError(f"layers must be CompressedLayers; found {', '.join(strangers)}")
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) < len(names):
            raise InputError(f"a container holds at least one layer, each with a name of its own; found {names}")
        self.shapes = [tuple(s) for s in shapes] if shapes is not None else [x.codes.shape for x in self.layers]
        self.weight_names = [tuple(n) for n in weight_names] if weight_names else [(f"{n}.weight",) for n in names]
        self.bias_names = list(bias_names) if bias_names else [f"{name}.bias" for name in names]
        self.tensors = {name: _checked_tensor(name, values) for name, values in (tensors or {}).items()}
        self.buffers = frozenset(buffers)
        if coding is None or isinstance(coding, CodingChoice):
            coding = [coding or CodingChoice()] * len(names)
        self.coding = (
            list(coding)
            if index_bits is None
            else [dataclasses.replace(each, index_bits=index_bits) for each in coding]
        )
        for what in ("shapes", "weight_names", "bias_names", "coding"):
            if len(getattr(self, what)) != len(names):
                raise InputError(
                    f"there must be one of {what} for each layer; found {len(getattr(self, what))} for {len(names)}"
                )
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            _check_layer(layer, shape)
        if not all(self.weight_names) or isinstance(weight_names, str) or str in map(type, weight_names or ()):
            raise InputError(f"weight_names must be a list of names for each layer; found {weight_names!r}")
        _check_names([*(name for of_layer in self.weight_names for name in of_layer), *self.bias_names, *self.tensors])
        for number, layer in enumerate(self.layers):
            self._store_free_bias(layer, self.weight_names[number])
            self.layers[number] = _with_free_bias(layer, self.weight_names[number], self.tensors)
        stored = self._parameter_names() + list(self.tensors)
        twice = sorted({name for name in stored if stored.count(name) > 1}) if len(set(stored)) < len(stored) else []
        if twice:
            raise InputError(f"every parameter must be stored once; found {', '.join(twice)} twice")
        unknown = sorted(self.buffers - set(self.tensors))
        if unknown:
            raise InputError(f"buffers must be among the tensors; {', '.join(unknown)} are not")

    def _store_free_bias(self, layer: CompressedLayer, weight_names: tuple[str, ...]) -> None:
        """Put a layer's free bias among the tensors, unless it is there."""
        if layer.free_bias is None:
            return
        possible = _names_of_biases(weight_names)
        if not possible:
            raise InputError(
                f"layer {layer.name!r}: a free bias is stored by its weight's name, NAME.bias for NAME.weight; found "
                f"the weight {weight_names[0]!r}; give the layer without the bias, and the bias among the tensors"
            )
        stored = [name for name in possible if name in self.tensors]
        if not stored:
            self.tensors[possible[0]] = layer.free_bias
        elif len(stored) > 1 or not np.array_equal(layer.free_bias, self.tensors[stored[0]]):
            raise InputError(
                f"layer {layer.name!r}: its free bias must be the one that the tensors hold for it; they hold "
                f"{' and '.join(stored)}, of other values; leave the one or the other out"
            )

    @property
    def tensors_beside_layers(self) -> list[str]:
        """Names of the tensors that are no layer's free bias: normalisation, say, and buffers."""
        of_layers = {
            name
            for layer, weight_names in zip(self.layers, self.weight_names, strict=True)
            if layer.free_bias is not None
            for name in _names_of_biases(weight_names)
        }
        return [name for name in self.tensors if name not in of_layers]

    def _parameter_names(self) -> list[str]:
        names = [name for of_layer in self.weight_names for name in of_layer]
        return names + [
            name for name, layer in zip(self.bias_names, self.layers, strict=True) if layer.bias is not None
        ]

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the same parameters in fp32, nothing pruned; buffers do not count."""
        others = sum(values.size for name, values in self.tensors.items() if name not in self.buffers)
        return 4 * (sum(layer.num_parameters for layer in self.layers) + others)

    @property
    def size_bytes(self) -> int:
        """Bytes of the container file."""
        return len(self.to_bytes())

    @property
    def compression_ratio(self) -> float:
        """fp32 bytes of the parameters over bytes of the file."""
        return self.parameter_bytes / self.size_bytes

    @property
    def size_report(self) -> SizeReport:
        """What the bytes of the file are, layer by layer; they add up to `size_bytes`."""
        return self._encoded[1]

    def coded(self, coding: CodingChoice) -> CompressedModel:
        """The same model, its layers written in another way."""
        return CompressedModel(
            self.layers,
            self.shapes,
            weight_names=self.weight_names,
            bias_names=self.bias_names,
            tensors=self.tensors,
            buffers=sorted(self.buffers),
            coding=coding,
        )

    def to_bytes(self) -> bytes:
        """The container as `save` writes it."""
        return self._encoded[0]

    @cached_property
    def _encoded(self) -> tuple[bytes, SizeReport]:
        sections: list[tuple[int, str, bytes]] = []
        sizes = []
        for number, layer in enumerate(self.layers):
            content, size = _encode_layer(
                layer, self.shapes[number], self.weight_names[number], self.bias_names[number], self.coding[number]
            )
            sections.append((_LAYER, layer.name, content))
            sizes.append(size)
        others = _encode_tensors(self.tensors, self.buffers) if self.tensors else b""
        if others:
            sections.append((_TENSORS, "", others))
        directory = varint(len(sections))
        for kind, name, content in sections:
            directory += bytes([kind]) + text(name) + varint(len(content)) + _CRC.pack(zlib.crc32(content))
        header = _HEADER.pack(MAGIC, VERSION, len(directory))
        start = header + _CRC.pack(zlib.crc32(header + directory)) + directory
        whole = start + b"".join(content for _, _, content in sections)
        return whole, SizeReport(tuple(sizes), tensors=len(others), header=len(start))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the container, whole or not at all. Raises InputError if `path` cannot be written."""
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CompressedModel:
        """Read a whole container; PyTorch is not needed. For a part of it: `ContainerReader`.

        Raises InputError if the file is missing, is no container, is cut off, or a checksum does not match.
        """
        with ContainerReader(path) as reader:
            return reader.model()

    @classmethod
    def from_bytes(cls, content: bytes, source: str = "container") -> CompressedModel:
        """Read a container from memory; `source` is what errors call it."""
        return ContainerReader._of_bytes(content, source).model()

    def decoded_parameters(self) -> dict[str, npt.NDArray[np.float32]]:
        """Weights decoded, in the network's shapes, and biases, by parameter name; other parameters as they are."""
        decoded: dict[str, npt.NDArray[np.float32]] = {}
        for number, layer in enumerate(self.layers):
            weights = layer.weights().reshape(self.shapes[number])
            decoded |= dict.fromkeys(self.weight_names[number], weights)
            if layer.bias is not None:
                decoded[self.bias_names[number]] = layer.bias_values()
        return decoded | {name: values for name, values in self.tensors.items() if name not in self.buffers}

    def load_into(self, module: torch.nn.Module) -> None:
        """Copy the decoded weights and everything else into `module`'s parameters and buffers of the same names.

        Raises InputError, before anything is changed, if a parameter is missing or of another shape, or the container
        has nothing for one of the module's.
        """
        import torch

        places = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
        values: dict[str, npt.NDArray[Any]] = {**self.decoded_parameters(), **self.tensors}
        for layer, bias_name in zip(self.layers, self.bias_names, strict=True):
            if layer.bias is None and bias_name in places and bias_name not in values:
                raise InputError(
                    f"the module's layer {layer.name!r} has a bias and the container holds none for it; "
                    f"build the module without it"
                )
        for name, value in values.items():
            if name not in places:
                raise InputError(f"the module has no parameter {name!r}; it has {', '.join(places) or 'none'}")
            if tuple(places[name].shape) != value.shape:
                raise InputError(
                    f"the module's {name!r} has shape {list(places[name].shape)}; the container holds "
                    f"{list(value.shape)}: it belongs to another network"
                )
        given = {id(places[name]) for name in values}
        missing = [
            name
            for name, place in module.state_dict(keep_vars=True).items()
            if isinstance(place, torch.Tensor) and place.is_floating_point() and id(place) not in given
        ]
        if missing:
            raise InputError(
                f"the container holds nothing for the module's {', '.join(missing)}: it belongs to another network"
            )
        with torch.no_grad():
            for name, value in values.items():
                places[name].copy_(torch.from_numpy(np.array(value)))


class ContainerReader:
    """A container file of which only what is asked for is read and decoded.

    names    the layers, in order

    Raises InputError, on opening, if the file is missing, is no container or is cut off, and where a checksum does not
    match. A context manager, which closes the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.source = str(path)
        try:
            self._file: BinaryIO | None = Path(path).open("rb")  # noqa: SIM115 (closed by `close`)
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such container file") from None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        self._content = b""
        try:
            self._read_directory(os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self.close()
            raise

    @classmethod
    def _of_bytes(cls, content: bytes, source: str) -> ContainerReader:
        reader = cls.__new__(cls)
        reader.source, reader._file, reader._content = source, None, content
        reader._read_directory(len(content))
        return reader

    def __enter__(self) -> ContainerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def layer(self, name: str) -> CompressedLayer:
        """Read one layer; if its bias is not in its codebook, the other tensors, too, for it may be among them.

        Raises InputError if there is no layer of this name.
        """
        if name not in self._layers:
            raise InputError(f"{self.source}: holds no layer {name!r}; its layers are {', '.join(self.names)}")
        layer, _, weight_names, *_ = self._read_layer(name)
        return layer if layer.bias is not None else _with_free_bias(layer, weight_names, self._other_tensors[0])

    @property
    def names(self) -> list[str]:
        return list(self._layers)

    def model(self) -> CompressedModel:
        """Read everything."""
        read, num_weights = [], 0
        for name in self._layers:
            read.append(self._read_layer(name))
            num_weights += read[-1][0].codes.size
            if num_weights > MOST_WEIGHTS:
                self._damaged(f"layers of more than {MOST_WEIGHTS:,} weights in all")
        layers, shapes, weight_names, bias_names, coding = (list(each) for each in zip(*read, strict=True))
        tensors, buffers = self._other_tensors
        try:
            model = CompressedModel(
                layers,
                shapes,
                weight_names=weight_names,
                bias_names=bias_names,
                tensors=tensors,
                buffers=buffers,
                coding=coding,
            )
        except InputError as error:
            raise InputError(f"{self.source}: holds what no container can: {error}") from error
        return model

    def _bytes(self, begin: int, length: int) -> bytes:
        if self._file is None:
            return self._content[begin : begin + length]
        try:
            self._file.seek(begin)
            return self._file.read(length)
        except OSError as error:
            raise InputError(f"{self.source}: cannot be read: {error.strerror or error}") from error

    def _read_directory(self, file_bytes: int) -> None:
        header = self._bytes(0, _HEADER.size + _CRC.size)
        if len(header) >= len(MAGIC) and header[: len(MAGIC)] != MAGIC:
            raise InputError(
                f"{self.source}: a container starts with {MAGIC!r}; found {header[: len(MAGIC)]!r}: another kind "
                f"of file"
            )
        if len(header) < _HEADER.size + _CRC.size:
            self._cut_off(_HEADER.size + _CRC.size, file_bytes)
        _, version, directory_bytes = _HEADER.unpack(header[: _HEADER.size])
        if version != VERSION:
            raise InputError(
                f"{self.source}: this release reads version {VERSION} of the container; found version {version}; "
                f"use the release that wrote it"
            )
        begin = len(header) + directory_bytes
        if begin > file_bytes:
            self._cut_off(begin, file_bytes)
        directory = self._bytes(len(header), directory_bytes)
        (crc,) = _CRC.unpack(header[_HEADER.size :])
        self._check_crc(header[: _HEADER.size] + directory, crc, "the header")
        self._layers: dict[str, tuple[int, int, int]] = {}
        self._tensors: list[tuple[int, int, int]] = []
        for kind, name, length, crc in self._decoded(_directory_entries, directory, "directory"):
            if kind == _LAYER and name not in self._layers:
                self._layers[name] = begin, length, crc
            elif kind == _TENSORS and not self._tensors:
                self._tensors.append((begin, length, crc))
            else:
                self._damaged(f"section {name!r} of kind {kind}, unknown or there twice")
            begin += length
        if begin != file_bytes:
            self._cut_off(begin, file_bytes)
        if not self._layers:
            self._damaged("no layer")

    def _section(self, begin: int, length: int, crc: int, what: str) -> bytes:
        content = self._bytes(begin, length)
        self._check_crc(content, crc, what)
        return content

    def _read_layer(self, name: str) -> _LayerParts:
        content = self._section(*self._layers[name], f"layer {name!r}")
        found: _LayerParts = self._decoded(lambda section: _decode_layer(name, section), content, f"layer {name!r}")
        return found

    @cached_property
    def _other_tensors(self) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
        """By name, and which of them are buffers."""
        found: tuple[dict[str, npt.NDArray[Any]], list[str]] = {}, []
        for place in self._tensors:
            found = self._decoded(_decode_tensors, self._section(*place, "the other tensors"), "tensors")
        return found

    def _decoded(self, decode: Any, content: bytes, what: str) -> Any:
        """What `decode` makes of bytes; the checksum was right, so what is wrong was written so."""
        try:
            return decode(content)
        except (ValueError, MemoryError, OverflowError, UnicodeDecodeError) as error:
            if isinstance(error, InputError) and "constriction" in str(error):
                raise
            self._damaged(f"{what}: {str(error) or 'more than fits into memory'}", error)

    def _check_crc(self, content: bytes, stated: int, part: str) -> None:
        if zlib.crc32(content) != stated:
            raise InputError(
                f"{self.source}: the checksum of {part} must be {stated:08x}; found {zlib.crc32(content):08x}: "
                f"the file is damaged; copy it again"
            )

    def _cut_off(self, needed: int, found: int) -> NoReturn:
        raise InputError(
            f"{self.source}: the header states {needed:,} bytes; found {found:,}: the file is cut off or has grown; "
            f"copy it again"
        )

    def _damaged(self, what: str, error: Exception | None = None) -> NoReturn:
        raise InputError(f"{self.source}: holds what no container can: {what}") from error


def _check_layer(layer: CompressedLayer, shape: tuple[int, ...]) -> None:
    if len(layer.name.encode()) > _MOST_NAME_BYTES or layer.codes.size > MOST_WEIGHTS:
        raise InputError(
            f"layer {layer.name[:40]!r}: a container takes names of up to {_MOST_NAME_BYTES:,} bytes and layers of up "
            f"to {MOST_WEIGHTS:,} weights; found {len(layer.name.encode()):,} and {layer.codes.size:,}"
        )
    if not all(isinstance(length, int | np.integer) for length in shape):
        raise InputError(f"layer {layer.name!r}: the weights' shape must be whole numbers; found {shape}")
    unrolled = (shape[0], math.prod(shape[1:])) if len(shape) >= 2 and min(shape) > 0 else None
    if unrolled != layer.codes.shape or len(shape) > _MOST_DIMENSIONS:
        raise InputError(
            f"layer {layer.name!r}: the weights' shape must have 2 to {_MOST_DIMENSIONS} dimensions and "
            f"unroll to {list(layer.codes.shape)}; found {list(shape)}"
        )


def _names_of_biases(weight_names: Sequence[str]) -> list[str]:
    """What the biases of these weights are called: `fc.bias` of `fc.weight`, `bias_hh_l0` of `weight_hh_l0`."""
    split = [name.rpartition(".") for name in weight_names]
    return [f"{path}{dot}{last.replace('weight', 'bias')}" for path, dot, last in split if "weight" in last]


def _with_free_bias(layer: CompressedLayer, weight_names: Sequence[str], tensors: Tensors) -> CompressedLayer:
    """The layer with its bias, if that is among the tensors; of a tied weight's several biases, none is it."""
    found = [tensors[name] for name in _names_of_biases(weight_names) if name in tensors]
    fits = len(found) == 1 and found[0].shape == (layer.rows,) and found[0].dtype == np.float32
    if not fits or layer.bias is not None or layer.free_bias is not None:
        return layer
    return dataclasses.replace(layer, free_bias=found[0])


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        try:
            fits = isinstance(name, str) and 1 <= len(name.encode()) <= _MOST_NAME_BYTES
        except UnicodeEncodeError:  # half of a character
            fits = False
        if not fits:
            raise InputError(
                f"a parameter's name must be text of 1 to {_MOST_NAME_BYTES:,} bytes in UTF-8; found {str(name)[:40]!r}"
            )


def _checked_tensor(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values = np.asarray(values)
    if values.ndim > _MOST_DIMENSIONS:
        raise InputError(f"tensor {name!r} must have up to {_MOST_DIMENSIONS} dimensions; found {values.ndim}")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise InputError(f"tensor {name!r}: every value must be finite as float32")
        return narrow
    if values.dtype.kind in "iub":
        if values.size and int(values.max()) >= 2**63:
            raise InputError(f"tensor {name!r}: every value must be below 2**63; found {values.max():,}")
        return values.astype(np.int64)
    raise InputError(f"tensor {name!r} must be real numbers; found {values.dtype}")


def _directory_entries(directory: bytes) -> list[tuple[int, str, int, int]]:
    reader = ByteReader(directory)
    entries = []
    for _ in range(reader.varint()):
        (kind,) = reader.take(1)
        entries.append((kind, reader.text(_MOST_NAME_BYTES), reader.varint(), *reader.unpack("<I")))
    reader.check_end()
    return entries


def _fits_float16(values: npt.NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())


def _encode_layer(
    layer: CompressedLayer, shape: tuple[int, ...], weight_names: tuple[str, ...], bias_name: str, choice: CodingChoice
) -> tuple[bytes, LayerSize]:
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
    head += varint(len(weight_names)) + b"".join(text("" if name == own_weight else name) for name in weight_names)
    if layer.bias is not None:
        head += text("" if bias_name == own_bias else bias_name)
    head += bytes([len(shape)]) + b"".join(varint(int(length)) for length in shape)
    matrix = encode_matrix(layer.codes, layer.weight_bits, choice)
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
        coder=choice.coder,
    )
    return head + codebook + bias + matrix.content, size


# a layer, its shape, the names of its weights and of its bias, and how it is written
_LayerParts = tuple[CompressedLayer, tuple[int, ...], tuple[str, ...], str, CodingChoice]


def _decode_layer(name: str, content: bytes) -> _LayerParts:
    reader = ByteReader(content)
    weight_bits, flags = reader.take(2)
    wide, has_bias, narrow, bias_is_coded = (bool(flags >> bit & 1) for bit in range(4))
    if not 1 <= weight_bits <= (16 if wide else 8) or flags > 15 or bias_is_coded > (has_bias and not wide):
        raise ValueError(f"{weight_bits=}, {flags=}")
    num_names = reader.varint()
    if not 1 <= num_names <= reader.left:
        raise ValueError(f"{num_names:,} names")
    weight_names = tuple(reader.text(_MOST_NAME_BYTES) or f"{name}.weight" for _ in range(num_names))
    bias_name = (reader.text(_MOST_NAME_BYTES) if has_bias else "") or f"{name}.bias"
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
    return CompressedLayer(name, codes, codebook, bias), shape, weight_names, bias_name, coding


def _read_shape(reader: ByteReader) -> tuple[int, ...]:
    (dimensions,) = reader.take(1)
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions; up to {_MOST_DIMENSIONS} are possible")
    return tuple(reader.varint() for _ in range(dimensions))


def _encode_tensors(tensors: Tensors, buffers: frozenset[str]) -> bytes:
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


def _decode_tensors(content: bytes) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    reader = ByteReader(content)
    tensors: dict[str, npt.NDArray[Any]] = {}
    buffers = []
    before = b""
    num_values = 0
    for _ in range(reader.varint()):
        common = reader.varint()
        before = before[:common] + reader.take(reader.varint())
        if not common <= len(before) <= _MOST_NAME_BYTES:
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


def _pack_bits(values: npt.NDArray[Any], bits: int) -> bytes:
    """`bits` bits of each value, one after the other, from the lowest bit up."""
    one_a_row = values[:, np.newaxis].astype(np.uint32) >> np.arange(bits, dtype=np.uint32)
    return np.packbits((one_a_row & 1).astype(np.uint8), bitorder="little").tobytes()


def _unpack_bits(content: bytes, num_values: int, bits: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=num_values * bits, bitorder="little")
    return (flat.reshape(num_values, bits) @ (1 << np.arange(bits, dtype=np.uint32))).astype(dtype)
