"""Reader of container files: reads, checks and decodes only the sections that are asked for."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from compress.container.bytes_io import MakeRoom
from compress.container.free_bias import with_free_bias
from compress.container.sections import (
    CRC,
    GRAPH,
    HEADER,
    LAYER,
    MAGIC,
    TENSORS,
    VERSIONS,
    LayerParts,
    decode_directory,
    decode_graph,
    decode_layer,
)
from compress.container.tensor_coding import decode_tensors
from traces import CompressedLayer, InputError
from traces.arrays import Numbers
from traces.layer import MOST_WEIGHTS
from traces.reading_limit import ReadingLimitError, check_decoded_bytes

Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class _Place:
    """Place of a section in the file, and its checksum."""

    begin: int
    num_bytes: int
    crc: int


class ContainerReader:
    """Open container file. Only the sections that are asked for are read. As a context manager, it closes the file.

    Parameters
    ----------
    path : path
        The file.

    Attributes
    ----------
    source : str
        Name of the file in errors.

    Raises
    ------
    InputError
        On opening, if the file is missing, is not a container or is cut off; later, if a section is damaged or invalid,
        or the sections that were read would take more memory than the file's size allows (`traces.reading_limit`).
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
            self._num_bytes = os.fstat(self._file.fileno()).st_size
            self._read_directory()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_bytes(cls, content: bytes, source: str) -> ContainerReader:
        """Return the reader of a container in memory; `source` is its name in errors."""
        reader = cls.__new__(cls)
        reader.source, reader._file, reader._content = source, None, content
        reader._num_bytes = len(content)
        reader._read_directory()
        return reader

    def __enter__(self) -> ContainerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @property
    def names(self) -> list[str]:
        """Names of the layers, in order."""
        return list(self._layers)

    def layer(self, name: str) -> CompressedLayer:
        """Read one layer, and the other tensors if its bias may be among them.

        Raises InputError if the name is unknown.
        """
        if name not in self._layers:
            raise InputError(f"{self.source}: holds no layer {name!r}; its layers are {', '.join(self.names)}")
        parts = self._layer_parts(name)
        if parts.layer.bias is not None:
            return parts.layer
        try:
            return with_free_bias(parts.layer, parts.weight_names, self.tensors()[0])
        except InputError as error:  # the bias is not finite
            self._invalid(str(error), error)

    def layer_parts(self) -> list[LayerParts]:
        """Read all layers, without the free biases that the other tensors hold."""
        parts, num_weights = [], 0
        for name in self._layers:
            parts.append(self._layer_parts(name))
            num_weights += parts[-1].layer.codes.size
            if num_weights > MOST_WEIGHTS:
                self._invalid(f"layers of more than {MOST_WEIGHTS:,} weights in all")
        return parts

    def tensors(self) -> tuple[dict[str, Numbers], list[str]]:
        """Read the other tensors; return them by name, and the names of those that are buffers."""
        return self._other_tensors

    def graph(self) -> bytes | None:
        """Read the graph; return None if the container has none."""
        if self._graph is None:
            return None
        return self._decoded(decode_graph, self._section(self._graph, "the graph"), "graph")

    @cached_property
    def _other_tensors(self) -> tuple[dict[str, Numbers], list[str]]:
        if self._tensors is None:
            return {}, []
        content = self._section(self._tensors, "the other tensors")
        return self._decoded(lambda section, room: decode_tensors(section, self._version, room), content, "tensors")

    def _layer_parts(self, name: str) -> LayerParts:
        content = self._section(self._layers[name], f"layer {name!r}")
        what = f"layer {name!r}"
        return self._decoded(lambda section, room: decode_layer(name, section, self._version, room), content, what)

    def _bytes(self, begin: int, num_bytes: int) -> bytes:
        if self._file is None:
            return self._content[begin : begin + num_bytes]
        try:
            self._file.seek(begin)
            return self._file.read(num_bytes)
        except OSError as error:
            raise InputError(f"{self.source}: cannot be read: {error.strerror or error}") from error

    def _read_directory(self) -> None:
        file_bytes = self._num_bytes
        self._decoded_bytes: dict[str, int] = {}  # of the sections that were read, each once
        self._all_decoded_bytes = 0
        header = self._bytes(0, HEADER.size + CRC.size)
        if len(header) >= len(MAGIC) and header[: len(MAGIC)] != MAGIC:
            raise InputError(
                f"{self.source}: a container starts with {MAGIC!r}; found {header[: len(MAGIC)]!r}: another kind "
                f"of file"
            )
        if len(header) < HEADER.size + CRC.size:
            self._cut_off(HEADER.size + CRC.size, file_bytes)
        _, self._version, directory_bytes = HEADER.unpack(header[: HEADER.size])
        if self._version not in VERSIONS:
            raise InputError(
                f"{self.source}: this release reads versions {', '.join(map(str, VERSIONS))} of the container; "
                f"found version {self._version}; use the release that wrote it"
            )
        begin = len(header) + directory_bytes
        if begin > file_bytes:
            self._cut_off(begin, file_bytes)
        directory = self._bytes(len(header), directory_bytes)
        (crc,) = CRC.unpack(header[HEADER.size :])
        self._check_crc(header[: HEADER.size] + directory, crc, "the header")
        self._layers: dict[str, _Place] = {}
        self._tensors: _Place | None = None
        self._graph: _Place | None = None
        entries = self._decoded(lambda content, _: decode_directory(content), directory, "directory")
        for kind, name, num_bytes, crc in entries:
            place = _Place(begin, num_bytes, crc)
            if kind == LAYER and name not in self._layers:
                self._layers[name] = place
            elif kind == TENSORS and self._tensors is None:
                self._tensors = place
            elif kind == GRAPH and self._graph is None and self._version > 2:
                self._graph = place
            else:
                self._invalid(f"section {name!r} of kind {kind}, unknown or there twice")
            begin += num_bytes
        if begin != file_bytes:
            self._cut_off(begin, file_bytes)
        if not self._layers:
            self._invalid("no layer")

    def _section(self, place: _Place, what: str) -> bytes:
        content = self._bytes(place.begin, place.num_bytes)
        self._check_crc(content, place.crc, what)
        return content

    def _decoded(self, decode: Callable[[bytes, MakeRoom], Decoded], content: bytes, what: str) -> Decoded:
        """Decode bytes whose checksum is right; raise InputError if the writer wrote invalid ones."""
        self._all_decoded_bytes -= self._decoded_bytes.get(what, 0)
        self._decoded_bytes[what] = 0

        def make_room(num_bytes: int) -> None:
            self._decoded_bytes[what] += num_bytes
            self._all_decoded_bytes += num_bytes
            check_decoded_bytes(self.source, self._all_decoded_bytes, self._num_bytes)

        try:
            return decode(content, make_room)
        except ReadingLimitError:
            raise
        except (ValueError, MemoryError, OverflowError, UnicodeDecodeError) as error:
            self._invalid(f"{what}: {str(error) or 'more than fits into memory'}", error)

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

    def _invalid(self, what: str, error: Exception | None = None) -> NoReturn:
        raise InputError(f"{self.source}: the container is invalid: {what}") from error
