"""The container: read back bit-exact, its size the file's, damage noticed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
    import struct
    import zlib

    content = drawn_model().to_bytes()
    header = content[:8] + struct.pack("<H", 9) + content[10:20]
    with pytest.raises(InputError, match="reads version 1 of the container; found version 9"):
        CompressedModel.from_bytes(header + struct.pack("<I", zlib.crc32(header)) + content[24:])


def test_layers_that_make_no_model_are_refused() -> None:
    layer = drawn_model().layers[0]
    with pytest.raises(InputError, match=r"each with a name of its own; found \['conv', 'conv'\]"):
        CompressedModel([layer, layer])
    with pytest.raises(InputError, match="at least one layer"):
        CompressedModel([])
    with pytest.raises(InputError, match=r"shape must unroll to \[6, 9\]; found \[9, 6\]"):
        CompressedModel([layer], [(9, 6)])
    with pytest.raises(InputError, match="one shape a layer; found 0 for 1"):
        CompressedModel([layer], [])
    with pytest.raises(InputError, match="index_bits=9 must be 1 to 8"):
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
