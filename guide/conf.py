"""How the guide and the reference of all public names become pages: `make docs`, warnings as errors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
PACKAGES = ("traces", "sim", "compress", "designs", "reports")

project = "eie-codesign"
release = version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = f"eie-codesign {version}"
html_show_copyright = False
myst_heading_anchors = 3
suppress_warnings: list[str] = []

apidoc_modules = [
    {
        "path": str(PROJECT / package),
        "destination": "reference",
        "exclude_patterns": [str(PROJECT / package / "__main__.py")],
        "separate_modules": True,
        "module_first": True,
    }
    for package in PACKAGES
]
autodoc_default_options = {"members": True, "show-inheritance": False, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "class"
add_module_names = False
toc_object_entries_show_parents = "hide"

# A line of a table in a docstring: a name, or several, two spaces or more, and what is to be said of it.
_ROW = re.compile(r"^(?P<names>\S+(?: \S+)*?)(?:  +|: )(?P<words>\S.*)$")
_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")


def as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: rows of names and words become definitions, indented text stays as it is written."""
    written: list[str] = []
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
            continue
        written += [*_paragraph(paragraph), ""]
        paragraph = []
    lines[:] = written


def _paragraph(lines: list[str]) -> list[str]:
    if not lines:
        return []
    if lines[0].startswith("  "):
        return ["::", "", *("    " + line for line in lines)]
    rows = [place for place, line in enumerate(lines) if "  " in line.strip() and _ROW.match(line)]
    if not rows:
        return [_marked(line) for line in lines]
    found = [_marked(line) for line in lines[: rows[0]]]
    for begin, end in zip(rows, [*rows[1:], len(lines)], strict=True):
        match = _ROW.match(lines[begin])
        assert match is not None
        inside = [line for line in lines[begin + 1 : end] if line.startswith(" ")]
        after = lines[begin + 1 + len(inside) : end]
        found += ["", f"``{match['names']}``", "    " + _marked(match["words"].strip())]
        found += ["    " + _marked(line.strip()) for line in inside]
        if after:
            found += ["", *(_marked(line) for line in after)]
    return found


def _marked(line: str) -> str:
    """Names in single backquotes become code; those of this project's modules, links that must lead somewhere."""

    def mark(match: re.Match[str]) -> str:
        inside = match[1]
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", inside):
            return f":any:`{inside}`"
        return f"``{inside}``"

    return _CODE.sub(mark, line.replace("*", r"\*").replace("|", r"\|")) if "``" not in line else line


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text)
