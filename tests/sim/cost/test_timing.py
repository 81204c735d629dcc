"""Limits of the clock, and cycles of SRAMs, logic and wires, against delays added by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sim import ArrayConfig, area_mm2
from sim.config import SHORTEST_PIPELINE_CYCLES
from sim.cost.blocks import broadcast_flip_flops, pe_cells
from sim.cost.constants import Constants
from sim.cost.timing import clock_excess, timed, timing

PAPER = ArrayConfig()


def test_the_paper_s_array_reaches_its_clock_in_five_cycles() -> None:
    found = timing(PAPER)
    assert found.highest_clock_mhz == pytest.approx(1e3 / 1.07398)
    assert found.limit == "cycle time of the sparse-matrix SRAM"
    assert found.path_ns == pytest.approx(1.72926 + 1.56052 + 1.4 + 2 * 0.5 + 0.5)  # two SRAMs, multiply, add, decode
    assert (found.pipeline_cycles, found.broadcast_cycles) == (5, 1)
    assert (found.path_ns / (1.25 - 0.1)) <= 1 + SHORTEST_PIPELINE_CYCLES


def test_the_arrays_of_the_golden_rows_need_no_further_cycle() -> None:
    for num_pes in (1, 2, 4, 8, 16, 64, 256):
        found = timing(replace(PAPER, num_pes=num_pes))
        assert (found.pipeline_cycles, found.broadcast_cycles) == (5, 1)


def test_a_faster_clock_needs_more_cycles() -> None:
    slow, fast = timing(replace(PAPER, clock_mhz=400)), timing(replace(PAPER, clock_mhz=930))
    assert slow.pipeline_cycles == 5
    assert fast.pipeline_cycles == math.ceil(6.18978 / (1e3 / 930 - 0.1)) - 1 > 5
    assert fast.highest_clock_mhz == slow.highest_clock_mhz


def test_a_line_that_is_divided_needs_a_divider_s_time() -> None:
    found = timing(replace(PAPER, index_bits=5))  # 7 entries of 9 bits in a line
    assert found.path_ns - timing(PAPER).path_ns == pytest.approx(1.0)
    assert found.pipeline_cycles == 6


def test_a_broadcast_over_a_large_array_takes_more_cycles() -> None:
    array = replace(PAPER, num_pes=1024)
    found = timing(array)
    longest_mm = math.sqrt(area_mm2(array) / 1024) * 31
    assert found.broadcast_ns == pytest.approx(0.07 * longest_mm)
    assert found.broadcast_cycles == 2


def test_small_srams_leave_the_limit_to_logic() -> None:
    small = replace(PAPER, num_pes=16, sparse_matrix_bytes=1024, pointer_bytes=2048, activation_bytes=512, line_bits=32)
    found = timing(small)
    assert found.limit == "addition to an accumulator"
    assert found.highest_clock_mhz == pytest.approx(1e3 / 0.6)
    many = timing(replace(small, num_pes=4**5))
    assert many.limit == "detection of the next non-zero activation"
    assert many.highest_clock_mhz == pytest.approx(1e3 / (5 * 0.14 + 0.1))


def test_slower_srams_lower_the_limit() -> None:
    assert timing(PAPER, Constants({"sram_time": 1.1})).highest_clock_mhz == pytest.approx(1e3 / 1.07398 / 1.1)


@pytest.mark.parametrize(("smaller", "larger"), [(22, 45), (32, 45), (45, 65)])
def test_a_smaller_node_is_faster(smaller: int, larger: int) -> None:
    fast, slow = (timing(replace(PAPER, node_nm=node_nm)) for node_nm in (smaller, larger))
    assert fast.highest_clock_mhz > slow.highest_clock_mhz
    assert fast.path_ns < slow.path_ns


def test_a_clock_above_the_limit_is_named() -> None:
    assert clock_excess(PAPER) == ""
    assert clock_excess(replace(PAPER, clock_mhz=1000)) == (
        "clock_mhz must be at most 931, by the cycle time of the sparse-matrix SRAM; found 1000"
    )
    assert (
        timing(replace(PAPER, clock_mhz=1e6)).pipeline_cycles == timing(replace(PAPER, clock_mhz=931.1)).pipeline_cycles
    )


def test_an_array_gets_the_stages_of_its_delays_and_pays_them() -> None:
    assert timed(PAPER) == PAPER
    divided = timed(replace(PAPER, index_bits=5))
    assert divided.pipeline_cycles == 6
    before, after = (pe_cells(array)["sparse-matrix read"] for array in (replace(PAPER, index_bits=5), divided))
    assert after.flip_flops - before.flip_flops == 16 + 9 + 2
    large = timed(replace(PAPER, num_pes=1024))
    assert large.broadcast_cycles == 2
    assert broadcast_flip_flops(large) == 256 * 32 + 1024 + 1024 * 3
    assert area_mm2(large) > area_mm2(replace(PAPER, num_pes=1024))
    assert timed(large) == large
    assert timed(replace(divided, index_bits=4)) == PAPER  # stages that are not needed go
