"""A small part of `python -m tests.compress.container.fuzz_container`."""

from __future__ import annotations

from tests.compress.container.fuzz_container import fuzz


def test_mutated_containers_are_refused() -> None:
    ends = fuzz(3000, seed=1)
    assert ends["refused"] > 2700
    assert ends.total() == 3000
