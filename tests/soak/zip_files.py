"""Zip archives whose fields can be damaged: any stated size, method, flag or name, with checksums mended."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tests.soak.mutants import BAD_TEXTS, HUGE_NUMBERS, Mutate

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_METHODS = (0, 1, 8, 9, 12, 14, 93, 95, 99)
BOMB_BYTES = 2**27
_MOST_CHANGED_BYTES = 2**18


@dataclass(frozen=True)
class Member:
    """Member of an archive: what it states, and its packed bytes."""

    name: bytes
    packed: bytes
    stated_bytes: int
    checksum: int
    method: int = zipfile.ZIP_DEFLATED
    flags: int = 0
    packed_bytes: int | None = None
    offset: int | None = None

    @classmethod
    def of(cls, name: bytes, content: bytes) -> Member:
        """Return an honest member."""
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush()
        return cls(name, packed, len(content), zlib.crc32(content))


def members_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and contents of the members of a valid archive; none of a large one."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > _MOST_CHANGED_BYTES:
            return []
        return [(member.filename.encode(), archive.read(member)) for member in archive.infolist()]


def archive_of(members: list[Member]) -> bytes:
    """Return an archive that states what its members say."""
    begin, directory = b"", b""
    for member in members:
        packed = len(member.packed) if member.packed_bytes is None else member.packed_bytes
        fields = struct.pack(
            "<HHHHHIIIHH",
            20,
            member.flags,
            member.method,
            0,
            33,
            member.checksum,
            packed % 2**32,
            member.stated_bytes % 2**32,
            len(member.name),
            0,
        )
        offset = len(begin) if member.offset is None else member.offset
        central = struct.pack("<HHHII", 0, 0, 0, 0, offset % 2**32)
        directory += _CENTRAL + struct.pack("<H", 20) + fields + central + member.name
        begin += _LOCAL + fields + member.name + member.packed
    counts = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(begin), 0)
    return begin + directory + _END + counts


@cache
def bomb(begin: bytes) -> Member:
    """Return a member of 128 MiB that begins with these bytes, in 128 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [packer.compress(begin)]
    checksum, zeros = zlib.crc32(begin), bytes(2**20)
    for _ in range(BOMB_BYTES // len(zeros)):
        pieces.append(packer.compress(zeros))
        checksum = zlib.crc32(zeros, checksum)
    return Member(b"bomb.npy", b"".join([*pieces, packer.flush()]), len(begin) + BOMB_BYTES, checksum)


def npy_begin(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """Return the header of an array in NumPy's format."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _way(stream: np.random.Generator) -> int:
    """Return which change to make; the two that make large archives are rare."""
    return int(stream.integers(13 if stream.random() < 0.05 else 11))


def changed_zip(changed_member: Mutate) -> Mutate:
    """Return a mutation of archives that changes a member with `changed_member`, or what the archive states of it."""

    def mutate(content: bytes, stream: np.random.Generator) -> bytes:
        try:
            contents = members_of(content)
        except Exception:  # an archive that was damaged before
            return content
        if not contents or len(content) > _MOST_CHANGED_BYTES:
            return content
        members = [Member.of(*each) for each in contents]
        place, way = int(stream.integers(len(members))), _way(stream)
        member, (name, plain) = members[place], contents[place]
        huge = int(HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))])
        if way < 5:
            members[place] = Member.of(name, changed_member(plain, stream))
        elif way == 5:
            members[place] = replace(member, stated_bytes=huge)
        elif way == 6:
            members[place] = replace(member, packed_bytes=huge)
        elif way == 7:
            members[place] = replace(member, method=int(stream.choice(_METHODS)))
        elif way == 8:
            members[place] = replace(member, flags=1 << int(stream.integers(16)))
        elif way == 9:
            bad = BAD_TEXTS[int(stream.integers(len(BAD_TEXTS)))].encode(errors="surrogatepass")
            other = members[int(stream.integers(len(members)))].name
            members[place] = replace(member, name=[bad + b".npy", bad, other, b""][int(stream.integers(4))])
        elif way == 10:
            offset = int(stream.integers(len(content))) if stream.random() < 0.5 else huge
            members[place] = replace(member, offset=offset)
        elif way == 11:
            members = [member] * min(int(stream.integers(2, 2000)), max(2, _MOST_CHANGED_BYTES // len(member.packed)))
        else:
            stated = bomb(npy_begin((BOMB_BYTES,)) if stream.random() < 0.5 else npy_begin((4,)))
            honest = stream.random() < 0.5
            members[place] = replace(stated, name=name, stated_bytes=stated.stated_bytes if honest else len(plain))
        return archive_of(members)

    return mutate
