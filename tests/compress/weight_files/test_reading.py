"""Parameters from files that need no PyTorch: .npz, .safetensors, .h5, models in several files."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import compress_parameters, read_parameters
from traces import InputError, write_npz

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".bin", ""])
def test_arrays_are_read_and_those_without_numbers_are_left_out_by_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"gewichte-ü{suffix}"
    objects = np.array([{}], dtype=object)
    with path.open("wb") as file:
        arrays: dict[str, Any] = {"fc.weight": WEIGHT, "größe": np.ones(2, ">f4"), "kind": objects}
        np.savez(file, **arrays, name=np.array(["a"]), wave=np.ones(2) * 1j)
    found = read_parameters(path)
    assert list(found) == ["fc.weight", "größe"]
    np.testing.assert_array_equal(found["fc.weight"], WEIGHT)
    assert found.left_out == {
        "kind": "Python objects, no numbers",
        "name": "str32 values, which are no real numbers",
        "wave": "complex128 values, which are no real numbers",
    }
    with pytest.raises(InputError, match="key has no effect, since only PyTorch checkpoints have keys; leave it out"):
        read_parameters(path, "model")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "state_dict."])
def test_a_prefix_that_all_names_carry_is_taken_away_and_named(prefix: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "all.npz", {prefix + "fc.weight": WEIGHT, prefix + "fc.bias": WEIGHT[:, 0]})
    found = read_parameters(tmp_path / "all.npz")
    assert list(found) == ["fc.weight", "fc.bias"]
    assert found.notes == (f"The prefix {prefix!r}, which every name carries, is taken away.",)
    write_npz(tmp_path / "some.npz", {prefix + "fc.weight": WEIGHT, "scale": WEIGHT[0]})
    found = read_parameters(tmp_path / "some.npz")
    assert list(found) == [prefix + "fc.weight", "scale"]
    assert not found.notes


def test_an_archive_that_states_more_values_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + bytes(100))
    with pytest.raises(InputError, match=r"huge\.npz: w: the content of this file of \d+ bytes may take at most"):
        read_parameters(tmp_path / "huge.npz")


def test_an_entry_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("fc.weight.npy", "text")
    with pytest.raises(InputError, match=r"fc\.weight: must be an \.npy array of version 1 to 3"):
        read_parameters(tmp_path / "net.npz")


def test_safetensors_of_any_type_are_read_exactly(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="needs the package safetensors")
    half = (WEIGHT * np.float32(0.3)).view(np.uint32) & 0xFFFF0000
    entries = {
        "half.weight": ("BF16", [3, 4], (half >> 16).astype("<u2").tobytes()),
        "wide.weight": ("F64", [3, 4], WEIGHT.astype("<f8").tobytes()),
        "narrow": ("F16", [4], WEIGHT[0].astype("<f2").tobytes()),
        "mask": ("BOOL", [2], b"\0\1"),
        "eight": ("F8_E4M3", [2], b"\0\1"),
    }
    content, header = b"", {}
    for name, (dtype, shape, values) in entries.items():
        offsets = [len(content), len(content) + len(values)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        content += values
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + content
    (tmp_path / "net.pt").write_bytes(content)
    found = read_parameters(tmp_path / "net.pt")
    types = {name: values.dtype.name for name, values in found.items()}
    assert types == {"half.weight": "float32", "wide.weight": "float64", "narrow": "float16", "mask": "bool"}
    np.testing.assert_array_equal(found["half.weight"].view(np.uint32), half)
    np.testing.assert_array_equal(found["wide.weight"], WEIGHT)
    assert found["mask"].tolist() == [False, True]
    assert found.left_out == {"eight": "F8_E4M3 values, which NumPy has not"}
    for damaged in (content[:-3], content[:40]):
        (tmp_path / "net.pt").write_bytes(damaged)
        with pytest.raises(InputError, match="must be a whole safetensors file; it is cut off or damaged"):
            read_parameters(tmp_path / "net.pt")


def test_a_model_in_several_files_is_read_by_its_index(tmp_path: Path) -> None:
    write_npz(tmp_path / "one.npz", {"a.weight": WEIGHT})
    write_npz(tmp_path / "two.npz", {"b.weight": WEIGHT + 1})
    index = tmp_path / "model.index.json"
    index.write_text(
        json.dumps({"metadata": {"total_size": 96}, "weight_map": {"a.weight": "one.npz", "b.weight": "two.npz"}})
    )
    assert list(read_parameters(index)) == ["a.weight", "b.weight"]
    index.write_text(json.dumps({"weight_map": {"a.weight": "../one.npz"}}))
    with pytest.raises(InputError, match=r"must name files of its own folder; found '\.\./one\.npz'"):
        read_parameters(index)
    index.write_text('{"weight_map": [')
    with pytest.raises(InputError, match=r"index\.json: must be JSON"):
        read_parameters(index)
    (tmp_path / "two.npz").unlink()
    index.write_text(json.dumps({"weight_map": {"a.weight": "one.npz", "b.weight": "two.npz"}}))
    with pytest.raises(InputError, match=r"two\.npz: there is no such file"):
        read_parameters(index)


def test_a_keras_file_is_read_and_its_kernels_get_outputs_as_rows(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the package h5py")
    with h5py.File(tmp_path / "net.bin", "w") as file:
        weights = file.create_group("model_weights")
        weights["dense/kernel:0"], weights["dense/bias:0"] = WEIGHT, WEIGHT[0]
        weights["note"] = "text"
        file["optimizer_weights/m"] = WEIGHT
    found = read_parameters(tmp_path / "net.bin")
    assert sorted(found) == ["dense/bias:0", "dense/kernel:0"]
    assert found.left_out == {"note": "object values, which are no real numbers"}
    assert found.notes == ("The weights are those of the Keras model (model_weights).",)
    model, _ = compress_parameters(found)
    assert (model.layers[0].name, model.layers[0].codes.shape) == ("dense", (4, 3))
    assert model.state()["dense/kernel:0"].shape == (3, 4)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("fc.weight", (10**5, 10**5), "f4")
    with pytest.raises(
        InputError, match=r"dataset 'fc\.weight' must hold its values, .*\[100000, 100000\] and holds 0"
    ):
        read_parameters(tmp_path / "huge.h5")


@pytest.mark.parametrize(
    ("package", "content"),
    [("h5py", b"\x89HDF\r\n\x1a\n"), ("safetensors", b"\x10\0\0\0\0\0\0\0{")],
)
def test_a_missing_package_is_named(
    package: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.x").write_bytes(content)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"needs the package {package}; install"):
        read_parameters(tmp_path / "net.x")


def test_every_error_of_a_cut_file_is_a_sentence(tmp_path: Path) -> None:
    write_npz(tmp_path / "net.npz", {"fc.weight": WEIGHT})
    content = (tmp_path / "net.npz").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.npz: "):
            read_parameters(tmp_path / "cut.npz")
