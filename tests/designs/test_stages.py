"""Files of finished steps: whether they are as they were written, and in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from designs.stages import RECORD_FILE, Stages, is_kept
from traces import InputError


def test_a_file_is_kept_until_it_or_its_record_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert not is_kept(path)
    with Stages(tmp_path) as stages:
        stages.run(path.name, {}, lambda made: made.write_bytes(b"trained"))
    assert is_kept(path)
    assert not is_kept(tmp_path / "b.npz")
    path.write_bytes(b"Trained")
    assert not is_kept(path)
    path.write_bytes(b"trained")
    assert is_kept(path)
    for record in ("", "[]", '{"a.npz": 3}', '{"a.npz": {"crc32": 3}}', "[" * 100_000):
        (tmp_path / RECORD_FILE).write_text(record)
        assert not is_kept(path)
    path.unlink()
    assert not is_kept(path)


@pytest.mark.parametrize("name", ["a.npz", RECORD_FILE, ".lock"])
def test_no_link_leads_out_of_the_folder_of_steps(name: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "steps", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"kept")
    (folder / name).symlink_to(outside)
    with (
        pytest.raises(InputError, match=rf"steps/{name}: a file of the results must lie in their folder; found a link"),
        Stages(folder) as stages,
    ):
        stages.run("a.npz", {}, lambda path: path.write_bytes(b"made"))
    assert outside.read_bytes() == b"kept"
