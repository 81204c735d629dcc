"""Imports and file names in README, guide and examples."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PACKAGES = ("traces", "sim", "compress", "designs", "reports")
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "guide").glob("*.md"))]
EXAMPLES = sorted((PROJECT / "examples").glob("*.py"))
INNER_MODULES = {
    "examples/decode_language_model.py": {
        "designs.experiments.example_networks",
        "designs.experiments.planning.inputs",
        "designs.experiments.tokenizer",
    },
    "guide/array.md": {"sim.host_memory"},
    "guide/extend.md": {"sim.array", "sim.datapath", "sim.datapath.activation_queue"},
}
"""Inner modules that a page may import, because it is about them."""
_PATH = re.compile(r"`((?:traces|sim|compress|designs|reports|tests|examples)/[\w/.]+)`")
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def python_code(path: Path) -> list[str]:
    """Return the Python blocks of a page, or the whole script."""
    text = path.read_text()
    return [text] if path.suffix == ".py" else _BLOCK.findall(text)


def imported_modules(code: str) -> set[str]:
    """Return the modules that the code imports, or imports names from."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda path: path.name)
def test_only_package_roots_are_imported(path: Path) -> None:
    allowed = INNER_MODULES.get(str(path.relative_to(PROJECT)), set())
    modules = set().union(*(imported_modules(code) for code in python_code(path)))
    inner = {module for module in modules if module.partition(".")[0] in PACKAGES and "." in module}
    assert inner == allowed


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda path: path.name)
def test_no_page_needs_pandas(path: Path) -> None:
    assert "to_pandas" not in path.read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_named_file_exists(path: Path) -> None:
    assert [name for name in _PATH.findall(path.read_text()) if not (PROJECT / name).exists()] == []


def test_a_submodule_is_recognised() -> None:
    code = "from sim.cost.area import area_mm2\nimport sim.array as array"
    assert imported_modules(code) == {"sim.cost.area", "sim.array"}
