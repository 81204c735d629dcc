"""Small files of weights that state much content, or fields that other programs do not write."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.weight_files.reading import read_parameters
from tests.bad_values import BAD_JSON
from tests.soak.zip_files import Member, archive_of, bomb, npy_begin
from traces import InputError, reading_limit, write_npz

REMEDY = "allow more with traces.reading_limit"


def saved(held: object) -> bytes:
    """Return the bytes that torch.save writes."""
    stream = io.BytesIO()
    torch.save(held, stream)
    return stream.getvalue()


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_parameters(path)


def test_an_npz_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_bytes(archive_of([bomb(npy_begin((2**28,)))]))
    refused(path, REMEDY)


def test_a_bomb_in_a_checkpoint_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(2, 2)}))) as archive:
        members = [Member.of(info.filename.encode(), archive.read(info)) for info in archive.infolist()]
    path.write_bytes(archive_of([*members, bomb(b"")]))
    refused(path, REMEDY)


def test_a_checkpoint_with_an_encrypted_or_strangely_packed_member_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "net.pt"
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(2, 2)}))) as archive:
        members = [Member.of(info.filename.encode(), archive.read(info)) for info in archive.infolist()]
    path.write_bytes(archive_of([replace(members[0], flags=1), *members[1:]]))
    refused(path, "its members must not be encrypted")
    path.write_bytes(archive_of([replace(members[0], method=zipfile.ZIP_LZMA), *members[1:]]))
    refused(path, "its members must be stored or deflated")
    path.write_bytes(archive_of([*members, members[0]]))
    refused(path, "every member must have a name of its own")


def test_strides_that_repeat_a_small_storage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(saved({"a.weight": torch.ones(1).expand(2**14, 2**13)}))
    refused(path, REMEDY)
    path.write_bytes(saved({"a.weight": torch.ones(1).expand(20, 30)}))
    with reading_limit(2000):
        refused(path, REMEDY)
    with reading_limit(2400):
        assert read_parameters(path)["a.weight"].shape == (20, 30)


def test_an_index_of_itself_or_of_an_index_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.index.json"
    for name in (index.name, "other.index.json"):
        (tmp_path / "other.index.json").write_text(json.dumps({"weight_map": {"a": "one.npz"}}))
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        refused(index, "an index itself")


def test_an_index_that_names_one_file_many_times_reads_it_once(tmp_path: Path) -> None:
    write_npz(tmp_path / "one.npz", {"a": np.ones((2, 2))})
    index = tmp_path / "model.index.json"
    index.write_text(json.dumps({"weight_map": {f"a{number}": "one.npz" for number in range(20_000)}}))
    assert list(read_parameters(index)) == ["a"]


@pytest.mark.parametrize("name", ["..", "", "a/b", "/etc/passwd", 7, None, True, ["one.npz"], "a\0"])
def test_an_index_names_files_of_its_folder(name: object, tmp_path: Path) -> None:
    index = tmp_path / "model.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    refused(index, str(index))


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_no_index(content: str, tmp_path: Path) -> None:
    index = tmp_path / "model.index.json"
    index.write_text('{"total_size": 1, "more": ' + content + "}")
    refused(index, str(index))


def test_a_name_of_many_wrappers_is_read_at_once(tmp_path: Path) -> None:
    name = "module." * 20_000 + "weight"
    (tmp_path / "net.pt").write_bytes(saved({name: torch.ones(2, 3)}))
    begin = time.process_time()
    (found,) = read_parameters(tmp_path / "net.pt")
    assert time.process_time() - begin < 1
    assert name.endswith(found)
