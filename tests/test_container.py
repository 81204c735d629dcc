"""The container: read back bit-exact, its size the file's, damage noticed."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from compress import CompressedModel
from tests.layers import Case, cases
from traces import CompressedLayer, InputError


def drawn_model() -> CompressedModel:
    stream = np.random.default_rng(0)
    codebook = np.concatenate([[0], stream.normal(size=15)]).astype(np.float32)
    layers = []
    for name, rows, columns in (("conv", 6, 9), ("fc", 10, 30)):
        codes = (stream.integers(1, 16, (rows, columns)) * (stream.random((rows, columns)) < 0.3)).astype(np.uint8)
        bias = stream.integers(0, 16, rows).astype(np.uint8) if name == "fc" else None
        layers.append(CompressedLayer(name, codes, codebook, bias))
    return CompressedModel(layers, [(6, 1, 3, 3), (10, 30)], index_bits=3)


def assert_same(first: CompressedModel, second: CompressedModel) -> None:
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert (first.shapes, first.index_bits) == (second.shapes, second.index_bits)
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        assert ours.codes.dtype == theirs.codes.dtype
        assert np.array_equal(ours.codes, theirs.codes)
        assert ours.codebook.tobytes() == theirs.codebook.tobytes()
        biases = [None if layer.bias is None else layer.bias.tolist() for layer in (ours, theirs)]
        assert biases[0] == biases[1]


def test_what_is_saved_is_loaded_bit_exact_and_the_size_is_the_file_s(tmp_path: Path) -> None:
    model = drawn_model()
    path = tmp_path / "deep" / "model.dc"
    model.save(path)
    found = CompressedModel.load(path)
    assert_same(found, model)
    assert found.size_bytes == model.size_bytes == os.path.getsize(path)
    assert found.parameter_bytes == 4 * (6 * 9 + 10 * 30 + 10)
    assert found.compression_ratio == found.parameter_bytes / os.path.getsize(path)
    found.save(path)
    assert CompressedModel(found.layers, found.shapes, found.index_bits).to_bytes() == path.read_bytes()


@settings(deadline=None, max_examples=150)
@given(cases())
def test_odd_layers_are_read_back(case: Case) -> None:
    layer, _, config = case
    model = CompressedModel([layer], index_bits=config.index_bits)
    assert_same(CompressedModel.from_bytes(model.to_bytes()), model)


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
        with pytest.raises(InputError, match=r"cut off|must follow"):
            CompressedModel.from_bytes(content[:length])
    with pytest.raises(InputError, match=re.escape(f"states {len(content):,} bytes; found {len(content) + 1:,}")):
        CompressedModel.from_bytes(content + b"\0")


def test_damage_gets_a_sentence_with_the_file_s_name(tmp_path: Path) -> None:
    path = tmp_path / "model.dc"
    with pytest.raises(InputError, match=r"model\.dc: there is no such container file"):
        CompressedModel.load(path)
    content = drawn_model().to_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(InputError, match=r"model\.dc: the checksum of layer 2 of 2 must be .* damaged; copy it again"):
        CompressedModel.load(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match=r"a container starts with .* another kind of file"):
        CompressedModel.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        CompressedModel.load(tmp_path)


def test_a_newer_version_is_refused() -> None:
    content = drawn_model().to_bytes()
    header = content[:8] + struct.pack("<H", 9) + content[10:20]
    with pytest.raises(InputError, match="reads version 1 of the container; found version 9"):
        CompressedModel.from_bytes(header + struct.pack("<I", zlib.crc32(header)) + content[24:])


def forged(change: Callable[[bytearray], None], after: bytes = b"", num_layers: int = 1) -> bytes:
    """A container of one small layer whose content is changed and whose checksums are right nevertheless.

    The layer is named "fc": its content has dimensions at byte 4, rows at 5, columns at 9, weight_bits at 13,
    index_bits at 14, the type of codes at 15, the bias flag at 16 and the number of entries at 17.
    """
    codes = np.array([[1, 0, 3], [0, 2, 0]], dtype=np.uint8)
    layer = CompressedLayer("fc", codes, np.array([0, 0.5, 1, 2], dtype=np.float32))
    content = bytearray(CompressedModel([layer], index_bits=2).to_bytes()[36:])
    change(content)
    body = struct.pack("<QI", len(content), zlib.crc32(content)) + content + after
    header = struct.pack("<8sHHQ", b"\x89EIEDC\r\n", 1, num_layers, 24 + len(body))
    return header + struct.pack("<I", zlib.crc32(header)) + body


def put(place: int, form: str, *values: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        struct.pack_into(form, content, place, *values)

    return change


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (forged(put(5, "<II", 2**32 - 1, 2**32 - 1)), "possible are 2 to 8 dimensions and up to 1,073,741,824 weights"),
        (forged(put(5, "<II", 0, 3)), "weights of shape [0, 3]"),
        (forged(put(17, "<Q", 7)), "7 entries in 6 weights"),
        (forged(put(17, "<Q", 5)), "an entry lies at position 6 of 6"),
        (forged(put(13, "<B", 9)), "weight_bits=9, index_bits=2, wide=0"),
        (forged(put(14, "<B", 9)), "index_bits=9"),
        (forged(put(15, "<B", 7)), "wide=7"),
        (forged(put(16, "<B", 2)), "has_bias=2"),
        (forged(put(2, "<B", 0xFF)), "a name that is not UTF-8"),
        (forged(lambda content: content.append(0)), "1 bytes after the end"),
        (forged(lambda content: None, after=b"more"), "4 bytes after the end"),
        (forged(lambda content: None, num_layers=0), "bytes after the end"),
        (forged(lambda content: None, num_layers=2), "12 bytes must follow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_container_can_hold_is_refused_though_the_checksums_are_right(content: bytes, sentence: str) -> None:
    assert CompressedModel.from_bytes(forged(lambda content: None)).layers[0].codes.tolist() == [[1, 0, 3], [0, 2, 0]]
    with pytest.raises(InputError, match=re.escape(sentence)):
        CompressedModel.from_bytes(content)


def test_layers_that_make_no_model_are_refused() -> None:
    layer = drawn_model().layers[0]
    with pytest.raises(InputError, match="layers must be CompressedLayers; found ndarray"):
        CompressedModel([layer.codes])  # type: ignore[list-item]
    with pytest.raises(InputError, match="names of up to 65,535 bytes"):
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
    with pytest.raises(InputError, match="one shape a layer; found 0 for 1"):
        CompressedModel([layer], [])
    with pytest.raises(InputError, match="index_bits must be a whole number from 1 to 8; found 9"):
        CompressedModel([layer], index_bits=9)


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
