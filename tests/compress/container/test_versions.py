"""Files that were written once, kept in `tests/containers`: each later release must read the same from them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from tests.compress.container.test_container import assert_same, container, network_model, several_codebooks_model
from tests.conftest import PROJECT
from traces import CompressedLayer, InputError
from traces.arrays import Numbers

CONTAINERS = PROJECT / "tests" / "containers"


def version_2_model() -> CompressedModel:
    """Return a model of every form that version 2 has; release 1.0.0 wrote `version_2.dc` of it."""
    shared = np.array([0, 0.5, -1.25, 1 / 3], dtype=np.float32)
    codes = (np.arange(96) % 7 % 4).astype(np.uint8)
    wide = np.arange(512, dtype=np.float32) / np.float32(4)
    layers = [
        CompressedLayer("conv", codes.reshape(12, 8), shared),
        CompressedLayer("fc", codes.reshape(48, 2), shared, np.where(np.arange(48) % 9, 1, 3).astype(np.uint8)),
        CompressedLayer(
            "wide", (np.arange(60) * 17 % 511).reshape(6, 10).astype(np.uint16), wide, np.arange(6, dtype=np.uint16)
        ),
    ]
    tensors: dict[str, Numbers] = {
        "conv.bias": np.arange(12) / 4,
        "norm.weight": np.array([1 / 3, 0.1, 3e38], dtype=np.float32),
        "norm.running_var": np.ones(5),
        "norm.num_batches": np.array(-7),
        "empty": np.zeros((0, 2)),
    }
    return CompressedModel(
        layers,
        [(12, 2, 2, 2), (48, 2), (6, 10)],
        weight_names=[["conv.weight"], ["fc.weight", "tied.weight"], ["größer.weight"]],
        bias_names=["conv.bias", "fc.bias", "wide.own"],
        tensors=tensors,
        buffers=["norm.running_var", "norm.num_batches"],
        coding=[CodingChoice(num_pes=3, scan_order="interleaved"), CodingChoice(index_bits=2), CodingChoice()],
    )


def version_of(content: bytes) -> int:
    return int.from_bytes(content[8:10], "little")


def test_a_file_of_version_2_is_read_and_written_byte_for_byte() -> None:
    content = (CONTAINERS / "version_2.dc").read_bytes()
    assert version_of(content) == 2
    assert_same(CompressedModel.from_bytes(content), version_2_model())
    assert version_2_model().to_bytes() == CompressedModel.from_bytes(content).to_bytes() == content


def test_a_file_of_version_3_is_read() -> None:
    content = (CONTAINERS / "version_3.dc").read_bytes()
    assert version_of(content) == 3
    model = CompressedModel.from_bytes(content)
    assert_same(model, network_model())
    assert model.size_report.graph > 0


def test_a_file_of_version_4_is_read() -> None:
    content = (CONTAINERS / "version_4.dc").read_bytes()
    assert version_of(content) == 4
    assert_same(CompressedModel.from_bytes(content), several_codebooks_model())


@pytest.mark.parametrize("number", range(3))
def test_version_4_is_written_only_for_what_version_3_cannot_hold(number: int) -> None:
    layer = several_codebooks_model().layers[number]
    model = CompressedModel([layer])
    assert version_of(model.to_bytes()) == 4
    assert_same(CompressedModel.from_bytes(model.to_bytes()), model)
    plain = replace(layer, codebook=layer.codebooks[0], row_codebooks=None, activation_threshold=0.0)
    assert version_of(CompressedModel([plain]).to_bytes()) == 2
    older = bytearray(model.to_bytes())
    older[8] = 3
    older[14:18] = zlib.crc32(bytes(older[:14] + older[18 : 18 + int.from_bytes(older[10:14], "little")])).to_bytes(
        4, "little"
    )
    with pytest.raises(InputError, match=r"the container is invalid: layer '.*': weight_bits=\d, flags=\d+"):
        CompressedModel.from_bytes(bytes(older))


@pytest.mark.parametrize(
    "given",
    [
        {"graph": b"graph"},
        {"tensors": {"mask": np.array([0, -np.inf])}},
        {"tensors": {"nan": np.array([np.nan], dtype=np.float32)}},
        {"tensors": {"flag": np.array(True)}},
        {"tensors": {"steps": np.arange(3, dtype=np.int32)}},
        {"tensors": {"exact": np.array([0.1])}},
    ],
    ids=lambda given: next(iter(next(iter(given.values())))) if "tensors" in given else "graph",
)
def test_version_3_is_written_only_for_what_version_2_cannot_hold(given: dict[str, object], tmp_path: Path) -> None:
    layer = version_2_model().layers[0]
    plain = CompressedModel([layer], tensors={"half": np.array([0.5]), "steps": np.arange(3)})
    model = CompressedModel([layer], **given)  # type: ignore[arg-type]
    assert version_of(plain.to_bytes()) == 2
    assert version_of(model.to_bytes()) == 3
    assert_same(CompressedModel.from_bytes(model.to_bytes()), model)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ((3, b"", b"\1x"), "section '' of kind 3, unknown or there twice"),
        ((2, b"", b"\1\0\1x\4\0\0\0"), "tensor 'x' of form 4"),
        ((2, b"", b"\1\0\1x\x40\1\1\0\0\0\0"), "tensor 'x' of form 64"),
        ((2, b"", b"\1\0\1x\0\0\0\0\x80\x7f"), "every value must be finite in version 2"),
    ],
)
def test_what_came_with_version_3_is_refused_in_version_2(section: tuple[int, bytes, bytes], sentence: str) -> None:
    model = CompressedModel(version_2_model().layers[:1])
    size = model.size_report.layers[0].total
    layer = (1, b"conv", model.to_bytes()[-size - model.size_report.tensors :][:size])
    assert CompressedModel.from_bytes(container(layer)).shapes == ((12, 8),)
    with pytest.raises(InputError, match=f"container: the container is invalid: .*{sentence}"):
        CompressedModel.from_bytes(container(layer, section))
