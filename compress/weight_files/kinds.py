"""Kind of a file of weights, told by its content and never by its suffix."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from compress.container.sections import MAGIC
from traces import InputError
from traces.files.matrix_market import BANNER as MATRIX_MARKET_BANNER
from traces.files.npz import ZIP_DAMAGES, check_members

Kind = Literal["npz", "torch", "safetensors", "hdf5", "onnx", "shards"]

_READABLE = "weights come from PyTorch (torch.save), .npz, .safetensors, .h5 and .onnx files"
_RESAVE = "load it where it was made and write torch.save(module.state_dict(), FILE)"
_DECOMPRESS = "decompress it and give the file inside"
_UNREADABLE = (  # beginnings of files that are recognised and not read, with the remedy
    (b"GGUF", "a GGUF file, whose weights are quantised already", "give the weights that it was made from"),
    (MAGIC, "a compressed container", "read it with CompressedModel.load, or turn it back with unpack"),
    (b"version https://git-lfs", "a git-lfs pointer in place of the file", "fetch the file itself with: git lfs pull"),
    (
        b"\x93NUMPY",
        "a single array without a name (.npy)",
        "save it by name with numpy.savez",
    ),
    (
        MATRIX_MARKET_BANNER,
        "a Matrix Market file of one layer",
        "write CompressedModel([traces.read_matrix(FILE)]).save('NAME.dc') in Python",
    ),
    (b"\x1f\x8b", "a gzip archive", _DECOMPRESS),
    (b"BZh", "a bzip2 archive", _DECOMPRESS),
    (b"\xfd7zXZ\x00", "an xz archive", _DECOMPRESS),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _DECOMPRESS),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _DECOMPRESS),
)
_MODEL_FIELDS = {1: 0, 5: 0, 2: 2, 3: 2, 4: 2, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}  # of onnx.ModelProto
_GRAPH_FIELD = 7


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """Return the kind of a file of weights.

    Parameters
    ----------
    path : path
        The file; its suffix plays no part.

    Returns
    -------
    str
        "npz", "torch", "safetensors", "hdf5", "onnx", or "shards" for the index of a model in several files.

    Raises
    ------
    InputError
        If the file cannot be read, or is of a kind whose weights cannot; the sentence names the kind and the remedy.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: must be a file of weights; found a folder{_files_in(path)}")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: must be a regular file; found a device or a pipe; copy its content to a file")
        with path.open("rb") as file:
            return _kind(path, file, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _kind(path: Path, file: BinaryIO, size: int) -> Kind:
    head = file.read(512)
    if not head:
        raise InputError(f"{path}: the file is empty; copy or save it again")
    for magic, found, remedy in _UNREADABLE:
        if head.startswith(magic):
            raise _other(path, found, remedy)
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000:
        return "safetensors"
    if head[4:8] == b"TFL3":
        raise _other(path, "a TFLite model", "give the network that it was converted from, or its ONNX file")
    if head[257:262] == b"ustar":
        raise _other(path, "a tar archive", "unpack it and give the file inside")
    if head.startswith(b"\x80"):
        if b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in head[:64]:  # torch.save before PyTorch 1.6
            return "torch"
        raise _other(path, "a pickle of Python objects, which torch.save did not write", _RESAVE)
    if _is_onnx(file, size):
        return "onnx"
    if head.lstrip().startswith(b"{") and (b'"weight_map"' in head or b'"total_size"' in head):
        return "shards"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _other(path, "a web page, not the file that it links to", "download the file itself")
    if b"\0" not in head and head.isascii():
        start = head.split(b"\n")[0].decode()[:40].strip()
        raise _other(path, f"text that begins with {start!r}", "give the file of weights itself")
    raise InputError(
        f"{path}: must be a whole file of weights; found an unknown kind, or a file that is cut off; {_READABLE}"
    )


def _other(path: Path, found: str, remedy: str) -> InputError:
    return InputError(f"{path}: must be a file of weights; found {found}; {remedy}")


def _files_in(folder: Path) -> str:
    """Return the end of a sentence that names files of a folder to give instead."""
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    if "saved_model.pb" in names:
        return " of TensorFlow (SavedModel); convert it to ONNX with tf2onnx"
    likely = [name for name in names if Path(name).suffix in (".safetensors", ".bin", ".pt", ".pth", ".npz", ".onnx")]
    return f"; give one of its files: {', '.join((likely or names)[:4])}" if names else "; give a file"


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            parts = {name.partition("/")[2] or name for name in names}
            check_members(archive, path, path.stat().st_size)
            damaged = archive.testzip() if "data.pkl" in parts else None  # torch.load checks no checksum
    except InputError:
        raise
    except ZIP_DAMAGES as error:
        raise InputError(
            f"{path}: must be a whole file of weights; found a zip archive (.npz and PyTorch's files are such) that is "
            f"cut off or damaged; copy it again"
        ) from error
    if damaged is not None:
        raise InputError(f"{path}: {damaged} in it does not fit its checksum: the file is damaged; copy it again")
    if "constants.pkl" in parts or any(part.startswith("code/") for part in parts):
        remedy = "load it with torch.jit.load(FILE) and write torch.save(module.state_dict(), OTHER_FILE)"
        raise _other(path, "a TorchScript archive", remedy)
    if "data.pkl" in parts:
        return "torch"
    if any(name.endswith("model.weights.h5") for name in names):
        remedy = "load it in Keras and write model.save('NAME.h5'), or convert it to ONNX"
        raise _other(path, "a Keras archive (.keras)", remedy)
    if any("serialized_exported_program" in name or name.endswith("models/model.json") for name in names):
        remedy = "load it with torch.export.load(FILE) and write torch.save(program.state_dict, OTHER_FILE)"
        raise _other(path, "an exported program of PyTorch (.pt2)", remedy)
    if all(name.endswith(".npy") for name in names):
        return "npz"
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise _other(path, f"a zip archive of {shown}", "unpack it and give the file of weights inside")


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Return True if the whole file has the fields of an onnx.ModelProto, a graph among them."""
    fields = set()
    for field, wire_type, end in _protobuf_fields(file, size):
        if _MODEL_FIELDS.get(field) != wire_type or end > size:
            return False
        fields.add(field)
    return _GRAPH_FIELD in fields


def _protobuf_fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, wire type and end of each outermost field; number 0 for what is no field."""
    place = 0
    while place < size:
        file.seek(place)
        window = file.read(20)
        tag, used = _varint(window)
        value, more = _varint(window[used:])
        if not used or not more or tag & 7 not in (0, 2):
            yield 0, 0, place
            return
        place += used + more + (value if tag & 7 == 2 else 0)
        yield tag >> 3, tag & 7, place


def _varint(window: bytes) -> tuple[int, int]:
    """Return a number in base 128 and its bytes; no bytes if there is none."""
    for used, byte in enumerate(window[:10], start=1):
        if byte < 128:
            return sum((each & 127) << 7 * place for place, each in enumerate(window[:used])), used
    return 0, 0
