"""The container is what its description says: a second reader, written from the description alone, bit by bit."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from tests.compress.container.test_container import drawn_model, network_model, several_codebooks_model
from traces import CompressedLayer


class Bytes:
    """Bytes taken off the front."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def take(self, number: int) -> bytes:
        assert number <= len(self.content)
        taken, self.content = self.content[:number], self.content[number:]
        return taken

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = self.u8()
        return value if value < 128 else value - 128 + 128 * self.varint()

    def text(self) -> str:
        return self.take(self.varint()).decode()


def described(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes | None]:
    """Read layers and tensors by name, and the graph, as `guide/container.md` describes them."""
    file = Bytes(content)
    start = file.take(14)
    assert start[:8] == bytes.fromhex("89 45 49 45 44 43 0D 0A")
    version, directory_bytes = struct.unpack("<HI", start[8:])
    assert version in (2, 3, 4)
    (checksum,) = struct.unpack("<I", file.take(4))
    directory = Bytes(file.take(directory_bytes))
    assert zlib.crc32(start + directory.content) == checksum
    layers: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    graph = None
    for _ in range(directory.varint()):
        kind, name, size = directory.u8(), directory.text(), directory.varint()
        section = Bytes(file.take(size))
        assert struct.unpack("<I", directory.take(4)) == (zlib.crc32(section.content),)
        if kind == 1:
            layers[name] = layer(section, name)
        elif kind == 2:
            assert name == ""
            tensors = other_tensors(section)
        else:
            assert (kind, name) == (3, "")
            assert version in (3, 4)
            num_bytes = section.varint()
            graph = zlib.decompress(section.take(len(section.content)))
            assert len(graph) == num_bytes
        assert not section.content
    assert not directory.content
    assert not file.content
    return layers, tensors, graph


def layer(section: Bytes, name: str) -> dict[str, Any]:
    weight_bits, flags = section.u8(), section.u8()
    wide, has_bias, narrow, coded, arranged, several, has_threshold, compact = (
        bool(flags & 1 << bit) for bit in range(8)
    )
    names = [section.text() or f"{name}.weight" for _ in range(section.varint())]
    bias_name = (section.text() or f"{name}.bias") if has_bias else None
    shape = [section.varint() for _ in range(section.u8())]
    arrangement = None
    if arranged:
        view = [section.varint() for _ in range(section.u8())]
        arrangement = view, [section.u8() for _ in view], section.u8()
        lengths = [view[axis] for axis in arrangement[1]]
        rows, columns = int(np.prod(lengths[: arrangement[2]])), int(np.prod(lengths[arrangement[2] :]))
    else:
        rows, columns = shape[0], int(np.prod(shape[1:]))
    form = "e" if narrow else "f"
    (threshold,) = struct.unpack("<f", section.take(4)) if has_threshold else (0.0,)
    used = None
    if compact:
        packed = [int.from_bytes(section.take(-(-length // 8)), "little") for length in (rows, columns)]
        used = [
            [bool(bits >> place & 1) for place in range(length)]
            for bits, length in zip(packed, (rows, columns), strict=True)
        ]
    number, numbers = 1, None
    if several:
        number = section.varint()
        bits = len(bin(number - 1)) - 2
        numbers = [row % number for row in range(rows)]
        if section.u8():
            listed = int.from_bytes(section.take(-(-rows * bits // 8)), "little")
            numbers = [listed >> row * bits & 2**bits - 1 for row in range(rows)]
    codebooks = []
    for _ in range(number):
        codebooks.append([0.0])
        for _ in range(2**weight_bits - 1):
            codebooks[-1] += struct.unpack(f"<{form}", section.take(struct.calcsize(form)))
    codebook = codebooks if several else codebooks[0]
    bias = None
    if coded:
        table = code_table(section, 2**weight_bits)
        bias = symbols(Bytes(section.take(section.varint())), rows, table)
    elif has_bias:
        number = int.from_bytes(section.take(-(-rows * weight_bits // 8)), "little")
        bias = [number >> place * weight_bits & 2**weight_bits - 1 for place in range(rows)]
    if used is None:
        codes = matrix(section, rows, columns, weight_bits, wide)
    else:
        few = iter(matrix(section, sum(used[0]), sum(used[1]), weight_bits, wide))
        codes = [[0] * columns for _ in range(rows)]
        for row in (row for row in range(rows) if used[0][row]):
            values = iter(next(few))
            codes[row] = [next(values) if kept else 0 for kept in used[1]]
    read = {"names": names, "bias_name": bias_name, "shape": shape, "codebook": codebook, "bias": bias, "codes": codes}
    return read | {"arrangement": arrangement, "row_codebooks": numbers, "threshold": threshold}


def matrix(section: Bytes, rows: int, columns: int, weight_bits: int, wide: bool) -> list[list[int]]:
    """Read a matrix as `guide/container.md` describes it."""
    order = section.u8()
    num_pes = section.varint() if order == 2 else 1
    width, entries = section.u8(), section.varint()
    planes = []
    for bits in (width, *([min(8, weight_bits)] * (2 if wide else 1))):
        table = code_table(section, 2**bits)
        planes.append(symbols(Bytes(section.take(section.varint())), entries, table))
    places = {
        0: [(row, column) for row in range(rows) for column in range(columns)],
        1: [(row, column) for column in range(columns) for row in range(rows)],
        2: [(row, c) for pe in range(num_pes) for c in range(columns) for row in range(pe, rows, num_pes)],
    }[order]
    found = [[0] * columns for _ in range(rows)]
    place = -1
    for entry in range(entries):
        place += planes[0][entry] + 1
        row, column = places[place]
        found[row][column] = planes[1][entry] + (256 * planes[2][entry] if wide else 0)
    return found


def code_table(section: Bytes, num_symbols: int) -> list[int]:
    halves: list[int] = []

    def half() -> int:
        if not halves:
            byte = section.u8()
            halves.extend([byte & 15, byte >> 4])
        return halves.pop(0)

    lengths: list[int] = []
    while len(lengths) < num_symbols:
        lengths.append(half())
        if lengths[-1] == 0:
            lengths += [0] * half()
    assert len(lengths) == num_symbols
    return lengths


def symbols(streams: Bytes, number: int, lengths: list[int]) -> list[int]:
    """Read the streams of a code as `guide/container.md` describes them."""
    used = [(length, symbol) for symbol, length in enumerate(lengths) if length]
    if len(used) <= 1:
        assert not streams.content
        return [used[0][1]] * number if number else []
    words: dict[tuple[int, int], int] = {}
    word = previous = 0
    for length, symbol in sorted(used):
        word <<= length - previous
        words[length, word] = symbol
        word, previous = word + 1, length
    num_streams = min(8, max(1, number // 2**14))
    run = -(-number // num_streams)
    sizes: list[int | None] = [streams.varint() for _ in range(num_streams - 1)]
    found: list[int] = []
    for index, size in enumerate([*sizes, None]):
        stream = streams.take(len(streams.content) if size is None else size)
        bits = (byte >> place & 1 for byte in stream for place in range(8))
        for _ in range(min(run, number - index * run)):
            length = word = 0
            while (length, word) not in words:
                length, word = length + 1, 2 * word + next(bits)
            found.append(words[length, word])
        assert len(list(bits)) < 8
    return found


KINDS = ["<f4", "<f2", "<f4", "<i8", "<u2", "<f8", "?", "i1", "<i2", "<i4", "u1", "<u2", "<u4", "<u8"]


def other_tensors(section: Bytes) -> dict[str, Any]:
    found = {}
    before = b""
    for _ in range(section.varint()):
        before = before[: section.varint()] + section.take(section.varint())
        form = section.u8()
        shape = [section.varint() for _ in range(section.u8())]
        kind = KINDS[form & 63]
        size = (1 if form & 63 == 2 else int(np.prod(shape, dtype=int))) * np.dtype(kind).itemsize
        content = zlib.decompress(section.take(section.varint())) if form & 64 else section.take(size)
        assert len(content) == size
        values = np.frombuffer(content, kind)
        if form & 63 == 4:
            values = np.frombuffer(b"".join(b"\0\0" + content[at : at + 2] for at in range(0, size, 2)), "<f4")
        values = np.full(shape, values[0]) if form & 63 == 2 else values.reshape(shape)
        found[before.decode()] = bool(form & 128), values
    return found


def wide_model() -> CompressedModel:
    draw = np.random.default_rng(3)
    codebook = np.concatenate([[0], draw.normal(size=1023)]).astype(np.float16).astype(np.float32)
    codes = (draw.integers(1, 1024, (20, 30)) * (draw.random((20, 30)) < 0.4)).astype(np.uint16)
    first = CompressedLayer("wide", codes, codebook, codes[:, 0])
    return CompressedModel([first], weight_names=[["wide.weight", "größer.weight"]], bias_names=["own"])


def large_model() -> CompressedModel:
    """Return a model of several streams: bias coded, one row and one column of a single weight."""
    draw = np.random.default_rng(4)
    codebook = np.arange(16, dtype=np.float32)
    codes = np.minimum(draw.geometric(0.4, (400, 300)), 15) * (draw.random((400, 300)) < 0.4)
    bias = np.minimum(draw.geometric(0.8, 400), 15).astype(np.uint8)
    one = np.array([[3]], dtype=np.uint8)
    nothing = np.zeros((3, 5), dtype=np.uint8)
    layers = [CompressedLayer("large", codes.astype(np.uint8), codebook, bias)]
    layers += [CompressedLayer("one", one, codebook), CompressedLayer("nothing", nothing, codebook)]
    return CompressedModel(layers, tensors={"x": np.zeros((0, 2)), "xy": np.array(1.5)})


def structured_model() -> CompressedModel:
    """Return a model of a layer whose rows and columns are empty or full."""
    codes = np.random.default_rng(5).integers(1, 8, (30, 40)).astype(np.uint8)
    codes[::3], codes[:, 1::2] = 0, 0
    layer = CompressedLayer("units", codes, np.arange(8, dtype=np.float32), row_codebooks=None)
    return CompressedModel([layer], coding=CodingChoice(leaves_out_empty=True))


@pytest.mark.parametrize(
    "make", [drawn_model, wide_model, large_model, network_model, several_codebooks_model, structured_model]
)
@pytest.mark.parametrize("scan_order", [None, "rows", "columns", "interleaved"])
def test_a_reader_written_from_the_description_reads_the_same(make: Any, scan_order: Any) -> None:
    compact = make is structured_model
    model = make().coded(CodingChoice(scan_order=scan_order, num_pes=3, leaves_out_empty=compact))
    layers, tensors, graph = described(model.to_bytes())
    assert graph == model.graph
    assert list(layers) == [layer.name for layer in model.layers]
    for number, (ours, theirs) in enumerate(zip(model.layers, layers.values(), strict=True)):
        assert theirs["codes"] == ours.codes.tolist()
        assert theirs["codebook"] == ours.codebook.tolist()
        assert theirs["bias"] == (None if ours.bias is None else ours.bias.tolist())
        assert theirs["row_codebooks"] == (None if ours.row_codebooks is None else ours.row_codebooks.tolist())
        assert theirs["threshold"] == ours.activation_threshold
        assert theirs["names"] == list(model.weight_names[number])
        assert theirs["bias_name"] in (None, model.bias_names[number])
        assert theirs["shape"] == list(model.shapes[number])
        arrangement = model.arrangements[number]
        parts = None if arrangement is None else (list(arrangement.view), list(arrangement.axes), arrangement.row_axes)
        assert theirs["arrangement"] == parts
    assert list(tensors) == list(model.tensors)
    for name, (is_buffer, values) in tensors.items():
        assert is_buffer == (name in model.buffers)
        np.testing.assert_array_equal(values, model.tensors[name])
