"""Screens about a sweep."""

from __future__ import annotations

import pytest

from designs.screens.sweep import print_needs


def test_the_memory_and_disk_space_of_a_large_sweep_are_stated_before_it_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_needs(99_999, 9)
    assert not capsys.readouterr().out
    print_needs(10_000_000, 2)
    assert capsys.readouterr().out == (
        "10,000,000 designs x 2 layers need about 1.2 GB of memory in this process, and up to 10.0 GB on the disk "
        "while the rows are put in order.\n"
    )
