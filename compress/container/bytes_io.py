"""Reader of bytes from the front, and numbers written in as few bytes as they need."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

MakeRoom = Callable[[int], None]
"""Called with the bytes that a decoder is about to take; raises ReadingLimitError if the file may not take so many."""

MOST_DIMENSIONS = 8
MOST_NAME_BYTES = 4096
MOST_INFLATION = 1032  # deflate codes at most 258 bytes in 2 bits


def varint(value: int) -> bytes:
    """Return a whole number in groups of 7 bits, lowest first; the highest bit of a byte says that more follow."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)


def text(value: str) -> bytes:
    """Return a text as its number of bytes, a varint, and these bytes in UTF-8."""
    encoded = value.encode()
    return varint(len(encoded)) + encoded


def shape_bytes(shape: tuple[int, ...]) -> bytes:
    """Return a shape as its number of dimensions, a byte, and a varint for each length."""
    return bytes([len(shape)]) + b"".join(varint(int(length)) for length in shape)


def check_inflation(content: bytes, num_bytes: int) -> None:
    """Raise ValueError if a zlib stream is too short for `num_bytes` bytes."""
    if num_bytes > MOST_INFLATION * len(content):
        raise ValueError(f"{len(content):,} deflated bytes cannot hold {num_bytes:,}")


def inflate(content: bytes, num_bytes: int) -> bytes:
    """Return the `num_bytes` bytes of a zlib stream. Raises ValueError, in bounded memory, if it holds others."""
    check_inflation(content, num_bytes)
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(content, num_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"the deflated bytes are invalid: {error}") from error
    if len(inflated) != num_bytes or not stream.eof or stream.unused_data:
        raise ValueError(f"{len(content):,} deflated bytes must hold {num_bytes:,} and end with them")
    return inflated


class ByteReader:
    """Reader that takes bytes from the front. Raises ValueError if they end too early."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    @property
    def left(self) -> int:
        """Number of bytes that have not been taken."""
        return len(self.content) - self.position

    def take(self, num_bytes: int) -> bytes:
        """Take the next bytes."""
        if not 0 <= num_bytes <= self.left:
            raise ValueError(f"{num_bytes:,} bytes must follow byte {self.position:,}; found {self.left:,}")
        taken = self.content[self.position : self.position + num_bytes]
        self.position += num_bytes
        return taken

    def unpack(self, form: str) -> tuple[Any, ...]:
        """Take numbers as `struct.unpack` reads them."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def varint(self) -> int:
        """Take a number that `varint` wrote, up to 63 bits."""
        value = 0
        for place in range(9):
            (byte,) = self.take(1)
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                return value
        raise ValueError("a number has more than 63 bits")

    def text(self, most_bytes: int) -> str:
        """Take a text that `text` wrote, up to `most_bytes` bytes."""
        num_bytes = self.varint()
        if num_bytes > most_bytes:
            raise ValueError(f"a name of {num_bytes:,} bytes; up to {most_bytes:,} are possible")
        return self.take(num_bytes).decode()

    def shape(self) -> tuple[int, ...]:
        """Take a shape that `shape_bytes` wrote."""
        (dimensions,) = self.take(1)
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"{dimensions} dimensions; up to {MOST_DIMENSIONS} are possible")
        return tuple(self.varint() for _ in range(dimensions))

    def check_end(self) -> None:
        """Raise ValueError if bytes are left."""
        if self.left:
            raise ValueError(f"{self.left:,} bytes after the end")
