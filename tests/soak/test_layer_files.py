"""Some hundred mutants of the files of each reader of layers, images, inputs and graphs."""

from __future__ import annotations

import pytest

from tests.soak.layer_files import READERS
from tests.soak.mutants import Reader, run_mutants
from tests.soak.zip_files import BOMB_BYTES, bomb, npy_begin

MUTANTS = {"onnx": 100}


@pytest.fixture(scope="module", autouse=True)
def _bombs() -> None:
    """Make the large members once, before processes for the readers begin."""
    bomb(npy_begin((BOMB_BYTES,)))
    bomb(npy_begin((4,)))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutants_are_read_or_refused_in_bounded_time_and_memory(reader: Reader) -> None:
    ends = run_mutants(reader, MUTANTS.get(reader.name, 200), seed=1)
    assert not ends.faults
    assert ends.counts["read"] > 0
    assert ends.counts["refused"] > 0
