"""Result files: damage to the names of columns is found, also of those that old files lack."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from designs import results
from designs.results import Column, provenance, read_results, table_of, write_results
from traces import InputError

COLUMNS = [
    Column("cycles", pa.int64(), "cycles", "of the array"),
    Column("limit_cycles", pa.int64(), "cycles", "least of the array", newer=True),
]
ROWS = [{"cycles": 7, "limit_cycles": 5}, {"cycles": 9, "limit_cycles": 8}]


def test_a_column_whose_name_was_damaged_does_not_count_as_one_that_old_files_lack(tmp_path: Path) -> None:
    path = tmp_path / "result.parquet"
    write_results(path, table_of(COLUMNS, ROWS), provenance({}))
    content = path.read_bytes()
    name = b"limit_cycles"
    in_schema = content.index(b"\x18" + bytes([len(name)]) + name) + 1  # Parquet's own, a text in Thrift's encoding
    changed = bytearray(content)
    changed[in_schema + 1] ^= 0x20
    path.write_bytes(changed)
    with pytest.raises(InputError, match="must have the checksum in its footer; this file was edited or damaged"):
        read_results(path, COLUMNS)


def test_files_that_do_not_state_their_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_COLUMNS", b"unknown to earlier versions")
    write_results(tmp_path / "old.parquet", table_of(COLUMNS[:1], ROWS), provenance({}))
    monkeypatch.undo()
    table, _ = read_results(tmp_path / "old.parquet", COLUMNS)
    assert table.column_names == ["cycles"]
