"""Cache of compiled kernels between processes: never stale, and read only if this user wrote it.

A compiled kernel is machine code, so whoever can write a file of the cache can run code. Each file begins with a
checksum of what follows. A damaged file is removed, and its kernel is compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

from traces.kernel_arguments import ArgumentType, plain_arguments
from traces.kernel_lanes import COMPILES
from traces.kernel_loader import load_kernel, processor
from traces.provenance import source_digest

Function = TypeVar("Function", bound=Callable[..., object])

SUFFIX = ".kernel"  # of a file that holds one compiled kernel
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def kernel(function: Function) -> Function:
    """Compile an arithmetic-only function with Numba when it is first called, and keep the machine code in a file.

    The arguments of a kernel are arrays, whole numbers, floats and bools, by position; it returns numbers, a tuple of
    numbers or None. It runs without the interpreter's lock and without `fastmath`; a division by zero gives infinity
    or nan. A kernel may write to any array, so a caller passes no read-only array to be filled.

    The name of the folder of the files is a hash of all source files of the kernel's package, of what compiles them, of
    the versions of Numba and llvmlite and of the `NUMBA_*` environment. So kernels are compiled again after an edit
    anywhere in the package, with another Numba or with another flag. A kernel may call only kernels of its own package.
    If no folder can be used, kernels are compiled in every process.

    A process that finds a compiled kernel imports llvmlite alone and not Numba, unless the kernel allocates arrays: so
    kernels that run in every simulation get their scratch memory as arguments.
    """
    if not COMPILES:
        return function
    return cast(Function, Kernel(function))


class Kernel:
    """Function that is compiled once for each combination of the types of its arguments."""

    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._versions: list[Callable[..., object]] = []

    def __call__(self, *arguments: Any) -> Any:
        """Run the version for these arguments; make it first if there is none."""
        for version in self._versions:
            result = version(*arguments)
            if result is not NotImplemented:
                return result
        plain, types = plain_arguments(arguments)
        for version in self._versions:
            result = version(*plain)
            if result is not NotImplemented:
                return result
        version = self._make(types)
        result = version(*plain)
        if result is NotImplemented:
            raise TypeError(f"kernel {self._function.__name__} does not take the arguments {types} it was compiled for")
        self._versions.append(version)
        return result

    @property
    def _numba_type_(self) -> Any:
        """Type by which Numba knows this kernel when it compiles another one that calls it."""
        return self._callee._numba_type_

    @functools.cached_property
    def _callee(self) -> Any:
        from traces.kernel_compiler import callable_by_kernels

        return callable_by_kernels(self._function)

    def _make(self, types: tuple[ArgumentType, ...]) -> Callable[..., object]:
        """Return the version for arguments of these types: from its file, or compiled."""
        key, path = self._place(types)
        if path is not None:
            version = _version_of_file(key, path)
            if version is not None:
                return version
        from traces.kernel_compiler import compile_kernel

        content, needs_numba = compile_kernel(self._function, types)
        payload = bytes([needs_numba]) + content
        if path is not None:
            _keep(key, path, payload)
        return load_kernel(payload)

    def _place(self, types: tuple[ArgumentType, ...]) -> tuple[bytes, Path | None]:
        """Return what a version depends on beside the folder's name, and its file, if there is a folder."""
        function = self._function
        parts = (function.__module__, function.__qualname__, types, *processor(), sys.implementation.cache_tag)
        key = "\0".join(map(str, parts)).encode()
        folder = _cache_folder(Path(sys.modules[function.__module__].__file__ or "").parent)
        name = f"{function.__name__}-{hashlib.sha256(key).hexdigest()[:32]}{SUFFIX}"
        return key, folder and folder / name


def _version_of_file(key: bytes, path: Path) -> Callable[..., object] | None:
    """Return the version in a file, or None if there is none that can be used; remove a damaged file."""
    content = _trusted_content(path)
    if content is None:
        return None
    checksum, payload = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    with contextlib.suppress(Exception):  # what LLVM cannot load is as good as damaged
        if checksum == hashlib.sha256(key + payload).digest():
            return load_kernel(payload)
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def _keep(key: bytes, path: Path, payload: bytes) -> None:
    """Write the file of a version; a disk that is full or read-only costs a compilation in each process, no more."""
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


@cache
def _cache_folder(package: Path) -> Path | None:
    digest = hashlib.sha256(source_digest(package).encode())
    for source in (*sorted(Path(__file__).parent.glob("kernel_*.py")), *map(_version_file, ("numba", "llvmlite"))):
        digest.update(source.read_bytes())
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


def _version_file(package: str) -> Path:
    """Return the file of an installed package that states its version; reading it is faster than its metadata."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"{package} must be installed")
    return Path(spec.origin).with_name("_version.py")


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
