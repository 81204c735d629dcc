"""Energy and area against figures worked out by hand from the paper's tables."""

from __future__ import annotations

import dataclasses

import pytest

from sim import ArrayConfig, simulate
from sim.area import area_mm2
from sim.energy import energy_of, num_lnzd_units
from traces.synthetic import draw_layer

PAPER = ArrayConfig()


def test_each_event_costs_what_the_paper_s_tables_say() -> None:
    energy = energy_of(PAPER, cycles=1000, pointer_reads=200, line_reads=30, processed_entries=50, useful_macs=40)
    assert energy.scan_pj == pytest.approx(1000 * 21 * 0.02875)  # 21 units of 0.023 mW at 800 MHz
    assert energy.queue_pj == pytest.approx(200 * 2)  # 32 bits written and read at 1 pJ
    assert energy.pointer_read_pj == pytest.approx(200 * 5)  # two pointers of 16 bits at 5 pJ for 32
    assert energy.sparse_matrix_read_pj == pytest.approx(30 * 10)  # 64 bits
    assert energy.arithmetic_pj == pytest.approx(50 * (0.5 + 0.62 + 0.05))  # decode, multiply, add
    assert energy.activation_write_pj == pytest.approx(40 * 1)  # 16 bits read and written
    assert energy.total_pj == pytest.approx(603.75 + 400 + 1000 + 300 + 58.5 + 40)
    wide = energy_of(dataclasses.replace(PAPER, line_bits=256), 1000, 200, 30, 50, 40)
    assert wide.sparse_matrix_read_pj == pytest.approx(30 * 40)


def test_a_result_s_energy_is_that_of_its_counts() -> None:
    layer, activations = draw_layer("x", 50, 40, 0.1, 0.7, 0)
    result = simulate(layer, activations, ArrayConfig(num_pes=4, index_bits=1))
    assert result.padding_per_pe.sum() > 0
    entries = int(result.entries_per_pe.sum())
    expected = energy_of(
        result.config,
        result.cycles,
        result.pointer_reads,
        result.line_reads,
        entries,
        entries - int(result.padding_per_pe.sum()),
    )
    assert result.energy == expected


def test_the_area_is_that_of_table_ii_with_the_queue_in_proportion() -> None:
    assert area_mm2(PAPER) == pytest.approx((64 * 638_024 + 21 * 189) / 1e6)
    assert area_mm2(PAPER) == pytest.approx(40.8, rel=0.005)  # EIE, section VI
    one = ArrayConfig(num_pes=1, queue_slots=32)
    assert area_mm2(one) == pytest.approx((638_024 + 3 * 758 + 189) / 1e6)


def test_the_scan_is_a_tree_of_units_with_four_inputs() -> None:
    assert num_lnzd_units(64) == 21  # EIE, Table II
    assert [num_lnzd_units(num_pes) for num_pes in (1, 4, 5, 16, 256)] == [1, 1, 3, 5, 85]
