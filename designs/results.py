"""Result files: Parquet, with unit and description of each column, and the origin of the result in the footer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import compress
import sim
import traces
from traces import InputError
from traces.files.atomic_file import atomic_file
from traces.provenance import source_digest, versions

RESULTS_FOLDER = Path("results")
_PROVENANCE = b"eie-codesign"


@dataclass(frozen=True)
class Column:
    """One column of a result file: name, type, unit and meaning; True if it may have no value."""

    name: str
    type: pa.DataType
    unit: str
    description: str
    nullable: bool = False

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
    packages = (traces, compress, sim)
    return {
        "settings": dict(settings),
        "versions": versions("numba", "scikit-learn", "torch", "pyarrow"),
        "sources": source_digest(*(Path(package.__file__ or "").parent for package in packages), Path(__file__).parent),
    }


def write_results(path: str | os.PathLike[str], table: pa.Table, origin: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all; the footer keeps `origin` as JSON."""
    with atomic_file(path) as temporary:
        _write(table, origin, temporary)


def results_bytes(table: pa.Table, origin: Mapping[str, Any]) -> bytes:
    """Return the bytes of the file that `write_results` would write."""
    sink = pa.BufferOutputStream()
    _write(table, origin, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_results_bytes(content: bytes) -> pa.Table:
    """Return the table in the bytes from `results_bytes`, without its origin."""
    return pq.read_table(pa.BufferReader(content)).replace_schema_metadata(None)


def _write(table: pa.Table, origin: Mapping[str, Any], where: Any) -> None:
    metadata = {**(table.schema.metadata or {}), _PROVENANCE: json.dumps(origin).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), where, compression="zstd", write_page_checksum=True)


def read_results(
    path: str | os.PathLike[str], columns: Sequence[Column], empty: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Read a result file.

    Parameters
    ----------
    path : path
        The Parquet file.
    columns : sequence of Column
        Columns that the file must have; it may have more.
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
        If the file is missing, damaged or of another kind.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such result file; make it with python -m designs") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: must be a whole Parquet file; reading it failed: {error}") from error
    types = {field.name: field.type for field in table.schema}
    wrong = [column.name for column in columns if types.get(column.name) != column.type]
    nullable = {column.name for column in columns if column.nullable}
    wrong += [name for name in types if table[name].null_count and name not in nullable]
    try:
        origin = json.loads((table.schema.metadata or {}).get(_PROVENANCE, b""))
    except ValueError:
        origin = None
    if wrong or not (table.num_rows or empty) or not isinstance(origin, dict):
        reason = f"{', '.join(wrong)} missing or of another type" if wrong else "no rows, or no origin"
        raise InputError(f"{path}: is no result of this kind: {reason}; make it again with python -m designs")
    return table, origin
