"""Provenance of a result: versions of the software, and a digest of its sources."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path


@cache
def source_digest(*folders: Path) -> str:
    """Return a hash of all Python sources in `folders`, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in folders:
        for source in sorted(folder.rglob("*.py")):
            digest.update(str(source.relative_to(folder)).encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of Python, this project and the named distributions, as far as they are installed."""
    numbers = {"python": platform.python_version()}
    for name in ("eie-codesign", "numpy", *distributions):
        try:
            numbers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return numbers
