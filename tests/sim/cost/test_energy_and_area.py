"""Energy and area against figures worked out by hand, the paper's Table II, and the array in SystemVerilog."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import ArrayConfig, simulate
from sim.cost.area import PAPER_PE_UM2, PAPER_UM2, area_mm2, module_areas_um2, pe_area_um2
from sim.cost.blocks import longest_path_mm, needs_divider, num_lnzd_units, tree_levels, tree_mm
from sim.cost.constants import CONSTANTS, NODES, NOMINAL, Constants, drawn_constants
from sim.cost.energy import PAPER_MW, PAPER_PE_MW, Energy, block_energies, event_energies, module_mw
from sim.cost.sram import pointer_bank_sram, sparse_matrix_sram, sram
from traces import InputError
from traces.synthetic import draw_layer

PAPER = ArrayConfig()
ALEX8 = (7926, 64 * 1760, 100_900, 453_748, 453_748)  # cycles, pointer reads, line reads, entries, MACs on 64 PEs
NODES_NM = tuple(NODES)


def energy_of(config: ArrayConfig, *counts: int, preset: str = "eie") -> Energy:
    cycles, pointer_reads, line_reads, entries, macs = counts
    return Energy(**block_energies(config, cycles, pointer_reads, line_reads, entries, macs, 0, preset))


def test_each_event_costs_what_table_i_says() -> None:
    counts = (1000, 200, 30, 50, 40)
    energy = energy_of(PAPER, *counts, preset="horowitz-45nm")
    assert energy.scan_pj == pytest.approx(1000 * 21 * 0.02875)  # 21 units of 0.023 mW at 800 MHz
    assert energy.queue_pj == pytest.approx(200 * 2)  # 32 bits written and read at 1 pJ
    assert energy.pointer_read_pj == pytest.approx(200 * 5)  # two pointers of 16 bits at 5 pJ for 32
    assert energy.sparse_matrix_read_pj == pytest.approx(30 * 10)  # 64 bits
    assert energy.arithmetic_pj == pytest.approx(50 * (0.5 + 0.62 + 0.05))  # decode, multiply, add
    assert energy.activation_write_pj == pytest.approx(40 * 1)  # 16 bits read and written
    assert energy.leakage_pj == energy.clock_pj == energy.broadcast_pj == 0
    assert energy.total_pj == pytest.approx(603.75 + 400 + 1000 + 300 + 58.5 + 40)
    wide = energy_of(dataclasses.replace(PAPER, line_bits=256), *counts, preset="horowitz-45nm")
    assert wide.sparse_matrix_read_pj == pytest.approx(30 * 40)
    with pytest.raises(InputError, match="preset horowitz-45nm needs node_nm=45; found 22; use preset eie"):
        energy_of(dataclasses.replace(PAPER, node_nm=22), *counts, preset="horowitz-45nm")


def test_each_event_costs_its_cells() -> None:
    event = event_energies(PAPER)
    clock = 5.6e-3  # pJ of a flip-flop in a cycle
    assert event.column_queued_pj == pytest.approx(32 * clock + 32 * (1 / 32) * 8 / 64)  # 8 of 64 words
    assert event.line_read_pj == pytest.approx(15.872 + 64 * clock)
    assert event.entry_pj == pytest.approx(16 / 32 * 16 / 64 + 0.62 + 0.05)
    assert event.accumulator_pj == pytest.approx(2 * 16 / 32)
    pe_mm2 = area_mm2(PAPER) / 64
    assert event.column_broadcast_pj == pytest.approx(32 * 0.121 * 1.5 * math.sqrt(pe_mm2) * 8 * 7)
    flip_flops = 2 * 3 + (16 + 16 + 3) + (2 * 16 + 37) + (2.6 * 16 + 35) + (2 * 16 + 11)
    storage = 8 * 32 + 64 + 16 * 16 + 128 * 16
    tree = 0.48 * 1.5 * math.sqrt(pe_mm2) * 8 * 7
    assert event.clock_pj_per_cycle == pytest.approx(64 * clock * (flip_flops + storage / 32) + tree)
    seven = event_energies(dataclasses.replace(PAPER, index_bits=5))  # 7 entries of 9 bits in a line
    assert seven.entry_pj - event.entry_pj == pytest.approx(0.1)


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
    energy = energy_of(PAPER, *ALEX8)
    modules = module_mw(PAPER, dataclasses.asdict(energy), 7926)
    for name, milliwatts in modules.items():
        assert milliwatts == pytest.approx(PAPER_MW[name], rel=0.20), name
    pe_mw = energy.total_pj / 64 / 7926 * 0.8
    assert pe_mw == pytest.approx(PAPER_PE_MW, rel=0.10)
    watts = energy.total_pj / 7926 * 0.8 / 1e3
    assert watts == pytest.approx(0.59, rel=0.10)  # EIE, section VI: 64 PEs
    clock_mw = energy.clock_pj / 64 / 7926 * 0.8
    assert clock_mw == pytest.approx(1.874, rel=0.10)  # Table II by component: clock network
    shared = energy.scan_pj + energy.broadcast_pj + energy.clock_pj
    assert pe_mw - sum(modules.values()) < shared / 64 / 7926 * 0.8  # the rest is what no module has


def test_the_paper_s_pe_is_as_large_as_table_ii_says() -> None:
    assert sparse_matrix_sram(PAPER).area_mm2 == pytest.approx(0.498857)  # as tabulated
    areas = module_areas_um2(PAPER)
    assert set(areas) == set(PAPER_UM2)
    for name, published in PAPER_UM2.items():
        if name != "queue":  # flip-flops and their multiplexers: almost three times the paper's, 0.3 % of a PE
            assert areas[name] == pytest.approx(published, rel=0.20), name
    assert areas["queue"] < 0.004 * PAPER_PE_UM2
    assert pe_area_um2(PAPER) == pytest.approx(PAPER_PE_UM2, rel=0.10)
    assert area_mm2(PAPER) == pytest.approx(40.8, rel=0.10)  # EIE, section VI: 64 PEs


def test_a_deeper_queue_costs_area_and_energy() -> None:
    longer = dataclasses.replace(PAPER, queue_slots=64)
    grown = module_areas_um2(longer)["queue"] - module_areas_um2(PAPER)["queue"]
    assert 56 * 255 < grown < 56 * 275  # synthesis: about 260 um2 a slot
    before, after = energy_of(PAPER, *ALEX8), energy_of(longer, *ALEX8)
    assert after.queue_pj > 2 * before.queue_pj
    idle_mw = (after.clock_pj - before.clock_pj) / 64 / 7926 * 0.8
    assert idle_mw == pytest.approx((56 * 32 / 32 + 2 * 3) * 5.6e-3 * 0.8, rel=0.05)  # gated slots, longer positions


def test_leakage_grows_with_the_time_and_the_pes() -> None:
    slow = dataclasses.replace(PAPER, clock_mhz=400, num_pes=128)
    leakage_pj = energy_of(PAPER, 1000, 0, 0, 0, 0).leakage_pj
    assert leakage_pj > 0
    assert energy_of(slow, 1000, 0, 0, 0, 0).leakage_pj == pytest.approx(4 * leakage_pj)


def test_wires_to_more_pes_cost_more_of_the_energy() -> None:
    shares = []
    for num_pes in (1, 64, 1024):
        event = event_energies(dataclasses.replace(PAPER, num_pes=num_pes))
        shares.append(event.column_broadcast_pj / num_pes)
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2]


def test_a_divider_is_paid_unless_the_entries_of_a_line_are_a_power_of_two() -> None:
    seven = dataclasses.replace(PAPER, index_bits=5)
    assert seven.entries_per_line == 7
    assert needs_divider(seven)
    assert not needs_divider(PAPER)
    name = "sparse-matrix read"
    assert module_areas_um2(seven)[name] - module_areas_um2(PAPER)[name] == pytest.approx(350)


def test_a_large_codebook_is_an_sram() -> None:
    areas = [
        module_areas_um2(dataclasses.replace(PAPER, weight_bits=bits, line_bits=64))["arithmetic"]
        for bits in (4, 7, 8, 9)
    ]
    assert areas[1] - areas[0] == pytest.approx((2**7 - 2**4) * 16 * 5.0)  # bits of flip-flops
    assert areas[2] < areas[1]
    assert areas[2] < areas[3]


def test_standby_of_the_dram_is_paid_by_arrays_that_load_weights() -> None:
    streaming = dataclasses.replace(PAPER, memory_mode="streamed")
    assert energy_of(PAPER, 8000, 0, 0, 0, 0).dram_pj == 0
    assert energy_of(streaming, 8000, 0, 0, 0, 0).dram_pj == pytest.approx(10_000 * 27.3)  # 10 us


def test_tabulated_srams_come_out_as_they_are() -> None:
    assert sram(131_072, 64).read_pj == pytest.approx(15.872)
    assert sram(131_072, 64).access_ns == pytest.approx(1.56052)
    assert sram(131_072, 64).cycle_ns == pytest.approx(1.07398)
    assert sram(131_072, 64).leakage_mw == pytest.approx(0.20871 + 1.31809, rel=1e-5)
    assert sram(16_384, 16).read_pj == pytest.approx(1.76103)
    assert sram(2_048, 16, node_nm=22).read_pj < sram(2_048, 16).read_pj


@settings(deadline=None)
@given(
    st.sampled_from(NODES_NM),
    st.tuples(st.integers(16_384, 4 * 2**20), st.integers(16_384, 4 * 2**20)),
    st.tuples(st.integers(8, 512), st.integers(8, 512)),
)
def test_a_larger_or_wider_sram_is_never_cheaper(
    node_nm: int, capacities: tuple[int, int], widths: tuple[int, int]
) -> None:
    small = sram(min(capacities), min(widths), node_nm)
    large = sram(max(capacities), max(widths), node_nm)
    for quantity in ("read_pj", "write_pj", "area_mm2"):
        assert getattr(small, quantity) <= getattr(large, quantity) * (1 + 1e-12), quantity
    assert small.access_ns <= sram(max(capacities), min(widths), node_nm).access_ns * (1 + 1e-12)


@pytest.mark.parametrize(("smaller", "larger"), [(22, 32), (32, 45), (45, 65)])
def test_a_smaller_node_costs_less_of_everything(smaller: int, larger: int) -> None:
    small, large = (dataclasses.replace(PAPER, node_nm=node_nm) for node_nm in (smaller, larger))
    assert area_mm2(small) < area_mm2(large)
    for name, small_pj in dataclasses.asdict(energy_of(small, *ALEX8)).items():
        if name not in ("leakage_pj", "dram_pj", "port_pj", "sram_write_pj"):  # the last three are 0 here
            assert small_pj < getattr(energy_of(large, *ALEX8), name), name


def test_an_sram_outside_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="must have 512 to 4,194,304 bytes and a port of 8 to 512 bits; found 100 by"):
        sram(100, 64)
    with pytest.raises(
        InputError, match="line_bits must be at most 512, the widest port in the SRAM tables; found 1024"
    ):
        energy_of(ArrayConfig(line_bits=1024), 1, 1, 1, 1, 1)
    with pytest.raises(InputError, match="an SRAM of 512 bytes is too small for a port of 512 bits"):
        sram(512, 512)
    with pytest.raises(InputError, match="node_nm must be one of 22, 32, 45, 65; found 7"):
        sram(2048, 16, 7)
    with pytest.raises(InputError, match="node_nm must be one of 22, 32, 45, 65; found 28"):
        ArrayConfig(node_nm=28)
    with pytest.raises(InputError, match="preset must be one of eie, horowitz-45nm; found 'free'"):
        energy_of(PAPER, 1, 1, 1, 1, 1, preset="free")


def test_the_scan_is_a_tree_of_units_with_four_inputs() -> None:
    assert num_lnzd_units(64) == 21  # EIE, Table II
    assert [num_lnzd_units(num_pes) for num_pes in (1, 4, 5, 16, 256)] == [1, 1, 3, 5, 85]
    assert [tree_levels(num_pes) for num_pes in (1, 4, 5, 16, 17, 64, 1024)] == [1, 1, 2, 2, 3, 3, 5]


def test_an_h_tree_over_four_squares_has_its_known_length() -> None:
    assert tree_mm(4, 1.0) == pytest.approx(3)  # one H over four PEs of 1 mm: a bar of 1 mm, two sides of 1 mm
    assert tree_mm(16, 1.0) == pytest.approx(6 + 4 * 1.5 * 2)  # an H of twice the size, and four small ones
    assert longest_path_mm(4, 1.0) == pytest.approx(1)
    assert tree_mm(1, 1.0) == longest_path_mm(1, 1.0) == 0


def test_drawn_constants_scatter_by_their_sigmas() -> None:
    draws = list(drawn_constants(2000, seed=1))
    for name, constant in CONSTANTS.items():
        logs = [math.log(getattr(draw, name) / constant.value) for draw in draws]
        mean = sum(logs) / len(logs)
        spread = math.sqrt(sum((each - mean) ** 2 for each in logs) / len(logs))
        assert spread == pytest.approx(constant.sigma, rel=0.1), name
        assert abs(mean) < 4 * constant.sigma / math.sqrt(len(logs)), name
    again = next(drawn_constants(1, seed=1))
    assert again.multiply_pj == draws[0].multiply_pj


def test_other_constants_change_energy_and_area() -> None:
    twice = Constants({"sram_energy": 2.0, "sram_area": 2.0})
    energies = [Energy(**block_energies(PAPER, *ALEX8, 0, constants=each)) for each in (NOMINAL, twice)]
    assert energies[1].pointer_read_pj == pytest.approx(2 * energies[0].pointer_read_pj)
    assert energies[1].arithmetic_pj == energies[0].arithmetic_pj
    assert area_mm2(PAPER, twice) > 1.8 * area_mm2(PAPER)
    with pytest.raises(InputError, match=r"a constant must be one of multiply_pj, .*; found 'power'"):
        Constants({"power": 1.0})
    with pytest.raises(InputError, match="constant add_pj must be a positive number; found nan"):
        Constants({"add_pj": math.nan})


def test_the_pointer_banks_cost_two_accesses() -> None:
    assert event_energies(PAPER).pointer_pair_pj == pytest.approx(2 * pointer_bank_sram(PAPER).read_pj)
