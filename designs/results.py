"""Result files: Parquet, with unit and description of each column, and origin and checksum in the footer."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

import compress
import sim
import traces
from traces import InputError
from traces.files.atomic_file import atomic_file
from traces.provenance import source_digest, versions
from traces.reading_limit import check_decoded_bytes

RESULTS_FOLDER = Path("results")
_PROVENANCE = b"eie-codesign"
_CHECKSUM = b"eie-codesign crc32"  # of all bytes before the footer, and of the origin in it
_COLUMNS = b"eie-codesign columns"  # their names, since a column whose name was damaged would count as not there
_TEXT_BYTES = 16  # of a text in memory, about
_AT_ONCE = 2**24  # bytes whose checksum is computed at once


@dataclass(frozen=True)
class Column:
    """One column of a result file: name, type, unit and meaning; True if it may have no value, if old files lack it."""

    name: str
    type: pa.DataType
    unit: str
    description: str
    nullable: bool = False
    newer: bool = False

    @property
    def field(self) -> pa.Field:
        """Arrow's field, with unit and description as metadata."""
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "description": self.description})


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return Arrow's schema of these columns."""
    return pa.schema([column.field for column in columns])


def table_of(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of these columns; each row must have a value for each of them."""
    schema = schema_of(columns)
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)


def provenance(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin of a result: its settings, the versions of the software, a digest of the project's sources."""
    return {
        "settings": dict(settings),
        "versions": versions("numba", "scikit-learn", "torch", "pyarrow"),
        "sources": sources_of_results(),
    }


def sources_of_results() -> str:
    """Return a digest of the project's sources that results follow from."""
    packages = (traces, compress, sim)
    return source_digest(*(Path(package.__file__ or "").parent for package in packages), Path(__file__).parent)


def write_results(path: str | os.PathLike[str], table: pa.Table, origin: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all; the footer keeps `origin` as JSON."""
    with results_file(path, table.schema, origin) as writer:
        writer.write_table(table)


def results_bytes(table: pa.Table, origin: Mapping[str, Any]) -> bytes:
    """Return the bytes of the file that `write_results` would write."""
    stream = io.BytesIO()
    with _writer(stream, table.schema, origin) as writer:
        writer.write_table(table)
    return stream.getvalue()


def read_results_bytes(content: bytes) -> pa.Table:
    """Return the table in the bytes from `results_bytes`, without its origin."""
    return pq.read_table(pa.BufferReader(content)).replace_schema_metadata(None)


@contextmanager
def results_file(
    path: str | os.PathLike[str], schema: pa.Schema, origin: Mapping[str, Any]
) -> Iterator[pq.ParquetWriter]:
    """Yield a writer of a result file, which takes one table after the other; the file appears whole or not at all.

    Raises InputError if the file cannot be written.
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("wb") as stream,
        _writer(stream, schema, origin) as writer,
    ):
        yield writer


@contextmanager
def _writer(stream: BinaryIO, schema: pa.Schema, origin: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    checked = _Checksummed(stream)
    names = json.dumps(schema.names).encode()
    metadata = {**(schema.metadata or {}), _PROVENANCE: json.dumps(origin).encode(), _COLUMNS: names}
    with pq.ParquetWriter(
        checked, schema.with_metadata(metadata), compression="zstd", write_page_checksum=True
    ) as writer:
        yield writer
        writer.add_key_value_metadata({_CHECKSUM: f"{zlib.crc32(metadata[_PROVENANCE], checked.crc32):08x}"})


class _Checksummed(io.RawIOBase):
    """Stream that passes on what is written, and computes its checksum."""

    def __init__(self, stream: BinaryIO) -> None:
        self.crc32 = 0
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.crc32 = zlib.crc32(content, self.crc32)
        return self._stream.write(content)

    def tell(self) -> int:
        return self._stream.tell()


class ResultFile:
    """Result file that is read piece by piece.

    Parameters
    ----------
    path : path
        The Parquet file.
    columns : sequence of Column
        Columns that the file must have, but for those that old files lack; it may have more.
    empty : bool
        True if the file may have no rows.

    Attributes
    ----------
    path : Path
        The file.
    origin : dict
        The settings, versions and digest from `provenance`.
    num_rows : int
        Number of rows.

    Raises
    ------
    InputError
        If the file is missing, damaged, edited or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[Column], empty: bool = False) -> None:
        self.path = Path(path)
        self._nullable = {column.name for column in columns if column.nullable}
        with self._damage():
            # The file is closed when it is no longer needed, even if it is damaged.
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True)
            footer = self._file.metadata.metadata or {}
            types = {field.name: field.type for field in self._file.schema_arrow}
        kept = [column for column in columns if column.name in types or not column.newer]
        wrong = [column.name for column in kept if types.get(column.name) != column.type]
        self.num_rows: int = self._file.metadata.num_rows
        try:
            self.origin: dict[str, Any] = json.loads(footer.get(_PROVENANCE, b""))
        except (ValueError, RecursionError):
            self.origin = {}
            wrong = wrong or ["origin"]
        if wrong or not (self.num_rows or empty) or not isinstance(self.origin, dict):
            raise self._of_another_kind(wrong)
        names = json.dumps(list(types)).encode()
        whole = footer.get(_COLUMNS, names) == names  # old files do not state them
        if not whole or footer.get(_CHECKSUM) != f"{zlib.crc32(footer[_PROVENANCE], self._crc32()):08x}".encode():
            raise InputError(
                f"{self.path}: the content of a result file must have the checksum in its footer; this file was edited "
                f"or damaged; make it again with python -m designs"
            )

    def tables(self, rows: int) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of at most so many rows; raise InputError if the file is damaged."""
        with self._damage():
            for batch in self._file.iter_batches(rows):
                yield self._without_nulls(pa.Table.from_batches([batch]))

    def table(self) -> pa.Table:
        """Return all rows; raise InputError if the file is damaged, or they take too much memory."""
        self.check_memory()
        with self._damage():
            return self._without_nulls(self._file.read())

    def check_memory(self) -> None:
        """Raise InputError if all rows take more memory than a file of this size may ask for."""
        row_bytes = sum(_TEXT_BYTES if pa.types.is_string(each.type) else 8 for each in self._file.schema_arrow)
        check_decoded_bytes(self.path, self.num_rows * row_bytes, self.path.stat().st_size)

    def _without_nulls(self, table: pa.Table) -> pa.Table:
        wrong = [name for name in table.schema.names if table[name].null_count and name not in self._nullable]
        if wrong:
            raise self._of_another_kind(wrong)
        return table

    def _of_another_kind(self, wrong: Sequence[str]) -> InputError:
        reason = f"{', '.join(wrong)} missing or of another type" if wrong else "no rows, or no origin"
        return InputError(f"{self.path}: is no result of this kind: {reason}; make it again with python -m designs")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Turn the errors of a missing or damaged file into an InputError."""
        try:
            yield
        except FileNotFoundError:
            raise InputError(f"{self.path}: there is no such result file; make it with python -m designs") from None
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path}: must be a whole Parquet file; reading it failed: {error}") from error

    def _crc32(self) -> int:
        """Return the checksum of all bytes before the footer."""
        found = 0
        with self._damage(), self.path.open("rb") as stream:
            stream.seek(-8, os.SEEK_END)
            left = stream.tell() - int.from_bytes(stream.read(4), "little")
            stream.seek(0)
            while left > 0:
                piece = stream.read(min(left, _AT_ONCE))
                if not piece:
                    break
                found = zlib.crc32(piece, found)
                left -= len(piece)
        return found


def read_results(
    path: str | os.PathLike[str], columns: Sequence[Column], empty: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Read a result file.

    Parameters
    ----------
    path : path
        The Parquet file.
    columns : sequence of Column
        Columns that the file must have, but for those that old files lack; it may have more.
    empty : bool
        True if the file may have no rows.

    Returns
    -------
    table : pyarrow.Table
        All columns of the file.
    origin : dict
        The settings, versions and digest from `provenance`.

    Raises
    ------
    InputError
        If the file is missing, damaged, edited or of another kind, or its rows would take more memory than a file of
        its size may ask for (`traces.reading_limit`).
    """
    file = ResultFile(path, columns, empty)
    return file.table(), file.origin
