"""How the guide and the reference of all public names become pages: `make docs`, warnings as errors."""

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
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc"]
exclude_patterns = ["reference/*/modules.rst"]
html_theme = "furo"
html_title = f"eie-codesign {version}"
html_show_copyright = False
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # two classes of one short name in a signature; what leads nowhere is `ref.obj`
nitpicky = True  # a name in a docstring that leads nowhere is a warning; a type of another library's is not
nitpick_ignore_regex = [(r"py:(?!obj$|mod$).*", r".*"), (r"py:obj", r"typing\..*")]

apidoc_modules = [
    {
        "path": str(PROJECT / package),
        "destination": f"reference/{package}",
        "exclude_patterns": [str(PROJECT / package / "__main__.py"), str(PROJECT / package / "*_kernels.py")],
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
            return f":py:obj:`{inside} <{_home(inside)}>`"
        return f"``{inside}``"

    return _CODE.sub(mark, line.replace("*", r"\*").replace("|", r"\|")) if "``" not in line else line


def _home(name: str) -> str:
    """The full name where it is described: a package gives some names of its modules as its own."""
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return name  # a warning
    if isinstance(found, ModuleType) or getattr(found, "__module__", "").partition(".")[0] not in PACKAGES:
        return name
    return f"{found.__module__}.{found.__qualname__}"


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text)
