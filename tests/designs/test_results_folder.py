"""Folders of results: no link leads out of them, and only the project's own files are removed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from designs.results_folder import check_links, remove_files
from traces import InputError


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder, outside = tmp_path / "results", tmp_path / "outside"
    (folder / "front").mkdir(parents=True)
    outside.mkdir()
    names = ("front", "front.parquet")
    check_links(folder, names)
    check_links(tmp_path / "missing", names)
    (folder / "mine").symlink_to(outside)  # no file of the project
    (folder / "front/a.json").symlink_to(folder / "mine.json")
    check_links(folder, names)
    for name, target in (("front.parquet", outside / "x"), ("front/b.dc", outside), ("front/c.dc", Path("../../out"))):
        (folder / name).symlink_to(target)
        sentence = f"{name}: a file of the results must lie in their folder; found a link to {target}; remove the link"
        with pytest.raises(InputError, match=re.escape(sentence)):
            check_links(folder, names)
        (folder / name).unlink()
    (folder / "front/a.json").unlink()
    (folder / "front").rmdir()
    (folder / "front").symlink_to(outside)
    with pytest.raises(InputError, match="front: a file of the results must lie in their folder; found a link to"):
        check_links(folder, names)


def test_a_folder_of_results_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk/front").mkdir(parents=True)
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    check_links(tmp_path / "results", ("front",))


def test_only_files_of_the_pattern_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "front", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "1.dc").write_text("kept")
    for name in ("1.dc", ".2.dc.x.partial", "notes.txt", "1.dc.bak"):
        (folder / name).write_text("")
    (folder / "2.dc").symlink_to(outside / "1.dc")
    (folder / "3.dc").mkdir()
    pattern = re.compile(r"\d\.dc")
    remove_files(folder, pattern)
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "1.dc.bak", "3.dc"}
    (tmp_path / "link").symlink_to(outside)
    remove_files(tmp_path / "link", pattern)
    remove_files(tmp_path / "missing", pattern)
    assert (outside / "1.dc").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    remove_files(tmp_path / "empty", pattern)
    assert not (tmp_path / "empty").exists()
