"""Readers of layers, images, recorded inputs, graphs and spaces, with mutations that know their structure."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from sim import ArrayConfig, pack
from tests.soak.mutants import HUGE_NUMBERS, Mutate, Reader, changed_bytes, changed_text
from tests.soak.onnx_files import changed_onnx, onnx_files
from tests.soak.zip_files import changed_zip
from traces import Inputs, Network, read_npy, read_npz
from traces.files.deep_compression_net import read_net
from traces.files.eie_directory import read_eie_directory
from traces.files.idx import read_idx
from traces.files.images import load_images
from traces.files.layer_file import open_layer
from traces.files.matrix import layer_from_matrix, read_matrix
from traces.files.prototxt import parse_prototxt
from traces.layer import CompressedLayer

_TYPES = ("|u1", "<u2", ">u2", "<i8", "<u8", "<f2", ">f4", "<f8", "<c8", "|b1", "<U3", "|S2", "<M8[s]", "|O", "|V2")
_PROTOTXT = """name: "small"  # a comment
input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 stride: 2 group: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.0 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "both" type: "Concat" bottom: "pool" bottom: "pool" top: "both" concat_param { axis: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "prob" type: 'Softmax' bottom: "fc" top: "prob" }
"""
_SPACE = """
[hardware]
num_pes = { low = 1, high = 64, factor = 2 }
queue_slots = { low = 2, high = 16, step = 2 }
line_bits = [16, 32, 64]
index_bits = [2, 4]
clock_mhz = { low = 400.0, high = 800.0, log = true }
row_assignment = ["interleaved", "entries"]
memory_mode = "resident"

[compression]
density = { low = 0.05, high = 0.5, log = true }
[compression.layers.fc1]
weight_bits = [2, 4]

[constraints]
max_area_mm2 = 40.8
must_fit = true
whole_lines = false
"""
_FLEET = """
[watch]
max_area_mm2 = 0.5
max_energy_nj = 2000
max_accuracy_loss = 0.01
minimise = "latency_us"

[phone]
max_num_pes = 16
max_file_bytes = 50000
max_sram_bytes_per_pe = 16384
max_output_error = 0.005
"""


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _npz(*unnamed: Any, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, *unnamed, **arrays)
    return stream.getvalue()


def changed_npy(content: bytes, stream: np.random.Generator) -> bytes:
    """Return an array with a word of its header changed and the header's length mended, or with other values."""
    if content[:6] != b"\x93NUMPY" or len(content) < 10:
        return changed_bytes(content, stream)
    begin = 10 + struct.unpack("<H", content[8:10])[0]
    header, values = content[10:begin], content[begin:]
    way = stream.integers(4)
    if way == 0:
        header = changed_text(header, stream)
        return content[:8] + struct.pack("<H", len(header) % 2**16) + header + values
    if way == 1:
        kind = _TYPES[int(stream.integers(len(_TYPES)))]
        lengths = [int(length) for length in stream.choice([0, 1, 2, 3, 5, 2**20, 2**40, 2**62], stream.integers(4))]
        header = repr({"descr": kind, "fortran_order": bool(stream.integers(2)), "shape": tuple(lengths)}).encode()
        return content[:8] + struct.pack("<H", len(header)) + header + values
    if way == 2 and values:
        array = np.frombuffer(bytearray(values), np.uint8)
        place = int(stream.integers(len(array)))
        bad = struct.pack("<f", float(stream.choice([np.nan, np.inf, -0.0, 1e38])))
        huge = HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))].to_bytes(8, "little")
        chosen = np.frombuffer((bad, huge)[int(stream.integers(2))], np.uint8)[: len(array) - place]
        array[place : place + len(chosen)] = chosen
        return content[:begin] + array.tobytes()
    return content[:begin] + changed_bytes(values, stream)


def _packed(files: dict[str, bytes]) -> bytes:
    """Return the files of a folder as one text."""
    return json.dumps({name: content.hex() for name, content in files.items()}).encode()


def _unpacked(content: bytes) -> dict[str, bytes]:
    files: dict[str, str] = json.loads(content)
    return {name: bytes.fromhex(text) for name, text in files.items()}


def _changed_file(by_suffix: dict[str, Mutate], names: tuple[str, ...] = ()) -> Mutate:
    """Return a mutation of packed folders: one file changed, removed, renamed or copied."""

    def mutate(content: bytes, stream: np.random.Generator) -> bytes:
        files = _unpacked(content)
        if not files:
            return content
        name = list(files)[int(stream.integers(len(files)))]
        way = stream.random()
        if way < 0.9 or not names:
            files[name] = by_suffix.get(Path(name).suffix, changed_bytes)(files[name], stream)
        elif way < 0.95:
            del files[name]
        else:
            files[names[int(stream.integers(len(names)))]] = files[name]
        return _packed(files)

    return mutate


def _read_packed(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return a reader of packed folders: the folder is written, read and removed."""

    def read_folder(path: Path) -> object:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            for name, content in _unpacked(path.read_bytes()).items():
                target = Path(folder) / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content)
            return read(Path(folder))

    return read_folder


def changed_numbers(content: bytes, stream: np.random.Generator) -> bytes:
    """Return bytes with one of their 4-byte numbers replaced by a huge, a small or another one of them."""
    if len(content) < 4 or stream.random() < 0.2:
        return changed_bytes(content, stream)
    place, other = (4 * int(stream.integers(len(content) // 4)) for _ in range(2))
    huge = struct.pack("<I", HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))] % 2**32)
    bad = struct.pack("<f", float(stream.choice([np.nan, np.inf, -0.0, 1e38])))
    chosen = (huge, bad, content[other : other + 4])[int(stream.integers(3))]
    return content[:place] + chosen + content[place + 4 :]


@cache
def _layer() -> CompressedLayer:
    draw = np.random.default_rng(1)
    codes = np.where(draw.random((6, 8)) < 0.4, draw.integers(1, 16, (6, 8)), 0).astype(np.uint8)
    return CompressedLayer("layer", codes, np.linspace(0, 3, 16, dtype=np.float32))


def _npy_files() -> list[bytes]:
    arrays = (
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.zeros((0, 3)),
        np.arange(5),
        np.array([True, False]),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.array(["one", "two"]),
        np.array(2.5),
    )
    return [_npy(array) for array in arrays]


def _npz_files() -> list[bytes]:
    stored = io.BytesIO()
    np.savez(stored, first=np.arange(3), second=np.ones((2, 2), dtype=np.float32))
    return [_npz(weights=np.ones((3, 4), dtype=np.float32), labels=np.arange(4), empty=np.zeros(0)), stored.getvalue()]


def _input_files() -> list[bytes]:
    tokens = np.arange(6, dtype=np.int64).reshape(3, 2)
    return [_npz(images=np.ones((3, 4), dtype=np.float32), tokens=tokens), _npz(np.eye(3))]


def _layer_files() -> list[bytes]:
    layer = _layer()
    act = np.arange(8, dtype=np.float32)
    bias = layer.codes[:, 0].copy()
    return [
        _npz(codes=layer.codes, codebook=layer.codebook, act=act),
        _npz(codes=layer.codes, codebook=layer.codebook, bias=bias),
        _npz(codes=layer.codes.astype(np.uint16), codebook=layer.codebook, free_bias=np.ones(6, dtype=np.float32)),
        _npz(codes=layer.codes, codebook=layer.codebook, act=act, activation_threshold=np.float32(2.5)),
        _npz(
            codes=layer.codes,
            codebook=np.stack([layer.codebook, -layer.codebook]),
            row_codebooks=np.array([0, 1, 1, 0, 1, 0], dtype=np.uint16),
            act=act,
            activation_threshold=np.float32(2.5),
        ),
    ]


def _sparse_files() -> list[bytes]:
    files = []
    for form in ("csr", "csc", "coo", "bsr", "dia"):
        stream = io.BytesIO()
        scipy.sparse.save_npz(stream, scipy.sparse.csr_array(_layer().weights()).asformat(form))
        files.append(stream.getvalue())
    return files


def _idx_files() -> list[bytes]:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    contents = [bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape) + images.tobytes()]
    contents.append(bytes([0, 0, 0x0D, 1]) + struct.pack(">I", 3) + np.ones(3, dtype=">f4").tobytes())
    return [*contents, *(gzip.compress(content, mtime=0) for content in contents)]


@cache
def _gzip_bomb() -> bytes:
    return gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**27) + bytes(2**27), mtime=0)


def changed_matrix_text(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a matrix in text with one change; a gzip stream is inflated, changed and deflated again."""
    if content[:2] != b"\x1f\x8b":
        return changed_text(content, stream)
    if stream.random() < 0.02:
        return _gzip_bomb()
    try:
        plain = gzip.decompress(content)
    except Exception:  # a stream that was damaged before
        return content
    return gzip.compress(plain if len(plain) > 2**20 else changed_text(plain, stream), mtime=0)


def _matrix_texts(*texts: str) -> list[bytes]:
    plain = [text.encode() for text in texts]
    return [*plain, *(gzip.compress(content, mtime=0) for content in plain)]


def _matrix_market_files() -> list[bytes]:
    banner = "%%MatrixMarket matrix"
    return _matrix_texts(
        f"{banner} coordinate real general\n% of weights\n3 4 3\n1 2 0.5\n\n3 1 -2e-1\n2 4 7\n",
        f"{banner} coordinate pattern symmetric\n3 3 2\n2 1\n3 3\n",
        f"{banner} coordinate integer skew-symmetric\n3 3 2\n2 1 4\n3 2 -5\n",
        f"{banner} array real general\n2 3\n1\n0\n2.5\n0\n.5\n-1\n",
        f"{banner} array integer symmetric\n2 2\n1\n0\n2\n",
    )


def changed_idx(content: bytes, stream: np.random.Generator) -> bytes:
    """Return an IDX file with another length, type or value; a gzip stream is inflated, changed and deflated again."""
    if content[:2] == b"\x1f\x8b":
        if stream.random() < 0.02:
            return _gzip_bomb()
        try:
            plain = gzip.decompress(content)
        except Exception:  # a stream that was damaged before
            return content
        changed = plain if len(plain) > 2**20 else changed_idx(plain, stream)
        tail = [b"", b"", bytes(3), gzip.compress(b"", mtime=0) * 50, b"more"][int(stream.integers(5))]
        return gzip.compress(changed, mtime=0) + tail
    if len(content) < 8 or stream.random() < 0.3:
        return changed_bytes(content, stream)
    place = 2 + int(stream.integers(2)) if stream.random() < 0.4 else 4
    if place < 4:
        return content[:place] + bytes([int(stream.integers(20))]) + content[place + 1 :]
    return content[:4] + changed_numbers(content[4:], stream)


def _image_folders() -> list[bytes]:
    plain, _, zipped, _ = _idx_files()
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([3, 1])
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte",
    )
    return [_packed(dict(zip(names, (plain, labels, zipped, labels), strict=True)))]


def _net_files() -> list[bytes]:
    net = struct.pack("<2I", 3, 1) + np.arange(256, dtype="<f4").tobytes() + np.ones(3, dtype="<f4").tobytes()
    net += bytes([7, 0, 255, 15 << 4 | 2, 1]) + np.arange(16, dtype="<f4").tobytes()
    net += np.array([3, 4], dtype="<f4").tobytes() + bytes([1, 4])
    return [_packed({"small.net": net, "small.prototxt": _PROTOTXT.encode()})]


def _eie_folders() -> list[bytes]:
    packed = pack(_layer(), ArrayConfig(num_pes=2))
    files = {
        "act.dat": np.arange(8, dtype="<f4").tobytes(),
        "arithm.dat": _layer().codebook.astype("<f4").tobytes(),
    }
    for pe in range(2):
        files[f"ptr/ptr{pe}.dat"] = packed.pointers[:, pe].astype("<u4").tobytes()
        files[f"spm/spm{pe}.dat"] = np.stack(packed.sparse_matrix_image(pe), axis=1).astype("<u4").tobytes()
    return [_packed(files)]


def _use_layer(layer: CompressedLayer) -> float:
    kept = layer.thresholded(np.ones(layer.columns, dtype=np.float32))
    return float(layer.weights().sum() + layer.bias_values().sum() + layer.density + kept.sum())


def _read_npz(path: Path) -> None:
    for values in read_npz(path).values():
        assert values.tobytes() is not None
        if values.dtype.kind in "biufc":
            values.sum()


def _read_npy(path: Path) -> None:
    array = read_npy(path)
    array.ravel().tolist()  # zero lengths would make millions of empty lists
    if array.dtype.kind in "biuf" and array.ndim == 2 and array.size:
        _use_layer(layer_from_matrix("layer", array))


def _read_inputs(path: Path) -> None:
    inputs = Inputs.of(path)
    assert len(inputs.fingerprints()) == len(inputs)
    assert inputs.described()
    if len(inputs):
        assert isinstance(inputs.differ, bool)
        assert len(inputs[:1]) == 1


def _read_net(folder: Path) -> None:
    found = read_net(folder / "small.net", folder / "small.prototxt")
    for layer in found.layers:
        _use_layer(layer)
    assert found.network.inputs


def _read_eie(folder: Path) -> None:
    layer, activations = read_eie_directory(folder)
    _use_layer(layer)
    activations.sum()


def _read_images(folder: Path) -> None:
    images = load_images(folder)
    assert images.digest
    assert images.num_classes > 0


def _read_onnx(path: Path) -> None:
    network = Network.open(path)
    assert all(layer.places.min() >= 0 for layer in network.layers)
    assert all(entry.count for entry in network.off_array.values())
    assert set(network.weights) <= set(network.parameters)
    assert network.graph_bytes()


def _read_space(path: Path) -> None:
    from designs import Space

    space = Space.load(path)
    values = {name: parameter.at(0.5) for name, parameter in space.parameters(["fc1", "fc2"]).items()}
    try:
        space.refuses(values)
        space.design(values)
    finally:
        assert Space.from_dict(space.to_dict()).to_dict() == space.to_dict()


def _read_fleet(path: Path) -> None:
    from designs.codesigns.fleet import read_fleet

    for target in read_fleet(path):
        assert target.bounds is not None


_CHANGED_ARRAYS = [changed_zip(changed_npy), changed_zip(changed_npy), changed_bytes]
_MATRIX_TEXT: tuple[list[Mutate], Callable[[Path], object]] = (
    [changed_matrix_text, changed_bytes],
    lambda path: _use_layer(open_layer(path)[0]),
)

READERS: list[Reader] = [
    Reader("npy", ".npy", _npy_files, [changed_npy, changed_bytes], _read_npy),
    Reader("npz", ".npz", _npz_files, _CHANGED_ARRAYS, _read_npz),
    Reader("inputs", ".npz", _input_files, _CHANGED_ARRAYS, _read_inputs),
    Reader("layer", ".npz", _layer_files, _CHANGED_ARRAYS, lambda path: _use_layer(open_layer(path)[0])),
    Reader("sparse", ".npz", _sparse_files, _CHANGED_ARRAYS, lambda path: _use_layer(read_matrix(path))),
    Reader("mask", ".smtx", lambda: _matrix_texts("3, 4, 4\n0 1 1 4 \n2 0 1 3 \n"), *_MATRIX_TEXT),
    Reader("matrix-market", ".mtx", _matrix_market_files, *_MATRIX_TEXT),
    Reader("idx", ".idx", _idx_files, [changed_idx, changed_bytes], lambda path: read_idx(path).ravel().tolist()),
    Reader(
        "images",
        ".json",
        _image_folders,
        [_changed_file({"": changed_idx, ".gz": changed_idx})],
        _read_packed(_read_images),
    ),
    Reader(
        "prototxt",
        ".prototxt",
        lambda: [_PROTOTXT.encode()],
        [changed_text],
        lambda path: str(parse_prototxt(path.read_text("utf-8", "replace"))),
    ),
    Reader(
        "net",
        ".json",
        _net_files,
        [_changed_file({".net": changed_numbers, ".prototxt": changed_text})],
        _read_packed(_read_net),
    ),
    Reader(
        "eie",
        ".json",
        _eie_folders,
        [_changed_file({".dat": changed_numbers}, ("ptr/ptr2.dat", "spm/spm2.dat", "act.dat", "spm/spmx.dat"))],
        _read_packed(_read_eie),
    ),
    Reader("onnx", ".onnx", onnx_files, [changed_onnx, changed_onnx, changed_bytes], _read_onnx),
    Reader("space", ".toml", lambda: [_SPACE.encode()], [changed_text], _read_space),
    Reader("fleet", ".toml", lambda: [_FLEET.encode()], [changed_text], _read_fleet),
]
