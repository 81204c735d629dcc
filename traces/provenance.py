"""What made a result: versions of the software, and a digest of its sources."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path


@cache
def source_digest(*folders: Path) -> str:
    """A hash of all Python sources in `folders`, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for folder in folders:
        for source in sorted(folder.rglob("*.py")):
            digest.update(str(source.relative_to(folder)).encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python, this project and the named distributions; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in ("eie-codesign", "numpy", *distributions):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
