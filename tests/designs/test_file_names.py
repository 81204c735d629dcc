"""Paths that files state: they stay in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from designs.file_names import path_within
from traces import InputError


def test_a_stated_path_is_one_in_the_folder() -> None:
    assert path_within(Path("results"), "a path", "a/b c/d.dc", "mend it") == Path("results/a/b c/d.dc")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "~/.", "a\\b", "C:a"])
def test_a_stated_path_that_leads_elsewhere_is_refused(path: object) -> None:
    with pytest.raises(InputError, match=r"a path must be a valid file name: it .*; mend it"):
        path_within(Path("results"), "a path", path, "mend it")
