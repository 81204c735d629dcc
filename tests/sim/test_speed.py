"""Ratios of speed that tests hold: each is the shortest of many times beside that of its limit, taken in turns.

`make bench` measures them exactly. The bounds here are far above what it shows, for machines that are busy.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, pack, simulate
from sim.array import prepare
from sim.engine import Run
from sim.row_assignment import rows_balanced_by_activity, rows_balanced_by_entries
from tests.bench.plain_c import timing_in_plain_c
from traces.synthetic import draw_layer

PAPER = ArrayConfig()


def ratio(measured: Callable[[], object], limit: Callable[[], object], rounds: int = 30) -> float:
    """Return how many times as long one call takes as another one: the shortest of each, called in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (measured, limit):
        call()  # compiles
    for _ in range(rounds):
        for call, kept in zip((measured, limit), times, strict=True):
            begin = time.perf_counter()
            call()
            kept.append(time.perf_counter() - begin)
    return min(times[0]) / min(times[1])


@pytest.fixture(scope="module")
def square() -> tuple[Any, Any]:
    return draw_layer("square", 2048, 2048, 0.1, 0.3, seed=0)


def test_packing_takes_a_few_passes_over_the_codes(square: tuple[Any, Any]) -> None:
    layer = square[0]
    # a copy of the object has nothing of what is kept with a layer
    assert ratio(lambda: pack(copy.copy(layer), PAPER), lambda: np.count_nonzero(layer.codes)) < 6


def test_assigning_rows_takes_less_than_twice_the_time_of_packing(square: tuple[Any, Any]) -> None:
    layer, activations = square

    def packed() -> object:
        return pack(copy.copy(layer), PAPER)

    assert ratio(lambda: rows_balanced_by_entries(layer, 64), packed) < 2
    assert ratio(lambda: rows_balanced_by_activity(layer, activations, 64), packed) < 2


def test_timing_takes_about_as_long_as_in_plain_c(square: tuple[Any, Any], tmp_path: Path) -> None:
    layer, activations = square
    packed, numbers = prepare(layer, activations, PAPER)
    run = Run(packed, numbers)
    in_plain_c = timing_in_plain_c(run, PAPER, tmp_path)
    assert in_plain_c() == run.timing(PAPER).last_active_edge
    assert ratio(lambda: run.timing(PAPER), in_plain_c, 200) < 2.5
    assert ratio(lambda: Run(packed, numbers).timing(PAPER), in_plain_c, 200) < 4


def test_counting_costs_less_than_the_output(square: tuple[Any, Any]) -> None:
    layer, activations = square
    packed, numbers = prepare(layer, activations, PAPER)
    assert ratio(lambda: Run(packed, numbers).counts(PAPER), lambda: simulate(packed, activations, PAPER)) < 0.9
