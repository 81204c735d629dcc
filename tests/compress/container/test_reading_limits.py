"""Work and memory of reading a container in proportion to its bytes and what it honestly holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from compress import CompressedModel
from compress.container.bytes_io import text, varint
from compress.container.layer_coding import Coder, CodingChoice
from compress.container.range_coding import decode_range
from compress.container.reader import ContainerReader
from tests.compress.container.test_container import container
from traces import CompressedLayer, InputError, reading_limit
from traces.arrays import Integers, Numbers
from traces.reading_limit import FREE_BYTES

REMEDY = "if you trust the file, allow more with traces.reading_limit or CODESIGN_MOST_DECODED_BYTES"
CODEBOOK = np.array([0, 1.5], dtype=np.float32)


def empty_layer(rows: int, columns: int, names: bytes = b"\x01\x00", pes: int = 0) -> bytes:
    """Return the section of a layer without non-zeros: a few bytes, whatever its shape is."""
    order = b"\x02" + varint(pes) if pes else b"\x00"
    tables = b"\xf0" * 16 + b"\x00" + b"\x10" + b"\x00"
    head = b"\x01\x00" + names + b"\x02" + varint(rows) + varint(columns)
    return head + CODEBOOK[1:].tobytes() + order + b"\x08" + b"\x00" + tables


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail if the processor is busy for longer."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < seconds


def test_an_empty_layer_is_read() -> None:
    model = CompressedModel.from_bytes(container((1, b"fc", empty_layer(3, 5))))
    assert model.layers[0].codes.shape == (3, 5)
    assert not model.layers[0].codes.any()


def test_a_small_file_that_states_a_large_layer_is_refused_before_memory_is_taken() -> None:
    content = container((1, b"fc", empty_layer(FREE_BYTES, 1)))
    with at_most(0.5), pytest.raises(InputError, match=f"may take at most 67,108,864 bytes .* {REMEDY}"):
        CompressedModel.from_bytes(content)


def test_more_is_allowed_by_the_reading_limit() -> None:
    content = container((1, b"fc", empty_layer(300, 100)))
    with reading_limit(20_000), pytest.raises(InputError, match="may take at most 20,000 bytes in memory"):
        CompressedModel.from_bytes(content)
    with reading_limit(40_000):
        assert CompressedModel.from_bytes(content).layers[0].rows == 300


def test_the_limit_holds_for_all_layers_of_a_file_together() -> None:
    layers = [(1, f"fc{number}".encode(), empty_layer(2**20, 10)) for number in range(7)]
    assert len(CompressedModel.from_bytes(container(*layers[:2])).layers) == 2
    with at_most(2), pytest.raises(InputError, match=REMEDY):
        CompressedModel.from_bytes(container(*layers))


def test_the_limit_holds_for_layers_that_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "large.dc"
    path.write_bytes(container(*((1, f"fc{number}".encode(), empty_layer(100, 200)) for number in range(3))))
    with reading_limit(60_000), ContainerReader(path) as reader:
        for _ in range(5):  # a layer that is read again counts once
            reader.layer("fc0")
        reader.layer("fc1")
        with pytest.raises(InputError, match="it takes 66,"):
            reader.layer("fc2")


def test_a_graph_counts_too() -> None:
    content = CompressedModel(
        [CompressedLayer("fc", np.eye(2, dtype=np.uint8), CODEBOOK)], graph=bytes(10**6)
    ).to_bytes()
    with reading_limit(10**6), pytest.raises(InputError, match=REMEDY):
        CompressedModel.from_bytes(content)


def test_names_that_share_their_starts_count_with_all_their_bytes() -> None:
    first = varint(0) + varint(4000) + b"a" * 4000 + b"\x02\x00" + bytes(4)
    tensors = [first]
    for number in range(20_000):
        tail = f"{number:05d}".encode()
        tensors.append(varint(3990) + varint(len(tail)) + tail + b"\x02\x00" + bytes(4))
    section = varint(len(tensors)) + b"".join(tensors)
    with at_most(2), pytest.raises(InputError, match=REMEDY):
        CompressedModel.from_bytes(container((1, b"fc", empty_layer(1, 1)), (2, b"", section)))


def test_a_layer_has_each_name_of_its_weights_once() -> None:
    names = varint(100_000) + b"\x00" * 100_000
    with at_most(1), pytest.raises(InputError, match="the container is invalid"):
        CompressedModel.from_bytes(container((1, b"a" * 4000, empty_layer(1, 1, names))))
    twice = varint(2) + text("w") * 2
    with pytest.raises(InputError, match="the container is invalid"):
        CompressedModel.from_bytes(container((1, b"fc", empty_layer(1, 1, twice))))


def test_many_pes_without_rows_cost_nothing() -> None:
    layers = [(1, f"fc{number}".encode(), empty_layer(1, 1, pes=65_536)) for number in range(100)]
    with at_most(2):
        assert len(CompressedModel.from_bytes(container(*layers)).layers) == 100


def test_rows_of_the_range_coder_cost_as_little_as_weights() -> None:
    rows = 2**20
    content = b"\x0a" + varint(rows) + varint(rows) + varint(rows) + bytes(4 * (rows // 300))
    for _ in range(2):  # the first time, the loops may be compiled
        begin = time.process_time()
        with pytest.raises(ValueError, match="0 filled rows where 1,048,576 must be"):
            decode_range(content, rows, 1, 1, np.uint8)
    assert time.process_time() - begin < 1


def sparse_matrices() -> dict[str, Integers]:
    """Return matrices that take very few bytes for their size."""
    draw = np.random.default_rng(0)
    return {
        "zero": np.zeros((1000, 700), dtype=np.uint8),
        "one non-zero": np.pad(np.ones((1, 1), dtype=np.uint8), ((500, 499), (0, 699))),
        "99.9 % pruned": (draw.random((1000, 700)) < 0.001).astype(np.uint8),
        "one value": np.ones((1000, 700), dtype=np.uint8),
        "a row": np.ones((1, 100_000), dtype=np.uint8),
        "a column": np.ones((100_000, 1), dtype=np.uint8),
    }


@pytest.mark.parametrize("coder", ["huffman", "range"])
@pytest.mark.parametrize("name", sparse_matrices())
def test_what_is_written_is_read_with_the_limits_of_every_file(name: str, coder: Coder) -> None:
    if coder == "range":
        pytest.importorskip("constriction", reason="needs the extra 'range'")
    codes = sparse_matrices()[name]
    for dtype in (np.uint8, np.uint16):
        layer = CompressedLayer("fc", codes.astype(dtype), CODEBOOK)
        content = CompressedModel([layer], coding=CodingChoice(coder=coder)).to_bytes()
        assert (CompressedModel.from_bytes(content).layers[0].codes == codes).all()


def test_the_sign_of_a_zero_is_kept() -> None:
    zeros = np.array([0, -0.0, 0], dtype=np.float32)
    layer = CompressedLayer("fc", np.eye(3, dtype=np.uint8), np.array([0, 1, -0.0, 2], np.float32), free_bias=zeros)
    tensors: dict[str, Numbers] = {
        "single": zeros,
        "half": zeros.astype(np.float16),
        "double": zeros.astype(float),
        "minus": -np.zeros(4),
    }
    for model in (
        CompressedModel([layer], tensors=tensors),
        CompressedModel([layer], tensors={**tensors, "fc.bias": zeros}),
    ):
        again = CompressedModel.from_bytes(model.to_bytes())
        assert np.signbit(again.layers[0].bias_values()).tolist() == [False, True, False]
        for values in (again.tensors[name] for name in ("single", "half", "double")):
            assert np.signbit(values).tolist() == [False, True, False]
        assert np.signbit(again.tensors["minus"]).all()
        assert np.signbit(again.layers[0].codebook).tolist() == [False, False, True, False]
    with pytest.raises(InputError, match="of other values or signs of zeros"):
        CompressedModel([layer], tensors={"fc.bias": np.zeros(3)})
