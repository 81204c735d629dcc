"""Folders and files of tests: each is where the module that it tests is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PROJECT

TESTS = PROJECT / "tests"
FILES = sorted(path.relative_to(TESTS) for path in TESTS.glob("*/**/test_*.py"))


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_a_folder_of_tests_mirrors_a_package_the_guide_or_is_the_soak(folder: Path) -> None:
    assert (PROJECT / folder / "__init__.py").exists() or folder in (Path("guide"), Path("soak"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_with_the_name_of_a_module_is_in_its_folder(path: Path) -> None:
    name = path.name.removeprefix("test_")
    modules = [module.relative_to(PROJECT) for module in (PROJECT / path.parts[0]).rglob(name)]
    assert not modules or path.parent / name in modules
