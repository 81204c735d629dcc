"""Contents with their checksums: whatever is changed, cut or swapped is seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traces import InputError
from traces.arrays import Numbers
from traces.files.atomic_file import copy_atomically
from traces.files.checksums import (
    CHECKSUM,
    arrays_with_checksum,
    checked_arrays,
    checked_values,
    file_checksum,
    read_checked,
    with_checksum,
    write_checked,
)

VALUES = {"loss": 0.25, "unknown": math.nan, "layers": [{"name": "fc", "bits": 4}], "kept": True, "zero": -0.0}


def test_values_come_back_through_a_file_as_they_were(tmp_path: Path) -> None:
    write_checked(tmp_path / "a.json", VALUES, {"study": [1, 2]})
    found = read_checked(tmp_path / "a.json", {"study": (1, 2)})
    assert json.dumps(found) == json.dumps(VALUES)
    assert json.loads((tmp_path / "a.json").read_text())["loss"] == 0.25, "the file is readable JSON"


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("0.25", "0.125"),
        ("0.25", '"0.25"'),
        ("NaN", "0.0"),
        ('"bits": 4', '"bits": 5'),
        ("true", "1"),
        ("-0.0", "0.0"),
        ('"kept"', '"Kept"'),
        (CHECKSUM, "other"),
        ("]", "], "),
        ('"kept": true,', ""),
        ('"kept": true,', '"kept": true, "more": 1,'),
        ('"kept": true,', '"kept": true, "kept": true,'),
        ('"loss"', "[" * 5000 + '"loss"'),
    ],
)
def test_values_that_were_changed_are_not_used(found: str, put: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_checked(path, VALUES)
    text = path.read_text()
    assert found in text
    path.write_text(text.replace(found, put, 1))
    assert read_checked(path) is None


def test_a_file_that_is_cut_missing_or_of_another_owner_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_checked(path) is None
    write_checked(path, VALUES, "ours")
    whole = path.read_bytes()
    assert read_checked(path, "theirs") is None
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert read_checked(path, "ours") is None
    others: list[Any] = [None, [], "text", {}, {CHECKSUM: 3}]
    for content in others:
        assert checked_values(content) is None
    assert checked_values(with_checksum({})) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays | {"a": arrays["a"] + 1},
        lambda arrays: arrays | {"a": arrays["a"].astype(np.float64)},
        lambda arrays: arrays | {"a": arrays["a"].reshape(3, 2)},
        lambda arrays: arrays | {"a": -arrays["a"]},
        lambda arrays: arrays | {"c": arrays["a"]},
        lambda arrays: {"a": arrays["b"], "b": arrays["a"], CHECKSUM: arrays[CHECKSUM]},
        lambda arrays: {name: values for name, values in arrays.items() if name != CHECKSUM},
        lambda arrays: {name: values for name, values in arrays.items() if name != "b"},
    ],
)
def test_arrays_that_were_changed_are_not_used(change: Any) -> None:
    arrays: dict[str, Numbers] = {"a": np.zeros((2, 3), dtype=np.float32), "b": np.arange(3)}
    content = arrays_with_checksum(arrays, "ours")
    found = checked_arrays(content, "ours")
    assert found is not None
    assert all(np.array_equal(found[name], values) for name, values in arrays.items())
    assert checked_arrays(content, "theirs") is None
    assert checked_arrays(change(content), "ours") is None


def test_a_copy_is_whole_or_absent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    copy_atomically(tmp_path / "a", tmp_path / "b")
    assert file_checksum(tmp_path / "a") == file_checksum(tmp_path / "b")
    with pytest.raises(InputError, match="c cannot be written: No such file or directory; choose another place"):
        copy_atomically(tmp_path / "missing", tmp_path / "c")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
