"""The graph of a container: opaque bytes that come back, itemised, and inflated within bounds."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest

from compress import CompressedModel, ContainerReader
from compress.container.bytes_io import inflate, varint
from compress.container.layer_coding import CodingChoice
from tests.compress.container.test_container import LAYER, assert_same, container, drawn_model, network_model
from traces import InputError

GRAPH = b"node " * 1000


def test_a_graph_comes_back_and_can_be_left_out(tmp_path: Path) -> None:
    plain = drawn_model()
    model = plain.with_graph(GRAPH)
    model.save(tmp_path / "model.dc")
    assert plain.graph is None
    assert CompressedModel.load(tmp_path / "model.dc").graph == model.graph == GRAPH
    assert model.coded(CodingChoice(index_bits=3)).graph == GRAPH
    assert model.without_graph().to_bytes() == plain.to_bytes()
    with ContainerReader(tmp_path / "model.dc") as reader:
        assert reader.graph() == GRAPH
        assert_same(CompressedModel.from_bytes(model.to_bytes()), model)
    plain.save(tmp_path / "plain.dc")
    with ContainerReader(tmp_path / "plain.dc") as reader:
        assert reader.graph() is None


def test_the_graph_s_bytes_are_itemised() -> None:
    model = drawn_model().with_graph(GRAPH)
    report = model.size_report
    assert report.graph == 2 + len(zlib.compress(GRAPH, 9))
    assert report.total == model.size_bytes == len(model.to_bytes())
    assert drawn_model().size_report.graph == 0
    assert network_model().size_report.total == network_model().size_bytes


def test_show_lists_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from compress.__main__ import show

    drawn_model().save(tmp_path / "model.dc")
    show(tmp_path / "model.dc")
    assert " graph " not in capsys.readouterr().out
    model = drawn_model().with_graph(GRAPH)
    model.save(tmp_path / "model.dc")
    show(tmp_path / "model.dc")
    row = next(line for line in capsys.readouterr().out.splitlines() if " graph " in line)
    assert str(model.size_report.graph) in row


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (b"", "graph: 1 bytes must follow byte 0"),
        (b"\0" + zlib.compress(b""), "graph: 0 bytes; 1 to 268,435,456 are possible"),
        (varint(2**28 + 1) + bytes(2**19), "graph: 268,435,457 bytes; 1 to 268,435,456 are possible"),
        (varint(2**28) + zlib.compress(bytes(1000)), "deflated bytes cannot hold 268,435,456"),
        (b"\4" + zlib.compress(b"graph"), "deflated bytes must hold 4 and end with them"),
        (b"\6" + zlib.compress(b"graph"), "deflated bytes must hold 6 and end with them"),
        (b"\5" + zlib.compress(b"graph")[:-1], "deflated bytes must hold 5 and end with them"),
        (b"\5" + zlib.compress(b"graph") + b"\0", "deflated bytes must hold 5 and end with them"),
        (b"\5" + zlib.compress(b"graph")[:-1] + b"\0", "the deflated bytes are invalid: .*incorrect data check"),
        (b"\5graph", "the deflated bytes are invalid: .*incorrect header check"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_graph_is_refused(section: bytes, sentence: str) -> None:
    whole = container((1, b"fc", LAYER), (3, b"", b"\5" + zlib.compress(b"graph")), version=3)
    assert CompressedModel.from_bytes(whole).graph == b"graph"
    with pytest.raises(
        InputError, match=f"container: the container is invalid: graph: .*{sentence.removeprefix('graph: ')}"
    ):
        CompressedModel.from_bytes(container((1, b"fc", LAYER), (3, b"", section), version=3))
    twice = container((1, b"fc", LAYER), (3, b"", b"\5"), (3, b"", b"\5"), version=3)
    with pytest.raises(InputError, match="section '' of kind 3, unknown or there twice"):
        CompressedModel.from_bytes(twice)


def test_more_bytes_than_stated_are_not_inflated() -> None:
    deflated = zlib.compress(bytes(2**26))
    tracemalloc.start()
    with pytest.raises(ValueError, match="must hold 1,000 and end with them"):
        inflate(deflated, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
