"""Cache of compiled kernels between processes, which is never stale."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

from traces.provenance import source_digest

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile an arithmetic-only function with Numba (`nogil`, no `fastmath`) and cache the machine code.

    Numba's own cache compares only the time stamp of the kernel's file. Here the name of the cache folder is a hash of
    all source files of the kernel's package, Numba's version and the `NUMBA_*` environment. So kernels are compiled
    again after an edit anywhere in the package, with another Numba or with another flag. A kernel may call only kernels
    of its own package. If no folder can be written, kernels are compiled in every process.
    """
    import numba

    config: Any = numba.config  # its settings are made at run time
    njit: Any = numba.njit
    folder = _cache_folder(Path(sys.modules[function.__module__].__file__ or "").parent)
    if folder is None:
        return cast(Function, njit(nogil=True)(function))
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    finally:
        config.CACHE_DIR = before


@cache
def _cache_folder(package: Path) -> Path | None:
    digest = hashlib.sha256((source_digest(package) + importlib.metadata.version("numba")).encode())
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"{name}={os.environ[name]}\0".encode())
    base = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path("eie-codesign")
    folder = Path(base) / f"{package.name}-{digest.hexdigest()[:16]}"
    try:
        first_time = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
    except OSError:
        return None
    if first_time and sys.stderr.isatty():
        print(f"compiling the kernels of {package.name}: once, a few seconds", file=sys.stderr)
    return folder
