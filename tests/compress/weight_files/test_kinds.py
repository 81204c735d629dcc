"""Kinds of files of weights: told by content, and called by their name where they cannot be read."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import read_parameters
from compress.container.sections import MAGIC
from traces import InputError, write_npy, write_npz


def zip_of(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return stream.getvalue()


def tar_of(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


FOREIGN = {
    "matrix-market": (b"%%MatrixMarket matrix", "a Matrix Market file of one layer; write CompressedModel"),
    "gguf": (b"GGUF\3\0\0\0", "a GGUF file, whose weights are quantised already; give the weights that it was made"),
    "container": (MAGIC + bytes(20), "a compressed container; read it with CompressedModel.load"),
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
        "a git-lfs pointer .*; fetch .*git lfs pull",
    ),
    "web page": (b"\n <!DOCTYPE html><html>", "a web page, not the file that it links to; download the file itself"),
    "tflite": (b"\x1c\0\0\0TFL3abc", "a TFLite model; give the network that it was converted from"),
    "gzip": (b"\x1f\x8b\x08\0", "a gzip archive; decompress it and give the file inside"),
    "tar": (tar_of("net.pt"), "a tar archive; unpack it and give the file inside"),
    "torchscript": (
        zip_of("net/data.pkl", "net/code/a.py", "net/constants.pkl"),
        "a TorchScript archive; .*torch.jit.load",
    ),
    "exported": (zip_of("net/archive_format", "net/models/model.json"), "an exported program .*; .*torch.export.load"),
    "keras": (
        zip_of("config.json", "metadata.json", "model.weights.h5"),
        r"a Keras archive \(.keras\); load it in Keras",
    ),
    "zip": (zip_of("net.pt", "readme.txt"), "a zip archive of net.pt, readme.txt; unpack it"),
    "half a zip": (zip_of("a.npy")[:-30], "a zip archive .* that is cut off or damaged; copy it again"),
    "pickle": (
        pickle.dumps({"fc.weight": np.ones((2, 2))}),
        "a pickle of Python objects, which torch.save did not write",
    ),
    "text": (b"Entry not found", "text that begins with 'Entry not found'; give the file of weights itself"),
    "nothing": (b"", "the file is empty; copy or save it again"),
    "noise": (bytes(range(255, 0, -1)), "found an unknown kind, or a file that is cut off; weights come from PyTorch"),
    "half an onnx": (b"\x08\x0a\x3a\xff\x01", "found an unknown kind, or a file that is cut off"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_called_what_it_is_whatever_its_suffix(kind: str, tmp_path: Path) -> None:
    content, sentence = FOREIGN[kind]
    for name in ("net.pt", "net.npz", "net"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            read_parameters(tmp_path / name)


def test_what_is_no_readable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"absent\.pt: there is no such file"):
        read_parameters(tmp_path / "absent.pt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"found a folder; give one of its files: model\.safetensors"):
        read_parameters(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="must be a regular file; found a device or a pipe"):
        read_parameters(tmp_path / "pipe")
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot be read: "):
            read_parameters(name)
    write_npy(tmp_path / "one.npz", np.ones(3))
    os.replace(tmp_path / "one.npz", tmp_path / "net.npz")
    with pytest.raises(InputError, match=r"found a single array without a name \(\.npy\); save it by name with numpy"):
        read_parameters(tmp_path / "net.npz")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    write_npz(tmp_path / "closed.npz", {"fc.weight": np.ones((2, 2))})
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"closed\.npz: cannot be read: Permission denied"):
        read_parameters(tmp_path / "closed.npz")
