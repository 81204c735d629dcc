"""Sphinx configuration of the guide and of the reference of all public names (`make docs`)."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

PROJECT = Path(__file__).parent.parent
PACKAGES = ("traces", "sim", "compress", "designs", "reports")

project = "eie-codesign"
release = version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["reference/*/modules.rst"]
html_theme = "furo"
html_title = f"eie-codesign {version}"
html_show_copyright = False
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # two classes with the same short name in a signature
nitpicky = True  # a broken link in a docstring is a warning, but not a type of another library
_TYPE_VARIABLES = r"sim\.config\.Whole|designs\.sweeps\.workers\._(Work|Result)(In|Out)?"
nitpick_ignore_regex = [(r"py:(?!obj$|mod$).*", r".*"), (r"py:obj", rf"typing\..*|{_TYPE_VARIABLES}")]

apidoc_modules = [
    {
        "path": str(PROJECT / package),
        "destination": f"reference/{package}",
        "exclude_patterns": [str(PROJECT / package / name) for name in ("__main__.py", "*_kernels.py", "commands")],
        "module_first": True,
        "automodule_options": {"members"},
    }
    for package in PACKAGES
]
autodoc_default_options = {"members": True, "ignore-module-all": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
autoclass_content = "class"
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes are fields of their class, not objects, which autodoc describes
add_module_names = False
toc_object_entries_show_parents = "hide"

_ROW = re.compile(r"^(?P<names>\S+(?: \S+)*?)(?:  +|: )(?P<words>\S.*)$")  # a table row: names, text
_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?![`_])")
_UNDERLINE = re.compile(r"\s*-{3,}$")
FREE_TEXT = ("", "Notes", "Examples")  # sections of a docstring; "" is the text before the first
BEFORE_NAPOLEON = 400  # Sphinx calls handlers in the order of their priority; napoleon has 500


def as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Convert a docstring to reStructuredText, leaving its NumPy sections to napoleon.

    In free text, table rows become definitions and indented text becomes literal.
    """
    written: list[str] = []
    paragraph: list[str] = []
    section = FREE_TEXT[0]
    for line in [*lines, ""]:
        if line.strip():
            if _UNDERLINE.match(line) and len(paragraph) == 1:
                section = paragraph[0].strip()
            paragraph.append(line)
            continue
        written += [*(_paragraph(paragraph) if section in FREE_TEXT else map(_marked, paragraph)), ""]
        paragraph = []
    lines[:] = written


def _paragraph(lines: list[str]) -> list[str]:
    """Return one paragraph as reStructuredText."""
    if not lines:
        return []
    if lines[0].startswith("  "):
        return ["::", "", *("    " + line for line in lines)]
    rows = [place for place, line in enumerate(lines) if "  " in line.strip() and _ROW.match(line)]
    if not rows:
        return [_marked(line) for line in lines]
    converted = [_marked(line) for line in lines[: rows[0]]]
    for begin, end in zip(rows, [*rows[1:], len(lines)], strict=True):
        match = _ROW.match(lines[begin])
        assert match is not None
        inside = [line for line in lines[begin + 1 : end] if line.startswith(" ")]
        after = lines[begin + 1 + len(inside) : end]
        converted += ["", f"``{match['names']}``", "    " + _marked(match["words"].strip())]
        converted += ["    " + _marked(line.strip()) for line in inside]
        if after:
            converted += ["", *(_marked(line) for line in after)]
    return converted


def _marked(line: str) -> str:
    """Turn names in single backquotes into code, and names of this project's modules into links."""

    def mark(match: re.Match[str]) -> str:
        inside = match[1]
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", inside):
            return f":py:obj:`{inside} <{_home(inside)}>`"
        return f"``{inside}``"

    if "``" in line:
        return line
    escaped = re.sub(r"(?<!\S)\\\*(?= )", "*", line.replace("*", r"\*")).replace("|", r"\|")  # bullets stay
    return _CODE.sub(mark, escaped)


def _home(name: str) -> str:
    """Return the full name under which the reference describes an object that a package may re-export."""
    try:
        value = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return name  # Sphinx warns
    if isinstance(value, ModuleType) or getattr(value, "__module__", "").partition(".")[0] not in PACKAGES:
        return name
    return f"{value.__module__}.{value.__qualname__}"


def setup(app: Any) -> None:
    """Register the conversion of docstrings."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=BEFORE_NAPOLEON)
