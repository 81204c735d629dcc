"""The container: read back bit-exact, its size the file's, damage noticed."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from compress import CompressedModel, ContainerReader
from compress.container.bytes_io import varint
from compress.container.layer_coding import CodingChoice
from tests.layers import Case, cases
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement


def drawn_model() -> CompressedModel:
    stream = np.random.default_rng(0)
    codebook = np.concatenate([[0], stream.normal(size=15)]).astype(np.float32)
    layers = []
    for name, rows, columns in (("conv", 6, 9), ("fc", 10, 30)):
        codes = (stream.integers(1, 16, (rows, columns)) * (stream.random((rows, columns)) < 0.3)).astype(np.uint8)
        bias = stream.integers(0, 16, rows).astype(np.uint8) if name == "fc" else None
        layers.append(CompressedLayer(name, codes, codebook, bias))
    tensors = {
        "bn.weight": np.linspace(0.5, 1, 6, dtype=np.float32) + np.float32(1e-3),
        "bn.bias": np.arange(6) / 4,
        "bn.running_var": np.ones(6),
        "bn.num_batches": np.array(7),
    }
    return CompressedModel(
        layers, [(6, 1, 3, 3), (10, 30)], tensors=tensors, buffers=["bn.running_var", "bn.num_batches"]
    )


def network_model() -> CompressedModel:
    """Return a model of which every part is one that version 2 cannot hold."""
    codebook = np.array([0, 0.1, -0.2, 1.3], dtype=np.float32)
    layers = [
        CompressedLayer(name, (np.arange(rows * columns) % 7 % 4).reshape(rows, columns).astype(np.uint8), codebook)
        for name, rows, columns in (("in_out", 3, 5), ("up", 16, 2), ("row", 1, 7))
    ]
    layers[1] = replace(layers[1], bias=np.arange(16, dtype=np.uint8) % 4)
    arrangements = [
        Arrangement((5, 3), (1, 0), 1),
        Arrangement((2, 2, 2, 4), (0, 2, 3, 1), 3),
        Arrangement((1, 7), (0, 1), 1),
    ]
    tensors = {
        "mask": np.triu(np.full((6, 6), -np.inf), 1),
        "nan": np.array([np.nan, 1.1, -0.0], dtype=np.float32),
        "wide": np.array([0.1, 1e300]),
        "allowed": np.tril(np.ones((8, 8), dtype=bool)),
        "allowed.now": np.array(True),
        "bfloat": np.array([0x0DA2 << 16, 0x7216 << 16], dtype=np.uint32).view(np.float32),
        "ids": np.arange(300, dtype=np.int32),
        "in_out.bias": np.array([0.1, 0.2, 0.3]),
        "empty": np.zeros((0, 3), dtype=np.uint16),
    }
    for dtype in map(np.dtype, ("int8", "int16", "int64", "uint8", "uint16", "uint32", "uint64")):
        tensors[dtype.name] = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 1], dtype=dtype)
    return CompressedModel(
        layers,
        [(5, 3), (4, 2, 2, 2), (7,)],
        tensors=tensors,
        buffers=["mask", "allowed", "ids"],
        arrangements=arrangements,
        graph=b"a graph of operations, " * 20,
    )


def several_codebooks_model() -> CompressedModel:
    """Return a model of layers that only version 4 can hold."""
    stream = np.random.default_rng(1)

    def layer(name: str, rows: int, numbers: Any, **given: Any) -> CompressedLayer:
        codebooks = stream.normal(size=(int(numbers.max()) + 1, 8)).astype(np.float16).astype(np.float32)
        codebooks[:, 0] = 0
        codes = (stream.integers(1, 8, (rows, 6)) * (stream.random((rows, 6)) < 0.5)).astype(np.uint8)
        return CompressedLayer(name, codes, codebooks, row_codebooks=numbers.astype(np.uint16), **given)

    return CompressedModel(
        [
            layer("in_turn", 11, np.arange(11) % 4, bias=np.arange(11, dtype=np.uint8) % 8),
            layer("listed", 9, np.array([2, 0, 0, 1, 2, 2, 4, 3, 3]), activation_threshold=0.1),
            replace(drawn_model().layers[0], activation_threshold=2.5),
        ],
        graph=b"a graph",
    )


def assert_same(first: CompressedModel, second: CompressedModel) -> None:
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    for what in ("shapes", "weight_names", "bias_names", "buffers", "arrangements", "graph"):
        assert getattr(first, what) == getattr(second, what)
    assert list(first.tensors) == list(second.tensors)
    for name, values in first.tensors.items():
        assert values.dtype == second.tensors[name].dtype
        assert values.shape == second.tensors[name].shape
        assert values.tobytes() == second.tensors[name].tobytes()
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        assert ours.codes.dtype == theirs.codes.dtype
        assert np.array_equal(ours.codes, theirs.codes)
        assert ours.codebook.tobytes() == theirs.codebook.tobytes()
        assert ours.codebook.shape == theirs.codebook.shape
        numbers = [None if layer.row_codebooks is None else layer.row_codebooks.tolist() for layer in (ours, theirs)]
        assert numbers[0] == numbers[1]
        assert ours.activation_threshold == theirs.activation_threshold
        biases = [None if layer.bias is None else layer.bias.tolist() for layer in (ours, theirs)]
        assert biases[0] == biases[1]


def test_what_is_saved_is_loaded_bit_exact_and_the_size_is_the_file_s(tmp_path: Path) -> None:
    model = drawn_model()
    path = tmp_path / "deep" / "model.dc"
    model.save(path)
    found = CompressedModel.load(path)
    assert_same(found, model)
    assert found.size_bytes == model.size_bytes == os.path.getsize(path)
    assert found.parameter_bytes == 4 * (6 * 9 + 10 * 30 + 10 + 6 + 6)
    assert found.compression_ratio == found.parameter_bytes / os.path.getsize(path)
    found.save(str(path))
    assert CompressedModel.load(str(path)).to_bytes() == model.to_bytes()
    assert path.read_bytes() == model.to_bytes()


def test_the_size_report_adds_up_to_the_file() -> None:
    model = drawn_model()
    report = model.size_report
    assert report.total == len(model.to_bytes())
    assert [layer.name for layer in report.layers] == ["conv", "fc"]
    conv, last = report.layers
    assert (conv.bias, conv.codebook, conv.parameters) == (0, 60, 54)
    assert last.bias > 0
    assert last.kept == np.count_nonzero(model.layers[1].codes)
    assert report.tensors > 6 * 4
    assert -0.05 < last.above_entropy < 0.2
    rounded = CompressedLayer("conv", model.layers[0].codes, model.layers[0].codebook.astype(np.float16))
    assert CompressedModel([rounded]).size_report.layers[0].codebook == 30


def test_tied_weights_are_stored_once() -> None:
    layer = drawn_model().layers[1]
    model = CompressedModel([layer], weight_names=[["embedding.weight", "decoder.weight"]], bias_names=["decoder.bias"])
    found = CompressedModel.from_bytes(model.to_bytes())
    assert_same(found, model)
    parameters = found.decoded_parameters()
    assert list(parameters) == ["embedding.weight", "decoder.weight", "decoder.bias"]
    assert found.parameter_bytes == 4 * 310


def test_one_layer_is_read_without_the_others(tmp_path: Path) -> None:
    model = drawn_model()
    model.save(tmp_path / "model.dc")
    content = bytearray((tmp_path / "model.dc").read_bytes())
    content[-1] ^= 1  # the last tensor
    (tmp_path / "damaged.dc").write_bytes(content)
    with ContainerReader(tmp_path / "damaged.dc") as reader:
        assert reader.names == ["conv", "fc"]
        np.testing.assert_array_equal(reader.layer("fc").codes, model.layers[1].codes)
        with pytest.raises(InputError, match="holds no layer 'fc2'; its layers are conv, fc"):
            reader.layer("fc2")
        with pytest.raises(InputError, match="the checksum of the other tensors must be"):
            reader.tensors()


@settings(deadline=None, max_examples=150)
@given(cases())
def test_odd_layers_are_read_back(case: Case) -> None:
    layer, _, config = case
    model = CompressedModel([layer], coding=CodingChoice(index_bits=config.index_bits))
    assert model.size_report.total == model.size_bytes
    assert_same(CompressedModel.from_bytes(model.to_bytes()), model)


def test_a_model_does_not_change_with_what_its_caller_holds() -> None:
    drawn = drawn_model()
    layers, tensors = drawn.layers, {name: values.copy() for name, values in drawn.tensors.items()}
    names, shapes, coding = [["a.weight"], ["b.weight"]], [list(shape) for shape in drawn.shapes], [CodingChoice()] * 2
    model = CompressedModel(layers, shapes, weight_names=names, tensors=tensors, coding=coding)
    content = model.to_bytes()
    changes: list[Callable[[], object]] = [
        layers.pop,
        model.layers.clear,
        names[0].clear,
        shapes[0].clear,
        tensors.clear,
        lambda: coding.append(CodingChoice(index_bits=1)),
        *(functools.partial(values.fill, 0) for values in tensors.values()),
        lambda: model.decoded_parameters()["bn.weight"].fill(0),
    ]
    for change in reversed(changes):
        change()
    for refused in (
        lambda: model.tensors.clear(),  # type: ignore[attr-defined]
        lambda: model.tensors["bn.weight"].fill(0),
        lambda: model.layers[0].codes.fill(0),
        lambda: setattr(model, "coding", ()),
    ):
        with pytest.raises((AttributeError, ValueError)):
            refused()
    again = CompressedModel(model.layers, model.shapes, weight_names=model.weight_names, tensors=model.tensors)
    assert again.to_bytes() == model.to_bytes() == content
    assert model.size_bytes == len(content)
    assert len(model.layers) == 2
    copied = pickle.loads(pickle.dumps(model))
    assert copied.to_bytes() == copy.deepcopy(model).to_bytes() == content


def test_every_flipped_byte_is_noticed() -> None:
    content = drawn_model().to_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x40
        with pytest.raises(InputError):
            CompressedModel.from_bytes(bytes(damaged))


def test_every_cut_and_every_appendix_is_noticed() -> None:
    content = drawn_model().to_bytes()
    for length in range(len(content)):
        with pytest.raises(InputError, match="cut off"):
            CompressedModel.from_bytes(content[:length])
    with pytest.raises(InputError, match=re.escape(f"states {len(content):,} bytes; found {len(content) + 1:,}")):
        CompressedModel.from_bytes(content + b"\0")


def test_damage_gets_a_sentence_with_the_file_s_name(tmp_path: Path) -> None:
    path = tmp_path / "model.dc"
    with pytest.raises(InputError, match=r"model\.dc: there is no such container file"):
        CompressedModel.load(path)
    content, report = drawn_model().to_bytes(), drawn_model().size_report
    place = report.header + report.layers[0].total + 10  # in the second layer
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(InputError, match=r"model\.dc: the checksum of layer 'fc' must be .* damaged; copy it again"):
        CompressedModel.load(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match=r"a container starts with .* another kind of file"):
        CompressedModel.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        CompressedModel.load(tmp_path)


def container(*sections: tuple[int, bytes, bytes], version: int = 2) -> bytes:
    """Return a container of these sections (kind, name, content) with valid checksums."""
    directory = varint(len(sections))
    for kind, name, content in sections:
        directory += bytes([kind]) + varint(len(name)) + name + varint(len(content))
        directory += struct.pack("<I", zlib.crc32(content))
    header = struct.pack("<8sHI", b"\x89EIEDC\r\n", version, len(directory))
    checksum = struct.pack("<I", zlib.crc32(header + directory))
    return header + checksum + directory + b"".join(content for _, _, content in sections)


def test_another_version_is_refused() -> None:
    with pytest.raises(InputError, match="reads versions 2, 3, 4 of the container; found version 9"):
        CompressedModel.from_bytes(container((1, b"fc", LAYER), version=9))


def layer_section() -> bytes:
    """Return the content of a layer named fc: [[1, 0, 3], [0, 2, 0]], 2 bits a code, gaps of 2 bits, by rows."""
    codes = np.array([[1, 0, 3], [0, 2, 0]], dtype=np.uint8)
    layer = CompressedLayer("fc", codes, np.array([0, 0.5, 1, 2], dtype=np.float32))
    model = CompressedModel([layer], coding=CodingChoice(index_bits=2, scan_order="rows"))
    return model.to_bytes()[-model.size_report.layers[0].total :]


LAYER = layer_section()
# weight_bits 0, flags 1, names 2, name 3, dimensions 4, rows 5, columns 6, codebook 7 to 12, order 13, width 14,
# entries 15, code tables and streams from 16 on


def put(place: int, *values: int) -> bytes:
    """Return the layer with other bytes from a place on."""
    return LAYER[:place] + bytes(values) + LAYER[place + len(values) :]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (container((1, b"fc", put(0, 9))), "weight_bits=9, flags=4"),
        (container((1, b"fc", put(0, 0))), "weight_bits=0, flags=4"),
        (container((1, b"fc", put(1, 16))), "weight_bits=2, flags=16"),
        (container((1, b"fc", put(1, 12))), "weight_bits=2, flags=12"),
        (container((1, b"fc", put(2, 0))), "0 names"),
        (container((1, b"fc", put(3, 200, 200, 1))), "a name of 25,672 bytes; up to 4,096 are possible"),
        (container((1, b"fc", put(3, 1, 255))), "'utf-8' codec can't decode byte"),
        (container((1, b"fc", put(4, 9))), "9 dimensions; up to 8 are possible"),
        (container((1, b"fc", put(5, 0))), "weights of shape [0, 3]"),
        (container((1, b"fc", LAYER[:4] + b"\2" + b"\xff" * 4 + b"\x7f" + LAYER[6:])), "up to 1,073,741,824 are"),
        (container((1, b"fc", LAYER[:5] + b"\xff" * 10 + LAYER[6:])), "a number has more than 63 bits"),
        (container((1, b"fc", put(13, 3))), "unknown scan order 3"),
        (container((1, b"fc", put(14, 9))), "gaps of 9 bits"),
        (container((1, b"fc", put(15, 7))), "7 entries in 6 weights"),
        (container((1, b"fc", put(6, 1))), "3 entries in 2 weights"),
        (container((1, b"fc", put(16, 0xF0))), "a code table goes past its 4 symbols"),
        (container((1, b"fc", put(16, 0x33))), "make no complete prefix code"),
        (container((1, b"fc", LAYER + b"\0")), "bytes after the end"),
        (container((1, b"fc", LAYER[:-1])), "must follow byte"),
        (container((1, b"fc", LAYER[:20])), "must follow byte"),
        (container((1, b"fc", b"")), "2 bytes must follow byte 0; found 0"),
        (container((1, b"", LAYER)), "a layer's name must be printable text"),
        (container((1, b"fc", LAYER), (1, b"fc", LAYER)), "section 'fc' of kind 1, unknown or there twice"),
        (container((3, b"fc", LAYER)), "section 'fc' of kind 3, unknown or there twice"),
        (container(), "no layer"),
        (container((2, b"", b"\0")), "no layer"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\0\1x\0")), "1 bytes must follow byte 5"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\5\1x\0\0")), "a name of 1 bytes"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\0\1x\4\0")), "tensor 'x' of form 4 and shape []"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\0\1x\2\1\xff\xff\xff\xff\x7f")), "and shape [34359738367]"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\0\1x\0\0\0\0\xc0\x7f")), "every value must be finite"),
        (container((1, b"fc", LAYER), (2, b"", b"\1\0\x09fc.weight\2\0\0\0\0\0")), "stored once; found fc.weight"),
        (container((1, b"fc", LAYER), (2, b"", b"\0\0")), "1 bytes after the end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_container_can_hold_is_refused_though_the_checksums_are_right(content: bytes, sentence: str) -> None:
    assert CompressedModel.from_bytes(container((1, b"fc", LAYER))).layers[0].codes.tolist() == [[1, 0, 3], [0, 2, 0]]
    with pytest.raises(InputError, match="container: the container is invalid: .*" + re.escape(sentence)):
        CompressedModel.from_bytes(content)


def test_layers_that_make_no_model_are_refused() -> None:
    layer = drawn_model().layers[0]
    with pytest.raises(InputError, match="layers must be CompressedLayers; found ndarray"):
        CompressedModel([layer.codes])  # type: ignore[list-item]
    with pytest.raises(InputError, match="names of up to 4,096 bytes"):
        CompressedModel([CompressedLayer("x" * 65_536, layer.codes, layer.codebook)])
    with pytest.raises(InputError, match="shape must be whole numbers; found"):
        CompressedModel([layer], [(6.0, 9)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="must have 2 to 8 dimensions"):
        CompressedModel([layer], [(6, 9, 1, 1, 1, 1, 1, 1, 1)])
    with pytest.raises(InputError, match=r"found \[-6, -9\]"):
        CompressedModel([layer], [(-6, -9)])
    with pytest.raises(InputError, match=r"each with a name of its own; found \['conv', 'conv'\]"):
        CompressedModel([layer, layer])
    with pytest.raises(InputError, match="at least one layer"):
        CompressedModel([])
    with pytest.raises(InputError, match=r"unroll to \[6, 9\]; found \[9, 6\]"):
        CompressedModel([layer], [(9, 6)])
    with pytest.raises(InputError, match="one of shapes for each layer; found 0 for 1"):
        CompressedModel([layer], [])
    with pytest.raises(InputError, match="index_bits must be a whole number from 1 to 8; found 9"):
        CodingChoice(index_bits=9)
    with pytest.raises(InputError, match="scan_order must be one of rows, columns, interleaved; found 'diagonal'"):
        CodingChoice(scan_order="diagonal")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="coder must be one of huffman, range; found 'zip'"):
        CodingChoice(coder="zip")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_pes=0 must be 1 to 65,536"):
        CodingChoice(num_pes=0)
    with pytest.raises(InputError, match=r"every parameter must be stored once; found conv\.weight twice"):
        CompressedModel([layer], tensors={"conv.weight": np.ones(2)})
    with pytest.raises(InputError, match=r"buffers must be among the tensors; mean are not"):
        CompressedModel([layer], buffers=["mean"])
    with pytest.raises(InputError, match="tensor 'x' must be real numbers of up to 64 bits; found complex128"):
        CompressedModel([layer], tensors={"x": np.ones(2) * 1j})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"weight_names": [()]}, "weight_names must be a list of names for each layer; found [()]"),
        ({"weight_names": ["conv.weight"]}, "a list of names for each layer; found ['conv.weight']"),
        ({"weight_names": "c"}, "weight_names must be a list of names for each layer; found 'c'"),
        ({"weight_names": [("",)]}, "must be text of 1 to 4,096 bytes in UTF-8; found ''"),
        ({"weight_names": [("x" * 4097,)]}, "must be text of 1 to 4,096 bytes in UTF-8; found 'xxx"),
        ({"weight_names": [(3,)]}, "must be text of 1 to 4,096 bytes in UTF-8; found '3'"),
        ({"bias_names": ["\u00e4" * 2049]}, "must be text of 1 to 4,096 bytes in UTF-8"),
        ({"tensors": {"\udc80": np.ones(2)}}, "must be text of 1 to 4,096 bytes in UTF-8"),
        ({"tensors": {"x": np.ones((1,) * 9)}}, "tensor 'x' must have up to 8 dimensions; found 9"),
        ({"graph": b""}, "graph must be 1 to 268,435,456 bytes; found 0 bytes"),
        ({"graph": "text"}, "graph must be 1 to 268,435,456 bytes; found str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_not_be_read_back_is_not_written(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        CompressedModel([drawn_model().layers[0]], **given)


def test_a_container_is_read_and_simulated_without_pytorch(tmp_path: Path) -> None:
    drawn_model().save(tmp_path / "model.dc")
    script = (
        "import sys, numpy; sys.modules['torch'] = None\n"
        "from compress import CompressedModel; from sim import simulate\n"
        f"model = CompressedModel.load({str(tmp_path / 'model.dc')!r})\n"
        "print(simulate(model.layers[1], numpy.ones(30)).cycles)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0


def test_without_constriction_huffman_s_distance_from_the_entropy_is_shown_and_range_coding_is_refused(
    tmp_path: Path,
) -> None:
    pytest.importorskip("constriction", reason="needs the extra 'range'")
    drawn_model().save(tmp_path / "huffman.dc")
    drawn_model().coded(CodingChoice(coder="range")).save(tmp_path / "range.dc")
    shown = [f"{size.above_entropy:+.1%}" for size in drawn_model().size_report.layers]
    script = "import sys; sys.modules['constriction'] = None; from compress.__main__ import main, run; run(main)"
    for name, code, sentence in (
        ("huffman.dc", 0, "above entropy"),
        ("range.dc", 1, "needs the package constriction; install the extra: pip install 'eie-codesign[range]'"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, "show", str(tmp_path / name)],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert bool(done.returncode) == bool(code)
        assert sentence in " ".join((done.stdout + done.stderr).split())
        if not code:
            assert all(each in done.stdout for each in shown)
