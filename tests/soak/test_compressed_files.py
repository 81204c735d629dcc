"""A small part of `python -m tests.soak readers`: some hundred mutants of each reader of compressed files."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from compress import CompressedModel
from tests.soak.compressed_files import READERS
from tests.soak.mutants import Reader, changed_bytes, run_mutants
from traces import InputError

FEW = {reader.name: 150 for reader in READERS} | {"onnx-weights": 20, "container": 300}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutants_are_read_or_refused_with_a_sentence(reader: Reader) -> None:
    ends = run_mutants(reader, FEW[reader.name], seed=1)
    assert not ends.faults
    assert ends.counts["refused"]
    assert ends.counts.total() == FEW[reader.name]


def test_a_damaged_container_is_refused_or_unchanged() -> None:
    (reader,) = (reader for reader in READERS if reader.name == "container")
    draw = np.random.default_rng(2)
    for content in reader.valid():
        for _ in range(200):
            damaged = changed_bytes(content, draw)
            with contextlib.suppress(InputError):
                assert CompressedModel.from_bytes(damaged).to_bytes() == content
