"""Energy and area against figures worked out by hand from the paper's tables."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, simulate
from sim.cost.area import area_mm2, pe_area_um2
from sim.cost.energy import Energy, block_energies, num_lnzd_units
from sim.cost.sram import pointer_bank_sram, sparse_matrix_sram, sram
from traces import InputError
from traces.synthetic import draw_layer

PAPER = ArrayConfig()


def energy_of(config: ArrayConfig, *counts: int, preset: str = "eie-45nm") -> Energy:
    cycles, pointer_reads, line_reads, entries, macs = counts
    return Energy(**block_energies(config, cycles, pointer_reads, line_reads, entries, macs, 0, preset))


def test_each_event_costs_what_the_paper_s_tables_say() -> None:
    counts = (1000, 200, 30, 50, 40)
    energy = energy_of(PAPER, *counts, preset="horowitz-45nm")
    assert energy.scan_pj == pytest.approx(1000 * 21 * 0.02875)  # 21 units of 0.023 mW at 800 MHz
    assert energy.queue_pj == pytest.approx(200 * 2)  # 32 bits written and read at 1 pJ
    assert energy.pointer_read_pj == pytest.approx(200 * 5)  # two pointers of 16 bits at 5 pJ for 32
    assert energy.sparse_matrix_read_pj == pytest.approx(30 * 10)  # 64 bits
    assert energy.arithmetic_pj == pytest.approx(50 * (0.5 + 0.62 + 0.05))  # decode, multiply, add
    assert energy.activation_write_pj == pytest.approx(40 * 1)  # 16 bits read and written
    assert energy.leakage_pj == 0
    assert energy.total_pj == pytest.approx(603.75 + 400 + 1000 + 300 + 58.5 + 40)
    wide = energy_of(dataclasses.replace(PAPER, line_bits=256), *counts, preset="horowitz-45nm")
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


def test_the_paper_s_pe_draws_what_table_ii_says() -> None:
    # Alex-8: 1,760 columns, 453,748 entries, 100,900 lines in 7,926 cycles on 64 PEs
    energy = energy_of(PAPER, 7926, 64 * 1760, 100_900, 453_748, 453_748)
    milliwatts = {name: value / 64 / 7926 * 0.8 for name, value in dataclasses.asdict(energy).items()}
    assert milliwatts["queue_pj"] == pytest.approx(0.112)  # calibrated
    assert milliwatts["arithmetic_pj"] == pytest.approx(1.162)  # calibrated
    assert milliwatts["activation_write_pj"] == pytest.approx(1.122)  # calibrated
    assert milliwatts["pointer_read_pj"] == pytest.approx(1.807, rel=0.30)
    assert milliwatts["sparse_matrix_read_pj"] == pytest.approx(4.955, rel=0.05)
    assert milliwatts.pop("scan_pj") == pytest.approx(21 * 0.023 / 64)
    assert sum(milliwatts.values()) == pytest.approx(9.157, rel=0.05)
    watts = energy.total_pj / 7926 * 0.8 / 1e3
    assert watts == pytest.approx(0.59, rel=0.05)  # EIE, section VI: 64 PEs


def test_the_paper_s_pe_is_as_large_as_table_ii_says() -> None:
    assert sparse_matrix_sram(PAPER).area_mm2 == pytest.approx(0.429589)  # as tabulated
    assert sparse_matrix_sram(PAPER).area_mm2 * 1e6 == pytest.approx(469_412, rel=0.10)
    assert 2 * pointer_bank_sram(PAPER).area_mm2 * 1e6 == pytest.approx(121_849, rel=0.10)
    assert pe_area_um2(PAPER) == pytest.approx(638_024, rel=0.10)
    assert area_mm2(PAPER) == pytest.approx(40.8, rel=0.10)  # EIE, section VI: 64 PEs
    assert area_mm2(PAPER) == pytest.approx((64 * pe_area_um2(PAPER) + 21 * 189) / 1e6)
    longer = ArrayConfig(queue_slots=32)
    assert pe_area_um2(longer) - pe_area_um2(PAPER) == pytest.approx(3 * 758)


def test_leakage_grows_with_the_time_and_the_pes() -> None:
    slow = dataclasses.replace(PAPER, clock_mhz=400, num_pes=128)
    leakage_pj = energy_of(PAPER, 1000, 0, 0, 0, 0).leakage_pj
    assert leakage_pj > 0
    assert energy_of(slow, 1000, 0, 0, 0, 0).leakage_pj == pytest.approx(4 * leakage_pj)


def test_tabulated_srams_come_out_as_they_are() -> None:
    assert sram(131_072, 64).read_pj == pytest.approx(32.2859)
    assert sram(16_384, 16).read_pj == pytest.approx(3.71284)
    assert sram(2_048, 16, node_nm=22).read_pj < sram(2_048, 16).read_pj


@settings(deadline=None)
@given(
    st.sampled_from([22, 32, 45, 65, 90]),
    st.tuples(st.integers(16_384, 4 * 2**20), st.integers(16_384, 4 * 2**20)),
    st.tuples(st.integers(8, 512), st.integers(8, 512)),
)
def test_a_larger_or_wider_sram_is_never_cheaper_to_access(
    node_nm: int, capacities: tuple[int, int], widths: tuple[int, int]
) -> None:
    small = sram(min(capacities), min(widths), node_nm)
    large = sram(max(capacities), max(widths), node_nm)
    assert small.read_pj <= large.read_pj * (1 + 1e-12)
    assert small.write_pj <= large.write_pj * (1 + 1e-12)


def test_an_sram_outside_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="must have 512 to 4,194,304 bytes and a port of 8 to 512 bits; found 100 by"):
        sram(100, 64)
    with pytest.raises(
        InputError, match="line_bits must be at most 512, the widest port in the SRAM tables; found 1024"
    ):
        energy_of(ArrayConfig(line_bits=1024), 1, 1, 1, 1, 1)
    with pytest.raises(InputError, match="an SRAM of 512 bytes is too small for a port of 512 bits"):
        sram(512, 512)
    with pytest.raises(InputError, match="node_nm must be one of 22, 32, 45, 65, 90; found 7"):
        sram(2048, 16, 7)
    with pytest.raises(InputError, match="preset must be one of eie-45nm, horowitz-45nm; found 'free'"):
        energy_of(PAPER, 1, 1, 1, 1, 1, preset="free")


def test_the_scan_is_a_tree_of_units_with_four_inputs() -> None:
    assert num_lnzd_units(64) == 21  # EIE, Table II
    assert [num_lnzd_units(num_pes) for num_pes in (1, 4, 5, 16, 256)] == [1, 1, 3, 5, 85]
