"""Docstrings of all names that the packages export: NumPy style, every parameter and field described."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from typing import Any, cast

import pytest

PACKAGES = ("traces", "sim", "compress", "designs")
_SECTION = re.compile(r"^([A-Z][a-z]+)\n-{3,}$", re.MULTILINE)


def exported() -> list[str]:
    return [f"{name}.{each}" for name in PACKAGES for each in sorted(importlib.import_module(name).__all__)]


def named(name: str) -> Any:
    package, _, attribute = name.partition(".")
    module = importlib.import_module(package)
    try:
        return getattr(module, attribute)
    except ImportError as error:
        pytest.skip(f"needs an extra: {error}")


def sections(text: str) -> dict[str, str]:
    """Split a docstring into its sections by heading."""
    _, *parts = _SECTION.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def described(section: str) -> set[str]:
    """Collect the names that a section describes: lines without indentation, before a colon."""
    lines = [line.split(" : ")[0] for line in section.splitlines() if line and not line[0].isspace()]
    return {name.strip(" *`") for line in lines for name in line.split(",")}


@pytest.mark.parametrize("name", exported())
def test_an_exported_name_says_what_it_takes_and_gives(name: str) -> None:
    found = named(name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return  # a constant or a type, described where it stands
    if inspect.isclass(found) and issubclass(found, BaseException):
        assert inspect.getdoc(found)
        return
    text = inspect.getdoc(found) or ""
    parts = sections(text)
    if dataclasses.is_dataclass(found):
        fields = {field.name for field in dataclasses.fields(found) if not field.name.startswith("_")}
        bases = inspect.getmro(cast(type, found))[1:]
        inherited = {field for base in bases for field in getattr(base, "__dataclass_fields__", {})}
        described_fields = described(parts.get("Parameters", "")) | described(parts.get("Attributes", ""))
        metadata = {field.name for field in dataclasses.fields(found) if field.metadata.get("description")}
        assert fields - inherited - metadata <= described_fields, name
        return
    signature = inspect.signature(found)
    parameters = {each for each in signature.parameters if each not in ("self", "cls")}
    assert parameters <= described(parts.get("Parameters", "")), name
    if inspect.isfunction(found) and signature.return_annotation not in (None, "None"):
        assert "Returns" in parts or "Yields" in parts, name
