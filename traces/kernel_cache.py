"""Cache of compiled kernels between processes: never stale, and read only if this user wrote it.

A compiled kernel is machine code in a pickle, so whoever can write a file of the cache can run code. Each file begins
with a checksum of what follows. A damaged file is removed, and its kernel is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import platformdirs

from traces.provenance import source_digest

Function = TypeVar("Function", bound=Callable[..., object])

SUFFIX = ".kernel"  # of a file that holds one compiled kernel
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def kernel(function: Function) -> Function:
    """Compile an arithmetic-only function with Numba (`nogil`, no `fastmath`) and cache the machine code.

    Numba's own cache compares only the time stamp of the kernel's file, and trusts what it reads. Here the name of the
    cache folder is a hash of all source files of the kernel's package, Numba's version and the `NUMBA_*` environment.
    So kernels are compiled again after an edit anywhere in the package, with another Numba or with another flag. A
    kernel may call only kernels of its own package. If no folder can be used, kernels are compiled in every process.
    """
    import numba

    _load_lazy_names(function)
    njit: Any = numba.njit
    compiled = njit(nogil=True)(function)
    folder = _cache_folder(Path(sys.modules[function.__module__].__file__ or "").parent)
    if folder is not None and compiled is not function:  # Numba returns the function itself if compiling is disabled
        compiled._cache = _KernelFiles(function, folder)
    return cast(Function, compiled)


def _load_lazy_names(function: Callable[..., object]) -> None:
    """Import what a kernel uses of modules with lazy names: Numba finds only what is there when it begins."""
    used = function.__code__.co_names
    for module in (function.__globals__.get(name) for name in used):
        if isinstance(module, ModuleType):
            for name in used:
                getattr(module, name, None)


class _KernelFiles:
    """Compiled versions of one function, a file for each signature and processor; the cache of Numba's dispatcher."""

    def __init__(self, function: Callable[..., object], folder: Path) -> None:
        self._function = function
        self.cache_path = str(folder)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled version for a signature, or None if there is none that can be used."""
        from numba.core import compiler

        result: Any = compiler.CompileResult
        target.refresh()
        key, path = self._place(signature, target.codegen())
        content = _trusted_content(path)
        if content is None:
            return None
        checksum, payload = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        with contextlib.suppress(Exception):  # what Numba cannot load is as good as damaged
            if checksum == hashlib.sha256(key + payload).digest():
                return result._rebuild(target, *pickle.loads(payload))
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled version; a disk that is full or read-only costs a compilation in each process, no more."""
        from numba.core import serialize

        if result.lifted or result.library.has_dynamic_globals:
            return
        dumps: Any = serialize.dumps
        payload = dumps(result._reduce())
        key, path = self._place(signature, result.codegen)
        temporary = None
        try:
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".partial")
            with open(descriptor, "wb") as stream:
                stream.write(hashlib.sha256(key + payload).digest() + payload)
            os.replace(temporary, path)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def flush(self) -> None:
        """Remove the files of this function."""
        for path in Path(self.cache_path).glob(f"{self._function.__name__}-*{SUFFIX}"):
            path.unlink(missing_ok=True)

    def _place(self, signature: Any, codegen: Any) -> tuple[bytes, Path]:
        """Return what a compiled version depends on beside the folder's name, and its file."""
        function = self._function
        parts = (
            function.__module__,
            function.__qualname__,
            str(signature),
            str(codegen.magic_tuple()),
            sys.implementation.cache_tag,
            importlib.metadata.version("llvmlite"),
        )
        key = "\0".join(map(str, parts)).encode()
        name = f"{function.__name__}-{hashlib.sha256(key).hexdigest()[:32]}{SUFFIX}"
        return key, Path(self.cache_path) / name


@cache
def _cache_folder(package: Path) -> Path | None:
    digest = hashlib.sha256((source_digest(package) + importlib.metadata.version("numba")).encode())
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"{name}={os.environ[name]}\0".encode())
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path("eie-codesign"))
    folder = base / f"{package.name}-{digest.hexdigest()[:16]}"
    try:
        first_time = not folder.exists()
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
        fault = _fault(folder.lstat(), stat.S_ISDIR, "folder")
    except OSError:
        return None
    if fault:
        _warn(folder, "folder", fault)
        return None
    if first_time and sys.stderr.isatty():
        print(f"compiling the kernels of {package.name}: once, a few seconds", file=sys.stderr)
    return folder


def _trusted_content(path: Path) -> bytes | None:
    """Return the bytes of a file that only this user can have written, or None; warn of a file of someone else.

    The file is checked after it is opened, so that it cannot be exchanged in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        if path.is_symlink():
            _warn(path, "file", "it is a link")
        return None
    try:
        fault = _fault(os.fstat(descriptor), stat.S_ISREG, "file")
        if fault:
            _warn(path, "file", fault)
            return None
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _fault(found: os.stat_result, right_kind: Callable[[int], bool], kind: str) -> str:
    """Return what lets others write to a file or a folder, or an empty text."""
    if not right_kind(found.st_mode):
        return "it is a link" if stat.S_ISLNK(found.st_mode) else f"it is no {kind}"
    if sys.platform == "win32":  # access is not in the mode there
        return ""
    if found.st_uid != os.geteuid():
        return f"it belongs to the user with the number {found.st_uid}"
    if found.st_mode & _WRITABLE_BY_OTHERS:
        return f"its mode is {stat.S_IMODE(found.st_mode):o}"
    return ""


@cache
def _warn(path: Path, kind: str, fault: str) -> None:
    print(
        f"warning: {path}: a {kind} of compiled kernels must belong to this user and be writable by nobody else; "
        f"{fault}; its kernels are compiled in memory; remove it, or set NUMBA_CACHE_DIR to another folder",
        file=sys.stderr,
    )
