"""Readers of IDX, .npy and .npz files, and of image sets."""

from __future__ import annotations

import errno
import gzip
import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import real_file
from tests.soak.zip_files import BOMB_BYTES, Member, archive_of, bomb, npy_begin
from traces import CompressedLayer, InputError, reading_limit
from traces.files.atomic_file import atomic_file, write_atomically
from traces.files.idx import read_idx
from traces.files.images import load_digits, load_images
from traces.files.npz import read_layer, read_layer_and_input, read_npy, read_npz, write_layer, write_npy, write_npz


def idx_bytes(array: Any, type_code: int = 8) -> bytes:
    header = bytes([0, 0, type_code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + bytes(array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.mark.parametrize(
    ("array", "type_code"),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), 0x08),
        (np.arange(-4, 4, dtype=np.int16), 0x0B),
        (np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), 0x0D),
        (np.zeros((0, 5), dtype=np.uint8), 0x08),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_files_are_read_plain_and_gzip(array: Any, type_code: int, compress: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(compress(idx_bytes(array, type_code)))
    found = read_idx(tmp_path / "file")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_a_damaged_idx_file_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "images"
    whole = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    zipped = gzip.compress(whole)
    cases = {
        b"": "an IDX file starts with two zero bytes, a known type and 1 to 8 dimensions; found an empty file",
        b"\x89PNG\r\n": "an IDX file starts with two zero bytes",
        bytes([0, 0, 8, 255]) + bytes(2000): "1 to 8 dimensions; found 00 00 08 ff",
        whole[:10]: "the header must have 16 bytes; the file ends after 10",
        whole[:-1]: "the header states shape (2, 3, 4), so 40 bytes; found 39; the file is cut off or damaged",
        whole + b"\0": "so 40 bytes; found more",
        zipped[:-9]: "the gzip stream must be whole; it is cut off or damaged",
        zipped[:12] + b"\xff" + zipped[13:]: "the gzip stream must be whole",
    }
    for content, sentence in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(sentence)):
            read_idx(path)
    with pytest.raises(InputError, match="there is no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(tmp_path)


def test_a_layer_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    layer = CompressedLayer("drawn", codes, np.linspace(0, 1, 16, dtype=np.float32), codes[:, 1].copy())
    activations = np.array([0, 1, 0, 2], dtype=np.float32)
    write_layer(tmp_path / "drawn.npz", layer, activations)
    found, recorded = read_layer_and_input(tmp_path / "drawn.npz")
    assert found.name == "drawn"
    np.testing.assert_array_equal(found.codes, layer.codes)
    np.testing.assert_array_equal(found.codebook, layer.codebook)
    np.testing.assert_array_equal(found.bias, layer.bias)
    np.testing.assert_array_equal(recorded, activations)
    write_layer(tmp_path / "plain.npz", CompressedLayer("plain", codes, layer.codebook))
    assert read_layer(tmp_path / "plain.npz")[1] is None
    with pytest.raises(InputError, match=r"must hold one recorded input as the array act, float32 \[4\]; found none"):
        read_layer_and_input(tmp_path / "plain.npz")


def test_a_damaged_array_file_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "layer.npz"
    write_npz(path, {"codes": np.ones((2, 2), dtype=np.uint8)})
    with pytest.raises(InputError, match="must hold the arrays codes and codebook; codebook missing; found codes"):
        read_layer(path)
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", whole[:-30], whole[:40], b"text"):
        path.write_bytes(content)
        with pytest.raises(
            InputError,
            match=r"must be a whole \.npy or \.npz file of plain arrays; it is another kind of file, cut off",
        ):
            read_npz(path)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="must be an array of plain numbers; found Python objects, which are not read"):
        read_npy(tmp_path / "objects.npy")
    with pytest.raises(InputError, match="there is no such file"):
        read_npz(tmp_path / "absent.npz")
    write_npy(tmp_path / "one.npy", np.ones(3))
    assert read_npy(tmp_path / "one.npy").tolist() == [1, 1, 1]
    with pytest.raises(InputError, match=r"must be an \.npz file of named arrays"):
        read_npz(tmp_path / "one.npy")


def npy_file(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,", "must state descr (one type of numbers)"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", "must state descr"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,), }", "must state descr"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (3,), }", "must state descr"),
        ("{'descr': '<f4', 'fortran_order': False, 'fortran_order': True, 'shape': ()}", "must state descr"),
        ("{'descr': '<f4', 'fortran_order': False}", "must state descr"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "must state descr"),
        ("{'descr': '<f5', 'fortran_order': False, 'shape': (3,), }", "must state descr"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "found Python objects, which are not read"),
        ("(" * 9000, "must state descr"),
        ("(" * 20_000, "must have at most 10,000 bytes; found 20,000"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }", "must state descr"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,)}", "it takes 1,000,000,000,000"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 1000000000000)}", "it takes 1,000,000,000,000"),
        ("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}", "it takes 1,000,000,000,000"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "must have 12 bytes after its header; found 8"),
        ("{'descr': '|b1', 'fortran_order': False, 'shape': (8,), }", "booleans must be 0 or 1"),
        ("{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", "text must be Unicode"),
    ],
)
def test_a_header_of_an_array_is_no_python_and_states_what_follows(header: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(npy_file(header, b"\xff" * 8))
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_npy(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"shape": (2, 3L,), "fortran_order": False, "descr": "<i2"}',
        "{'descr':'<i2','fortran_order':True,'shape':(2,3)}\n",
    ],
)
def test_headers_of_other_writers_are_read(header: str, tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(npy_file(header, np.arange(6, dtype="<i2").tobytes()))
    np.testing.assert_array_equal(read_npy(path), np.load(path))


@pytest.mark.parametrize("array", [np.float32(2.5), np.zeros((0, 3)), np.eye(3)[:, ::2], np.array(["a", "bc"])])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_of_every_version_come_back(array: Any, version: Any, tmp_path: Path) -> None:
    with (tmp_path / "array.npy").open("wb") as stream:
        np.lib.format.write_array(stream, np.asarray(array), version)
    found = read_npy(tmp_path / "array.npy")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.asarray(array).dtype


def test_an_archive_takes_no_more_than_its_size_allows(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    honest = Member.of(b"honest.npy", npy_begin((4,)) + bytes(4))
    large = bomb(npy_begin((BOMB_BYTES,)))
    few = bomb(npy_begin((4,)))
    cases = {
        "may take at most 67,108,864 bytes in memory; it takes 134,217,": [large],
        "its members must lie one behind the other; found some that overlap": [replace(honest, packed_bytes=10_000)],
        "must have 4 bytes after its header; found 134,217,728": [replace(few, stated_bytes=few.stated_bytes)],
        "its members must not be encrypted; found 'honest.npy'": [replace(honest, flags=1)],
        "must be stored or deflated; found compression method 14": [replace(honest, method=14)],
        "found compression method 12": [replace(honest, method=12)],
        "every member must have a name of its own; found 'honest.npy' twice": [honest, honest],
        "must be a whole .npy or .npz file": [replace(honest, checksum=1)],
    }
    for sentence, members in cases.items():
        path.write_bytes(archive_of(members))
        most = 2**29 if "after its header" in sentence else 2**26
        with pytest.raises(InputError, match=re.escape(sentence)), reading_limit(most):
            read_npz(path)
    path.write_bytes(archive_of([large]))
    with reading_limit(2**29):
        assert read_npz(path)["bomb"].size == BOMB_BYTES


def test_an_input_in_a_layer_file_is_checked(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"codes": np.ones((2, 3), dtype=np.uint8), "codebook": np.arange(2, dtype=np.float32)}
    for act, sentence in (
        (np.array([1, np.nan, 1]), "act must be finite as float32"),
        (np.array([1, 1e39, 1]), "act must be finite as float32"),
        (np.ones(2), "act must be real numbers [3], one for each column; found float64 [2]"),
        (np.array([True, False, True]), "act must be real numbers [3], one for each column; found bool [3]"),
    ):
        write_npz(tmp_path / "layer.npz", {**arrays, "act": act})
        with pytest.raises(InputError, match=re.escape(sentence)):
            read_layer(tmp_path / "layer.npz")


def test_an_idx_file_takes_no_more_than_its_size_allows(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    for lengths in ((2**28,), (0, 2**32 - 1, 2**32 - 1), (2**32 - 1,) * 8):
        header = bytes([0, 0, 8, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths)
        path.write_bytes(gzip.compress(header + bytes(2**20)))
        with pytest.raises(InputError, match="may take at most 67,108,864 bytes in memory"):
            read_idx(path)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 4) + bytes(2**27)))
    with pytest.raises(InputError, match=r"the header states shape \(4,\), so 12 bytes; found more"):
        read_idx(path)


def test_the_digits_are_split_the_same_way_every_time() -> None:
    first, second = load_digits(), load_digits()
    assert first.digest == second.digest
    assert (len(first.train_images), len(first.test_images)) == (1437, 360)
    assert (first.num_pixels, first.num_classes) == (64, 10)
    assert first.train_images.min() == 0
    assert first.train_images.max() == 1


def make_image_folder(folder: Path, images: Any, labels: Any) -> None:
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))


def test_a_folder_of_idx_files_is_an_image_set(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    images = np.array([[[0, 255]], [[51, 0]]], dtype=np.uint8)
    make_image_folder(folder, images, np.array([3, 1], dtype=np.uint8))
    found = load_images(folder)
    assert found.name == "mine"
    assert np.allclose(found.test_images, np.array([[0, 1], [0.2, 0]]))
    assert found.train_labels.tolist() == [3, 1]


def test_an_image_folder_that_does_not_fit_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder that holds IDX files; it cannot be opened: No such file"):
        load_images(tmp_path / "absent")
    with pytest.raises(InputError, match=r"must hold an IDX file named train\*-images-idx\*; found none"):
        load_images(tmp_path)
    make_image_folder(tmp_path, np.zeros((2, 1, 2), dtype=np.uint8), np.zeros(3, dtype=np.uint8))
    with pytest.raises(InputError, match=r"one for each of the 2 images; found uint8 \[3\]"):
        load_images(tmp_path)
    make_image_folder(tmp_path, np.zeros(2, dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    with pytest.raises(InputError, match=r"images must be uint8 \[images, height, width\]"):
        load_images(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(InputError, match="must hold one IDX file named"):
        load_images(tmp_path)


def test_mnist_and_cifar_are_read(data: Path) -> None:
    real_file(data, "mnist", "train-images-idx3-ubyte.gz")
    mnist = load_images(data)
    assert (mnist.train_images.shape, mnist.test_images.shape) == ((60000, 784), (10000, 784))
    assert mnist.num_classes == 10
    real_file(data, "cifar10", "t10k-images-idx4-ubyte.gz")
    cifar = load_images(data / "cifar10")
    assert cifar.train_images.shape == (10000, 3 * 32 * 32)


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    write_atomically(target, b"old")

    def write_and_fail() -> None:
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*; choose another place"):
        write_atomically(tmp_path / "file" / "below", b"")
    with pytest.raises(InputError, match="cannot be written: it is a folder or a device"):
        write_atomically(tmp_path, b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be written: it is a folder or a device"):
        write_atomically(tmp_path / "pipe", b"")


def test_odd_paths_get_a_sentence_and_long_names_are_written(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in (tmp_path / "circle", tmp_path / "null\0byte"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(path, b"")
    write_atomically(tmp_path / ("x" * 250), b"long")
    assert (tmp_path / ("x" * 250)).read_bytes() == b"long"


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    (tmp_path / "file").chmod(0o600)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_disk_that_is_full_gets_a_sentence_and_keeps_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")

    def write_to_a_full_disk() -> None:
        with atomic_file(tmp_path / "file"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="file cannot be written: No space left on device; choose another place"):
        write_to_a_full_disk()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
